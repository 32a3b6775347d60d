"""Whether a book may be paid for: asked before anything is signed (docs/protocol/10 §6). Pure.

What may have been paid counts as paid: a transaction that was signed could reach the chain today or tomorrow, so as
long as it is open it counts for the day and the month of both.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, datetime

from nym_credentials.money import format_nym
from nym_credentials.topup.hindrances import WORDS, Hindrance
from nym_credentials.topup.settings import BudgetLimits
from nym_credentials.topup.stock import next_midnight


@dataclass(frozen=True, slots=True)
class Payment:
    """One deposit that was paid or may be, for the sums of a budget."""

    unix: float
    """When it was begun."""
    price: int
    """unym, without the fee."""
    open: bool = False
    """Whether it could still reach the chain."""
    paid_unix: float | None = None
    """When it reached the chain, if known."""


@dataclass(frozen=True, slots=True)
class Spent:
    """What counts against the caps at a moment, in unym."""

    day: int
    month: int

    @classmethod
    def of(cls, payments: Iterable[Payment], now: float) -> Spent:
        """The sums of the UTC day and month of `now`."""
        today = datetime.fromtimestamp(now, UTC).date()
        day = month = 0
        for payment in payments:
            moments = [payment.unix, *([payment.paid_unix] if payment.paid_unix is not None else [])]
            dates = {datetime.fromtimestamp(moment, UTC).date() for moment in moments}
            if payment.open:
                dates.add(today)
            if today in dates:
                day += payment.price
            if any((date.year, date.month) == (today.year, today.month) for date in dates):
                month += payment.price
        return cls(day, month)


@dataclass(frozen=True, slots=True)
class Offer:
    """What a book costs at this moment, and what the account holds; unym."""

    price: int
    fee: int
    balance: int


@dataclass(frozen=True, slots=True)
class Refusal:
    """A no, before anything was signed."""

    hindrance: Hindrance
    detail: str
    """With the numbers."""
    until_unix: float | None = None
    """When it ends by itself, if that is known."""

    @property
    def text(self) -> str:
        """For people: what happened, the numbers, what to do."""
        words = WORDS[self.hindrance]
        return f"{words.happened} {self.detail} Nothing was signed. {words.to_do}"


def next_month(now: float) -> float:
    """00:00 UTC of the first day of the next month."""
    today = datetime.fromtimestamp(now, UTC)
    year, month = (today.year + 1, 1) if today.month == 12 else (today.year, today.month + 1)
    return datetime(year, month, 1, tzinfo=UTC).timestamp()


def judge(limits: BudgetLimits, offer: Offer, spent: Spent, now: float) -> Refusal | None:
    """None if one book may be bought at this offer, else the first reason why not."""
    price = offer.price
    if limits.max_price is not None and price > limits.max_price:
        return Refusal(
            Hindrance.PRICE, f"It costs {format_nym(price)}, and {format_nym(limits.max_price)} are allowed."
        )
    if limits.per_deposit is not None and price + offer.fee > limits.per_deposit:
        return Refusal(
            Hindrance.DEPOSIT_CAP,
            f"It is {format_nym(price + offer.fee)} with the fee, and {format_nym(limits.per_deposit)} are allowed.",
        )
    capped = (
        (Hindrance.MONTH_CAP, limits.per_month, spent.month, next_month(now)),
        (Hindrance.DAY_CAP, limits.per_day, spent.day, next_midnight(now)),
    )
    for hindrance, cap, so_far, until in capped:
        if cap is not None and so_far + price > cap:
            return Refusal(
                hindrance,
                f"{format_nym(so_far)} of {format_nym(cap)} are spent, and a book costs {format_nym(price)}"
                + (", more than the whole cap: waiting does not help." if price > cap else "."),
                # A price above the cap does not fit into the next day either.
                until if price <= cap else None,
            )
    if offer.balance < price + offer.fee:
        return Refusal(
            Hindrance.FUNDS,
            f"It holds {format_nym(offer.balance)}, and a book costs {format_nym(price + offer.fee)} with the fee.",
        )
    if offer.balance - price - offer.fee < limits.reserve:
        return Refusal(
            Hindrance.RESERVE,
            f"It holds {format_nym(offer.balance)}, a book costs {format_nym(price + offer.fee)} with the fee, "
            f"and {format_nym(limits.reserve)} have to stay.",
        )
    return None
