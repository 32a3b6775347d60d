"""Who spent a ticket twice (docs/protocol/07 §12).

One payment reveals nothing about its user. Two payments with the same ticket but different pay-info give
two points on a line whose origin is the user's public key.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TypeAlias

from zknym.constants import GROUP_ORDER
from zknym.curve import encode_g1, g1_sum, invert
from zknym.pay_info import PayInfo
from zknym.payment import Payment
from zknym.user_keys import UserPublicKey


@dataclass(frozen=True, slots=True)
class NotADuplicate:
    """The payments have no ticket in common."""


@dataclass(frozen=True, slots=True)
class SamePayment:
    """A common ticket, paid with the same pay-info: the payment was sent twice, which proves nothing."""

    pay_info: PayInfo


@dataclass(frozen=True, slots=True)
class DoubleSpender:
    """A common ticket, paid under different pay-info: it was spent twice, by the holder of this key."""

    public_key: UserPublicKey


Identification: TypeAlias = NotADuplicate | SamePayment | DoubleSpender


def identify(first: Payment, first_info: PayInfo, second: Payment, second_info: PayInfo) -> Identification:
    """Compares two payments. Both must have been verified: only then does the key mean anything."""
    positions = {encode_g1(point): j for j, point in enumerate(second.serial_numbers)}
    common = [
        (k, positions[encoded])
        for k, encoded in enumerate(map(encode_g1, first.serial_numbers))
        if encoded in positions
    ]
    if not common:
        return NotADuplicate()
    if first_info == second_info:
        return SamePayment(first_info)
    k, j = common[-1]
    first_factor, second_factor = first_info.factor(k), second_info.factor(j)
    scale = invert((first_factor - second_factor) % GROUP_ORDER)
    point = g1_sum([(second.tags[j], first_factor * scale), (first.tags[k], -second_factor * scale)])
    return DoubleSpender(UserPublicKey(point))
