"""Books that upstream's `nym-cli` buys on our chain from our signers, spent by our client at our gateways.

`python -m tests.interop.scenario_books` in a namespace; prints one JSON object, which the test next to it judges.
"""

from __future__ import annotations

import asyncio
import json
import os
import secrets
import tempfile
from contextlib import AsyncExitStack
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from nym_credentials.errors import BookRefused
from nym_credentials.store.store_io import TicketStore
from nym_credentials.tickets.source_io import StoredTickets
from nym_localnet import Localnet, LocalnetOptions
from tests.interop.money import CLI_VARIABLE, NYM, NymCli, ask_faucet, eventually, gateway_counters, verified
from tests.localnet.paying import gateway_client, new_wallet, spend
from tests.localnet.users import SWIFT, mixnet_client
from zknym import TicketType, b58encode

ALL_PARTS = (
    "--include-expiration-date-signatures",
    "--include-coin-index-signatures",
    "--include-master-verification-key",
)
VARIANTS: dict[str, tuple[str, tuple[str, ...]]] = {
    "full": ("v1-mixnet-entry", ALL_PARTS),
    "base58": ("v1-mixnet-entry", (*ALL_PARTS, "--bs58-output")),
    "bare": ("v1-mixnet-entry", ()),
    "key only": ("v1-mixnet-exit", ALL_PARTS[2:]),
    "wireguard-entry": ("v1-wireguard-entry", ALL_PARTS),
    "wireguard-exit": ("v1-wireguard-exit", ALL_PARTS),
}


def today() -> Any:
    return datetime.now(UTC).date()


async def issue(cli: NymCli, folder: Path, name: str) -> tuple[bytes, float]:
    """Buy one book into a file."""
    kind, flags = VARIANTS[name]
    output = folder / f"{name}.book"
    done = await cli.ecash(
        "issue-ticket-book",
        *("--ticketbook-type", kind, "--output-file", str(output), *flags),
        *("--bs58-encoded-client-secret", b58encode(secrets.token_bytes(32))),
    )
    return output.read_bytes(), done.seconds


async def wallet(net: Localnet, cli: NymCli) -> dict[str, Any]:
    """Upstream's wallet on our chain: what it shows of an account, and a payment to another one."""
    before = await cli.run("account", "balance", cli.address)
    other = new_wallet().address
    sent = await cli.run("account", "send", other, str(2 * NYM))
    return {
        "balance": before.output.strip().splitlines()[-1],
        "send": sent.code,
        "received": net.payments.balance(other),
    }


async def spend_raw(net: Localnet, store: TicketStore, kind: TicketType) -> dict[str, Any]:
    """One ticket of a type at the second gateway, on a connection of its own; its answer."""
    tickets = StoredTickets(store, ticket_type=kind, check_payment=True)
    async with gateway_client(net, 1) as client:
        await client.register()
        ticket = await tickets.prepare(client.running.identity)
        answer = await spend(client, ticket.credential)
        await ticket.settle("accepted" if answer["type"] == "bandwidth" else "unknown", None)
    return answer


async def traffic(net: Localnet, store: TicketStore) -> dict[str, Any]:
    """Our mixnet client pays the first gateway with what upstream's tool bought, and sends."""
    tickets = StoredTickets(store, check_payment=True)
    entry = net.gateways[0].identity
    received = asyncio.Event()
    async with mixnet_client(net, SWIFT, tickets=tickets, entry=entry) as client:
        client.on_message = lambda message: received.set()
        await client.send_plain(client.address, bytes(100_000))
        async with asyncio.timeout(60):
            await received.wait()

        async def claimed() -> bool:
            return client.link_stats.claims > 0

        await eventually(20, claimed)  # it is counted when the store has it
        stats = client.link_stats
        return {"claims": stats.claims, "failed": stats.claims_failed, "charged": stats.bytes_charged}


async def main() -> None:
    report: dict[str, Any] = {}
    async with AsyncExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        net = await stack.enter_async_context(Localnet(LocalnetOptions(pay=True, exits=0)))
        cli = NymCli(Path(os.environ[CLI_VARIABLE]), folder, net)
        poor = await cli.run(
            *("ecash", "issue-ticket-book", "--output-file", str(folder / "none")),
            *("--bs58-encoded-client-secret", b58encode(secrets.token_bytes(32))),
        )
        report["poor"] = {"code": poor.code, "output": poor.output[-600:]}
        await ask_faucet(net, cli.address, "1000 NYM")
        report["wallet"] = await wallet(net, cli)
        before = net.payments.balance(cli.address)

        files, report["seconds"] = {}, {}
        for name in VARIANTS:
            down = net.payments.signers[1].faults
            down.down = name == "base58"  # two of three signers are enough for upstream's tool as well
            if name == "wireguard-entry":
                await net.payments.next_epoch()  # what was bought before stays good
            files[name], report["seconds"][name] = await issue(cli, folder, name)
            down.down = False
        recorded = await net.payments.books()
        report["spent"] = (before - net.payments.balance(cli.address)) / NYM
        report["deposits"], report["issued"] = recorded.deposits, recorded.issued

        empty = await stack.enter_async_context(await TicketStore.open(folder / "empty"))
        report["bare_refused"] = False
        try:
            await empty.import_book(files["bare"], today())
        except BookRefused:
            report["bare_refused"] = True
        store = await stack.enter_async_context(await TicketStore.open(folder / "store"))
        for data in files.values():
            await store.import_book(data, today())
        report["books"] = [
            (book.ticket_type.name, book.epoch_id, book.remaining) for book in await store.books()
        ]
        report["traffic"] = await traffic(net, store)
        report["raw"] = {kind.name: await spend_raw(net, store, kind) for kind in TicketType}
        report["verified"] = [await verified(net, "gateway1", 1), await verified(net, "gateway2", 4)]
        report["gateways"] = [await gateway_counters(net, name) for name in ("gateway1", "gateway2")]
        report["lost"] = (await store.totals()).given_up
        print(json.dumps(report))


if __name__ == "__main__":
    asyncio.run(main())
