"""The PAC file, evaluated by a real engine of JavaScript."""

import json
import shutil
import subprocess

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from nymgate.apps.pac import pac_file
from nymgate.apps.reachable import Reachable

URLS = [
    "https://example.com/",
    "http://example.com:8080/a?b=c",
    "http://localhost/",
    "http://127.0.0.1:8000/",
    "http://[::1]/",
    "http://192.168.1.1/",
    "http://plain/",
    "http://printer.local/",
    "ws://example.com/",
    "wss://example.com/",
    "ftp://example.com/",
    "file:///etc/passwd",
]
# What browsers offer to such files; every one of them that looks a name up fails here.
EVALUATE = """
const vm = require("vm");
const {text, urls} = JSON.parse(require("fs").readFileSync(0, "utf8"));
const forbidden = () => { throw new Error("looked up a name"); };
const world = {};
for (const name of ["dnsResolve", "dnsResolveEx", "isResolvable", "isResolvableEx", "isInNet", "isInNetEx",
                    "myIpAddress", "myIpAddressEx"]) world[name] = forbidden;
vm.createContext(world);
vm.runInContext(text, world);
const hostOf = (url) => new URL(url).hostname;
console.log(JSON.stringify(urls.map((url) => world.FindProxyForURL(url, hostOf(url)))));
"""


def evaluate(text, urls=URLS):
    node = shutil.which("node") or pytest.fail("node is needed by this test")
    done = subprocess.run(
        [node, "-e", EVALUATE],
        input=json.dumps({"text": text, "urls": urls}),
        capture_output=True,
        text=True,
        check=True,
    )
    return json.loads(done.stdout)


def test_everything_goes_to_the_proxy():
    at = Reachable.of([("127.0.0.1", 1080)], [], [])
    assert set(evaluate(pac_file(at))) == {"SOCKS5 127.0.0.1:1080"}


def test_every_listener_is_a_choice():
    at = Reachable.of([("0.0.0.0", 1080), ("::1", 1080)], [("127.0.0.1", 1081)], [("127.0.0.1", 8118)])
    assert set(evaluate(pac_file(at))) == {
        "SOCKS5 127.0.0.1:1080; SOCKS5 [::1]:1080; SOCKS5 127.0.0.1:1081; PROXY 127.0.0.1:8118"
    }
    assert set(evaluate(pac_file(Reachable.of([], [], [("127.0.0.1", 8118)])))) == {"PROXY 127.0.0.1:8118"}


def test_without_a_listener_nothing_is_reached():
    assert set(evaluate(pac_file(Reachable((), ())))) == {"PROXY 127.0.0.1:9"}


ADDRESSES = st.lists(
    st.tuples(st.ip_addresses().map(str).filter(lambda text: "%" not in text), st.integers(1, 65535)),
    max_size=3,
)


@given(ADDRESSES, ADDRESSES, ADDRESSES)
@settings(max_examples=10, deadline=None)
def test_there_is_no_direct(mixed, socks, http):
    text = pac_file(Reachable.of(mixed, socks, http))
    text.encode("ascii")
    for answer in evaluate(text):
        kinds = {choice.split()[0] for choice in answer.split("; ")}
        assert kinds
        assert kinds <= {"SOCKS5", "PROXY"}
        assert all(choice.count(" ") == 1 for choice in answer.split("; "))
