"""The proxy under test: in this process, or in one of its own whose memory can be told from ours."""

import argparse
import asyncio
import contextlib
import dataclasses
import json
import logging
import os
import sys
import time
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
PAUSE_SAMPLE_SECONDS = 0.02
PACKET_BYTES = 2_500
"""with less left of its allowance a link sends nothing"""


@contextlib.asynccontextmanager
async def proxy_on(network_file: Path, folder: Path, **flags: Any) -> AsyncIterator[Proxy]:
    """A proxy that is ready, profile `uncovered`; `flags` are settings by dotted key."""
    settings = {
        "network": str(network_file),
        "listen.mixed": ["127.0.0.1:0"],
        "listen.metrics": "",
        "listen.web": "",
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


async def money(proxy: Proxy) -> dict[str, Any]:
    """How it stands with what pays; empty where nothing does."""
    purse, connected = proxy.purse, proxy.connected
    if purse is None:
        return {}
    totals, link = await purse.money.store.totals(), connected.client.link_stats if connected else None
    return {
        "accepted": totals.accepted,
        "given_up": totals.given_up,
        "tickets": (await purse.stock()).tickets,
        "bought": purse.topup.status().bought,
        "supply": purse.supply().state.value,
        "claims": link.claims if link is not None else 0,
        "claims_failed": link.claims_failed if link is not None else 0,
        "allowance": link.remaining_bandwidth if link is not None else None,
    }


class Unpaid:
    """The longest time for which a gateway link could not send for want of a ticket, as its own count has it."""

    def __init__(self) -> None:
        self.longest = 0.0

    async def watch(self, proxy: Proxy) -> None:
        since: float | None = None
        while True:
            await asyncio.sleep(PAUSE_SAMPLE_SECONDS)
            connected, now = proxy.connected, time.monotonic()
            link = connected.client.link_stats if connected is not None else None
            left = link.remaining_bandwidth if link is not None else None
            if left is None or left >= PACKET_BYTES:
                since = None
                continue
            since = now if since is None else since
            self.longest = max(self.longest, now - since)


class Pauses:
    """The longest time for which this process's event loop did not come round."""

    def __init__(self) -> None:
        self.longest = 0.0

    async def watch(self) -> None:
        before = time.monotonic()
        while True:
            await asyncio.sleep(PAUSE_SAMPLE_SECONDS)
            now = time.monotonic()
            self.longest = max(self.longest, now - before - PAUSE_SAMPLE_SECONDS)
            before = now

    def taken(self) -> float:
        """Since this was asked last."""
        longest, self.longest = self.longest, 0.0
        return longest


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

    async def stats(self) -> dict[str, Any]:
        """What `numbers` and `money` say, the longest pause since the last time, open descriptors."""
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
            async with asyncio.timeout(60):
                await process.wait()
        except TimeoutError:
            process.kill()
            await process.wait()


async def _serve(arguments: argparse.Namespace) -> None:
    flags = json.loads(arguments.flags)
    async with proxy_on(arguments.network_file, arguments.folder, **flags) as proxy:
        print(json.dumps({"port": proxy.addresses[0][1]}), flush=True)
        pauses, unpaid = Pauses(), Unpaid()
        async with asyncio.TaskGroup() as tasks:
            watching = [tasks.create_task(pauses.watch()), tasks.create_task(unpaid.watch(proxy))]
            while await asyncio.to_thread(sys.stdin.readline):
                told = numbers(proxy) | await money(proxy)
                told |= {"pause": pauses.taken(), "unpaid": unpaid.longest}
                told |= {"descriptors": len(os.listdir("/proc/self/fd"))}
                print(json.dumps(told), flush=True)
            for task in watching:
                task.cancel()


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
