"""Bech32 addresses of accounts (20 bytes) and contracts (32 bytes) (docs/protocol/08 §1, §2)."""

from __future__ import annotations

import hashlib
from typing import Final

from bech32 import bech32_decode, bech32_encode, convertbits

from nym_credentials.chain import cosmos
from nym_credentials.errors import AddressInvalid

ACCOUNT_BYTES: Final = 20
CONTRACT_BYTES: Final = 32
_MAX_CHARACTERS: Final = 90
"""Of any bech32 text (BIP-173)."""


def encode_address(prefix: str, data: bytes) -> str:
    """The text of an address."""
    groups = convertbits(data, 8, 5)
    if groups is None or len(data) not in (ACCOUNT_BYTES, CONTRACT_BYTES):
        raise AddressInvalid("An address has 20 bytes, or 32 for a contract.")
    return bech32_encode(prefix, groups)


def decode_address(text: str, prefix: str) -> bytes:
    """The 20 or 32 bytes of an address. Raises `AddressInvalid`."""
    found, groups = bech32_decode(text) if len(text) <= _MAX_CHARACTERS else (None, None)
    if found is None or groups is None:
        raise AddressInvalid("It is not a bech32 address: a character or the check sum is wrong.")
    if found != prefix:
        raise AddressInvalid(f"Addresses of this network start with {prefix}1.")
    data = convertbits(groups, 5, 8, False)
    if data is None or len(data) not in (ACCOUNT_BYTES, CONTRACT_BYTES):
        raise AddressInvalid("An address has 20 bytes, or 32 for a contract.")
    return bytes(data)


def check_address(text: object, prefix: str) -> None:
    """Raises `AddressInvalid` unless ``text`` is an address of that prefix in lower case."""
    if not isinstance(text, str) or text != text.lower():
        raise AddressInvalid("It has to be a text in lower case.")
    decode_address(text, prefix)


def address_of_public_key(public_key: bytes, prefix: str) -> str:
    """The account of a compressed secp256k1 key: RIPEMD-160 of SHA-256, in bech32."""
    # OpenSSL 3 often comes without RIPEMD-160, so hashlib cannot be relied on.
    return encode_address(prefix, cosmos.ripemd160(hashlib.sha256(public_key).digest()))
