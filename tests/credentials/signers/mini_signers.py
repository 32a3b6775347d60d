"""Signers on loopback that know only what a buyer asks for, and that can be made to misbehave (docs/protocol/09)."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, timedelta
from functools import cache
from typing import Any

from aiohttp import web
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from nym_credentials.signers import refusals
from nym_credentials.signers.envelope import Envelope
from nym_credentials.signers.epoch import Signer, SignerSet
from nym_credentials.signers.issuance import (
    BlindSignAnswer,
    CoinSignaturesAnswer,
    DateSignaturesAnswer,
    MasterKeyAnswer,
)
from nym_credentials.signers.routes import Route, date_parameter, epoch_parameter
from nym_credentials.signers.status import SignerStatus
from nym_credentials.signers.wire import Output
from zknym import (
    BlindedSignature,
    CoinSignatureSet,
    DateSignatureSet,
    SignerKeys,
    SignRequest,
    UserSecretKey,
    VerificationKey,
    aggregate_coin_indices,
    aggregate_expiration_date,
    aggregate_verification_keys,
    blind_sign,
    encode_date,
    generate_signers,
    request_withdrawal,
    sign_coin_indices,
    sign_expiration_date,
)

THRESHOLD, SIGNERS = 2, 3
NOON = 1_780_000_200.0
"""Unix seconds, well inside of a day."""


class EpochKeys:
    """The keys of one epoch and what is signed with them."""

    def __init__(self, epoch_id: int) -> None:
        self.epoch_id = epoch_id
        self.signers = generate_signers(THRESHOLD, SIGNERS)
        self.master = aggregate_verification_keys([(s.index, s.verification) for s in self.signers])
        self.partial_coins = cache(self._partial_coins)
        self.coins = cache(self._coins)
        self.partial_dates = cache(self._partial_dates)
        self.dates = cache(self._dates)

    def _partial_coins(self, index: int) -> CoinSignatureSet:
        return CoinSignatureSet(self.epoch_id, sign_coin_indices(self.of(index).secret, self.master))

    def _coins(self) -> CoinSignatureSet:
        parts = [(s.index, s.verification, self.partial_coins(s.index).signatures) for s in self.signers[:2]]
        return CoinSignatureSet(self.epoch_id, aggregate_coin_indices(parts, self.master))

    def _partial_dates(self, index: int, expiration: date) -> DateSignatureSet:
        signed = sign_expiration_date(self.of(index).secret, encode_date(expiration))
        return DateSignatureSet(self.epoch_id, expiration, signed)

    def _dates(self, expiration: date) -> DateSignatureSet:
        parts = [
            (s.index, s.verification, self.partial_dates(s.index, expiration).signatures)
            for s in self.signers[:2]
        ]
        combined = aggregate_expiration_date(parts, encode_date(expiration), self.master)
        return DateSignatureSet(self.epoch_id, expiration, combined)

    def of(self, index: int) -> SignerKeys:
        return next(s for s in self.signers if s.index == index)


@cache
def epoch_keys(epoch_id: int) -> EpochKeys:
    """The same for all tests: making them takes time."""
    return EpochKeys(epoch_id)


@dataclass
class Network:
    """What signers and chain agree on."""

    epoch_id: int = 5
    now: float = NOON
    issuing: bool = True
    deposits: list[bytes] = field(default_factory=list)
    """The key of each deposit, by id."""
    signers: list[MiniSigner] = field(default_factory=list)
    past: dict[int, list[int]] = field(default_factory=dict)

    @property
    def today(self) -> date:
        return datetime.fromtimestamp(self.now, UTC).date()

    @property
    def keys(self) -> EpochKeys:
        return epoch_keys(self.epoch_id)

    def signer_set(self, epoch_id: int | None = None) -> SignerSet:
        keys = epoch_keys(self.epoch_id if epoch_id is None else epoch_id)
        listed = tuple(
            Signer(s.index, keys.of(s.index).verification, s.url, f"n1owner{s.index}", s.identity)
            for s in self.signers
        )
        return SignerSet(keys.epoch_id, THRESHOLD, listed, self.issuing, 0.0 if self.issuing else 600.0)


class MiniSigner:
    """One signer. `faults` names how it misbehaves."""

    def __init__(self, network: Network, index: int) -> None:
        self.network = network
        self.index = index
        self.faults: set[str] = set()
        self.requests: list[tuple[str, dict[str, str], bytes]] = []
        """(path with query, headers, body) of everything it was asked."""
        self.answered: dict[int, BlindedSignature] = {}
        self.seen: dict[int, set[bytes]] = {}
        """The withdrawal requests per deposit."""
        self.url = ""
        self._seed = bytes([index]) * 32
        self.identity = Ed25519PrivateKey.from_private_bytes(self._seed).public_key().public_bytes_raw()

    @property
    def app(self) -> web.Application:
        app = web.Application()
        app.router.add_get(Route.STATUS.path, self.status)
        app.router.add_get(Route.MASTER_KEY.path, self.master_key)
        app.router.add_get(Route.COINS.path, self.coins)
        app.router.add_get(Route.DATES.path, self.dates)
        app.router.add_get(Route.PARTIAL_COINS.path, self.partial_coins)
        app.router.add_get(Route.PARTIAL_DATES.path, self.partial_dates)
        app.router.add_post(Route.BLIND_SIGN.path, self.blind_sign)
        app.middlewares.append(self._watch)
        return app

    @property
    def keys(self) -> SignerKeys:
        return self.network.keys.of(self.index)

    @web.middleware
    async def _watch(self, request: web.Request, handler: Any) -> web.StreamResponse:
        self.requests.append((request.path_qs, dict(request.headers), await request.read()))
        if "silent" in self.faults:
            await asyncio.sleep(3600)
        if "down" in self.faults or ("down-after-quorum" in self.faults and handler == self.blind_sign):
            return web.Response(status=503, text=refusals.CACHE_EMPTY)
        if not self.network.issuing and handler != self.status:
            return web.Response(status=400, text=refusals.DKG_RUNNING)
        if "flood" in self.faults:
            return web.Response(body=b" " * 3_000_000)
        if "not-json" in self.faults:
            return web.Response(text="<html>", content_type="application/json")
        if "elsewhere" in self.faults:
            raise web.HTTPNotFound
        if "redirect" in self.faults:
            raise web.HTTPFound("http://127.0.0.1:9/")
        return await handler(request)

    async def status(self, request: web.Request) -> web.Response:
        if "no-status" in self.faults:
            raise web.HTTPNotFound
        now = self.network.now - (3600.0 if "stale-clock" in self.faults else 0.0)
        body = SignerStatus.now(
            now,
            self.network.epoch_id - ("behind" in self.faults),
            disabled="disabled" in self.faults,
            is_signer="no-signer" not in self.faults,
            has_keys="no-keys" not in self.faults,
        )
        seed = bytes(32) if "forged-status" in self.faults else self._seed
        if request.query.get("output") == "bincode" or "bincode" in self.faults:
            envelope = Envelope.sign(body, seed)
            return web.Response(
                body=envelope.to_bincode(body.to_bincode()), content_type=Output.BINCODE.content_type
            )
        return web.Response(body=Envelope.sign(body, seed).encode(), content_type="application/json")

    def _answer(self, body: Any) -> web.Response:
        output = Output.BINCODE if "bincode" in self.faults else Output.JSON
        return web.Response(body=body.encode(output), content_type=output.content_type)

    async def master_key(self, request: web.Request) -> web.Response:
        key = epoch_keys(99).master if "lying" in self.faults else self._epoch(request).master
        return self._answer(MasterKeyAnswer(key))

    def _epoch(self, request: web.Request) -> EpochKeys:
        asked = epoch_parameter(request.query.get("epoch_id"))
        return self.network.keys if asked is None else epoch_keys(asked)

    async def coins(self, request: web.Request) -> web.Response:
        found = self._epoch(request).coins()
        if "lying" in self.faults:
            found = CoinSignatureSet(found.epoch_id, epoch_keys(99).coins().signatures)
        if "wrong-epoch" in self.faults:
            found = CoinSignatureSet(found.epoch_id + 1, found.signatures)
        if "no-aggregates" in self.faults:
            return web.Response(status=400, text=refusals.too_few_shares(1, THRESHOLD))
        return self._answer(CoinSignaturesAnswer(found))

    async def dates(self, request: web.Request) -> web.Response:
        asked = date_parameter(request.query.get("expiration_date"))
        assert asked is not None
        found = self._epoch(request).dates(asked)
        if "lying" in self.faults:
            found = DateSignatureSet(found.epoch_id, asked, epoch_keys(99).dates(asked).signatures)
        if "wrong-epoch" in self.faults:
            found = DateSignatureSet(found.epoch_id + 1, asked, found.signatures)
        if "wrong-date" in self.faults:
            found = self._epoch(request).dates(asked - timedelta(days=1))
        if "no-aggregates" in self.faults:
            return web.Response(status=400, text=refusals.too_few_shares(1, THRESHOLD))
        return self._answer(DateSignaturesAnswer(found))

    async def partial_coins(self, request: web.Request) -> web.Response:
        keys = epoch_keys(99) if "lying" in self.faults else self._epoch(request)
        found = keys.partial_coins(self.index)
        return self._answer(CoinSignaturesAnswer(CoinSignatureSet(self.network.epoch_id, found.signatures)))

    async def partial_dates(self, request: web.Request) -> web.Response:
        asked = date_parameter(request.query.get("expiration_date"))
        assert asked is not None
        keys = epoch_keys(99) if "lying" in self.faults else self._epoch(request)
        found = keys.partial_dates(self.index, asked)
        answer = DateSignatureSet(self.network.epoch_id, asked, found.signatures)
        return self._answer(DateSignaturesAnswer(answer))

    async def blind_sign(self, request: web.Request) -> web.Response:
        body = SignRequest.from_json(await request.json())
        deposit = body.deposit_id
        self.seen.setdefault(deposit, set()).add(body.request.encode())
        if "no-signer" in self.faults or "leaves" in self.faults:
            return web.Response(status=400, text=refusals.NOT_A_SIGNER)
        if "lagging" in self.faults:
            self.faults.discard("lagging")
            return web.Response(status=400, text=refusals.unknown_deposit(deposit))
        if deposit not in self.answered:
            if deposit >= len(self.network.deposits):
                return web.Response(status=400, text=refusals.unknown_deposit(deposit))
            body.verify(self.network.deposits[deposit])
            self.answered[deposit] = blind_sign(
                self.keys.secret, body.user, body.request, encode_date(body.expiration), body.ticket_type
            )
        answer = self.answered[deposit]
        if "garbage" in self.faults:
            answer = BlindedSignature(answer.h, answer.c + answer.h)
        if "another-request" in self.faults:
            user = UserSecretKey.generate()
            other, _ = request_withdrawal(user, encode_date(body.expiration), body.ticket_type)
            answer = blind_sign(
                self.keys.secret, user.public_key(), other, encode_date(body.expiration), body.ticket_type
            )
        if "answer-lost" in self.faults:
            self.faults.discard("answer-lost")
            assert request.transport is not None
            request.transport.abort()
        return self._answer(BlindSignAnswer(answer))


@asynccontextmanager
async def serve(app: web.Application) -> AsyncIterator[str]:
    """The address of an app on loopback."""
    runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.1)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    try:
        yield f"http://127.0.0.1:{runner.addresses[0][1]}"
    finally:
        await runner.cleanup()


@asynccontextmanager
async def running_signers() -> AsyncIterator[Network]:
    """Three signers, any two of which issue."""
    network = Network()
    async with AsyncExitStack() as stack:
        for index in range(1, SIGNERS + 1):
            signer = MiniSigner(network, index)
            network.signers.append(signer)
            # As on the network: the announced address may or may not end with a slash.
            signer.url = await stack.enter_async_context(serve(signer.app)) + ("/" if index % 2 else "")
        yield network


def master_of(network: Network) -> VerificationKey:
    """The key of the current epoch."""
    return network.keys.master
