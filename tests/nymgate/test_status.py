"""What is said of a running proxy: the record behind `nymgate status`, the page and the API, and the command."""

import asyncio
import dataclasses
import io
import json
import os
import pty
import signal
import subprocess
import sys

import pytest
from hypothesis import given
from rich.console import Console
from typer.testing import CliRunner

from nym_mixnet.profiles import PROFILES
from nymgate.cli import app
from nymgate.cli.status_view import view
from nymgate.watch.health import LAYERS, Facts, judge
from nymgate.watch.page import whole_page
from nymgate.watch.snapshot import Identities, Links, Snapshot, merge
from nymgate.watch.snapshot_json import plain, record
from nymgate.watch.status import Status, status_of
from nymgate.watch.status_text import status_lines
from tests.nymgate.snapshots import snapshots
from tests.nymgate.test_healthcheck import running
from tests.nymgate.web_world import (
    AWAKE_HOURS,
    BROKEN,
    EXITS,
    FULL_ADDRESS,
    HOURS,
    LOW,
    NOW,
    World,
    control_server,
    snapshot,
)


def found(facts=None, **more):
    return status_of(snapshot(facts, **more) if facts else snapshot(**more), EXITS)


def test_the_cost_of_every_profile_is_shown():
    status = found()
    assert [row.profile for row in status.costs] == ["standard", "fast", "thrifty", "uncovered"]
    for row in status.costs:
        costs = PROFILES[row.profile].costs()
        assert row.tickets_per_hour == pytest.approx(costs.tickets_per_hour)
        assert row.tickets_per_day == pytest.approx(24 * costs.tickets_per_hour)
        assert row.unym_per_day == pytest.approx(row.tickets_per_day * 1_500_000), "75 NYM for 50 tickets"
    assert [row.in_use for row in status.costs] == [True, False, False, False]
    assert found(profile="thrifty").costs[0].profile == "thrifty"


def test_costs_are_times_workers_and_identities():
    one, other = found(), found(identities=Identities({"busy": 2, "asleep": 1}, 3 * AWAKE_HOURS * 3600))
    for single, triple in zip(one.costs, other.costs, strict=True):
        assert triple.tickets_per_hour == pytest.approx(3 * single.tickets_per_hour)
        assert triple.bytes_per_hour == pytest.approx(3 * single.bytes_per_hour)
    assert other.tickets.hours_awake == pytest.approx(one.tickets.hours_awake / 3)
    assert other.privacy.identities_awake == 2
    both = status_of(merge([snapshot(), snapshot()]), EXITS)
    assert (both.workers, both.privacy.identities) == (2, 2)
    assert both.costs[0].tickets_per_day == pytest.approx(2 * one.costs[0].tickets_per_day)


def test_a_network_with_small_tickets_takes_more_of_them():
    one, other = found(), status_of(snapshot(), EXITS, ticket_bytes=2_000_000)
    for usual, small in zip(one.costs, other.costs, strict=True):
        assert small.tickets_per_day == pytest.approx(100 * usual.tickets_per_day)
        assert small.tickets_per_day_used == usual.tickets_per_day_used or (
            small.tickets_per_day_used == pytest.approx(100 * usual.tickets_per_day_used)
        )
    assert other.tickets.hours_awake == pytest.approx(one.tickets.hours_awake / 100)


def test_a_day_as_used_so_far():
    status = found()
    hours = AWAKE_HOURS / HOURS * 24
    assert status.hours_awake_a_day == pytest.approx(hours)
    used = {row.profile: row.tickets_per_day_used for row in status.costs}
    assert used["standard"] == pytest.approx(2_700_000_000 / 200_000_000 / HOURS * 24), "what was charged"
    assert used["fast"] == pytest.approx(PROFILES["fast"].costs().tickets_per_hour * hours)
    assert used["uncovered"] is None
    young = found(started_unix=NOW - 60)
    assert all(row.tickets_per_day_used is None for row in young.costs), "a minute says nothing of a day"
    idle = found(identities=Identities({"asleep": 1}, 0.0), links=Links())
    assert idle.costs[0].tickets_per_day_used == 0
    assert idle.hours_awake_a_day is None


def test_tickets_money_and_budget():
    status = found()
    assert (status.tickets.remaining, status.tickets.spent, status.tickets.given_up) == (84, 14, 1)
    assert status.tickets.until == "2026-09-28"
    assert status.tickets.hours_awake == pytest.approx(84 / 2.3886, rel=1e-3)
    assert [(one.period, one.left_unym) for one in status.budget] == [
        ("day", 75_000_000),
        ("month", 1_350_000_000),
    ]
    free = found(money=None)
    assert (free.tickets, free.budget, free.balance_unym) == (None, (), None)
    assert all(row.unym_per_day is None for row in free.costs)
    assert "free allowance" in "\n".join(status_lines(free))


@pytest.mark.parametrize(
    ("facts", "first"),
    [
        (None, "ready: Streams get through."),
        (LOW, ("degraded: signers: Three of five signers do not answer, so no ticketbook can be bought. "
              "It is tried again by itself. [E_SIGNERS]")),
        (BROKEN, ("not ready: exit: The exit does not answer: no answer in 5 s. Another exit is tried by itself where "
                 "`mixnet.exit` permits it; see `nymgate exits`. [E_EXIT_SILENT]")),
    ],
)  # fmt: skip
def test_the_first_line_is_the_verdict(facts, first):
    lines = status_lines(found(facts))
    assert lines[0] == first
    text = "\n".join(lines)
    for layer in LAYERS:
        assert f"    {layer} " in text
    assert FULL_ADDRESS not in text
    assert "7fXqZ2Wc… in use, CH" in text
    assert "Cv8Lp1Hd" not in text, "nobody has asked that one"
    assert "84 left" in text


