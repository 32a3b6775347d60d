"""How fast tickets burn, and how fast they will (docs/protocol/10 §6). Pure.

Use is measured per session (a client identity with cover traffic of its own) and per traffic profile, so that a
change of either changes what is projected at once: the hours awake stay, what an hour costs does not. Cover traffic
counts like any other: a gateway charges for packets.

What is projected has a *level*, tickets a day, and a *shape*, which share of them falls in which hour of the day.
Three levels, for three questions: `Outlook.EXPECTED` is the median of the last three days, `CERTAIN` the least of the
last seven, `WORST` the most of the last three. The first two are believed as far as those three days are alike: use
that grows or bursts is no habit that books may be bought ahead for, since it may end at any time. Tickets for it are
bought when they go, not before.
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from enum import Enum
from typing import Any, Final

HOUR_SECONDS: Final = 3_600.0
DAY_SECONDS: Final = 86_400.0
HOURS_PER_DAY: Final = 24

HISTORY_DAYS: Final = 15
"""How long hours are remembered."""
SHAPE_DAYS: Final = 7
"""The shape of a day is the mean of so many."""
WINDOWS_SECONDS: Final = (60.0, 300.0, 1_800.0)
"""Over these the present rate is taken."""
_PEAK_WINDOW_SECONDS: Final = 300.0
_REVISION: Final = 1
_PRIOR_HOURS: Final = 1.0
"""A profile's nominal rate counts like so many hours awake of measurement."""
_ALIKE: Final = (0.7, 0.9)
"""How much of the most used day the least used one of three has to reach: below the first it is no habit at all,
from the second on it is one."""
_LATELY_HOURS: Final = 6
_ALIKE_LATELY: Final = (-0.15, -0.08)
"""The same for the last hours, which tell soonest that use has ended: by how much they may differ from the same hours
of the days before, as a share of a whole day's use."""
_HABITUAL_DAYS: Final = 5
_HABITUAL_SHARE: Final = 0.95


class Outlook(Enum):
    """Which level a projection has."""

    CERTAIN = "certain"
    EXPECTED = "expected"
    WORST = "worst"


@dataclass(frozen=True, slots=True)
class ProfileRate:
    """What a traffic profile costs by itself, before anything was measured."""

    name: str
    tickets_per_hour: float
    """Of one session that is awake: the cover traffic of `standard` alone burns 2.4."""


@dataclass(slots=True)
class _Hour:
    """One UTC hour, per session and profile."""

    tickets: dict[str, float] = field(default_factory=dict)
    awake: dict[str, float] = field(default_factory=dict)
    peak: float = 0.0
    """Tickets an hour, over the worst five minutes."""


