"""How much each user has used up today and this month, without input or output.

Kept by calendar day and month in UTC. What was added since the last :meth:`Usage.take` is what a store has to add to
its own sums: several proxies may share one.
"""

from collections import Counter
from collections.abc import Mapping
from datetime import UTC, datetime

from nymgate.access.users import Limits

Row = tuple[str, str]
"""User and period: ``2026-11-23`` or ``2026-11``."""


def periods(now: float) -> tuple[str, str]:
    """The day and the month of a time in seconds since 1970."""
    day = datetime.fromtimestamp(now, UTC).date().isoformat()
    return day, day[:7]


class Usage:
    """Bytes by user and period."""

    def __init__(self) -> None:
        self._stored: dict[Row, int] = {}
        self._added: Counter[Row] = Counter()

    def add(self, user: str, count: int, now: float) -> None:
        """A user's stream carried this many bytes, up and down together."""
        if count:
            for period in periods(now):
                self._added[user, period] += count

    def used(self, user: str, now: float) -> tuple[int, int]:
        """Bytes of today and of this month."""
        day, month = (
            self._stored.get((user, period), 0) + self._added[user, period] for period in periods(now)
        )
        return day, month

    def exceeds(self, user: str, limits: Limits, now: float) -> bool:
        """Whether nothing is left for the user."""
        if limits.bytes_per_day is None and limits.bytes_per_month is None:
            return False
        day, month = self.used(user, now)
        return (limits.bytes_per_day is not None and day >= limits.bytes_per_day) or (
            limits.bytes_per_month is not None and month >= limits.bytes_per_month
        )

    def take(self) -> dict[Row, int]:
        """What is to be stored, until :meth:`stored` says that it was."""
        return dict(self._added)

    def stored(self, taken: Mapping[Row, int], sums: Mapping[Row, int]) -> None:
        """It was stored, and these are the sums of all who store."""
        self._added.subtract(taken)
        self._added += Counter()  # zeros go
        self._stored = dict(sums)
