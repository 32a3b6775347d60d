"""The daemon with a real store, a real buyer, and a chain and signers on loopback."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path
from random import Random
from typing import Any

import pytest

from nym_credentials.errors import PurchaseConflict, StoreUnreachable
from nym_credentials.purchase.steps import Point
from nym_credentials.purchase.turn_io import FileTurn
from nym_credentials.store.records import Settlement
from nym_credentials.store.store_io import TicketStore
from nym_credentials.topup.budget import Payment
from nym_credentials.topup.burn import BurnMeter, ProfileRate
from nym_credentials.topup.control import Need, TopUpControl
from nym_credentials.topup.hindrances import Hindrance, Supply
from nym_credentials.topup.ledger import Ledger
from nym_credentials.topup.reconcile import ChainDeposit, reconcile
from nym_credentials.topup.settings import BudgetLimits, TopUpSettings
from nym_credentials.topup.topup_io import BudgetRefused, TopUp, TopUpStatus, lots_of, payment_of
from tests.credentials.purchase.mini_chain import ACCOUNT
from tests.credentials.purchase.world import OPTIONS, PurchaseWorld, make_buyer, running_world
from zknym import TicketType

ENTRY = TicketType.MIXNET_ENTRY
NYM = 1_000_000
LIMITS = BudgetLimits()
PATIENT = replace(OPTIONS, patience_seconds=30.0)
"""Shares that are on their way shall arrive, however busy this machine is."""


class Place:
    """A world, one store, and any number of those who top it up."""

    def __init__(self, world: PurchaseWorld, store: TicketStore, folder: Path) -> None:
        self.world, self.store, self.folder = world, store, folder
        self.told: list[TopUpStatus] = []
        self.errors: list[Exception] = []

    def topup(self, limits: BudgetLimits = LIMITS, at: Any = lambda _: None, **more: Any) -> TopUp:
        clock = lambda: self.world.network.now  # noqa: E731
        meter = BurnMeter({"standard": ProfileRate("standard", 2.4)}, "standard")
        return TopUp(
            TopUpControl(TopUpSettings(), meter, Random("topup")),
            limits,
            self.store,
            make_buyer(self.store.purchases, self.world.chain_url, clock, at, PATIENT),
            clock=clock,
            turn=lambda: FileTurn(self.folder / "topup.lock"),
            changed=self.told.append,
            failed=self.errors.append,
            **more,
        )

    def later(self, seconds: float) -> None:
        self.world.network.now += seconds

    async def books(self) -> int:
        return len(await self.store.books())

    async def use(self, tickets: int) -> None:
        for _ in range(tickets):
            taken = await self.store.take(ENTRY, self.world.network.today)
            await self.store.settle(taken, Settlement.ACCEPTED)


@pytest.fixture
async def place(tmp_path: Path) -> AsyncIterator[Place]:
    async with (
        running_world(tmp_path) as world,
        await TicketStore.open(tmp_path / "store.db", clock=lambda: world.network.now) as store,
    ):
        yield Place(world, store, tmp_path)


async def test_an_empty_store_is_filled_and_a_full_one_left_alone(place: Place) -> None:
    topup = place.topup()
    await topup.step()
    assert (await place.books(), place.world.deposits) == (1, 1)
    assert topup.status().supply is Supply.OK
    await topup.step()
    assert await place.books() == 1
    await place.use(49)
    topup.poke()
    for _ in range(3):
        await topup.step()
        place.later(15)
    assert await place.books() == 2
    assert topup.status().bought == 2


async def test_tickets_that_come_after_there_were_none_are_told(place: Place) -> None:
    topup = place.topup()
    await topup.step()
    said = [(status.supply, status.has_tickets) for status in place.told]
    assert said == [(Supply.EXHAUSTED, False), (Supply.OK, True)]


async def test_the_budget_is_asked_before_anything_is_signed(place: Place) -> None:
    place.world.chain.price = 101 * NYM
    topup = place.topup()
    await topup.step()
    assert place.world.chain.submissions == []
    assert await place.store.purchases.purchases() == []
    status = topup.status()
    assert (status.supply, status.hindrance) == (Supply.EXHAUSTED, Hindrance.PRICE)
    assert "101 NYM" in status.reason
    assert "100 NYM" in status.reason
    assert place.told[-1].supply is Supply.EXHAUSTED
    # It is asked again by itself, and recovers.
    place.world.chain.price = 80 * NYM
    place.later(1_300)
    await topup.step()
    assert topup.status().supply is Supply.OK
    assert place.told[-1].supply is Supply.OK
    assert place.world.deposits == 1


async def test_a_price_that_jumps_after_the_question_is_asked_about_again(place: Place) -> None:
    def at(point: Point) -> None:
        if point is Point.QUORUM:
            place.world.chain.price = 101 * NYM

    topup = place.topup(at=at)
    await topup.step()
    assert place.world.chain.submissions == []
    assert topup.status().hindrance is Hindrance.PRICE


async def test_funds_that_arrive_late(place: Place) -> None:
    place.world.chain.balance = 10 * NYM
    topup = place.topup()
    await topup.step()
    assert (topup.status().supply, topup.status().hindrance) == (Supply.EXHAUSTED, Hindrance.FUNDS)
    place.world.chain.balance = 75 * NYM + 500_000  # enough for the book, not for the reserve
    place.later(300)
    await topup.step()
    assert topup.status().hindrance is Hindrance.RESERVE
    place.world.chain.balance = 200 * NYM
    place.later(300)
    await topup.step()
    assert topup.status().supply is Supply.OK
    assert place.world.deposits == 1


async def test_signers_that_are_down_cost_nothing(place: Place) -> None:
    place.world.spoil("down")
    topup = place.topup()
    await topup.step()
    assert topup.status().hindrance is Hindrance.SIGNERS
    assert place.world.chain.submissions == []
    place.world.heal()
    await topup.step()  # left alone for a while
    assert place.world.deposits == 0
    place.later(60)
    await topup.step()
    assert place.world.deposits == 1
    assert topup.status().signer_failures == {}


async def test_each_signer_that_fails_is_left_alone_by_itself(place: Place) -> None:
    topup = place.topup()
    await topup.step()
    await place.use(49)
    place.world.spoil("down", only=1)
    place.world.spoil("down", only=2)
    place.later(15)
    for _ in range(2):
        await topup.step()
        place.later(15)
    ill = {signer.url for signer in place.world.network.signer_set().signers if signer.index in (1, 2)}
    assert {url.rstrip("/") for url in topup.status().signer_failures} == {url.rstrip("/") for url in ill}
    assert topup.status().signer_errors.keys() == topup.status().signer_failures.keys()
    assert topup.status().supply is Supply.DEGRADED
    assert topup.status().hindrance is Hindrance.SIGNERS
    place.world.heal()
    place.later(60)
    await topup.step()
    assert (place.world.deposits, topup.status().supply) == (2, Supply.OK)


class Unplugged(BaseException):
    pass


@pytest.mark.parametrize(
    "point", [Point.SIGNED, Point.SENT, Point.DEPOSITED, Point.REQUESTING, Point.SHARE_STORED]
)
async def test_a_purchase_that_was_cut_short_is_taken_up_again(place: Place, point: Point) -> None:
    def at(here: Point) -> None:
        if here is point:
            raise Unplugged

    with pytest.raises((Unplugged, BaseExceptionGroup)):
        await place.topup(at=at).step()
    assert await place.books() == 0
    topup = place.topup()
    await topup.step()
    assert (await place.books(), place.world.deposits) == (1, 1)
    assert len(await place.store.purchases.purchases()) == 1


async def test_of_several_exactly_one_buys(place: Place) -> None:
    replicas = [place.topup() for _ in range(5)]
    async with asyncio.TaskGroup() as group:
        for replica in replicas:
            group.create_task(replica.step())
    for _ in range(2):
        place.later(30)
        for replica in replicas:
            await replica.step()
    assert (await place.books(), place.world.deposits) == (1, 1)
    assert all(isinstance(error, PurchaseConflict) for error in place.errors)
    assert all(replica.status().supply is Supply.OK for replica in replicas)


async def test_caps_hold_across_all_that_share_a_store(place: Place) -> None:
    limits = replace(LIMITS, per_day=150 * NYM)
    first, second = place.topup(limits), place.topup(limits)
    await first.step()
    await second.now()
    with pytest.raises(BudgetRefused, match="budget of this UTC day") as caught:
        await first.now()
    assert caught.value.refusal.hindrance is Hindrance.DAY_CAP
    assert (caught.value.refusal.until_unix or 0) % 86_400 == 0
    assert place.world.deposits == 2
    place.later(86_400)
    await first.now()
    assert place.world.deposits == 3


async def test_what_may_be_paid_counts(place: Place) -> None:
    """Sent, and never heard of again: it counts for today, however long ago it was begun."""
    place.world.chain.faults.add("swallows")
    topup = place.topup()
    await topup.step()
    assert topup.status().hindrance is Hindrance.UNCONFIRMED
    place.later(86_400 * 3)
    (payment,) = await topup.payments()
    assert payment.open
    assert payment.price == 75 * NYM
    place.world.chain.faults.clear()
    await topup.step()
    assert place.world.deposits == 1
    (payment,) = await topup.payments()
    assert payment == replace(payment, open=False, paid_unix=place.world.network.now)


async def test_a_loop_goes_on_after_errors_and_ends_when_cancelled(place: Place) -> None:
    class Once:
        def __init__(self, store: TicketStore) -> None:
            self.purchases, self._store, self.asked = store.purchases, store, 0

        async def books(self) -> Any:
            self.asked += 1
            if self.asked == 1:
                raise OSError("disk")
            return await self._store.books()

    topup = place.topup(poll_seconds=0.01)
    topup._stock = Once(place.store)
    async with asyncio.TaskGroup() as group:
        task = group.create_task(topup.run())
        async with asyncio.timeout(60):
            while topup.control.supply is not Supply.OK or not await place.books():
                place.later(30)
                topup.poke()
                await asyncio.sleep(0.01)
        task.cancel()
    assert isinstance(place.errors[0], OSError)
    assert place.world.deposits == 1


async def test_a_store_that_cannot_be_read_is_no_supply_that_is_well(place: Place) -> None:
    class Gone:
        purchases = place.store.purchases

        async def books(self) -> Any:
            raise StoreUnreachable("The database is gone.")

    topup = place.topup()
    await topup.step()
    assert topup.status().supply is Supply.OK
    topup._stock, well = Gone(), topup._stock
    await topup.step()
    assert (topup.status().supply, topup.status().hindrance) == (Supply.DEGRADED, Hindrance.STORE)
    assert "The database is gone." in place.told[-1].reason
    topup._stock = well
    await topup.step()
    assert (topup.status().supply, topup.status().hindrance) == (Supply.OK, None)


async def test_plan_and_ledger(place: Place) -> None:
    topup = place.topup()
    before = await topup.plan()
    assert before.purchases
    assert before.purchases[0].price == 75 * NYM
    assert before.assessment.need is Need.URGENT
    assert place.world.chain.submissions == []
    await topup.step()
    await place.use(3)
    ledger = await topup.ledger()
    assert ledger.problems() == []
    assert (ledger.totals().paid_unym, ledger.totals().accepted) == (75 * NYM, 3)
    (line,) = ledger.deposits
    on_chain = [ChainDeposit(0, line.tx_hash, 75 * NYM, line.height)]
    assert reconcile(ledger, on_chain, account=ACCOUNT).balanced
    text = ledger.to_json() + ledger.to_csv() + ledger.to_csv("books")
    (purchase,) = await place.store.purchases.purchases()
    assert purchase.identity_seed.hex() not in text
    assert json.loads(ledger.to_json())["totals"]["books"] == 1
    assert isinstance(payment_of(purchase), Payment)
    assert isinstance(Ledger.of([purchase], await place.store.books()), Ledger)
    today = place.world.network.today
    assert [lot.tickets for lot in lots_of(await place.store.books(), ENTRY, today)] == [47]
    assert lots_of(await place.store.books(), TicketType.MIXNET_EXIT, today) == []
