"""A configuration that is reread while streams are open: what takes effect, what waits, what is refused."""

import asyncio
import contextlib
import signal
import subprocess

import pytest
from aiohttp import web

from nym_localnet.background_io import BackgroundLocalnet
from nymgate import wiring
from nymgate.config_layers import load, settings, value_at
from nymgate.daemon import Proxy
from nymgate.errors import ConfigError
from nymgate.reload import LIVE, LIVE_TABLES, changed, compare, is_live, merge
from tests.nymgate.running import running


@pytest.fixture(scope="module")
def network():
    with BackgroundLocalnet() as background:
        yield background


def configuration(**flags):
    return load(environ={"HOME": "/nowhere"}, flags=flags).config


def test_every_live_key_is_a_key():
    assert set(settings()) >= LIVE
    assert {key.partition(".")[0] for key in settings()} >= set(LIVE_TABLES)
    assert not is_live("listen.mixed")
    assert not is_live("data_dir")


def test_live_values_are_taken_over_and_others_wait():
    old = configuration(**{"streams.limit": 5, "mixnet.profile": "fast", "network": "mainnet"})
    new = configuration(**{"streams.limit": 6, "mixnet.profile": "thrifty", "budget.per_day": "3NYM"})
    changes = compare(old, new)
    assert changes.applied == ("budget.per_day", "streams.limit")
    assert changes.waiting == ("mixnet.profile",)
    merged = merge(old, new)
    assert merged.streams.limit == 6
    assert merged.mixnet.profile == "fast"
    assert not compare(merged, changed(new, {"mixnet.profile": "fast"}))
    assert [value_at(merged, key) for key in changes.applied] == [
        value_at(new, key) for key in changes.applied
    ]


@contextlib.asynccontextmanager
async def site():
    """Yields a port, the event that lets `/slow` end, and the requests for it so far."""
    release, requests = asyncio.Event(), []

    async def slow(request):
        requests.append(request)
        response = web.StreamResponse()
        await response.prepare(request)
        await response.write(bytes(100_000))
        await release.wait()
        await response.write(bytes(100_000))
        return response

    app = web.Application()
    app.add_routes([web.get("/slow", slow)])
    runner = web.AppRunner(app, access_log=None)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    try:
        yield runner.addresses[0][1], release, requests
    finally:
        release.set()
        await runner.cleanup()


async def until(condition):
    async with asyncio.timeout(60):
        while not condition():  # noqa: ASYNC110 - states, not events
            await asyncio.sleep(0.02)


async def download(proxy_port, port):
    """curl of the slow page: exit code, length, errors."""
    process = await asyncio.create_subprocess_exec(
        *("curl", "--disable", "-sS", "--noproxy", "", "--max-time", "100"),
        *("--socks5-hostname", f"127.0.0.1:{proxy_port}", f"http://127.0.0.1:{port}/slow"),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )
    output, errors = await process.communicate()
    return process.returncode, len(output), errors.decode()


@pytest.mark.slow
async def test_a_download_survives_and_the_new_settings_are_in_force(network, tmp_path):
    file = tmp_path / "nymgate.toml"

    def write(limit, profile="uncovered", more=""):
        file.write_text(
            f'network = "{network.net.data_dir / "localnet.toml"}"\n[listen]\nmixed = ["127.0.0.1:0"]\nmetrics = ""\n'
            f'[mixnet]\nprofile = "{profile}"\n[streams]\nlimit = {limit}\n{more}'
        )

    write(100)
    async with (
        site() as (port, release, requests),
        running(tmp_path, "--config", str(file)) as run,
        asyncio.TaskGroup() as group,
    ):
        first = group.create_task(download(run.port, port))
        second = group.create_task(download(run.port, port))
        await until(lambda: len(requests) == 2)
        write(2, more="[admission]\nqueue = 0\n")
        async with asyncio.timeout(60):
            mark = len(run.lines)
            run.send(signal.SIGHUP)
            line = await run.says("reloaded", since=mark)
            assert "streams.limit" in line.string
            code, _length, errors = await download(run.port, port)
            assert (code, errors.rstrip()[-3:]) == (97, "(1)"), errors
        assert not first.done()
        write(1, more="[strems]\nx = 1\n")
        mark = len(run.lines)
        run.send(signal.SIGHUP)
        line = await run.says("reload.failed", since=mark)
        assert "streams" in line.string, "the nearest table is named"
        write(50, profile="fast", more="[log]\nlevel = 'debug'\n")
        mark = len(run.lines)
        run.send(signal.SIGHUP)
        line = await run.says("needs a restart", since=mark)
        assert "mixnet.profile" in line.string
        assert "streams.limit" not in line.string
        third = group.create_task(download(run.port, port))
        await until(lambda: len(requests) == 3)
        release.set()
        for task in (first, second, third):
            assert await task == (0, 200_000, "")
        run.send(signal.SIGTERM)
        assert await run.end() == 0


async def test_parts_take_their_values_and_wrong_ones_change_nothing(network, tmp_path):
    flags = {
        "network": str(network.net.data_dir / "localnet.toml"),
        "listen.mixed": ["127.0.0.1:0"],
        "mixnet.profile": "uncovered",
    }

    def of(**more):
        return load(environ={"HOME": str(tmp_path)}, flags=flags | more).config

    async with Proxy(wiring.make_plan(of(), tmp_path)) as proxy:
        await proxy.ready()
        assert not proxy.reload(of())
        proxy.reload(of(**{"mixnet.sleep_after": "100ms", "isolation.max_identities": 3, "streams.limit": 7}))
        assert proxy.server.options.limit == 7
        assert proxy.plan.config.isolation.max_identities == 3
        async with asyncio.timeout(60):
            while proxy.connected.sleeper.state.name != "ASLEEP":  # noqa: ASYNC110 - a state, not an event
                await asyncio.sleep(0.02)
        before = proxy.plan
        with pytest.raises(ConfigError):
            proxy.reload(of(**{"tickets.low_water": "50h", "tickets.high_water": "2h"}))
        assert proxy.plan is before
