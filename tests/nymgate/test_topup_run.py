"""A running proxy keeps itself in tickets: from an empty store, through an empty wallet, a price and a budget."""

import asyncio
import contextlib
import json
import logging
import random
import time
from dataclasses import replace

import pytest

from nym_credentials.topup.hindrances import Hindrance, Supply
from nym_mixnet.link_state import LinkState
from nym_mixnet.tasks_io import TaskSet
from nymgate.daemon import Proxy
from nymgate.errors import StreamRefused
from nymgate.purse import purse_io
from nymgate.purse.burn_feed_io import METER
from nymgate.purse.money_io import Money
from nymgate.purse.purse_io import Purse
from nymgate.sensitive import Sensitive
from tests.credentials.store.postgres import postgres_server
from tests.nymgate.paid_world import (
    LIMIT_SECONDS,
    NYM,
    account_with,
    buy,
    new_phrase,
    paying_network,
    plan_for,
    until,
)
from tests.nymgate.socks_client import dial, through
from zknym import TICKETS_PER_BOOK

pytestmark = [pytest.mark.timeout(300), pytest.mark.slow]
LINK_WAIT_SECONDS = 60.0
"""Refusals must not take as long as this."""


@contextlib.asynccontextmanager
async def echo():
    """A server that sends back what it gets; yields its port."""

    async def answer(reader, writer):
        while data := await reader.read(1 << 16):
            writer.write(data)
        writer.close()

    server = await asyncio.start_server(answer, "127.0.0.1", 0)
    async with server:
        yield server.sockets[0].getsockname()[1]


@contextlib.asynccontextmanager
async def running(plan):
    """A proxy whose streams would wait for the link for a minute."""
    async with Proxy(plan) as proxy:
        upstream = proxy.identity.upstream
        upstream.reload(replace(upstream._options, link_wait_seconds=LINK_WAIT_SECONDS))
        yield proxy


async def http_status(port, target_port):
    """What CONNECT hears: status and body."""
    async with dial(port) as (reader, writer), asyncio.timeout(LIMIT_SECONDS):
        writer.write(
            b"CONNECT 127.0.0.1:%d HTTP/1.1\r\nHost: 127.0.0.1:%d\r\n\r\n" % (target_port, target_port)
        )
        head = (await reader.readuntil(b"\r\n\r\n")).decode()
        status = int(head.split()[1])
        body = b"" if status == 200 else await reader.read()
        return status, head, body.decode()


async def works(port, target_port):
    """Whether bytes go there and back."""
    async with through(port, "127.0.0.1", target_port) as (reader, writer, reply):
        if reply != 0:
            return False
        writer.write(b"there and back")
        return await reader.readexactly(14) == b"there and back"


async def refused(proxy, target_port, code, status):
    """Streams hear this, promptly and in every protocol."""
    port = proxy.addresses[0][1]
    await until(lambda: proxy.purse.supply().code == code)
    await until(lambda: proxy.identity.upstream.missing[0] == "tickets" or proxy.identity.connected)
    began = time.monotonic()
    found, head, body = await http_status(port, target_port)
    assert (found, body.startswith(f"{code} (")) == (status, True), body
    assert code in head, "Proxy-Status names it as well"
    async with through(port, "127.0.0.1", target_port) as (_reader, _writer, reply):
        assert reply == 1, "general failure"
    assert time.monotonic() - began < LINK_WAIT_SECONDS / 2
    return body


