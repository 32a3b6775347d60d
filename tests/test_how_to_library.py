"""The programs of the page about the library run as they stand, but for the address of their web site."""

from __future__ import annotations

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

PAGE = Path(__file__).parent.parent / "docs" / "how-to" / "use-as-a-library.md"
PROGRAMS = re.findall(r"```python\n(.*?)```", PAGE.read_text(encoding="utf-8"), re.DOTALL)
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


@pytest.mark.slow
@pytest.mark.parametrize("program", PROGRAMS, ids=["open", "httpx", "aiohttp", "requests"])
def test_the_programs_of_the_page_about_the_library(program, network, port, tmp_path):
    here = program.replace("https://example.com/", f"http://localhost:{port}/")
    here = here.replace('"example.com", 80', f'"localhost", {port}')
    assert here != program
    kept = {name: value for name, value in os.environ.items() if not name.startswith("NYMGATE_")}
    settings = {
        "HOME": str(tmp_path),
        "NYMGATE_NETWORK": str(network.net.data_dir / "localnet.toml"),
        "NYMGATE_MIXNET__PROFILE": "uncovered",
        "XDG_CONFIG_HOME": str(tmp_path),
        "XDG_DATA_HOME": str(tmp_path),
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
