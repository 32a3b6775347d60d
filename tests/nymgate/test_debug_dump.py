"""`nymgate debug-dump`: what is planted everywhere must not be found in it; what helps must."""

import asyncio
import json
import os
import stat
import subprocess
import sys

import pytest
import structlog
from hypothesis import given
from hypothesis import strategies as st

from nym_localnet.background_io import BackgroundLocalnet
from nym_localnet.options import LocalnetOptions, Mode
from nym_sphinx import b58encode
from nymgate.config_layers import settings
from nymgate.logs import configure_logs
from nymgate.sensitive import destination
from nymgate.watch.scrub import Scrubber
from tests.nymgate.socks_client import connect_request, dial
from tests.nymgate.test_end_to_end import website
from tests.nymgate.watched_world import watched

PLANTED = [
    ("the destination was secret-place.example", "secret-place"),
    ("GET https://user:hunter2@secret-place.example/private?x=1", "private?x"),
    ("connected to 203.0.113.77:8443", "203.0.113.77"),
    ("peer 2001:db8:77::beef and [2001:db8:77::beef]:443", "beef"),
    ("peer ::ffff:203.0.113.77", "203.0.113"),
    ("intranet:8080 refused", "intranet"),
    ("mail to alice.liddell@wonder.example", "liddell"),
    ("account n1qyqszqgpqyqszqgpqyqszqgpqyqszqgpjnp7du is empty", "qyqszqgp"),
    ("tx 9F86D081884C7D659A2FEAA0C55AD015A3BF4F1B2B0B822CD15D6C15B0F00A08", "9F86D081884C"),
    ("purchase 01890a5d-ac96-774b-bcce-b302099a8057", "ac96-774b"),
    ("gateway 2BuMSfMW3zpeAjKXyKLhmY4QW1DXurrtSPEJ6CjX3SEh", "MW3zpeAjKXy"),
    ("keys in /home/alice/.local/share/nymgate/mainnet/keys", "alice"),
    ("keys in ~/Documents/taxes", "taxes"),
    (r"keys in C:\Users\alice\keys", "alice"),
    ("the account holds 412.123456 NYM, 412123456 unym", "412123456"),
    ("the account holds 412.123456 NYM", "412.12"),
    ("deposit at 2026-09-28T10:11:12.131Z", "10:11"),
    ("token sk_live_51H8abcdEFGH2345ijkl", "51H8abcd"),
    ("exotic bücher.example and 例え.テスト", "cher.example"),
    (" ".join(["abandon"] * 23 + ["art"]), "abandon"),
    ("over socks5h://isolated:token77@127.0.0.1:1080", "token77"),
]


@pytest.mark.parametrize(("text", "secret"), PLANTED, ids=range(len(PLANTED)))
def test_what_is_planted_goes(text, secret):
    assert secret in text
    shown = Scrubber({}, settings()).text(text)
    assert secret not in shown
    nested = Scrubber({}, settings()).data({"a": [{"b": text}], text: 1})
    assert secret not in json.dumps(nested, ensure_ascii=False)


@pytest.mark.parametrize(
    "text",
    [
        "The exit does not answer: no answer in 5 s.",
        "Another exit is tried by itself where `mixnet.exit` permits it; see `nymgate exits`.",
        "E_EXIT_POLICY",
        "2 of 4 workers are ready.",
        "standard",
        "Raise [budget] per_day.",
    ],
)
def test_what_helps_stays(text):
    assert Scrubber({}, settings()).text(text) == text


def test_names_of_this_machine_go_wherever_they_stand():
    scrubber = Scrubber({"alice": "user", "/srv/alice": "home", "ab": "user"})
    assert scrubber.text("Alice's keys in /srv/alice, about") == "<user>'s keys in <home>, about"
    assert scrubber.data({"alice": 1}) == {"<user>": 1}


def test_times_are_from_now_and_amounts_go():
    found = Scrubber({}).data({"taken_unix": 90.0, "balance_unym": 5, "x": {"price_unym": None}}, 100.0)
    assert found == {"taken_seconds_from_now": -10, "balance_unym": "<amount>", "x": {"price_unym": None}}


@given(st.binary(min_size=32, max_size=32), st.ip_addresses().map(str))
def test_no_identity_and_no_address_survives(identity, address):
    name = b58encode(identity)
    shown = Scrubber({}, settings()).text(f"at {name} for ({address}), {name}: {address}")
    assert name not in shown
    if (len(address) > 4 and address.count(":") > 1) or "." in address:
        assert address not in shown


