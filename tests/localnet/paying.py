"""A buyer and payer written down to the single requests: wallet, deposit, shares, tickets, websocket."""

from __future__ import annotations

import secrets
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from datetime import UTC, date, datetime
from typing import Any

import aiohttp
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from nym_credentials.chain.client_io import ChainClient
from nym_credentials.chain.records import Failed, Included
from nym_credentials.chain.transport_io import JsonRpcTransport
from nym_credentials.chain.wallet import Wallet, phrase_of
from nym_credentials.money import Coin
from nym_credentials.signers.issuance import (
    BlindSignAnswer,
    CoinSignaturesAnswer,
    DateSignaturesAnswer,
    MasterKeyAnswer,
)
from nym_credentials.signers.routes import Route, target
from nym_credentials.signers.wire import compact
from nym_localnet import Localnet, LocalnetOptions, PaymentOptions
from nym_localnet.ecash.signer_io import Signer
from nym_localnet.payments_io import Payments
from nym_mixnet.gateway_wire import SessionKey, seal_credential
from nym_mixnet.keys import ClientKeys
from nym_sphinx import SYSTEM_RNG
from tests.localnet.raw_client import RawClient
from zknym import (
    CoinSignatureSet,
    DateSignatureSet,
    EpochKey,
    PayInfo,
    PendingTicketBook,
    SpendingCredential,
    TicketBook,
    TicketType,
    UserSecretKey,
    aggregate_wallet,
    default_expiration,
    encode_date,
    request_withdrawal,
    unblind,
)

BLOCK_SECONDS = 0.03
NYM = 1_000_000


def today() -> date:
    return datetime.now(UTC).date()


@asynccontextmanager
async def paying_net(*, mix: bool = False, **payment: Any) -> AsyncIterator[Localnet]:
    """A small paying network; gateways retry at once when they are told to, and not before."""
    options = LocalnetOptions(
        pay=True,
        exits=1 if mix else 0,
        payment=PaymentOptions(**{"block_seconds": BLOCK_SECONDS, **payment}),
    )
    async with Localnet(options) as net:
        yield net


def new_wallet() -> Wallet:
    return Wallet.from_phrase(phrase_of(secrets.token_bytes(32)))


@asynccontextmanager
async def chain_client(payments: Payments) -> AsyncIterator[ChainClient]:
    network = payments.network("http://127.0.0.1:1/")
    async with JsonRpcTransport(network.rpc_urls, chain_id=network.chain_id) as transport:
        yield ChainClient(network, transport)


@dataclass
class Buyer:
    """An account with a user secret."""

    payments: Payments
    client: ChainClient
    wallet: Wallet
    user: UserSecretKey
    http: aiohttp.ClientSession

    async def pay(self, keys: Sequence[Ed25519PrivateKey], price: Coin | None = None) -> Included | Failed:
        """Deposit for each key; what became of it."""
        identities = [key.public_key().public_bytes_raw() for key in keys]
        quoted = price or (await self.client.price_for(self.wallet.address)).best
        signed = await self.client.prepare_deposit(self.wallet, identities, quoted)
        await self.client.broadcast(signed.tx_bytes)
        await self.payments.chain.included(signed.tx_hash)
        outcome = await self.client.outcome(signed.tx_hash, len(keys))
        assert outcome is not None
        return outcome

    async def pending(self, kind: TicketType = TicketType.MIXNET_ENTRY) -> PendingTicketBook:
        """A paid deposit."""
        key = Ed25519PrivateKey.generate()
        outcome = await self.pay([key])
        assert isinstance(outcome, Included), outcome
        (deposit_id,) = outcome.deposit_ids
        return PendingTicketBook(
            deposit_id, key.private_bytes_raw(), self.user, kind, default_expiration(today())
        )

    async def ask(self, signer: Signer, body: Any) -> tuple[int, bytes]:
        """One request for a share."""
        url = signer.url.rstrip("/") + Route.BLIND_SIGN.path
        headers = {"Content-Type": "application/json"}
        async with self.http.post(url, data=compact(body), headers=headers) as response:
            return response.status, await response.read()

    async def get(self, signer: Signer, route: Route, **parameters: Any) -> bytes:
        async with self.http.get(signer.url.rstrip("/") + target(route, **parameters)) as response:
            assert response.status == 200, await response.text()
            return await response.read()

    async def book(
        self, pending: PendingTicketBook | None = None, signers: Sequence[Signer] | None = None
    ) -> TicketBook:
        """A book of the current epoch."""
        pending = pending or await self.pending()
        expiration = encode_date(pending.expiration)
        request, info = request_withdrawal(self.user, expiration, pending.ticket_type)
        body = pending.sign(request).to_json()
        epoch = self.payments.epoch
        shares = []
        for signer in signers or self.payments.signers[: epoch.threshold]:
            status, answer = await self.ask(signer, body)
            assert status == 200, answer
            blinded = BlindSignAnswer.decode(answer).blinded
            keys = epoch.signer(signer.index)
            assert keys is not None
            shares.append(unblind(blinded, info, self.user, keys.verification, signer.index))
        wallet = aggregate_wallet(shares, self.user, epoch.master)
        return TicketBook.issued(wallet, epoch.epoch_id, self.user, pending.expiration)


