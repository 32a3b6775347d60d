"""The ticket source of one mixnet identity: its own account at gateways and its own meter, over the shared store."""

import asyncio
import contextlib
from collections.abc import Callable
from typing import TYPE_CHECKING, Protocol

from nym_credentials.errors import CredentialsError
from nym_credentials.tickets.charges import Meter
from nym_credentials.tickets.rules import ClockWatch
from nym_credentials.tickets.source_io import StoredTickets
from nym_mixnet.link_state import LinkState, LinkStats
from nym_mixnet.tickets import PreparedTicket
from nymgate import wiring
from nymgate.errors import DependencyFailed, NymgateError, StreamRefused
from nymgate.purse.supply import OUT_OF_TICKETS, without_address

if TYPE_CHECKING:
    from nym_credentials.store.store_io import TicketStore


class PayingLink(Protocol):
    """What pays with the tickets: ``nym_mixnet.MixnetClient``."""

    @property
    def link_stats(self) -> LinkStats | None:
        """What its gateway link counts."""

    @property
    def link_state(self) -> LinkState:
        """How the link is."""

    def retry_claim(self) -> None:
        """Tickets have come."""


class Spender(wiring.LinkTickets):
    """Hand it to a mixnet client as ``tickets``, tell it with :meth:`serves` which one, close it with the client."""

    def __init__(
        self,
        store: "TicketStore",
        *,
        watch: ClockWatch,
        ticket_bytes: int,
        account: bytes = b"",
        taken: Callable[[], None] = lambda: None,
        refusal: Callable[[], StreamRefused | None] = lambda: None,
        closed: "Callable[[Spender], None]" = lambda _: None,
    ) -> None:
        """``account`` keeps the accounts of several clients at a gateway apart. ``taken``: a ticket was asked for."""
        self.refusal = refusal
        """What a stream hears that cannot be paid for."""
        self._link: PayingLink | None = None
        self._links = 0
        self._charged_before = 0
        self._taken = taken
        self._refilled = asyncio.Event()
        self._closed = closed
        self.watch = watch
        self.prepared = 0
        """Tickets made out so far."""
        self.stored = StoredTickets(
            store, watch=watch, client_identity=account, meter=self.meter, ticket_bytes=ticket_bytes
        )
        super().__init__(self.stored, lambda: self.meter().remaining)

    @property
    def source(self) -> "Spender":
        """What the client takes its tickets from: itself."""
        return self

    def serves(self, link: PayingLink) -> None:
        """From now on this client spends the tickets."""
        self._refilled.clear()
        self._link, self._links, self._charged_before = link, self._links + 1, 0

    def meter(self) -> Meter:
        """What the link counts."""
        stats = None if self._link is None else self._link.link_stats
        if stats is None:
            return Meter(None, 0, self._links)
        return Meter(stats.remaining_bandwidth, stats.bytes_charged, self._links)

    def charged(self) -> int:
        """Bytes that the gateway has charged since this was asked last."""
        now = self.meter().charged
        more = now - self._charged_before if now >= self._charged_before else now
        self._charged_before = now
        return more

    def refilled(self) -> None:
        """Tickets have come: a link that waits for one tries again at once."""
        self._refilled.set()
        if self._link is not None:
            self._link.retry_claim()

    async def prepare(self, gateway_identity: bytes) -> PreparedTicket:
        """See ``TicketSource``. Raises NoTickets."""
        try:
            ticket = await super().prepare(gateway_identity)
        finally:
            self._taken()
        self.prepared += 1
        return ticket

    def explained(self, error: CredentialsError) -> NymgateError:
        """For want of tickets what streams hear: why there are none, and what brings some."""
        found, refusal = super().explained(error), self.refusal()
        if found.code != OUT_OF_TICKETS or refusal is None:
            return found
        return DependencyFailed(
            without_address(refusal.what),
            without_address(refusal.todo),
            layer=found.layer,
            code=found.code,
            exit_code=found.exit_code,
        )

    async def pause(self, seconds: float) -> None:
        """Wait so long, or until tickets have come since the last client was served: perhaps while it gave up."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await self._refilled.wait()
        self._refilled.clear()

    async def close(self) -> None:
        """Gives up tickets that wait to be sent again. The store stays open."""
        self._closed(self)
        await self.stored.close()
