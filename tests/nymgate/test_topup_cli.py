"""`nymgate topup`, `nymgate ledger` and the budget of every command that buys, against a paying local network."""

import asyncio
import csv
import io
import json
import time
from pathlib import Path

import pytest

from nym_credentials.topup.burn import BurnMeter
from nymgate.config_layers import data_dir, load
from nymgate.networks import resolve_network
from nymgate.purse.burn_feed_io import METER, profile_rates
from nymgate.purse.money import money_plan
from nymgate.purse.money_io import Money
from tests.nymgate.paid_world import NYM

pytestmark = pytest.mark.timeout(300)
BUY = ("account", "obtain-ticketbooks", "--amount", 1, "--yes")


def test_the_plan_says_what_when_why_and_for_how_much(person):
    without = person.json("topup", "plan")
    assert (without["supply"], without["tickets"], without["balance_unym"]) == ("exhausted", 0, None)
    assert without["purchases"][0]["price_unym"] is None
    assert "no account is set" in person.run("topup", "plan").stdout
    person.with_account(200)
    plan = person.json("topup", "plan", "--days", 3)
    assert (plan["need"], plan["why"], plan["days"]) == ("urgent", "There is no ticket.", 3.0)
    first = plan["purchases"][0]
    assert (first["price_unym"], first["permitted"]) == (75 * NYM, True)
    assert abs(first["unix"] - time.time()) < 300
    assert plan["cost_unym"] == 75 * NYM == plan["price_unym"]
    assert plan["balance_unym"] == 200 * NYM
    text = person.run("topup", "plan").stdout
    for part in (
        "There is no ticket.",
        "75 NYM",
        " within 7 days; the account holds 200 NYM.",
        "at most 150 NYM a day",
        "Spent: 0 NYM today",
    ):
        assert part in text
    off = person.run("topup", "plan", NYMGATE_TICKETS__TOP_UP="false").stdout
    assert "Nothing of it is bought by itself" in off
    assert person.json("account", "balance")["balance"]["amount"] == 200 * NYM, "a plan costs nothing"


