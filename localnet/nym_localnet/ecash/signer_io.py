"""One signer: a nym-api with the e-cash routes that clients and gateways call (docs/protocol/09 §2, §10).

Curve arithmetic runs in threads. Refusals are plain text, as the real ones.
"""

from __future__ import annotations

import asyncio
import json
import logging
import socket
import time
from collections import Counter
from collections.abc import Awaitable, Callable
from typing import Any, Final

from aiohttp import web

from nym_credentials.signers import refusals
from nym_credentials.signers.envelope import Envelope
from nym_credentials.signers.issuance import (
    BlindSignAnswer,
    CoinSignaturesAnswer,
    DateSignaturesAnswer,
    MasterKeyAnswer,
)
from nym_credentials.signers.routes import PREFIX, Route, date_parameter, epoch_parameter
from nym_credentials.signers.status import SignerStatus
from nym_credentials.signers.tickets import (
    BatchRedeemAnswer,
    BatchRedeemRequest,
    VerifyTicketAnswer,
    VerifyTicketRequest,
)
from nym_credentials.signers.wire import Body, Output
from nym_localnet.chain.voting_contracts import REDEMPTION_TITLE, Multisig
from nym_localnet.ecash.audits_io import AuditRoutes
from nym_localnet.ecash.signer_faults import SignerFaults
from nym_localnet.ecash.signer_lies import bad_coins, bad_dates, bad_master_key, bad_share
from nym_localnet.ecash.signer_rules import SignerRefused, SignerRules, serial_of, utc_day
from nym_localnet.ecash.signer_store_io import SignerStore, StoredTicket
from nym_mixnet.keys import SigningKey
from zknym import (
    BlindedSignature,
    IssuedRecord,
    MalformedData,
    SignRequest,
    b58encode,
    default_expiration,
)

logger = logging.getLogger(__name__)

SHUTDOWN_SECONDS: Final = 1.0
REDEEM_INTERVAL_SECONDS: Final = 24 * 3600.0
"""docs/protocol/09 §8"""

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


