"""Our proxy through upstream's nodes and exit. Run inside a namespace: `python -m tests.interop.scenario_nodes`.

Prints one JSON object with what was seen; the test next to it judges.
"""

from __future__ import annotations

import asyncio
import json
import os
import socket
import sys
import tempfile
import time
from contextlib import AsyncExitStack
from pathlib import Path

from bench import load
from tests.interop.running import free_port, nymgate
from tests.interop.upstream import NODE_VARIABLE, UpstreamNetwork


async def socks_reply(proxy: int, host: str, port: int) -> tuple[int, float]:
    """The reply code to a CONNECT and how long it took."""
    started = time.monotonic()
    reader, writer = await asyncio.open_connection("127.0.0.1", proxy)
    try:
        async with asyncio.timeout(60):
            writer.write(b"\x05\x01\x00")
            await reader.readexactly(2)
            name = host.encode()
            writer.write(b"\x05\x01\x00\x03" + bytes((len(name),)) + name + port.to_bytes(2, "big"))
            reply = await reader.readexactly(10)
        return reply[1], time.monotonic() - started
    finally:
        writer.close()


async def connect_by_address(proxy: int, kind: int, address: bytes, port: int) -> int:
    reader, writer = await asyncio.open_connection("127.0.0.1", proxy)
    try:
        async with asyncio.timeout(60):
            writer.write(b"\x05\x01\x00")
            await reader.readexactly(2)
            writer.write(b"\x05\x01\x00" + bytes((kind,)) + address + port.to_bytes(2, "big"))
            return (await reader.readexactly(10))[1]
    finally:
        writer.close()


async def main(profile: str) -> None:
    async with AsyncExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        net = await stack.enter_async_context(
            UpstreamNetwork(Path(os.environ[NODE_VARIABLE]), folder / "net")
        )
        server = await stack.enter_async_context(load.http_server())
        proxy, process = await stack.enter_async_context(
            nymgate(folder / "ours", nym_api=net.nym_api_url, exit_address=net.exit_address, profile=profile)
        )
        report: dict[str, object] = {}
        report["small_seconds"] = await load.fetch(proxy, server, 1000)
        report["download_rate"] = await load.download_rate(proxy, server, 1_000_000)
        report["upload_rate"] = await load.upload_rate(proxy, server, 300_000)
        report["at_once_seconds"] = await load.at_once_median(proxy, server)
        report["by_ipv4"] = await connect_by_address(proxy, 1, socket.inet_aton("127.0.0.1"), server)
        report["denied"], report["denied_seconds"] = await socks_reply(proxy, "127.0.0.1", 25)
        report["closed"], report["closed_seconds"] = await socks_reply(proxy, "127.0.0.1", free_port())
        report["unresolvable"], _ = await socks_reply(proxy, "no-such-host.invalid", 80)
        report["alive"] = process.returncode is None
        print(json.dumps(report))


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1]))
