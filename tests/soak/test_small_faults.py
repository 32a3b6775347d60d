"""What `make soak` does for long, in seconds: loss, gateways that restart, an exit that falls silent."""

import asyncio
from collections.abc import Iterator
from pathlib import Path

import pytest

from bench.load import http_server
from nym_localnet.background_io import BackgroundLocalnet
from nym_localnet.options import LocalnetOptions
from tests.soak.network import (
    ENTRY,
    EXIT,
    EXIT_GATEWAY,
    LOSSY,
    counted,
    heal,
    network_file,
    node,
    restart,
)
from tests.soak.proxies import figures, numbers, proxy_on
from tests.soak.transfers import Progress, disturbed, download, until_whole, upload

pytestmark = pytest.mark.slow

DOWNLOAD_BYTES = 1_000_000
UPLOAD_BYTES = 200_000
LIMIT_SECONDS = 60


@pytest.fixture(scope="module")
def network() -> Iterator[BackgroundLocalnet]:
    with BackgroundLocalnet(LocalnetOptions()) as background:
        yield background


@pytest.fixture(autouse=True)
def healthy(network: BackgroundLocalnet) -> Iterator[None]:
    yield
    heal(network)


async def test_a_lossy_mix_node_changes_no_byte(network: BackgroundLocalnet, tmp_path: Path) -> None:
    async with http_server() as web, proxy_on(network_file(network), tmp_path) as proxy:
        port = proxy.addresses[0][1]
        node(network, LOSSY).loss = 0.2
        async with asyncio.TaskGroup() as group:
            downloading = group.create_task(
                until_whole(
                    lambda: download(port, web, DOWNLOAD_BYTES, limit=LIMIT_SECONDS), limit=LIMIT_SECONDS
                )
            )
            uploading = group.create_task(
                until_whole(lambda: upload(port, web, UPLOAD_BYTES, limit=LIMIT_SECONDS), limit=LIMIT_SECONDS)
            )
        down, up = downloading.result(), uploading.result()
        print(f"\n20 % loss: down {down}; up {up}; {figures(numbers(proxy))}")
        assert numbers(proxy)["sent_retransmissions"] > 0
        assert await counted(network, LOSSY, "mix", "dropped_lost") > UPLOAD_BYTES / 2_000 * 0.2


@pytest.mark.parametrize("name", [ENTRY, EXIT_GATEWAY])
async def test_a_gateway_that_restarts_leads_to_the_end_or_to_an_error(
    network: BackgroundLocalnet, tmp_path: Path, name: str
) -> None:
    async with http_server() as web, proxy_on(network_file(network), tmp_path) as proxy:
        port = proxy.addresses[0][1]
        progress = Progress()
        outcome = await disturbed(
            download(port, web, DOWNLOAD_BYTES, limit=LIMIT_SECONDS, progress=progress),
            progress,
            DOWNLOAD_BYTES // 5,
            lambda: restart(network, name),
        )
        after = await until_whole(
            lambda: download(port, web, 50_000, limit=LIMIT_SECONDS), limit=LIMIT_SECONDS
        )
        if name == ENTRY:
            assert proxy.connected is not None
            link = proxy.connected.client.link_stats
            assert link is not None
            assert link.reconnects > 0, "the restart was felt"
        print(f"\n{name} restarted: {outcome}; afterwards {after}; {figures(numbers(proxy))}")


async def test_a_silent_exit_ends_the_download_with_an_error(
    network: BackgroundLocalnet, tmp_path: Path
) -> None:
    async with (
        http_server() as web,
        proxy_on(
            network_file(network),
            tmp_path,
            **{"streams.idle_limit": "3s", "streams.gap_limit": "3s", "streams.connect_timeout": "5s"},
        ) as proxy,
    ):
        port = proxy.addresses[0][1]
        progress = Progress()

        async def stall() -> None:
            node(network, EXIT).stall = True

        outcome = await disturbed(
            download(port, web, 4 * DOWNLOAD_BYTES, limit=LIMIT_SECONDS, progress=progress),
            progress,
            DOWNLOAD_BYTES // 5,
            stall,
        )
        assert outcome.error == "ConnectionResetError", outcome
        node(network, EXIT).stall = False
        after = await until_whole(
            lambda: download(port, web, 50_000, limit=LIMIT_SECONDS), limit=LIMIT_SECONDS
        )
        print(f"\nexit silent: {outcome}; afterwards {after}; {figures(numbers(proxy))}")


async def test_an_exit_that_pauses_goes_on_where_it_was(network: BackgroundLocalnet, tmp_path: Path) -> None:
    async with http_server() as web, proxy_on(network_file(network), tmp_path) as proxy:
        progress = Progress()

        async def pause() -> None:
            node(network, EXIT).stall = True
            await asyncio.sleep(1)
            node(network, EXIT).stall = False

        outcome = await disturbed(
            download(proxy.addresses[0][1], web, DOWNLOAD_BYTES // 2, limit=LIMIT_SECONDS, progress=progress),
            progress,
            DOWNLOAD_BYTES // 5,
            pause,
        )
        print(f"\nexit pausing: {outcome}; {figures(numbers(proxy))}")
        assert outcome.whole, outcome
