"""Long transfers under faults (`make soak`). SOAK_SCALE=0.1 makes them a tenth as long.

Each case prints its figures. The proxy is a process of its own, so that its memory is its own.
"""

import asyncio
import os
import time
from collections.abc import AsyncIterator, Coroutine, Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from bench.load import http_server
from nym_localnet.background_io import BackgroundLocalnet
from nym_localnet.options import LocalnetOptions, Mode
from tests.soak.network import ENTRY, EXIT, EXIT_GATEWAY, LOSSY, counted, heal, network_file, node, restart
from tests.soak.proxies import ProxyProcess, figures, proxy_process
from tests.soak.transfers import Outcome, Progress, disturbed, download, until_whole, upload

pytestmark = pytest.mark.soak

SCALE = float(os.environ.get("SOAK_SCALE", "1"))
DOWNLOAD_BYTES = int(50_000_000 * SCALE)
UPLOAD_BYTES = int(10_000_000 * SCALE)
SLOWEST_RATE = 50_000
"""bytes per second; slower counts as a hang"""
SPARE_SECONDS = 60
ATTEMPTS = 3
"""a packet lost so often that its stream ended is a clean error: then the transfer is repeated"""
IDLE_LIMIT_SECONDS = 20
MEMORY_GROWTH = 1.5
MEMORY_SAMPLE_SECONDS = 0.25


def limit_for(size: int) -> float:
    return SPARE_SECONDS + size / SLOWEST_RATE


@dataclass
class Memory:
    """Of the proxy process, in MB."""

    early: float = 0.0
    late: float = 0.0
    peak: float = 0.0

    def check(self) -> None:
        assert self.late <= MEMORY_GROWTH * self.early, self

    def __str__(self) -> str:
        return f"RSS {self.early:.0f} MB after a tenth, {self.late:.0f} MB at the end, at most {self.peak:.0f} MB"


@dataclass
class Bench:
    """What a case works with."""

    network: BackgroundLocalnet
    proxy: ProxyProcess
    web: int
    memory: Memory = field(default_factory=Memory)

    def download(self, size: int, progress: Progress) -> Coroutine[Any, Any, Outcome]:
        return download(self.proxy.port, self.web, size, limit=limit_for(size), progress=progress)

    def upload(self, size: int, progress: Progress) -> Coroutine[Any, Any, Outcome]:
        return upload(self.proxy.port, self.web, size, limit=limit_for(size), progress=progress)

    @asynccontextmanager
    async def watching(self, progress: Progress, size: int) -> AsyncIterator[None]:
        """Fill `memory` while the transfer inside goes on."""

        async def sample() -> None:
            while True:
                rss = self.proxy.rss
                self.memory.peak = max(self.memory.peak, rss)
                if not self.memory.early and progress.moved >= size / 10:
                    self.memory.early = rss
                await asyncio.sleep(MEMORY_SAMPLE_SECONDS)

        async with asyncio.TaskGroup() as group:
            sampling = group.create_task(sample())
            yield
            sampling.cancel()
        self.memory.late = self.proxy.rss

    async def report(self, case: str, outcome: Outcome) -> None:
        print(f"\n{case}: {outcome}\n    {figures(await self.proxy.stats())}\n    {self.memory}", flush=True)

    async def comes_back(self) -> None:
        """After the fault, a new transfer comes whole."""
        started = time.monotonic()
        await until_whole(lambda: self.download(100_000, Progress()), limit=2 * SPARE_SECONDS)
        print(f"    a new 100 kB download is whole {time.monotonic() - started:.1f} s later", flush=True)


@pytest.fixture(scope="module")
def network() -> Iterator[BackgroundLocalnet]:
    with BackgroundLocalnet(LocalnetOptions(mode=Mode.PROCESSES)) as background:
        yield background


@pytest.fixture(autouse=True)
def healthy(network: BackgroundLocalnet) -> Iterator[None]:
    yield
    heal(network)


@asynccontextmanager
async def bench_on(network: BackgroundLocalnet, folder: Path, **settings: str) -> AsyncIterator[Bench]:
    async with http_server() as web, proxy_process(network_file(network), folder, **settings) as proxy:
        yield Bench(network, proxy, web)


@pytest.mark.parametrize("direction", ["download", "upload"])
async def test_packet_loss(network: BackgroundLocalnet, tmp_path: Path, direction: str) -> None:
    size = DOWNLOAD_BYTES if direction == "download" else UPLOAD_BYTES
    async with bench_on(network, tmp_path) as bench:
        node(network, LOSSY).loss = 0.2
        for attempt in range(1, ATTEMPTS + 1):
            bench.memory = Memory()
            progress = Progress()
            move = bench.download if direction == "download" else bench.upload
            async with bench.watching(progress, size):
                outcome = await move(size, progress)
            await bench.report(f"{direction}, 20 % loss, attempt {attempt}", outcome)
            if outcome.whole:
                break
        assert outcome.whole, f"{ATTEMPTS} attempts ended with clean errors"
        bench.memory.check()
        assert await counted(network, LOSSY, "mix", "dropped_lost") > size / 2_000 * 0.2


@pytest.mark.parametrize("name", [ENTRY, EXIT_GATEWAY])
async def test_gateway_restart(network: BackgroundLocalnet, tmp_path: Path, name: str) -> None:
    size = DOWNLOAD_BYTES
    async with bench_on(network, tmp_path) as bench:
        progress = Progress()
        async with bench.watching(progress, size):
            outcome = await disturbed(
                bench.download(size, progress), progress, size // 3, lambda: restart(network, name)
            )
        await bench.report(f"download, {name} restarted", outcome)
        await bench.comes_back()
        bench.memory.check()


async def test_exit_stall(network: BackgroundLocalnet, tmp_path: Path) -> None:
    size = DOWNLOAD_BYTES
    async with bench_on(network, tmp_path, **{"streams.idle_limit": f"{IDLE_LIMIT_SECONDS}s"}) as bench:
        progress = Progress()
        stalled_at = 0.0

        async def stall() -> None:
            nonlocal stalled_at
            stalled_at = time.monotonic()
            node(network, EXIT).stall = True

        async with bench.watching(progress, size):
            outcome = await disturbed(bench.download(size, progress), progress, size // 3, stall)
        waited = time.monotonic() - stalled_at
        await bench.report(f"download, exit silent, ended {waited:.1f} s later", outcome)
        assert outcome.error == "ConnectionResetError", outcome
        assert waited < IDLE_LIMIT_SECONDS + SPARE_SECONDS
        node(network, EXIT).stall = False
        await bench.comes_back()
        bench.memory.check()
