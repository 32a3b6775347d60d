"""`nymgate store` and a ticket store on PostgreSQL: paid for, moved both ways, and never shown with its password."""

import asyncio
import json
import subprocess
from pathlib import Path

import pytest

from nym_credentials.store.database_io import SCHEMA_HEAD
from nym_credentials.store.upkeep_io import StoreAt, upgrade_store
from tests.credentials.store.postgres import postgres_server
from tests.nymgate.person import NYMGATE, Person

pytestmark = pytest.mark.timeout(300)
BUY = ("account", "obtain-ticketbooks", "--amount", 1, "--yes")
KEY = "5e" * 32


@pytest.fixture(scope="module")
def server():
    with postgres_server() as running:
        yield running


@pytest.fixture
async def url(server):
    """An empty database."""
    return server.url(await server.database())


def files(home):
    return [path for path in Path(home).rglob("*") if path.is_file()]


@pytest.mark.slow
def test_replicas_share_account_books_and_budget_on_postgresql(person, paid_network, url, tmp_path):
    shared = {"NYMGATE_STORE__URL": url, "NYMGATE_STORE__KEY": KEY}
    first = Person(paid_network, tmp_path / "first")
    second = Person(paid_network, tmp_path / "second")
    for replica in (first, second):
        replica.home.mkdir()
        replica.environ |= shared
    first.with_account(400)
    assert second.json("account", "get")["address"] == first.address
    first.json(*BUY)
    second.json(*BUY)
    assert [book["remaining"] for book in second.json("tickets", "list")["books"]] == [50, 50]
    assert first.json(*BUY, code=3)["code"] == "E_BUDGET_DAY", "the cap is on what both spent"
    assert second.json("ledger", "--reconcile")["reconciliation"][first.address]["matched"] == 2
    wrong = second.json("account", "get", code=2, NYMGATE_STORE__KEY="ab" * 32)
    assert wrong["code"] == "E_STORE_KEY_WRONG"
    assert not [path for path in files(tmp_path) if path.suffix in (".sqlite", ".key")]


def test_a_store_moves_to_postgresql_and_back_with_nothing_lost(person, url, tmp_path):
    person.with_account(200)
    person.json(*BUY)
    before = person.json("ledger", "--tickets")
    done = person.json("store", "copy", "configured", url, "--yes")
    assert (done["rows"]["books"], done["rows"]["purchases"], done["resumed"]) == (1, 1, False)
    moved = person.json("tickets", "list", code=2)
    assert moved["code"] == "E_STORE_MOVED"
    shared = {"NYMGATE_STORE__URL": url}
    assert person.json("ledger", "--tickets", **shared) == before
    assert person.json("account", "get", **shared)["address"] == person.address
    # The same once more changes nothing; another source is refused.
    assert person.json("store", "copy", "configured", url, "--yes")["resumed"]
    other = tmp_path / "other.sqlite"
    person.json("account", "set", stdin=person.phrase, NYMGATE_STORE__URL=str(other))
    refused = person.json("store", "copy", str(other), url, "--yes", code=1)
    assert (refused["code"], "empty database" in refused["todo"]) == ("E_STORE_UNUSABLE", True)
    assert person.json("account", "get", NYMGATE_STORE__URL=str(other))["address"] == person.address
    # And back, with a key of its own.
    key = tmp_path / "key"
    key.write_text(KEY)
    back = tmp_path / "back.sqlite"
    text = person.run("store", "copy", url, back, "--to-key-file", key, "--yes")
    assert text.returncode == 0, text.stderr
    assert f"{back} has everything now: " in text.stdout
    given = {"NYMGATE_STORE__URL": f"sqlite+aiosqlite:///{back}", "NYMGATE_STORE__KEY_FILE": str(key)}
    assert person.json("ledger", "--tickets", **given) == before
    assert [book["remaining"] for book in person.json("tickets", "list", **given)["books"]] == [50]
    assert person.json("tickets", "list", code=2, **shared)["code"] == "E_STORE_MOVED"


