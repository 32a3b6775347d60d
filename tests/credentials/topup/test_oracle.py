"""The oracle that simulations are measured by is exact: held against trying everything."""

from __future__ import annotations

from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.credentials.topup.oracle import brute_force_fewest, fewest, fewest_books, ticket_windows
from tests.credentials.topup.traces import BEGIN, DAY, HOUR, KINDS, Segment


@given(
    steps=st.lists(st.tuples(st.integers(0, 2), st.integers(0, 1)), min_size=1, max_size=7),
    capacity=st.integers(1, 3),
    life=st.integers(1, 3),
)
def test_no_choice_of_books_is_smaller(steps: list[tuple[int, int]], capacity: int, life: int) -> None:
    windows, asked, needed = [], 0, 0
    for pause, patience in steps:
        asked += pause
        needed = max(needed, asked + patience)
        windows.append((asked, needed))
    assert fewest(windows, capacity, life) == brute_force_fewest(windows, capacity, life)


def test_simple_cases() -> None:
    midnight = BEGIN // DAY * DAY
    assert fewest_books([Segment(midnight, midnight + 30 * DAY, 0.0)]) == 0
    # A ticket a day: the first is needed at once, a book dies after seven days.
    assert fewest_books([Segment(midnight, midnight + 28 * DAY, 1 / 24)]) == 4
    # 50 tickets in two hours; the 51st is not needed before they are used up.
    assert fewest_books([Segment(midnight, midnight + 2 * HOUR, 25.0)]) == 1
    assert fewest_books([Segment(midnight, midnight + 2 * HOUR + 60, 25.0)]) == 2


@pytest.mark.parametrize("kind", sorted(KINDS))
def test_windows_are_in_order_and_as_many_as_the_use(kind: str) -> None:
    trace = KINDS[kind](Random(f"windows/{kind}"))
    windows = ticket_windows(trace.segments, 0.2)
    used = sum((end - begin) / HOUR * rate for begin, end, rate in trace.segments)
    assert used <= len(windows) <= used + 1
    assert all(asked <= needed + 1e-6 for asked, needed in windows)
    assert windows == sorted(windows)
    assert [needed for _, needed in windows] == sorted(needed for _, needed in windows)
