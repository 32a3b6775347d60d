"""Keeps the allowance of one gateway session up (docs/protocol/03 §9.3, §9.4).

One claim at a time, in a task of its own, so that sending never waits for a payment. With a `TicketSource`
it pays tickets, without one it asks for the free allowance. Every prepared ticket is settled exactly once,
whatever happens to the session meanwhile: never sent it is as good as new, sent without an answer it counts
as spent.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import random
from collections.abc import Awaitable, Callable

from nym_mixnet.allowance import Allowance
from nym_mixnet.errors import GatewayProtocolError, GatewayUnreachable, MixnetError
from nym_mixnet.gateway_events import ClaimAnswered
from nym_mixnet.gateway_session import GatewaySession
from nym_mixnet.gateway_wire import TEXT_TICKETS_ONLY
from nym_mixnet.link_state import LinkOptions, LinkStats
from nym_mixnet.tasks_io import TaskSet
from nym_mixnet.tickets import PreparedTicket, TicketOutcome, TicketSource

_LOG = logging.getLogger(__name__)


class BandwidthClaims:
    """Lives as long as its link; `run` serves one session."""

    def __init__(
        self,
        *,
        tickets: TicketSource | None,
        gateway_identity: bytes,
        allowance: Allowance,
        stats: LinkStats,
        options: LinkOptions,
        rng: random.Random,
        on_change: Callable[[], None],
    ) -> None:
        self._tickets = tickets
        self._gateway_identity = gateway_identity
        self._allowance = allowance
        self._stats = stats
        self._options = options
        self._rng = rng
        self._on_change = on_change
        self._wanted = asyncio.Event()
        self._hurry = asyncio.Event()
        self._answer: asyncio.Future[ClaimAnswered] | None = None
        self._failures = 0
        self._lacking = False
        """Whether the last claim failed because there was no ticket."""
        self._settlements = TaskSet("ticket settlements")
        self._said: set[str] = set()
        self._ending = False
        self._no_ticket_out = asyncio.Event()
        """Clear while a ticket is at the gateway and its outcome is not settled."""
        self._no_ticket_out.set()

    def check(self) -> None:
        """The allowance changed: claim if there is too little."""
        if self._allowance.wants_claim:
            self._wanted.set()

    def retry(self) -> None:
        """Something has changed on our side, such as tickets that have come: do not wait for the next attempt.

        Only a claim that failed for want of a ticket is hurried: what a gateway refuses is left alone for a while.
        """
        self._hurry.set()

    def answered(self, event: ClaimAnswered) -> None:
        """The gateway answered the running claim."""
        if self._answer is not None and not self._answer.done():
            self._answer.set_result(event)

    async def run(self, session: GatewaySession, send: Callable[[], Awaitable[None]]) -> None:
        """Claim for `session` until cancelled. `send` writes what the session wants to have sent.

        Raises `GatewayProtocolError` if a claim is not answered in time: the order of answers is all there
        is to tell them apart, so that session is of no use any more.
        """
        self.check()
        while True:
            await self._wanted.wait()
            self._wanted.clear()
            if self._ending or not self._allowance.wants_claim:
                continue
            self._stats.claiming = True
            try:
                claimed = await self._claim(session, send)
            finally:
                self._stats.claiming = False
            if claimed:
                self._failures = 0
                self.check()  # one ticket may not be enough
            else:
                self._allowance.claim_failed()
                self._on_change()
                await self._rest(self._pause())
                self._wanted.set()

    async def last_answer(self) -> None:
        """Begin no further claim, and wait a moment for the answer to a ticket that was sent."""
        self._ending = True
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(self._options.last_claim_seconds):
                await self._no_ticket_out.wait()

    async def finish(self) -> None:
        """Wait until every ticket is settled, though not for ever."""
        try:
            async with asyncio.timeout(self._options.settle_timeout_seconds):
                await self._settlements.wait()
        except TimeoutError:
            _LOG.error("the outcome of a ticket is still not recorded: giving up")
            await self._settlements.close()

    async def _rest(self, seconds: float) -> None:
        if not self._lacking:
            await asyncio.sleep(seconds)
            return
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await self._hurry.wait()

    def _pause(self) -> float:
        longest = self._options.claim_retry_first_seconds * 2.0 ** min(self._failures, 30)
        self._failures += 1
        return self._rng.uniform(0.5, 1.0) * min(longest, self._options.claim_retry_limit_seconds)

    async def _claim(self, session: GatewaySession, send: Callable[[], Awaitable[None]]) -> bool:
        self._lacking = False
        self._hurry.clear()  # here: tickets may come while the source is still being asked
        if self._tickets is None:
            answer = await self._ask(session.claim_free, send)
        else:
            try:
                ticket = await self._tickets.prepare(self._gateway_identity)
            except MixnetError as error:
                self._lacking = True
                self._failed(f"no ticket to pay the gateway with: {error}")
                return False
            except Exception as error:
                _LOG.exception("the ticket source failed")
                self._failed(f"no ticket to pay the gateway with ({type(error).__name__})")
                return False
            if self._ending:  # nobody will be here when it is answered
                await self._settle(ticket, ClaimAnswered(TicketOutcome.NEVER_SENT))
                return False
            before = None if self._allowance.covers_packets else self._allowance.remaining
            answer = await self._pay(ticket, session, send)
            total = answer.available_total
            if before is not None and total is not None and total <= before:  # and nothing was sent meanwhile
                self._failed("the gateway took a ticket and gave nothing for it")
                return False
        if answer.outcome is TicketOutcome.ACCEPTED:
            self._stats.claims += 1
            self._said.clear()
            _LOG.info("the gateway raised the allowance to %s bytes", answer.available_total)
            return True
        if self._tickets is not None:
            self._failed(f"the gateway did not take a ticket: {answer.reason}")
        elif TEXT_TICKETS_ONLY in answer.reason:
            self._failed("the gateway gives no free bandwidth: it has to be paid with tickets")
        else:
            self._failed(f"the gateway refused free bandwidth: {answer.reason}")
        return False

    def _failed(self, what: str) -> None:
        self._stats.claims_failed += 1
        self._stats.last_error = what
        if what not in self._said:  # a new trouble is worth a line, the same one again is not
            self._said.add(what)
            _LOG.warning("%s", what)

    async def _pay(
        self, ticket: PreparedTicket, session: GatewaySession, send: Callable[[], Awaitable[None]]
    ) -> ClaimAnswered:
        began = False

        def begin() -> None:
            nonlocal began
            began = True
            self._no_ticket_out.clear()
            session.claim_ticket(ticket.credential)

        try:
            answer = await self._ask(begin, send)
        except GatewayUnreachable:  # known to have failed before anything was written
            await self._settle(ticket, ClaimAnswered(TicketOutcome.NEVER_SENT))
            raise
        except BaseException:
            outcome = TicketOutcome.UNKNOWN if began else TicketOutcome.NEVER_SENT
            if began:
                _LOG.warning("a ticket was sent but its answer never came: it counts as spent")
            await self._settle(ticket, ClaimAnswered(outcome))
            raise
        else:
            await self._settle(ticket, answer)
            return answer
        finally:
            self._no_ticket_out.set()

    async def _ask(self, begin: Callable[[], None], send: Callable[[], Awaitable[None]]) -> ClaimAnswered:
        self._answer = asyncio.get_running_loop().create_future()
        begin()
        try:
            async with asyncio.timeout(self._options.claim_timeout_seconds):
                await send()
                return await self._answer
        except TimeoutError:
            raise GatewayProtocolError("the gateway did not answer a bandwidth claim") from None
        finally:
            self._answer = None

    async def _settle(self, ticket: PreparedTicket, answer: ClaimAnswered) -> None:
        # in a task of its own: a ticket must be settled even if this session is being torn down
        settling = self._settlements.spawn(self._settled(ticket, answer), name=answer.outcome)
        await asyncio.shield(settling)

    async def _settled(self, ticket: PreparedTicket, answer: ClaimAnswered) -> None:
        try:
            await ticket.settle(answer.outcome, answer.available_total, answer.reason)
        except Exception:
            _LOG.exception("the outcome of a ticket (%s) could not be recorded", answer.outcome)