def test_the_plan_follows_measured_use_and_the_number_of_sessions(person):
    """A habit of eight tickets a day and session: books come in time, two sessions need twice as many."""
    person.with_account(2000)
    now = time.time()
    meter = BurnMeter(profile_rates(200_000_000), "standard")
    for day in range(7, 0, -1):
        start = (now // 3600) * 3600 - day * 86_400 + 6 * 3600
        meter.observe(start, start + 4 * 3600, 8.0)

    async def remember(money):
        facts = {"meter": meter.remembered(), "saved_unix": now, "drawn": 0, "sessions": 1}
        await money.store.put_secret(METER, json.dumps(facts).encode())

    from_store(person, remember)
    one = person.json("topup", "plan")
    assert 7.5 < one["tickets_per_day"] < 8.5
    two = person.json("topup", "plan", "--sessions", 2)
    assert 15 < two["tickets_per_day"] < 17
    assert two["cost_unym"] >= one["cost_unym"]
    dear = person.json("topup", "plan", NYMGATE_BUDGET__PER_DAY="50")
    assert [item["refusal"]["code"] for item in dear["purchases"][:1]] == ["E_BUDGET_DAY"]
    assert dear["cost_unym"] == 0


def from_store(person, work):
    """Do something with this person's store, in this process."""
    config = load(environ=person.environ).config
    folder = data_dir(config, person.environ)
    found = resolve_network(config.network, Path(folder))

    async def main():
        async with Money(money_plan(config, found, folder / found.name)) as money:
            return await work(money)

    return asyncio.run(main())


def test_now_buys_one_book_if_the_budget_permits(person):
    person.with_account(400)
    dry = person.json("topup", "now", "--dry-run")
    assert (dry["books"], dry["permitted"], dry["refusal"]) == (1, True, None)
    unasked = person.json("topup", "now", code=2)
    assert "--yes" in unasked["todo"]
    assert len(person.json("topup", "now", "--yes")["bought"]) == 1
    assert "book 2: 50 tickets" in person.run("topup", "now", "--yes").stdout
    # 150 NYM a day are the default: now they are spent, for every command.
    for command in (("topup", "now", "--yes"), BUY):
        error = person.json(*command, code=3)
        assert (error["code"], error["layer"]) == ("E_BUDGET_DAY", "wallet")
        assert "150 NYM of 150 NYM are spent" in error["what"]
        assert error["todo"].startswith("Nothing was signed.")
    dry = person.json("topup", "now", "--dry-run")
    assert (dry["permitted"], dry["refusal"]["code"]) == (False, "E_BUDGET_DAY")
    assert dry["refusal"]["until_unix"] % 86_400 == 0
    assert "it would be refused" in person.run("topup", "now", "--dry-run").stdout
    assert person.json("tickets", "pending") == {"purchases": []}
    assert 249 * NYM < person.json("account", "balance")["balance"]["amount"] < 250 * NYM
    assert person.json("topup", "now", "--yes", NYMGATE_BUDGET__PER_DAY="none")["bought"]


@pytest.mark.parametrize(
    "name, value, amount, code",
    [
        ("MAX_PRICE", "74.999999 NYM", 1, "E_BUDGET_PRICE"),
        ("PER_DEPOSIT", "75 NYM", 1, "E_BUDGET_DEPOSIT"),
        ("PER_MONTH", "149 NYM", 2, "E_BUDGET_MONTH"),
        ("PER_DAY", "100", 2, "E_BUDGET_DAY"),
        ("RESERVE", "150 NYM", 1, "E_BUDGET_RESERVE"),
    ],
)
def test_each_limit_refuses_before_anything_is_signed(person, name, value, amount, code):
    person.with_account(200)
    given = {f"NYMGATE_BUDGET__{name}": value}
    words = ("account", "obtain-ticketbooks", "--amount", amount, "--yes")
    assert person.json(*words, code=3, **given)["code"] == code
    assert person.json("account", "balance")["balance"]["amount"] == 200 * NYM
    assert person.json("ledger")["deposits"] == []


def test_the_ledger_has_every_deposit_book_and_ticket_and_agrees_with_the_chain(person, tmp_path):
    empty = person.json("ledger", "--reconcile")
    assert (empty["deposits"], empty["reconciliation"]) == ([], {})
    person.with_account(200)
    person.json(*BUY)
    found = person.json("ledger", "--tickets", "--reconcile")
    [deposit], [book] = found["deposits"], found["books"]
    assert (deposit["price_unym"], deposit["account"], deposit["state"]) == (
        75 * NYM,
        person.address,
        "issued",
    )
    assert (book["purchase_id"], book["tickets"], book["fresh"]) == (deposit["purchase_id"], 50, 50)
    assert found["problems"] == found["tickets"] == []
    assert found["totals"]["paid_unym"] == 75 * NYM
    compared = found["reconciliation"][person.address]
    assert (compared["balanced"], compared["matched"]) == (True, 1)
    text = person.run("ledger", "--reconcile")
    assert text.returncode == 0, text.stderr
    assert "paid     75 NYM for 1 deposit\n" in text.stdout
    assert "1 deposit is the same in the ledger and on the chain." in text.stdout
    assert person.phrase.split()[0] + " " not in text.stdout
    assert json.loads(person.run("ledger", "--format", "json").stdout)["deposits"] == found["deposits"]
    [row] = csv.DictReader(io.StringIO(person.run("ledger", "--format", "csv").stdout))
    assert (row["price_unym"], row["price_nym"]) == (str(75 * NYM), "75")
    assert (row["tx_hash"], row["deposit_id"]) == (deposit["tx_hash"], str(deposit["deposit_id"]))
    [row] = csv.DictReader(io.StringIO(person.run("ledger", "--format", "csv", "--table", "books").stdout))
    assert row["accepted"] == "0"
    tickets = person.run("ledger", "--format", "csv", "--tickets").stdout
    assert tickets.splitlines()[0].startswith("book_id,index,state")
    for words in (("--format", "csv", "--json"), ("--table", "books")):
        assert person.run("ledger", *words).returncode == 2


def test_a_deposit_that_this_store_does_not_know_is_a_difference(person, tmp_path):
    """The same account pays from two stores."""
    person.with_account(200)
    other = {"NYMGATE_STORE__URL": str(tmp_path / "other.sqlite")}
    file = tmp_path / "phrase"
    file.write_text(person.phrase)
    other["NYMGATE_ACCOUNT__PHRASE_FILE"] = str(file)
    person.json(*BUY, **other)
    done = person.run("ledger", "--reconcile")
    assert done.returncode == 1
    assert "is on the chain, and not in this ledger" in done.stdout
    done = person.run("ledger", "--reconcile", "--json")
    assert done.returncode == 1
    compared = json.loads(done.stdout)["reconciliation"][person.address]
    assert (compared["balanced"], len(compared["unknown"])) == (False, 1)
    assert compared["unknown"][0]["price_unym"] == 75 * NYM
    assert person.json("ledger", "--reconcile", **other)["reconciliation"][person.address]["balanced"]


@pytest.mark.parametrize("words", [("topup", "plan"), ("topup", "now", "--yes"), ("ledger", "--reconcile")])
def test_a_chain_out_of_reach_is_code_4(person, paid_network, tmp_path, words):
    text = (paid_network.net.data_dir / "localnet.toml").read_text()
    lost = tmp_path / "lost.toml"
    lost.write_text(text.replace(paid_network.net.payments.rpc_url, "http://127.0.0.1:9"))
    given = {"NYMGATE_NETWORK": str(lost), "NYMGATE_STORE__URL": str(tmp_path / "store.sqlite")}
    person.json("account", "set", stdin=person.phrase, **given)
    assert person.json(*words, code=4, **given)["layer"] == "chain"
