"""Amounts of money: exact integers of the base denomination, and how people write them (docs/protocol/08 §1)."""

from __future__ import annotations

import re
from dataclasses import dataclass
from decimal import Decimal
from typing import Final

from nym_credentials.errors import InvalidAmount

UNYM_PER_NYM: Final = 1_000_000
NYM_EXPONENT: Final = 6
"""Decimal places of one NYM."""
MAX_AMOUNT: Final = 2**128 - 1
"""Contracts count in unsigned 128-bit integers."""

_COIN: Final = re.compile(r"([0-9]{1,39})([a-zA-Z][a-zA-Z0-9/:._-]{2,127})")
_NYM: Final = re.compile(r"([0-9]{1,33})(?:\.([0-9]+))?\s*(?:nym)?", re.IGNORECASE)
_UNYM: Final = re.compile(r"([0-9]{1,39})\s*unym", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class Coin:
    """``amount`` of the base denomination ``denom``, e.g. 75000000 unym. Never a fraction, never negative."""

    denom: str
    amount: int

    def __post_init__(self) -> None:
        if type(self.amount) is not int or not 0 <= self.amount <= MAX_AMOUNT:
            raise InvalidAmount("An amount of coins has to be a whole number from 0 to 2^128-1.")
        if not self.denom:
            raise InvalidAmount("An amount of coins needs a denomination, such as unym.")

    def __str__(self) -> str:
        """As the chain writes it: ``75000000unym``."""
        return f"{self.amount}{self.denom}"

    @classmethod
    def parse(cls, text: str) -> Coin:
        """The inverse of ``str``. Raises `InvalidAmount`."""
        match = _COIN.fullmatch(text)
        if match is None:
            raise InvalidAmount(f"{text!r} is no amount of coins.", "Write it like 75000000unym.")
        return cls(match[2], int(match[1]))


def format_nym(unym: int) -> str:
    """``75 NYM``, ``0.003938 NYM``: exact, without trailing zeros."""
    sign, unym = ("-", -unym) if unym < 0 else ("", unym)
    whole, rest = divmod(unym, UNYM_PER_NYM)
    fraction = f".{rest:0{NYM_EXPONENT}d}".rstrip("0") if rest else ""
    return f"{sign}{whole}{fraction} NYM"


def format_coin(coin: Coin, exponent: int = NYM_EXPONENT) -> str:
    """For people: in the display denomination for ``u…`` denominations (``75 NYM``), else as the chain has it."""
    if not coin.denom.startswith("u"):
        return str(coin)
    value = Decimal(coin.amount).scaleb(-exponent)
    text = f"{value:f}"
    if "." in text:
        text = text.rstrip("0").rstrip(".")
    return f"{text} {coin.denom[1:].upper()}"


def parse_nym(text: str) -> int:
    """unym of ``"150 NYM"``, ``"150"``, ``"0.5"`` or ``"75000000unym"``. Raises `InvalidAmount`."""
    trimmed = text.strip()
    base = _UNYM.fullmatch(trimmed)
    if base is not None:
        return _bounded(int(base[1]))
    match = _NYM.fullmatch(trimmed)
    if match is None:
        raise InvalidAmount(f"{text!r} is no amount of NYM.", "Write it like 150, 0.5 NYM or 75000000unym.")
    fraction = (match[2] or "").rstrip("0")
    if len(fraction) > NYM_EXPONENT:
        raise InvalidAmount(f"{text!r} is finer than the smallest unit.", "One NYM has 6 decimal places.")
    return _bounded(int(match[1]) * UNYM_PER_NYM + int(fraction.ljust(NYM_EXPONENT, "0")))


def _bounded(unym: int) -> int:
    if unym > MAX_AMOUNT:
        raise InvalidAmount("That amount is larger than any the chain can hold.", "Give a smaller one.")
    return unym
