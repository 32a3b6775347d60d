"""From an empty wallet to paid traffic: chain, signers, store, gateway and proxy together, and what their books say."""

import asyncio
import contextlib
import logging

import pytest

from nym_credentials.purchase.steps import Point
from nym_mixnet.claims_io import BandwidthClaims
from nym_mixnet.errors import NoTickets
from nymgate.daemon import Proxy
from nymgate.errors import ExitCode
from nymgate.purse.money_io import Money
from nymgate.purse.sources_io import Spender
from nymgate.ways.identity_io import BROKE_POLL_SECONDS
from tests.nymgate.paid_world import (
    LIMIT_SECONDS,
    TICKET_BYTES,
    account_with,
    buy,
    paying_network,
    plan_for,
    until,
)
from tests.nymgate.socks_client import through
from zknym import TICKETS_PER_BOOK, TicketType

pytestmark = pytest.mark.timeout(300)  # many processes, each given its time on a busy machine

SCALE = 0.1
SIZE = round(TICKET_BYTES * SCALE)
"""A fifth of it is what may be used while a ticket is claimed: 4 MB, seconds even of what `push` sends at its best."""
PIECE = bytes(32 << 10)
AHEAD = 2 * len(PIECE)
"""Half a megabyte a second or so at best, and nearly nothing that waits before a gateway with little time."""


@contextlib.asynccontextmanager
async def sink():
    """A server that swallows what it gets, and counts; yields its port and the count."""
    seen = [0]

    async def swallow(reader, writer):
        while data := await reader.read(1 << 16):
            seen[0] += len(data)
        writer.close()

    server = await asyncio.start_server(swallow, "127.0.0.1", 0)
    async with server:
        yield server.sockets[0].getsockname()[1], seen


async def push(port, target_port, seen, enough):
    """Send through the proxy until `enough()`, no more than `AHEAD` before the target has it.

    So a machine with other things to do slows it down as it slows down the payment that it must not overtake. A
    profile with a rate of its own would go on, and the gateway get behind by more than a ticket is bought ahead.
    """
    async with through(port, "127.0.0.1", target_port) as (_reader, writer, reply):
        assert reply == 0
        sent = 0
        while not await enough():
            if sent - seen[0] < AHEAD:
                sent += len(PIECE)
                writer.write(PIECE)
                await writer.drain()
            else:
                await asyncio.sleep(0.01)


@pytest.mark.slow
async def test_a_fresh_wallet_buys_with_a_signer_down_and_a_second_ticket_is_claimed_under_load(
    tmp_path, caplog
):
    caplog.set_level(logging.INFO, logger="nym_mixnet")
    async with paying_network(ticket_scale=SCALE) as net, sink() as (port, seen):
        payments = net.payments
        payments.signers[2].faults.down = True
        plan = plan_for(net, tmp_path, **{"tickets.ticket_size": f"{SIZE}B"})
        async with account_with(net, plan) as money:
            [bought] = await buy(money)
            spent = 200_000_000 - payments.balance(bought.account)
            assert spent == bought.price + bought.payment.fee
            assert (await money.stock()).tickets == TICKETS_PER_BOOK
        books = await payments.books()
        assert (books.deposits, books.deposited) == (1, bought.price)
        assert books.issued == (1, 1, 0), "the third signer was down"

        async with Proxy(plan) as proxy:
            connected = await proxy.ready()
            caplog.clear()
            store = proxy.purse.money.store
            assert (await store.totals()).accepted == 1

            async def second_ticket():
                return (await store.totals()).accepted >= 2

            async with asyncio.timeout(2 * LIMIT_SECONDS):
                await push(proxy.addresses[0][1], port, seen, second_ticket)
            stats = connected.client.link_stats
            assert stats.packets_refused == 0, "no packet came to a gateway that had not been paid yet"
            assert (stats.claims_failed, stats.reconnects) == (0, 0)
            charged = stats.bytes_charged
            await proxy.drain(0.0)
        states = [
            record.getMessage() for record in caplog.records if "gateway link is" in record.getMessage()
        ]
        assert not [text for text in states if "bandwidth" in text], "the link never stood still"
        assert seen[0] > 0
        assert charged > SIZE * 3 // 5

        async with Money(plan.money) as money:
            totals = await money.store.totals()
            [book] = await money.books()
        tickets = totals.accepted
        assert tickets >= 2
        assert (totals.in_use, totals.given_up) == (0, 0)
        assert (book.accepted, book.remaining) == (tickets, TICKETS_PER_BOOK - tickets)

        name, counters = await gateway_of(net, plan, connected)
        assert counters["tickets"] == tickets
        assert (counters["tickets_refused"], counters["tickets_rejected"]) == (0, 0)
        assert counters["granted_bytes"] == tickets * SIZE
        payments.signers[2].faults.down = False  # it hears of the tickets late, and of all of them

        async def verified():
            return (await net.nodes[name].counters())["gateway"]["tickets_verified"] == tickets

        await until(verified)
        assert (await payments.books()).tickets == ({payments.address(name): tickets},) * 3


