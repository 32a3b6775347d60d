"""The SOCKS4 and 4a machine: whole, byte by byte, cut short, and fed with anything."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nymgate.listener.credential import credential
from nymgate.listener.handshake import Connect, Lookup, Refuse, Target, bad_host
from nymgate.listener.socks4 import TRANSITIONS, Event, Socks4Handshake, State
from nymgate.refusals import REFUSALS
from tests.nymgate.machines import cut, feed_pieces, single_bytes

REJECTED = b"\x00\x5b" + bytes(6)
GRANTED = b"\x00\x5a" + bytes(6)


def request(address: bytes, port: int = 80, user: bytes = b"", host: bytes | None = None, command: int = 1):
    tail = b"" if host is None else host + b"\x00"
    return bytes((4, command)) + port.to_bytes(2, "big") + address + user + b"\x00" + tail


def by_name(host: bytes, port: int = 80, user: bytes = b"", command: int = 1):
    return request(b"\x00\x00\x00\x01", port, user, host, command)


@pytest.fixture(params=[lambda data: [data], single_bytes], ids=["whole", "bytes"])
def pieces(request):
    return request.param


@pytest.mark.parametrize(
    "asked, target, user",
    [
        (request(bytes((192, 0, 2, 7)), 443), Target("192.0.2.7", 443), b""),
        (request(bytes((192, 0, 2, 7)), 443, b"someone"), Target("192.0.2.7", 443), b"someone"),
        (request(bytes((0, 0, 1, 0)), 443), Target("0.0.1.0", 443), b""),
        (by_name(b"example.com", 65535), Target("example.com", 65535), b""),
        (by_name(b"example.com", 1, b"u" * 512), Target("example.com", 1), b"u" * 512),
        (by_name(b"x" * 255), Target("x" * 255, 80), b""),
        (by_name("bücher.example".encode()), Target("bücher.example", 80), b""),
        (by_name(b"[2001:db8::1]"), Target("2001:db8::1", 80), b""),
    ],
)
def test_connect(pieces, asked, target, user):
    machine = Socks4Handshake()
    assert feed_pieces(machine, pieces(asked + b"hello")) == (
        [Connect(target, credential(user, b""))],
        b"hello",
    )
    assert machine.succeeded() == GRANTED
    assert machine.state is State.CONNECTED


@pytest.mark.parametrize("port", [0, 80])
def test_resolve(pieces, port):
    machine = Socks4Handshake()
    asked, rest = feed_pieces(machine, pieces(by_name(b"example.com", port, b"someone", command=0xF0)))
    target = Target("example.com", port)
    assert (asked, rest) == ([Connect(target, credential(b"someone", b""), lookup=Lookup.IPV4_ADDRESS)], b"")
    assert machine.succeeded("192.0.2.7") == b"\x00\x5a\x00\x00\xc0\x00\x02\x07"


@pytest.mark.parametrize(
    "asked, code",
    [
        (request(bytes((192, 0, 2, 7)), command=2), "E_SOCKS_COMMAND"),
        (by_name(b"example.com", command=9), "E_SOCKS_COMMAND"),
        (by_name(b"", command=0xF0), "E_BAD_TARGET"),
        (request(bytes((192, 0, 2, 7)), command=0xF1), "E_SOCKS_COMMAND"),
        (request(bytes(4)), "E_BAD_TARGET"),
        (request(bytes((192, 0, 2, 7)), 0), "E_BAD_TARGET"),
        (by_name(b""), "E_BAD_TARGET"),
        (by_name(b"exa mple"), "E_BAD_TARGET"),
        (by_name(b"\xff\xfe"), "E_BAD_TARGET"),
        (by_name(b"a\r\nHost: b"), "E_BAD_TARGET"),
        (by_name(b"x" * 256), "E_SOCKS_SYNTAX"),
        (by_name(b"example.com", user=b"u" * 513), "E_SOCKS_SYNTAX"),
        (b"\x05\x01\x00", "E_SOCKS_SYNTAX"),
    ],
)
def test_refusals(pieces, asked, code):
    machine = Socks4Handshake()
    (refusal,), _rest = feed_pieces(machine, pieces(asked))
    assert isinstance(refusal, Refuse)
    assert (refusal.code, refusal.data) == (code, REJECTED)
    assert machine.state is State.REFUSED
    assert refusal.code in REFUSALS


@pytest.mark.parametrize("refusal", REFUSALS.values(), ids=lambda refusal: refusal.code)
def test_every_failure_is_one_word(refusal):
    machine = Socks4Handshake()
    machine.feed(by_name(b"example.com"))
    assert machine.failed(refusal) == REJECTED
    assert machine.state is State.REFUSED


@pytest.mark.parametrize("asked", [by_name(b"example.com", user=b"me"), request(bytes((1, 2, 3, 4)))])
def test_incomplete_input_waits(asked):
    for end in range(len(asked)):
        machine = Socks4Handshake()
        assert machine.feed(asked[:end]) == []
        assert len(machine.feed(asked[end:])) == 1
        assert machine.state is State.CONNECTING


@given(
    st.one_of(st.binary(max_size=900), st.binary(max_size=900).map(lambda tail: b"\x04\x01" + tail)),
    st.lists(st.integers(0, 1000), max_size=5),
)
def test_pieces_do_not_matter(data, places):
    whole, cut_up, bytewise = Socks4Handshake(), Socks4Handshake(), Socks4Handshake()
    expected = feed_pieces(whole, [data])
    assert feed_pieces(bytewise, single_bytes(data))[0] == expected[0]
    assert feed_pieces(cut_up, cut(data, places))[0] == expected[0]
    assert cut_up.state is bytewise.state is whole.state
    if whole.state is State.CONNECTING:
        again = Socks4Handshake()
        assert feed_pieces(again, cut(data, places))[1] == expected[1]


hosts = st.text(min_size=1, max_size=60).filter(
    lambda t: not bad_host(t) and len(t.encode()) < 256 and "\x00" not in t
)
users = st.binary(max_size=512).map(lambda raw: raw.replace(b"\x00", b"x"))


@given(hosts, st.integers(1, 65535), users, st.binary(max_size=50))
def test_every_name_and_port_comes_out_as_it_went_in(host, port, user, rest):
    machine = Socks4Handshake()
    assert machine.feed(by_name(host.encode(), port, user) + rest) == [
        Connect(Target(host, port), credential(user, b""))
    ]
    assert machine.rest == rest


def test_the_table_is_closed():
    assert {state for state, _ in TRANSITIONS} | set(TRANSITIONS.values()) == set(State)
    assert not [state for state, _ in TRANSITIONS if state in (State.CONNECTED, State.REFUSED)]
    assert {event for _, event in TRANSITIONS} == set(Event)
