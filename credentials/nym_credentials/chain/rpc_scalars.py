"""Reading and writing the scalars of JSON-RPC answers (docs/protocol/08 §3).

Everything that is not what it should be raises `MalformedChainData` with the name of the member.
"""

from __future__ import annotations

import base64
import binascii
import contextlib
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

from nym_credentials.chain.json_records import MAX_U64, MOST_ITEMS
from nym_credentials.errors import MalformedChainData


def write_time(when: datetime) -> str:
    """RFC 3339 in UTC."""
    return when.astimezone(UTC).isoformat().replace("+00:00", "Z")


def read_time(text: str, field: str) -> datetime:
    """RFC 3339; nodes give nanoseconds, which are cut to microseconds."""
    whole, dot, rest = text.partition(".")
    if dot:
        digits = rest[: len(rest) - len(rest.lstrip("0123456789"))]
        text = f"{whole}.{digits[:6].ljust(6, '0')}{rest[len(digits) :]}"
    when: datetime | None = None
    with contextlib.suppress(ValueError):
        when = datetime.fromisoformat(text)
    if when is None or when.tzinfo is None:
        raise MalformedChainData(field, "a time with its zone")
    return when


def an_object(value: Any, field: str) -> dict[str, Any]:
    """A JSON object."""
    if not isinstance(value, dict):
        raise MalformedChainData(field, "an object")
    return value


def an_array(value: Any, field: str) -> Sequence[Any]:
    """A JSON array of bounded length."""
    if not isinstance(value, list) or len(value) > MOST_ITEMS:
        raise MalformedChainData(field, f"an array of at most {MOST_ITEMS} elements")
    return value


def text_of(given: Mapping[str, Any], name: str, outer: str = "") -> str:
    """The text member ``name``."""
    value = given.get(name)
    if not isinstance(value, str):
        raise MalformedChainData(f"{outer}{name}", "a text")
    return value


def optional_text_of(given: Mapping[str, Any], name: str, outer: str) -> str:
    """The same, empty if it is absent or null."""
    return "" if given.get(name) is None else text_of(given, name, outer)


def optional_bytes_of(given: Mapping[str, Any], name: str, outer: str) -> bytes:
    """Bytes in base64, empty if absent or null."""
    return unb64(optional_text_of(given, name, outer), f"{outer}{name}")


def number(value: Any, field: str) -> int:
    """A 64-bit number, as the text of digits that nodes send or as a number."""
    if isinstance(value, str) and value.isascii() and value.isdigit() and len(value) <= len(str(MAX_U64)):
        value = int(value)
    if type(value) is not int or not 0 <= value <= MAX_U64:
        raise MalformedChainData(field, "a whole number")
    return value


def code_of(given: Mapping[str, Any], outer: str) -> int:
    """An ABCI code, 0 if absent."""
    return number(given.get("code") or 0, f"{outer}code")


def b64(data: bytes) -> str:
    """Bytes as base64."""
    return base64.b64encode(data).decode()


def unb64(text: str, field: str) -> bytes:
    """The inverse of `b64`."""
    try:
        return base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError):
        raise MalformedChainData(field, "base64") from None


def unhex(text: str, field: str) -> bytes:
    """Bytes of hex digits in either case."""
    try:
        if text.isalnum() or not text:
            return bytes.fromhex(text)
    except ValueError:
        pass
    raise MalformedChainData(field, "hex digits")
