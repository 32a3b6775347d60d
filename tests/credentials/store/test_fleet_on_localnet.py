"""A fleet that pays gateways of the test network, under kills and cuts: its signers saw no ticket twice.

Two gateways cannot know of each other's tickets: only the signers can tell.
"""

from __future__ import annotations

import asyncio
import contextlib
import random
from collections import Counter

import pytest

from nym_credentials.store.records import TicketState
from nym_credentials.store.store_io import TicketStore
from nym_localnet.ecash.ticket_rules import Standing
from nym_mixnet.gateway_session import ticket_outcome
from tests.credentials.store.conftest import KEY
from tests.credentials.store.fleet import Fleet
from tests.credentials.store.fleet_process import LEASE_SECONDS
from tests.credentials.store.test_fleet import database_of
from tests.credentials.tickets.test_on_localnet import bought_file
from tests.localnet.paying import gateway_client, paying_net, spend, today
from tests.localnet.test_paying_gateways import desk_of, settled

TICKETS = 12
GATEWAYS = ("gateway1", "gateway2")


class Till:
    """Presents what the processes pay to the gateways, one after the other, and answers what came of it."""

    def __init__(self, clients):
        self._clients = clients
        self._busy = asyncio.Lock()
        self.credited = Counter()
        self.refused = []
        self.tickets = Counter()

    async def serve(self, reader, writer):
        with contextlib.suppress(ConnectionError):
            while line := await reader.readline():
                gateway, book, index, credential = line.decode().split()
                self.tickets[book, index] += 1
                async with self._busy:
                    answer = await spend(self._clients[int(gateway)], bytes.fromhex(credential))
                if answer["type"] == "bandwidth":
                    self.credited[GATEWAYS[int(gateway)]] += 1
                    writer.write(f"accepted {answer['available_total']}\n".encode())
                else:
                    self.refused.append(answer["message"])
                    writer.write(f"{ticket_outcome(answer['message'])}\n".encode())
        writer.close()


@pytest.mark.slow
async def test_the_signers_saw_every_ticket_once(server, url):
    dice = random.Random()
    async with paying_net() as net, contextlib.AsyncExitStack() as stack:
        async with await TicketStore.open(url, key=KEY) as store:
            await store.import_book(await bought_file(net), today())
        clients = [await stack.enter_async_context(gateway_client(net, number)) for number in range(2)]
        for client in clients:
            await client.register()
        till = Till(clients)
        listener = await asyncio.start_server(till.serve, "127.0.0.1", 0, limit=2**20)
        identities = [node.identity for node in net.gateways[:2]]
        port = listener.sockets[0].getsockname()[1]
        async with Fleet.running(url, port, 3, 1, *identities) as fleet, asyncio.timeout(90):
            while till.credited.total() < TICKETS or not fleet.kills:
                await asyncio.sleep(dice.uniform(0.5, 1.0))
                await server.cut_one(database_of(url), dice)
                if till.credited and fleet.kills < 3:
                    fleet.kill(dice)
        listener.close()
        for name in GATEWAYS:
            await settled(net, name, till.credited[name])
            assert await desk_of(net, name).store.tickets(Standing.REJECTED) == []
        assert till.refused == []
        assert max(till.tickets.values()) == 1
        seen = {net.payments.address(name): till.credited[name] for name in GATEWAYS if till.credited[name]}
        books = await net.payments.books()
        assert books.tickets == (seen,) * 3, "all three signers have all tickets, and none of them twice"
        async with await TicketStore.open(url, key=KEY) as store:
            async with asyncio.timeout(60):
                while len(await store.replicas()) > 1:
                    await asyncio.sleep(LEASE_SECONDS / 4)
                    await store._lease.renew()
            states = {(str(e.book_id), str(e.index)): e.state for e in await store.ledger()}
            assert {states[ticket] for ticket in till.tickets} <= {TicketState.ACCEPTED, TicketState.GIVEN_UP}
            accepted = {ticket for ticket, state in states.items() if state is TicketState.ACCEPTED}
            assert accepted <= set(till.tickets)
            [book] = await store.books()
            assert book.accepted + book.given_up + book.remaining == book.total
