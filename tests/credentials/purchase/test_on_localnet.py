"""Buying with everything real: the test network's chain and signers, the wallet, the ticket store."""

from __future__ import annotations

import asyncio
import secrets
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from yarl import URL

from nym_credentials.chain.wallet import Wallet, phrase_of
from nym_credentials.errors import (
    ChainUnreachable,
    EpochKeysInconsistent,
    InsufficientFunds,
    IssuanceIncomplete,
    PaymentFailed,
    PaymentUnconfirmed,
    PriceChanged,
    QuorumMissing,
    TransactionRefused,
    WrongChain,
)
from nym_credentials.money import Coin
from nym_credentials.networks import load_network
from nym_credentials.purchase.buyer_io import Buyer, BuyerOptions
from nym_credentials.purchase.smartcontract_buyer_io import smart_contract_buyer
from nym_credentials.purchase.states import PurchaseState
from nym_credentials.purchase.steps import Point
from nym_credentials.signers.client_io import SignerHttpOptions
from nym_credentials.store.records import BookState
from nym_credentials.store.store_io import TicketStore
from nym_localnet.payments_io import Payments
from tests.credentials.purchase.dying_buyer import DEATH
from tests.credentials.purchase.test_crashes import BEFORE_SIGNING, DEATHS
from tests.localnet.paying import new_wallet, paying_net
from zknym import TicketType

ENTRY = TicketType.MIXNET_ENTRY
PRICE = 75_000_000
ROOT = Path(__file__).parents[3]
OPTIONS = BuyerOptions(
    confirm_seconds=10.0, impossible_after_seconds=0.0, patience_seconds=10.0, first_retry_seconds=0.05
)
HASTY = BuyerOptions(
    confirm_seconds=0.2, impossible_after_seconds=0.0, patience_seconds=0.3, first_retry_seconds=0.05
)
POLL_SECONDS = 0.02


@pytest.fixture
async def payments() -> AsyncIterator[Payments]:
    async with paying_net() as net:
        yield net.payments


class Customer:
    """Somebody with a wallet and a store."""

    def __init__(self, payments: Payments, folder: Path, wallet: Wallet) -> None:
        self.payments = payments
        self.path = folder / f"{wallet.address}.db"
        self.wallet = wallet
        self.first_deposit = payments.nyx.ecash.deposits
        self.start = payments.balance(wallet.address)

    @asynccontextmanager
    async def buying(
        self, options: BuyerOptions = OPTIONS, **more: Any
    ) -> AsyncIterator[tuple[Buyer, TicketStore]]:
        network = load_network(self.payments.network_toml("http://127.0.0.1:1/"))
        async with (
            await TicketStore.open(self.path) as store,
            smart_contract_buyer(
                network, self.wallet, store.purchases, options=options, poll_seconds=POLL_SECONDS, **more
            ) as buyer,
        ):
            yield buyer, store

    @property
    def deposit_keys(self) -> list[bytes]:
        """Of the deposits made since this customer came."""
        ecash = self.payments.nyx.ecash
        return [ecash.deposit_key(i) or b"" for i in range(self.first_deposit, ecash.deposits)]

    async def check(self, books: int, *, price: int = PRICE, lost_fees: int = 0) -> None:
        """So many good books, each paid once; chain, account and store agree."""
        async with await TicketStore.open(self.path) as store:
            found = await store.books()
            purchases = await store.purchases.purchases()
        assert [book.state for book in found] == [BookState.ACTIVE] * books
        assert all(purchase.state.finished for purchase in purchases)
        issued = [purchase for purchase in purchases if purchase.state is PurchaseState.ISSUED]
        assert sorted(self.deposit_keys) == sorted(purchase.identity_key for purchase in issued)
        fees = sum(purchase.payment.fee for purchase in issued if purchase.payment)
        spent = self.start - self.payments.balance(self.wallet.address)
        if lost_fees:
            assert 0 < spent - books * price - fees <= lost_fees * 100_000
        else:
            assert spent == books * price + fees


@pytest.fixture
async def customer(payments: Payments, tmp_path: Path) -> Customer:
    wallet = new_wallet()
    await payments.fund(wallet.address, 1_000_000_000)
    return Customer(payments, tmp_path, wallet)


