"""The control loop of buying tickets, without the loop: what to do now, why, and when to look again. Pure.

How badly a book is needed is `Need`, from what is in hand and what will be used:

* URGENT: what is left would be gone before a purchase could be tried twice, at the highest rate seen. Bought at once,
  whatever it wastes.
* DUE: below the low mark. Bought within minutes; or just after 00:00 UTC, where it lives a day longer, if its tickets
  would not be used up otherwise and what is in hand reaches until then.
* FREE: between the marks, and certain to be used up before it dies. Bought within hours, at a moment drawn by lot, so
  that deposits do not mirror use; what is in hand then outlasts a day without signers.
* DUE, put off: where use is slow and a habit, a book that would not be used up waits for midnight even with the last
  ticket, for as long as what is in hand and what the gateway still grants outlast two tries of a purchase.
* NONE: everything else; above all whatever would die unused (docs/protocol/10 §6).

A purchase is begun one at a time. What fails is left alone for a while (`BackOff`); what the budget refuses is asked
again when that may have changed.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from enum import IntEnum
from random import Random
from typing import Final

from nym_credentials.topup.backoff import BackOff
from nym_credentials.topup.budget import Refusal
from nym_credentials.topup.burn import HOUR_SECONDS, BurnMeter, Forecast, Outlook
from nym_credentials.topup.hindrances import WORDS, Hindrance, Supply, SupplyEvent, next_supply
from nym_credentials.topup.settings import Mark, TopUpSettings
from nym_credentials.topup.stock import Lot, live, next_midnight, runs_out, tickets_in, waste

AFTER_MIDNIGHT_SECONDS: Final = (31.0, 60.0)
"""A purchase that waited for the day to change begins in this window: when every signer agrees which day it is."""
AFTER_MIDNIGHT_CALM_SECONDS: Final = (60.0, 5_400.0)
"""The same, when tickets are left for longer."""
LOOK_SECONDS: Final = HOUR_SECONDS
"""A look at least so often: projections change by the hour."""
DUE_JITTER_SECONDS: Final = 1_800.0
FREE_JITTER_SECONDS: Final = 6 * HOUR_SECONDS
FREE_AHEAD_SECONDS: Final = FREE_JITTER_SECONDS + 2 * HOUR_SECONDS
"""So long before the level between the marks is reached its moment is drawn."""
URGENT_JITTER_SECONDS: Final = 10.0
PRICE_SECONDS: Final = 1_200.0
"""The price and the budget are looked at again so often while they are in the way."""
FUNDS_SECONDS: Final = 240.0
"""The balance is."""
TRACES_MIDNIGHT: Final = frozenset({23, 0})
ELSEWHERE_SECONDS: Final = 30.0
"""So long another process is given to buy, which may end before it has."""
ALL_HOURS: Final = frozenset(range(24))
BURST_MEMORY_DAYS: Final = 9
_NEGLIGIBLE_TICKETS: Final = 0.5
_MARGIN_TRIES: Final = 2
"""For so many tries of a purchase at the highest rate something is kept, where a purchase is put off …"""
_MOST_MARGIN_TICKETS: Final = 0.5
"""… and none is put off where that is more."""
_MAY_REACH: Final = 0.85
"""Days of a habit differ by as much."""
_SOONEST_SECONDS: Final = 10.0
_SHORT_OF_SECONDS: Final = 3 * HOUR_SECONDS
"""A purchase is not put off until midnight if what is in hand lasts no longer than this beyond the floor."""


class Need(IntEnum):
    """How badly a book is needed."""

    NONE = 0
    FREE = 1
    DUE = 2
    URGENT = 3


@dataclass(frozen=True, slots=True)
class Assessment:
    """What is in hand against what will be used, at one moment."""

    need: Need
    why: str
    tickets: int
    """That can be spent now."""
    floor: int
    """Fewer are urgent."""
    out_unix: float
    """When none will be left, as projected; with no use at all, when the last book dies."""
    per_day: float
    """Projected."""
    wait_for_midnight: bool = False
    look_unix: float | None = None
    """It may look different then."""


@dataclass(frozen=True, slots=True)
class Decision:
    """What to do now."""

    buy: bool
    """Begin one purchase, or go on with an unfinished one."""
    need: Need
    why: str
    look_unix: float
    """Look again then, or earlier when something happens."""
    assessment: Assessment
    moment_unix: float | None = None
    """When the purchase is meant to begin, if one is."""


@dataclass(frozen=True, slots=True)
class Trouble:
    """Why the last purchase was not made, and when the next one may be tried."""

    hindrance: Hindrance
    text: str
    retry_unix: float


@dataclass(frozen=True, slots=True)
class _Appointment:
    need: Need
    midnight: bool
    moment: float


class TopUpControl:
    """Decides. Tell it of use through `meter`, and what came of each purchase; ask `decide` after either."""

    def __init__(self, settings: TopUpSettings, meter: BurnMeter, rng: Random) -> None:
        """`rng` draws moments and delays; a `random.SystemRandom` outside tests."""
        self.settings = settings
        self.meter = meter
        self.backoff = BackOff(rng)
        self.supply = Supply.OK
        self.trouble: Trouble | None = None
        self._rng = rng
        self._appointment: _Appointment | None = None
        self._granted = 0.0

    # ---- what is needed ----------------------------------------------------------------------------------

    def floor(self, now: float, sessions: int) -> int:
        """Tickets that a purchase, tried twice, may take until it brings more.

        What a rate is believed to last grows with how long it has lasted: a minute of it does not make ten.
        """
        settings = self.settings
        burst = max(
            rate * min(settings.lead_seconds, 2 * window + settings.settle_seconds / 2)
            for window, rate in self.meter.rates(now)
        )
        seen = max(self.meter.peak(now), self.meter.nominal()) * settings.lead_seconds
        return max(2, sessions, math.ceil(max(burst, seen) / HOUR_SECONDS * sessions))

    def assess(self, now: float, lots: Sequence[Lot], sessions: int = 1) -> Assessment:
        """How badly a book is needed now, and why. Draws nothing, changes nothing."""
        tickets, floor = tickets_in(lots, now), self.floor(now, sessions)
        expected = self.meter.forecast(now, Outlook.EXPECTED, sessions)
        out = runs_out(lots, expected, now)

        def found(need: Need, why: str, *, midnight: bool = False) -> Assessment:
            return Assessment(need, why, tickets, floor, out, expected.per_day, midnight)

        if not self._wanted(now, sessions, expected):
            return found(Need.NONE, "Nothing is used, and no book is kept in hand.")
        dying = self._dies_next(lots, now)
        low = self.settings.low
        few = tickets <= floor or self._below(low, tickets, out, now)
        # A mark in tickets asks for that many in hand, whatever they cost; what dies is not in hand.
        if dying is not None or (few and low.seconds is not None):
            look = self._put_off_until(now, lots, sessions, tickets, expected)
            if look is not None:
                why = f"{self._lasts(tickets, out, now)}; a book of tomorrow would live a day longer."
                return replace(found(Need.DUE, why, midnight=True), look_unix=look)
        if tickets == 0:
            return found(Need.URGENT, "There is no ticket.")
        if tickets <= floor:
            if dying is not None and self._quiet(now, lots, sessions, tickets):
                return found(
                    Need.DUE, "The last tickets die at midnight, and last until then.", midnight=True
                )
            return found(
                Need.URGENT,
                f"{tickets} tickets are left, and {floor} may be needed before a purchase is done.",
            )
        if self._below(low, tickets, out, now):
            why = f"{self._lasts(tickets, out, now)}: below the low mark, {low}."
            wasted = waste(lots, expected, now, now)
            midnight = wasted > _NEGLIGIBLE_TICKETS and self._can_wait(now, lots, sessions, tickets, floor)
            return found(Need.DUE, why, midnight=midnight)
        if dying is not None and not self._can_wait(now, lots, sessions, tickets, floor):
            return found(Need.DUE, "All tickets die at midnight, and some may be needed right after it.")
        if self._free(now, lots, sessions, tickets):
            return found(Need.FREE, f"{self._lasts(tickets, out, now)}, and another book will be used up.")
        return found(Need.NONE, f"{self._lasts(tickets, out, now)}.")

    def _wanted(self, now: float, sessions: int, expected: Forecast) -> bool:
        if self.settings.standby:
            return True
        # Without standby somebody has to use tickets: today, or on the days that projections come from.
        worst = self.meter.forecast(now, Outlook.WORST, sessions)
        return max(expected.per_day, worst.per_day) > 0 or any(rate > 0 for _, rate in self.meter.rates(now))

    def _lasts(self, tickets: int, out: float, now: float) -> str:
        hours = (out - now) / HOUR_SECONDS
        return (
            f"{tickets} tickets are left for {hours:.0f} hours"
            if hours >= 1
            else f"{tickets} tickets are left"
        )

    def _below(self, mark: Mark, tickets: int, out: float, now: float) -> bool:
        if mark.seconds is not None:
            return out - now <= mark.seconds
        return tickets <= (mark.tickets or 0)

    def _dies_next(self, lots: Sequence[Lot], now: float) -> float | None:
        """The next midnight, if no ticket in hand outlives it."""
        midnight = next_midnight(now)
        return midnight if all(lot.dies_unix <= midnight for lot in live(lots, now)) else None

    def _quiet(self, now: float, lots: Sequence[Lot], sessions: int, tickets: int) -> bool:
        """Whether hardly anything is used, so that even the last tickets reach until midnight and a bit further."""
        left = next_midnight(now) - now
        rate = max(rate for _, rate in self.meter.rates(now)) * sessions
        worst = self.meter.forecast(now, Outlook.WORST, sessions).use(now, now + left)
        return tickets > 1 and rate == 0.0 and worst < 1.0 and self._can_cross(now, sessions)

    def _can_wait(self, now: float, lots: Sequence[Lot], sessions: int, tickets: int, floor: int) -> bool:
        """Whether a purchase may be put off until just after the next midnight."""
        midnight = next_midnight(now)
        soon = min(midnight, now + _SHORT_OF_SECONDS)
        outlooks = (Outlook.EXPECTED, Outlook.WORST)
        needed = max(self.meter.forecast(now, outlook, sessions).use(now, soon) for outlook in outlooks)
        if tickets < floor + 1 + needed:
            return False
        return self._dies_next(lots, now) is None or self._can_cross(now, sessions)

    def _put_off_until(
        self, now: float, lots: Sequence[Lot], sessions: int, tickets: int, expected: Forecast
    ) -> float | None:
        """Where use is slow and a habit, a purchase may wait for midnight although few tickets are left, or none but
        what the gateway still grants. When that has to be looked at again; None if nothing may be put off.

        Where a book is used up in just about its week, each day that one is bought early is a seventh of its price.
        """
        if not self.meter.regular(now) or waste(lots, expected, now, now) <= _NEGLIGIBLE_TICKETS:
            return None
        rate = self._highest(now) * sessions
        margin = rate * _MARGIN_TRIES * self.settings.settle_seconds / HOUR_SECONDS
        # With several sessions the allowance of one is nothing to the others.
        hand = tickets + self._granted if sessions == 1 else tickets - sessions
        if margin > _MOST_MARGIN_TICKETS or hand < margin:
            return None
        if self._dies_next(lots, now) is not None and not self._can_cross(now, sessions):
            return None
        until = next_midnight(now) + self.settings.settle_seconds
        outlooks = (Outlook.EXPECTED, Outlook.WORST)
        needed = max(self.meter.forecast(now, outlook, sessions).use(now, until) for outlook in outlooks)
        # Tickets that do not quite reach may: not every day is like the worst. Until the last is taken nothing is lost.
        enough = needed + margin if tickets == 0 else needed * _MAY_REACH
        if hand < enough:
            return None
        seconds = (hand - margin) / rate * HOUR_SECONDS if rate > 0 else HOUR_SECONDS
        return now + max(seconds, _SOONEST_SECONDS)

    def _highest(self, now: float) -> float:
        """The highest rate of the last days, and what the profile says: tickets an hour and session."""
        seen = self.meter.peak_at(ALL_HOURS, now, days=BURST_MEMORY_DAYS)
        return max(self.meter.nominal(), seen, *(rate for _, rate in self.meter.rates(now)))

    def _can_cross(self, now: float, sessions: int) -> bool:
        """Whether what gateways grant anyway lasts while a book is bought after midnight, the old ones being dead."""
        midnight = next_midnight(now)
        present = max(rate for _, rate in self.meter.rates(now))
        granted = self._granted - present * (midnight - now) / HOUR_SECONDS
        quiet_rate = max(self.settings.grace_tickets, granted) / self.settings.settle_seconds * HOUR_SECONDS
        habit = self.meter.peak_at(TRACES_MIDNIGHT, now)
        if max(present, habit, self.meter.nominal()) > quiet_rate:
            return False
        # Who bursts at odd hours may do so at midnight; who has not burst for longer than a book lives does not.
        if (
            self.meter.regular(now)
            or self.meter.peak_at(ALL_HOURS, now, days=BURST_MEMORY_DAYS) <= quiet_rate
        ):
            return True
        return self.meter.peak(now, half_life_days=BURST_MEMORY_DAYS / 2) <= quiet_rate

    def _free(self, now: float, lots: Sequence[Lot], sessions: int, tickets: int) -> bool:
        """Whether one more book would certainly be used up, and is wanted soon enough to draw a moment for it."""
        certain = self.meter.forecast(now, Outlook.CERTAIN, sessions)
        if certain.per_day <= 0:
            return False
        level, ahead = runs_out(lots, certain, now) - now, FREE_AHEAD_SECONDS
        if self.settings.low.seconds is None:
            level, ahead = float(tickets), certain.use(now, now + FREE_AHEAD_SECONDS)
        wanted = min(self.settings.comfort + ahead, self.settings.high_level)
        return level < wanted and waste(lots, certain, now, now) <= 0.0

    # ---- what to do --------------------------------------------------------------------------------------

    def decide(
        self,
        now: float,
        lots: Sequence[Lot],
        *,
        sessions: int = 1,
        unfinished: bool = False,
        granted: float | None = None,
    ) -> Decision:
        """What to do at `now` with these books in hand.

        `sessions`: client identities that send, each with cover traffic of its own: workers times isolation.
        `unfinished`: a purchase was begun and has to get on first. `granted`: what the gateway that grants least
        still grants, in tickets, if that is known.
        """
        self._granted = granted or 0.0
        found = self.assess(now, lots, sessions)
        look = min(now + LOOK_SECONDS, (now // HOUR_SECONDS + 1) * HOUR_SECONDS)
        if found.look_unix is not None:
            look = min(look, found.look_unix)
        retry = self.trouble.retry_unix if self.trouble is not None else 0.0
        if unfinished:
            self._note(found, now)
            why = "A purchase was begun and is taken up again."
            if now < retry:
                return Decision(False, found.need, why, min(look, retry), found, retry)
            return Decision(True, found.need, why, look, found, now)
        if found.need is Need.NONE:
            self._appointment, self.trouble = None, None
            self._note(found, now)
            return Decision(False, found.need, found.why, look, found)
        moment = max(self._moment(found, now), retry)
        self._note(found, now)
        if moment > now:
            return Decision(False, found.need, found.why, min(look, moment), found, moment)
        return Decision(True, found.need, found.why, look, found, now)

    def _moment(self, found: Assessment, now: float) -> float:
        """When to begin: drawn once for each need, and again only when the need has changed."""
        known = self._appointment
        if known is not None and known.midnight and 0 < known.moment - now <= AFTER_MIDNIGHT_SECONDS[1]:
            return known.moment  # the day has changed, and what was expected to die has died
        if known is not None and known.midnight and found.look_unix is not None and known.moment <= now:
            known = None  # that midnight has passed, and what was in hand reaches until the next
        if known is not None and known.need >= found.need and known.midnight == found.wait_for_midnight:
            return known.moment
        moment = self._draw(found, now)
        if known is not None and known.midnight == found.wait_for_midnight:
            moment = min(moment, known.moment)  # a need that grows brings nothing forward to later
        self._appointment = _Appointment(found.need, found.wait_for_midnight, moment)
        return moment

    def _draw(self, found: Assessment, now: float) -> float:
        draw = self._rng.uniform
        midnight = next_midnight(now)
        if found.wait_for_midnight:
            return midnight + draw(*AFTER_MIDNIGHT_SECONDS)
        if found.need is Need.URGENT:
            return now + (draw(0.0, URGENT_JITTER_SECONDS) if found.tickets else 0.0)
        if found.need is Need.FREE:
            if midnight - now <= FREE_JITTER_SECONDS:
                return midnight + draw(*AFTER_MIDNIGHT_CALM_SECONDS)
            return now + draw(0.0, FREE_JITTER_SECONDS)
        until = min(found.out_unix, midnight if self._settles_before(now, midnight) else math.inf)
        slack = until - self.settings.settle_seconds - now
        return now + draw(0.0, max(0.0, min(DUE_JITTER_SECONDS, slack / 4)))

    def _settles_before(self, now: float, midnight: float) -> bool:
        return midnight - now > 2 * self.settings.settle_seconds

    # ---- what came of it ---------------------------------------------------------------------------------

    def bought(self, now: float) -> None:
        """A book has come."""
        self._appointment, self.trouble = None, None
        for name in self.backoff.failures():
            self.backoff.worked(name)

    def refused(self, now: float, refusal: Refusal) -> Trouble:
        """The budget has said no."""
        if refusal.until_unix is not None:
            retry = refusal.until_unix + self._rng.uniform(*AFTER_MIDNIGHT_SECONDS)
        else:
            funds = refusal.hindrance in (Hindrance.FUNDS, Hindrance.RESERVE)
            retry = now + (FUNDS_SECONDS if funds else PRICE_SECONDS) * self._rng.uniform(0.5, 1.0)
        return self._troubled(Trouble(refusal.hindrance, refusal.text, retry))

    def failed(
        self,
        now: float,
        hindrance: Hindrance,
        text: str = "",
        *,
        parties: Mapping[str, str] | None = None,
        missing: int = 1,
    ) -> Trouble:
        """A purchase did not get on.

        `parties`: the signers or endpoints at fault, by address, with what they did; each is left alone by itself.
        Tried again when `missing` of them may be asked.
        """
        if parties:
            for name in parties:
                self.backoff.failed(name, now)
            retry = self.backoff.enough(parties, min(missing, len(parties)))
        elif hindrance is Hindrance.FUNDS:
            retry = now + FUNDS_SECONDS * self._rng.uniform(0.5, 1.0)  # a question that costs nobody much
        elif hindrance is Hindrance.ELSEWHERE:
            retry = now + ELSEWHERE_SECONDS * self._rng.uniform(0.5, 1.0)
        else:
            retry = self.backoff.failed(hindrance.value, now)
        words = WORDS[hindrance]
        return self._troubled(Trouble(hindrance, text or f"{words.happened} {words.to_do}", retry))

    def blind(self) -> None:
        """The stock could not be looked at, so nobody knows whether there are tickets; `failed` says why."""
        if self.supply is Supply.OK:
            self.supply = next_supply(self.supply, SupplyEvent.HINDERED)

    def copy(self, rng: Random) -> TopUpControl:
        """One that can be played forward without touching this one."""
        other = TopUpControl(self.settings, self.meter.copy(), rng)
        other.supply, other.trouble, other._appointment = self.supply, self.trouble, self._appointment
        return other

    def forget_trouble(self) -> None:
        """Tries again at once: the operator says so, or the configuration has changed."""
        self.trouble = None

    def _troubled(self, trouble: Trouble) -> Trouble:
        self.trouble = trouble
        return trouble

    def _note(self, found: Assessment, now: float) -> None:
        self.supply = next_supply(self.supply, self._event(found))

    def _event(self, found: Assessment) -> SupplyEvent:
        if found.tickets == 0 and (self.trouble is not None or not found.wait_for_midnight):
            return SupplyEvent.GONE
        trouble = self.trouble is not None and self.trouble.hindrance is not Hindrance.ELSEWHERE
        hindered = trouble and found.need >= Need.DUE
        return SupplyEvent.HINDERED if hindered else SupplyEvent.FINE

    @property
    def reason(self) -> str:
        """Why the supply is not OK, in words; empty if it is."""
        if self.supply is Supply.OK:
            return ""
        if self.trouble is not None:
            return self.trouble.text
        return "There is no ticket; a ticketbook is being bought."
