"""kill -9 at every persistence point, then a restart: no deposit is lost, and nothing is paid twice.

The buyer dies in a process of its own; chain and signers live on. docs/protocol/08 §7.
"""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path

import pytest

from nym_credentials.purchase.states import PurchaseState
from nym_credentials.purchase.steps import PERSISTENCE_POINTS, Point
from tests.credentials.purchase.dying_buyer import DEATH
from tests.credentials.purchase.stores import KINDS, open_store, usable_books
from tests.credentials.purchase.world import PurchaseWorld, make_buyer
from zknym import TicketType

ENTRY = TicketType.MIXNET_ENTRY
ROOT = Path(__file__).parents[3]
TWICE = (Point.SHARE_RECEIVED, Point.SHARE_STORED)
"""Reached once per share, of which a book takes two."""
DEATHS = [(point, 1) for point in PERSISTENCE_POINTS] + [(point, 2) for point in TWICE]
OFTEN = [(Point.PREPARED, 1), (Point.SENT, 1), (Point.SHARE_STORED, 1), (Point.ISSUED, 1)]
BEFORE_SIGNING = (Point.PLANNED, Point.GLOBAL_DATA, Point.QUORUM, Point.PREPARED)
AFTER_PAYMENT = PERSISTENCE_POINTS[PERSISTENCE_POINTS.index(Point.SENT) :]


async def die(
    world: PurchaseWorld, kind: str, point: Point, occurrence: int = 1, action: str = "buy"
) -> None:
    """A process that is killed there."""
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        "-m",
        "tests.credentials.purchase.dying_buyer",
        action,
        kind,
        str(world.folder),
        world.chain_url,
        str(world.network.now),
        point.value,
        str(occurrence),
        cwd=ROOT,
        stderr=asyncio.subprocess.PIPE,
    )
    _, errors = await process.communicate()
    assert process.returncode == DEATH, f"it did not come to {point}: {errors.decode()[-2000:]}"


async def check_accounts(world: PurchaseWorld, kind: str) -> None:
    """Chain, signers and store agree: one deposit, one book, one request."""
    now = world.network.now
    assert await usable_books(kind, world.folder, now) == [ENTRY]
    assert len(world.network.deposits) == 1
    assert world.chain.balance == 1_000_000_000 - 75_000_000 - 4_000
    for signer in world.signers:
        assert all(len(requests) == 1 for requests in signer.seen.values())
    async with open_store(kind, world.folder, now) as store:
        assert not await store.unfinished_purchases()
        states = [purchase.state for purchase in await store.purchases()]
    assert states.count(PurchaseState.ISSUED) == 1
    assert set(states) <= {PurchaseState.ISSUED, PurchaseState.FAILED}


# Those that matter most are always tried, the others in `make check`.
@pytest.mark.parametrize(
    "kind", [kind if kind == "sqlite" else pytest.param(kind, marks=pytest.mark.slow) for kind in KINDS]
)
@pytest.mark.parametrize(
    "point, occurrence",
    [death if death in OFTEN else pytest.param(*death, marks=pytest.mark.slow) for death in DEATHS],
    ids=lambda value: str(value),
)
async def test_death_and_restart(world, kind, point, occurrence):
    await die(world, kind, point, occurrence)
    paid = len(world.network.deposits)
    assert paid == (point in AFTER_PAYMENT)
    async with open_store(kind, world.folder, world.network.now) as store:
        buyer = make_buyer(store, world.chain_url, lambda: world.network.now)
        resumed = await buyer.resume()
        assert all(item.error is None for item in resumed)
        # What was agreed to and signed is gone on with; what was not is dropped, and costs nothing.
        assert len(world.network.deposits) == (0 if point in BEFORE_SIGNING else 1)
        if point in BEFORE_SIGNING:
            await buyer.buy(ENTRY)
    await check_accounts(world, kind)


@pytest.mark.slow
@pytest.mark.parametrize("point, occurrence", DEATHS, ids=lambda value: str(value))
async def test_the_same_command_again_does_not_pay_twice(world, point, occurrence):
    await die(world, "file", point, occurrence)
    if point is not Point.ISSUED:
        await world.buyer().buy(ENTRY)
    await check_accounts(world, "file")


@pytest.mark.slow
async def test_dying_at_every_resumption(world):
    """Each start gets one step further and dies again."""
    await die(world, "file", Point.SIGNED)
    for point in PERSISTENCE_POINTS[PERSISTENCE_POINTS.index(Point.SENDING) :]:
        await die(world, "file", point, action="resume")
        if point is Point.SENT:
            # The next start finds the deposit on the chain: it does not send again.
            assert len(world.chain.submissions) == 1
    await check_accounts(world, "file")