def test_copying_asks_and_names_places_without_passwords(person, url, tmp_path):
    person.with_account()
    assert person.run("store", "copy", "configured", url).returncode == 2, "nobody to ask"
    secret = "postgresql+asyncpg://nymgate:hunter2@127.0.0.1:9/tickets"
    error = person.json("store", "copy", "configured", secret, "--yes", code=2)
    assert "@FILE" in error["todo"]
    assert "hunter2" not in json.dumps(error)
    file = tmp_path / "url"
    file.write_text(secret + "\n")
    done = person.run("store", "copy", "configured", f"@{file}", "--yes", "-vv", "--json")
    assert done.returncode == 4, done.stderr
    assert "hunter2" not in done.stdout + done.stderr
    [error] = [line for line in done.stderr.splitlines() if line.startswith('{"error"')]
    assert json.loads(error)["error"]["layer"] == "tickets"
    assert person.json("account", "get")["address"] == person.address, "nothing has happened"
    for place in ("mysql://h/db", "postgresql://h"):
        assert person.json("store", "copy", "configured", place, "--yes", code=2)["code"] == "E_CONFIG"
    missing = person.json("store", "copy", str(tmp_path / "none.sqlite"), url, "--yes", code=1)
    assert "no ticket store" in missing["what"]


def test_the_password_of_the_database_is_never_shown(person):
    secret = {"NYMGATE_STORE__URL": "postgresql+asyncpg://nymgate:hunter2@127.0.0.1:9/tickets"}
    shown = person.run("config", "show", **secret)
    assert "<secret>@127.0.0.1:9/tickets" in shown.stdout
    done = person.run("tickets", "list", "-vv", **secret)
    assert done.returncode == 4
    assert "tickets on 127.0.0.1:9" in done.stderr
    for said in (shown, done):
        assert "hunter2" not in said.stdout + said.stderr


@pytest.mark.parametrize("kind", ["sqlite", "postgresql"])
@pytest.mark.slow
def test_an_older_schema_is_brought_up(person, url, tmp_path, kind):
    where = str(tmp_path / "store.sqlite") if kind == "sqlite" else url
    given = {"NYMGATE_STORE__URL": where, "NYMGATE_STORE__KEY": KEY}
    missing = person.json("store", "upgrade", code=1, **given)
    assert "no ticket store" in missing["what"].lower()
    person.json("account", "set", stdin=person.phrase, **given)
    assert person.json("store", "upgrade", **given)["before"] == SCHEMA_HEAD
    if kind == "sqlite":
        asyncio.run(upgrade_store(StoreAt(where), to="0001"))
    else:
        asyncio.run(upgrade_store(StoreAt(where, folder=tmp_path), to="0001"))
    done = person.json("store", "upgrade", **given)
    assert (done["before"], done["after"]) == ("0001", SCHEMA_HEAD)
    assert person.json("account", "get", **given)["address"]


@pytest.mark.slow
def test_a_store_in_use_is_neither_upgraded_nor_copied(person, url, tmp_path):
    person.with_account()
    process = subprocess.Popen(
        [*NYMGATE, "run", "--listen", "127.0.0.1:0", "--json"],
        env=person.environ,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        for line in process.stderr:
            if "listening" in line:
                break
        assert person.json("store", "upgrade", code=6)["code"] == "E_STORE_IN_USE"
        assert person.json("store", "copy", "configured", url, "--yes", code=6)["code"] == "E_STORE_IN_USE"
    finally:
        process.kill()
        process.communicate()
    assert person.json("store", "copy", "configured", url, "--yes")["rows"]["secrets"] >= 1


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["sqlite", "postgresql"])
def test_processes_on_one_store_top_up_once_and_survive_a_kill(person, url, tmp_path, kind):
    """Three proxies start at once with an empty store and a funded account."""
    where = str(tmp_path / "store.sqlite") if kind == "sqlite" else url
    person.environ |= {"NYMGATE_STORE__URL": where, "NYMGATE_STORE__KEY": KEY}
    person.with_account(500)
    processes = [
        subprocess.Popen(
            [*NYMGATE, "run", "--listen", "127.0.0.1:0", "--profile", "uncovered", "--json"],
            env=person.environ | {"NYMGATE_DATA_DIR": str(tmp_path / name), "NYMGATE_LISTEN__METRICS": ""},
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            text=True,
        )
        for name in "abc"
    ]
    try:
        for process in processes:
            assert any('"ready"' in line for line in process.stderr), "it ended before it was ready"
        found = person.json("ledger", "--tickets", "--reconcile")
        assert [line["state"] for line in found["deposits"]] == ["issued"], "one book for all"
        assert found["totals"]["accepted"] == 3
        assert len({(line["book_id"], line["index"]) for line in found["tickets"]}) == 3
        processes[0].kill()
        processes[0].wait()
        assert len(person.json("topup", "now", "--yes")["bought"]) == 1, "nobody holds the turn for ever"
    finally:
        for process in processes:
            process.kill()
            process.communicate()
    found = person.json("ledger", "--reconcile")
    assert found["problems"] == []
    assert found["reconciliation"][person.address]["balanced"]
    assert found["totals"]["paid_unym"] == 150_000_000
