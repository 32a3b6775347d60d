"""The send schedule: exponential gaps from deadlines, back-pressure, no bursts after a pause."""

from __future__ import annotations

import itertools
import math
import random

import pytest

from nym_mixnet.poisson import MAX_LAG_SECONDS, MAX_MULTIPLIER, PoissonSchedule


def kolmogorov_smirnov_p(samples: list[float], mean: float) -> float:
    """Two-sided asymptotic p-value that `samples` are exponential with that mean."""
    ordered = sorted(samples)
    n = len(ordered)
    distance = 0.0
    for index, value in enumerate(ordered):
        cdf = 1 - math.exp(-value / mean)
        distance = max(distance, (index + 1) / n - cdf, cdf - index / n)
    x = distance * (math.sqrt(n) + 0.12 + 0.11 / math.sqrt(n))
    return max(0.0, min(1.0, 2 * sum((-1) ** (k - 1) * math.exp(-2 * k * k * x * x) for k in range(1, 101))))


def test_the_test_statistic_tells_other_distributions_apart():
    rng = random.Random(1)
    assert kolmogorov_smirnov_p([rng.uniform(0, 0.04) for _ in range(5000)], 0.02) < 1e-6
    assert kolmogorov_smirnov_p([rng.expovariate(1 / 0.021) for _ in range(50_000)], 0.02) < 1e-3


@pytest.mark.parametrize("mean", [0.004, 0.02, 0.2])
def test_gaps_are_exponential_however_late_the_caller_comes(mean):
    rng = random.Random(42)
    schedule = PoissonSchedule(mean, rng, 0.0)
    jitter = random.Random(3)
    deadlines = []
    now = 0.0
    for _ in range(4000):
        deadlines.append(schedule.deadline)
        now = max(now, schedule.deadline + jitter.random() * 0.01)
        assert schedule.take_due(now)
    gaps = [b - a for a, b in itertools.pairwise(deadlines)]
    assert kolmogorov_smirnov_p(gaps, mean) > 0.01


def test_nothing_is_due_before_its_deadline():
    schedule = PoissonSchedule(0.02, random.Random(1), 10.0)
    assert not schedule.take_due(10.0)
    assert schedule.take_due(schedule.deadline)


def test_a_suspended_machine_does_not_send_a_burst():
    schedule = PoissonSchedule(0.02, random.Random(1), 0.0)
    due = 0
    while schedule.take_due(3600.0):
        due += 1
    assert due <= 2 + MAX_LAG_SECONDS / 0.02 * 3
    assert due < 10


def test_the_multiplier_grows_while_the_link_is_full_and_recovers():
    schedule = PoissonSchedule(0.02, random.Random(1), 0.0)
    now = 0.0
    for _ in range(100):
        now += 0.5
        schedule.note_link(now, congested=True, full=True)
    assert schedule.multiplier == MAX_MULTIPLIER
    for _ in range(100):
        now += 0.5
        schedule.note_link(now, congested=False, full=False)
    assert schedule.multiplier == 1


def test_a_mean_of_zero_is_refused():
    with pytest.raises(ValueError):
        PoissonSchedule(0.0, random.Random(1), 0.0)
