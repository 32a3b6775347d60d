"""The control API of real proxies: one process, several workers, and one that pays."""

import asyncio
import contextlib
import json

import aiohttp
import pytest
from typer.testing import CliRunner

from nym_localnet.background_io import BackgroundLocalnet
from nym_localnet.options import LocalnetOptions, Mode
from nymgate.cli import app
from nymgate.daemon import Proxy
from nymgate.watch.asking_io import ask_folder
from nymgate.watch.control_api import OPERATIONS, PREFIX, control_page
from nymgate.watch.events import KINDS, changes
from nymgate.watch.health import Facts, judge
from nymgate.watch.snapshot import Identities, Money, Purse, Snapshot, TicketStock, TopUp
from tests.nymgate.paid_world import NYM, account_with, plan_for
from tests.nymgate.running import running
from tests.nymgate.socks_client import through
from tests.nymgate.test_end_to_end import website
from tests.nymgate.test_web import event
from tests.nymgate.web_world import BROKEN, NOW, snapshot

LIMIT_SECONDS = 90.0


@pytest.fixture(scope="module")
def network():
    with BackgroundLocalnet(LocalnetOptions(mode=Mode.PROCESSES)) as background:
        yield background.net


# ---- what an event is ---------------------------------------------------------------------------------------------


def kinds(before, after):
    return [one.kind for one in changes(before, after)]


def test_nothing_has_changed():
    assert changes(snapshot(), snapshot(taken_unix=NOW + 5)) == []


def test_each_kind_of_change_is_told_and_documented():
    before = snapshot()
    spent = Money(
        purse=Purse(tickets={"v1-mixnet-entry": TicketStock(remaining=83, accepted=15)}, deposits=3),
        topup=TopUp(supply="degraded", hindrance="E_SIGNERS", bought=3),
    )
    after = snapshot(
        BROKEN,
        workers=0,
        money=spent,
        identities=Identities({"busy": 1, "awake": 1}, 1.0, made=2),
        links=before.links.__class__({"connecting": 1}),
        exits=before.exits.__class__({"in_use": 1}, 3),
    )
    found = {one.kind: one.facts for one in changes(before, after)}
    assert set(found) == set(KINDS)
    assert found["identities"] == {"made": 2, "closed": 1, "states": {"busy": 1, "awake": 1}}
    assert found["purchase"] == {"bought": 1, "deposits": 3}
    assert found["tickets"]["accepted"] == 15
    assert found["supply"]["code"] == "E_SIGNERS"
    assert found["health"]["layer"] == "exit"
    page = control_page()
    assert all(f"`{kind}`" in page for kind in KINDS)
    assert all(f"`{one.method} {PREFIX}{one.path}`" in page for one in OPERATIONS)


def test_a_proxy_that_begins_to_pay_and_one_that_was_never_looked_at():
    assert "tickets" in kinds(snapshot(money=None), snapshot())
    assert kinds(Snapshot(), Snapshot(health=judge(Facts(NOW)))) != []


# ---- real ones ----------------------------------------------------------------------------------------------------


class Client:
    """By the port for people, with the token of the data folder."""

    def __init__(self, session, url, folder):
        token = (folder / "web.token").read_text().strip()
        self.session, self.url = session, url
        self.headers = {"Authorization": f"Bearer {token}"}

    async def get(self, path):
        async with self.session.get(f"{self.url}api/{path}", headers=self.headers) as answer:
            return answer.status, await answer.json()

    async def post(self, path, **body):
        async with self.session.post(f"{self.url}api/{path}", headers=self.headers, json=body) as answer:
            return answer.status, await answer.json()

    async def until(self, wanted):
        """Ask for the status until it is as wanted."""
        while not wanted(status := (await self.get("status"))[1]):  # noqa: ASYNC110 - by HTTP there is no event
            await asyncio.sleep(0.2)
        return status


@contextlib.asynccontextmanager
async def client(url, folder):
    async with aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(LIMIT_SECONDS)) as session:
        yield Client(session, url, folder)


async def test_one_process_is_asked_reloaded_and_ended(network, tmp_path):
    file = tmp_path / "nymgate.toml"
    file.write_text("[streams]\nlimit = 50\n")
    arguments = ["--network", str(network.data_dir / "localnet.toml"), "--profile", "uncovered"]
    arguments += ["--listen", "127.0.0.1:0", "--config", str(file)]
    environ = {"NYMGATE_LISTEN__METRICS": "", "NYMGATE_LISTEN__WEB": "127.0.0.1:0"}
    folder = tmp_path / "data" / "localnet"
    async with running(tmp_path, *arguments, environ=environ) as run:
        found = await run.says(r"page +(http://127\.0\.0\.1:\d+/) \(PAC file for browsers: (\S+)\)")
        assert found[2] == f"{found[1]}proxy.pac"
        async with client(found[1], folder) as api:
            status, body = await api.get("status")
            assert (status, body["network"], body["tickets"]) == (200, "localnet", None)
            over_socket = await asyncio.to_thread(ask_folder, folder, f"{PREFIX}/status")
            assert json.loads(over_socket.body)["network"] == "localnet"
            (way,) = (await api.get("exits"))[1]
            assert (way["state"], len(way["exit"])) == ("in use", 8)
            lines = (await api.get("logs"))[1]
            assert "listening" in [line["event"] for line in lines]
            assert (await api.get("topup/plan"))[0] == 403, "nothing is paid here"
            file.write_text("[streams]\nlimit = 60\n")
            assert await api.post("reload") == (202, {"reloading": True})
            await run.says(r"streams\.limit.*reloaded|reloaded.*streams\.limit")
            async with api.session.get(found[2]) as answer:
                assert f"SOCKS5 127.0.0.1:{run.port}" in await answer.text()
            async with api.session.get(f"{found[1]}api/events", headers=api.headers) as events:
                assert (await event(events))[0] == "status"
                assert await api.post("drain") == (202, {"draining": True})
                assert await run.end() == 0
    assert "Traceback" not in run.said


