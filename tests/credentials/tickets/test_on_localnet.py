"""Stored tickets at gateways that enforce them: the test network's chain, signers and gateways, the real client."""

from __future__ import annotations

import asyncio
import shutil
from pathlib import Path
from typing import Any

import pytest

from nym_credentials.errors import BackupRestored, GatewayInDebt, GatewayPaused, OutOfTickets
from nym_credentials.store.records import BookState, Restored, Settlement
from nym_credentials.store.store_io import TicketStore
from nym_credentials.tickets.charges import Meter
from nym_credentials.tickets.source_io import StoredTickets
from nym_localnet.ecash.ticket_rules import Standing
from nym_mixnet.gateway_session import ticket_outcome
from tests.localnet.harness import until
from tests.localnet.paying import Purse, buyer, gateway_client, paying_net, purse, spend, today
from tests.localnet.test_paying_gateways import _gateway, authenticated_total, settled
from tests.localnet.users import SWIFT, mixnet_client
from zknym import ImportableTicketBook

TICKET = 200_000_000


async def bought_file(net: Any) -> bytes:
    """A book bought on the network's chain, as an export file."""
    async with buyer(net.payments) as payer:
        bought: Purse = await purse(payer)
    data = bought.data
    return ImportableTicketBook(bought.book, data.dates, data.coins, data.key).encode()


async def test_traffic_claims_one_ticket_after_the_other_and_all_books_agree(tmp_path):
    """Tickets are scaled down to just above the mark at which the client claims."""
    scale = 0.205
    ticket_bytes = round(TICKET * scale)
    async with (
        paying_net(mix=True, ticket_scale=scale) as net,
        await TicketStore.open(tmp_path / "s") as store,
    ):
        await store.import_book(await bought_file(net), today())
        links: list[Any] = []

        def meter() -> Meter:
            stats = links[0].link_stats if links else None
            return Meter(stats.remaining_bandwidth, stats.bytes_charged) if stats else Meter(None, 0)

        tickets = StoredTickets(store, meter=meter, ticket_bytes=ticket_bytes, check_payment=True)
        async with mixnet_client(net, SWIFT, tickets=tickets) as client:
            links.append(client)
            async with asyncio.timeout(60):
                while (await store.totals()).accepted < 2:
                    await client.send_plain(client.address, bytes(200_000))
                    await client.drain(20.0)
            stats = client.link_stats
            assert stats.claims_failed == 0
            assert stats.packets_refused == 0, "no packet had to wait for a ticket"
        totals = await store.totals()
        assert (totals.in_use, totals.given_up) == (0, 0)
        [name] = [
            f"gateway{number}"
            for number, node in enumerate(net.gateways, 1)
            if (await store.gateway(node.identity)).accepted == totals.accepted
        ]
        await settled(net, name, totals.accepted)
        books = await net.payments.books()
        assert books.tickets == ({net.payments.address(name): totals.accepted},) * 3
        counters = (await net.nodes[name].counters())["gateway"]
        assert counters["tickets_verified"] == totals.accepted
        assert counters["granted_bytes"] == totals.accepted * ticket_bytes
        [book] = await store.books()
        assert (book.accepted, book.remaining) == (totals.accepted, 50 - totals.accepted)


async def test_an_old_copy_that_is_spent_from_is_found_out(tmp_path):
    """The operator vouched for it, wrongly: three tickets are lost, one gateway, and no more."""
    original, copy = tmp_path / "original", tmp_path / "copy"
    async with paying_net() as net:
        here, there = (node.identity for node in net.gateways[:2])
        async with await TicketStore.open(original) as store:
            await store.import_book(await bought_file(net), today())
        shutil.copyfile(original, copy)
        shutil.copyfile(f"{original}.key", f"{copy}.key")
        Path(f"{copy}.key").chmod(0o600)

        async with await TicketStore.open(original) as store, gateway_client(net) as client:
            await client.register()
            for _ in range(3):
                assert await pay(StoredTickets(store), client, here) == "bandwidth"
            assert (await store.totals()).accepted == 3
            await settled(net, "gateway1", 3)

        with pytest.raises(BackupRestored):
            await TicketStore.open(copy)
        async with await TicketStore.open(copy, restored=Restored.TRUST) as store:
            tickets = StoredTickets(store)
            async with gateway_client(net, 1) as client:
                await client.register()
                assert await pay(tickets, client, there) == "bandwidth", "the other gateway cannot know yet"
                await settled(net, "gateway2", 1, Standing.REJECTED)
            gateway = _gateway(net, "gateway2")
            await until(lambda: not gateway.is_active(client.keys.identity_public), "session ended")
            remaining = await authenticated_total(net, client, 1)
            assert remaining < 0
            await tickets.stated(there, remaining)
            with pytest.raises(GatewayInDebt, match=str(remaining)):
                await tickets.prepare(there)

            async with gateway_client(net) as client:
                await client.register()
                for _ in range(2):
                    assert await pay(tickets, client, here) == "error"
                    with pytest.raises(GatewayPaused):
                        await tickets.prepare(here)
                    await store.forget_gateway(here)  # rather than wait
            assert (await store.books())[0].state is BookState.SUSPECT
            with pytest.raises(OutOfTickets, match="held back"):
                await tickets.prepare(here)
            totals = await store.totals()
            assert totals.by_settlement == {Settlement.ACCEPTED: 1, Settlement.SPENT: 2}


async def pay(tickets: StoredTickets, client: Any, gateway: bytes) -> str:
    """One ticket, settled as the client does; the kind of the answer."""
    ticket = await tickets.prepare(gateway)
    answer = await spend(client, ticket.credential)
    if answer["type"] == "bandwidth":
        await ticket.settle("accepted", answer["available_total"])
    else:
        await ticket.settle(ticket_outcome(answer["message"]), None, answer["message"])
    return str(answer["type"])
