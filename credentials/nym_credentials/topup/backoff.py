"""How long to leave alone whoever failed: each signer, each endpoint, by itself. Pure."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from random import Random
from typing import Final

FIRST_SECONDS: Final = 20.0
MOST_SECONDS: Final = 900.0
_MOST_DOUBLINGS: Final = 10


@dataclass(slots=True)
class _Failing:
    times: int = 0
    until: float = 0.0


class BackOff:
    """Failures by name (the address of a signer, ``chain``). Delays double, and are drawn between half and all."""

    def __init__(
        self, rng: Random, *, first_seconds: float = FIRST_SECONDS, most_seconds: float = MOST_SECONDS
    ) -> None:
        self._rng = rng
        self._first = first_seconds
        self._most = most_seconds
        self._failing: dict[str, _Failing] = {}
        self._totals: Counter[str] = Counter()

    def failed(self, name: str, now: float) -> float:
        """One more failure; returns when to ask again."""
        entry = self._failing.setdefault(name, _Failing())
        if now < entry.until and entry.times:
            return entry.until  # asked too early for another reason: that says nothing new
        delay = min(self._most, self._first * 2.0 ** min(entry.times, _MOST_DOUBLINGS))
        entry.times += 1
        self._totals[name] += 1
        entry.until = now + delay * self._rng.uniform(0.5, 1.0)
        return entry.until

    def worked(self, name: str) -> None:
        """It answered well."""
        self._failing.pop(name, None)

    def until(self, name: str) -> float:
        """When it may be asked; 0 for whoever did not fail."""
        entry = self._failing.get(name)
        return entry.until if entry else 0.0

    def failures(self) -> dict[str, int]:
        """How often each one failed in a row, for metrics."""
        return {name: entry.times for name, entry in self._failing.items()}

    def totals(self) -> dict[str, int]:
        """How often each one failed since the start, for metrics."""
        return dict(self._totals)

    def enough(self, names: Iterable[str], needed: int) -> float:
        """When at least `needed` of `names` may be asked; 0 if they may be now, or are not that many."""
        moments = sorted(self.until(name) for name in names)
        return moments[needed - 1] if 0 < needed <= len(moments) else 0.0
