"""How signers write: compact JSON, or bincode with little-endian integers (docs/protocol/09 §1, §1.1).

bincode inside of stored blobs is big-endian (`zknym.bincode`); on the wire only integers above 250 tell the two
apart. Everything here raises `zknym.MalformedData`.
"""

from __future__ import annotations

import base64
import binascii
import json
from abc import ABC, abstractmethod
from enum import StrEnum
from typing import Final, Self

from zknym import MalformedBincode, MalformedJson, MalformedText
from zknym.bincode import Reader
from zknym.constants import MAX_U64
from zknym.json_fields import Json, JsonObject

_LARGEST_SINGLE_BYTE: Final = 250
_WIDTHS: Final = {0xFB: 2, 0xFC: 4, 0xFD: 8}
_LARGEST_U16: Final = 2**16 - 1
_LARGEST_U32: Final = 2**32 - 1


class Output(StrEnum):
    """The forms that the query parameter `output` asks for; `yaml` exists too, but no program asks for it."""

    JSON = "json"
    BINCODE = "bincode"

    @property
    def content_type(self) -> str:
        """Of the response."""
        return f"application/{self.value}"

    @classmethod
    def of_content_type(cls, content_type: str) -> Output:
        """The form of a response: unknown and missing types count as JSON."""
        return cls.BINCODE if content_type == cls.BINCODE.content_type else cls.JSON


def varint(value: int) -> bytes:
    """An unsigned integer of up to 64 bits, little-endian: 1, 3, 5 or 9 bytes."""
    if value <= _LARGEST_SINGLE_BYTE:
        return value.to_bytes(1, "little")
    if value <= _LARGEST_U16:
        return b"\xfb" + value.to_bytes(2, "little")
    if value <= _LARGEST_U32:
        return b"\xfc" + value.to_bytes(4, "little")
    return b"\xfd" + value.to_bytes(8, "little")


def byte_string(data: bytes | str) -> bytes:
    """Bytes or UTF-8 text with their length in front."""
    raw = data.encode() if isinstance(data, str) else data
    return varint(len(raw)) + raw


class WireReader(Reader):
    """Takes a structure of the wire apart: `zknym.bincode.Reader` with the other byte order."""

    def varint(self, largest: int = MAX_U64) -> int:
        """An unsigned integer of at most `largest`, in its shortest form."""
        tag = self.u8()
        value = tag
        if tag > _LARGEST_SINGLE_BYTE:
            width = _WIDTHS.get(tag)
            if width is None:
                raise MalformedBincode(f"no integer: tag {tag:#04x}")
            value = int.from_bytes(self.take(width), "little")
            if len(varint(value)) != 1 + width:
                raise MalformedBincode("an integer that is not in its shortest form")
        if value > largest:
            raise MalformedBincode(f"an integer above {largest}")
        return value

    def boolean(self) -> bool:
        """One byte, 0 or 1."""
        value = self.u8()
        if value > 1:
            raise MalformedBincode("neither true nor false")
        return value == 1


def compact(value: Json) -> bytes:
    """JSON without white space, members in the order given."""
    return json.dumps(value, separators=(",", ":"), ensure_ascii=False).encode()


def parse_json(data: bytes) -> Json:
    """Any JSON value. Raises `MalformedJson`, without repeating the text."""
    try:
        return json.loads(data, parse_constant=_refuse_constant)
    except (ValueError, RecursionError):
        raise MalformedJson("not JSON") from None


def boolean(value: Json) -> bool:
    """true or false."""
    if not isinstance(value, bool):
        raise MalformedJson("true or false expected")
    return value


def to_base64(data: bytes) -> str:
    """The standard alphabet, padded."""
    return base64.b64encode(data).decode()


def from_base64(text: str) -> bytes:
    """The inverse of `to_base64`. Raises `MalformedText`."""
    try:
        return base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError):
        raise MalformedText("not base64") from None


class Body(ABC):
    """The body of an answer: JSON by default, bincode for who asks for it."""

    __slots__ = ()

    @abstractmethod
    def to_json(self) -> JsonObject:
        """The JSON value, members in the reference's order."""

    @classmethod
    @abstractmethod
    def from_json(cls, value: Json) -> Self:
        """The inverse of `to_json`. Raises `MalformedData`."""

    @abstractmethod
    def to_bincode(self) -> bytes:
        """The same fields as bincode."""

    @classmethod
    @abstractmethod
    def read(cls, reader: WireReader) -> Self:
        """Reads the bincode form. Raises `MalformedData`."""

    def encode(self, output: Output = Output.JSON) -> bytes:
        """The bytes of the response."""
        return self.to_bincode() if output is Output.BINCODE else compact(self.to_json())

    @classmethod
    def decode(cls, data: bytes, output: Output = Output.JSON) -> Self:
        """The inverse of `encode`. Raises `MalformedData`."""
        if output is Output.JSON:
            return cls.from_json(parse_json(data))
        reader = WireReader(data)
        body = cls.read(reader)
        reader.finish()
        return body


def _refuse_constant(_: str) -> None:
    raise ValueError
