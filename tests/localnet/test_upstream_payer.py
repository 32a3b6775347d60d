"""Upstream's own `nym-socks5-client` pays at our gateway with a book that was bought here (docs/protocol/10 §4.2, §5).

Needs that program: NYM_SOCKS5_CLIENT_PROGRAM names it.
"""

from __future__ import annotations

import asyncio
import os
from asyncio.subprocess import DEVNULL, PIPE, STDOUT
from pathlib import Path

import pytest

from nym_localnet import Localnet
from tests.localnet.paying import buyer, paying_net, purse
from tests.localnet.test_upstream_gateway import counted, free_port
from zknym import ImportableTicketBook

PROGRAM = os.environ.get("NYM_SOCKS5_CLIENT_PROGRAM", "")
CLAIM_SECONDS = 60.0

pytestmark = [
    pytest.mark.interop,
    pytest.mark.skipif(not PROGRAM, reason="needs program: NYM_SOCKS5_CLIENT_PROGRAM does not name one"),
]


def environment(net: Localnet, folder: Path) -> dict[str, str]:
    variables = {"HOME": str(folder), "PATH": os.environ["PATH"], "RUST_LOG": "info"}
    for line in net.payments.network_env(net.nym_api_url).splitlines():
        name, _, value = line.partition("=")
        variables[name] = value
    return variables


async def run(variables: dict[str, str], *arguments: str) -> None:
    """Run a command of the program to its end."""
    process = await asyncio.create_subprocess_exec(
        PROGRAM, *arguments, env=variables, stdin=DEVNULL, stdout=PIPE, stderr=STDOUT
    )
    output, _ = await process.communicate()
    assert process.returncode == 0, output.decode()[-2000:]


async def test_it_claims_with_a_ticket_of_our_book(tmp_path: Path) -> None:
    async with paying_net(mix=True) as net:
        async with buyer(net.payments) as payer:
            bought = await purse(payer)
        data = bought.data
        book = ImportableTicketBook(bought.book, data.dates, data.coins, data.key)
        exported = tmp_path / "book.bin"
        exported.write_bytes(book.encode())
        variables = environment(net, tmp_path)
        await run(
            variables,
            *("init", "--id", "client", "--provider", net.exit_address, "--nym-apis", net.nym_api_url),
            *("--port", str(free_port()), "--use-reply-surbs", "true"),
        )
        await run(variables, "ecash", "import-ticket-book", "--id", "client", "--full",
                  "--credential-path", str(exported))  # fmt: skip
        (config,) = tmp_path.rglob("config.toml")
        free, paid = "disabled_credentials_mode = true", "disabled_credentials_mode = false"
        assert free in config.read_text()
        config.write_text(config.read_text().replace(free, paid))
        log = tmp_path / "run.log"
        with log.open("wb") as output:
            process = await asyncio.create_subprocess_exec(
                PROGRAM, "run", "--id", "client", env=variables, stdin=DEVNULL, stdout=output, stderr=STDOUT
            )
        try:
            accounts = [net.payments.address(name) for name in ("gateway1", "gateway2")]
            async with asyncio.timeout(CLAIM_SECONDS):
                while True:
                    per_gateway = [set(await counted(net, account)) for account in accounts]
                    if {1} in per_gateway:
                        break
                    assert process.returncode is None, log.read_text()[-2000:]
                    await asyncio.sleep(0.05)
            counters = [(await net.nodes[name].counters())["gateway"] for name in ("gateway1", "gateway2")]
            assert sum(each["tickets"] for each in counters) == 1
            assert sum(each["granted_bytes"] for each in counters) == 200_000_000
            assert sum(each["tickets_refused"] for each in counters) == 0
        finally:
            if process.returncode is None:
                process.kill()
            await process.wait()
