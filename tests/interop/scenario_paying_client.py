"""Upstream's `nym-socks5-client` pays at our enforcing gateway, with a book from one of five sources.

`python -m tests.interop.scenario_paying_client SOURCE` in a namespace; prints one JSON object. Sources: `exported`,
`base58` and `standalone` (bought and exported by ours), `issued` (bought by upstream's tool for that client) and
`recovered` (paid by ours, fetched by upstream's tool).
"""

from __future__ import annotations

import asyncio
import json
import os
import sqlite3
import sys
import tempfile
import time
from contextlib import AsyncExitStack, closing
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from bench import load
from nym_credentials.errors import OutOfTickets
from nym_credentials.store.bookfile import BookForm
from nym_credentials.store.client_database_io import move_client_books
from nym_credentials.store.store_io import TicketStore
from nym_credentials.tickets.source_io import StoredTickets
from nym_localnet import Localnet, LocalnetOptions, PaymentOptions
from nym_localnet.folder import NETWORK_ENV
from nym_sphinx import b58encode
from tests.interop.money import CLI_VARIABLE, NymCli, ask_faucet, customer, gateway_counters, verified
from tests.interop.running import free_port
from tests.interop.upstream import SOCKS_CLIENT_VARIABLE, UpstreamSocksClient
from tests.localnet.paying import buyer, gateway_client, spend
from zknym import TicketType

SCALE = 0.205
"""A ticket of 41 MB, just above the mark of 40 MB at which the client pays the next."""
TICKETS = 2


@dataclass
class Scene:
    """What a source of books works with."""

    net: Localnet
    cli: NymCli
    client: UpstreamSocksClient
    folder: Path
    report: dict[str, Any]

    async def imported(self, *what: str) -> None:
        """The tool puts a book into the client's store, and refuses it a second time."""
        arguments = ("import-ticket-book", "--credentials-store", str(self.client.credentials), *what)
        done = await self.cli.ecash(*arguments)
        self.report["import_seconds"] = done.seconds
        again = await self.cli.run("ecash", *arguments)
        self.report["again"] = again.code


async def bought_by_ours(scene: Scene, form: BookForm = BookForm.FULL, *, base58: bool = False) -> bytes:
    """A book from an empty account, exported: nothing of it is left here."""
    async with (
        await TicketStore.open(scene.folder / "store") as store,
        customer(scene.net, store) as (purchaser, wallet),
    ):
        await ask_faucet(scene.net, wallet.address, "100 NYM")
        started = time.monotonic()
        await purchaser.buy(TicketType.MIXNET_ENTRY)
        scene.report["buy_seconds"] = time.monotonic() - started
        (book,) = await store.books()
        data = await store.export_book(book.book_id, form=form, base58=base58)
        (book,) = await store.books()
        scene.report["left_here"] = book.remaining
        try:
            await store.take(TicketType.MIXNET_ENTRY, datetime.now(UTC).date())
        except OutOfTickets:
            scene.report["out_of_tickets"] = True
    return data


async def exported(scene: Scene) -> None:
    file = scene.folder / "exported.book"
    file.write_bytes(await bought_by_ours(scene))
    await scene.imported("--full", "--credential-path", str(file))


async def base58(scene: Scene) -> None:
    data = await bought_by_ours(scene, base58=True)
    await scene.imported("--full", "--credential-data", data.decode())


async def standalone(scene: Scene) -> None:
    """The public data come from a book of another type, which the client does not spend."""
    await issued(scene, "v1-wireguard-entry")
    file = scene.folder / "standalone.book"
    file.write_bytes(await bought_by_ours(scene, BookForm.STANDALONE))
    await scene.imported("--standalone", "--credential-path", str(file))


async def issued(scene: Scene, kind: str = "v1-mixnet-entry") -> None:
    await ask_faucet(scene.net, scene.cli.address, "100 NYM")
    arguments = ("--client-config", str(scene.client.config), "--ticketbook-type", kind)
    done = await scene.cli.ecash("issue-ticket-book", *arguments)
    scene.report["buy_seconds"] = done.seconds


