"""Fault drills: something breaks, `/readyz` names it within 30 s, and is well again by itself after the repair."""

import asyncio
import contextlib
import re

import aiohttp
import pytest

from nymgate.cli import status as status_command
from nymgate.errors import Reply
from tests.nymgate.drill_world import (
    bought,
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
from tests.nymgate.socks_client import through
from tests.nymgate.test_topup_run import echo
from tests.nymgate.watched_world import get, readyz, snapshot_of, until_health, watched

pytestmark = [pytest.mark.timeout(300), pytest.mark.slow]

NAMED_WITHIN_SECONDS = 30.0 * 1.5
"""30 s are promised, of a machine that does nothing else."""
MENDED_WITHIN_SECONDS = 90.0


def names(layer, *, ready, code=None):
    def check(status, body):
        wanted = (200 if ready else 503, layer, ready)
        return (status, body["layer"], body["ready"]) == wanted and code in (None, body["code"])

    return check


async def works(proxy, port):
    async with through(proxy.addresses[0][1], "127.0.0.1", port) as (reader, writer, reply):
        if reply != Reply.SUCCEEDED:
            return False
        writer.write(b"there and back")
        return await reader.readexactly(14) == b"there and back"


async def drill(proxy, broken, *, layer, ready, code=None):
    """Break, see it named, repair, see it gone. `broken` is a context manager."""
    await until_health(proxy, well)
    with broken:
        body, _ = await until_health(proxy, names(layer, ready=ready, code=code), NAMED_WITHIN_SECONDS)
        assert body["what"].endswith(".")
        assert body["todo"]
        assert body["code"].startswith("E_")
        metrics = (await get(proxy, "/metrics"))[1]
        assert (
            f'nymgate_layer_state{{layer="{layer}",state="{"degraded" if ready else "failing"}"}} 1.0'
            in metrics
        )
        assert f"nymgate_ready {float(ready)}" in metrics
        status = await asyncio.to_thread(status_command.ask, proxy.plan.folder)
        assert (status.layer, status.ready) == (layer, ready)
        assert status.sentence.startswith(f"{'degraded' if ready else 'not ready'}: {layer}: ")
        async with aiohttp.ClientSession() as session, session.get(proxy.watch.web.url) as page:
            assert f"<strong>{layer}</strong> is {'degraded' if ready else 'failing'}" in await page.text()
    await until_health(proxy, well, MENDED_WITHIN_SECONDS)
    return body


async def test_the_entry_gateway_hangs(tmp_path):
    async with network() as net, echo() as port, watched(net, tmp_path) as proxy:
        await drill(proxy, frozen(entry_of(net, proxy)), layer="gateway", ready=False, code="E_GATEWAY")
        assert await works(proxy, port)


async def test_a_mix_layer_is_gone(tmp_path):
    async with network() as net, watched(net, tmp_path) as proxy:
        # As far as packets go: whatever comes to the first layer is lost.
        mixes = [handle for handle in net.nodes.values() if handle.name.startswith("mix")]

        @contextlib.contextmanager
        def lossy():
            for handle in mixes:
                handle.loss = 1.0
            try:
                yield
            finally:
                for handle in mixes:
                    handle.loss = 0.0

        await drill(proxy, lossy(), layer="mixnet", ready=False, code="E_MIXNET")


@pytest.mark.parametrize("named", [True, False])
async def test_the_exit_is_dead(tmp_path, named):
    async with network() as net, echo() as port:
        flags = {"mixnet.exit": net.exit_address} if named else {}
        async with watched(net, tmp_path, **flags) as proxy:
            await drill(proxy, stalled(net.nodes["exit1"]), layer="exit", ready=False)
            assert await works(proxy, port)


async def test_the_funds_are_gone_and_come_back(tmp_path):
    async with paying(tmp_path, nym=100) as (net, proxy, address), echo() as port:
        await until_health(proxy, well)
        await use_up(proxy)
        body, _ = await until_health(
            proxy, names("wallet", ready=True, code="E_WALLET_FUNDS"), NAMED_WITHIN_SECONDS
        )
        assert body["state"] == "degraded"
        assert await works(proxy, port), "with the tickets that are there"
        seen = await snapshot_of(proxy)
        assert seen.money.topup.supply == "degraded"
        assert seen.money.purse.tickets["v1-mixnet-entry"].remaining == 2
        assert seen.money.purse.tickets["v1-mixnet-entry"].given_up >= 40
        await net.payments.fund(address, 200 * NYM)
        assert address not in body["what"], "whose account it is, is nobody's business"
        await bought(proxy)
        await until_health(proxy, well, MENDED_WITHIN_SECONDS)
        assert (await snapshot_of(proxy)).money.topup.hindrance is None


async def test_the_quorum_of_signers_is_lost_and_comes_back(tmp_path):
    async with paying(tmp_path, nym=1000) as (net, proxy, _address), echo() as port:
        await until_health(proxy, well)
        with no_quorum(net):
            await use_up(proxy)
            body, _ = await until_health(
                proxy, names("signers", ready=True, code="E_SIGNERS"), NAMED_WITHIN_SECONDS
            )
            assert body["state"] == "degraded"
            assert await works(proxy, port), "with the tickets that are there"
            failures = (await snapshot_of(proxy)).money.topup.signer_errors
            assert len(failures) == 2
            assert "nymgate_signer_errors_total{signer=" in (await get(proxy, "/metrics"))[1]
        await bought(proxy)
        await until_health(proxy, well, MENDED_WITHIN_SECONDS)


async def test_the_clock_is_wrong_and_set_right(tmp_path, monkeypatch):
    async with paying(tmp_path, nym=1000) as (_net, proxy, _address):
        broken = clock_ahead(monkeypatch)
        body = await drill(proxy, broken, layer="tickets", ready=True, code="E_CLOCK_SKEWED")
        assert re.search(r"(89|90) s ahead", body["what"])
        assert (await readyz(proxy))[0] == 200
