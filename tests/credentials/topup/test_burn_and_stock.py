"""How fast tickets burn, how long they last, what a book would waste."""

from __future__ import annotations

import json
from datetime import date

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nym_credentials.topup.burn import DAY_SECONDS, HOUR_SECONDS, BurnMeter, Forecast, Outlook, ProfileRate
from nym_credentials.topup.stock import Lot, dies_at, live, next_midnight, runs_out, tickets_in, waste

MIDNIGHT = 20_700 * DAY_SECONDS
PROFILES = {"standard": ProfileRate("standard", 2.4), "uncovered": ProfileRate("uncovered", 0.3)}
FLAT = Forecast.of(24.0, (1 / 24,) * 24)


def meter(profile: str = "standard") -> BurnMeter:
    return BurnMeter(PROFILES, profile)


def days_of_use(days: int, *, begin: float = 9.0, hours: float = 4.0, rate: float = 2.4) -> BurnMeter:
    """The same hours on every day before MIDNIGHT."""
    made = meter()
    for day in range(-days, 0):
        start = MIDNIGHT + day * DAY_SECONDS + begin * HOUR_SECONDS
        made.observe(start, start + hours * HOUR_SECONDS, rate * hours)
    return made


def test_nothing_is_projected_before_use_is_known() -> None:
    for outlook in Outlook:
        assert meter().forecast(MIDNIGHT, outlook).per_day == 0
    assert days_of_use(1).forecast(MIDNIGHT, Outlook.EXPECTED).per_day == 0
    assert days_of_use(1).forecast(MIDNIGHT, Outlook.WORST).per_day == pytest.approx(9.6)


def test_a_habit_is_projected_with_its_hours() -> None:
    made = days_of_use(8)
    for outlook in Outlook:
        found = made.forecast(MIDNIGHT, outlook)
        assert found.per_day == pytest.approx(9.6)
        assert found.use(MIDNIGHT, MIDNIGHT + 9 * HOUR_SECONDS) == pytest.approx(0)
        assert found.use(MIDNIGHT + 9 * HOUR_SECONDS, MIDNIGHT + 11 * HOUR_SECONDS) == pytest.approx(4.8)
        assert found.use(MIDNIGHT, MIDNIGHT + 3 * DAY_SECONDS) == pytest.approx(28.8)
    assert made.regular(MIDNIGHT)


def test_growth_is_no_habit() -> None:
    made = meter()
    for day in range(-7, 0):
        made.observe(MIDNIGHT + day * DAY_SECONDS, MIDNIGHT + (day + 1) * DAY_SECONDS, 4.0 * 2 ** (day + 7))
    assert made.forecast(MIDNIGHT, Outlook.EXPECTED).per_day == 0
    assert made.forecast(MIDNIGHT, Outlook.WORST).per_day == pytest.approx(256)


def test_a_habit_that_ends_is_not_believed_for_long() -> None:
    made = meter()
    made.observe(MIDNIGHT - 8 * DAY_SECONDS, MIDNIGHT, 8 * 57.0)
    assert made.forecast(MIDNIGHT, Outlook.EXPECTED).per_day == pytest.approx(57.0)
    made.observe(MIDNIGHT, MIDNIGHT + 4 * HOUR_SECONDS, 0.0)
    assert made.forecast(MIDNIGHT + 4 * HOUR_SECONDS, Outlook.EXPECTED).per_day < 6


def test_sessions_multiply_what_one_costs() -> None:
    made = meter()
    made.observe(MIDNIGHT - 3 * DAY_SECONDS, MIDNIGHT, 3 * 20.0, sessions=2)
    assert made.forecast(MIDNIGHT, Outlook.EXPECTED, 1).per_day == pytest.approx(10)
    assert made.forecast(MIDNIGHT, Outlook.EXPECTED, 20).per_day == pytest.approx(200)


def test_another_profile_keeps_the_hours_and_changes_the_cost() -> None:
    made = days_of_use(3)
    assert made.per_awake_hour() == pytest.approx(2.4)
    made.switch("uncovered")
    assert made.forecast(MIDNIGHT, Outlook.EXPECTED).per_day == pytest.approx(4 * 0.3)
    start = MIDNIGHT + 9 * HOUR_SECONDS
    made.observe(start, start + 9 * HOUR_SECONDS, 9.0)  # measured: one an hour
    assert made.per_awake_hour() == pytest.approx((0.3 + 9) / 10)
    made.switch("standard")
    assert made.per_awake_hour() == pytest.approx(2.4)


def test_cover_traffic_counts_while_awake_only() -> None:
    made = meter()
    made.observe(MIDNIGHT - DAY_SECONDS, MIDNIGHT, 4.8, awake_seconds=2 * HOUR_SECONDS)
    assert made.per_awake_hour() == pytest.approx(2.4)


def test_present_rates_and_peaks() -> None:
    made = meter()
    made.observe(MIDNIGHT, MIDNIGHT + 60, 1.0)
    rates = dict(made.rates(MIDNIGHT + 60))
    assert rates == pytest.approx({60.0: 60.0, 300.0: 12.0, 1800.0: 2.0})
    assert made.peak(MIDNIGHT + 60) == pytest.approx(12.0)
    assert made.peak_at(frozenset({0}), MIDNIGHT + 60) == pytest.approx(12.0)
    assert made.peak_at(frozenset({1}), MIDNIGHT + 60) == 0
    assert made.peak(MIDNIGHT + 49 * HOUR_SECONDS) == pytest.approx(6.0)
    assert dict(made.rates(MIDNIGHT + 3600))[1800.0] == 0