@given(st.text(max_size=60))
def test_any_text_can_be_scrubbed(text):
    once = Scrubber({"alice": "user"}, settings()).text(text)
    assert "alice" not in once.lower()


# ---- a running proxy ----------------------------------------------------------------------------------------------


def dump(tmp_path, *arguments, environ=None):
    command = [
        sys.executable,
        "-m",
        "nymgate",
        "debug-dump",
        "--data-dir",
        str(tmp_path / "data"),
        *arguments,
    ]
    env = {"PATH": os.environ["PATH"], "HOME": str(tmp_path), "USER": "alice-liddell"} | (environ or {})
    return subprocess.run(command, env=env, capture_output=True, text=True, timeout=60, check=False)


async def test_secrets_planted_in_a_running_proxy_are_not_in_its_report(tmp_path):
    configuration = tmp_path / "nymgate.toml"
    with BackgroundLocalnet(LocalnetOptions(mode=Mode.PROCESSES)) as background:
        net_file = background.net.data_dir / "localnet.toml"
        configuration.write_text(
            f'network = "{net_file}"\n'
            '[rules]\ndeny = ["forbidden-planet.example", "198.51.100.0/24"]\n'
            '[listen]\nmetrics = ""\nweb_names = ["my-secret-box.lan"]\n'
            "[streams]\nlimit = 77\n[log]\ndestinations = true\n"
        )
        configure_logs(level="debug", style="json", destinations=True)
        flags = {"listen.web": "127.0.0.1:0"}
        async with website() as web_port, watched(background.net, tmp_path / "data", **flags) as proxy:
            async with dial(proxy.addresses[0][1]) as (reader, writer):
                writer.write(b"\x05\x01\x02\x01\x0cplanted-user\x0bplanted-key")
                assert await reader.readexactly(4) == b"\x05\x02\x01\x00"
                writer.write(connect_request("localhost", web_port))
                assert (await reader.readexactly(10))[1] == 0
                writer.write(
                    b"GET /planted-path HTTP/1.1\r\nHost: planted-host.example\r\nConnection: close\r\n\r\n"
                )
                assert await reader.read()
            log = structlog.get_logger("nymgate.test")
            for text, _secret in PLANTED:
                log.warning("planted.here", reason=text, to=destination("planted-target.example:443"))
                log.warning("planted.there", extra={"list": [text]})
            token = (proxy.plan.folder / "web.token").read_text().strip()
            folder = proxy.plan.folder
            # The report is asked for by a configuration of its own, as a person would.
            assert folder.is_relative_to(tmp_path)
            identities = {b58encode(proxy.connected.entry.identity), str(proxy.connected.exit.recipient)}
            ports = {str(web_port), str(proxy.addresses[0][1])}
            (tmp_path / "data").mkdir(exist_ok=True)
            done = await asyncio.to_thread(
                dump, tmp_path, str(tmp_path / "report.txt"), "--config", str(configuration)
            )
    assert done.returncode == 0, done.stderr
    path = tmp_path / "report.txt"
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    text = path.read_text()
    secrets = {secret for _text, secret in PLANTED} | identities | {token, str(tmp_path), "alice-liddell"}
    secrets |= {"planted-user", "planted-key", "planted-path", "planted-host", "planted-target"}
    secrets |= {"forbidden-planet", "198.51.100", "my-secret-box"}
    for secret in secrets:
        assert secret not in text, secret
    for port in ports:
        assert f":{port}" not in text
    # And it is not empty.
    assert '"streams.limit"' in text
    assert "77" in text
    assert '"what": "Streams get through."' in text
    assert '"planted.here"' in text
    assert text.count("planted.there") == len(PLANTED)
    assert '"sent_first"' in text


def test_without_a_running_proxy_it_says_so(tmp_path):
    done = dump(tmp_path, "--json")
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    assert "No running nymgate answers" in found["proxy"]
    assert str(tmp_path) not in done.stdout
    assert found["versions"]["nymgate"]


def test_a_place_that_cannot_be_written_is_an_error(tmp_path):
    done = dump(tmp_path, str(tmp_path / "nowhere" / "report.txt"))
    assert done.returncode == 2
    assert "cannot be written" in done.stderr
