"""Decisions one by one: what is needed, when, and why not."""

from __future__ import annotations

from itertools import pairwise
from random import Random

import pytest

from nym_credentials.errors import (
    ChainUnreachable,
    CredentialsError,
    InsufficientFunds,
    PaymentUnconfirmed,
    PurchaseConflict,
    QuorumMissing,
    StoreUnusable,
)
from nym_credentials.topup.budget import Offer, Payment, Refusal
from nym_credentials.topup.burn import DAY_SECONDS, HOUR_SECONDS, BurnMeter, ProfileRate
from nym_credentials.topup.control import Need, TopUpControl
from nym_credentials.topup.faults import fault_of
from nym_credentials.topup.hindrances import Hindrance, Supply
from nym_credentials.topup.plan import plan
from nym_credentials.topup.settings import BudgetLimits, Mark, TopUpSettings
from nym_credentials.topup.stock import Lot, dies_at

MIDNIGHT = 20_700 * DAY_SECONDS
NOON = MIDNIGHT + DAY_SECONDS / 2
NYM = 1_000_000
OFFER = Offer(75 * NYM, 4_000, 1_000 * NYM)


def control(
    per_day: float = 0.0, settings: TopUpSettings | None = None, nominal: float = 0.0
) -> TopUpControl:
    """After nine days of even use, as of NOON."""
    meter = BurnMeter({"standard": ProfileRate("standard", nominal)}, "standard")
    if per_day:
        meter.observe(NOON - 9 * DAY_SECONDS, NOON, 9 * per_day)
    return TopUpControl(settings or TopUpSettings(), meter, Random("control"))


def lot(tickets: int, days: int = 6) -> Lot:
    return Lot(tickets, MIDNIGHT + (days + 1) * DAY_SECONDS)


def test_no_ticket_is_urgent_and_bought_at_once() -> None:
    made = control()
    decision = made.decide(NOON, [])
    assert (decision.buy, decision.need, made.supply) == (True, Need.URGENT, Supply.EXHAUSTED)
    made.bought(NOON)
    assert not made.decide(NOON + 1, [lot(50)]).buy
    assert made.supply is Supply.OK


def test_plenty_is_left_alone() -> None:
    decision = control(20.0).decide(NOON, [lot(50)])
    assert (decision.buy, decision.need) == (False, Need.NONE)
    assert NOON < decision.look_unix <= NOON + HOUR_SECONDS


def test_below_the_low_mark_a_moment_is_drawn_within_minutes_and_kept() -> None:
    made = control(60.0)
    first = made.decide(NOON, [lot(28)])
    assert first.need is Need.DUE
    assert first.moment_unix is not None
    assert NOON < first.moment_unix <= NOON + 1_800
    assert "low mark" in first.why
    again = made.decide(NOON + 1, [lot(28)])
    assert again.moment_unix == first.moment_unix
    assert made.decide(first.moment_unix, [lot(27)]).buy


def test_a_growing_need_brings_the_moment_forward() -> None:
    made = control(60.0)
    due = made.decide(NOON, [lot(28)]).moment_unix
    urgent = made.decide(NOON + 1, [lot(2)])
    assert urgent.need is Need.URGENT
    assert urgent.moment_unix is not None
    assert due is not None
    assert urgent.moment_unix <= NOON + 11
    assert urgent.moment_unix <= due


def test_moments_differ_from_one_to_the_next() -> None:
    moments = set()
    for seed in range(50):
        made = control(60.0)
        made._rng = Random(seed)
        moment = made.decide(NOON, [lot(28)]).moment_unix
        assert moment is not None
        moments.add(round(moment))
    assert len(moments) > 40


def test_a_book_that_would_die_unused_waits_for_midnight() -> None:
    """Four tickets a day: the old book dies tonight, and a new one bought now would live a day less."""
    made = control(4.0)
    decision = made.decide(NOON, [lot(20, days=0)])
    assert decision.need is Need.DUE
    assert decision.moment_unix is not None
    assert MIDNIGHT + DAY_SECONDS + 31 <= decision.moment_unix <= MIDNIGHT + DAY_SECONDS + 60
    # The old book is dead now; the moment stays, since every signer has to agree which day it is.
    at_midnight = made.decide(MIDNIGHT + DAY_SECONDS, [lot(20, days=0)])
    assert not at_midnight.buy
    assert at_midnight.moment_unix == decision.moment_unix
    assert made.decide(decision.moment_unix, []).buy


