"""The real thing: a proxy that pays for its traffic on a local network, and a real Prometheus that scrapes it and is
asked all that dashboards and rules ask. What they say of tickets is what the store says."""

from __future__ import annotations

import asyncio
import contextlib
import time

import pytest

from grafana import rules
from nymgate.daemon import Proxy
from tests.grafana.expressions import of_panels, of_rules
from tests.grafana.prometheus import watching
from tests.nymgate.paid_world import TICKET_BYTES, account_with, buy, paying_network, plan_for, until
from tests.nymgate.socks_client import through
from zknym import TICKETS_PER_BOOK

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]

SCALE = 0.01
SIZE = round(TICKET_BYTES * SCALE)
LIMIT_SECONDS = 240.0
BODY = bytes(40_000)


@contextlib.asynccontextmanager
async def site():
    async def answer(reader, writer):
        await reader.readexactly(1)
        writer.write(BODY)
        await writer.drain()
        writer.close()

    async with await asyncio.start_server(answer, "127.0.0.1", 0) as server:
        yield server.sockets[0].getsockname()[1]


async def browse(port, target):
    """One page after the other, until cancelled."""
    while True:
        async with through(port, "127.0.0.1", target) as (reader, writer, reply):
            if reply == 0:
                writer.write(b"?")
                await reader.read()


async def missing(prometheus, wanted):
    """Those that have no data now."""
    return {where: expr for where, expr in wanted.items() if not await prometheus.query(expr)}


async def test_every_panel_and_rule_has_data_and_tickets_agree_with_the_store(tmp_path):
    async with paying_network(ticket_scale=SCALE) as net, site() as target:
        settings = {
            "tickets.ticket_size": f"{SIZE}B",
            "mixnet.profile": "standard",
            "listen.metrics": "127.0.0.1:0",
            "listen.web": "127.0.0.1:0",
        }
        plan = plan_for(net, tmp_path / "data", **settings)
        async with account_with(net, plan, 400) as money:
            await buy(money)
        async with Proxy(plan) as proxy, asyncio.timeout(LIMIT_SECONDS * 2):
            await proxy.ready()
            async with watching(tmp_path / "prometheus", proxy.watch.metrics) as prometheus:
                async with asyncio.TaskGroup() as group:
                    browsing = group.create_task(browse(proxy.addresses[0][1], target))
                    await everything_has_data(prometheus)
                    browsing.cancel()
                await tickets_agree(prometheus, proxy)
                await rules_are_well(prometheus)
            await proxy.drain(0.0)


async def everything_has_data(prometheus):
    left = dict([*of_panels(), *of_rules()])
    deadline = time.monotonic() + LIMIT_SECONDS
    while left := await missing(prometheus, left):
        assert time.monotonic() < deadline, f"no data: {left}"
        await asyncio.sleep(1)


async def tickets_agree(prometheus, proxy):
    """What panels say of tickets and money, against the store; the use goes on, so until both say the same."""
    store = proxy.purse.money.store

    async def same():
        totals = await store.totals()
        books = await proxy.purse.money.books()
        said = {
            "remaining": await value(prometheus, 'nymgate_tickets_remaining{type="v1-mixnet-entry"}'),
            "spent": await value(prometheus, 'nymgate_tickets_spent_total{type="v1-mixnet-entry"}'),
            "in use": await value(prometheus, 'nymgate_tickets_in_use{type="v1-mixnet-entry"}'),
            "given up": await value(prometheus, 'nymgate_tickets_given_up_total{type="v1-mixnet-entry"}'),
            "books": await value(prometheus, 'sum(nymgate_books{state="active",type="v1-mixnet-entry"})'),
            "by expiry": await value(prometheus, 'sum(nymgate_tickets_by_expiry{type="v1-mixnet-entry"})'),
            "settled": await value(prometheus, 'nymgate_tickets_settled_total{settlement="accepted"}'),
        }
        stored = {
            "remaining": sum(book.remaining for book in books),
            "spent": totals.accepted,
            "in use": totals.in_use,
            "given up": totals.given_up,
            "books": len(books),
            "by expiry": sum(book.remaining for book in books),
            "settled": totals.accepted,
        }
        return stored if said == stored else None

    stored = await until(same)
    assert stored["spent"] >= 1
    assert stored["remaining"] + stored["spent"] + stored["in use"] == stored["books"] * TICKETS_PER_BOOK
    assert await value(prometheus, "nymgate_deposits_total") == stored["books"]
    spent = await value(prometheus, "sum(nymgate_spent_nym_total)")
    balance = await value(prometheus, "nymgate_account_balance_nym")
    assert spent >= 75
    assert balance + spent == pytest.approx(400)
    assert await value(prometheus, "nymgate_ready") == 1


async def value(prometheus, expr):
    found = await prometheus.query(expr)
    return found[0][1] if len(found) == 1 else None


async def rules_are_well(prometheus):
    """Prometheus itself has no complaint about any rule, and nothing critical fires on a network that is well."""
    groups = (await prometheus.get("rules"))["groups"]
    found = {rule["name"]: rule for group in groups for rule in group["rules"]}
    assert found.keys() == {
        *(alert.name for alert in rules.ALERTS),
        *(rule.name for rule in rules.RECORDINGS),
    }
    assert {name: rule.get("lastError") for name, rule in found.items() if rule["health"] != "ok"} == {}
    firing = {name for name, rule in found.items() if rule.get("state") == "firing"}
    critical = {alert.name for alert in rules.ALERTS if alert.severity == "critical"}
    assert not firing & critical
