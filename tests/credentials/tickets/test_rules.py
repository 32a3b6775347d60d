"""When a ticket may be made out: pure rules."""

from __future__ import annotations

from datetime import date

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nym_credentials.errors import ClockSkewed, GatewayInDebt, GatewayPaused, NearMidnight
from nym_credentials.store.records import GatewayAccount
from nym_credentials.tickets.rules import (
    DEBT_MEMORY_SECONDS,
    DOUBT_SECONDS,
    MAX_SKEW_SECONDS,
    MIDNIGHT_MARGIN_SECONDS,
    SECONDS_PER_DAY,
    SKEW_MEMORY_SECONDS,
    ClockWatch,
    check_gateway,
    until_day_is_certain,
    utc_day,
)

MIDNIGHT = 1_779_926_400.0  # 2026-05-28


def test_days_are_those_of_utc():
    assert utc_day(MIDNIGHT - 0.001) == date(2026, 5, 27)
    assert utc_day(MIDNIGHT) == date(2026, 5, 28)


@pytest.mark.parametrize(
    "offset, wait",
    [(-31, 0), (-30, 60), (-0.5, 30.5), (0, 30), (29.5, 0.5), (30, 0), (43_200, 0)],
)
def test_about_midnight_it_waits(offset, wait):
    assert until_day_is_certain(MIDNIGHT + offset) == pytest.approx(wait)


@given(st.floats(0, 4e9))
def test_after_waiting_the_day_is_certain(now):
    wait = until_day_is_certain(now)
    assert 0 <= wait <= 2 * MIDNIGHT_MARGIN_SECONDS
    assert until_day_is_certain(now + wait + 0.001) == 0
    if not wait:
        assert utc_day(now - 29) == utc_day(now) == utc_day(now + 29) or now < 30


@given(st.floats(-1e5, 1e5), st.floats(0, 50), st.floats(0, 1))
def test_a_skew_is_never_overstated(skew, travel, answered):
    """A Date header is cut to seconds, and anything may have happened on the way."""
    watch, server, seconds = ClockWatch(), MIDNIGHT + 0.7, travel
    sent = server + skew - answered * seconds
    watch.compared(int(server), sent, sent + seconds)
    assert watch.skew_seconds is not None
    assert abs(watch.skew_seconds) <= abs(skew) + 1e-3
    assert abs(watch.skew_seconds - skew) <= seconds + 1.001


@pytest.mark.parametrize("skew", [MAX_SKEW_SECONDS + 3, -MAX_SKEW_SECONDS - 3])
def test_a_wrong_clock_is_refused_and_named(skew):
    watch = ClockWatch()
    watch.check(MIDNIGHT)
    watch.compared(MIDNIGHT, MIDNIGHT + skew, MIDNIGHT + skew)
    with pytest.raises(ClockSkewed, match="ahead" if skew > 0 else "behind") as caught:
        watch.check(MIDNIGHT + skew)
    assert caught.value.retryable
    assert caught.value.skew_seconds == pytest.approx(skew, abs=1.1)
    watch.check(MIDNIGHT + skew + SKEW_MEMORY_SECONDS + 1)
    watch.compared(MIDNIGHT, MIDNIGHT, MIDNIGHT + 1)
    watch.check(MIDNIGHT)


def test_a_slightly_wrong_clock_is_fine():
    watch = ClockWatch()
    for skew in (-MAX_SKEW_SECONDS, MAX_SKEW_SECONDS):
        watch.compared(MIDNIGHT, MIDNIGHT + skew, MIDNIGHT + skew)
        watch.check(MIDNIGHT)


def test_date_headers():
    watch = ClockWatch()
    for rubbish in ("", "yesterday", "Thu, 28 May 2026 00:00:00 -0000 x", "0"):
        watch.date_header(rubbish, MIDNIGHT, MIDNIGHT)
    watch.date_header("Thu, 28 May 2026 00:00:00 GMT", MIDNIGHT + 100, MIDNIGHT + 101)
    assert watch.skew_seconds == pytest.approx(99)
    with pytest.raises(ClockSkewed, match="99 s ahead"):
        watch.check(MIDNIGHT)


def test_a_doubted_clock_is_compared_first():
    watch = ClockWatch()
    watch.compared(MIDNIGHT, MIDNIGHT, MIDNIGHT)
    watch.doubted(MIDNIGHT)
    with pytest.raises(ClockSkewed, match="refused a ticket because of its time"):
        watch.check(MIDNIGHT + 1)
    watch.check(MIDNIGHT + DOUBT_SECONDS)
    watch.compared(MIDNIGHT + 2, MIDNIGHT + 2, MIDNIGHT + 2)
    watch.check(MIDNIGHT + 3)


def test_debts_and_pauses():
    check_gateway(GatewayAccount(), MIDNIGHT)
    check_gateway(GatewayAccount(allowance=0), MIDNIGHT)
    debt = GatewayAccount(allowance=-1, changed_unix=int(MIDNIGHT))
    with pytest.raises(GatewayInDebt, match="-1 bytes"):
        check_gateway(debt, MIDNIGHT)
    check_gateway(debt, MIDNIGHT + DEBT_MEMORY_SECONDS)
    assert DEBT_MEMORY_SECONDS > 6 * SECONDS_PER_DAY
    paused = GatewayAccount(refusals=2, paused_until_unix=int(MIDNIGHT) + 30)
    with pytest.raises(GatewayPaused, match=r"cost 2 ticket\(s\)") as caught:
        check_gateway(paused, MIDNIGHT)
    assert caught.value.wait_seconds == 30
    check_gateway(paused, MIDNIGHT + 30)


def test_midnight_as_an_error():
    assert NearMidnight(12.0).wait_seconds == 12.0


def test_what_cannot_be_undone_waits_for_a_clock_that_others_confirm():
    watch = ClockWatch()
    assert not watch.agrees(MIDNIGHT)
    watch.compared(MIDNIGHT, MIDNIGHT, MIDNIGHT + 0.5)
    assert watch.agrees(MIDNIGHT)
    assert watch.agrees(MIDNIGHT + SKEW_MEMORY_SECONDS)
    for days in (10, -300):
        assert not watch.agrees(MIDNIGHT + days * 86_400), "it has jumped since"
    later = MIDNIGHT + 10 * 86_400
    watch.compared(MIDNIGHT, later, later)
    assert not watch.agrees(later)
