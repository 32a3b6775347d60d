"""Upstream's `nym-socks5-client` through our localnet: `python -m tests.interop.scenario_client` in a namespace."""

from __future__ import annotations

import asyncio
import json
import os
import sys
import tempfile
from contextlib import AsyncExitStack
from pathlib import Path

from bench import load
from nym_localnet import Localnet, LocalnetOptions
from nym_localnet.folder import NETWORK_ENV
from tests.interop.running import free_port
from tests.interop.upstream import SOCKS_CLIENT_VARIABLE, UpstreamSocksClient


async def main(replies: str) -> None:
    async with AsyncExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        net = await stack.enter_async_context(Localnet(LocalnetOptions(mode="processes")))
        server = await stack.enter_async_context(load.http_server())
        client = await stack.enter_async_context(
            UpstreamSocksClient(
                Path(os.environ[SOCKS_CLIENT_VARIABLE]),
                folder / "theirs",
                nym_api=net.nym_api_url,
                provider=str(net.exit_address),
                port=free_port(),
                anonymous=replies == "anonymous",
                environment_file=net.data_dir / NETWORK_ENV if replies == "anonymous" else None,
            )
        )
        report: dict[str, object] = {}
        report["small_seconds"] = await load.fetch(client.port, server, 1000)
        report["download_rate"] = await load.download_rate(client.port, server, 1_000_000)
        report["upload_rate"] = await load.upload_rate(client.port, server, 300_000)
        report["at_once_seconds"] = await load.at_once_median(client.port, server, 10)
        assert client.process is not None
        report["alive"] = client.process.returncode is None
        report["errors"] = client.errors()
        print(json.dumps(report))


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1]))
