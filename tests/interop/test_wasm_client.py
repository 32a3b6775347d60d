"""Two of upstream's own clients, compiled to WebAssembly (from npm), exchange messages through our localnet."""

from __future__ import annotations

import asyncio
import json
import os
import shutil
import subprocess
from pathlib import Path

import pytest

from nym_localnet import Localnet, LocalnetOptions
from nym_sphinx import b58encode

pytestmark = [pytest.mark.interop, pytest.mark.timeout(400)]
FOLDER = Path(__file__).parent / "wasm"


@pytest.fixture(scope="module")
def upstream_clients() -> Path:
    """The npm packages, installed from the lock file."""
    if shutil.which("node") is None or shutil.which("npm") is None:
        pytest.skip("Node and npm are not installed")
    subprocess.run(["npm", "ci", "--silent"], cwd=FOLDER, check=True, timeout=300)
    return FOLDER / "exchange.cjs"


async def test_two_wasm_clients_exchange_a_plain_and_an_anonymous_message(upstream_clients):
    async with Localnet(LocalnetOptions(mode="processes")) as net:
        gateways = [b58encode(gateway.identity) for gateway in net.topology.entry_gateways()]
        process = await asyncio.create_subprocess_exec(
            "node",
            str(upstream_clients),
            net.nym_api_url,
            gateways[0],
            gateways[-1],
            cwd=FOLDER,
            env={"PATH": os.environ["PATH"], "HOME": os.environ.get("HOME", "/")},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
        )
        output, errors = await process.communicate()
    assert process.returncode == 0, (output[-1500:] + errors[-1500:]).decode(errors="replace")
    report = json.loads(output.decode().strip().splitlines()[-1])
    assert report == {"plainIntact": True, "question": "who is there?", "tagged": True, "answer": "somebody"}