class Signer:
    """One signer. `peers` are all signers of the network, for what is put together out of several shares."""

    def __init__(
        self,
        rules: SignerRules,
        identity_seed: bytes,
        store: SignerStore,
        *,
        multisig: Multisig,
        ecash_address: str,
        peers: list[Signer],
        clock: Callable[[], float] = time.time,
    ) -> None:
        self.rules = rules
        self.identity = SigningKey(identity_seed)
        self._identity_seed = identity_seed
        self.store = store
        self.faults = SignerFaults()
        self.requests: Counter[str] = Counter()
        """requests by route, since the start"""
        self.port = 0
        self._multisig = multisig
        self._ecash_address = ecash_address
        self._peers = peers
        self._clock = clock
        self._runner: web.AppRunner | None = None
        self._redeemed: dict[str, float] = {}
        self._resumed = asyncio.Condition()

    @property
    def index(self) -> int:
        """The number among the signers, from 1."""
        return self.rules.index

    @property
    def url(self) -> str:
        """The address that is announced on the chain."""
        return f"http://127.0.0.1:{self.port}/"

    @property
    def now_unix(self) -> float:
        """Its own clock."""
        return self._clock() + self.faults.clock_offset_seconds

    async def start(self, host: str = "127.0.0.1", port: int = 0) -> int:
        """Open the store and serve; returns the port."""
        await self.store.open()
        app = web.Application(middlewares=[self._guard])
        for route, handler in {
            Route.PARTIAL_DATES: self._partial_dates,
            Route.PARTIAL_COINS: self._partial_coins,
            Route.MASTER_KEY: self._master_key,
            Route.DATES: self._dates,
            Route.COINS: self._coins,
            Route.SPENT_FILTER: self._spent_filter,
            Route.STATUS: self._status,
        }.items():
            app.router.add_get(route.path, handler)
        for route, handler in {
            Route.BLIND_SIGN: self._blind_sign,
            Route.VERIFY_TICKET: self._verify_ticket,
            Route.BATCH_REDEEM: self._batch_redeem,
        }.items():
            app.router.add_post(route.path, handler)
        AuditRoutes(self.rules, self.store, self._identity_seed).add_to(app)
        app.router.add_get("/v1/api-status/signer-information", self._information)
        self._runner = web.AppRunner(
            app, access_log=None, handle_signals=False, shutdown_timeout=SHUTDOWN_SECONDS
        )
        await self._runner.setup()
        listener = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
        try:
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            listener.bind((host, port))
            await web.SockSite(self._runner, listener).start()
        except BaseException:
            listener.close()
            raise
        self.port = int(listener.getsockname()[1])
        return self.port

    async def close(self) -> None:
        """Stop serving."""
        self.faults.stall = False
        async with self._resumed:
            self._resumed.notify_all()
        if self._runner is not None:
            await self._runner.cleanup()
            self._runner = None
        await self.store.close()

    async def restart(self) -> None:
        """Stop and start on the same port, with what is stored. A store in memory forgets everything."""
        await self.close()
        await self.start(port=self.port)

    @web.middleware
    async def _guard(self, request: web.Request, handler: Handler) -> web.StreamResponse:
        faults = self.faults
        self.requests[request.path.removeprefix(PREFIX)] += 1
        if faults.down:
            return _cut(request)
        while faults.stall:
            async with self._resumed:
                try:
                    async with asyncio.timeout(0.2):
                        await self._resumed.wait()
                except TimeoutError:
                    continue
        if faults.delay_seconds:
            await asyncio.sleep(faults.delay_seconds)
        if faults.refuse_all is not None:
            status, text = faults.refuse_all
            return web.Response(status=status, text=text)
        self.rules.disabled = faults.disabled
        try:
            return await handler(request)
        except SignerRefused as refused:
            return web.Response(status=refused.status, text=refused.text)
        except ConnectionError:  # whoever asked is gone
            return _cut(request)
        except web.HTTPException as error:
            return web.Response(status=error.status, text=error.reason)

    # Books

    async def _blind_sign(self, request: web.Request) -> web.Response:
        if self.faults.refuse_blind_sign is not None:
            status, text = self.faults.refuse_blind_sign
            raise SignerRefused(text, status)
        asked = await _read(request, SignRequest.from_json)
        today = utc_day(self.now_unix)
        self.rules.check_issuance(asked, today)
        record = await self.store.issued(asked.deposit_id)
        if record is not None:
            return _answer(request, BlindSignAnswer(record.blinded_signature))
        share = await asyncio.to_thread(self._issue, asked)
        record = IssuedRecord(
            asked.deposit_id,
            self.rules.epoch_id,
            share,
            asked.request.attribute_commitments,
            asked.expiration,
            asked.ticket_type,
        )
        if not await self.store.put_issued(record, today):
            return web.Response(status=500)  # another request for the same deposit was faster
        lost, self.faults.lose_next_share = self.faults.lose_next_share, False
        if lost:
            return _cut(request)
        return _answer(request, BlindSignAnswer(share))

    def _issue(self, asked: SignRequest) -> BlindedSignature:
        return bad_share(self.rules.issue(asked), asked, self.rules.own_keys(), self.faults)

    # Public signatures

    async def _master_key(self, request: web.Request) -> web.Response:
        self.rules.guard_idle()
        keys = self.rules.epoch_keys(_epoch(request))
        key = await asyncio.to_thread(bad_master_key) if self.faults.lie_master_key else keys.master
        return _answer(request, MasterKeyAnswer(key))

    async def _partial_coins(self, request: web.Request) -> web.Response:
        self.rules.guard_signer()
        self.rules.guard_idle()
        epoch_id = self.rules.check_own_epoch(_epoch(request))
        self.rules.own_keys()
        share = await asyncio.to_thread(self.rules.key_epochs.partial_coins, epoch_id, self.index)
        return _answer(request, CoinSignaturesAnswer(bad_coins(share, self.faults)))

    async def _partial_dates(self, request: web.Request) -> web.Response:
        self.rules.guard_signer()
        self.rules.guard_idle()
        epoch_id = self.rules.check_own_epoch(_epoch(request))
        self.rules.own_keys()
        today = utc_day(self.now_unix)
        expiration = _date(request) or default_expiration(today)
        self.rules.check_expiration(expiration, today)
        share = await asyncio.to_thread(self.rules.key_epochs.partial_dates, epoch_id, self.index, expiration)
        return _answer(request, DateSignaturesAnswer(bad_dates(share, self.faults)))

    async def _coins(self, request: web.Request) -> web.Response:
        self.rules.guard_idle()
        keys = self.rules.epoch_keys(_epoch(request))
        found = self.rules.key_epochs.known_coins(keys.epoch_id)
        if found is None:
            indices = self._reachable(keys.threshold)
            found = await asyncio.to_thread(self.rules.key_epochs.coins, keys.epoch_id, indices)
        return _answer(request, CoinSignaturesAnswer(bad_coins(found, self.faults)))

    async def _dates(self, request: web.Request) -> web.Response:
        self.rules.guard_idle()
        today = utc_day(self.now_unix)
        expiration = _date(request) or default_expiration(today)
        keys = self.rules.epoch_keys(_epoch(request))
        found = self.rules.key_epochs.known_dates(keys.epoch_id, expiration)
        if found is None:
            self.rules.check_expiration(expiration, today)
            # As the reference: signatures that nobody has asked for are made with the current keys, whatever
            # epoch was asked for; the answer tells the truth.
            keys = self.rules.epoch_keys(None)
            indices = self._reachable(keys.threshold)
            found = await asyncio.to_thread(self.rules.key_epochs.dates, keys.epoch_id, expiration, indices)
        return _answer(request, DateSignaturesAnswer(bad_dates(found, self.faults)))

    def _reachable(self, threshold: int) -> list[int]:
        """The signers whose shares can be had. Raises `SignerRefused` when they are too few."""
        reachable = [each.index for each in self._peers if not (each.faults.down or each.faults.stall)]
        if len(reachable) < threshold:
            raise SignerRefused(refusals.too_few_shares(len(reachable), threshold))
        return reachable

    # Tickets

    async def _verify_ticket(self, request: web.Request) -> web.Response:
        asked = await _read(request, VerifyTicketRequest.from_json)
        answer = await self._judge(asked)
        lost, self.faults.lose_next_ticket = self.faults.lose_next_ticket, False
        if lost:
            return _cut(request)
        return _answer(request, answer)

    async def _judge(self, asked: VerifyTicketRequest) -> VerifyTicketAnswer:
        credential = asked.credential
        if self.faults.reject_tickets is not None:
            return VerifyTicketAnswer(self.faults.reject_tickets)
        early = self.rules.check_ticket(credential, self.now_unix)
        if early is not None:
            return early
        serial = serial_of(credential)
        known = await self.store.ticket(serial)
        if known is not None:
            return self.rules.known_ticket(known.pay_info, credential)
        verdict = await asyncio.to_thread(self.rules.verify_ticket, credential)
        if verdict.rejection is not None:
            return verdict
        ticket = StoredTicket(
            serial,
            credential.pay_info.encode(),
            asked.gateway_address,
            credential.spend_date,
            credential.payment.ticket_type,
            self.now_unix,
        )
        if await self.store.put_ticket(ticket):
            return verdict
        known = await self.store.ticket(serial)
        assert known is not None
        return self.rules.known_ticket(known.pay_info, credential)

    async def _batch_redeem(self, request: web.Request) -> web.Response:
        """The route of older gateways, whose proposal is on the chain."""
        asked = await _read(request, BatchRedeemRequest.from_json)
        self.rules.guard_signer()
        gateway = asked.gateway_address
        if gateway not in await self.store.ticket_counts():
            raise SignerRefused(refusals.NO_TICKETS)
        last = self._redeemed.get(gateway)
        if last is not None and self.now_unix - last < REDEEM_INTERVAL_SECONDS:
            raise SignerRefused(
                "this gateway is attempting to redeem its tickets too often. it has done so "
                f"{int(self.now_unix - last)} s ago"
            )
        if not asked.consistent:
            raise SignerRefused(refusals.DIGEST_MISMATCH)
        unknown = await self.store.knows_tickets(asked.serial_numbers, gateway)
        if unknown is not None:
            raise SignerRefused(
                f"one of the attached tickets {b58encode(unknown)} has not been verified before"
            )
        proposal = self._multisig.proposal(asked.proposal_id)
        wrong = (
            "it does not exist"
            if proposal is None
            else "title"
            if proposal.title != REDEMPTION_TITLE
            else "description"
            if proposal.description != b58encode(asked.digest)
            else "proposer"
            if proposal.proposer != self._ecash_address
            else "number of tickets"
            if proposal.tickets != len(asked.serial_numbers) or proposal.gateway != gateway
            else None
        )
        if wrong is not None:
            raise SignerRefused(f"the provided ticket(s) redemption proposal is invalid: {wrong}")
        self._redeemed[gateway] = self.now_unix
        return _answer(request, BatchRedeemAnswer(True))

    async def _spent_filter(self, request: web.Request) -> web.Response:
        return web.Response(status=410, text=refusals.FILTER_RETIRED)

    # About itself

    async def _status(self, request: web.Request) -> web.Response:
        rules = self.rules
        status = SignerStatus.now(
            self.now_unix,
            rules.epoch_id,
            disabled=rules.disabled,
            is_signer=rules.is_signer,
            has_keys=rules.has_keys,
        )
        seed = bytes(32) if self.faults.forge_status else self._identity_seed
        envelope = Envelope.sign(status, seed)
        if _output(request) is Output.BINCODE:
            body = envelope.to_bincode(status.to_bincode())
            return web.Response(body=body, content_type=Output.BINCODE.content_type)
        return web.Response(body=envelope.encode(), content_type=Output.JSON.content_type)

    async def _information(self, request: web.Request) -> web.Response:
        """The unsigned and older form of the status."""
        keys = self.rules.key_epochs.epoch(self.rules.epoch_id)
        own = None if keys is None else keys.signer(self.index)
        value: dict[str, Any] = {
            "cosmos_address": self.rules.owner,
            "identity": b58encode(self.identity.public),
            "announce_address": self.url,
            "verification_key": None if own is None else b58encode(own.verification.encode()),
        }
        return web.json_response(value)