@given(st.lists(st.tuples(st.floats(1, 100_000), st.floats(0, 50)), max_size=12), st.integers(1, 5))
def test_what_is_remembered_projects_the_same(parts: list[tuple[float, float]], sessions: int) -> None:
    made, now = meter(), MIDNIGHT
    for length, tickets in parts:
        made.observe(now, now + length, tickets, sessions=sessions)
        now += length
    kept = json.loads(json.dumps(made.remembered()))
    again = BurnMeter.restored(kept, PROFILES, "standard")
    for outlook in Outlook:
        assert again.forecast(now, outlook, 3).per_day == pytest.approx(
            made.forecast(now, outlook, 3).per_day
        )
    assert again.peak(now) == pytest.approx(made.peak(now))
    total = sum(tickets for _, tickets in parts) / sessions
    assert sum(sum(hour[1].values()) for hour in kept["hours"]) == pytest.approx(total)


@pytest.mark.parametrize(
    "broken",
    [
        {},
        {"revision": 2, "last": 0, "hours": []},
        {"revision": 1, "last": 0, "hours": [[1]]},
        {"revision": 1, "last": 0, "hours": [[1, {"standard": float("nan")}, {"standard": 1}, 0]]},
        {"revision": 1, "last": 0, "hours": [[1, {"standard": 1}, {}, 0]]},
        {"revision": 1, "last": None, "hours": []},
    ],
)
def test_what_cannot_be_read_is_forgotten(broken: dict[str, object]) -> None:
    made = BurnMeter.restored(broken, PROFILES, "standard")
    assert made.forecast(MIDNIGHT, Outlook.WORST).per_day == 0


def test_memory_is_bounded() -> None:
    made = meter()
    for hour in range(24 * 60):
        made.observe(MIDNIGHT + hour * 3600, MIDNIGHT + (hour + 1) * 3600, 1.0)
    assert len(made.remembered()["hours"]) <= 17 * 24
    made.observe(5.0, 5.0, 1.0)  # no time has passed
    made.observe(5.0, 6.0, 1.0, sessions=0)
    assert made.remembered()["last"] == MIDNIGHT + 24 * 60 * 3600


shapes = st.lists(st.floats(0, 1), min_size=24, max_size=24).filter(lambda parts: sum(parts) > 0.1)


@given(shapes, st.floats(0.1, 500), st.floats(0, 200_000), st.floats(0.01, 300))
def test_when_is_the_inverse_of_use(parts: list[float], per_day: float, begin: float, tickets: float) -> None:
    forecast = Forecast.of(per_day, tuple(part / sum(parts) for part in parts))
    at = forecast.when(MIDNIGHT + begin, tickets, MIDNIGHT + 1e9)
    assert at is not None
    assert forecast.use(MIDNIGHT + begin, at) == pytest.approx(tickets, rel=1e-4, abs=1e-3)
    assert forecast.when(MIDNIGHT + begin, tickets, at - 2.0) is None


def test_a_book_lives_for_seven_days() -> None:
    assert dies_at(MIDNIGHT) == MIDNIGHT + 7 * DAY_SECONDS
    assert dies_at(MIDNIGHT + 86_399) == MIDNIGHT + 7 * DAY_SECONDS
    assert dies_at(MIDNIGHT + 86_400) == MIDNIGHT + 8 * DAY_SECONDS
    assert Lot.of(5, date(2026, 9, 3)).dies_unix == MIDNIGHT  # 2026-09-04 00:00 UTC
    assert next_midnight(MIDNIGHT) == MIDNIGHT + DAY_SECONDS


def test_stock_in_the_order_of_spending() -> None:
    lots = [
        Lot(5, MIDNIGHT + 2 * DAY_SECONDS),
        Lot(3, MIDNIGHT + DAY_SECONDS),
        Lot(9, MIDNIGHT),
        Lot(0, MIDNIGHT * 2),
    ]
    assert [lot.tickets for lot in live(lots, MIDNIGHT)] == [3, 5]
    assert tickets_in(lots, MIDNIGHT) == 8


def test_running_out() -> None:
    hour = HOUR_SECONDS
    assert runs_out([], FLAT, MIDNIGHT) == MIDNIGHT
    week = MIDNIGHT + 7 * DAY_SECONDS
    assert runs_out([Lot(50, week)], FLAT, MIDNIGHT) == pytest.approx(MIDNIGHT + 50 * hour)
    # What dies before it can be used does not help.
    lots = [Lot(50, MIDNIGHT + 10 * hour), Lot(50, MIDNIGHT + 20 * hour)]
    assert runs_out(lots, FLAT, MIDNIGHT) == pytest.approx(MIDNIGHT + 20 * hour)
    nothing = Forecast.of(0.0, (0.0,) * 24)
    assert runs_out([Lot(1, week)], nothing, MIDNIGHT) == week


def test_waste() -> None:
    assert waste([], FLAT, MIDNIGHT, MIDNIGHT) == 0
    slow = Forecast.of(5.0, (1 / 24,) * 24)
    assert waste([], slow, MIDNIGHT, MIDNIGHT) == pytest.approx(15)
    assert waste([Lot(10, dies_at(MIDNIGHT))], slow, MIDNIGHT, MIDNIGHT) == pytest.approx(25)
    # A full book of the same day is used first.
    assert waste([Lot(50, dies_at(MIDNIGHT))], slow, MIDNIGHT, MIDNIGHT) == pytest.approx(50)
    noon = MIDNIGHT + DAY_SECONDS / 2
    assert waste([], slow, noon, noon) == pytest.approx(17.5)
    assert waste([], slow, MIDNIGHT + DAY_SECONDS, noon) == pytest.approx(15)
