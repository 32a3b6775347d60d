"""What an operator may choose: the marks of `[tickets]` and the caps of `[budget]` (docs/protocol/10 §6). Pure.

The texts are those of the configuration: ``"12h"`` or ``30`` for a mark, ``"150 NYM"`` for an amount.
"""

from __future__ import annotations

import math
import re
from dataclasses import dataclass
from typing import Final, Self

from nym_credentials.money import format_nym, parse_nym
from nym_credentials.topup.burn import DAY_SECONDS, HOUR_SECONDS

_MARK_PART: Final = re.compile(r"(\d+(?:\.\d+)?)(m|h|d)", re.ASCII)
_SECONDS: Final = {"m": 60.0, "h": HOUR_SECONDS, "d": DAY_SECONDS}
MAX_MARK_SECONDS: Final = 6 * DAY_SECONDS
"""A book lives for seven UTC days, the first of them in part: more than six cannot be kept in hand."""


@dataclass(frozen=True, slots=True)
class Mark:
    """A level of the stock: so long the tickets last at the projected use, or so many tickets. One of the two."""

    seconds: float | None = None
    tickets: int | None = None

    def __post_init__(self) -> None:
        if (self.seconds is None) == (self.tickets is None):
            raise ValueError("a mark is either a time or a number of tickets")
        if self.seconds is not None and not 0 < self.seconds <= MAX_MARK_SECONDS:
            raise ValueError("has to be above zero and at most 6d: a ticketbook lives for 7 UTC days")
        if self.tickets is not None and self.tickets < 1:
            raise ValueError("has to be at least one ticket")

    @classmethod
    def parse(cls, text: str | int) -> Self:
        """``"12h"``, ``"1d12h"``, ``"90m"`` or a number of tickets. Raises `ValueError`."""
        if isinstance(text, int):
            return cls(tickets=text)
        text = text.strip()
        if text.isascii() and text.isdigit():
            return cls(tickets=int(text))
        seconds, position = 0.0, 0
        while part := _MARK_PART.match(text, position):
            seconds += float(part[1]) * _SECONDS[part[2]]
            position = part.end()
        if not text or position < len(text):
            raise ValueError("neither a time such as 12h nor a number of tickets")
        return cls(seconds=seconds)

    def __str__(self) -> str:
        if self.seconds is None:
            return f"{self.tickets} tickets"
        hours, rest = divmod(round(self.seconds), 3600)
        return (f"{hours}h" if hours else "") + (f"{rest // 60}m" if rest else "")


@dataclass(frozen=True, slots=True)
class TopUpSettings:
    """``[tickets]``: when to buy."""

    low: Mark = Mark(seconds=12 * HOUR_SECONDS)
    """Below this a book is bought."""
    high: Mark = Mark(seconds=48 * HOUR_SECONDS)
    """At or above this none is."""
    standby: bool = True
    """Keep a book in hand although nobody uses it: one a week, so that the first use does not wait for a purchase."""
    lead_seconds: float = 600.0
    """So long the tickets in hand must last at the highest rate seen: a purchase, and once more if it fails."""
    settle_seconds: float = 180.0
    """Within this a purchase that is begun has normally brought its book."""
    grace_tickets: float = 0.2
    """What a gateway still grants at least when it is given the next ticket (docs/protocol/10 §5), in tickets."""

    def __post_init__(self) -> None:
        if (self.low.seconds is None) != (self.high.seconds is None):
            raise ValueError(
                "low_water and high_water have to be of one kind: two times, or two numbers of tickets"
            )
        if self._of(self.low) > self._of(self.high):
            raise ValueError("low_water is above high_water")

    @staticmethod
    def _of(mark: Mark) -> float:
        return mark.seconds if mark.seconds is not None else float(mark.tickets or 0)

    @property
    def comfort(self) -> float:
        """Between the marks, in their unit: below this a book is bought that certainly will be used up."""
        return math.sqrt(self._of(self.low) * self._of(self.high))

    @property
    def high_level(self) -> float:
        """The high mark, in its unit."""
        return self._of(self.high)

    @classmethod
    def parse(
        cls, low_water: str | int = "12h", high_water: str | int = "48h", *, standby: bool = True
    ) -> Self:
        """From the configuration. Raises `ValueError` that says which is wrong, and why."""
        marks: list[Mark] = []
        for name, text in (("low_water", low_water), ("high_water", high_water)):
            try:
                marks.append(Mark.parse(text))
            except ValueError as error:
                raise ValueError(f"{name} {error}") from None
        return cls(low=marks[0], high=marks[1], standby=standby)


@dataclass(frozen=True, slots=True)
class BudgetLimits:
    """``[budget]``, in unym. The caps are on what is paid for ticketbooks; the chain's fee, thousandths of a NYM a
    purchase, comes on top of them and out of the same balance. None: no such cap."""

    per_day: int | None = 150_000_000
    """UTC day."""
    per_month: int | None = 1_500_000_000
    """UTC calendar month."""
    per_deposit: int | None = None
    """One transaction, with its fee."""
    max_price: int | None = 100_000_000
    """Of one ticketbook, as the contract states it."""
    reserve: int = 1_000_000
    """Stays in the account after price and fee."""

    def __post_init__(self) -> None:
        for name in ("per_day", "per_month", "per_deposit", "max_price", "reserve"):
            value = getattr(self, name)
            if value is not None and value < 0:
                raise ValueError(f"{name} is below zero")

    @classmethod
    def parse(
        cls,
        per_day: str = "150 NYM",
        per_month: str = "1500 NYM",
        max_price: str = "100 NYM",
        reserve: str = "1 NYM",
        per_deposit: str = "",
    ) -> Self:
        """From the configuration; an empty text means no cap. Raises `InvalidAmount`."""

        def cap(text: str) -> int | None:
            return parse_nym(text) if text.strip() else None

        return cls(
            per_day=cap(per_day),
            per_month=cap(per_month),
            per_deposit=cap(per_deposit),
            max_price=cap(max_price),
            reserve=cap(reserve) or 0,
        )

    def __str__(self) -> str:
        caps = (
            (self.per_day, "a day"),
            (self.per_month, "a month"),
            (self.per_deposit, "a deposit"),
            (self.max_price, "a ticketbook"),
        )
        said = [f"at most {format_nym(amount)} {what}" for amount, what in caps if amount is not None]
        return ", ".join([*said, f"{format_nym(self.reserve)} stay in the account"])
