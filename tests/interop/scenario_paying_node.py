"""Our client pays upstream's `nym-node`, which has our chain and our signers; and the same ticket is spent twice.

`python -m tests.interop.scenario_paying_node` in a namespace; prints one JSON object, which the test next to it judges.
"""

from __future__ import annotations

import asyncio
import json
import os
import tempfile
import time
from contextlib import AsyncExitStack
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from nym_credentials.errors import GatewayInDebt, OutOfTickets
from nym_credentials.store.store_io import TicketStore
from nym_credentials.tickets.source_io import StoredTickets
from nym_localnet import Localnet, LocalnetOptions
from tests.interop.money import TICKET, ask_faucet, customer, eventually, gateway_counters, verified
from tests.interop.paying_node import EnforcingNode
from tests.interop.upstream import NODE_VARIABLE
from tests.localnet.paying import buyer, gateway_client, purse, spend
from tests.localnet.users import SWIFT, mixnet_client
from zknym import TicketType

BOOK = 50
NODE_NUMBER = 90
MESSAGE_BYTES = 100_000
FORGOTTEN_BYTES = 512 * 1024
"""What a node may have charged and not yet written down when it ends, docs/protocol/03 §9.1."""


def number_of(net: Localnet, node: EnforcingNode) -> int:
    """Its place in the list of gateways."""
    return [gateway.identity for gateway in net.gateways].index(node.identity)


async def without_money(net: Localnet, folder: Path) -> dict[str, Any]:
    """A node that cannot redeem what it receives."""
    node = EnforcingNode(Path(os.environ[NODE_VARIABLE]), folder, net, "poor")
    async with AsyncExitStack() as stack:
        stack.push_async_exit(node)
        await node.initialise()
        process = await node.start()
        async with asyncio.timeout(60):
            code = await process.wait()
        return {"code": code, "says_why": "has a balance of only 0unym" in node.log.read_text()}


async def traffic(net: Localnet, store: TicketStore, node: EnforcingNode, messages: int) -> dict[str, Any]:
    """Our mixnet client with tickets from the store sends to itself, through the node and our mixes and back.

    Then the node is restarted: the client comes back to the allowance that it paid for, and pays nothing.
    """
    tickets = StoredTickets(store, check_payment=True)
    received = 0

    def count(_: object) -> None:
        nonlocal received
        received += 1

    async with mixnet_client(net, SWIFT, tickets=tickets, entry=node.identity) as client:
        client.on_message = count

        async def exchanged(number: int, forgotten: int = 0) -> bool:
            expected = received + number
            for _ in range(number):
                await client.send_plain(client.address, bytes(MESSAGE_BYTES))

            async def all_here() -> bool:
                stats = client.link_stats
                if received != expected or not stats.claims or stats.remaining_bandwidth is None:
                    return False
                ours = stats.claims * TICKET - stats.bytes_charged
                return 0 <= stats.remaining_bandwidth - ours <= forgotten

            return await eventually(60, all_here)

        started = time.monotonic()
        complete = await exchanged(messages)
        seconds = time.monotonic() - started
        await node.restart()
        again = await exchanged(1, FORGOTTEN_BYTES)
        stats = client.link_stats
        assert stats.remaining_bandwidth is not None
        return {
            "complete": complete,
            "after_restart": again,
            "sessions": stats.sessions,
            "seconds": seconds,
            "claims": stats.claims,
            "claims_failed": stats.claims_failed,
            "refused": stats.packets_refused,
            "charged": stats.bytes_charged,
            "forgotten": stats.remaining_bandwidth - (stats.claims * TICKET - stats.bytes_charged),
        }


async def the_whole_book(net: Localnet, store: TicketStore, node: EnforcingNode) -> dict[str, Any]:
    """Every ticket that is left, on one connection; then there are none."""
    tickets = StoredTickets(store)
    left = await store.remaining(TicketType.MIXNET_ENTRY, datetime.now(UTC).date())
    started = time.monotonic()
    answers = []
    async with gateway_client(net, number_of(net, node)) as client:
        await client.register()
        for _ in range(left):
            ticket = await tickets.prepare(node.identity)
            answers.append(await spend(client, ticket.credential))
            if "available_total" in answers[-1]:
                await ticket.settle("accepted", answers[-1]["available_total"])
        seconds = time.monotonic() - started
        try:
            await tickets.prepare(node.identity)
        except OutOfTickets:
            over = True
        else:
            over = False
    return {
        "left": left,
        "totals": [answer.get("available_total") for answer in answers],
        "seconds": seconds,
        "over": over,
    }