@given(snapshots())
def test_any_snapshot_can_be_shown_everywhere(drawn):
    status = status_of(drawn, EXITS)
    assert record(Status, json.loads(json.dumps(plain(status)))) == record(Status, plain(status))
    assert status_lines(status)
    assert whole_page(status, "http://127.0.0.1:1/proxy.pac").endswith("</html>\n")
    console = Console(file=io.StringIO(), width=80)
    console.print(view(status))


def test_nothing_on_the_page_is_markup_from_elsewhere():
    evil = "<script>alert(1)</script>"
    health = dataclasses.replace(judge(Facts(NOW)), what=evil, todo=evil, layer=evil, code=evil)
    status = status_of(snapshot(version=evil, network=evil, health=health), EXITS)
    assert "<script>alert" not in whole_page(status, evil)


def test_before_anything_is_known():
    status = status_of(Snapshot(), [])
    assert not status.ready
    assert [one.layer for one in status.layers] == list(LAYERS)
    assert status_lines(status)[0].startswith("not ready")


# ---- the command --------------------------------------------------------------------------------------------------


def ask(folder, *arguments):
    return CliRunner(env={"HOME": str(folder), "NYMGATE_NETWORK": "sandbox"}).invoke(
        app, ["status", "--data-dir", str(folder), *arguments]
    )


@pytest.mark.parametrize(("facts", "code"), [(None, 0), (LOW, 0), (BROKEN, 1)])
def test_the_exit_code_says_whether_streams_get_through(tmp_path, facts, code):
    world = World()
    world.now = snapshot(facts) if facts else snapshot()
    with running(lambda: control_server(world, tmp_path / "sandbox")):
        result = ask(tmp_path)
        assert result.exit_code == code, result.output
        assert result.output.splitlines() == status_lines(status_of(world.now, EXITS))
        result = ask(tmp_path, "--json")
        assert result.exit_code == code
        body = json.loads(result.output)
        assert body["ready"] is (code == 0)
        assert body["tickets"]["remaining"] == 84
        assert body["costs"][0]["tickets_per_day"] == pytest.approx(57.3, abs=0.1)
        assert record(Status, body) == status_of(world.now, EXITS)


def test_nobody_there(tmp_path):
    result = ask(tmp_path)
    assert result.exit_code == 1
    (line,) = result.output.splitlines()
    assert line.startswith("not running: No running nymgate answers")
    assert "nymgate run" in line
    body = json.loads(ask(tmp_path, "--json").output)
    assert (body["ready"], body["code"]) == (False, "E_NOT_RUNNING")


def test_watch_follows_on_a_terminal_and_ends_with_ctrl_c(tmp_path):
    world = World()
    command = [sys.executable, "-m", "nymgate", "status", "--watch", "--data-dir", str(tmp_path)]
    env = {"PATH": os.environ["PATH"], "HOME": str(tmp_path), "NYMGATE_NETWORK": "sandbox", "TERM": "xterm"}
    env |= {"COLUMNS": "160", "LINES": "60"}
    with running(lambda: control_server(world, tmp_path / "sandbox")):
        ours, theirs = pty.openpty()
        process = subprocess.Popen(command, env=env, stdin=theirs, stdout=theirs, stderr=theirs)
        os.close(theirs)
        try:
            seen = read_until(ours, "84 left")
            assert "Ctrl-C ends this view" in read_until(ours, "Ctrl-C ends this view", seen)
            world.now = snapshot(BROKEN)
            assert "not ready: exit" in read_until(ours, "not ready: exit")
            process.send_signal(signal.SIGINT)
            rest = read_until(ours, None)
            assert process.wait(30) == 1, "as the last look was"
        finally:
            process.kill()
            process.wait()
            os.close(ours)
    assert "Traceback" not in rest
    assert "\x1b[?1049l" in rest, "the terminal is as it was"


def read_until(descriptor, text, seen=""):
    """What a terminal shows until that text, or the end."""
    while text is None or text not in seen:
        try:
            data = os.read(descriptor, 65536)
        except OSError:
            data = b""
        if not data:
            assert text is None, seen
            break
        seen += data.decode(errors="replace")
    return seen


async def test_watch_with_json_is_a_line_for_each_look(tmp_path):
    world = World()
    command = ["-m", "nymgate", "status", "--watch", "--json", "--data-dir", str(tmp_path)]
    env = {"PATH": os.environ["PATH"], "HOME": str(tmp_path), "NYMGATE_NETWORK": "sandbox"}
    env["PYTHONUNBUFFERED"] = "1"
    async with control_server(world, tmp_path / "sandbox"):
        process = await asyncio.create_subprocess_exec(
            sys.executable, *command, env=env, stdout=subprocess.PIPE, stderr=subprocess.PIPE
        )
        try:
            async with asyncio.timeout(60):
                for _ in range(2):
                    assert json.loads(await process.stdout.readline())["ready"] is True
                process.send_signal(signal.SIGINT)
                _, errors = await process.communicate()
        finally:
            if process.returncode is None:
                process.kill()
    assert process.returncode == 0
    assert errors == b""
