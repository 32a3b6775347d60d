"""The little-endian, varint flavour of bincode in which the directory offers node lists (docs/protocol/04
§10.1).

Integers below 251 take one byte; 251, 252 and 253 announce two, four and eight. Single bytes, booleans and
option tags are raw. Readers raise `ValueError` whatever the input.
"""

from __future__ import annotations

_U16_TAG, _U32_TAG, _U64_TAG = 251, 252, 253
_TAGGED_BYTES = {_U16_TAG: 2, _U32_TAG: 4, _U64_TAG: 8}


class Writer:
    """Collects encoded values; `data()` gives them all."""

    def __init__(self) -> None:
        self._parts: list[bytes] = []

    def data(self) -> bytes:
        return b"".join(self._parts)

    def raw(self, data: bytes) -> None:
        self._parts.append(data)

    def byte(self, value: int) -> None:
        self._parts.append(bytes((value,)))

    def flag(self, value: bool) -> None:
        self.byte(1 if value else 0)

    def varint(self, value: int) -> None:
        if value < _U16_TAG:
            self.byte(value)
        elif value < 1 << 16:
            self._parts.append(bytes((_U16_TAG,)) + value.to_bytes(2, "little"))
        elif value < 1 << 32:
            self._parts.append(bytes((_U32_TAG,)) + value.to_bytes(4, "little"))
        else:
            self._parts.append(bytes((_U64_TAG,)) + value.to_bytes(8, "little"))

    def text(self, value: str) -> None:
        encoded = value.encode("utf-8")
        self.varint(len(encoded))
        self._parts.append(encoded)


class Reader:
    """Reads values one after another; `end()` insists that nothing is left."""

    def __init__(self, data: bytes) -> None:
        self._data = data
        self._at = 0

    def raw(self, length: int) -> bytes:
        end = self._at + length
        if end > len(self._data):
            raise ValueError("ends too early")
        piece = self._data[self._at : end]
        self._at = end
        return piece

    def byte(self) -> int:
        return self.raw(1)[0]

    def flag(self) -> bool:
        value = self.byte()
        if value > 1:
            raise ValueError(f"{value} is no boolean")
        return value == 1

    def varint(self, limit: int) -> int:
        """An integer of at most `limit`."""
        first = self.byte()
        if first < _U16_TAG:
            value = first
        elif first in _TAGGED_BYTES:
            value = int.from_bytes(self.raw(_TAGGED_BYTES[first]), "little")
        else:
            raise ValueError("integer too large")
        if value > limit:
            raise ValueError(f"integer {value} above {limit}")
        return value

    def count(self) -> int:
        """The length of a list or string: never more than the bytes that are left."""
        return self.varint(len(self._data) - self._at)

    def text(self) -> str:
        return self.raw(self.count()).decode("utf-8")

    def end(self) -> None:
        if self._at != len(self._data):
            raise ValueError(f"{len(self._data) - self._at} bytes too many")