async def test_an_empty_wallet_is_refused_and_goes_on_by_itself_when_the_faucet_pays(tmp_path, caplog):
    caplog.set_level(logging.INFO)
    async with paying_network() as net, echo() as port:
        plan = plan_for(net, tmp_path, **{"tickets.top_up": True})
        async with running(plan) as proxy:
            body = await refused(proxy, port, "E_NO_ACCOUNT", 402)
            assert "nymgate account set" in body
            advice = "no ticket to pay the gateway with: There is no ticket left. No account is set"
            await until(lambda: any(line.startswith(advice) for line in caplog.messages))
            await until(lambda: "No account is set" in proxy.identity.upstream.missing[1])
            assert proxy.purse.supply().owner
            async with Money(plan.money) as money:
                wallet = await money.keep_phrase(Sensitive(new_phrase()))
            body = await refused(proxy, port, "E_WALLET_FUNDS", 402)
            assert "Send NYM" in body
            supply = proxy.purse.supply()
            assert (supply.state, supply.tickets) == (Supply.EXHAUSTED, 0)
            await net.payments.fund(wallet.address, 200 * NYM)
            await until(lambda: works(proxy.addresses[0][1], port))
            assert proxy.purse.supply().state is Supply.OK
            assert proxy.purse.supply().since_unix >= supply.since_unix
            assert (await proxy.purse.stock()).tickets == TICKETS_PER_BOOK - 1
        assert (await net.payments.books()).deposits == 1


async def test_the_first_start_with_a_funded_account_gets_traffic_by_itself(tmp_path):
    async with paying_network() as net, echo() as port:
        plan = plan_for(net, tmp_path, **{"tickets.top_up": True})
        async with account_with(net, plan), Proxy(plan) as proxy:
            # One request, at once: it is held until there is a way, not refused.
            assert await works(proxy.addresses[0][1], port)
        assert (await net.payments.books()).deposits == 1


async def test_a_price_above_the_budget_is_refused_before_signing_and_clears_when_it_falls(tmp_path):
    async with paying_network() as net, echo() as port:
        plan = plan_for(net, tmp_path, **{"tickets.top_up": True, "budget.max_price": "50 NYM"})
        async with account_with(net, plan) as money, running(plan) as proxy:
            body = await refused(proxy, port, "E_BUDGET_PRICE", 402)
            assert "costs more than it may" in body
            assert "NYM" not in body, "amounts are the operator's business"
            assert "It costs 75 NYM, and 50 NYM are allowed." in proxy.purse.supply().what
            with pytest.raises(Exception, match="more than it may") as caught:
                await buy(money)
            assert caught.value.code == "E_BUDGET_PRICE"
            assert net.payments.balance((await money.wallet()).address) == 200 * NYM
            net.payments.set_price(40 * NYM)
            await until(lambda: works(proxy.addresses[0][1], port))
            assert proxy.purse.supply().state is Supply.OK


async def test_a_spent_budget_refuses_until_the_owner_allows_more_and_holds_for_commands(tmp_path):
    async with paying_network() as net, echo() as port:
        plan = plan_for(net, tmp_path, **{"tickets.top_up": True, "budget.per_day": "100 NYM"})
        async with account_with(net, plan, 400) as money:
            await buy(money)
            [book] = await money.books()
            await money.store.give_up_book(book.book_id)
            async with running(plan) as proxy:
                body = await refused(proxy, port, "E_BUDGET_DAY", 402)
                assert "The budget of this UTC day does not cover a ticketbook." in body
                assert "75 NYM of 100 NYM are spent" in proxy.purse.supply().what
                assert "It is tried again by itself at " in body
                retry = proxy.purse.supply().retry_unix
                assert retry % 86_400 < 300, "just after midnight, UTC"
                with pytest.raises(Exception, match="budget of this UTC day"):
                    await buy(money)
                more = plan.config.budget.model_copy(update={"per_day": "150"})
                proxy.reload(plan.config.model_copy(update={"budget": more}))
                await until(lambda: works(proxy.addresses[0][1], port))
        assert (await net.payments.books()).deposits == 2


async def test_signers_that_are_down_are_not_the_owners_business(tmp_path):
    async with paying_network() as net, echo() as port:
        for signer in net.payments.signers:
            signer.faults.down = True
        plan = plan_for(net, tmp_path, **{"tickets.top_up": True})
        async with account_with(net, plan) as money, running(plan) as proxy:
            await refused(proxy, port, "E_SIGNERS", 503)
            assert proxy.purse.supply().retry_unix > time.time()
            assert not proxy.purse.supply().owner
            assert net.payments.balance((await money.wallet()).address) == 200 * NYM
            for signer in net.payments.signers:
                signer.faults.down = False
            proxy.purse.runner.retry()
            await until(lambda: works(proxy.addresses[0][1], port))


