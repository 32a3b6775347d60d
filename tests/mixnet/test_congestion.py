"""The window follows queueing delay, not loss."""

from __future__ import annotations

import random

from nym_mixnet.congestion import (
    MAX_WINDOW_PACKETS,
    MIN_WINDOW_PACKETS,
    TARGET_QUEUEING_SECONDS,
    CongestionWindow,
)


def run_path(
    *, rate: float, loss: float, seconds: float, seed: int = 1, jitter: float = 0.0
) -> tuple[CongestionWindow, float]:
    """A bottleneck of `rate` packets/s with a base latency of 0.1 s; returns the window and packets delivered/s."""
    rng = random.Random(seed)
    window = CongestionWindow(0.0)
    now, free_at, delivered = 0.0, 0.0, 0
    in_flight: list[tuple[float, float, bool]] = []  # (time of event, sent at, acked)
    while now < seconds:
        while window.allows(len(in_flight)):
            free_at = max(free_at, now) + 1 / rate
            lost = rng.random() < loss
            late = rng.uniform(0, jitter)
            in_flight.append((now + 1.7 if lost else free_at + 0.1 + late, now, not lost))
        in_flight.sort()
        now, sent_at, acked = in_flight.pop(0)
        if acked:
            delivered += 1
            window.on_ack(now, now - sent_at)
        else:
            window.on_timeout(now)
    return window, delivered / now


def test_a_fast_path_is_used_fully_without_a_standing_queue():
    window, rate = run_path(rate=1000, loss=0.0, seconds=30)
    assert rate > 900
    assert window.queueing_seconds < 2 * TARGET_QUEUEING_SECONDS


def test_a_slow_path_is_not_drowned():
    window, rate = run_path(rate=200, loss=0.0, seconds=60)
    assert rate > 180
    assert window.queueing_seconds < 0.5


def test_random_loss_does_not_starve_the_sender():
    _, rate = run_path(rate=1000, loss=0.36, seconds=40)
    assert rate > 400


def test_jitter_is_not_taken_for_a_queue():
    window, rate = run_path(rate=1000, loss=0.0, seconds=60, jitter=0.12)
    assert rate > 900
    assert window.queueing_seconds < 0.25


def test_silence_shrinks_the_window_to_its_minimum():
    window = CongestionWindow(0.0)
    window.window_packets = 1000.0
    for second in range(4, 40):
        window.on_timeout(float(second))
    assert window.window_packets == MIN_WINDOW_PACKETS


def test_the_window_is_bounded():
    window = CongestionWindow(0.0)
    for step in range(10_000):
        window.on_ack(step * 0.001, 0.1)
    assert window.window_packets == MAX_WINDOW_PACKETS