async def stated(net: Localnet, number: int, client: Any) -> int:
    """What the gateway says of a client that comes back."""
    await asyncio.sleep(1.1)  # authentications are counted in whole seconds
    async with gateway_client(net, number, client.keys, client.key) as again:
        answer = await again.authenticate()
        return int(answer["bandwidth_remaining"])


async def spent_before_at_ours(net: Localnet, store: TicketStore, node: EnforcingNode) -> dict[str, Any]:
    """Our gateway took the ticket first; upstream's takes it too, and takes ten times as much away."""
    number = number_of(net, node)
    async with buyer(net.payments) as payer:
        tickets = await purse(payer)
    async with gateway_client(net, 0) as client:
        await client.register()
        first = await spend(client, tickets.pay(client.running.identity))
    seen = await verified(net, "gateway1", 1)
    totals = []
    async with gateway_client(net, number) as client:
        await client.register()
        second = await spend(client, tickets.pay(client.running.identity, index=0))
        honest = await spend(client, tickets.pay(client.running.identity))
        replay = await spend(client, tickets.pay(client.running.identity, index=1))

    async def in_debt() -> bool:
        totals.append(await stated(net, number, client))
        return totals[-1] < 0

    punished = await eventually(30, in_debt)
    source = StoredTickets(store)
    await source.stated(node.identity, totals[-1])
    try:
        await source.prepare(node.identity)
    except GatewayInDebt:
        held_back = True
    else:
        held_back = False
    return {
        "first": first,
        "seen": seen,
        "second": second,
        "honest": honest,
        "replay": replay,
        "punished": punished,
        "total": totals[-1],
        "held_back": held_back,
    }


async def spent_before_at_theirs(net: Localnet, node: EnforcingNode) -> dict[str, Any]:
    """Upstream's gateway took the ticket first; ours takes it too, and takes ten times as much away."""
    async with buyer(net.payments) as payer:
        tickets = await purse(payer)
    before = (await net.payments.books()).tickets[0].get(node.account, 0)
    async with gateway_client(net, number_of(net, node)) as client:
        await client.register()
        first = await spend(client, tickets.pay(client.running.identity))
    seen = await verified(net, node.account, before + 1)
    async with gateway_client(net, 1) as client:
        await client.register()
        second = await spend(client, tickets.pay(client.running.identity, index=0))

    async def rejected() -> bool:
        return (await gateway_counters(net, "gateway2"))["tickets_rejected"] > 0

    punished = await eventually(30, rejected)
    total = await stated(net, 1, client)
    return {"first": first, "seen": seen, "second": second, "punished": punished, "total": total}


async def main() -> None:
    report: dict[str, Any] = {}
    async with AsyncExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        net = await stack.enter_async_context(Localnet(LocalnetOptions(pay=True, exits=0)))
        report["without_money"] = await without_money(net, folder / "poor")
        node = EnforcingNode(Path(os.environ[NODE_VARIABLE]), folder / "node", net, "gateway")
        await ask_faucet(net, node.account, "5 NYM")
        started = time.monotonic()
        await stack.enter_async_context(node)
        report["start_seconds"] = time.monotonic() - started
        await node.publish(NODE_NUMBER)

        store = await stack.enter_async_context(await TicketStore.open(folder / "store"))
        async with customer(net, store) as (purchaser, wallet):
            await ask_faucet(net, wallet.address, "100 NYM")
            await purchaser.buy(TicketType.MIXNET_ENTRY)
        report["traffic"] = await traffic(net, store, node, 5)
        report["verified"] = await verified(net, node.account, 1)
        report["store"] = (await store.totals()).accepted
        await net.payments.next_epoch()  # tickets of both epochs are good
        report["whole_book"] = await the_whole_book(net, store, node)
        report["all_verified"] = await verified(net, node.account, BOOK, 60)
        report["at_theirs"] = await spent_before_at_theirs(net, node)
        report["at_ours"] = await spent_before_at_ours(net, store, node)
        assert node.process is not None
        report["alive"] = node.process.returncode is None
        lines = node.log.read_text().splitlines()
        report["log"] = [line for line in lines if " ERROR " in line][:20]
        print(json.dumps(report))


if __name__ == "__main__":
    asyncio.run(main())
