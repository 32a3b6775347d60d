"""Stored forms carry a revision next to their bytes (docs/protocol/07 §13.3).

In a database the two are columns; inside of export files they are one structure, made here.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from zknym.bincode import Reader, byte_string
from zknym.errors import UnknownRevision


@dataclass(frozen=True, slots=True)
class Versioned:
    """The bytes of a stored form, which may hold secrets, and the revision of their layout."""

    data: bytes = field(repr=False)
    revision: int

    def encode(self) -> bytes:
        """Length, bytes, revision (bincode)."""
        return byte_string(self.data) + bytes([self.revision])

    @classmethod
    def read(cls, reader: Reader) -> Versioned:
        """Reads the `encode`d form out of a larger structure. Raises `MalformedBincode`."""
        return cls(reader.byte_string(), reader.u8())

    @classmethod
    def decode(cls, data: bytes) -> Versioned:
        """The inverse of `encode`. Raises `MalformedBincode`."""
        reader = Reader(data)
        versioned = cls.read(reader)
        reader.finish()
        return versioned


def expect_revision(what: str, revision: int, known: int) -> None:
    """Raises `UnknownRevision` unless this package reads the revision."""
    if revision != known:
        raise UnknownRevision(f"{what} of revision {revision}: only revision {known} can be read here")
