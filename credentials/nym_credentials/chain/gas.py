"""Gas limits and fees (docs/protocol/08 §4.4)."""

from __future__ import annotations

import math
import re
import struct
from dataclasses import dataclass
from fractions import Fraction
from typing import Final

from nym_credentials.errors import InvalidAmount
from nym_credentials.money import Coin

GAS_MULTIPLIER: Final = 1.5
"""On what the simulation used; upstream's, a single-precision number."""
_PRICE: Final = re.compile(r"([0-9]+(?:\.[0-9]*)?|\.[0-9]+)\s*([a-zA-Z][a-zA-Z0-9/:._-]{2,127})")


@dataclass(frozen=True, slots=True)
class GasPrice:
    """What one unit of gas costs, exact."""

    amount: Fraction
    denom: str

    @classmethod
    def parse(cls, text: str) -> GasPrice:
        """From ``"0.025unym"``. Raises `InvalidAmount`."""
        match = _PRICE.fullmatch(text.strip())
        if match is None:
            raise InvalidAmount(f"{text!r} is no gas price.", "Write it like 0.025unym.")
        return cls(Fraction(match[1]), match[2])

    def fee(self, gas_limit: int) -> Coin:
        """The fee for a limit, rounded up: 157500 gas at 0.025 cost 3938, never 3937."""
        return Coin(self.denom, math.ceil(self.amount * gas_limit))


GAS_PRICE_AMOUNT: Final = Fraction(25, 1000)
"""unym per unit of gas, upstream's default."""


def gas_limit(gas_used: int, multiplier: float = GAS_MULTIPLIER) -> int:
    """The limit for a transaction whose simulation used ``gas_used``, in single precision as upstream computes it.

    Never below the simulated gas. Above 2^24 the rounding to single precision can be seen.
    """
    if multiplier == 1.0:
        return gas_used
    product = _single(_single(gas_used) * _single(multiplier))
    return max(math.ceil(product), gas_used)


def _single(number: float) -> float:
    """The number rounded to IEEE single precision."""
    rounded: float = struct.unpack("<f", struct.pack("<f", number))[0]
    return rounded