async def gateway_of(net, plan, connected):
    """Name and counters of the gateway that was paid."""
    names = {handle.plan.node_id: name for name, handle in net.nodes.items() if name.startswith("gateway")}
    name = names[connected.entry.node_id]
    return name, (await net.nodes[name].counters())["gateway"]


async def test_without_tickets_it_says_so_and_goes_on_once_there_are_some(tmp_path):
    async with paying_network() as net, sink() as (port, _seen):
        plan = plan_for(net, tmp_path)
        async with account_with(net, plan) as money, Proxy(plan) as proxy:
            await until(lambda: proxy.upstream.missing[0] == "tickets")
            assert "no ticket left" in proxy.upstream.missing[1]
            async with through(proxy.addresses[0][1], "127.0.0.1", port) as (_reader, _writer, reply):
                assert reply != 0
            await buy(money)
            async with asyncio.timeout(LIMIT_SECONDS):
                await proxy.ready()
            async with through(proxy.addresses[0][1], "127.0.0.1", port) as (_reader, _writer, reply):
                assert reply == 0
            assert (await proxy.purse.stock()).tickets == TICKETS_PER_BOOK - 1


class Unplugged(BaseException):
    """The process is gone."""


@pytest.mark.parametrize(
    "point, top_up",
    [
        pytest.param(Point.SENT, False, marks=pytest.mark.slow),
        (Point.DEPOSITED, True),
        pytest.param(Point.SHARE_STORED, False, marks=pytest.mark.slow),
    ],
)
async def test_what_a_dead_process_has_paid_for_is_finished_by_run(tmp_path, point, top_up):
    async with paying_network() as net:
        plan = plan_for(net, tmp_path, **{"tickets.top_up": top_up})

        def pull_the_plug(here):
            if here is point:
                raise Unplugged

        async with account_with(net, plan) as money:
            with pytest.raises((Unplugged, BaseExceptionGroup)):
                async with money.buyer(poll_seconds=0.05, at=pull_the_plug) as buyer:
                    await buyer.buy(TicketType.MIXNET_ENTRY)
            assert len(await money.unfinished()) == 1
        async with Proxy(plan) as proxy, asyncio.timeout(LIMIT_SECONDS):
            await proxy.ready()
            assert await proxy.purse.money.unfinished() == []
        assert (await net.payments.books()).deposits == 1


@pytest.mark.slow
async def test_the_free_allowance_is_asked_for_when_tickets_are_off_and_refused_here(tmp_path):
    async with paying_network() as net:
        plan = plan_for(net, tmp_path, **{"tickets.enabled": False})
        async with Proxy(plan) as proxy:
            assert proxy.purse is None
            await until(lambda: proxy.upstream.missing[0] == "tickets")
            assert "paid with tickets" in proxy.upstream.missing[1]


# Through the mixnet.


@pytest.mark.slow
async def test_buying_through_the_mixnet_uses_the_proxy_and_nothing_else(tmp_path):
    async with paying_network() as net:
        direct = plan_for(net, tmp_path)
        async with account_with(net, direct, 400) as money:
            await buy(money)
        # A proxy whose port is known: commands find the running one by it.
        with_port = {"tickets.through_mixnet": True, "listen.mixed": [f"127.0.0.1:{free_port()}"]}
        plan = plan_for(net, tmp_path, **with_port)
        async with Money(plan.money) as money:
            with pytest.raises(Exception, match="no proxy of ours listens") as caught:
                await buy(money)
            assert caught.value.exit_code is ExitCode.NETWORK
            assert (await net.payments.books()).deposits == 1, "nothing went around it"
        async with Proxy(plan) as proxy, asyncio.timeout(LIMIT_SECONDS):
            await proxy.ready()
            before = await exit_counters(net)
            async with Money(plan.money) as money:
                await buy(money)
                assert (await money.stock()).tickets == 2 * TICKETS_PER_BOOK - 1
            after = await exit_counters(net)
            connects = after["connects"] - before["connects"]
            assert connects >= 1 + net.payments.options.threshold, (
                "chain and signers were reached by the exit"
            )


async def exit_counters(net):
    return (await net.nodes["exit1"].counters())["exit"]


def free_port():
    import socket

    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


async def test_a_ticket_paid_while_an_attempt_to_connect_fails_is_not_lost_with_it(tmp_path, monkeypatch):
    prepare, answered, calls = Spender.prepare, BandwidthClaims.answered, 0

    async def none_at_first(self, gateway_identity):
        nonlocal calls
        calls += 1
        if calls == 1:
            asyncio.get_running_loop().call_soon(self.refilled)
            raise NoTickets("there are none for another moment")
        return await prepare(self, gateway_identity)

    def late(self, event):  # so that the lack of an allowance is seen before
        asyncio.get_running_loop().call_later(5 * BROKE_POLL_SECONDS, answered, self, event)

    async with paying_network() as net:
        plan = plan_for(net, tmp_path)
        async with account_with(net, plan) as money:
            await buy(money)
            monkeypatch.setattr(Spender, "prepare", none_at_first)
            monkeypatch.setattr(BandwidthClaims, "answered", late)
            async with Proxy(plan) as proxy:
                await proxy.ready()
            totals = await money.store.totals()
            assert (calls, totals.accepted) == (2, 1), "one ticket, and its answer was waited for"