async def recovered(scene: Scene) -> None:
    """Upstream's tool cannot write such rows itself (docs/protocol/10 §2), but it takes up those of others."""
    command = ("recover-ticket-book", "--client-config", str(scene.client.config))
    done = await scene.cli.ecash(*command)  # makes the database where there is none
    scene.report["nothing"] = "recovered 0 ticketbooks" in done.output
    async with buyer(scene.net.payments) as payer:
        pending = await payer.pending()
    row = (
        pending.deposit_id,
        1,
        pending.encode(),
        pending.expiration.isoformat(),
        scene.net.payments.epoch.epoch_id,
    )
    columns = "deposit_id, serialization_revision, pending_ticketbook_data, expiration_date, epoch_id"
    with closing(sqlite3.connect(scene.client.credentials)) as database, database:
        database.execute(f"INSERT INTO pending_issuance ({columns}) VALUES (?, ?, ?, ?, ?)", row)
    done = await scene.cli.ecash(*command)
    scene.report["buy_seconds"] = done.seconds
    scene.report["one"] = "recovered 1 ticketbooks" in done.output


SOURCES = {source.__name__: source for source in (exported, base58, standalone, issued, recovered)}


async def moved(scene: Scene) -> dict[str, Any]:
    """The books of the client, which is stopped, come into our store with what is left of them."""
    today = datetime.now(UTC).date()
    async with await TicketStore.open(scene.folder / "moved") as store, gateway_client(scene.net, 1) as payer:
        books = await move_client_books(store, scene.client.credentials, today)
        tickets = StoredTickets(store, check_payment=True)
        await payer.register()
        ticket = await tickets.prepare(payer.running.identity)
        answer = await spend(payer, ticket.credential)
        seen = await verified(scene.net, "gateway2", 1)
    counts = await gateway_counters(scene.net, "gateway2")
    return {
        "books": [
            [book.first, book.remaining] for book in books if book.ticket_type is TicketType.MIXNET_ENTRY
        ],
        "answer": answer["type"],
        "verified": seen,
        "rejected": counts["tickets_rejected"],
        "left_there": sum(total - used for _, used, total in ticketbooks(scene.client.credentials)),
    }


def ticketbooks(path: Path) -> list[list[Any]]:
    """What the client's store says of its books."""
    with closing(sqlite3.connect(f"file:{path}?mode=ro", uri=True)) as database:
        rows = database.execute("SELECT ticketbook_type, used_tickets, total_tickets FROM ecash_ticketbook")
        return [list(row) for row in rows]


async def main(source: str) -> None:
    report: dict[str, Any] = {}
    async with AsyncExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        options = LocalnetOptions(mode="processes", pay=True, payment=PaymentOptions(ticket_scale=SCALE))
        net = await stack.enter_async_context(Localnet(options))
        server = await stack.enter_async_context(load.http_server())
        client = UpstreamSocksClient(
            Path(os.environ[SOCKS_CLIENT_VARIABLE]),
            folder / "theirs",
            nym_api=net.nym_api_url,
            provider=str(net.exit_address),
            port=free_port(),
            flags=("--enabled-credentials-mode", "true"),
            gateway=b58encode(net.gateways[0].identity),
            environment_file=net.data_dir / NETWORK_ENV,
        )
        await client.initialise()
        scene = Scene(
            net, NymCli(Path(os.environ[CLI_VARIABLE]), folder / "cli", net), client, folder, report
        )
        await SOURCES[source](scene)

        started = time.monotonic()
        async with client:
            report["start_seconds"] = time.monotonic() - started
            report["small_seconds"] = await load.fetch(client.port, server, 1000)
            report["download_rate"] = await load.download_rate(client.port, server, 300_000)
            report["upload_rate"] = await load.upload_rate(client.port, server, 300_000)
            report["verified"] = await verified(net, "gateway1", TICKETS, 60)
            report["after_second"] = await load.fetch(client.port, server, 1000)
            report["counters"] = dict(await gateway_counters(net, "gateway1"))
            assert client.process is not None
            report["alive"] = client.process.returncode is None
            report["errors"] = client.errors()
        report["books"] = ticketbooks(client.credentials)
        report["moved"] = await moved(scene)
        print(json.dumps(report))


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1]))
