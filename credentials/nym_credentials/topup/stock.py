"""Tickets in hand, how long they last and what a new book would waste (docs/protocol/10 §1, §6). Pure."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta

from nym_credentials.topup.burn import DAY_SECONDS, Forecast
from zknym import TICKETS_PER_BOOK, default_expiration

__all__ = [
    "TICKETS_PER_BOOK",
    "Lot",
    "dies_at",
    "live",
    "midnight_after",
    "next_midnight",
    "runs_out",
    "tickets_in",
    "waste",
]


@dataclass(frozen=True, slots=True)
class Lot:
    """The tickets left in one book."""

    tickets: int
    dies_unix: float
    """00:00 UTC after the last day of the book: from then on its tickets are worth nothing."""

    @classmethod
    def of(cls, tickets: int, expiration: date) -> Lot:
        """Of a book whose last UTC day is `expiration`."""
        return cls(tickets, midnight_after(expiration))

    @classmethod
    def bought(cls, now: float) -> Lot:
        """A new book."""
        return cls(TICKETS_PER_BOOK, dies_at(now))


def midnight_after(day: date) -> float:
    """00:00 UTC of the next day, Unix seconds."""
    following = day + timedelta(days=1)
    return datetime(following.year, following.month, following.day, tzinfo=UTC).timestamp()


def dies_at(now: float) -> float:
    """When a book that is issued now dies."""
    return midnight_after(default_expiration(datetime.fromtimestamp(now, UTC).date()))


def next_midnight(now: float) -> float:
    """The next 00:00 UTC, later than now."""
    return (now // DAY_SECONDS + 1) * DAY_SECONDS


def live(lots: Iterable[Lot], now: float) -> list[Lot]:
    """Those that can still be spent, in the order in which they are."""
    return sorted(
        (lot for lot in lots if lot.tickets > 0 and lot.dies_unix > now), key=lambda lot: lot.dies_unix
    )


def tickets_in(lots: Iterable[Lot], now: float) -> int:
    """How many can be spent now."""
    return sum(lot.tickets for lot in lots if lot.dies_unix > now)


def runs_out(lots: Sequence[Lot], forecast: Forecast, now: float) -> float:
    """When there will be no ticket: all used, or the last book dead. `now` if there is none."""
    moment = now
    for lot in live(lots, now):
        if lot.dies_unix <= moment:
            continue
        moment = forecast.when(moment, lot.tickets, lot.dies_unix) or lot.dies_unix
    return moment


def waste(lots: Sequence[Lot], forecast: Forecast, at: float, now: float) -> float:
    """How many tickets of a book bought at `at` would die unused, if no other is bought after it."""
    moment = now
    for lot in live(lots, now):  # none of them outlives a newer one, so all are used before it
        if lot.dies_unix > moment:
            moment = forecast.when(moment, lot.tickets, lot.dies_unix) or lot.dies_unix
    return max(0.0, TICKETS_PER_BOOK - forecast.use(max(moment, at), dies_at(at)))