@pytest.mark.slow
async def test_workers_are_one_proxy(network, tmp_path):
    arguments = ["--network", str(network.data_dir / "localnet.toml"), "--profile", "uncovered"]
    arguments += ["--listen", "127.0.0.1:0", "--workers", "2"]
    environ = {"NYMGATE_LISTEN__METRICS": "", "NYMGATE_LISTEN__WEB": "127.0.0.1:0"}
    folder = tmp_path / "data" / "localnet"
    async with website() as web_port, running(tmp_path, *arguments, environ=environ) as run:
        found = await run.says(r"page +(http://127\.0\.0\.1:\d+/) ")
        async with client(found[1], folder) as api, asyncio.timeout(LIMIT_SECONDS):
            await api.until(lambda status: status["workers_ready"] == 2)
            for _ in range(4):
                async with through(run.port, "localhost", web_port) as (reader, writer, reply):
                    assert reply == 0
                    writer.write(b"GET / HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")
                    assert await reader.read()
            body = await api.until(lambda status: status["streams"]["ok"] >= 4)
            assert (body["workers"], body["privacy"]["identities"]) == (2, 2)
            assert len((await api.get("exits"))[1]) == 2
            assert {line.get("worker") for line in (await api.get("logs"))[1]} >= {None, 1, 2}
            words = ["status", "--data-dir", str(tmp_path / "data"), "--network", arguments[1]]
            said = await asyncio.to_thread(CliRunner(env={"HOME": str(tmp_path)}).invoke, app, words)
            assert said.exit_code == 0, said.output
            assert "2 of 2 workers ready" in said.output
            assert (await api.post("drain"))[0] == 202
            assert await run.end() == 0
    assert "Traceback" not in run.said


@contextlib.asynccontextmanager
async def paying(network, folder, **flags):
    plan = plan_for(network.net, folder, **{"listen.web": "127.0.0.1:0"} | flags)
    async with account_with(network.net, plan, nym=0) as money:
        address = (await money.wallet()).address
    await asyncio.to_thread(lambda: network.do(network.net.payments.fund(address, 200 * NYM)))
    async with Proxy(plan) as proxy, client(proxy.watch.web.url, plan.folder) as api:
        yield proxy, api


async def test_a_book_is_bought_within_the_budget_and_everybody_sees_it(paid_network, tmp_path):
    flags = {"budget.per_day": "80 NYM"}
    async with paying(paid_network, tmp_path, **flags) as (proxy, api), asyncio.timeout(LIMIT_SECONDS):
        assert (await api.get("status"))[1]["tickets"]["remaining"] == 0
        status, offer = await api.post("topup/now", dry_run=True)
        assert (status, offer["permitted"]) == (200, True)
        assert (await api.get("status"))[1]["paid_unym"] == 0, "nothing was paid"
        for wrong in ({"dry_run": "yes"}, {"amount": 5}):
            assert (await api.post("topup/now", **wrong))[0] == 400
        async with api.session.get(f"{api.url}api/events", headers=api.headers) as events:
            assert (await event(events))[0] == "status"
            status, bought = await api.post("topup/now")
            assert status == 200, bought
            assert bought["bought"][0]["paid"] is True
            kind, data = await event(events)
            while kind != "purchase":
                kind, data = await event(events)
            assert data["deposits"] == 1
        await proxy.ready()
        found = await api.until(lambda status: status["tickets"]["spent"] > 0)
        tickets = found["tickets"]
        assert tickets["remaining"] + tickets["in_use"] + tickets["spent"] == 50
        assert found["paid_unym"] >= 75 * NYM
        assert found["price_unym"] == 75 * NYM
        assert found["costs"][0]["profile"] == "uncovered"
        assert found["costs"][1]["unym_per_hour"] > 3 * NYM
        assert found["budget"][0] == {
            "period": "day",
            "limit_unym": 80 * NYM,
            "spent_unym": 75 * NYM,
            "left_unym": 5 * NYM,
        }
        status, refusal = await api.post("topup/now")
        assert (status, refusal["error"]["layer"]) == (403, "wallet")
        assert (await api.get("topup/plan?days=1"))[1]["tops_up"] is False
        assert (await api.get("topup/plan?days=0"))[0] == 400
        assert (await api.get("topup/plan?days=nan"))[0] == 400
        assert (await api.get("tickets"))[1]["purse"]["deposits"] == 1
