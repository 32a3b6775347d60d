"""What operators may choose, and what the budget says to it."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime
from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nym_credentials.errors import InvalidAmount
from nym_credentials.topup.backoff import BackOff
from nym_credentials.topup.budget import Offer, Payment, Spent, judge, next_month
from nym_credentials.topup.hindrances import TRANSITIONS, WORDS, Hindrance, Supply, SupplyEvent, next_supply
from nym_credentials.topup.settings import BudgetLimits, Mark, TopUpSettings

NYM = 1_000_000
NOW = datetime(2026, 9, 21, 14, 0, tzinfo=UTC).timestamp()
HOUR, DAY = 3600.0, 86400.0
OFFER = Offer(75 * NYM, 4_000, 1_000 * NYM)
NONE = Spent(0, 0)


def test_marks_as_they_are_written() -> None:
    assert Mark.parse("12h") == Mark(seconds=12 * HOUR)
    assert Mark.parse(" 1d12h ") == Mark(seconds=36 * HOUR)
    assert Mark.parse("90m") == Mark(seconds=5400.0)
    assert Mark.parse("30") == Mark.parse(30) == Mark(tickets=30)
    assert [str(Mark.parse(text)) for text in ("12h", "90m", "45m", "30")] == [
        "12h",
        "1h30m",
        "45m",
        "30 tickets",
    ]


@pytest.mark.parametrize(
    "text", ["", "h", "12", "12 h", "-1h", "0h", "0", "7d", "1w", "12hx", "٣", "1e3", "nan"]
)
def test_what_is_no_mark(text: str) -> None:
    if text == "12":
        assert Mark.parse(text) == Mark(tickets=12)
        return
    with pytest.raises(ValueError, match=r".+"):
        Mark.parse(text)


def test_marks_belong_together() -> None:
    assert TopUpSettings.parse() == TopUpSettings()
    assert TopUpSettings.parse("10", 40).comfort == 20
    assert TopUpSettings().comfort == 24 * HOUR
    with pytest.raises(ValueError, match="above"):
        TopUpSettings.parse("48h", "12h")
    with pytest.raises(ValueError, match="one kind"):
        TopUpSettings.parse("12h", 40)
    with pytest.raises(ValueError, match="low_water neither"):
        TopUpSettings.parse("soon")
    with pytest.raises(ValueError, match="either"):
        Mark()


def test_limits_as_they_are_written() -> None:
    assert BudgetLimits.parse() == BudgetLimits()
    assert BudgetLimits.parse("", "", "", "0") == BudgetLimits(
        per_day=None, per_month=None, max_price=None, reserve=0
    )
    assert BudgetLimits.parse(per_deposit="80000000unym").per_deposit == 80 * NYM
    assert str(BudgetLimits()) == (
        "at most 150 NYM a day, at most 1500 NYM a month, at most 100 NYM a ticketbook, 1 NYM stay in the account"
    )
    with pytest.raises(InvalidAmount):
        BudgetLimits.parse("a lot")
    with pytest.raises(ValueError, match="per_day"):
        BudgetLimits(per_day=-1)


@pytest.mark.parametrize(
    "limits, offer, spent, expected",
    [
        ({}, {}, NONE, None),
        ({}, {}, Spent(75 * NYM, 75 * NYM), None),
        ({}, {}, Spent(75 * NYM + 1, 75 * NYM + 1), Hindrance.DAY_CAP),
        ({"per_day": None}, {}, Spent(900 * NYM, 900 * NYM), None),
        ({}, {}, Spent(0, 1425 * NYM), None),
        ({}, {}, Spent(0, 1425 * NYM + 1), Hindrance.MONTH_CAP),
        ({}, {}, Spent(150 * NYM, 1500 * NYM), Hindrance.MONTH_CAP),
        ({}, {"price": 100 * NYM}, NONE, None),
        ({}, {"price": 100 * NYM + 1}, NONE, Hindrance.PRICE),
        ({"per_deposit": 75 * NYM}, {}, NONE, Hindrance.DEPOSIT_CAP),
        ({"per_deposit": 75 * NYM + 4_000}, {}, NONE, None),
        ({}, {"balance": 75 * NYM}, NONE, Hindrance.FUNDS),
        ({}, {"balance": 76 * NYM}, NONE, Hindrance.RESERVE),
        ({}, {"balance": 76 * NYM + 4_000}, NONE, None),
        ({"reserve": 0}, {"balance": 75 * NYM + 4_000}, NONE, None),
    ],
)
def test_verdicts(limits: dict, offer: dict, spent: Spent, expected: Hindrance | None) -> None:
    refusal = judge(BudgetLimits(**limits), replace(OFFER, **offer), spent, NOW)
    assert (refusal and refusal.hindrance) == expected
    if refusal is not None:
        assert "Nothing was signed" in refusal.text
        assert refusal.text.endswith(WORDS[refusal.hindrance].to_do)


def test_when_a_refusal_ends_by_itself() -> None:
    day = judge(BudgetLimits(), OFFER, Spent(150 * NYM, 150 * NYM), NOW)
    assert day is not None
    assert day.until_unix == datetime(2026, 9, 22, tzinfo=UTC).timestamp()
    month = judge(BudgetLimits(), OFFER, Spent(0, 1500 * NYM), NOW)
    assert month is not None
    assert month.until_unix == datetime(2026, 10, 1, tzinfo=UTC).timestamp()
    never = judge(BudgetLimits(per_day=74 * NYM), OFFER, NONE, NOW)
    assert never is not None
    assert never.until_unix is None
    assert (
        next_month(datetime(2026, 12, 31, 23, 59, 59, tzinfo=UTC).timestamp())
        == datetime(2027, 1, 1, tzinfo=UTC).timestamp()
    )


def test_what_counts_for_a_day_and_a_month() -> None:
    payments = [
        Payment(NOW, 1),
        Payment(NOW - 15 * HOUR, 10),  # the evening before
        Payment(NOW - 15 * HOUR, 100, paid_unix=NOW),  # begun then, paid today
        Payment(NOW - 40 * DAY, 1_000, open=True),  # may reach the chain at any moment
        Payment(NOW - 40 * DAY, 10_000),
        Payment(NOW - 25 * DAY, 100_000),  # in August
        Payment(NOW - 20 * DAY, 1_000_000),  # the first of September
    ]
    assert Spent.of(payments, NOW) == Spent(1_101, 1_001_111)


amounts = st.integers(0, 400).map(lambda nym: nym * NYM)


@given(
    st.lists(st.tuples(st.floats(0, 70 * DAY), st.integers(1, 120)), max_size=40),
    st.one_of(st.none(), amounts),
    st.one_of(st.none(), amounts),
    st.integers(0, 3000),
)
def test_whatever_is_offered_no_cap_is_exceeded(
    offers: list[tuple[float, int]], per_day: int | None, per_month: int | None, funds: int
) -> None:
    limits = BudgetLimits(per_day=per_day, per_month=per_month)
    balance, paid = funds * NYM, []
    for after, nym in sorted(offers):
        now = NOW + after
        offer = Offer(nym * NYM, 4_000, balance)
        if judge(limits, offer, Spent.of(paid, now), now) is None:
            balance -= offer.price + offer.fee
            paid.append(Payment(now, offer.price))
            assert offer.price <= 100 * NYM
            assert balance >= limits.reserve
    days: dict[str, int] = {}
    months: dict[str, int] = {}
    for payment in paid:
        moment = datetime.fromtimestamp(payment.unix, UTC)
        days[f"{moment:%Y%m%d}"] = days.get(f"{moment:%Y%m%d}", 0) + payment.price
        months[f"{moment:%Y%m}"] = months.get(f"{moment:%Y%m}", 0) + payment.price
    assert per_day is None or max(days.values(), default=0) <= per_day
    assert per_month is None or max(months.values(), default=0) <= per_month


def test_the_table_of_states_is_whole() -> None:
    assert set(TRANSITIONS) == {(state, event) for state in Supply for event in SupplyEvent}
    assert all(next_supply(state, SupplyEvent.GONE) is Supply.EXHAUSTED for state in Supply)
    assert all(next_supply(state, SupplyEvent.FINE) is Supply.OK for state in Supply)
    assert set(WORDS) == set(Hindrance)
    layers = {"wallet", "chain", "signers", "tickets", "gateway", "mixnet", "exit", "target"}
    assert all(words.layer in layers and words.happened and words.to_do for words in WORDS.values())


def test_delays_double_up_to_a_limit_and_differ() -> None:
    backoff = BackOff(Random(1), first_seconds=20, most_seconds=900)
    now, delays = NOW, []
    for _ in range(12):
        until = backoff.failed("one", now)
        delays.append(until - now)
        now = until
    assert all(
        0.5 * min(900, 20 * 2**n) - 1e-6 <= delay <= min(900, 20 * 2**n) + 1e-6
        for n, delay in enumerate(delays)
    )
    assert len({round(delay, 3) for delay in delays}) > 10
    assert backoff.until("two") == 0
    assert backoff.failures() == {"one": 12}
    assert backoff.failed("one", now - 1) == backoff.until("one")  # too early: nothing new
    backoff.worked("one")
    assert backoff.failures() == {}
    assert backoff.totals() == {"one": 12}, "what was is not forgotten"


def test_enough_of_them() -> None:
    backoff = BackOff(Random(1))
    first = backoff.failed("a", NOW)
    backoff.failed("b", first)
    later = backoff.failed("b", backoff.until("b"))
    assert backoff.enough(["a", "b", "c"], 1) == 0
    assert backoff.enough(["a", "b", "c"], 2) == first
    assert backoff.enough(["a", "b"], 2) == later
    assert backoff.enough([], 1) == 0
