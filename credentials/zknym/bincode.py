"""bincode as the reference uses it: varint integers, big-endian (docs/protocol/07 §13.1).

Points and scalars travel inside these structures as byte strings with a length in front. The reader
accepts only what the writer makes: over-long integers and bytes left over are refused, so that one value
has exactly one encoding. (The reference's decoder is more lenient about integers, its encoder is not.)
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Final, TypeVar

from zknym.constants import G1_BYTES, G2_BYTES, MAX_U32, MAX_U64, SCALAR_BYTES
from zknym.curve import G1, G2, decode_g1, decode_g2, decode_scalar, encode_g1, encode_g2, encode_scalar
from zknym.errors import MalformedBincode, MalformedPoint, MalformedScalar

T = TypeVar("T")

_LARGEST_SINGLE_BYTE: Final = 250
_WIDTHS: Final = {0xFB: 2, 0xFC: 4, 0xFD: 8}
_MAX_U16: Final = 2**16 - 1


def varint(value: int) -> bytes:
    """An unsigned integer of up to 64 bits: 1, 3, 5 or 9 bytes."""
    if value <= _LARGEST_SINGLE_BYTE:
        return value.to_bytes(1, "big")
    if value <= _MAX_U16:
        return b"\xfb" + value.to_bytes(2, "big")
    if value <= MAX_U32:
        return b"\xfc" + value.to_bytes(4, "big")
    return b"\xfd" + value.to_bytes(8, "big")


def signed_varint(value: int) -> bytes:
    """A signed integer, zig-zag mapped to an unsigned one."""
    return varint(2 * value if value >= 0 else -2 * value - 1)


def byte_string(data: bytes) -> bytes:
    """Bytes or UTF-8 text with their length in front."""
    return varint(len(data)) + data


def scalar_field(value: int) -> bytes:
    """[s]: 33 bytes."""
    return byte_string(encode_scalar(value))


def g1_field(point: G1) -> bytes:
    """[P] of G1: 49 bytes."""
    return byte_string(encode_g1(point))


def g2_field(point: G2) -> bytes:
    """[P] of G2: 97 bytes."""
    return byte_string(encode_g2(point))


def vector(items: Iterable[T], encode: Callable[[T], bytes]) -> bytes:
    """A list: its length, then the encoded elements."""
    encoded = [encode(item) for item in items]
    return varint(len(encoded)) + b"".join(encoded)


def option(item: T | None, encode: Callable[[T], bytes]) -> bytes:
    """An optional value."""
    return b"\0" if item is None else b"\1" + encode(item)


class Reader:
    """Takes a structure apart from the front. Every method raises `MalformedBincode`."""

    def __init__(self, data: bytes) -> None:
        self._data = data
        self._position = 0

    def take(self, count: int) -> bytes:
        """The next `count` bytes."""
        end = self._position + count
        if end > len(self._data):
            raise MalformedBincode(f"cut short: {count} bytes expected at offset {self._position}")
        taken = self._data[self._position : end]
        self._position = end
        return taken

    def u8(self) -> int:
        """One raw byte."""
        position = self._position
        if position >= len(self._data):
            raise MalformedBincode(f"cut short: 1 byte expected at offset {position}")
        self._position = position + 1
        return self._data[position]

    def varint(self, largest: int = MAX_U64) -> int:
        """An unsigned integer of at most `largest`, in its shortest form."""
        value = self.u8()
        if value > _LARGEST_SINGLE_BYTE:
            value = self._wide_integer(value)
        if value > largest:
            raise MalformedBincode(f"the integer before offset {self._position} is above {largest}")
        return value

    def signed_varint(self) -> int:
        """A signed integer of up to 32 bits."""
        value = self.varint(MAX_U32)
        return value >> 1 if value % 2 == 0 else -(value >> 1) - 1

    def byte_string(self) -> bytes:
        """Bytes with their length in front."""
        return self.take(self.varint())

    def text(self) -> str:
        """UTF-8 text with its length in front."""
        try:
            return self.byte_string().decode()
        except UnicodeDecodeError as error:
            raise MalformedBincode(f"the text before offset {self._position} is not UTF-8") from error

    def scalar(self) -> int:
        """[s]."""
        try:
            return decode_scalar(self._fixed(SCALAR_BYTES))
        except MalformedScalar as error:
            raise MalformedBincode(f"before offset {self._position}: {error}") from error

    def g1(self) -> G1:
        """[P] of G1."""
        try:
            return decode_g1(self._fixed(G1_BYTES))
        except MalformedPoint as error:
            raise MalformedBincode(f"before offset {self._position}: {error}") from error

    def g2(self) -> G2:
        """[P] of G2."""
        try:
            return decode_g2(self._fixed(G2_BYTES))
        except MalformedPoint as error:
            raise MalformedBincode(f"before offset {self._position}: {error}") from error

    def vector(self, element: Callable[[], T], most: int, least: int = 0) -> tuple[T, ...]:
        """A list of `least` … `most` elements: the bound keeps a short message from costing much work."""
        count = self.varint(most)
        if count < least:
            raise MalformedBincode(f"{count} elements before offset {self._position}, not {least}")
        return tuple(element() for _ in range(count))

    def option(self, element: Callable[[], T]) -> T | None:
        """An optional value."""
        tag = self.u8()
        if tag > 1:
            raise MalformedBincode(f"no option before offset {self._position}: tag {tag:#04x}")
        return element() if tag else None

    def finish(self) -> None:
        """Demands that nothing is left over."""
        if self._position != len(self._data):
            raise MalformedBincode(f"{len(self._data) - self._position} bytes left over")

    def _wide_integer(self, tag: int) -> int:
        width = _WIDTHS.get(tag)
        if width is None:
            raise MalformedBincode(f"no integer before offset {self._position}: tag {tag:#04x}")
        value = int.from_bytes(self.take(width), "big")
        if len(varint(value)) != 1 + width:
            raise MalformedBincode(f"the integer before offset {self._position} is not in its shortest form")
        return value

    def _fixed(self, size: int) -> bytes:
        length = self.varint()
        if length != size:
            raise MalformedBincode(f"{length} bytes announced before offset {self._position}, not {size}")
        return self.take(size)