async def test_a_link_that_ran_dry_goes_on_as_soon_as_a_book_comes_from_elsewhere(tmp_path):
    """top_up is off: whoever buys, the running proxy notices."""
    async with paying_network() as net, echo() as port:
        plan = plan_for(net, tmp_path)
        async with account_with(net, plan) as money, running(plan) as proxy:
            body = await refused(proxy, port, "E_OUT_OF_TICKETS", 402)
            assert "tickets.top_up" in body
            refusal = proxy.purse.refusal()
            assert isinstance(refusal, StreamRefused)
            await buy(money)
            await until(lambda: works(proxy.addresses[0][1], port))
            assert proxy.purse.refusal() is None


async def test_use_is_measured_and_remembered(tmp_path):
    async with paying_network(ticket_scale=0.05) as net, echo() as port:
        plan = plan_for(net, tmp_path, **{"tickets.top_up": True, "tickets.ticket_size": "10MB"})
        async with account_with(net, plan) as money:
            async with Proxy(plan) as proxy:
                assert await works(proxy.addresses[0][1], port)
                feed = proxy.purse.runner.feed
                await feed.feed()
                used = feed.meter.remembered()["hours"]
                assert sum(tickets.get("uncovered", 0) for _hour, tickets, *_ in used) > 0
            facts = json.loads(await money.store.secret(METER))
            assert facts["drawn"] == 1
            assert facts["sessions"] == 1
            before = sum(tickets["uncovered"] for _hour, tickets, *_ in facts["meter"]["hours"])
            async with Proxy(plan) as proxy:
                await proxy.purse.runner.feed.feed()
                after = proxy.purse.runner.feed.meter.remembered()["hours"]
                assert sum(tickets["uncovered"] for _hour, tickets, *_ in after) >= before > 0


async def test_two_processes_on_one_store_buy_one_book_and_see_each_others_use(tmp_path):
    async with paying_network() as net, echo() as port:
        plans = [plan_for(net, tmp_path / name, **{"tickets.top_up": True}) for name in "ab"]
        plans[1] = replace(plans[1], money=replace(plans[1].money, store=plans[0].money.store))
        async with account_with(net, plans[0], 1000), Proxy(plans[0]) as one, Proxy(plans[1]) as two:
            for proxy in (one, two):
                assert await works(proxy.addresses[0][1], port)
            assert (await net.payments.books()).deposits == 1
            await one.purse.runner.feed.feed()
            await two.purse.runner.feed.feed()
            took = [one.purse.runner.feed, two.purse.runner.feed]
            assert sum(feed._others for feed in took) == 2, "each saw the other's ticket"
            assert Hindrance.ELSEWHERE.value not in (one.purse.supply().code, two.purse.supply().code)


async def test_replicas_on_postgresql_buy_one_at_a_time_and_one_goes_on_when_the_other_is_gone(
    tmp_path, monkeypatch
):
    monkeypatch.setattr(purse_io, "YOUNG_SECONDS", 0.0)
    with postgres_server() as server:
        url = server.url(await server.database())
        async with paying_network() as net, echo() as port:
            flags = {"tickets.top_up": True, "store.url": url, "store.key": "5e" * 32}
            plans = [plan_for(net, tmp_path / name, **flags) for name in "ab"]
            async with account_with(net, plans[0], 1000) as money:
                async with Proxy(plans[0]) as one, Proxy(plans[1]) as two:
                    for proxy in (one, two):
                        assert await works(proxy.addresses[0][1], port)
                    assert (await net.payments.books()).deposits == 1
                    # Three leases: two proxies, and the command that set the account.
                    await until(lambda: one.purse.sessions() == two.purse.sessions() == 3)
                [book] = await money.books()
                await money.store.give_up_book(book.book_id)
                async with Proxy(plans[1]) as two:
                    await until(lambda: two.purse.topup.status().bought)
                lines = await money.store.purchases.spendings()
                assert [line.state.value for line in lines] == ["issued", "issued"]
                assert (await net.payments.books()).deposits == 2


