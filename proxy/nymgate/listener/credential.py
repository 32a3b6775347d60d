"""What applications send to say who they are: SOCKS user and password, SOCKS4 user id, ``Proxy-Authorization``.

Without a users file all of it is accepted and only keeps streams apart, as Tor does (socks-extensions §1.1). The bytes
are kept as they came: two spellings are two callers.
"""

import base64
import binascii
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Final

_BASIC: Final = b"basic"


@dataclass(frozen=True, slots=True)
class Credential:
    """A name and a password, in bytes as they came. ``scheme`` is empty but for HTTP's schemes other than Basic."""

    name: bytes = field(repr=False)
    password: bytes = field(repr=False)
    scheme: str = ""

    def joined(self) -> str:
        """One text for all of it. No two credentials share one."""
        name, password = self.name.decode("latin-1"), self.password.decode("latin-1")
        return f"{self.scheme}:{len(name)}:{name}:{password}"


def credential(name: bytes, password: bytes) -> Credential | None:
    """A name and a password; None where both are empty, which says nothing."""
    return Credential(name, password) if name or password else None


def of_authorization(values: Sequence[bytes]) -> Credential | None:
    """What the ``Proxy-Authorization`` headers of a request hold (RFC 7617 for Basic).

    What is not Basic, or no whole Basic, can be no user's, and is a credential of its own all the same.
    """
    if not values:
        return None
    whole = b"\0".join(values)  # a NUL is in no header
    scheme, _, rest = whole.partition(b" ")
    if scheme.lower() != _BASIC or len(values) > 1:
        return Credential(whole, b"", "http")
    try:
        plain = base64.b64decode(rest.strip(), validate=True)
    except binascii.Error:
        return Credential(whole, b"", "http")
    name, colon, password = plain.partition(b":")
    return credential(name, password) if colon else Credential(whole, b"", "http")


def of_isolation(values: Sequence[bytes]) -> str | None:
    """What the isolation headers of a request hold."""
    return b"\0".join(values).decode("latin-1") if values else None
