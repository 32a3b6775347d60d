"""Where the key of a store comes from: 32 bytes in a file or a variable, or a passphrase through scrypt.

A passphrase needs the salt that lies in the database, so a `StoreKey` is turned into bytes by `unlock` only when
the store is opened. Costs of scrypt are stored with the salt and can be raised for new stores.
"""

from __future__ import annotations

import hashlib
import json
import secrets
from dataclasses import dataclass, field
from typing import Final

from nym_credentials.errors import StoreKeyWrong
from nym_credentials.store.sealing import KEY_BYTES, RandomBytes

_SALT_BYTES: Final = 16
_SCRYPT_N: Final = 2**17
_SCRYPT_R: Final = 8
_SCRYPT_P: Final = 1
_SCRYPT_MAX_BYTES: Final = 2**30
_HEX_DIGITS: Final = 2 * KEY_BYTES
_MIN_PASSPHRASE_CHARACTERS: Final = 8


@dataclass(frozen=True, slots=True)
class KeyDerivation:
    """How a passphrase becomes a key, as stored in the clear. `salt` empty: the key is used as it is."""

    salt: bytes = b""
    n: int = 0
    r: int = 0
    p: int = 0

    def encode(self) -> bytes:
        """The stored form."""
        return json.dumps({"salt": self.salt.hex(), "n": self.n, "r": self.r, "p": self.p}).encode()

    @classmethod
    def decode(cls, data: bytes) -> KeyDerivation:
        """The inverse of `encode`. Raises `ValueError`."""
        value = json.loads(data)
        try:
            derivation = cls(bytes.fromhex(value["salt"]), int(value["n"]), int(value["r"]), int(value["p"]))
        except (KeyError, TypeError) as error:
            raise ValueError("not a key derivation") from error
        if derivation.salt and 128 * derivation.n * derivation.r > _SCRYPT_MAX_BYTES:
            raise ValueError("a key derivation that would take all memory")
        return derivation


@dataclass(frozen=True, slots=True)
class StoreKey:
    """Exactly one of the two is given."""

    raw: bytes | None = field(default=None, repr=False)
    passphrase: str | None = field(default=None, repr=False)
    scrypt_n: int = _SCRYPT_N
    """Cost for a new store: 128 · n · r bytes of memory, a power of two."""

    @classmethod
    def from_bytes(cls, raw: bytes) -> StoreKey:
        """A key of 32 bytes. Raises `StoreKeyWrong`."""
        if len(raw) != KEY_BYTES:
            raise StoreKeyWrong(f"A store key has {KEY_BYTES} bytes, this one has {len(raw)}.")
        return cls(raw=raw)

    @classmethod
    def from_text(cls, text: str, where: str) -> StoreKey:
        """A key written as 64 hex digits, as in key files. `where` is for messages. Raises `StoreKeyWrong`."""
        text = text.strip()
        try:
            raw = bytes.fromhex(text) if len(text) == _HEX_DIGITS else b""
        except ValueError:
            raw = b""
        if len(raw) != KEY_BYTES:
            raise StoreKeyWrong(
                f"{where} holds no store key: {_HEX_DIGITS} hex digits are expected.",
                "Make one with `openssl rand -hex 32`, or give a passphrase as such.",
            )
        return cls(raw=raw)

    @classmethod
    def from_passphrase(cls, passphrase: str, *, scrypt_n: int = _SCRYPT_N) -> StoreKey:
        """A passphrase of 8 characters or more. Raises `StoreKeyWrong`."""
        if len(passphrase) < _MIN_PASSPHRASE_CHARACTERS:
            raise StoreKeyWrong(f"The passphrase is shorter than {_MIN_PASSPHRASE_CHARACTERS} characters.")
        return cls(passphrase=passphrase, scrypt_n=scrypt_n)

    @classmethod
    def generate(cls, random_bytes: RandomBytes = secrets.token_bytes) -> StoreKey:
        """A new random key."""
        return cls(raw=random_bytes(KEY_BYTES))

    def to_text(self) -> str:
        """The content of a key file. Only for raw keys."""
        assert self.raw is not None
        return self.raw.hex() + "\n"

    def new_derivation(self, random_bytes: RandomBytes = secrets.token_bytes) -> KeyDerivation:
        """What a new store keeps so that `unlock` finds the same key again."""
        if self.passphrase is None:
            return KeyDerivation()
        return KeyDerivation(random_bytes(_SALT_BYTES), self.scrypt_n, _SCRYPT_R, _SCRYPT_P)

    def unlock(self, derivation: KeyDerivation) -> bytes:
        """The 32 bytes. Half a second for a passphrase: not on an event loop. Raises `StoreKeyWrong`."""
        if bool(derivation.salt) != (self.passphrase is not None):
            have, need = (
                ("a passphrase", "a key") if self.passphrase is not None else ("a key", "a passphrase")
            )
            raise StoreKeyWrong(f"The ticket store is opened with {need}, but {have} was given.")
        if self.passphrase is None:
            assert self.raw is not None
            return self.raw
        return hashlib.scrypt(
            self.passphrase.encode(),
            salt=derivation.salt,
            n=derivation.n,
            r=derivation.r,
            p=derivation.p,
            maxmem=_SCRYPT_MAX_BYTES + 2**20,
            dklen=KEY_BYTES,
        )
