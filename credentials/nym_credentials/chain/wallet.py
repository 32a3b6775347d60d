"""From a BIP-39 phrase to an account that signs (docs/protocol/08 §2).

Derivation and signing are cosmpy's. What cosmpy does not do is done here: the check sum of the phrase, and messages
that never repeat a word of it.
"""

from __future__ import annotations

import hashlib
import unicodedata
from functools import cache
from typing import Any, Final, NoReturn

from nym_credentials.addresses import address_of_public_key
from nym_credentials.chain import cosmos
from nym_credentials.errors import PhraseInvalid

HD_PATH: Final = "m/44'/118'/0'/0/0"
PHRASE_LENGTHS: Final = (12, 15, 18, 21, 24)
"""Words."""
ENTROPY_BYTES: Final = 32
"""Of a phrase of 24 words, which is what upstream's tools make."""
SIGNATURE_BYTES: Final = 64
_BITS_PER_WORD: Final = 11
_CHECKSUM_DIVISOR: Final = 33
"""One bit in 33 is check sum."""
_HALF_ORDER: Final = 0xFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFEBAAEDCE6AF48A03BBFD25E8CD0364141 // 2
"""Of secp256k1: the chain takes only the smaller of the two possible values of S."""


class Wallet:
    """One account: its key, address and signatures. The key is never shown."""

    __slots__ = ("_local", "address", "prefix", "public_key")

    def __init__(self, private_key: bytes, prefix: str = "n") -> None:
        """``private_key`` are 32 bytes. Most callers have a phrase: `from_phrase`."""
        try:
            self._local = cosmos.LocalWallet(cosmos.PrivateKey(private_key), prefix=prefix)
        except Exception:  # the curve library's own errors: they may quote the key
            raise PhraseInvalid("That is not a private key of secp256k1.") from None
        self.prefix = prefix
        self.public_key: bytes = self._local.public_key().public_key_bytes
        """Compressed, 33 bytes."""
        self.address: str = address_of_public_key(self.public_key, prefix)

    @classmethod
    def from_phrase(cls, phrase: str, prefix: str = "n", passphrase: str = "") -> Wallet:
        """The first account of a phrase of 12 to 24 English words. Raises `PhraseInvalid`.

        Takes some hundredths of a second (2048 rounds of PBKDF2): keep it off the event loop.
        """
        words = checked_words(phrase)
        normal = unicodedata.normalize("NFKD", passphrase)
        return cls(cosmos.derive_child_key_from_mnemonic(" ".join(words), normal, HD_PATH), prefix)

    @property
    def cosmpy(self) -> Any:
        """The same as cosmpy's ``LocalWallet``."""
        return self._local

    def sign(self, data: bytes) -> bytes:
        """r ‖ s, 64 bytes, over SHA-256 of ``data``: deterministic (RFC 6979), low S."""
        return bytes(self._local.signer().sign(data, deterministic=True, canonicalise=True))

    def __repr__(self) -> str:
        return f"Wallet({self.address})"

    def __reduce__(self) -> NoReturn:
        raise TypeError("a wallet is not for pickling: it would write the key")


def checked_words(phrase: str) -> list[str]:
    """The words of a phrase in lower case. Raises `PhraseInvalid`, which names positions, never words."""
    words = unicodedata.normalize("NFKD", phrase).lower().split()
    if len(words) not in PHRASE_LENGTHS:
        raise PhraseInvalid(
            f"A recovery phrase has 12, 15, 18, 21 or 24 words; this one has {len(words)}.",
            "Give all words in their order, separated by spaces.",
        )
    places = _word_places()
    bits = 0
    for position, word in enumerate(words, start=1):
        if word not in places:
            raise PhraseInvalid(
                f"Word {position} of the recovery phrase is not one of the 2048 English words of BIP-39.",
                "Check its spelling.",
                position,
            )
        bits = bits << _BITS_PER_WORD | places[word]
    checksum_bits = len(words) * _BITS_PER_WORD // _CHECKSUM_DIVISOR
    entropy = (bits >> checksum_bits).to_bytes(checksum_bits * 4, "big")
    expected = hashlib.sha256(entropy).digest()[0] >> (8 - checksum_bits)
    if bits & ((1 << checksum_bits) - 1) != expected:
        raise PhraseInvalid(
            "The check sum of the recovery phrase is wrong: a word is wrong or two are exchanged.",
            "Compare it with what was written down.",
        )
    return words


def phrase_of(entropy: bytes) -> str:
    """The phrase of 16, 20, 24, 28 or 32 random bytes."""
    return str(cosmos.entropy_to_mnemonic(entropy))


def verify_signature(public_key: bytes, data: bytes, signature: bytes) -> bool:
    """Whether ``signature`` (r ‖ s, low S) over SHA-256 of ``data`` is that key's, as nodes check it."""
    if len(signature) != SIGNATURE_BYTES or int.from_bytes(signature[32:], "big") > _HALF_ORDER:
        return False
    try:
        return bool(cosmos.PublicKey(public_key).verify(data, signature))
    except Exception:
        return False


@cache
def _word_places() -> dict[str, int]:
    return {word: place for place, word in enumerate(cosmos.ENGLISH_MNEMONIC_WORDS_LIST)}
