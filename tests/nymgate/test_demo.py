"""The demo: as a process, and what it does when something is wrong."""

import json
import os
import subprocess
import sys
from dataclasses import replace

import pytest
from typer.testing import CliRunner

from nymgate.cli import app
from nymgate.cli.demo_fetch import Fetched, Fetcher
from nymgate.cli.demo_money import Bought
from nymgate.cli.demo_show import Show, rows
from nymgate.cli.demo_site import Site
from nymgate.errors import DemoFailed
from nymgate.listener.server import SocksServer
from tests.nymgate.listener_upstreams import RefusingUpstream

pytestmark = pytest.mark.timeout(200)  # the demo gives itself two minutes

NYMGATE = [sys.executable, "-c", "from nymgate.cli import main; main()"]


def demo(*flags, **environ):
    return subprocess.run(
        [*NYMGATE, "demo", *flags],
        capture_output=True,
        text=True,
        timeout=150,
        check=False,
        env=os.environ | environ,
    )


def test_it_shows_the_main_job_and_leaves_nothing_behind(tmp_path):
    result = demo("--size", "400000", TMPDIR=str(tmp_path), HOME=str(tmp_path))
    assert (result.returncode, result.stderr) == (0, "")
    for text in (
        "gateway",
        "layer 2",
        "first byte",
        "SHA-256 right",
        "cover",
        "acknowledgements",
        "tickets",
        "from the faucet",
        "deposit in the e-cash contract",
        "cost: 75 NYM",
        "cost: 1 ticket",
        "paid with 1 of 50 tickets",
        "now try",
    ):
        assert text in result.stdout, text
    assert "curl" in result.stdout
    assert list(tmp_path.iterdir()) == []


@pytest.mark.slow
def test_for_programs_it_is_one_object(tmp_path):
    result = demo("--size", "100000", "--json", TMPDIR=str(tmp_path))
    shown = json.loads(result.stdout)
    assert result.returncode == 0
    assert shown["file"]["bytes"] == 100_000
    assert len(shown["hops"]) == 5
    assert shown["hops"][0] != shown["hops"][4]
    assert shown["packets"]["replies"] > 60
    assert shown["bytes_charged"] > 100_000
    assert len(shown["page"]) >= 6
    money = shown["money"]
    assert money["price_unym"] == 75_000_000
    assert money["left_unym"] == money["faucet_unym"] - money["price_unym"] - money["fee_unym"]
    assert (money["tickets_bought"], shown["tickets_used"]) == (50, 1)


@pytest.mark.slow
def test_without_curl_it_says_so_and_uses_its_own_client(tmp_path):
    result = demo("--size", "50000", PATH=str(tmp_path), TMPDIR=str(tmp_path))
    assert (result.returncode, result.stderr) == (0, "")
    assert "curl is not installed" in result.stdout
    assert "SHA-256 right" in result.stdout


@pytest.mark.slow
def test_a_difference_of_one_byte_is_an_error(monkeypatch):
    monkeypatch.setattr(Site, "sha256", lambda _site, _path: "0" * 64)
    result = CliRunner().invoke(app, ["demo", "--size", "20000"])
    assert result.exit_code == 1
    assert "differs" in result.stderr
    assert "Traceback" not in result.output


@pytest.mark.parametrize("curl", ["curl", None])
async def test_a_refusal_is_an_error_that_says_so(tmp_path, curl):
    async with SocksServer(RefusingUpstream(ConnectionError())) as server:
        ((_host, port),) = await server.listen([("127.0.0.1", 0)])
        with pytest.raises((DemoFailed, ExceptionGroup)) as caught:
            await Fetcher(port, curl).fetch(["http://localhost:1/"], tmp_path / "out")
    assert caught.group_contains(DemoFailed, match=r"code (97|1)") if curl is None else True


def test_numbers_are_shown_for_people(capsys):
    from nymgate.cli.demo import Result

    fetched = Fetched(4_000_000, "ab", 0.25, 5.0)
    result = Result(
        network_seconds=1.0,
        ready_seconds=0.5,
        entry="gateway1",
        exit="gateway2",
        profile="fast",
        page=(replace(fetched, size=1000),),
        file=fetched,
        packets={
            "sent_real": 1234,
            "sent_reply_packets": 1000,
            "sent_retransmitted": 3,
            "sent_cover": 77,
            "acks": 1200,
            "replies": 2500,
            "lost": 0,
        },
        bytes_charged=100_000_000,
        tool="curl",
        money=Bought(
            address="n1",
            funded=100_000_000,
            price=75_000_000,
            fee=5_000,
            left=24_995_000,
            deposit=0,
            tickets=50,
            ticket_bytes=200_000_000,
        ),
        tickets_used=1,
    )
    table = dict(rows(result))
    assert table["file, 4.0 MB"] == "first byte 0.25 s, 800 kB/s, SHA-256 right"
    assert "1,234 real" in table["packets sent"]
    assert table["bandwidth used"] == "100 MB, paid with 1 of 50 tickets of 200 MB"
    assert table["money"].endswith("75 NYM for the book, 0.005 NYM fee, 24.995 NYM left")
    assert table["cost of what was used"] == "0.75005 NYM at 1.5001 NYM a ticket"
    Show().table(result)
    output = capsys.readouterr().out
    assert "now try" in output
    assert "gateway1" in output
    Show(silent=True).note("nothing")
    assert capsys.readouterr().out == ""
