"""Virtual months of topping up: never a stall that money could have prevented, never a cap exceeded, never much more
than somebody who knows the future.

Each promise is held on traces of fixed seeds and on ones that are drawn anew in every run; a failure names its seed,
and ``TOPUP_SEED=<seed>`` repeats the draw.
"""

from __future__ import annotations

import os
import secrets
from itertools import pairwise
from random import Random

import pytest

from nym_credentials.topup.hindrances import Hindrance, Supply
from nym_credentials.topup.settings import BudgetLimits, Mark, TopUpSettings
from tests.credentials.topup.oracle import fewest_books
from tests.credentials.topup.traces import DAY, HOUR, KINDS, STANDARD, Trace, daily_window, steady
from tests.credentials.topup.world import NYM, PRICE, Circumstances, World, check_caps, check_stalls, when

FIXED = tuple(f"fixed-{number}" for number in range(4))
FRESH = tuple(os.environ.get("TOPUP_SEED") or secrets.token_hex(6) for _ in range(4))
SLOW = (pytest.mark.slow,)
SEEDS = [
    pytest.param(seed, id=f"{name}{number}", marks=SLOW if number else ())
    for name, drawn in (("fixed", FIXED), ("fresh", FRESH))
    for number, seed in enumerate(drawn)
]
REGULAR = ("steady", "diurnal")
seeds = pytest.mark.parametrize("seed", SEEDS)
kinds = pytest.mark.parametrize("kind", sorted(KINDS))


@pytest.fixture(autouse=True)
def told(request: pytest.FixtureRequest) -> None:
    """Shown when a test fails; the names of tests are the same in every process that runs some of them."""
    call = getattr(request.node, "callspec", None)
    if call is not None and "seed" in call.params:
        print(f"again: TOPUP_SEED={call.params['seed']}")


def run(trace: Trace, seed: str, circumstances: Circumstances | None = None) -> World:
    world = World(trace, seed, circumstances)
    world.run()
    check_caps(world)
    return world


def check_cost(world: World, kind: str) -> None:
    best, books = fewest_books(world.trace.segments), len(world.out.books)
    told = f"{world.out.told()}; an oracle takes {best}, weeks {world.trace.weeks}"
    if kind in REGULAR:
        assert books <= 1.05 * best, told
    else:
        assert books <= best + world.trace.weeks, told


def shorter(kind: str, rng: Random, days: float) -> Trace:
    return KINDS[kind](rng, days)  # type: ignore[call-arg]


@seeds
@kinds
def test_without_trouble(kind: str, seed: str) -> None:
    world = run(KINDS[kind](Random(f"{kind}/{seed}")), seed)
    assert not world.out.stalls, world.out.told()
    assert all(state is not Supply.DEGRADED or reason for _, state, reason in world.out.states)
    check_cost(world, kind)


@seeds
@kinds
def test_signers_down_for_a_day(kind: str, seed: str) -> None:
    rng = Random(f"{kind}/{seed}/signers")
    trace = shorter(kind, rng, 35)
    downs = [trace.begin + rng.uniform(2, (trace.end - trace.begin) / DAY - 2) * DAY for _ in range(2)]
    world = run(trace, seed, Circumstances(signers_down=[(at, at + DAY) for at in downs]))
    check_stalls(world)


@seeds
def test_regular_use_outlasts_a_day_without_signers(seed: str) -> None:
    """With the default marks nothing is noticed at all, once the habit is known: that is what the marks are for."""
    rng = Random(f"{seed}/outage")
    rate = rng.uniform(12, 120)
    at = rng.uniform(10, 30) * DAY
    trace = steady(rng, 35)
    trace = trace._replace(segments=[trace.segments[0]._replace(per_hour=rate / 24)], nominal=rate / 24)
    down = [(trace.begin + at, trace.begin + at + DAY)]
    world = run(trace, seed, Circumstances(signers_down=down))
    assert not world.out.stalls, f"{world.out.told()}, signers down from {when(down[0][0])}"


@seeds
@kinds
def test_the_price_jumps(kind: str, seed: str) -> None:
    rng = Random(f"{kind}/{seed}/price")
    trace = shorter(kind, rng, 35)
    jumps = sorted(
        (trace.begin + rng.uniform(0, 30) * DAY, rng.choice((60, 75, 90, 99, 101, 150))) for _ in range(8)
    )

    def price(now: float) -> int:
        return next((nym * NYM for at, nym in reversed(jumps) if at <= now), PRICE)

    limits = BudgetLimits(per_day=None, per_month=None, max_price=100 * NYM)
    world = run(trace, seed, Circumstances(limits=limits, price=price))
    check_stalls(world)
    assert all(paid <= 100 * NYM for _, paid in world.out.payments)


@seeds
@kinds
def test_funds_arrive_late(kind: str, seed: str) -> None:
    rng = Random(f"{kind}/{seed}/funds")
    trace = shorter(kind, rng, 28)
    later = [(trace.begin + rng.uniform(0, 28) * DAY, rng.randint(70, 400) * NYM) for _ in range(6)]
    funds = [(0.0, 80 * NYM), *later]
    world = run(trace, seed, Circumstances(limits=BudgetLimits(), funds=funds))
    check_stalls(world)


