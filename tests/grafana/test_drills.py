"""Fault drills with alerts: something breaks, a real Prometheus at the pace we ship names the layer within half a
minute, and the alert goes away by itself after the repair."""

from __future__ import annotations

import asyncio

import pytest

from tests.grafana.prometheus import watching
from tests.nymgate.drill_world import (
    clock_ahead,
    entry_of,
    frozen,
    network,
    no_quorum,
    paying,
    stalled,
    use_up,
    well,
)
from tests.nymgate.paid_world import NYM
from tests.nymgate.watched_world import until_health, watched

pytestmark = [pytest.mark.slow, pytest.mark.timeout(400)]

NAMED_WITHIN_SECONDS = 30.0 * 1.5
"""30 s are promised, of a machine that does nothing else."""
MENDED_WITHIN_SECONDS = 120.0
PACE = "5s"
"""As in grafana/prometheus/prometheus.yaml."""


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


async def test_a_gateway_that_hangs_and_an_exit_that_is_dead(tmp_path):
    async with (
        network() as net,
        watched(net, tmp_path / "data") as proxy,
        watching(tmp_path / "prometheus", proxy.watch.metrics, PACE) as prometheus,
    ):
        await drill(proxy, prometheus, frozen(entry_of(net, proxy)), ("NymgateLayerFailing", "gateway"))
        await drill(proxy, prometheus, stalled(net.nodes["exit1"]), ("NymgateLayerFailing", "exit"))


async def test_an_account_without_funds(tmp_path):
    async with (
        paying(tmp_path / "data", nym=100) as (net, proxy, address),
        watching(tmp_path / "prometheus", proxy.watch.metrics, PACE) as prometheus,
    ):
        alert = ("NymgateLayerDegraded", "wallet")
        await use_up(proxy)
        await until_firing(prometheus, lambda seen: alert in seen, NAMED_WITHIN_SECONDS)
        await net.payments.fund(address, 200 * NYM)
        await until_firing(prometheus, lambda seen: not seen, MENDED_WITHIN_SECONDS)


async def test_a_lost_quorum_and_a_wrong_clock(tmp_path, monkeypatch):
    async with (
        paying(tmp_path / "data", nym=1000) as (net, proxy, _address),
        watching(tmp_path / "prometheus", proxy.watch.metrics, PACE) as prometheus,
    ):
        await drill(proxy, prometheus, clock_ahead(monkeypatch), ("NymgateLayerDegraded", "tickets"))
        await until_health(proxy, well)
        with no_quorum(net):
            await use_up(proxy)
            alert = ("NymgateLayerDegraded", "signers")
            await until_firing(prometheus, lambda seen: alert in seen, NAMED_WITHIN_SECONDS)
        await until_firing(prometheus, lambda seen: not seen, MENDED_WITHIN_SECONDS)
