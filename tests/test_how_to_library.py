"""The programs of the pages about Python run as they stand, but for the addresses of web site and proxy."""

from __future__ import annotations

import asyncio
import os
import re
import subprocess
import sys
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from nym_localnet.background_io import BackgroundLocalnet
from nym_localnet.options import LocalnetOptions, Mode
from nymgate.apps.library_io import Gateway

PAGES = Path(__file__).parent.parent / "docs" / "how-to"


def programs(page):
    return re.findall(r"```python\n(.*?)```", (PAGES / page).read_text(encoding="utf-8"), re.DOTALL)


LIBRARY = programs("use-as-a-library.md")
CLIENTS = programs("requests-and-httpx.md")
HELLO = "hello through the mixnet"


class Site(BaseHTTPRequestHandler):
    def do_GET(self):
        self.send_response(200)
        self.end_headers()
        self.wfile.write(HELLO.encode())

    def log_message(self, *_arguments):
        pass


@pytest.fixture(scope="module")
def network():
    with BackgroundLocalnet(LocalnetOptions(mode=Mode.PROCESSES)) as background:
        yield background


@pytest.fixture(scope="module")
def port():
    with ThreadingHTTPServer(("127.0.0.1", 0), Site) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield server.server_port
        server.shutdown()
        thread.join()


@pytest.fixture(scope="module")
def proxy(network, tmp_path_factory):
    """Address of a `nymgate run` beside the tests."""
    folder = tmp_path_factory.mktemp("proxy")
    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever)
    thread.start()

    def do(work):
        return asyncio.run_coroutine_threadsafe(work, loop).result(100)

    settings = {"network": network.net.data_dir / "localnet.toml", "data_dir": folder, "profile": "uncovered"}
    gateway = Gateway(**settings)
    do(gateway.__aenter__())
    yield gateway.http_url.removeprefix("http://")
    do(gateway.__aexit__(None, None, None))
    loop.call_soon_threadsafe(loop.stop)
    thread.join()
    loop.close()


def run(program, port, **settings):
    here = program.replace("https://example.com/", f"http://localhost:{port}/")
    here = here.replace('"example.com", 80', f'"localhost", {port}')
    assert here != program
    kept = {
        name: value
        for name, value in os.environ.items()
        if not name.startswith("NYMGATE_") and not name.lower().endswith("_proxy")
    }
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", here],
        capture_output=True,
        text=True,
        env=kept | settings,
        timeout=100,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert HELLO in done.stdout


@pytest.mark.slow
@pytest.mark.parametrize("program", LIBRARY, ids=["open", "httpx", "aiohttp", "requests"])
def test_the_programs_of_the_page_about_the_library(program, network, port, tmp_path):
    run(
        program,
        port,
        HOME=str(tmp_path),
        NYMGATE_NETWORK=str(network.net.data_dir / "localnet.toml"),
        NYMGATE_MIXNET__PROFILE="uncovered",
        XDG_CONFIG_HOME=str(tmp_path),
        XDG_DATA_HOME=str(tmp_path),
    )


@pytest.mark.slow
@pytest.mark.parametrize("program", CLIENTS, ids=["requests", "httpx", "httpx-isolated", "aiohttp"])
def test_the_programs_of_the_page_about_clients(program, proxy, port):
    assert "127.0.0.1:1080" in program
    run(program.replace("127.0.0.1:1080", proxy), port)
