"""Feeds the burn meter of a running proxy: what its own links were charged, and what other processes on the store took.

Of other processes (workers, replicas) only whole tickets are seen, in the record that all share. The meter is kept in
the store, sealed, so that a restart or another replica goes on with what is known of use.
"""

import asyncio
import json
import time
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Any, Final

import structlog

from nym_credentials.topup.burn import HOUR_SECONDS, BurnMeter, ProfileRate
from nym_mixnet.profiles import ENTRY_TICKET_BYTES, PROFILES
from nymgate.purse.sources_io import Spender

if TYPE_CHECKING:
    from nym_credentials.store.records import TicketTotals
    from nym_credentials.store.store_io import TicketStore

log = structlog.get_logger("nymgate.topup")

FEED_SECONDS: Final = 30.0
KEEP_SECONDS: Final = 600.0
"""The meter is stored so often; it counts in hours."""
METER: Final = "topup.meter"
"""Its name among the store's secrets: when somebody uses a proxy is nobody else's business."""


def profile_rates(ticket_bytes: int) -> dict[str, ProfileRate]:
    """What each traffic profile costs by its own cover traffic, with tickets of that size."""
    scale = ENTRY_TICKET_BYTES / ticket_bytes
    return {
        name: ProfileRate(name, profile.costs().tickets_per_hour * scale)
        for name, profile in PROFILES.items()
    }


async def remembered_meter(
    store: "TicketStore", profile: str, ticket_bytes: int
) -> tuple[BurnMeter, dict[str, Any]]:
    """The meter as it was stored last, and the facts stored with it; a new one if there is none."""
    rates = profile_rates(ticket_bytes)
    stored = await store.secret(METER)
    if stored is not None:
        try:
            facts = json.loads(stored)
            return BurnMeter.restored(facts["meter"], rates, profile), facts
        except (ValueError, KeyError, TypeError, AttributeError):
            log.warning("topup.meter.unreadable", todo="Use is measured anew.")
    return BurnMeter(rates, profile), {}


class BurnFeed:
    """Call :meth:`feed` every now and then, and :meth:`keep` in the end."""

    def __init__(
        self,
        store: "TicketStore",
        meter: BurnMeter,
        facts: dict[str, Any],
        *,
        ticket_bytes: int,
        sources: Callable[[], Iterable[Spender]],
        sessions: Callable[[], int],
        clock: Callable[[], float] = time.time,
    ) -> None:
        """``facts`` as :func:`remembered_meter` returns them."""
        self._store = store
        self.meter = meter
        self._ticket_bytes = ticket_bytes
        self._sources = sources
        self._sessions = sessions
        self._clock = clock
        self._since = clock()
        self._gone = 0
        """Tickets made out by sources that are closed."""
        self._others: int | None = None
        self._left_over = 0.0
        self._before = (facts.get("saved_unix"), facts.get("drawn"))
        self._kept = clock()
        self._feeding = asyncio.Lock()

    def closing(self, source: Spender) -> None:
        """The last words of a source."""
        self._gone += source.prepared
        self._left_over += source.charged() / self._ticket_bytes

    async def feed(self) -> None:
        """Tell the meter what was used since the last time. Raises errors of the store."""
        async with self._feeding:
            drawn = drawn_tickets(await self._store.totals())
            now, sources = self._clock(), list(self._sources())
            own = self._left_over + sum(source.charged() for source in sources) / self._ticket_bytes
            self._left_over = 0.0
            others = drawn - self._gone - sum(source.prepared for source in sources)
            if self._others is None:
                self._others = others
                self._catch_up(drawn)
            elsewhere = max(0, others - self._others)
            self._others = max(self._others, others)
            self.meter.observe(self._since, now, own + elsewhere, sessions=max(1, self._sessions()))
            self._since = max(self._since, now)
            if now - self._kept >= KEEP_SECONDS:
                await self._keep(now, drawn)

    def _catch_up(self, drawn: int) -> None:
        """What others used since the meter was stored, by whoever stored it."""
        when, before = self._before
        if isinstance(when, int | float) and isinstance(before, int) and when < self._since:
            tickets, sessions = max(0, drawn - before), max(1, self._sessions())
            rate = self.meter.per_awake_hour()  # how long they were awake for it is not known
            awake = tickets / sessions / rate * HOUR_SECONDS if rate > 0 else None
            self.meter.observe(when, self._since, tickets, awake_seconds=awake, sessions=sessions)

    async def keep(self) -> None:
        """Store the meter now. Raises errors of the store."""
        await self.feed()
        async with self._feeding:
            await self._keep(self._clock(), drawn_tickets(await self._store.totals()))

    async def _keep(self, now: float, drawn: int) -> None:
        facts = {
            "meter": self.meter.remembered(),
            "saved_unix": now,
            "drawn": drawn,
            "sessions": max(1, self._sessions()),
        }
        await self._store.put_secret(METER, json.dumps(facts, separators=(",", ":")).encode())
        self._kept = now


def drawn_tickets(totals: "TicketTotals") -> int:
    """Tickets that were handed out and did not come back."""
    return totals.accepted + totals.given_up + totals.in_use