def _cut(request: web.Request) -> web.Response:
    """End the connection without an answer: what is returned cannot be written any more."""
    if request.transport is not None:
        request.transport.abort()
    return web.Response()


def _epoch(request: web.Request) -> int | None:
    try:
        return epoch_parameter(request.query.get("epoch_id"))
    except MalformedData as error:
        raise SignerRefused(f"Failed to deserialize query string: {error}") from error


def _date(request: web.Request) -> Any:
    try:
        return date_parameter(request.query.get("expiration_date"))
    except MalformedData as error:
        raise SignerRefused(refusals.DATE_MALFORMED) from error


def _output(request: web.Request) -> Output:
    try:
        return Output(request.query.get("output", Output.JSON))
    except ValueError as error:
        raise SignerRefused("this signer writes json and bincode") from error


def _answer(request: web.Request, body: Body) -> web.Response:
    output = _output(request)
    return web.Response(body=body.encode(output), content_type=output.content_type)


async def _read(request: web.Request, parse: Callable[[Any], Any]) -> Any:
    """The body of a request, with the statuses of the real server's framework for what is none."""
    if request.content_type != Output.JSON.content_type:
        raise SignerRefused("Expected request with `Content-Type: application/json`", 415)
    try:
        value = json.loads(await request.read())
    except ValueError as error:
        raise SignerRefused(f"Failed to parse the request body as JSON: {error}") from error
    try:
        return await asyncio.to_thread(parse, value)
    except MalformedData as error:
        text = f"Failed to deserialize the JSON body into the target type: {error}"
        raise SignerRefused(text, 422) from error