async def test_from_an_empty_wallet_to_a_book_with_a_signer_down(payments, tmp_path):
    wallet = new_wallet()
    poor = Customer(payments, tmp_path, wallet)
    async with poor.buying() as (buyer, _):
        with pytest.raises(InsufficientFunds):
            await buyer.buy(ENTRY)
    await payments.fund(wallet.address, 200_000_000)
    payments.signers[1].faults.down = True
    customer = Customer(payments, tmp_path, wallet)
    async with customer.buying() as (buyer, store):
        quote = await buyer.quote(2)
        assert quote.price.best.amount == PRICE
        await buyer.buy(ENTRY, 2)
        (first, _) = await store.books()
        assert first.total == 50
    await customer.check(2)
    recorded = await payments.books()
    assert recorded.deposits == 2
    assert [count for count in recorded.issued if count] == [2, 2]


async def test_a_price_of_its_own(payments, customer):
    payments.set_reduced_price(customer.wallet.address, 10_000_000)
    async with customer.buying() as (buyer, _):
        await buyer.buy(ENTRY)
    await customer.check(1, price=10_000_000)


@pytest.mark.parametrize(
    "fault",
    [
        "down",
        "stall",
        "disabled",
        "garbage_share",
        "other_share",
        "wrong_key_share",
        "lose_next_share",
        "lie_master_key",
        "lie_coins",
        "lie_dates",
        "lie_epoch",
        "lie_date",
        "forge_status",
    ],
)
async def test_one_signer_misbehaves(payments, customer, fault):
    setattr(payments.signers[0].faults, fault, True)
    options = BuyerOptions(
        confirm_seconds=10.0,
        patience_seconds=10.0,
        first_retry_seconds=0.05,
        http=SignerHttpOptions(timeout_seconds=2.0, status_timeout_seconds=2.0),
    )
    async with customer.buying(options) as (buyer, _):
        await buyer.buy(ENTRY)
    await customer.check(1)


@pytest.mark.parametrize("fault", ["down", "disabled", "forge_status"])
async def test_two_signers_are_not_well(payments, customer, fault):
    for signer in payments.signers[:2]:
        setattr(signer.faults, fault, True)
    async with customer.buying() as (buyer, _):
        with pytest.raises((QuorumMissing, EpochKeysInconsistent)):
            await buyer.buy(ENTRY)
    await customer.check(0)


@pytest.mark.parametrize("fault", ["garbage_share", "other_share", "wrong_key_share"])
async def test_two_signers_give_bad_shares_after_payment(payments, customer, fault):
    """These signers remember what they gave and repeat it: the deposit is kept, and nothing more is paid."""
    bad = payments.signers[:2]
    for signer in bad:
        setattr(signer.faults, fault, True)
    async with customer.buying() as (buyer, _):
        for _ in range(2):
            with pytest.raises(IssuanceIncomplete) as caught:
                await buyer.buy(ENTRY)
            assert set(caught.value.problems) == {signer.url.rstrip("/") for signer in bad}
        (pending,) = await buyer.pending()
    assert pending.state is PurchaseState.REQUESTING
    assert [share.node_index for share in pending.shares] == [3]
    assert customer.deposit_keys == [pending.identity_key]


async def test_all_of_it_goes_where_the_connector_goes(payments, customer):
    """So a proxy, or the mixnet, can take it: no connection to chain or signers is made in any other way."""
    made = []

    class Watched(aiohttp.TCPConnector):
        async def connect(self, req, traces, timeout):
            made.append(req.url.port)
            return await super().connect(req, traces, timeout)

    refused = []

    class Closed(aiohttp.TCPConnector):
        async def connect(self, req, traces, timeout):
            refused.append(req.url.port)
            raise aiohttp.ClientConnectionError("closed")

    async with customer.buying(connector_factory=Closed) as (buyer, _):
        with pytest.raises(ChainUnreachable):
            await buyer.buy(ENTRY)
    assert payments.nyx.ecash.deposits == 0
    async with customer.buying(connector_factory=Watched) as (buyer, _):
        await buyer.buy(ENTRY)
    ports = {URL(url).port for url in (payments.rpc_url, *(signer.url for signer in payments.signers))}
    assert set(made) == ports
    await customer.check(1)


async def test_wrong_clock_of_signers(payments, customer):
    for signer in payments.signers:
        signer.faults.clock_offset_seconds = -3600
    async with customer.buying() as (buyer, _):
        with pytest.raises(QuorumMissing, match="clock differs"):
            await buyer.buy(ENTRY)
    await customer.check(0)


