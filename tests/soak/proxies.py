"""The proxy under test: in this process, or in one of its own whose memory can be told from ours."""

import argparse
import asyncio
import contextlib
import dataclasses
import json
import logging
import sys
from asyncio.subprocess import PIPE, Process
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import structlog

from bench.load import rss_megabytes
from nymgate import wiring
from nymgate.config_layers import load
from nymgate.daemon import Proxy

READY_SECONDS = 60


@contextlib.asynccontextmanager
async def proxy_on(network_file: Path, folder: Path, **flags: Any) -> AsyncIterator[Proxy]:
    """A proxy that is ready, profile `uncovered`; `flags` are settings by dotted key."""
    settings = {
        "network": str(network_file),
        "listen.mixed": ["127.0.0.1:0"],
        "mixnet.profile": "uncovered",
    }
    plan = wiring.make_plan(
        load(environ={"HOME": str(folder)}, flags=settings | flags).config, data_dir=folder
    )
    async with Proxy(plan) as proxy:
        async with asyncio.timeout(READY_SECONDS):
            await proxy.ready()
        yield proxy


def numbers(proxy: Proxy) -> dict[str, float]:
    assert proxy.connected is not None
    stats: dict[str, float] = dataclasses.asdict(proxy.connected.client.stats)
    return stats | {"open": proxy.server.open_connections}


def figures(stats: dict[str, float]) -> str:
    return (
        f"{stats['sent_real']:.0f} packets sent, {stats['sent_retransmissions']:.0f} of them again, "
        f"{stats['packets_lost']:.0f} given up, {stats['replies_received']:.0f} replies"
    )


class ProxyProcess:
    """A proxy in a process of its own."""

    def __init__(self, process: Process, port: int) -> None:
        self._process = process
        self.port = port

    @property
    def rss(self) -> float:
        """Memory in MB."""
        megabytes = rss_megabytes(self._process.pid)
        assert megabytes > 0, "the proxy is gone"
        return megabytes

    async def stats(self) -> dict[str, float]:
        assert self._process.stdin is not None
        self._process.stdin.write(b"stats\n")
        return await self.line()

    async def line(self) -> dict[str, Any]:
        assert self._process.stdout is not None
        async with asyncio.timeout(READY_SECONDS):
            line = await self._process.stdout.readline()
        assert line, "the proxy is gone; its errors are on standard error"
        answer: dict[str, Any] = json.loads(line)
        return answer


@contextlib.asynccontextmanager
async def proxy_process(network_file: Path, folder: Path, **flags: Any) -> AsyncIterator[ProxyProcess]:
    """The same as `proxy_on` in another process."""
    folder.mkdir(parents=True, exist_ok=True)
    command = [sys.executable, "-m", __name__, str(network_file), str(folder), json.dumps(flags)]
    process = await asyncio.create_subprocess_exec(*command, stdin=PIPE, stdout=PIPE)
    try:
        proxy = ProxyProcess(process, 0)
        proxy.port = (await proxy.line())["port"]
        yield proxy
    finally:
        assert process.stdin is not None
        process.stdin.close()
        try:
            async with asyncio.timeout(30):
                await process.wait()
        except TimeoutError:
            process.kill()
            await process.wait()


async def _serve(arguments: argparse.Namespace) -> None:
    flags = json.loads(arguments.flags)
    async with proxy_on(arguments.network_file, arguments.folder, **flags) as proxy:
        print(json.dumps({"port": proxy.addresses[0][1]}), flush=True)
        while await asyncio.to_thread(sys.stdin.readline):
            print(json.dumps(numbers(proxy)), flush=True)


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("network_file", type=Path)
    parser.add_argument("folder", type=Path)
    parser.add_argument("flags")
    structlog.configure(
        wrapper_class=structlog.make_filtering_bound_logger(logging.WARNING),
        logger_factory=structlog.PrintLoggerFactory(sys.stderr),
    )
    asyncio.run(_serve(parser.parse_args()))


if __name__ == "__main__":
    main()
