"""Headless Chromium with the proxy, in a network namespace in which everything it sends is written down."""

import asyncio
import contextlib
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from aiohttp import web

from nym_localnet import exit_targets_io
from nym_localnet.background_io import BackgroundLocalnet
from nym_localnet.options import LocalnetOptions
from nymgate import wiring
from nymgate.apps.pac import pac_file
from nymgate.apps.reachable import Reachable
from nymgate.config_layers import load
from nymgate.daemon import Proxy

INSIDE = Path(__file__).parent / "inside_browser.py"
HOST = "page.example"
"""No resolver knows it; the exit of the test does."""
ASSETS = 60

PAGE = """<!doctype html>
<title>page</title>
<link rel="dns-prefetch" href="//prefetched.example">
<link rel="preconnect" href="https://preconnected.example">
<link rel="icon" href="data:,">
<h1>A page with many assets</h1>
<script>
let loaded = 0, failed = [];
const asset = (name) => { loaded++; };
window.finished = false;
window.report = () => ({loaded, failed, socket: window.echoed, title: document.title});
addEventListener("load", async () => {
  const texts = await Promise.all([...Array(10).keys()].map(async (n) => {
    const answer = await fetch(`/fetched/${n}`);
    return (await answer.text()).length;
  }));
  loaded += texts.filter((length) => length === 20000).length;
  await new Promise((resolve) => {
    const socket = new WebSocket(`ws://${location.host}/ws`);
    socket.onopen = () => socket.send("over the mixnet");
    socket.onmessage = (event) => { window.echoed = event.data; socket.close(); resolve(); };
    socket.onerror = () => { failed.push("websocket"); resolve(); };
  });
  try { await fetch("http://elsewhere.example/"); } catch (error) { failed.push("elsewhere"); }
  window.finished = true;
});
</script>
IMAGES
"""
SVG = '<svg xmlns="http://www.w3.org/2000/svg" width="8" height="8"><!--%s--></svg>' % ("x" * 3000)


@contextlib.asynccontextmanager
async def page_site(asked):
    images = "".join(
        f'<img src="/image/{n}.svg" onload="asset()" onerror="failed.push(this.src)">' for n in range(ASSETS)
    )

    async def page(_request):
        return web.Response(text=PAGE.replace("IMAGES", images), content_type="text/html")

    async def image(request):
        asked.append(request.path)
        return web.Response(text=SVG, content_type="image/svg+xml")

    async def fetched(request):
        asked.append(request.path)
        return web.Response(text="y" * 20_000)

    async def echo(request):
        socket = web.WebSocketResponse()
        await socket.prepare(request)
        async for message in socket:
            await socket.send_str(message.data)
        return socket

    site = web.Application()
    site.add_routes(
        [
            web.get("/", page),
            web.get("/image/{name}", image),
            web.get("/fetched/{name}", fetched),
            web.get("/ws", echo),
        ]
    )
    runner = web.AppRunner(site, access_log=None)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    try:
        yield runner.addresses[0][1]
    finally:
        await runner.cleanup()


@pytest.fixture
def network(monkeypatch):
    """A local network whose exit alone knows the name of the page."""
    resolve = exit_targets_io._resolve

    async def known_here(host, port):
        return await resolve("127.0.0.1" if host == HOST else host, port)

    monkeypatch.setattr(exit_targets_io, "_resolve", known_here)
    with BackgroundLocalnet(LocalnetOptions()) as background:
        yield background


def program(name):
    return shutil.which(name) or pytest.fail(f"{name} is needed by this test")


@pytest.mark.slow
@pytest.mark.parametrize("how", ["proxy-server", "http-proxy-server", "pac"])
async def test_chromium_connects_to_the_proxy_and_to_nothing_else(network, tmp_path, how):
    if os.geteuid() != 0:
        pytest.skip("only root can listen to a namespace")
    flags = {
        "network": str(network.net.data_dir / "localnet.toml"),
        "listen.mixed": ["127.0.0.1:0"],
        "listen.metrics": "",
        "listen.web": "",
        "mixnet.profile": "uncovered",
    }
    config = load(environ={"HOME": str(tmp_path)}, flags=flags).config
    asked = []
    async with (
        page_site(asked) as site,
        Proxy(wiring.make_plan(config, tmp_path / "data")) as proxy,
        asyncio.timeout(110),
    ):
        await proxy.ready()
        port = proxy.addresses[0][1]
        scheme = "http" if how == "http-proxy-server" else "socks5"
        order = {
            "chromium": program("chromium"),
            "url": f"http://{HOST}:{site}/",
            "server": f"{scheme}://127.0.0.1:{port}",
            "pac": pac_file(Reachable.of(proxy.addresses, [], [])) if how == "pac" else None,
            "seconds": 90,
        }
        kept = {name: value for name, value in os.environ.items() if not name.startswith("NYMGATE_")}
        command = [
            sys.executable,
            "-c",
            "from nymgate.cli import main; main()",
            "exec",
            "--strict",
            "--listen",
        ]
        process = await asyncio.create_subprocess_exec(
            *command,
            f"127.0.0.1:{port}",
            "--",
            sys.executable,
            str(INSIDE),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            env=kept | {"HOME": str(tmp_path), "XDG_CONFIG_HOME": str(tmp_path)},
        )
        output, errors = await process.communicate(json.dumps(order).encode())
        assert process.returncode == 0, errors.decode()
    report = json.loads(output)

    page = report["page"]
    assert page["title"] == "page"
    assert page["loaded"] == ASSETS + 10
    assert page["failed"] == ["elsewhere"], "a name that nobody knows"
    assert page["socket"] == "over the mixnet"
    assert len(set(asked)) == ASSETS + 10

    mine = {("tcp", "127.0.0.1", number) for number in (port, *report["allowed"])}
    opened = {tuple(entry) for entry in report["opened"]}
    assert ("tcp", "127.0.0.1", port) in opened
    assert opened <= mine, "every packet of the namespace was looked at"
    loopback = {"127.0.0.1", "::ffff:127.0.0.1"}
    assert report["remotes"]
    assert {address for address, _port in report["remotes"]} <= loopback
    assert report["names"] == []

    control = {tuple(entry) for entry in report["control_opened"]}
    assert ("tcp", "198.51.100.7", 81) in control, "a direct connection would have been seen"
    assert "control.example" in report["control_names"], "and a query as well"