def test_but_not_if_tickets_do_not_reach_until_then() -> None:
    made = control(8.0)
    decision = made.decide(NOON, [lot(3, days=3)])
    assert decision.moment_unix is not None
    assert decision.moment_unix < MIDNIGHT + DAY_SECONDS


# 6.9 tickets a day use a book up in just about the week that it lives.
EVENING = MIDNIGHT + DAY_SECONDS - 4 * HOUR_SECONDS


def weekly(**settings: Mark) -> TopUpControl:
    made = TopUpControl(
        TopUpSettings(**settings),
        BurnMeter({"standard": ProfileRate("standard", 0.0)}, "standard"),
        Random("weekly"),
    )
    made.meter.observe(EVENING - 9 * DAY_SECONDS, EVENING, 9 * 6.9)
    return made


@pytest.mark.parametrize("days", [0, 3])
@pytest.mark.parametrize(("tickets", "granted"), [(2, 0.3), (1, 0.5), (0, 1.3)])
def test_slow_habits_wait_for_midnight_with_the_last_ticket(tickets: int, granted: float, days: int) -> None:
    made = weekly()
    decision = made.decide(EVENING, [lot(tickets, days)], granted=granted)
    assert not decision.buy
    assert decision.need is Need.DUE
    assert decision.moment_unix is not None
    assert decision.moment_unix >= MIDNIGHT + DAY_SECONDS + 31
    assert made.supply is Supply.OK, "the gateway still grants enough"
    assert made.decide(decision.moment_unix, [], granted=0.2).buy


@pytest.mark.parametrize(
    ("tickets", "granted", "why"),
    [
        (0, 1.1, "four hours take more"),
        (0, None, "nobody knows what is granted"),
        (0, 0.02, "nothing is left"),
    ],
)
def test_but_not_with_less(tickets: int, granted: float | None, why: str) -> None:
    made = weekly()
    decision = made.decide(EVENING, [lot(tickets, 3)], granted=granted)
    assert decision.buy, why
    assert made.supply is Supply.EXHAUSTED


def test_nor_when_use_grows() -> None:
    made = weekly()
    made.meter.observe(EVENING, EVENING + 300, 1.0)
    decision = made.decide(EVENING + 300, [lot(1, 3)], granted=0.9)
    assert decision.need is Need.URGENT
    assert decision.moment_unix is not None
    assert decision.moment_unix <= EVENING + 310


def test_nor_for_those_who_want_so_many_in_hand() -> None:
    made = weekly(low=Mark(tickets=2), high=Mark(tickets=60))
    assert made.decide(EVENING, [lot(2, 3)], granted=0.9).need is Need.URGENT


def test_what_is_put_off_is_looked_at_before_it_is_gone() -> None:
    made = weekly()
    decision = made.decide(EVENING, [lot(0)], granted=1.3)
    rate = 6.9 / DAY_SECONDS
    assert (decision.look_unix - EVENING) * rate < 1.3


def test_a_midnight_that_has_passed_is_no_reason_to_buy() -> None:
    """Put off until midnight, and by then seven tickets are in hand, for a day that takes 6.9."""
    made = weekly()
    moment = made.decide(EVENING, [lot(2, 1)], granted=0.5).moment_unix
    assert moment is not None
    made.meter.observe(EVENING, moment, (moment - EVENING) * 6.9 / DAY_SECONDS)
    decision = made.decide(moment, [lot(7, 1)], granted=0.4)
    assert not decision.buy
    assert decision.moment_unix is not None
    assert decision.moment_unix > MIDNIGHT + 2 * DAY_SECONDS


