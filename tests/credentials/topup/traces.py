"""Use of a proxy over virtual weeks: pieces of constant rate, drawn from a seed."""

from __future__ import annotations

import math
from collections.abc import Callable
from random import Random
from typing import NamedTuple

HOUR = 3600.0
DAY = 86400.0
WARM_UP = HOUR
"""The process runs for so long before the trace begins: the first purchase is nobody's stall."""
STANDARD = 2.39
"""Tickets an hour of a client that is awake with the standard profile."""
BEGIN = 1_790_000_000.0  # 2026-09-21T14:13:20Z


class Segment(NamedTuple):
    begin: float
    end: float
    per_hour: float


class Trace(NamedTuple):
    name: str
    segments: list[Segment]
    nominal: float
    """What the profile costs an hour awake."""

    @property
    def begin(self) -> float:
        return self.segments[0].begin

    @property
    def end(self) -> float:
        return self.segments[-1].end

    @property
    def weeks(self) -> int:
        """Begun weeks of UTC days, of which a book lives seven, from the start of the process an hour before."""
        days = int((self.end - 1) // DAY) - int((self.begin - WARM_UP) // DAY) + 1
        return math.ceil(days / 7)


def joined(pieces: list[tuple[float, float, float]]) -> list[Segment]:
    """Without gaps or overlaps, neighbours of one rate made one."""
    result: list[Segment] = []
    for begin, end, rate in pieces:
        if end <= begin:
            continue
        if result and begin > result[-1].end:
            result.append(Segment(result[-1].end, begin, 0.0))
        if result and result[-1].per_hour == rate:
            result[-1] = result[-1]._replace(end=end)
        else:
            result.append(Segment(begin, end, rate))
    return result


def start(rng: Random) -> float:
    return BEGIN + rng.uniform(0, 28 * DAY)


def long_enough(per_day: float) -> float:
    """Days in which one book more or less does not hide what the others cost."""
    return min(364.0, max(35.0, 60 * 50 / per_day))


def steady(rng: Random, days: float | None = None) -> Trace:
    per_day = math.exp(rng.uniform(math.log(1.0), math.log(120.0)))
    begin = start(rng)
    end = begin + (days or long_enough(per_day)) * DAY
    return Trace(f"steady {per_day:.2f} a day", [Segment(begin, end, per_day / 24)], per_day / 24)


def diurnal(rng: Random, days: float | None = None) -> Trace:
    """The same hours every day, with a soft or a hard edge; some noise from day to day."""
    if rng.random() < 0.5:
        return waves(rng, days)
    hours = rng.uniform(2.0, 16.0)
    rate = STANDARD if rng.random() < 0.5 else math.exp(rng.uniform(math.log(0.3), math.log(8.0)))
    rate = min(rate, 3.5) if hours < 4 else rate
    return daily_window(rng, rate, hours, days)


def daily_window(rng: Random, rate: float, hours: float, days: float | None = None) -> Trace:
    begin = start(rng)
    count = int(days or long_enough(rate * hours))
    first = rng.uniform(0, 24) * HOUR
    wobble = rng.choice((0.0, 0.25))
    midnight = begin // DAY * DAY
    pieces = []
    at = begin
    for day in range(count + 1):
        opens = midnight + day * DAY + first + rng.uniform(-wobble, wobble) * HOUR
        closes = opens + hours * HOUR + rng.uniform(-wobble, wobble) * HOUR
        opens, closes = max(opens, at), min(closes, begin + count * DAY)
        if closes > opens:
            pieces += [(at, opens, 0.0), (opens, closes, rate)]
            at = closes
    pieces.append((at, begin + count * DAY, 0.0))
    return Trace(f"{hours:.1f} hours a day at {rate:.2f} an hour", joined(pieces), rate)


def waves(rng: Random, days: float | None = None) -> Trace:
    """A sine over the day, in steps of an hour."""
    per_day = math.exp(rng.uniform(math.log(1.5), math.log(100.0)))
    depth, phase = rng.uniform(0.3, 1.0), rng.uniform(0, 24)
    begin = start(rng)
    end = begin + int(days or long_enough(per_day)) * DAY
    pieces, at = [], begin
    while at < end:
        until = min(end, (at // HOUR + 1) * HOUR)
        level = 1 + depth * math.sin((at / HOUR + phase) / 24 * 2 * math.pi)
        pieces.append((at, until, per_day / 24 * max(0.0, level)))
        at = until
    return Trace(
        f"waves of {per_day:.1f} a day, {depth:.0%} deep", joined(pieces), per_day / 24 * (1 + depth)
    )


def bursty(rng: Random, days: float | None = None) -> Trace:
    """Bursts of minutes to hours at odd times, up to 40 tickets (8 GB) an hour."""
    begin = start(rng)
    end = begin + (days or rng.uniform(14, 56)) * DAY
    pause = math.exp(rng.uniform(math.log(2 * HOUR), math.log(4 * DAY)))
    top = math.exp(rng.uniform(math.log(2.0), math.log(40.0)))
    pieces, at = [], begin + rng.uniform(0.1, 2) * HOUR
    pieces.append((begin, at, 0.0))
    while at < end:
        length = min(math.exp(rng.gauss(math.log(1200.0), 1.2)), 8 * HOUR)
        rate = top * rng.uniform(0.2, 1.0)
        pieces.append((at, min(end, at + length), rate))
        rest = rng.expovariate(1 / pause) + 60
        pieces.append((min(end, at + length), min(end, at + length + rest), 0.0))
        at += length + rest
    return Trace(f"bursts, a pause of {pause / HOUR:.1f} hours, up to {top:.1f} an hour", joined(pieces), 0.0)


def zero(rng: Random, days: float | None = None) -> Trace:
    begin = start(rng)
    return Trace("no use", [Segment(begin, begin + (days or rng.uniform(20, 90)) * DAY, 0.0)], 0.0)


def exploding(rng: Random, days: float | None = None) -> Trace:
    """Doubles every few hours or days up to 100 tickets (20 GB) an hour; then it ends, or stays a while."""
    begin = start(rng)
    doubling = math.exp(rng.uniform(math.log(2 * HOUR), math.log(3 * DAY)))
    rate, top = rng.uniform(0.05, 0.5), rng.uniform(10, 100)
    pieces, at = [], begin
    while rate < top:
        pieces.append((at, at + doubling / 4, rate))
        at += doubling / 4
        rate *= 2**0.25
    stays = rng.choice((0.0, rng.uniform(0, 12 * HOUR)))
    pieces.append((at, at + stays, top))
    at += stays
    pieces.append((at, at + rng.uniform(7, 21) * DAY, 0.0))
    return Trace(f"doubling every {doubling / HOUR:.1f} hours up to {top:.0f} an hour", joined(pieces), 0.0)


KINDS: dict[str, Callable[[Random], Trace]] = {
    "steady": steady,
    "diurnal": diurnal,
    "bursty": bursty,
    "zero": zero,
    "exploding": exploding,
}
