"""Where streams may go: every spelling of a place is that place."""

import ipaddress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nymgate.access.addresses import PRIVATE_NETWORKS, place, plain_address
from nymgate.access.rules import EVERYWHERE, Verdict, destination_rules, parse_pattern
from nymgate.listener.handshake import Target

PUBLIC = destination_rules([], [], private=False)


def judge(host, port=80, *, allow=(), deny=(), private=False):
    return destination_rules(allow, deny, private=private).judge(Target(host, port))


@pytest.mark.parametrize(
    "host",
    [
        *("127.0.0.1", "127.1", "0x7f.1", "0x7F000001", "2130706433", "017700000001", "0177.0.0.1", "127.0.0.1."),
        *("0", "0.0.0.0", "10.0.0.08", "10.255.255.255", "172.16.0.1", "172.31.9.9", "192.168.1.1", "169.254.169.254"),
        *("100.64.0.1", "224.0.0.1", "255.255.255.255", "192.0.2.1", "198.18.0.1"),
        *("::1", "::", "fe80::1", "fe80::1%eth0", "fc00::1", "fd12::1", "ff02::1", "[::1]", "2001:db8::1"),
        *("::ffff:127.0.0.1", "::ffff:7f00:1", "::FFFF:10.0.0.1", "::127.0.0.1", "64:ff9b::7f00:1"),
        *("64:ff9b:1::a00:1", "2002:7f00:1::", "2002:c0a8:101::1", "2001:0:7f00:1::"),
        *("localhost", "LOCALHOST", "localhost.", "a.localhost", "printer", "printer.", "router.lan", "x.home.arpa"),
        *("db.internal", "mac.local", "MAC.Local.", "x.intranet", "wiki.corp", "1.0.0.127.in-addr.arpa", "x.onion"),
        *("１２７.0.0.1", "127。0。0。1", "⑩.0.0.1", "ｌｏｃａｌｈｏｓｔ", "localhost。", "ｆｏｏ．ｌｏｃａｌ"),
    ],
)  # fmt: skip
def test_private_places_are_refused_in_every_spelling(host):
    assert PUBLIC.judge(Target(host, 80)) is Verdict.PRIVATE
    assert EVERYWHERE.judge(Target(host, 80)) is Verdict.PERMITTED


@pytest.mark.parametrize(
    "host",
    [
        *("1.1.1.1", "8.8.8.8", "01.1.1.1", "172.32.0.1", "192.169.0.1", "100.128.0.1", "2606:4700::1111"),
        *("::ffff:8.8.8.8", "64:ff9b::808:808", "example.com", "EXAMPLE.com.", "bücher.example"),
        *("local.example", "127.0.0.1.example.com", "xn--bcher-kva.example", "256.1.1.1.example"),
        *("localhost.example.com", "internal.example.org"),
    ],
)  # fmt: skip
def test_public_places_are_not(host):
    assert PUBLIC.judge(Target(host, 80)) is Verdict.PERMITTED


@given(st.sampled_from([n for n in PRIVATE_NETWORKS if n.version == 4]), st.data())
def test_every_way_to_write_an_address_is_that_address(network, data):
    number = data.draw(st.integers(int(network.network_address), int(network.broadcast_address)))
    four = ipaddress.IPv4Address(number)
    a, b, c, d = four.packed
    spellings = [
        f"{four}",
        f"{four}.",
        str(number),
        hex(number),
        hex(number).upper().replace("X", "x"),
        f"0{number:o}",
        f"{a}.{number & 0xFFFFFF}",
        f"{a}.{b}.{number & 0xFFFF}",
        f"{a:#x}.{b}.0{c:o}.{d}",
        f"::ffff:{four}",
        f"::ffff:{number >> 16:x}:{number & 0xFFFF:x}",
        f"64:ff9b::{number >> 16:x}:{number & 0xFFFF:x}",
        f"2002:{number >> 16:x}:{number & 0xFFFF:x}::5",
        str(four).translate({ord(str(n)): chr(0xFF10 + n) for n in range(10)}),
    ]
    for spelling in spellings:
        assert four in place(spelling).addresses, spelling
        assert PUBLIC.judge(Target(spelling, 1)) is Verdict.PRIVATE
        assert judge(spelling, deny=[str(network)], private=True) is Verdict.DENIED


