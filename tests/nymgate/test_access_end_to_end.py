"""A shared proxy as its users meet it: curl, the whole path, a users file that changes, quotas after a restart."""

import asyncio
import contextlib
import os
import random
import shutil
import subprocess
import time

import pytest
from aiohttp import web

from nym_localnet.background_io import BackgroundLocalnet
from nym_localnet.options import LocalnetOptions, Mode
from nymgate import wiring
from nymgate.config_layers import load
from nymgate.daemon import Proxy
from tests.nymgate.users import user, users_file

CURL = shutil.which("curl")
BODY = random.Random(1).randbytes(300_000)


@pytest.fixture(scope="module")
def network():
    with BackgroundLocalnet(LocalnetOptions(mode=Mode.PROCESSES)) as background:
        yield background


def config_for(network, folder, **flags):
    settings = {
        "network": str(network.net.data_dir / "localnet.toml"),
        "listen.mixed": ["127.0.0.1:0", f"unix:{folder}/proxy.sock"],
        "mixnet.profile": "uncovered",
        "isolation.by": [],
        "access.users_file": str(folder / "users"),
    }
    return load(environ={"HOME": str(folder)}, flags=settings | flags).config


@contextlib.asynccontextmanager
async def proxy_on(config, folder):
    async with Proxy(wiring.make_plan(config, folder)) as proxy, asyncio.timeout(90):
        await proxy.ready()
        yield proxy


@contextlib.asynccontextmanager
async def website():
    async def body(_request):
        return web.Response(body=BODY)

    site = web.Application()
    site.add_routes([web.get("/", body)])
    runner = web.AppRunner(site, access_log=None)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    try:
        yield f"http://127.0.0.1:{runner.addresses[0][1]}/"
    finally:
        await runner.cleanup()


async def curl(url, *options):
    """Exit code, HTTP status of the proxy's CONNECT or of the answer, bytes of the body, what curl complains of."""
    if CURL is None:
        pytest.fail("curl is needed: the README says so")
    process = await asyncio.create_subprocess_exec(
        *(CURL, "--disable", "-sS", "--noproxy", "", "--max-time", "50"),
        *("-w", "%{stderr}%{http_connect} %{http_code}", *options, url),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env={"PATH": os.environ["PATH"]},
    )
    output, errors = await process.communicate()
    return process.returncode, output, errors.decode()


@pytest.mark.slow
async def test_users_share_a_proxy(network, tmp_path):
    users_file(tmp_path, alice="sesame", bob="barley")
    config = config_for(network, tmp_path)
    async with website() as url, proxy_on(config, tmp_path) as proxy:
        at = f"127.0.0.1:{proxy.addresses[0][1]}"
        ways = {
            "socks5h": ("--proxy", f"socks5h://{at}", "--proxy-user", "alice+mail:sesame"),
            "http": ("--proxy", f"http://{at}", "--proxy-user", "bob:barley"),
            "tunnel": ("--proxy", f"http://{at}", "--proxytunnel", "--proxy-user", "bob:barley"),
            "any": ("--proxy", f"http://{at}", "--proxy-anyauth", "--proxy-user", "bob:barley"),
            "unix": ("--proxy", f"socks5h://localhost{tmp_path}/proxy.sock", "--proxy-user", "alice:sesame"),
        }
        for name, options in ways.items():
            code, output, said = await curl(url, *options)
            assert (code, output == BODY) == (0, True), (name, said)
        code, _output, said = await curl(url, "--proxy", f"socks5h://{at}", "--proxy-user", "alice:wrong")
        assert code == 97, "User was rejected by the SOCKS5 server"
        assert "rejected" in said
        code, output, said = await curl(url, "--proxy", f"http://{at}", "--proxy-user", "alice:wrong")
        assert (code, said.split()[-1]) == (0, "407")
        assert b"E_AUTH_FAILED" in output
        assert (await curl(url, "--proxy", f"socks4a://{at}"))[0] == 97
        # The file changes: one user is gone, another has used up what he may.
        path = users_file(tmp_path, alice="sesame")
        path.write_text(
            path.read_text().replace("alice", "carol") + f"bob:{user('bob', 'barley').password} per_day=1kB\n"
        )
        proxy.reload(config)
        assert (await curl(url, *ways["socks5h"]))[0] == 97
        code, output, said = await curl(url, *ways["http"])
        assert said.split()[-1] == "429", said
        assert b"E_QUOTA" in output
        day, month = proxy.server.gate.usage.used("bob", time.time())
        assert 3 * len(BODY) < day <= month < 4 * len(BODY)
    async with website() as url, proxy_on(config, tmp_path) as proxy:
        options = ("--proxy", f"http://127.0.0.1:{proxy.addresses[0][1]}", "--proxy-user", "bob:barley")
        assert (await curl(url, *options))[2].split()[-1] == "429", "a restart gives nothing back"
    assert not (tmp_path / "proxy.sock").exists()


@pytest.mark.slow
async def test_rules_hold_on_the_whole_path_and_change_with_a_reload(network, tmp_path):
    def configured(**flags):
        return config_for(network, tmp_path, **{"access.users_file": ""} | flags)

    async with website() as url, proxy_on(configured(), tmp_path) as proxy:
        options = ("--proxy", f"http://127.0.0.1:{proxy.addresses[0][1]}")
        code, output, _said = await curl(url, *options)
        assert (code, output == BODY) == (0, True), "a local network has its sites on loopback"
        opened = proxy.server.stats.accepted
        for rules in (
            {"rules.private": "refuse"},
            {"rules.deny": ["127.0.0.0/8"]},
            {"rules.allow": ["*.example"]},
        ):
            changes = proxy.reload(configured(**rules))
            assert set(rules) <= set(changes.applied)
            code, output, said = await curl(url, *options)
            assert (code, said.split()[-1]) == (0, "403")
            assert b"E_DESTINATION_RULE" in output
        assert proxy.server.stats.accepted == opened + 3
        proxy.reload(configured())
        assert (await curl(url, *options))[1] == BODY
