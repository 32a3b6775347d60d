"""`nymgate privacy` over a store with real purchases: chain, signers and gateway of a paying local network."""

import json
import subprocess
import sys

import pytest

from nym_credentials.store.records import Settlement
from nymgate.privacy.facts_io import usage_of
from nymgate.privacy.findings import judge
from nymgate.privacy.report import Habits, Severity
from tests.nymgate.paid_world import LIMIT_SECONDS, account_with, buy, paying_network, plan_for
from zknym import TicketType

pytestmark = pytest.mark.timeout(300)  # many processes, each given its time on a busy machine

NYMGATE = [sys.executable, "-c", "from nymgate.cli import main; main()"]
GATEWAY = bytes(range(32))


def told(tmp_path, net, store, *words):
    environ = {
        "HOME": str(tmp_path),
        "PATH": "/usr/bin:/bin",
        "NYMGATE_NETWORK": str(net.data_dir / "localnet.toml"),
        "NYMGATE_STORE__URL": str(store),
    }
    return subprocess.run(
        [*NYMGATE, "privacy", *words],
        capture_output=True,
        text=True,
        timeout=LIMIT_SECONDS,
        check=False,
        env=environ,
    )


@pytest.mark.slow
async def test_purchases_and_tickets_of_a_real_store(tmp_path):
    async with paying_network() as net:
        plan = plan_for(net, tmp_path)
        async with account_with(net, plan) as money:
            nothing = await usage_of(money)
            assert nothing.deposits == nothing.books == nothing.claims == ()
            bought = [*await buy(money), *await buy(money)]
            for gateway in (GATEWAY, GATEWAY[::-1]):
                ticket = await money.store.take(TicketType.MIXNET_ENTRY, money.today, gateway=gateway)
                await money.store.settle(ticket, Settlement.ACCEPTED)
            unsent = await money.store.take(TicketType.MIXNET_ENTRY, money.today, gateway=GATEWAY)
            await money.store.settle(unsent, Settlement.UNSENT)
            used = await usage_of(money)
            address = (await money.wallet()).address
        assert [deposit.price for deposit in used.deposits] == [purchase.price for purchase in bought]
        assert {deposit.account for deposit in used.deposits} == {0}
        assert {deposit.book for deposit in used.deposits} == {item.number for item in used.books}
        assert all(item.bought and not item.exported and not item.suspect for item in used.books)
        assert [one.gateway for one in used.claims] == [0, 1], "what was never sent is nobody's to see"
        report = judge(Habits.of(plan.money.config, pays=True), used)
        assert {one.name: one.severity for one in report.findings}["first-use"] is Severity.HIGH

        store = plan.money.store.path
        done = told(tmp_path, net, store, "--json")
        assert done.returncode == 0, done.stderr
        shown = json.loads(done.stdout)
        assert shown["made_from"] | {"days": 0} == {
            "deposits": 2,
            "ticketbooks": 2,
            "tickets_spent": 2,
            "days": 0,
        }
        text = told(tmp_path, net, store, "-v")
        assert text.returncode == 0, text.stderr
        secrets = [address, GATEWAY.hex(), bought[0].payment.tx_hash, *(str(item.id) for item in bought)]
        for output in (done.stdout, text.stdout):
            assert not [secret for secret in secrets if secret in output]


@pytest.mark.slow
async def test_an_empty_store_and_none(tmp_path):
    async with paying_network() as net:
        missing = tmp_path / "none.sqlite"
        done = told(tmp_path, net, missing, "--json")
        assert done.returncode == 0, done.stderr
        shown = json.loads(done.stdout)
        assert shown["store"] is False
        assert not missing.exists(), "looking makes no store"
        plan = plan_for(net, tmp_path)
        async with account_with(net, plan, nym=0) as money:
            assert (await usage_of(money)).claims == ()
        done = told(tmp_path, net, plan.money.store.path, "--json")
        shown = json.loads(done.stdout)
        assert shown["store"] is True
        assert shown["made_from"]["deposits"] == 0
        assert shown["findings"]
