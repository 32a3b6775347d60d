"""Destination texts: ``host:port`` as a client writes and an exit reads them (docs/protocol/05 §5.2)."""

from __future__ import annotations

from ipaddress import IPv4Address, IPv6Address, ip_address
from typing import Final

from nym_exit.errors import BadTarget
from nym_exit.ip_check import IpAddress

_MAX_BYTES: Final = 0xFFFF
_PORT_MAX: Final = 0xFFFF


def format_target(host: str, port: int) -> str:
    """Write a destination for a Connect.

    Names go out as given (no lower-casing, no IDNA: the exit resolves them), IPv4 addresses dotted, IPv6
    addresses as eight lower-case hexadecimal groups without brackets and without ``::``, the form the
    reference's client writes. ``host`` may have brackets around an IPv6 address.

    Raises:
        BadTarget: empty, too long, with control characters, or a port outside 1..65535. The text of the
            error does not repeat the destination.
    """
    if not 0 < port <= _PORT_MAX:
        raise BadTarget(f"a port lies between 1 and {_PORT_MAX}")
    if not host:
        raise BadTarget("the destination has an empty host name")
    bracketed = host.startswith("[") and host.endswith("]")
    try:
        address: IpAddress | None = ip_address(host[1:-1] if bracketed else host)
    except ValueError:
        address = None
    if isinstance(address, IPv6Address):
        if address.scope_id is not None:
            raise BadTarget("an IPv6 zone means nothing at the exit; leave it out")
        packed = address.packed
        groups = (int.from_bytes(packed[i : i + 2], "big") for i in range(0, 16, 2))
        return ":".join(f"{group:x}" for group in groups) + f":{port}"
    if bracketed:
        raise BadTarget("brackets belong around IPv6 addresses only")
    if isinstance(address, IPv4Address):
        return f"{address}:{port}"
    if any(ord(character) < 0x20 or ord(character) == 0x7F for character in host):
        raise BadTarget("the host name contains control characters")
    text = f"{host}:{port}"
    try:
        length = len(text.encode())
    except UnicodeEncodeError as error:
        raise BadTarget("the host name cannot be written as UTF-8") from error
    if length > _MAX_BYTES:
        raise BadTarget(f"the destination has {length} bytes, at most {_MAX_BYTES} fit")
    return text


def parse_target(text: str) -> tuple[str, int]:
    """Read a destination at the exit: host (brackets removed) and port.

    The text is split at the last colon, so IPv6 addresses are read with and without brackets.

    Raises:
        BadTarget: no colon, no host, or a port that is not a decimal number up to 65535.
    """
    host, colon, port_text = text.rpartition(":")
    if not colon or not host:
        raise BadTarget("a destination is not host:port")
    if not port_text.isascii() or not port_text.isdecimal() or len(port_text) > 20:
        raise BadTarget("the port of a destination is not a decimal number")
    port = int(port_text)
    if port > _PORT_MAX:
        raise BadTarget(f"the port of a destination is larger than {_PORT_MAX}")
    if host.startswith("[") and host.endswith("]"):
        host = host[1:-1]
        try:
            IPv6Address(host)
        except ValueError as error:
            raise BadTarget("brackets belong around IPv6 addresses only") from error
    return host, port
