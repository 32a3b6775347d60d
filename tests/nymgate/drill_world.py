"""What breaks a running proxy's surroundings, for drills of health and of alerts."""

import contextlib
import os
import signal
import time
import types

from nym_credentials.store.records import Settlement
from nym_localnet import Localnet, LocalnetOptions, Mode, PaymentOptions
from nym_mixnet import topology_io
from nymgate.watch import watch_io
from tests.nymgate.paid_world import BLOCK_SECONDS, account_with, buy, until
from tests.nymgate.watched_world import snapshot_of, watched, watched_plan
from zknym import TicketType

PROCESSES = 8
"""One for each mix node and gateway, so that one can be stopped alone."""


@contextlib.asynccontextmanager
async def network(**options):
    settings = {"mode": Mode.PROCESSES, "gateways": 2, "exits": 1, "workers": PROCESSES}
    async with Localnet(LocalnetOptions(**settings | options)) as net:
        yield net


def well(status, body):
    """All that there is was looked at and is well."""
    return status == 200 and body["state"] == "ok" and body["layers"][6]["state"] == "ok"


@contextlib.contextmanager
def frozen(handle):
    """The node's process does nothing at all, with its connections open."""
    pid = handle._host.pid
    os.kill(pid, signal.SIGSTOP)
    try:
        yield
    finally:
        os.kill(pid, signal.SIGCONT)


@contextlib.contextmanager
def stalled(handle):
    handle.stall = True
    try:
        yield
    finally:
        handle.stall = False


@contextlib.asynccontextmanager
async def paying(folder, *, nym, **flags):
    """A paying network, and a proxy that has a book in hand and wants a second one at once."""
    payment = PaymentOptions(block_seconds=BLOCK_SECONDS, ticket_retry_seconds=0.5)
    async with network(pay=True, payment=payment) as net:
        settings = {"tickets.top_up": True, "tickets.low_water": "10", "tickets.high_water": "40"} | flags
        plan = watched_plan(net, folder, **settings)
        async with account_with(net, plan, nym) as money:
            await buy(money)
            address = (await money.wallet()).address
        async with watched(net, folder, **settings) as proxy:
            yield net, proxy, address


async def use_up(proxy, left=2):
    """All but so few tickets of the book in hand that another one is wanted at once: given up, as after a crash."""
    money = proxy.purse.money
    remaining = await money.store.remaining(TicketType.MIXNET_ENTRY, money.today)
    for _ in range(remaining - left):
        taken = await money.store.take(TicketType.MIXNET_ENTRY, money.today)
        await money.store.settle(taken, Settlement.UNKNOWN)
    proxy.purse.topup.poke()


async def bought(proxy):
    """Wait until the second book is there."""

    async def done():
        money = (await snapshot_of(proxy)).money
        return (money.topup.bought, money.purse.deposits) == (1, 2)

    await until(done)


@contextlib.contextmanager
def clock_ahead(monkeypatch):
    """For the proxy: the network, which is in this process as well, keeps the right time."""
    wrong = types.SimpleNamespace(time=lambda: time.time() + 90.0, monotonic=time.monotonic)
    with monkeypatch.context() as patch:
        patch.setattr(topology_io, "time", wrong)
        patch.setattr(watch_io, "time", wrong)
        yield


@contextlib.contextmanager
def no_quorum(net):
    """One signer of three is left, and two are needed."""
    for signer in net.payments.signers[1:]:
        signer.faults.down = True
    try:
        yield
    finally:
        for signer in net.payments.signers[1:]:
            signer.faults.down = False


def entry_of(net, proxy):
    """The node that the proxy entered by."""
    return next(
        handle
        for handle in net.nodes.values()
        if handle.name.startswith("gateway") and handle.plan.node_id == proxy.connected.entry.node_id
    )