@asynccontextmanager
async def buyer(payments: Payments, nym: int = 1000, wallet: Wallet | None = None) -> AsyncIterator[Buyer]:
    """Somebody with so many NYM from the faucet."""
    own = wallet or new_wallet()
    if nym:
        await payments.fund(own.address, nym * NYM)
    async with chain_client(payments) as client, aiohttp.ClientSession() as http:
        yield Buyer(payments, client, own, UserSecretKey.generate(), http)


@dataclass
class PublicData:
    """What every payer of an epoch needs, as fetched from a signer and verified."""

    key: EpochKey
    coins: CoinSignatureSet
    dates: DateSignatureSet

    @classmethod
    async def fetch(cls, buyer: Buyer, book: TicketBook, signer: Signer | None = None) -> PublicData:
        signer = signer or buyer.payments.signers[0]
        epoch, day = book.epoch_id, book.expiration
        key = MasterKeyAnswer.decode(await buyer.get(signer, Route.MASTER_KEY, epoch_id=epoch)).key
        coins = CoinSignaturesAnswer.decode(await buyer.get(signer, Route.COINS, epoch_id=epoch)).signatures
        dates = DateSignaturesAnswer.decode(
            await buyer.get(signer, Route.DATES, epoch_id=epoch, expiration=day)
        ).signatures
        coins.verify(key)
        dates.verify(key)
        return cls(EpochKey(epoch, key), coins, dates)


@dataclass
class Purse:
    """A book from which tickets are taken."""

    book: TicketBook
    data: PublicData

    def pay(
        self, gateway: bytes, *, offset_seconds: float = 0, index: int | None = None, day: date | None = None
    ) -> SpendingCredential:
        """The next ticket, or the one with a number, made out to a gateway."""
        book = self.book if index is None else replace(self.book, spent_tickets=index)
        info = PayInfo.create(gateway, time.time() + offset_seconds)
        credential, left = book.pay(info, day or today(), self.data.key, self.data.coins, self.data.dates)
        if index is None:
            self.book = left
        return credential


async def purse(buyer: Buyer, kind: TicketType = TicketType.MIXNET_ENTRY) -> Purse:
    """A new book with its data."""
    book = await buyer.book(await buyer.pending(kind))
    return Purse(book, await PublicData.fetch(buyer, book))


@dataclass
class _Url:
    url: str
    identity: bytes


@asynccontextmanager
async def gateway_client(
    net: Localnet, number: int = 0, keys: ClientKeys | None = None, key: SessionKey | None = None
) -> AsyncIterator[RawClient]:
    """A client of one of the gateways, not yet registered."""
    node = net.gateways[number]
    where: Any = _Url(node.gateway_urls()[0], node.identity)
    async with (
        aiohttp.ClientSession() as session,
        session.ws_connect(where.url) as socket,
    ):
        yield RawClient(where, keys or ClientKeys.generate(SYSTEM_RNG), socket, key)


async def spend(client: RawClient, credential: SpendingCredential | bytes) -> Any:
    """Present a ticket; the gateway's answer."""
    raw = credential if isinstance(credential, bytes) else credential.encode()
    assert client.key is not None
    return await client.ask(seal_credential(raw, client.key, secrets.token_bytes(12)).encode())