async def test_wrong_chain(payments, customer):
    payments.faults.reported_chain_id = "elsewhere"
    async with customer.buying() as (buyer, _):
        with pytest.raises(WrongChain):
            await buyer.buy(ENTRY)
    await customer.check(0)


async def test_price_changes_between_query_and_deposit(payments, customer):
    payments.faults.price_after_query = Coin("unym", 80_000_000)
    async with customer.buying() as (buyer, _):
        with pytest.raises(PriceChanged):
            await buyer.buy(ENTRY)
        await customer.check(0)

        async def yes(_):
            return True

        await buyer.buy(ENTRY, confirm=yes)
    await customer.check(1, price=80_000_000)


async def test_refused_by_the_node(payments, customer):
    payments.faults.refuse_broadcast = (4, "signature verification failed")
    async with customer.buying() as (buyer, _):
        with pytest.raises(TransactionRefused):
            await buyer.buy(ENTRY)
        await customer.check(0)
        await buyer.buy(ENTRY)
    await customer.check(1)


async def test_failed_inside_the_block(payments, customer):
    payments.faults.fail_in_block = "received wrong amount for deposit. got: 1unym. required: 2unym"
    async with customer.buying() as (buyer, _):
        with pytest.raises(PaymentFailed, match="wrong amount"):
            await buyer.buy(ENTRY)
        await customer.check(0, lost_fees=1)
        await buyer.buy(ENTRY)
    await customer.check(1, lost_fees=1)


async def test_unreadable_answer_to_the_broadcast(payments, customer):
    payments.faults.unreadable_broadcast = True
    async with customer.buying() as (buyer, _):
        await buyer.buy(ENTRY)
    await customer.check(1)


@pytest.mark.parametrize("fault", ["hold_mempool", "lose_transactions"])
async def test_not_included_in_time(payments, customer, fault):
    setattr(payments.faults, fault, True)
    async with customer.buying(HASTY) as (buyer, _):
        for _ in range(2):
            with pytest.raises(PaymentUnconfirmed):
                await buyer.buy(ENTRY)
        (pending,) = await buyer.pending()
        assert pending.state is PurchaseState.BROADCAST
    setattr(payments.faults, fault, False)
    async with customer.buying() as (buyer, _):
        assert [item.error for item in await buyer.resume()] == [None]
    await customer.check(1)


@pytest.mark.parametrize("point", [Point.SIGNED, Point.DEPOSITED, Point.REQUESTING, Point.SHARE_STORED])
async def test_the_epoch_changes_in_the_middle(payments, customer, point):
    class Stop(Exception):
        pass

    def at(reached):
        if reached is point:
            raise Stop

    async with customer.buying(at=at) as (buyer, _):
        with pytest.raises(Stop):
            await buyer.buy(ENTRY)
    epoch = await payments.next_epoch()
    async with customer.buying() as (buyer, store):
        assert [item.error for item in await buyer.resume()] == [None]
        (book,) = await store.books()
        assert book.epoch_id in (epoch - 1, epoch)
        await store.purchases.for_book(book.epoch_id, book.expiration)
    await customer.check(1)


@pytest.mark.slow
@pytest.mark.timeout(400)
async def test_kill_at_every_point(payments, tmp_path):
    """The real store, wallet, chain client and signers; the process dies, the network lives on."""
    network = tmp_path / "network.toml"
    network.write_text(payments.network_toml("http://127.0.0.1:1/"))
    for point, occurrence in DEATHS:
        phrase = phrase_of(secrets.token_bytes(32))
        wallet = Wallet.from_phrase(phrase)
        await payments.fund(wallet.address, 100_000_000)
        customer = Customer(payments, tmp_path, wallet)
        process = await asyncio.create_subprocess_exec(
            sys.executable,
            "-m",
            "tests.credentials.purchase.dying_customer",
            str(network),
            str(customer.path),
            point.value,
            str(occurrence),
            cwd=ROOT,
            stdin=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
        )
        _, errors = await process.communicate(phrase.encode())
        assert process.returncode == DEATH, f"it did not come to {point}: {errors.decode()[-2000:]}"
        async with customer.buying() as (buyer, store):
            resumed = await buyer.resume()
            assert [item.error for item in resumed if item.error] == [], point
            if point in BEFORE_SIGNING:
                assert customer.deposit_keys == []
                await buyer.buy(ENTRY)
            assert await store.purchases.unfinished_purchases() == []
        await customer.check(1)
