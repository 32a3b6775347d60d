"""Fuzzing in a box of time: a few hundred examples by default, as many as fit with ``FUZZ_SECONDS`` (``make fuzz``)."""

import functools
import os
import time
from collections.abc import Callable

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st

SECONDS = float(os.environ.get("FUZZ_SECONDS", "0"))
BOXES = 9
"""Tests that share the seconds."""
EXAMPLES = 300 if SECONDS else 150


def boxed(check: Callable[[], None]) -> Callable[[], None]:
    """A hypothesis test that is run again and again, with other examples, until its share of the time is over."""
    tuned = settings(
        max_examples=EXAMPLES, deadline=None, database=None, suppress_health_check=list(HealthCheck)
    )(check)

    @functools.wraps(check)
    def test() -> None:
        end = time.monotonic() + SECONDS / BOXES
        tuned()
        while time.monotonic() < end:
            tuned()

    del test.__wrapped__  # or pytest would ask for fixtures by the names of hypothesis's arguments
    return test


def damaged(whole: st.SearchStrategy[bytes]) -> st.SearchStrategy[bytes]:
    """Messages that are right but for something: cut, doubled, with bytes changed, put in or left out."""

    def damage(data: bytes, wounds: list[tuple[int, int, bytes]]) -> bytes:
        for place, kind, extra in wounds:
            at = place % (len(data) + 1)
            match kind:
                case 0:
                    data = data[:at]
                case 1:
                    data = data[:at] + extra + data[at:]
                case 2:
                    data = data[:at] + extra + data[at + len(extra) :]
                case 3:
                    data = data[:at] + data[at + 1 :]
                case _:
                    data = data + data[at:]
        return data

    wound = st.tuples(st.integers(0, 4000), st.integers(0, 4), odd_bytes)
    return st.builds(damage, whole, st.lists(wound, max_size=3))


odd_bytes = st.binary(min_size=1, max_size=4) | st.sampled_from(
    [
        b"\0",
        b"\xff",
        b"\r\n",
        b"\n",
        b"\r\n\r\n",
        b" ",
        b":",
        b"\t",
        b"%",
        b"..",
        b"[",
        b"]",
        b"@",
        b"\r\n X: y",
    ]
)
pieces = st.lists(st.integers(0, 5000), max_size=8)
