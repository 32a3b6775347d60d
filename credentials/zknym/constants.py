"""Fixed numbers of the deployed e-cash scheme (docs/protocol/07 §1)."""

from __future__ import annotations

from typing import Final

GROUP_ORDER: Final = 0x73EDA753299D7D483339D80809A1D80553BDA402FFFE5BFEFFFFFFFF00000001
"""The prime order r of G1, G2 and GT; scalars are integers modulo it."""

SCALAR_BYTES: Final = 32
G1_BYTES: Final = 48
G2_BYTES: Final = 96

TICKETS_PER_BOOK: Final = 50
VALIDITY_DAYS: Final = 7
"""Days on which a book can be spent, the day of issue included."""
SECONDS_PER_DAY: Final = 86_400

SIGNED_ATTRIBUTES: Final = 4
"""User secret, wallet secret, expiration date, ticket type: the order of the y values of a signer."""
DEPLOYED_KEY_LENGTH: Final = 4
"""y values of the keys made by the network's distributed key generation."""
TRUSTED_PARTY_KEY_LENGTH: Final = 5
"""y values of the keys made by one trusted party: the fifth is never used, yet it is hashed with the key."""

PAY_INFO_BYTES: Final = 72
PAY_INFO_TOLERANCE_SECONDS: Final = 30
"""How far a payment's time may be from the gateway's (docs/protocol/07 §11.1), both ends included."""

TYPE_EXPIRATION: Final = int.from_bytes(b"ZKNYMEXPIRATIONDATE4llCBMEypAxr3", "little")
TYPE_COIN_INDEX: Final = int.from_bytes(b"ZKNYMSINDICESh^7gTYbhnap*12n5GG6", "little")
"""Domain separators: they keep a date signature from ever being taken for a coin-index signature."""

WEIGHT_BITS: Final = 128
"""Size of the random weights of batch checks: a wrong batch passes with a chance of 2^-128."""

MAX_U32: Final = 2**32 - 1
MAX_U64: Final = 2**64 - 1
