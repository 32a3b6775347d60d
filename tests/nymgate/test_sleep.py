"""The sleep core on a clock of its own."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nymgate.ways.sleep import Rest, SleepCore


def test_sleeps_after_the_time_without_streams():
    core = SleepCore(600, now=0)
    assert core.timer() == 600
    assert not core.due(599.9)
    assert core.due(600)
    assert core.state is Rest.ASLEEP
    assert core.timer() is None
    assert not core.due(10_000), "sleep is announced once"


def test_open_streams_keep_it_awake():
    core = SleepCore(600, now=0)
    assert not core.opened()
    assert core.timer() is None
    assert not core.due(10_000)
    core.closed(10_000)
    assert core.timer() == 10_600


def test_the_clock_starts_when_the_last_stream_ends():
    core = SleepCore(10, now=0)
    core.opened()
    core.opened()
    core.closed(5)
    assert core.timer() is None
    core.closed(7)
    assert core.timer() == 17


def test_the_next_stream_wakes_it_once():
    core = SleepCore(10, now=0)
    assert core.due(10)
    assert core.opened()
    assert not core.opened()
    assert core.state is Rest.BUSY


def test_never_means_never():
    core = SleepCore(math.inf, now=0)
    assert core.timer() is None
    assert not core.due(1e12)


def test_closing_what_was_not_opened_is_a_bug():
    with pytest.raises(ValueError, match="more streams"):
        SleepCore(10, now=0).closed(1)


@given(st.lists(st.tuples(st.sampled_from(["open", "close", "tick"]), st.floats(0, 30)), max_size=60))
def test_it_sleeps_exactly_when_idle_long_enough(steps):
    core, now, streams, idle_since, asleep = SleepCore(10, now=0), 0.0, 0, 0.0, False
    for step, passed in steps:
        now += passed
        if step == "open":
            assert core.opened() == asleep
            streams, asleep = streams + 1, False
        elif step == "close" and streams:
            core.closed(now)
            streams -= 1
            idle_since = now if streams == 0 else idle_since
        else:
            expected = not streams and not asleep and now >= idle_since + 10
            assert core.due(now) == expected
            asleep = asleep or expected
    assert (core.state is Rest.ASLEEP) == asleep
