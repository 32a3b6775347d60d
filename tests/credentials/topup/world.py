"""A world on a virtual clock: use, gateways, a chain with prices and funds, signers; and one who tops up.

It keeps its own books of what was paid, by which caps are judged, and its own record of stalls.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from random import Random

from nym_credentials.topup.budget import Offer, Payment, Spent, judge
from nym_credentials.topup.burn import BurnMeter, ProfileRate
from nym_credentials.topup.control import TopUpControl
from nym_credentials.topup.hindrances import Hindrance, Supply
from nym_credentials.topup.settings import BudgetLimits, TopUpSettings
from nym_credentials.topup.stock import Lot, live, tickets_in
from tests.credentials.topup.traces import DAY, HOUR, WARM_UP, Trace

NYM = 1_000_000
PRICE = 75 * NYM
FEE = 3_938
GRACE = 0.2
EXCUSED_AFTER = 45 * 60.0
"""Somebody who is told at last that buying is possible may take so long: the longest pause between two tries, a try
and the purchase itself."""
FREE_OF_CAPS = BudgetLimits(per_day=None, per_month=None, max_price=None, reserve=0)


@dataclass
class Circumstances:
    """What happens to the one who tops up."""

    limits: BudgetLimits = FREE_OF_CAPS
    settings: TopUpSettings = field(default_factory=TopUpSettings)
    signers_down: list[tuple[float, float]] = field(default_factory=list)
    chain_down: list[tuple[float, float]] = field(default_factory=list)
    price: Callable[[float], int] = lambda _: PRICE
    funds: list[tuple[float, int]] = field(default_factory=lambda: [(0.0, 10**18)])
    """(when, unym) that arrive."""
    sessions: int = 1
    flaky: float = 0.02
    """Share of purchases whose first try fails."""


@dataclass
class Outcome:
    trace: Trace
    seed: object
    payments: list[tuple[float, int]] = field(default_factory=list)
    books: list[float] = field(default_factory=list)
    """When they came."""
    stalls: list[tuple[float, float]] = field(default_factory=list)
    states: list[tuple[float, Supply, str]] = field(default_factory=list)
    hindrances: set[Hindrance] = field(default_factory=set)
    looks: int = 0
    used: float = 0.0

    @property
    def spent(self) -> int:
        return sum(price for _, price in self.payments)

    def told(self) -> str:
        return (
            f"seed {self.seed}, {self.trace.name}: {len(self.books)} books, {self.used:.1f} tickets used, "
            f"stalls {[(when(a), round(b - a)) for a, b in self.stalls][:5]}"
        )


def when(moment: float) -> str:
    return datetime.fromtimestamp(moment, UTC).strftime("%m-%d %H:%M:%S")


def inside(spans: list[tuple[float, float]], now: float) -> bool:
    return any(a <= now < b for a, b in spans)


class World:
    def __init__(self, trace: Trace, seed: object, circumstances: Circumstances | None = None) -> None:
        self.trace, self.how = trace, circumstances or Circumstances()
        self.rng = Random(f"{seed}/world")
        meter = BurnMeter(
            {"standard": ProfileRate("standard", min(trace.nominal, 8.0) / self.how.sessions)}, "standard"
        )
        self.control = TopUpControl(self.how.settings, meter, Random(f"{seed}/control"))
        self.out = Outcome(trace, seed)
        self.now = trace.begin - WARM_UP
        self.lots: list[Lot] = []
        self.allowance = 0.0
        self.paid_for: list[bool] = []
        self.busy_until: float | None = None
        self.busy_with = ""
        self.unfinished = False
        self.unlucky: list[float] = []
        """When tries failed with the signers."""
        self.look = self.now
        self.stalled_since: float | None = None
        self.segment = 0

    # ---- circumstances -----------------------------------------------------------------------------------

    def balance(self, now: float) -> int:
        arrived = sum(amount for at, amount in self.how.funds if at <= now)
        return arrived - sum(price + FEE for at, price in self.out.payments if at <= now)

    def offer(self, now: float) -> Offer:
        return Offer(self.how.price(now), FEE, self.balance(now))

    def spent(self, now: float) -> Spent:
        return Spent.of([Payment(at, price) for at, price in self.out.payments if at <= now], now)

    def possible(self, now: float) -> bool:
        """Whether money could have bought a book at that moment, within the rules."""
        return (
            not inside(self.how.signers_down, now)
            and not inside(self.how.chain_down, now)
            and allowed(self.how.limits, self.out.payments, self.offer(now), now)
        )

    def excused(self, now: float) -> bool:
        """Whether at some moment of the last three quarters of an hour no book could be bought, or one try failed."""
        return any(not self.possible(now - minute * 60) for minute in range(int(EXCUSED_AFTER // 60))) or any(
            now - EXCUSED_AFTER < at <= now for at in self.unlucky
        )

    # ---- time --------------------------------------------------------------------------------------------

    def run(self) -> Outcome:
        segments = self.trace.segments
        self.decide()
        while self.now < self.trace.end:
            before = self.now < segments[0].begin
            while not before and segments[self.segment].end <= self.now:
                self.segment += 1
            rate = 0.0 if before else segments[self.segment].per_hour / HOUR
            edge = segments[0].begin if before else segments[self.segment].end
            self.advance(rate, edge)
        if self.stalled_since is not None:
            self.out.stalls.append((self.stalled_since, self.now))
        return self.out

    def advance(self, rate: float, edge: float) -> None:
        now = self.now
        flowing = rate > 0 and self.allowance > 0
        stops = [edge, (now // DAY + 1) * DAY, max(self.look, now)]
        if self.busy_until is not None:
            stops.append(self.busy_until)
        if flowing:
            level = GRACE if self.allowance > GRACE + 1e-6 else 0.0
            stops.append(now + (self.allowance - level) / rate)
        until = min(stops)
        used = min(self.allowance, rate * (until - now)) if flowing else 0.0
        self.allowance -= used
        if self.allowance < 1e-6:  # less takes no time that a float of Unix seconds can tell
            self.allowance = 0.0
        self.out.used += used
        if until > now:
            self.control.meter.observe(now, until, used, sessions=self.how.sessions)
        self.now = until
        if rate > 0 and self.allowance <= GRACE + 1e-6:
            self.claim()
        if rate > 0 and until < edge:
            self.watch_stall()
        elif rate <= 0 and self.stalled_since is not None:
            self.end_stall()
        if self.busy_until is not None and until >= self.busy_until:
            self.finish_try()
            if rate > 0 and self.allowance <= GRACE + 1e-6:
                self.claim()
                self.watch_stall()
        self.decide()

    def claim(self) -> None:
        lots = live(self.lots, self.now)
        if lots:
            first = lots[0]
            self.lots = [Lot(first.tickets - 1, first.dies_unix), *lots[1:]]
            self.allowance += 1.0

    def watch_stall(self) -> None:
        if self.allowance <= 0.0 and self.stalled_since is None:
            self.stalled_since = self.now
        elif self.allowance > 0.0 and self.stalled_since is not None:
            self.end_stall()

    def end_stall(self) -> None:
        assert self.stalled_since is not None
        if self.now > self.stalled_since:
            self.out.stalls.append((self.stalled_since, self.now))
        self.stalled_since = None

    # ---- purchases ---------------------------------------------------------------------------------------

    def decide(self) -> None:
        self.out.looks += 1
        decision = self.control.decide(
            self.now,
            self.lots,
            sessions=self.how.sessions,
            unfinished=self.unfinished,
            granted=self.allowance,
        )
        if not self.out.states or self.out.states[-1][1] is not self.control.supply:
            self.out.states.append((self.now, self.control.supply, self.control.reason))
        self.look = decision.look_unix
        if self.busy_until is not None or not decision.buy:
            return
        self.begin_try()

    def begin_try(self) -> None:
        now = self.now
        if self.unfinished:
            self.busy_until, self.busy_with = now + self.rng.uniform(2, 8), "resume"
            return
        if inside(self.how.chain_down, now):
            self.busy_until, self.busy_with = now + self.rng.uniform(2, 10), "chain"
            return
        offer = self.offer(now)
        refusal = judge(self.how.limits, offer, self.spent(now), now)
        if refusal is not None:
            self.out.hindrances.add(refusal.hindrance)
            self.look = min(self.look, self.control.refused(now, refusal).retry_unix)
            return
        if inside(self.how.signers_down, now) or self.rng.random() < self.how.flaky:
            self.busy_until, self.busy_with = now + self.rng.uniform(2, 15), "signers"
            return
        self.out.payments.append((now, offer.price))
        self.unfinished = True
        self.busy_until, self.busy_with = now + self.rng.uniform(12, 60), "book"

    def finish_try(self) -> None:
        now, what = self.now, self.busy_with
        self.busy_until = None
        if what == "chain":
            self.control.failed(now, Hindrance.CHAIN)
        elif what == "signers" or inside(self.how.signers_down, now):
            self.unlucky.append(now)
            self.control.failed(
                now, Hindrance.SIGNERS, parties={"https://one": "down", "https://two": "down"}
            )
        else:
            self.unfinished = False
            self.lots = [*live(self.lots, now), Lot.bought(now)]
            self.out.books.append(now)
            self.control.bought(now)

    @property
    def tickets(self) -> int:
        return tickets_in(self.lots, self.now)


# ---- judging, by rules of its own --------------------------------------------------------------------------


def allowed(limits: BudgetLimits, payments: list[tuple[float, int]], offer: Offer, now: float) -> bool:
    """The budget again, written down another way."""
    date = datetime.fromtimestamp(now, UTC)
    day = month = offer.price
    for at, price in payments:
        paid = datetime.fromtimestamp(at, UTC)
        if at <= now and (paid.year, paid.month) == (date.year, date.month):
            month += price
            day += price if paid.day == date.day else 0
    caps = ((day, limits.per_day), (month, limits.per_month), (offer.price, limits.max_price))
    return (
        all(cap is None or amount <= cap for amount, cap in caps)
        and (limits.per_deposit is None or offer.price + offer.fee <= limits.per_deposit)
        and offer.balance - offer.price - offer.fee >= limits.reserve
    )


def check_caps(world: World) -> None:
    limits, out = world.how.limits, world.out
    for index, (at, price) in enumerate(out.payments):
        before = out.payments[:index]
        arrived = sum(amount for when_, amount in world.how.funds if when_ <= at)
        offer = Offer(price, FEE, arrived - sum(paid + FEE for _, paid in before))
        assert allowed(limits, before, offer, at), f"{out.told()}: payment {index} at {when(at)} breaks a cap"
        assert price == world.how.price(at)


def check_stalls(world: World) -> None:
    """No stall that money could have prevented."""
    for begin, end in world.out.stalls:
        for moment in (begin, end):
            assert world.excused(moment), (
                f"{world.out.told()}: stall at {when(begin)} for {end - begin:.0f} s"
            )