@dataclass(frozen=True, slots=True)
class Forecast:
    """Tickets that will be used, as a level and a shape; of all sessions together."""

    per_day: float
    shape: tuple[float, ...]
    """24 shares, by hour of the UTC day; their sum is 1 (or 0 without use)."""
    _sums: tuple[float, ...] = field(default=(), repr=False)

    @classmethod
    def of(cls, per_day: float, shape: tuple[float, ...]) -> Forecast:
        """With its running sums."""
        sums, total = [0.0], 0.0
        for share in shape:
            total += share * per_day
            sums.append(total)
        return cls(per_day, shape, tuple(sums))

    def _before(self, when: float) -> float:
        """Tickets since the epoch: only differences mean something."""
        days, rest = divmod(when, DAY_SECONDS)
        hour, part = divmod(rest, HOUR_SECONDS)
        index = int(hour)
        low = self._sums[index]
        return days * self._sums[-1] + low + (self._sums[index + 1] - low) * (part / HOUR_SECONDS)

    def use(self, begin: float, end: float) -> float:
        """Tickets used between two Unix times."""
        return self._before(end) - self._before(begin) if end > begin else 0.0

    def when(self, begin: float, tickets: float, end: float) -> float | None:
        """When so many tickets will have been used, counted from `begin`; None if that is not before `end`."""
        if self._sums[-1] <= 0.0:
            return begin if tickets <= 0 and begin < end else None
        left = tickets
        now = begin
        whole = int(left / self._sums[-1]) - 1
        if whole > 0:
            now += whole * DAY_SECONDS
            left -= whole * self._sums[-1]
        while now < end:
            rest = HOUR_SECONDS - now % HOUR_SECONDS
            rate = self.shape[int(now % DAY_SECONDS // HOUR_SECONDS)] * self.per_day / HOUR_SECONDS
            if rate > 0.0 and rate * rest >= left:
                found = now + left / rate
                return found if found < end else None
            left -= rate * rest
            now += rest
        return None


class BurnMeter:
    """Remembers use and projects it. Times are Unix seconds; tickets may be fractions (bytes over bytes a ticket)."""

    def __init__(self, profiles: Mapping[str, ProfileRate], profile: str) -> None:
        self._profiles = dict(profiles)
        self.profile = profile
        """The profile that projections are made for."""
        self._hours: dict[int, _Hour] = {}
        self._recent: deque[tuple[float, float, float]] = deque()
        self._last = 0.0
        self._cache: tuple[object, ...] = ()
        self._cached: dict[Outlook, Forecast] = {}
        self._regular = False
        self._peaks: dict[float, tuple[int, float]] = {}
        self._peaks_at: dict[tuple[frozenset[int], int], tuple[int, float]] = {}
        self._seen: set[str] = set()

    def observe(
        self,
        since: float,
        until: float,
        tickets: float,
        *,
        awake_seconds: float | None = None,
        sessions: int = 1,
        profile: str | None = None,
    ) -> None:
        """`tickets` were used by all sessions together between two moments; late reports of the past are fine.

        `awake_seconds`: how long each session was awake in that time (None: all of it if anything was used).
        """
        if until <= since or sessions < 1:
            return
        profile = profile or self.profile
        self._seen.add(profile)
        length = until - since
        each = max(0.0, tickets) / sessions
        awake = (length if tickets > 0 else 0.0) if awake_seconds is None else min(awake_seconds, length)
        begin = since
        while begin < until:
            number = int(begin // HOUR_SECONDS)
            end = min(until, (number + 1) * HOUR_SECONDS)
            share = (end - begin) / length
            hour = self._hours.get(number)
            if hour is None:
                hour = self._hours[number] = _Hour()
                self._forget(number)
            hour.tickets[profile] = hour.tickets.get(profile, 0.0) + each * share
            hour.awake[profile] = hour.awake.get(profile, 0.0) + awake * share
            begin = end
        self._last = max(self._last, until)
        if each > 0.0:
            self._recent.append((since, until, each))
        while self._recent and self._recent[0][1] < self._last - WINDOWS_SECONDS[-1]:
            self._recent.popleft()
        # Of what lasted less than five minutes the peak is taken over five, of the rest over its own length.
        number = int((until - 1e-6) // HOUR_SECONDS)
        if until < self._last:
            self._peaks.clear()
            self._peaks_at.clear()
        hour = self._hours[number]
        hour.peak = max(hour.peak, self._rate(until, _PEAK_WINDOW_SECONDS))

    def switch(self, profile: str) -> None:
        """From now on another profile is used: what was awake stays, what an hour costs changes."""
        self.profile = profile

    def copy(self) -> BurnMeter:
        """One that can be played forward without touching this one."""
        other = BurnMeter.restored(self.remembered(), self._profiles, self.profile)
        other._recent = deque(self._recent)
        return other

    def remembered(self) -> dict[str, Any]:
        """For a file: plain JSON, without anything about destinations. See `restored`."""
        return {
            "revision": _REVISION,
            "last": self._last,
            "hours": [
                [number, hour.tickets, hour.awake, hour.peak] for number, hour in sorted(self._hours.items())
            ],
        }

    @classmethod
    def restored(
        cls, remembered: Mapping[str, Any], profiles: Mapping[str, ProfileRate], profile: str
    ) -> BurnMeter:
        """The inverse of `remembered`. What cannot be read is forgotten: projections begin anew."""
        meter = cls(profiles, profile)
        try:
            if remembered["revision"] != _REVISION:
                return meter
            last = float(remembered["last"])
            hours = {
                int(number): _Hour(_numbers(tickets), _numbers(awake), float(peak))
                for number, tickets, awake, peak in remembered["hours"]
            }
        except (KeyError, TypeError, ValueError, AttributeError):
            return meter
        if any(hour.tickets.keys() != hour.awake.keys() for hour in hours.values()):
            return meter
        meter._last, meter._hours = last, hours
        meter._seen = {name for hour in hours.values() for name in hour.tickets}
        return meter

    def _forget(self, newest: int) -> None:
        oldest = newest - HISTORY_DAYS * HOURS_PER_DAY
        if len(self._hours) > HISTORY_DAYS * HOURS_PER_DAY + HOURS_PER_DAY:
            self._hours = {number: hour for number, hour in self._hours.items() if number >= oldest}

    def _rate(self, now: float, window: float) -> float:
        """Tickets an hour and session in the last `window` seconds."""
        begin = now - window
        total = 0.0
        for since, until, tickets in reversed(self._recent):
            if until > begin:
                overlap = min(until, now) - max(since, begin)
                if overlap > 0:
                    total += tickets * overlap / (until - since)
        return total / window * HOUR_SECONDS

    def rates(self, now: float) -> tuple[tuple[float, float], ...]:
        """(window in seconds, tickets an hour and session in it) for every window."""
        return tuple((window, self._rate(now, window)) for window in WINDOWS_SECONDS)

    def per_awake_hour(self, profile: str | None = None) -> float:
        """Tickets an hour of one session that is awake: measured, and what the profile says until it is."""
        profile = profile or self.profile
        known = self._profiles.get(profile)
        used = sum(hour.tickets.get(profile, 0.0) for hour in self._hours.values())
        awake = sum(hour.awake.get(profile, 0.0) for hour in self._hours.values()) / HOUR_SECONDS
        nominal = known.tickets_per_hour if known is not None else (used / awake if awake else 0.0)
        return (nominal * _PRIOR_HOURS + used) / (_PRIOR_HOURS + awake)

    def nominal(self) -> float:
        """What the profile of now says that it costs: tickets an hour and session."""
        known = self._profiles.get(self.profile)
        return known.tickets_per_hour if known is not None else 0.0

    def forecast(self, now: float, outlook: Outlook, sessions: int = 1) -> Forecast:
        """What `sessions` sessions of the present profile will use, by what the days before used."""
        key = (int(now // HOUR_SECONDS), self.profile, sessions)
        if key != self._cache:
            self._cached, self._regular = self._project(*key)
            self._cache = key
        return self._cached[outlook]

    def regular(self, now: float) -> bool:
        """Whether nearly all use of the last seven days fell in hours of the day that are used on most days."""
        self.forecast(now, Outlook.EXPECTED, 1 if not self._cache else int(str(self._cache[2])))
        return self._regular

    def peak(self, now: float, *, half_life_days: float = 2.0) -> float:
        """The highest rate over five minutes, tickets an hour and session; older peaks count less and less."""
        number = int(now // HOUR_SECONDS)
        known, before = self._peaks.get(half_life_days, (-1, 0.0))
        halves = half_life_days * HOURS_PER_DAY
        if known == number - 1 >= 0:
            last = self._hours.get(known)
            before = max(before * 0.5 ** (1 / halves), last.peak if last is not None else 0.0)
            self._peaks[half_life_days] = (number, before)
        elif known != number:
            before = max(
                (
                    hour.peak * 0.5 ** (max(0, number - when - 1) / halves)
                    for when, hour in self._hours.items()
                    if hour.peak > 0.0 and when < number
                ),
                default=0.0,
            )
            self._peaks[half_life_days] = (number, before)
        present = self._hours.get(number)
        return max(before, present.peak if present is not None else 0.0)

    def peak_at(self, hours_of_day: frozenset[int], now: float, days: int = 7) -> float:
        """The highest rate seen in those UTC hours on the last `days` days."""
        current = int(now // HOUR_SECONDS)
        key = (hours_of_day, days)
        known, before = self._peaks_at.get(key, (-1, 0.0))
        if known != current:
            before = max(
                (
                    hour.peak
                    for number, hour in self._hours.items()
                    if number % HOURS_PER_DAY in hours_of_day
                    and number != current
                    and current - number <= days * HOURS_PER_DAY
                ),
                default=0.0,
            )
            self._peaks_at[key] = (current, before)
        present = self._hours.get(current) if current % HOURS_PER_DAY in hours_of_day else None
        return max(before, present.peak if present is not None else 0.0)

    def _project(self, current: int, profile: str, sessions: int) -> tuple[dict[Outlook, Forecast], bool]:
        per_hour = self.per_awake_hour(profile) if self._seen - {profile} else 0.0
        hours, alone = self._hours, self._seen <= {profile}
        days = [
            [
                # Mostly there is one profile, and this runs for every hour of every simulated month.
                (hours[number].tickets.get(profile, 0.0) if number in hours else 0.0)
                if alone
                else self._hour_in(number, profile, per_hour)
                for number in range(first, first + HOURS_PER_DAY)
            ]
            for first in (current - HOURS_PER_DAY * back for back in range(1, SHAPE_DAYS + 1))
        ]
        totals = [sum(day) * sessions for day in days]
        sums = [sum(column) for column in zip(*days, strict=True)]
        whole = sum(sums)
        turn = current % HOURS_PER_DAY
        shape = tuple(
            (sums[(hour - turn) % HOURS_PER_DAY] / whole if whole > 0 else 0.0)
            for hour in range(HOURS_PER_DAY)
        )
        lately = [sum(day[-_LATELY_HOURS:]) * sessions for day in days[:3]]
        trust = _trust(totals[:3], lately)
        levels = {
            Outlook.CERTAIN: min(totals) * trust,
            Outlook.EXPECTED: sorted(totals[:3])[1] * trust,
            Outlook.WORST: max(totals[:3]),
        }
        habitual = sum(
            total
            for total, column in zip(sums, zip(*days, strict=True), strict=True)
            if sum(value > 0 for value in column) >= _HABITUAL_DAYS
        )
        regular = whole > 0 and habitual >= _HABITUAL_SHARE * whole
        return {outlook: Forecast.of(level, shape) for outlook, level in levels.items()}, regular

    def _hour_in(self, number: int, profile: str, per_hour: float) -> float:
        """What an hour of the past would have used in the profile of now, one session."""
        hour = self._hours.get(number)
        if hour is None:
            return 0.0
        total = 0.0
        for name, tickets in hour.tickets.items():
            total += tickets if name == profile else hour.awake[name] / HOUR_SECONDS * per_hour
        return total


def _numbers(values: Mapping[str, Any]) -> dict[str, float]:
    found = {str(name): float(value) for name, value in values.items()}
    if not all(math.isfinite(value) and value >= 0 for value in found.values()):
        raise ValueError
    return found


def _trust(totals: Sequence[float], lately: Sequence[float]) -> float:
    """From 0 to 1: how alike three days are, as a whole and in the hours that have just passed."""
    most = max(totals)
    if most <= 0:
        return 0.0
    return min(
        _within(min(totals) / most, *_ALIKE), _within(-(max(lately) - min(lately)) / most, *_ALIKE_LATELY)
    )


def _within(value: float, none: float, whole: float) -> float:
    return min(1.0, max(0.0, (value - none) / (whole - none)))
