"""Tickets from the store for the mixnet client: one at a time, made out to one gateway (docs/protocol/03 §9.4).

`StoredTickets` is what `nym_mixnet` calls a ticket source, and `StoredTicket` a prepared ticket; neither package
imports the other. The client asks when the allowance falls below its mark, so a claim is answered long before
traffic stands still; the payment is made in a thread.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import time
from collections.abc import Awaitable, Callable
from datetime import date
from typing import Final

from nym_credentials.errors import StoreError, StoreInUse, StoreUnreachable, StoreUnusable, TicketUnavailable
from nym_credentials.store.records import Settlement, TakenTicket
from nym_credentials.store.store_io import TicketStore
from nym_credentials.tickets.answers import NO_REASON, Cause, answer_for
from nym_credentials.tickets.charges import ChargeWatch, Meter
from nym_credentials.tickets.rules import (
    RESEND_SECONDS,
    ClockWatch,
    check_gateway,
    until_day_is_certain,
    utc_day,
)
from zknym import EcashError, PayInfo, TicketType

_LOG = logging.getLogger(__name__)

NEVER_SENT: Final = "never_sent"
OUTCOMES: Final = {
    "accepted": Settlement.ACCEPTED,
    "refused_unspent": Settlement.REFUSED,
    "spent": Settlement.SPENT,
    "unknown": Settlement.UNKNOWN,
    NEVER_SENT: Settlement.UNSENT,
}
"""The outcomes that the mixnet client names. "refused_unspent" may be a refusal of the gateway, so the ticket is not
made out anew; the same bytes may go to the same gateway again while they are fresh."""

_NOT_NOW: Final = (StoreUnreachable, StoreInUse, StoreUnusable)
"""A server that restarts, a disk that is full: what cannot be recorded then can be later."""

_RESENDS: Final = 2
"""How often the same bytes are sent again."""


class StoredTicket:
    """One ticket made out to one gateway, valid for ±30 s around its making. Settle it exactly once."""

    __slots__ = ("_credential", "_source", "before", "day", "gateway", "made_unix", "resends", "taken")

    def __init__(
        self,
        source: StoredTickets,
        taken: TakenTicket,
        gateway: bytes,
        credential: bytes,
        made_unix: float,
        day: date,
    ) -> None:
        self._source = source
        self._credential = credential
        self.taken = taken
        self.gateway = gateway
        self.made_unix = made_unix
        self.day = day
        self.before: Meter | None = None
        """What the link counted when it was handed out."""
        self.resends = 0

    def __repr__(self) -> str:
        return f"StoredTicket(book={self.taken.book_id}, index={self.taken.index})"

    @property
    def credential(self) -> bytes:
        """What is sent to the gateway: 1245 bytes."""
        return self._credential

    async def settle(self, outcome: str, available_total: int | None, reason: str = "") -> None:
        """Records the outcome durably: a key of `OUTCOMES`, anything else counts as "unknown".

        `available_total`: the allowance in bytes after an accepted ticket. `reason`: the gateway's error text.
        """
        await self._source.settled(self, outcome, available_total, reason)

    def fresh(self, now_unix: float) -> bool:
        """Whether the same bytes can be sent again."""
        return (
            self.resends < _RESENDS
            and 0 <= now_unix - self.made_unix <= RESEND_SECONDS
            and utc_day(now_unix) == self.day
            and not until_day_is_certain(now_unix)
        )


class StoredTickets:
    """Hands out the tickets of one type.

    `clock`: Unix time. `client_identity`: allowances are those of a client at a gateway; give it where clients with
    several identities pay from one store. `meter`: what the client's link counts; with it, gateways that charge more
    than was sent get no more tickets. `ticket_bytes`: what a ticket buys there, if not what its type says.
    `check_payment`: verify every payment before it is handed out; costs as much time again and catches a store that
    is damaged. `unavailable`: turns our errors into what the client expects.
    """

    def __init__(
        self,
        store: TicketStore,
        *,
        ticket_type: TicketType = TicketType.MIXNET_ENTRY,
        clock: Callable[[], float] = time.time,
        watch: ClockWatch | None = None,
        client_identity: bytes = b"",
        meter: Callable[[], Meter] | None = None,
        ticket_bytes: int | None = None,
        check_payment: bool = False,
        sleep: Callable[[float], Awaitable[object]] = asyncio.sleep,
        unavailable: Callable[[TicketUnavailable], Exception] = lambda error: error,
    ) -> None:
        self._store = store
        self._type = ticket_type
        self._clock = clock
        self._client = client_identity
        self._meter = meter
        self._ticket_bytes = ticket_bytes or ticket_type.bytes_per_ticket
        self._charges: dict[bytes, ChargeWatch] = {}
        self._check_payment = check_payment
        self._sleep = sleep
        self._unavailable = unavailable
        self._held: dict[bytes, StoredTicket] = {}  # by gateway: refused, and perhaps sent again
        self._owed: dict[tuple[int, int, str], tuple[TakenTicket, Settlement, int | None]] = {}
        self.watch = watch or ClockWatch()
        self.last_refusal = ""
        """Advice that belongs to the last refusal, for people to read."""

    async def prepare(self, gateway_identity: bytes) -> StoredTicket:
        """Makes out one ticket to that gateway (32-byte identity).

        About midnight UTC it waits for up to a minute until the day is certain. Raises `TicketUnavailable` (as
        `unavailable` turns it), `StoreError`; then no ticket is lost.
        """
        try:
            ticket = await self._prepare(gateway_identity)
        except TicketUnavailable as error:
            raise self._unavailable(error) from error
        ticket.before = self._meter() if self._meter is not None else None
        return ticket

    async def _prepare(self, gateway: bytes) -> StoredTicket:
        await self._settle_owed()
        await self._give_up_held(stale_only=True)
        held = self._held.pop(gateway, None)
        if held is not None:
            held.resends += 1
            return held
        while True:
            await self._sleep_over_midnight()
            now = self._clock()
            self.watch.check(now)
            if self._meter is not None:
                self.charges(gateway).check(self._meter(), now)
            check_gateway(await self._store.gateway(gateway + self._client), now)
            ticket = await self._make(gateway, utc_day(now))
            if not until_day_is_certain(self._clock()) and utc_day(self._clock()) == ticket.day:
                return ticket
            # The day went by while the payment was made. It was never sent: the index is as good as new.
            await self._settle(ticket.taken, Settlement.UNSENT)

    async def _sleep_over_midnight(self) -> None:
        while wait := until_day_is_certain(self._clock()):
            await self._sleep(wait)

    async def _make(self, gateway: bytes, today: date) -> StoredTicket:
        taken = await self._store.take(self._type, today, gateway=gateway + self._client)
        try:
            made_unix = self._clock()
            credential = await asyncio.to_thread(self._pay, taken, gateway, today, made_unix)
        except EcashError as error:
            # Something is wrong with this book. It shall not keep others from being spent.
            await self._settle(taken, Settlement.UNSENT)
            await self._store.give_up_book(taken.book_id)
            _LOG.error("book %d is given up: no payment can be made of it (%s)", taken.book_id, error)
            raise TicketUnavailable(
                f"No payment can be made of book {taken.book_id}: {error}.",
                "It is set aside; another book is used next, or has to be bought.",
            ) from error
        except BaseException:
            await self._settle(taken, Settlement.UNSENT)
            raise
        return StoredTicket(self, taken, gateway, credential, made_unix, today)

    def _pay(self, taken: TakenTicket, gateway: bytes, today: date, now_unix: float) -> bytes:
        pay_info = PayInfo.create(gateway, now_unix)
        credential, _ = taken.book.pay(
            pay_info, today, taken.master, taken.coin_signatures, taken.date_signatures
        )
        if self._check_payment:
            credential.verify(taken.master.key)
        return credential.encode()

    async def settled(
        self, ticket: StoredTicket, outcome: str, available_total: int | None, reason: str
    ) -> None:
        """For `StoredTicket.settle`."""
        settlement = OUTCOMES.get(outcome, Settlement.UNKNOWN)
        answer = answer_for(reason) if reason else NO_REASON
        if settlement not in (Settlement.ACCEPTED, Settlement.UNSENT):
            self.last_refusal = answer.advice
            _LOG.warning("ticket %d of book %d: %s. %s", *self._what(ticket, settlement), answer.advice)
        if answer.cause is Cause.CLOCK:
            self.watch.doubted(self._clock())
        if settlement is Settlement.REFUSED and answer.resend:
            previous = self._held.get(ticket.gateway)
            self._held[ticket.gateway] = ticket
            if previous is not None and previous is not ticket:
                await self._settle(previous.taken, Settlement.REFUSED)
            return
        if settlement is Settlement.SPENT and ticket.resends:
            settlement = Settlement.UNKNOWN  # most likely an earlier sending of the same bytes was accepted
        if settlement is Settlement.UNSENT and ticket.resends:
            settlement = Settlement.REFUSED  # not sent this time, but before
        await self._settle(ticket.taken, settlement, available_total=available_total)
        if settlement is not Settlement.ACCEPTED or available_total is None or self._meter is None:
            return
        if ticket.before is not None:
            charges = self.charges(ticket.gateway)
            if not charges.accepted(available_total, self._meter(), self._clock(), before=ticket.before):
                _LOG.warning("the gateway credited a ticket with %d bytes too few", charges.missing)

    def charges(self, gateway: bytes) -> ChargeWatch:
        """The account at a gateway, as it should be. For metrics."""
        return self._charges.setdefault(gateway, ChargeWatch(self._ticket_bytes))

    @staticmethod
    def _what(ticket: StoredTicket, settlement: Settlement) -> tuple[int, int, Settlement]:
        return ticket.taken.index, ticket.taken.book_id, settlement

    async def stated(self, gateway_identity: bytes, remaining: int) -> None:
        """The gateway stated the allowance, in bytes: remembered, so that no ticket is fed to a negative one."""
        await self._store.note_allowance(gateway_identity + self._client, remaining)

    async def close(self) -> None:
        """Gives up tickets that wait to be sent again. The store stays open."""
        await self._give_up_held(stale_only=False)
        with contextlib.suppress(*_NOT_NOW):
            await self._settle_owed()

    async def _settle(
        self, taken: TakenTicket, settlement: Settlement, *, available_total: int | None = None
    ) -> None:
        """Records it now, or as soon as the store can be written again."""
        try:
            await self._store.settle(taken, settlement, available_total=available_total)
        except _NOT_NOW as error:
            _LOG.warning("what became of a ticket (%s) is recorded later: %s", settlement, error)
            self._owed[taken.book_id, taken.index, taken.claim] = (taken, settlement, available_total)

    async def _settle_owed(self) -> None:
        for key, (taken, settlement, available_total) in list(self._owed.items()):
            try:
                await self._store.settle(taken, settlement, available_total=available_total)
            except _NOT_NOW:
                raise
            except StoreError as error:
                _LOG.error("what became of a ticket (%s) cannot be recorded: %s", settlement, error)
            self._owed.pop(key, None)

    async def _give_up_held(self, *, stale_only: bool) -> None:
        now = self._clock()
        for gateway, ticket in list(self._held.items()):
            if not (stale_only and ticket.fresh(now)):
                del self._held[gateway]
                await self._settle(ticket.taken, Settlement.REFUSED)
