"""The numbers about money agree with the ticket store, and those of several workers are put together."""

import asyncio
import json
import os
import re
import signal
import socket

import pytest
from prometheus_client.parser import text_string_to_metric_families
from typer.testing import CliRunner

from nym_localnet import Localnet, LocalnetOptions, Mode
from nymgate.cli import app
from nymgate.watch.asking_io import ask_port
from tests.nymgate.paid_world import BLOCK_SECONDS, account_with, buy, paying_network, until
from tests.nymgate.running import running
from tests.nymgate.socks_client import through
from tests.nymgate.test_topup_run import echo
from tests.nymgate.watched_world import get, snapshot_of, watched, watched_plan
from zknym import TICKETS_PER_BOOK

pytestmark = [pytest.mark.timeout(300), pytest.mark.slow]
ENTRY = "v1-mixnet-entry"


def numbers(text):
    """Name with labels as Prometheus writes them → value."""
    return {
        sample.name + "".join(f",{key}={value}" for key, value in sorted(sample.labels.items())): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }


async def test_numbers_about_money_are_those_of_the_store(tmp_path):
    async with paying_network(block_seconds=BLOCK_SECONDS) as net:
        plan = watched_plan(net, tmp_path)
        async with account_with(net, plan, 200) as money:
            await buy(money)
            address = (await money.wallet()).address
        async with watched(net, tmp_path) as proxy:
            store = proxy.purse.money.store

            async def balance_is_known():
                return (await snapshot_of(proxy)).money.purse.balance_unym

            await until(balance_is_known)
            await asyncio.sleep(1.1)  # what was read from the store may be a second old
            found = numbers((await get(proxy, "/metrics"))[1])
            (book,) = await store.books()
            totals = await store.totals()
            (line,) = await store.purchases.spendings()
            assert book.accepted == totals.accepted == 1
            assert found[f"nymgate_tickets_remaining,type={ENTRY}"] == book.remaining == TICKETS_PER_BOOK - 1
            assert found[f"nymgate_tickets_spent_total,type={ENTRY}"] == book.accepted
            assert found[f"nymgate_tickets_given_up_total,type={ENTRY}"] == totals.given_up == 0
            assert found["nymgate_tickets_settled_total,settlement=accepted"] == 1
            assert found[f"nymgate_books,state=active,type={ENTRY}"] == 1
            by_expiry = [
                value for name, value in found.items() if name.startswith("nymgate_tickets_by_expiry")
            ]
            assert sum(by_expiry) == book.remaining
            assert found["nymgate_deposits_total"] == 1
            assert found["nymgate_spent_nym_total,on=price"] == line.price / 1e6 == 75
            assert found["nymgate_spent_nym_total,on=fee"] == pytest.approx(line.fee / 1e6)
            assert found["nymgate_account_balance_nym"] == pytest.approx(net.payments.balance(address) / 1e6)
            assert found["nymgate_budget_left_nym,period=day"] == 75
            assert found["nymgate_budget_limit_nym,period=month"] == 1500
            assert found["nymgate_ticketbook_price_nym"] == 75
            assert found["nymgate_supply_state,state=ok"] == 1
            assert found["nymgate_topup_enabled"] == 1
            assert found["nymgate_tickets_projected_seconds"] > 0
            assert found["nymgate_gateway_claims_total,outcome=accepted"] == 1
            assert found["nymgate_gateway_bought_bytes_total"] == 200_000_000
            assert 0 < found["nymgate_gateway_allowance_bytes"] < 200_000_000
            assert found["nymgate_store_transaction_seconds_count"] > 10
            assert abs(found["nymgate_clock_skew_seconds"]) < 20
            assert address not in str(found), "whose account it is, is nobody's business"


async def test_workers_are_one_proxy_for_prometheus_and_for_healthcheck(tmp_path):
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    async with Localnet(LocalnetOptions(mode=Mode.PROCESSES)) as net, echo() as target:
        flags = ["--network", str(net.data_dir / "localnet.toml")]
        environ = {"NYMGATE_LISTEN__METRICS": f"127.0.0.1:{port}", "NYMGATE_LISTEN__WEB": ""}
        arguments = [*flags, "--listen", "127.0.0.1:0", "--profile", "uncovered", "--workers", "2"]

        def check(*more):
            words = ["healthcheck", "--data-dir", str(tmp_path / "data"), *flags, *more]
            return CliRunner().invoke(app, words, env={"HOME": str(tmp_path)})

        async def scraped():
            return numbers((await asyncio.to_thread(ask_port, "127.0.0.1", port, "/metrics")).body.decode())

        async with running(tmp_path, *arguments, environ=environ) as run:

            async def both():
                return (await scraped())["nymgate_workers"] == 2

            await until(both)
            for _ in range(6):
                async with through(run.port, "127.0.0.1", target) as (reader, writer, reply):
                    assert reply == 0
                    writer.write(b"there and back")
                    assert await reader.readexactly(14) == b"there and back"

            async def counted():
                found = await scraped()
                ended = [value for name, value in found.items() if name.startswith("nymgate_streams_total")]
                return sum(ended) == 6

            await until(counted)
            found = await scraped()
            assert found["nymgate_gateway_links,state=ready"] == 2
            assert found["nymgate_workers_expected"] == 2
            result = await asyncio.to_thread(check)
            assert (result.exit_code, result.output.split(":")[0]) == (0, "ready")
            victim = int(await worker_pid(run.process.pid))
            os.kill(victim, signal.SIGKILL)

            async def one_less():
                return (await asyncio.to_thread(check, "--json")).output

            async def noticed():
                body = json.loads(await one_less())
                return (body["ready"], body["state"]) == (True, "degraded")

            await until(noticed)
            assert await counted(), "what it has counted stays"
            await until(both)
            assert await counted()
            run.send(signal.SIGTERM)
            assert await run.end() == 0
        result = await asyncio.to_thread(check)
        assert (result.exit_code, result.output.split(":")[0]) == (1, "not running")


async def worker_pid(parent):
    """Of one of its children."""

    def find():
        children = []
        for entry in os.scandir("/proc"):
            if entry.name.isdigit():
                try:
                    with open(f"/proc/{entry.name}/stat", encoding="utf-8") as file:
                        if int(re.split(r"\) . ", file.read())[1].split()[0]) == parent:
                            children.append(entry.name)
                except OSError:
                    continue
        return children

    return (await asyncio.to_thread(find))[-1]
