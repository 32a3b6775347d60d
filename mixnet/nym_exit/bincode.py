"""bincode 1.x as the exit protocol uses it: big-endian, variable-length integers, no trailing bytes.

docs/protocol/05 §6.1. Writers always use the shortest form; readers accept longer ones, as the reference
does. Nothing here allocates more than the input is long.
"""

from __future__ import annotations

import struct
from typing import Final

from nym_exit.errors import MalformedBincode

_U16: Final = 0xFB
_U32: Final = 0xFC
_U64: Final = 0xFD
_U128: Final = 0xFE

U8_MAX: Final = 0xFF
U16_MAX: Final = 0xFFFF
U32_MAX: Final = 0xFFFF_FFFF
U64_MAX: Final = 0xFFFF_FFFF_FFFF_FFFF


def encode_uint(value: int) -> bytes:
    """Write an unsigned integer (also lengths and enum variant numbers) in its shortest form."""
    if value < 0 or value > U64_MAX:
        raise MalformedBincode(f"{value} does not fit an unsigned 64-bit integer")
    if value < _U16:
        return bytes((value,))
    if value <= U16_MAX:
        return bytes((_U16,)) + value.to_bytes(2, "big")
    if value <= U32_MAX:
        return bytes((_U32,)) + value.to_bytes(4, "big")
    return bytes((_U64,)) + value.to_bytes(8, "big")


def encode_int(value: int) -> bytes:
    """Write a signed integer: zigzag, then as :func:`encode_uint`."""
    return encode_uint(value * 2 if value >= 0 else -value * 2 - 1)


def encode_bool(value: bool) -> bytes:
    """Write a bool as one byte."""
    return b"\x01" if value else b"\x00"


def encode_bytes(value: bytes) -> bytes:
    """Write a byte string with its length in front."""
    return encode_uint(len(value)) + value


def encode_str(value: str) -> bytes:
    """Write a UTF-8 string with its length in bytes in front."""
    return encode_bytes(value.encode())


def encode_f64(value: float) -> bytes:
    """Write a double, big-endian."""
    return struct.pack(">d", value)


class Reader:
    """Reads values one after the other from ``data``; every method raises MalformedBincode.

    Call :meth:`finish` at the end: bytes left over are an error in this protocol.
    """

    __slots__ = ("_data", "_offset")

    def __init__(self, data: bytes) -> None:
        self._data = data
        self._offset = 0

    @property
    def remaining(self) -> int:
        """Bytes not read yet."""
        return len(self._data) - self._offset

    def take(self, count: int) -> bytes:
        """Read exactly ``count`` raw bytes."""
        if count > self.remaining:
            raise MalformedBincode(f"needs {count} more bytes, {self.remaining} are left")
        start = self._offset
        self._offset = start + count
        return self._data[start : self._offset]

    def u8(self) -> int:
        """Read one byte."""
        return self.take(1)[0]

    def uint(self, maximum: int = U64_MAX) -> int:
        """Read a variable-length unsigned integer of at most ``maximum``."""
        first = self.u8()
        if first < _U16:
            value = first
        elif first == _U16:
            value = int.from_bytes(self.take(2), "big")
        elif first == _U32:
            value = int.from_bytes(self.take(4), "big")
        elif first == _U64:
            value = int.from_bytes(self.take(8), "big")
        elif first == _U128:
            raise MalformedBincode("a 128-bit integer stands where a smaller one is expected")
        else:
            raise MalformedBincode("0xff does not start an integer")
        if value > maximum:
            raise MalformedBincode(f"{value} is larger than {maximum}")
        return value

    def u16(self) -> int:
        """Read an unsigned 16-bit integer."""
        return self.uint(U16_MAX)

    def u32(self) -> int:
        """Read an unsigned 32-bit integer."""
        return self.uint(U32_MAX)

    def u64(self) -> int:
        """Read an unsigned 64-bit integer."""
        return self.uint()

    def signed(self) -> int:
        """Read a signed (zigzag) integer of up to 64 bits."""
        raw = self.uint()
        return (raw >> 1) ^ -(raw & 1)

    def boolean(self) -> bool:
        """Read a bool; anything but 0 and 1 is refused."""
        value = self.u8()
        if value > 1:
            raise MalformedBincode(f"{value} is not a bool")
        return value == 1

    def f64(self) -> float:
        """Read a double."""
        (value,) = struct.unpack(">d", self.take(8))
        return float(value)

    def blob(self) -> bytes:
        """Read a byte string."""
        return self.take(self.uint())

    def text(self) -> str:
        """Read a UTF-8 string."""
        raw = self.blob()
        try:
            return raw.decode()
        except UnicodeDecodeError as error:
            raise MalformedBincode("a string is not UTF-8") from error

    def option(self) -> bool:
        """Read the marker of an optional value: True when the value follows."""
        marker = self.u8()
        if marker > 1:
            raise MalformedBincode(f"{marker} does not mark an optional value")
        return marker == 1

    def variant(self, count: int) -> int:
        """Read the number of an enum variant, below ``count``."""
        number = self.u32()
        if number >= count:
            raise MalformedBincode(f"variant {number} is not one of 0..{count - 1}")
        return number

    def finish(self) -> None:
        """Check that nothing is left."""
        if self.remaining:
            raise MalformedBincode(f"{self.remaining} bytes follow the value")