async def test_the_top_up_goes_through_the_mixnet_and_says_when_it_cannot(tmp_path):
    async with paying_network() as net, echo() as port:
        flags = {"tickets.top_up": True, "tickets.through_mixnet": True}
        plan = plan_for(net, tmp_path, **flags)
        direct = replace(plan, money=replace(plan.money, proxy=None))
        async with account_with(net, direct, 400) as money, running(plan) as proxy:
            body = await refused(proxy, port, "E_OUT_OF_TICKETS", 402)
            assert "tickets.through_mixnet = false" in body
            assert (await net.payments.books()).deposits == 0
            await buy(money)
            await until(lambda: works(proxy.addresses[0][1], port))
            before = (await net.nodes["exit1"].counters())["exit"]["connects"]
            # What is in hand goes; the next book is bought by way of the exit.
            [book] = await money.books()
            await money.store.give_up_book(book.book_id)
            proxy.purse.topup.poke()
            await until(lambda: proxy.purse.topup.status().bought)
            after = (await net.nodes["exit1"].counters())["exit"]["connects"]
            assert after - before > net.payments.options.threshold
        assert (await net.payments.books()).deposits == 2


async def test_each_identity_pays_from_one_store_with_an_account_of_its_own(tmp_path):
    async with paying_network() as net:
        plan = plan_for(net, tmp_path)
        async with account_with(net, plan) as money:
            await buy(money)
            async with Purse(plan.money, rng=random.Random(1)) as purse:
                accounts = [bytes([number]) * 32 for number in (1, 2)]
                one, two = sources = [purse.source_for(account) for account in accounts]
                assert purse.sessions() == 2
                purse.processes = lambda: 3
                assert purse.sessions() == 6, "workers times identities"
                gateway = bytes(range(32))
                tickets = [await source.prepare(gateway) for source in sources]
                assert tickets[0].taken.index != tickets[1].taken.index
                await tickets[0].settle("accepted", 200_000_000)
                await tickets[1].settle("unknown", None)
                known = [await money.store.gateway(gateway + account) for account in accounts]
                assert [account.allowance for account in known] == [200_000_000, None]
                assert [account.refusals for account in known] == [0, 1]
                await purse.runner.feed.feed()
                await two.close()
                assert (purse.sessions(), one.prepared) == (3, 1)
                await purse.runner.feed.feed()
                assert purse.runner.feed.meter.rates(time.time())[0][1] == 0.0, "own tickets are not others'"


@contextlib.asynccontextmanager
async def counter():
    """A server that says how much it got, at the end; yields its port."""

    async def count(reader, writer):
        writer.write(b"%d" % len(await reader.read(-1)))
        writer.close()

    server = await asyncio.start_server(count, "127.0.0.1", 0)
    async with server:
        yield server.sockets[0].getsockname()[1]


async def test_a_link_that_runs_dry_in_the_middle_of_a_stream_goes_on_with_it(tmp_path):
    size = 3_000_000
    async with paying_network(ticket_scale=0.01) as net, counter() as port, TaskSet("upload") as tasks:
        plan = plan_for(net, tmp_path, **{"tickets.ticket_size": "2MB"})
        async with account_with(net, plan) as money:
            await buy(money)
            async with running(plan) as proxy:
                client = (await proxy.ready()).client
                [book] = await money.books()
                await money.store.give_up_book(book.book_id)
                async with through(proxy.addresses[0][1], "127.0.0.1", port) as (reader, writer, reply):
                    assert reply == 0
                    writer.write(bytes(size))
                    writer.write_eof()
                    answer = tasks.spawn(reader.read(-1), name="answer")
                    await until(lambda: client.link_state is LinkState.OUT_OF_BANDWIDTH)
                    await refused(proxy, port, "E_OUT_OF_TICKETS", 402)
                    assert proxy.purse.supply().tickets == 0
                    assert not answer.done()
                    await buy(money)
                    async with asyncio.timeout(LIMIT_SECONDS):
                        assert await answer == b"%d" % size, "the stream that stood still goes on"
                assert client.link_stats.sessions == 1
