"""PEM files of keys: the base64 of the plain key bytes under a tag (docs/protocol/07 §4.1)."""

from __future__ import annotations

import base64
import binascii
import re
from typing import Final

from zknym.errors import MalformedText

SIGNER_SECRET_TAG: Final = "ECASH SECRET KEY"  # noqa: S105 - a label
VERIFICATION_KEY_TAG: Final = "ECASH VERIFICATION KEY"

_COLUMNS: Final = 64


def to_pem(tag: str, data: bytes) -> str:
    """The file, with CRLF line ends as the reference writes them."""
    body = base64.b64encode(data).decode()
    lines = [body[start : start + _COLUMNS] for start in range(0, len(body), _COLUMNS)]
    return "\r\n".join([f"-----BEGIN {tag}-----", *lines, f"-----END {tag}-----", ""])


def from_pem(tag: str, text: str) -> bytes:
    """The inverse of `to_pem`; any line ends. Raises `MalformedText`."""
    found = re.fullmatch(rf"\s*-----BEGIN {tag}-----\s(.*)-----END {tag}-----\s*", text, re.DOTALL)
    if found is None:
        raise MalformedText(f'not a PEM file of kind "{tag}"')
    try:
        return base64.b64decode("".join(found[1].split()), validate=True)
    except binascii.Error as error:
        raise MalformedText("a PEM file whose body is not base64") from error
