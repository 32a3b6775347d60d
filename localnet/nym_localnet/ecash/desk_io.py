"""Where a gateway takes tickets: checks them, grants bytes at once, and asks the signers afterwards.

docs/protocol/03 §9.4 and §9.5. Enough rejections, and the client loses many times what it was granted. Signers that
do not answer are asked again later. Unlike the reference, *replayed* is no rejection when it answers a repeated
request: the first answer was lost on its way, which is not the client's doing.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable
from dataclasses import replace
from typing import Final

import aiohttp

from nym_credentials.signers.routes import Route
from nym_credentials.signers.tickets import Rejection, VerifyTicketAnswer, VerifyTicketRequest
from nym_credentials.signers.wire import compact
from nym_localnet.counters import GatewayCounters
from nym_localnet.desk_settings import DeskSettings
from nym_localnet.ecash.desk_store_io import DeskStore, TakenTicket
from nym_localnet.ecash.epoch_keys_io import EpochKeySource, EpochSigner
from nym_localnet.ecash.ticket_rules import PayInfoWindow, ReceivedTicket, Standing, standing
from nym_localnet.errors import TicketRefused
from nym_localnet.tickets import ALREADY_SPENT, TicketContext
from nym_mixnet.tasks_io import TaskSet
from zknym import MalformedData, SpendingCredential

logger = logging.getLogger(__name__)

SIGNER_SECONDS: Final = 30.0
MOST_REQUESTS: Final = 32
"""to signers, at the same time"""


async def _nobody(client: bytes, amount: int) -> None:
    """Until the gateway says who takes bytes back."""


class TicketDesk:
    """The `TicketVerifier` of one gateway. Open it with `start`."""

    def __init__(
        self,
        settings: DeskSettings,
        store: DeskStore,
        *,
        counters: GatewayCounters | None = None,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self.settings = settings
        self.store = store
        self.counters = counters or GatewayCounters()
        self.on_revoked: Callable[[bytes, int], Awaitable[None]] = _nobody
        self._clock = clock
        self._keys = EpochKeySource(settings.rpc_url, settings.dkg_address)
        self._window = PayInfoWindow()
        self._requests = asyncio.Semaphore(MOST_REQUESTS)
        self._submitting: set[bytes] = set()
        self._session: aiohttp.ClientSession | None = None
        self._tasks = TaskSet("ticket desk")

    async def start(self) -> None:
        """Open the store and begin to ask signers, also about tickets from before."""
        await self.store.open()
        self._session = aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=SIGNER_SECONDS))
        self._tasks.spawn(self._retry(), name="retry")

    async def close(self) -> None:
        """What signers have not answered is asked again after the next start."""
        await self._tasks.close()
        await self._keys.close()
        if self._session is not None:
            await self._session.close()
            self._session = None
        await self.store.close()

    # Taking

    async def verify(self, credential: bytes, context: TicketContext) -> int:
        """See `TicketVerifier`."""
        ticket = await asyncio.to_thread(ReceivedTicket.decode, credential)
        ticket_type = ticket.check_before_lookup(context.now_unix)
        if await self.store.knows(ticket.serial):
            raise TicketRefused(ALREADY_SPENT)
        epoch = await self._keys.epoch(ticket.epoch_id)
        ticket.check_pay_info(context.gateway_identity, context.now_unix)
        self._window.add(ticket.pay_info, context.now_unix)
        await asyncio.to_thread(ticket.check_proof, epoch.master)
        granted = round(ticket_type.bytes_per_ticket * self.settings.scale)
        taken = TakenTicket(ticket.serial, context.client, credential, granted, context.now_unix)
        if not await self.store.take(taken):
            raise TicketRefused(ALREADY_SPENT)
        self._tasks.spawn(self._submit(taken), name="submit")
        return granted

    # Asking the signers

    async def retry_now(self) -> None:
        """Ask again the signers that have not answered; returns when that is done."""
        for ticket in await self.store.tickets(Standing.PENDING):
            await self._submit(ticket)

    async def _retry(self) -> None:
        while True:
            await self.retry_now()
            await asyncio.sleep(self.settings.retry_seconds)

    async def _submit(self, ticket: TakenTicket) -> None:
        if ticket.serial in self._submitting:
            return
        self._submitting.add(ticket.serial)
        try:
            await self._ask_all(ticket)
        except TicketRefused as refused:
            logger.warning("the signers of a ticket are not known at the moment: %s", refused.text)
        finally:
            self._submitting.discard(ticket.serial)

    async def _ask_all(self, ticket: TakenTicket) -> None:
        credential = await asyncio.to_thread(SpendingCredential.decode, ticket.credential)
        epoch = await self._keys.epoch(credential.epoch_id)
        open_ones = [each for each in epoch.signers if each.index not in ticket.answered]
        body = compact(VerifyTicketRequest(credential, self.settings.account).to_json())
        repeated = ticket.asked
        ticket = ticket.asking(each.index for each in open_ones)
        await self.store.update(ticket)
        answers = await asyncio.gather(*(self._ask(each, body) for each in open_ones))
        for signer, answer in zip(open_ones, answers, strict=True):
            if answer is None:
                continue
            lost_answer = answer.rejection is Rejection.REPLAYED and signer.index in repeated
            if answer.rejection is None or lost_answer:
                ticket = replace(ticket, accepted=ticket.accepted | {signer.index})
            else:
                logger.warning("signer %d rejects a ticket: %s", signer.index, answer.rejection.value)
                ticket = replace(ticket, rejected=ticket.rejected | {signer.index})
        verdict = standing(len(epoch.signers), len(ticket.accepted), len(ticket.rejected))
        await self.store.update(replace(ticket, standing=verdict))
        if verdict is Standing.VERIFIED:
            self.counters.tickets_verified += 1
        elif verdict is Standing.REJECTED:
            self.counters.tickets_rejected += 1
            await self.on_revoked(ticket.client, round(ticket.granted_bytes * self.settings.penalty))

    async def _ask(self, signer: EpochSigner, body: bytes) -> VerifyTicketAnswer | None:
        """The answer of one signer; None when there is none."""
        assert self._session is not None
        url = signer.url.rstrip("/") + Route.VERIFY_TICKET.path
        headers = {"Content-Type": "application/json", "Accept": "application/json"}
        try:
            async with self._requests, self._session.post(url, data=body, headers=headers) as response:
                if response.status != 200:
                    logger.info("signer %d answers %d", signer.index, response.status)
                    return None
                return VerifyTicketAnswer.decode(await response.read())
        except (aiohttp.ClientError, TimeoutError, MalformedData) as error:
            logger.info("signer %d does not answer: %s", signer.index, type(error).__name__)
            return None