def test_the_plan_of_a_slow_habit_is_a_book_a_week() -> None:
    found = plan(weekly(), EVENING, [lot(20, 2)], limits=BudgetLimits(), offer=OFFER, days=30)
    moments = [item.unix for item in found.purchases]
    assert len(moments) == 4
    gaps = [b - a for a, b in pairwise(moments[1:])]
    assert all(abs(gap - 7 * DAY_SECONDS) < 3 * HOUR_SECONDS for gap in gaps), gaps


def test_nor_if_much_may_be_used_just_after_it() -> None:
    made = control()
    for day in range(-9, 0):  # bursts at odd hours
        start = MIDNIGHT + day * DAY_SECONDS + (day * 7 % 24) * HOUR_SECONDS
        made.meter.observe(start, start + 900, 5.0)
    decision = made.decide(NOON, [lot(40, days=0)], granted=0.3)
    assert decision.need is Need.DUE
    assert decision.moment_unix is not None
    assert decision.moment_unix < MIDNIGHT + DAY_SECONDS - 600


def test_what_is_certain_to_be_used_up_is_bought_early() -> None:
    made = control(60.0)
    decision = made.decide(NOON, [lot(78)])
    assert decision.need is Need.FREE
    assert decision.moment_unix is not None
    assert NOON < decision.moment_unix <= NOON + 8 * HOUR_SECONDS
    assert not decision.buy
    assert control(60.0).decide(NOON, [lot(125)]).need is Need.NONE
    # Nobody knows yet whether use goes on: then not.
    fresh = control()
    fresh.meter.observe(NOON - 2 * DAY_SECONDS, NOON, 120.0)
    assert fresh.decide(NOON, [lot(78)]).need is Need.NONE


def test_never_more_than_will_be_used() -> None:
    made = control(4.0)
    for tickets in range(10, 51):
        assert made.decide(NOON, [lot(tickets)]).need is Need.NONE


def test_the_floor_follows_bursts_at_once() -> None:
    made = control()
    assert made.floor(NOON, 1) == 2
    made.meter.observe(NOON, NOON + 300, 10.0)  # 120 an hour
    assert made.floor(NOON + 300, 1) == 20
    assert made.decide(NOON + 300, [lot(20)]).need is Need.URGENT
    assert made.floor(NOON + 300, 30) >= 30


def test_marks_in_tickets() -> None:
    made = control(60.0, TopUpSettings.parse(30, 90))
    assert made.decide(NOON, [lot(30)]).need is Need.DUE
    assert made.decide(NOON, [lot(50)]).need is Need.FREE
    assert made.decide(NOON, [lot(95)]).need is Need.NONE


def test_without_standby_nothing_is_bought_for_nobody() -> None:
    made = control(settings=TopUpSettings.parse(standby=False))
    assert not made.decide(NOON, []).buy
    made.meter.observe(NOON, NOON + 60, 0.01)
    assert made.decide(NOON + 60, []).buy


def test_states_and_their_reasons() -> None:
    made = control(60.0)
    assert (made.supply, made.reason) == (Supply.OK, "")
    made.decide(NOON, [lot(28)])
    assert made.supply is Supply.OK
    made.failed(NOON, Hindrance.CHAIN)
    made.decide(NOON + 1, [lot(28)])
    assert made.supply is Supply.DEGRADED
    assert "chain" in made.reason
    made.decide(NOON + 2, [])
    assert made.supply is Supply.EXHAUSTED
    refusal = Refusal(Hindrance.FUNDS, "It holds 0 NYM.")
    trouble = made.refused(NOON + 3, refusal)
    assert made.reason == refusal.text
    assert 100 < trouble.retry_unix - NOON < 300
    made.bought(NOON + 4)
    made.decide(NOON + 5, [lot(125)])
    assert (made.supply, made.reason) == (Supply.OK, "")


def test_after_trouble_it_waits_and_then_tries_again() -> None:
    made = control()
    trouble = made.failed(
        NOON, Hindrance.SIGNERS, parties={"https://a": "down", "https://b": "down"}, missing=2
    )
    waiting = made.decide(NOON, [])
    assert not waiting.buy
    assert waiting.look_unix == trouble.retry_unix
    assert made.decide(trouble.retry_unix, []).buy
    made.forget_trouble()
    assert made.decide(NOON, []).buy


