"""Mistakes that nobody foresaw end neither the top-up nor the view of it; and what a first start says of the cost."""

import asyncio
import random

import pytest
from structlog.testing import capture_logs

from nym_credentials.errors import ChainUnreachable, InsufficientFunds, PurchaseConflict, StoreUnreachable
from nym_credentials.networks import MAINNET
from nymgate.cli.localnet import echo_facts
from nymgate.config_layers import load
from nymgate.networks import Network
from nymgate.purse import purse_io, topup_runner_io
from nymgate.purse.money import money_plan
from nymgate.purse.purse_io import Purse
from nymgate.watch import observe_money_io
from nymgate.watch.observe_money_io import MoneyView
from tests.nymgate.paid_world import until

CHAIN = Network("mainnet", ("https://api.example/",), MAINNET)
LIMIT_SECONDS = 60.0
ACCOUNT = "n1dwvxtquwu5v6zfee9xa3e86yxj2u7tjfdmkga0"


@pytest.fixture
async def purse(tmp_path):
    config = load(environ={"HOME": str(tmp_path)}, flags={"tickets.top_up": True}).config
    async with Purse(money_plan(config, CHAIN, tmp_path / "mainnet"), rng=random.Random(6)) as purse:
        yield purse


def never():
    """The mixnet is not reached."""
    return asyncio.get_running_loop().create_future()


async def kept(purse, enough):
    """Run what a proxy runs until the event is set."""
    async with asyncio.timeout(LIMIT_SECONDS), asyncio.TaskGroup() as tasks:
        keeping = tasks.create_task(purse.keep(never))
        await enough.wait()
        assert not keeping.done()
        keeping.cancel()


async def test_a_mistake_in_the_loop_is_logged_and_the_loop_goes_on(purse, monkeypatch):
    monkeypatch.setattr(topup_runner_io, "FEED_SECONDS", 0.01)
    again, calls = asyncio.Event(), []

    async def run():
        calls.append(1)
        if len(calls) > 1:
            again.set()
            await asyncio.Event().wait()
        raise KeyError("nobody thought of it")

    monkeypatch.setattr(purse.topup, "run", run)
    await kept(purse, again)
    assert len(calls) == 2


async def test_a_mistake_with_unfinished_purchases_does_not_end_the_top_up(purse, monkeypatch):
    monkeypatch.setattr(purse_io, "RESUME_FIRST_SECONDS", 0.01)
    again, calls = asyncio.Event(), []

    async def unfinished():
        calls.append(1)
        if len(calls) > 2:
            again.set()
        raise KeyError("nobody thought of it")

    monkeypatch.setattr(purse.money, "unfinished", unfinished)
    await kept(purse, again)


async def test_the_log_says_what_may_be_spent_before_anything_is(purse):
    begun = asyncio.Event()

    async def run():
        begun.set()
        await asyncio.Event().wait()

    purse.topup.run = run
    with capture_logs() as lines:
        await kept(purse, begun)
    [said] = [line for line in lines if line["event"] == "topup.on"]
    assert "at most 150 NYM a day" in said["budget"]
    assert said["tickets_an_hour_awake"] == pytest.approx(2.4, abs=0.05)


async def test_the_log_names_no_account_and_calls_the_purchase_of_another_no_failure(purse):
    runner = purse.runner
    runner._account = True
    with capture_logs() as lines:
        runner.note_failure(PurchaseConflict("Another replica is buying into this store."))
        runner.note_failure(InsufficientFunds(f"1 book costs 75 NYM, and {ACCOUNT} has 3 NYM."))
        runner.note_failure(ChainUnreachable(f"{ACCOUNT} could not be asked about."))
    assert [(line["event"], line["log_level"]) for line in lines] == [
        ("topup.elsewhere", "debug"),
        ("topup.failed", "info"),
    ]
    assert lines[-1]["reason"] == "the account could not be asked about."


async def test_who_looks_does_not_wait_for_a_store_that_hangs(purse, monkeypatch):
    view = MoneyView(purse, lambda: True)
    assert (await view.read()).budget.limits["day"] == 150_000_000
    calls = []

    async def books():
        calls.append(1)
        await asyncio.Event().wait()

    monkeypatch.setattr(observe_money_io, "READ_LIMIT_SECONDS", 0.01)
    monkeypatch.setattr(purse.money.store, "books", books)
    view._look_at = 0.0
    for _ in range(3):
        async with asyncio.timeout(LIMIT_SECONDS):
            assert (await view.read()).budget.limits["day"] == 150_000_000, "what was read before"
    assert len(calls) == 1, "it is left alone for a while"


async def test_the_first_look_may_come_when_the_store_is_gone_already(purse, monkeypatch):
    view = MoneyView(purse, lambda: True)
    async with asyncio.timeout(LIMIT_SECONDS), asyncio.TaskGroup() as tasks:
        watching = tasks.create_task(view.watch_balance())
        await until(lambda: view._read)
        watching.cancel()

    async def books():
        raise StoreUnreachable("The database is gone.")

    monkeypatch.setattr(purse.money.store, "books", books)
    view._look_at = 0.0
    assert (await view.read()).budget.limits["day"] == 150_000_000


async def test_the_end_does_not_wait_for_a_store_that_hangs(tmp_path, monkeypatch):
    monkeypatch.setattr(topup_runner_io, "KEEP_LIMIT_SECONDS", 0.01)
    config = load(environ={"HOME": str(tmp_path)}).config

    async def hang():
        await asyncio.Event().wait()

    async with asyncio.timeout(LIMIT_SECONDS):
        async with Purse(money_plan(config, CHAIN, tmp_path / "mainnet"), rng=random.Random(6)) as purse:
            monkeypatch.setattr(purse.money.store, "totals", hang)


def test_a_local_network_with_small_tickets_tells_how_to_use_them(capsys):
    facts = {"nym_api": "", "gateways": {}, "exits": [], "folder": "", "signers": []}
    facts |= dict.fromkeys(("chain", "chain_id", "price", "faucet", "network_toml", "network_env"), "")
    echo_facts(facts, 0.02)
    assert "  NYMGATE_TICKETS__TICKET_SIZE=4000000B nymgate run --network localnet" in capsys.readouterr().out
    echo_facts(facts)
    assert "TICKET_SIZE" not in capsys.readouterr().out
