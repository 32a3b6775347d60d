"""`nymgate` as its users have it, at an entry gateway of upstream's, with books that change hands between the programs.

`python -m tests.interop.scenario_paying_proxy` in a namespace; prints one JSON object, which the test judges.
"""

from __future__ import annotations

import asyncio
import json
import os
import secrets
import signal
import sqlite3
import sys
import tempfile
from asyncio.subprocess import DEVNULL, PIPE, STDOUT
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager, closing
from pathlib import Path
from typing import Any

from bench import load
from nym_credentials.chain.wallet import Wallet, phrase_of
from nym_localnet import Localnet, LocalnetOptions
from nym_localnet.folder import NETWORK_TOML
from nym_sphinx import b58encode
from tests.interop.money import CLI_VARIABLE, NymCli, ask_faucet, verified
from tests.interop.paying_node import EnforcingNode
from tests.interop.running import free_port
from tests.interop.scenario_books import ALL_PARTS
from tests.interop.upstream import NODE_VARIABLE, end, wait_for_port

NODE_NUMBER = 90


class Nymgate:
    """Its commands, on one data folder and with the network file of a test network."""

    def __init__(self, net: Localnet, folder: Path) -> None:
        self._folder = folder
        self._network = ("--network", str(net.data_dir / NETWORK_TOML), "--data-dir", str(folder / "data"))
        folder.mkdir(parents=True, exist_ok=True)

    async def __call__(self, *words: str, typed: str = "") -> Any:
        """One command with --json; what it says."""
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "nymgate", *words, "--json", *self._network),
            stdin=PIPE,
            stdout=PIPE,
            stderr=PIPE,
        )
        output, errors = await process.communicate(typed.encode())
        if process.returncode:
            raise RuntimeError(f"nymgate {' '.join(words[:2])}: {output.decode()}{errors.decode()}")
        return json.loads(output.decode().strip().splitlines()[-1])

    @asynccontextmanager
    async def run(self, entry: str, exit_address: str) -> AsyncIterator[int]:
        """`nymgate run`; yields its port."""
        port, log = free_port(), self._folder / "run.log"
        with log.open("wb") as output:
            process = await asyncio.create_subprocess_exec(
                *(sys.executable, "-m", "nymgate", "run", *self._network),
                *("--listen", f"127.0.0.1:{port}", "--entry", entry, "--exit", exit_address),
                stdin=DEVNULL,
                stdout=output,
                stderr=STDOUT,
            )
        try:
            await wait_for_port(port, process, log)
            yield port
        except BaseException:
            sys.stderr.write(log.read_text()[-4000:])
            raise
        finally:
            process.send_signal(signal.SIGTERM)
            await end(process, 15)


def books_in(database: Path) -> list[list[Any]]:
    """What a store of upstream's has."""
    with closing(sqlite3.connect(database)) as connection:
        rows = connection.execute("SELECT ticketbook_type, used_tickets, total_tickets FROM ecash_ticketbook")
        return [list(row) for row in rows]


async def main() -> None:
    report: dict[str, Any] = {}
    async with AsyncExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        net = await stack.enter_async_context(Localnet(LocalnetOptions(mode="processes", pay=True)))
        server = await stack.enter_async_context(load.http_server())
        node = EnforcingNode(Path(os.environ[NODE_VARIABLE]), folder / "node", net, "gateway")
        await ask_faucet(net, node.account, "5 NYM")
        await stack.enter_async_context(node)
        await node.publish(NODE_NUMBER)

        cli = NymCli(Path(os.environ[CLI_VARIABLE]), folder / "cli", net)
        await ask_faucet(net, cli.address, "100 NYM")
        theirs = folder / "theirs.book"
        await cli.ecash(
            *("issue-ticket-book", "--output-file", str(theirs), *ALL_PARTS),
            *("--bs58-encoded-client-secret", b58encode(secrets.token_bytes(32))),
        )

        nymgate = Nymgate(net, folder / "nymgate")
        phrase = phrase_of(secrets.token_bytes(32))
        await ask_faucet(net, Wallet.from_phrase(phrase).address, "100 NYM")
        await nymgate("account", "set", "--phrase-file", "-", typed=phrase)
        await nymgate("account", "obtain-ticketbooks", "--amount", "1", "--yes")
        report["bought"] = (await nymgate("tickets", "list"))["books"]

        ours = folder / "ours.book"
        await nymgate("tickets", "export", str(report["bought"][0]["book"]), str(ours), "--yes")
        database = folder / "credentials_database.db"
        store = ("--credentials-store", str(database))
        await cli.ecash("import-ticket-book", *store, "--full", "--credential-path", str(ours))
        report["exported"] = books_in(database)

        await nymgate("tickets", "import", str(theirs))
        async with nymgate.run(b58encode(node.identity), net.exit_address) as port:
            report["small_seconds"] = await load.fetch(port, server, 1000)
            report["download_rate"] = await load.download_rate(port, server, 300_000)
            report["upload_rate"] = await load.upload_rate(port, server, 100_000)
        report["verified"] = await verified(net, node.account, 1)
        report["listed"] = await nymgate("tickets", "list", "--all")
        print(json.dumps(report))


if __name__ == "__main__":
    asyncio.run(main())
