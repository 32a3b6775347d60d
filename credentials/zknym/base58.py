"""Base58 with the Bitcoin alphabet and no check sum: the text form of keys, signatures and payments."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Final, Self

from zknym.errors import MalformedText

_ALPHABET: Final = "123456789ABCDEFGHJKLMNPQRSTUVWXYZabcdefghijkmnopqrstuvwxyz"
_VALUES: Final = {character: value for value, character in enumerate(_ALPHABET)}
_BASE: Final = len(_ALPHABET)
_MOST_CHARACTERS: Final = 65_536
"""Seven times the largest message: conversion takes quadratic time."""
_CHUNK: Final = 10
"""Characters converted per big-number step: keeps long inputs from costing one such step per character."""


def b58encode(data: bytes) -> str:
    """The text of `data`; each leading zero byte becomes a leading "1"."""
    stripped = data.lstrip(b"\0")
    number = int.from_bytes(stripped, "big")
    digits: list[str] = []
    while number:
        number, chunk = divmod(number, _BASE**_CHUNK)
        for _ in range(_CHUNK):
            chunk, digit = divmod(chunk, _BASE)
            digits.append(_ALPHABET[digit])
    text = "".join(reversed(digits)).lstrip(_ALPHABET[0])
    return _ALPHABET[0] * (len(data) - len(stripped)) + text


def b58decode(text: str) -> bytes:
    """The inverse of `b58encode`. Raises `MalformedText`; the message does not repeat the text."""
    if len(text) > _MOST_CHARACTERS:
        raise MalformedText(f"base58 text of more than {_MOST_CHARACTERS} characters")
    stripped = text.lstrip(_ALPHABET[0])
    number = 0
    for start in range(0, len(stripped), _CHUNK):
        piece = stripped[start : start + _CHUNK]
        chunk = 0
        for character in piece:
            value = _VALUES.get(character)
            if value is None:
                raise MalformedText("not base58: a character outside of the Bitcoin alphabet")
            chunk = chunk * _BASE + value
        number = number * _BASE ** len(piece) + chunk
    return bytes(len(text) - len(stripped)) + number.to_bytes(-(-number.bit_length() // 8), "big")


class Base58Text(ABC):
    """A message whose text form is the base58 of its bytes."""

    __slots__ = ()

    @abstractmethod
    def encode(self) -> bytes:
        """The bytes of the message."""

    @classmethod
    @abstractmethod
    def decode(cls, data: bytes) -> Self:
        """The inverse of `encode`. Raises `MalformedData`."""

    def to_base58(self) -> str:
        """The text form."""
        return b58encode(self.encode())

    @classmethod
    def from_base58(cls, text: str) -> Self:
        """The inverse of `to_base58`. Raises `MalformedData`."""
        return cls.decode(b58decode(text))
