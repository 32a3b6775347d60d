"""Fault drills with alerts: something breaks, a real Prometheus at the pace we ship names the layer within half a
minute, and the alert goes away by itself after the repair."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal

import pytest

from nym_credentials.store.records import Settlement
from nym_localnet import Localnet, LocalnetOptions, Mode, PaymentOptions
from tests.grafana.prometheus import watching
from tests.nymgate.paid_world import BLOCK_SECONDS, NYM, account_with, buy
from tests.nymgate.watched_world import until_health, watched, watched_plan
from zknym import TicketType

pytestmark = [pytest.mark.slow, pytest.mark.timeout(400)]

NAMED_WITHIN_SECONDS = 30.0
"""What is promised."""
MENDED_WITHIN_SECONDS = 120.0
PACE = "5s"
"""As in grafana/prometheus/prometheus.yaml."""
PROCESSES = 8
"""One for each node, so that one can be stopped alone."""


@contextlib.asynccontextmanager
async def network(**options):
    settings = {"mode": Mode.PROCESSES, "gateways": 2, "exits": 1, "workers": PROCESSES}
    async with Localnet(LocalnetOptions(**settings | options)) as net:
        yield net


def well(status, body):
    return status == 200 and body["state"] == "ok" and body["layers"][6]["state"] == "ok"


async def firing(prometheus):
    """(alert, layer) of all that fires about layers."""
    found = (await prometheus.get("alerts"))["alerts"]
    return {
        (alert["labels"]["alertname"], alert["labels"]["layer"])
        for alert in found
        if alert["state"] == "firing" and "layer" in alert["labels"]
    }


async def until_firing(prometheus, wanted, limit_seconds):
    seen = None
    try:
        async with asyncio.timeout(limit_seconds):
            while True:
                seen = await firing(prometheus)
                if wanted(seen):
                    return
                await asyncio.sleep(0.5)
    except TimeoutError:
        raise AssertionError(f"not in {limit_seconds:g} s; firing: {seen}") from None


async def drill(proxy, prometheus, broken, alert):
    """Break, hear of it, repair, hear no more of it."""
    await until_health(proxy, well)
    await until_firing(prometheus, lambda seen: not seen, MENDED_WITHIN_SECONDS)
    with broken:
        await until_firing(prometheus, lambda seen: alert in seen, NAMED_WITHIN_SECONDS)
    await until_firing(prometheus, lambda seen: not seen, MENDED_WITHIN_SECONDS)


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


async def use_up(proxy, left=2):
    """So few tickets are left that another book is wanted, which the account does not pay for."""
    money = proxy.purse.money
    for _ in range(await money.store.remaining(TicketType.MIXNET_ENTRY, money.today) - left):
        taken = await money.store.take(TicketType.MIXNET_ENTRY, money.today)
        await money.store.settle(taken, Settlement.UNKNOWN)
    proxy.purse.topup.poke()


async def test_a_gateway_that_hangs_and_an_exit_that_is_dead(tmp_path):
    async with (
        network() as net,
        watched(net, tmp_path / "data") as proxy,
        watching(tmp_path / "prometheus", proxy.watch.metrics, PACE) as prometheus,
    ):
        entry = proxy.connected.entry.node_id
        (gateway,) = [
            handle
            for handle in net.nodes.values()
            if handle.name.startswith("gateway") and handle.plan.node_id == entry
        ]
        await drill(proxy, prometheus, frozen(gateway), ("NymgateLayerFailing", "gateway"))
        await drill(proxy, prometheus, stalled(net.nodes["exit1"]), ("NymgateLayerFailing", "exit"))


async def test_an_account_without_funds(tmp_path):
    payment = PaymentOptions(block_seconds=BLOCK_SECONDS, ticket_retry_seconds=0.5)
    settings = {"tickets.low_water": "10", "tickets.high_water": "40"}
    async with network(pay=True, payment=payment) as net:
        async with account_with(net, watched_plan(net, tmp_path / "data", **settings), 100) as money:
            await buy(money)
            address = (await money.wallet()).address
        async with (
            watched(net, tmp_path / "data", **settings) as proxy,
            watching(tmp_path / "prometheus", proxy.watch.metrics, PACE) as prometheus,
        ):
            alert = ("NymgateLayerDegraded", "wallet")
            await use_up(proxy)
            await until_firing(prometheus, lambda seen: alert in seen, NAMED_WITHIN_SECONDS)
            await net.payments.fund(address, 200 * NYM)
            await until_firing(prometheus, lambda seen: not seen, MENDED_WITHIN_SECONDS)