@seeds
@kinds
def test_tight_budgets(kind: str, seed: str) -> None:
    rng = Random(f"{kind}/{seed}/budget")
    limits = BudgetLimits(
        per_day=rng.choice((None, 74, 75, 150, 225)),
        per_month=rng.choice((None, 300, 525, 1500)),
        per_deposit=rng.choice((None, 80)),
    )
    limits = BudgetLimits(
        **{
            name: value if value is None else value * NYM
            for name in ("per_day", "per_month", "per_deposit")
            for value in [getattr(limits, name)]
        }
    )
    world = run(shorter(kind, rng, 40), seed, Circumstances(limits=limits))
    check_stalls(world)


@seeds
@kinds
def test_everything_at_once(kind: str, seed: str) -> None:
    rng = Random(f"{kind}/{seed}/all")
    trace = shorter(kind, rng, 28)

    def spans(count: int, hours: float) -> list[tuple[float, float]]:
        begins = [trace.begin + rng.uniform(0, 28) * DAY for _ in range(count)]
        return [(at, at + rng.expovariate(1 / hours) * HOUR) for at in begins]

    dear = spans(3, 10)
    how = Circumstances(
        limits=BudgetLimits(),
        signers_down=spans(4, 6),
        chain_down=spans(4, 3),
        price=lambda now: 120 * NYM if any(a <= now < b for a, b in dear) else PRICE,
        funds=[(0.0, 160 * NYM), *((trace.begin + rng.uniform(0, 25) * DAY, 300 * NYM) for _ in range(4))],
        flaky=0.3,
    )
    check_stalls(run(trace, seed, how))


@seeds
def test_the_default_configuration_four_hours_a_day(seed: str) -> None:
    """`[budget]` and `[tickets]` as shipped, profile standard; ten minutes of cover after the last stream."""
    rng = Random(f"{seed}/default")
    trace = daily_window(rng, STANDARD, 4 + 10 / 60, 31)
    world = run(trace, seed, Circumstances(limits=BudgetLimits.parse(), settings=TopUpSettings.parse()))
    assert not world.out.stalls, world.out.told()
    assert not world.out.hindrances, world.out.told()
    assert world.out.spent <= 700 * NYM
    # Before the very first book there is nothing; afterwards a try that fails may show, and that the last ticket was
    # taken while the next book is being bought, which nobody has to wait for: a stall would be above.
    for (at, state, reason), (until, _, _) in pairwise(world.out.states):
        if state is Supply.EXHAUSTED and at >= trace.begin:
            assert "is being bought" in reason
            assert until - at < 5 * 60
    assert world.out.states[-1][1] is not Supply.EXHAUSTED


@seeds
def test_more_than_the_default_budget_is_not_spent(seed: str) -> None:
    """Awake around the clock costs more than 1500 NYM a month: the budget stops it, and says so."""
    trace = steady(Random(f"{seed}/always"), 31)
    trace = trace._replace(segments=[trace.segments[0]._replace(per_hour=STANDARD)], nominal=STANDARD)
    world = run(trace, seed, Circumstances(limits=BudgetLimits.parse()))
    check_stalls(world)
    first_month = when(trace.begin)[:2]
    assert sum(price for at, price in world.out.payments if when(at)[:2] == first_month) <= 1500 * NYM
    if world.out.stalls:
        assert world.out.hindrances & {Hindrance.MONTH_CAP, Hindrance.DAY_CAP}
        assert Supply.EXHAUSTED in [state for _, state, _ in world.out.states]


@seeds
def test_many_sessions_at_once(seed: str) -> None:
    """Twenty workers that are awake by day: what one costs, twenty times, and marks that grow along."""
    rng = Random(f"{seed}/workers")
    trace = daily_window(rng, STANDARD * 20, rng.uniform(8, 14), 35)
    world = run(trace, seed, Circumstances(sessions=20))
    assert not world.out.stalls, world.out.told()
    check_cost(world, "diurnal")


@seeds
def test_marks_in_tickets(seed: str) -> None:
    rng = Random(f"{seed}/marks")
    settings = TopUpSettings(low=Mark(tickets=20), high=Mark(tickets=60))
    world = run(KINDS["diurnal"](rng), seed, Circumstances(settings=settings))
    assert not world.out.stalls, world.out.told()


def test_moments_do_not_mirror_use() -> None:
    """The same use, another draw: other moments. Where there is time, purchases are spread over hours."""
    trace = steady(Random("mirror"), 60)
    trace = trace._replace(segments=[trace.segments[0]._replace(per_hour=2.0)], nominal=2.0)
    runs = [run(trace, f"mirror-{number}").out.books for number in range(3)]
    assert not set(map(int, runs[0])) & set(map(int, runs[1])) & set(map(int, runs[2]))
    gaps = [b - a for a, b in zip(runs[0], runs[0][1:], strict=False)]
    assert max(gaps[5:]) - min(gaps[5:]) > 2 * HOUR