def test_that_another_process_buys_is_no_trouble() -> None:
    made = control(60.0)
    for _ in range(8):
        trouble = made.failed(NOON, Hindrance.ELSEWHERE)
        assert trouble.retry_unix <= NOON + 30
    made.decide(NOON, [lot(28)])
    assert made.supply is Supply.OK


def test_a_budget_that_ends_at_midnight_is_asked_again_after_it() -> None:
    made = control()
    midnight = MIDNIGHT + DAY_SECONDS
    trouble = made.refused(NOON, Refusal(Hindrance.DAY_CAP, "", midnight))
    assert midnight + 31 <= trouble.retry_unix <= midnight + 60


def test_an_unfinished_purchase_comes_first() -> None:
    made = control()
    decision = made.decide(NOON, [lot(50)], unfinished=True)
    assert decision.buy
    assert "taken up" in decision.why
    trouble = made.failed(NOON, Hindrance.UNCONFIRMED)
    assert not made.decide(NOON, [lot(50)], unfinished=True).buy
    assert made.decide(trouble.retry_unix, [lot(50)], unfinished=True).buy


@pytest.mark.parametrize(
    "error, hindrance",
    [
        (InsufficientFunds("no"), Hindrance.FUNDS),
        (ChainUnreachable("no"), Hindrance.CHAIN),
        (PaymentUnconfirmed("AB"), Hindrance.UNCONFIRMED),
        (PurchaseConflict("no"), Hindrance.ELSEWHERE),
        (StoreUnusable("no"), Hindrance.STORE),
        (CredentialsError("no"), Hindrance.INTERNAL),
        (RuntimeError("a secret"), Hindrance.INTERNAL),
    ],
)
def test_errors_and_what_they_hinder(error: Exception, hindrance: Hindrance) -> None:
    fault = fault_of(error)
    assert fault.hindrance is hindrance
    assert "a secret" not in fault.text


def test_signers_at_fault_are_named() -> None:
    fault = fault_of(QuorumMissing(1, 3, {"https://a": "down", "https://b": "late"}))
    assert (fault.hindrance, set(fault.parties), fault.missing) == (
        Hindrance.SIGNERS,
        {"https://a", "https://b"},
        2,
    )


# ---- the plan --------------------------------------------------------------------------------------------


def test_a_plan_for_even_use() -> None:
    made = control(20.0)
    found = plan(made, NOON, [lot(50)], limits=BudgetLimits(), offer=OFFER, days=14)
    # 14 days of 20 tickets are 5.6 books, one is in hand, and one more is there at the end.
    assert len(found.purchases) in (5, 6)
    assert found.cost == len(found.purchases) * 75 * NYM
    assert all(item.refusal is None for item in found.purchases)
    assert found.per_day == pytest.approx(20)
    assert made.decide(NOON, [lot(50)]).need is Need.NONE  # playing forward has changed nothing
    assert any("75 NYM" in line for line in found.lines())


def test_a_plan_says_what_the_budget_will_refuse() -> None:
    found = plan(control(57.0), NOON, [], limits=BudgetLimits(per_month=300 * NYM), offer=OFFER, days=10)
    assert found.purchases[-1].refusal is not None
    assert found.purchases[-1].refusal.hindrance is Hindrance.MONTH_CAP
    assert found.cost == 300 * NYM
    spent = [Payment(NOON, 300 * NYM)]
    again = plan(
        control(57.0), NOON, [], limits=BudgetLimits(per_month=300 * NYM), offer=OFFER, payments=spent
    )
    assert again.cost == 0
    assert "refused" in "\n".join(again.lines())


def test_a_plan_without_a_price_and_without_use() -> None:
    found = plan(control(), NOON, [Lot(50, dies_at(NOON))], limits=BudgetLimits(), offer=None, days=15)
    assert [item.price for item in found.purchases] == [None, None]
    assert "price unknown" in "\n".join(found.lines())
    idle = control(settings=TopUpSettings.parse(standby=False))
    nothing = plan(idle, NOON, [], limits=BudgetLimits(), offer=OFFER)
    assert nothing.purchases == ()
    assert "Nothing will be bought within 7 days." in nothing.lines()