@pytest.mark.parametrize(
    "pattern, inside, outside",
    [
        ("example.com", ["example.com", "EXAMPLE.COM", "example.com."], ["www.example.com", "example.org"]),
        ("*.example.com", ["www.example.com", "a.b.Example.com."], ["example.com", "badexample.com"]),
        (".example.com", ["www.example.com", "example.com"], ["badexample.com", "example.com.evil.org"]),
        ("bücher.example", ["bücher.example", "BÜCHER.example", "xn--bcher-kva.example"], ["bucher.example"]),
        ("xn--bcher-kva.example", ["bücher.example", "xn--BCHER-kva.example."], ["bcher.example"]),
        ("faß.example", ["faß.example", "xn--fa-hia.example"], ["fas.example", "fass.example.org"]),
        (
            "8.8.0.0/16",
            ["8.8.8.8", "8.8.2056", "0x08080808", "::ffff:8.8.8.8"],
            ["8.9.0.1", "8.8.8.8.example"],
        ),
        ("8.8.8.8", ["8.8.8.8", "134744072", "8.8.8.8."], ["8.8.8.9", "dns.example"]),
        ("2606:4700::/32", ["2606:4700::1111", "[2606:4700::1]"], ["2606:4701::1", "1.1.1.1"]),
        ("::ffff:8.8.8.0/120", ["8.8.8.1"], ["8.8.9.1"]),
        ("*", ["example.com", "8.8.8.8", "2606:4700::1"], []),
    ],
)
def test_patterns(pattern, inside, outside):
    for host in inside:
        assert judge(host, allow=[pattern]) is Verdict.PERMITTED, host
        assert judge(host, deny=[pattern]) is Verdict.DENIED, host
    for host in outside:
        assert judge(host, allow=[pattern]) is Verdict.NOT_LISTED, host
        assert judge(host, deny=[pattern]) is Verdict.PERMITTED, host


@pytest.mark.parametrize(
    "pattern, inside, outside",
    [
        ("example.com:443", [443], [80]),
        ("*:80,443,8000-8999", [80, 443, 8000, 8999], [81, 7999, 9000]),
        ("8.8.8.8:53", [], [80]),
        ("example.com", [1, 65535], []),
    ],
)
def test_patterns_with_ports(pattern, inside, outside):
    for port in inside:
        assert judge("example.com", port, allow=[pattern]) is Verdict.PERMITTED
    for port in outside:
        assert judge("example.com", port, allow=[pattern]) is Verdict.NOT_LISTED
    assert parse_pattern("[2001:db8::/32]:22-23").ports == ((22, 23),)


def test_deny_wins_and_private_places_need_to_be_named():
    assert judge("a.example.com", allow=[".example.com"], deny=["a.example.com"]) is Verdict.DENIED
    assert judge("10.0.0.1", allow=["*"]) is Verdict.PRIVATE, "everything is not every private place"
    assert judge("10.0.0.1", allow=["0.0.0.0/0"]) is Verdict.PRIVATE
    assert judge("10.0.0.1", allow=["10.0.0.0/8"]) is Verdict.PERMITTED
    assert judge("::ffff:10.0.0.1", allow=["10.0.0.0/8"]) is Verdict.PERMITTED
    assert judge("10.0.0.1", 22, allow=["*", "10.0.0.0/8:80"]) is Verdict.PRIVATE
    assert judge("db.internal", allow=["*", ".internal"]) is Verdict.PERMITTED
    assert judge("printer", allow=["printer"]) is Verdict.PERMITTED
    assert judge("10.0.0.1", private=True) is Verdict.PERMITTED


def test_what_has_two_readings_is_denied_by_either_and_allowed_by_both():
    # 0250.1.1.1 is 168.1.1.1 to a resolver that takes it for octal, 250.1.1.1 to another.
    assert judge("0250.1.1.1", private=True, deny=["168.1.1.1"]) is Verdict.DENIED
    assert judge("0250.1.1.1", private=True, deny=["250.1.1.1"]) is Verdict.DENIED
    assert judge("0250.1.1.1", private=True, allow=["168.1.1.1"]) is Verdict.NOT_LISTED
    assert judge("0250.1.1.1", private=True, allow=["168.1.1.1", "250.1.1.1"]) is Verdict.PERMITTED


@pytest.mark.parametrize(
    "text",
    [
        "",
        ":80",
        "a:",
        "a:0",
        "a:70000",
        "a:9-8",
        "a:x",
        "a*.com",
        "*.*.com",
        "10.0.0.0/33",
        "[::1",
        "a..b",
        "a:1,",
    ],
)
def test_patterns_that_mean_nothing_are_errors(text):
    with pytest.raises(ValueError):
        parse_pattern(text)


@given(st.text(max_size=40), st.integers(1, 65535))
def test_any_host_can_be_judged(host, port):
    rules = destination_rules(["*.example", "10.0.0.0/8"], ["a.example:1-9"], private=False)
    assert rules.judge(Target(host, port)) in Verdict
    assert "<" not in str(rules.judge(Target(host, port)))


@pytest.mark.parametrize(
    "text, plain",
    [
        ("127.0.0.1", "127.0.0.1"),
        ("::ffff:127.0.0.1", "127.0.0.1"),
        ("::1", "::1"),
        ("fe80::1%lo", "fe80::1"),
        ("", None),
    ],
)
def test_ends_of_connections(text, plain):
    assert plain_address(text) == (ipaddress.ip_address(plain) if plain else None)


def test_a_place_does_not_print_itself():
    assert "hidden" not in repr(place("hidden.example"))
