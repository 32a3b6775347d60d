"""The SOCKS5 machine: whole, byte by byte, and fed with anything."""

import ipaddress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nymgate.errors import Reply
from nymgate.listener.credential import Credential
from nymgate.listener.handshake import Answer, Authenticate, Connect, Lookup, Refuse, Target, bad_host
from nymgate.listener.socks5 import TRANSITIONS, Event, Socks5Handshake, State, reply
from nymgate.refusals import REFUSALS

GREETING = b"\x05\x01\x00"
CHOSEN = Answer(b"\x05\x00")
LOGIN = Answer(b"\x05\x02")
MAPPED = ipaddress.ip_address("::ffff:1.2.3.4")
"""Python 3.13 writes it another way than 3.11; both mean the same."""


def login(name: bytes, password: bytes) -> bytes:
    return bytes((1, len(name))) + name + bytes((len(password),)) + password


def request(kind: int, address: bytes, port: int, command: int = 1) -> bytes:
    return bytes((5, command, 0, kind)) + address + port.to_bytes(2, "big")


def by_name(name: bytes, port: int = 443, command: int = 1) -> bytes:
    return request(3, bytes((len(name),)) + name, port, command)


def whole(machine: Socks5Handshake, data: bytes):
    return machine.feed(data)


def byte_by_byte(machine: Socks5Handshake, data: bytes):
    actions, final = [], False
    for index in range(len(data)):
        if final:  # what a server does: no more feeding, the rest is the application's or nobody's
            machine.rest += data[index : index + 1] if machine.state is State.CONNECTING else b""
            continue
        actions += machine.feed(data[index : index + 1])
        final = bool(actions) and isinstance(actions[-1], (Connect, Refuse))
    return actions


@pytest.fixture(params=[whole, byte_by_byte])
def feed(request):
    return request.param


@pytest.mark.parametrize(
    "asked, target",
    [
        (by_name(b"example.com"), Target("example.com", 443)),
        (by_name(b"x" * 255, 1), Target("x" * 255, 1)),
        (by_name("bücher.example".encode(), 65535), Target("bücher.example", 65535)),
        (by_name(b"[2001:db8::1]", 80), Target("2001:db8::1", 80)),
        (by_name(b"1.2.3.4", 80), Target("1.2.3.4", 80)),
        (request(1, bytes((192, 0, 2, 7)), 80), Target("192.0.2.7", 80)),
        (request(4, ipaddress.ip_address("2001:db8::7").packed, 22), Target("2001:db8::7", 22)),
        (request(4, MAPPED.packed, 22), Target(str(MAPPED), 22)),
    ],
)
@pytest.mark.parametrize("greeting", [GREETING, b"\x05\x02\x00\x01", b"\x05\x03\x80\x01\x00"])
def test_connect_by_every_kind_of_address(feed, greeting, asked, target):
    machine = Socks5Handshake()
    assert feed(machine, greeting + asked + b"hello") == [CHOSEN, Connect(target)]
    assert machine.rest == b"hello"
    assert machine.state is State.CONNECTING
    assert machine.succeeded() == b"\x05\x00\x00\x01\x00\x00\x00\x00\x00\x00"
    assert machine.state is State.CONNECTED


V6 = ipaddress.ip_address("2001:db8::7")


@pytest.mark.parametrize(
    "asked, target, lookup, found, told",
    [
        (
            by_name(b"example.com", 0, 0xF0),
            Target("example.com", 0),
            Lookup.ADDRESS,
            "192.0.2.7",
            b"\x01\xc0\x00\x02\x07",
        ),
        (
            by_name(b"example.com", 9, 0xF0),
            Target("example.com", 9),
            Lookup.ADDRESS,
            str(V6),
            b"\x04" + V6.packed,
        ),
        (
            request(1, bytes((192, 0, 2, 7)), 0, 0xF1),
            Target("192.0.2.7", 0),
            Lookup.NAME,
            "seven.example",
            b"\x03\x0dseven.example",
        ),
        (
            request(4, V6.packed, 0, 0xF1),
            Target(str(V6), 0),
            Lookup.NAME,
            "n" * 255,
            b"\x03\xff" + b"n" * 255,
        ),
    ],
)
def test_what_is_looked_up_is_told_in_a_full_reply(feed, asked, target, lookup, found, told):
    machine = Socks5Handshake()
    assert feed(machine, GREETING + asked) == [CHOSEN, Connect(target, lookup=lookup)]
    assert machine.succeeded(found) == b"\x05\x00\x00" + told + b"\x00\x00"
    assert machine.state is State.CONNECTED


@pytest.mark.parametrize("refusal", REFUSALS.values(), ids=lambda refusal: refusal.code)
def test_failures_are_full_replies(refusal):
    machine = Socks5Handshake()
    machine.feed(GREETING + by_name(b"example.com"))
    assert machine.failed(refusal) == bytes((5, refusal.reply, 0, 1, 0, 0, 0, 0, 0, 0))
    assert machine.state is State.REFUSED


@pytest.mark.parametrize(
    "asked, code, reason",
    [
        (by_name(b"example.com", command=2), Reply.COMMAND_NOT_SUPPORTED, "BIND"),
        (by_name(b"example.com", command=3), Reply.COMMAND_NOT_SUPPORTED, "UDP"),
        (by_name(b"", command=0xF0), Reply.GENERAL_FAILURE, "looked up"),
        (by_name(b"example.com", command=0xF1), Reply.GENERAL_FAILURE, "looked up"),
        (by_name(b"example.com", command=0xEE), Reply.COMMAND_NOT_SUPPORTED, "unknown command"),
        (request(2, b"", 80), Reply.ADDRESS_TYPE_NOT_SUPPORTED, "address type"),
        (request(0, b"", 80), Reply.ADDRESS_TYPE_NOT_SUPPORTED, "address type"),
        (by_name(b""), Reply.GENERAL_FAILURE, "host"),
        (by_name(b"exa mple.com"), Reply.GENERAL_FAILURE, "host"),
        (by_name(b"example.com\x00"), Reply.GENERAL_FAILURE, "host"),
        (by_name(b"a\r\nHost: b"), Reply.GENERAL_FAILURE, "host"),
        (by_name(b"\xff\xfe"), Reply.GENERAL_FAILURE, "host"),
        (by_name(b"user@host"), Reply.GENERAL_FAILURE, "host"),
        (by_name(b"[]"), Reply.GENERAL_FAILURE, "host"),
        (by_name(b"example.com", 0), Reply.GENERAL_FAILURE, "host"),
        (b"\x04" + by_name(b"example.com")[1:], Reply.GENERAL_FAILURE, "version"),
    ],
)
def test_requests_that_cannot_be_are_refused_with_the_right_code(feed, asked, code, reason):
    machine = Socks5Handshake()
    first, refusal = feed(machine, GREETING + asked)
    assert first == CHOSEN
    assert isinstance(refusal, Refuse)
    assert refusal.data == reply(code)
    assert reason in refusal.reason
    assert machine.state is State.REFUSED


@pytest.mark.parametrize(
    "name, password", [(b"alice", b"secret"), (b"a" * 255, b""), (b"", b"\xff\x00"), (b"", b"")]
)
@pytest.mark.parametrize(
    "greeting", [b"\x05\x01\x02", b"\x05\x02\x00\x02", b"\x05\x02\x02\x00", b"\x05\xff" + bytes(range(255))]
)
def test_without_users_a_login_is_taken_as_it_is(feed, greeting, name, password):
    """Who offers a login wants to be kept apart by it, as with Tor."""
    machine = Socks5Handshake()
    said = Credential(name, password) if name or password else None
    assert feed(machine, greeting + login(name, password) + by_name(b"example.com") + b"hello") == [
        LOGIN,
        Answer(b"\x01\x00"),
        Connect(Target("example.com", 443), said),
    ]
    assert machine.rest == b"hello"


@pytest.mark.parametrize("methods", [b"", b"\x00", b"\x00\x01"])
def test_with_users_an_application_without_login_is_refused(feed, methods):
    (refusal,) = feed(Socks5Handshake(users=True), bytes((5, len(methods))) + methods)
    assert refusal.data == b"\x05\xff"
    assert refusal.code == ("E_AUTH_REQUIRED" if b"\x00" in methods else "E_SOCKS_METHOD")


def test_with_users_a_login_waits_for_its_answer():
    for ok in (True, False):
        machine = Socks5Handshake(users=True)
        asked = b"\x05\x02\x00\x02" + login(b"alice", b"secret") + by_name(b"example.com") + b"hel"
        assert machine.feed(asked) == [LOGIN, Authenticate(Credential(b"alice", b"secret"))]
        assert machine.feed(b"lo") == [], "nothing goes on before it is known who asks"
        said = Credential(b"alice", b"secret")
        if ok:
            assert machine.authenticated(True) == [
                Answer(b"\x01\x00"),
                Connect(Target("example.com", 443), said),
            ]
            assert machine.rest == b"hello"
        else:
            (refusal,) = machine.authenticated(False)
            assert (refusal.data, refusal.code) == (b"\x01\x01", "E_AUTH_FAILED")
            assert machine.state is State.REFUSED
            assert machine.feed(b"more") == []


def test_a_login_of_another_version_is_refused(feed):
    first, refusal = feed(Socks5Handshake(), b"\x05\x01\x02" + b"\x05" + login(b"a", b"b")[1:])
    assert first == LOGIN
    assert (refusal.data, refusal.code) == (b"\x01\x01", "E_SOCKS_SYNTAX")


def test_logins_do_not_print_themselves():
    machine = Socks5Handshake(users=True)
    shown = repr(machine.feed(b"\x05\x01\x02" + login(b"alice", b"secret")))
    assert "Authenticate" in shown
    assert "alice" not in shown
    assert "secret" not in shown


@pytest.mark.parametrize("methods", [b"", b"\x01", b"\x01\x80"])
def test_an_application_that_insists_on_authentication_is_refused(feed, methods):
    (refusal,) = feed(Socks5Handshake(), bytes((5, len(methods))) + methods)
    assert refusal == Refuse(b"\x05\xff", "E_SOCKS_METHOD", "the application insists on authentication")


@pytest.mark.parametrize(
    "data", [b"GET / HTTP/1.1\r\n\r\n", b"\x04\x01\x00\x50\x01\x02\x03\x04\x00", b"\xff"]
)
def test_bytes_that_are_not_socks5_are_refused(feed, data):
    (refusal,) = feed(Socks5Handshake(), data)
    assert (refusal.code, refusal.data) == ("E_SOCKS_SYNTAX", reply(Reply.GENERAL_FAILURE))


def test_incomplete_input_waits():
    data = GREETING + by_name(b"example.com")
    for cut in range(len(data)):
        machine = Socks5Handshake()
        actions = machine.feed(data[:cut])
        assert actions == ([CHOSEN] if cut >= len(GREETING) else [])
        assert machine.feed(data[cut:])[-1] == Connect(Target("example.com", 443))


@given(st.binary(max_size=600))
def test_any_input_waits_connects_or_is_refused_and_pieces_do_not_matter(data):
    at_once, in_pieces = Socks5Handshake(), Socks5Handshake()
    actions = whole(at_once, data)
    assert byte_by_byte(in_pieces, data) == actions
    assert (in_pieces.state, in_pieces.rest) == (at_once.state, at_once.rest)
    assert at_once.state in (State.GREETING, State.LOGIN, State.REQUEST, State.CONNECTING, State.REFUSED)


hosts = st.text(min_size=1, max_size=60).filter(lambda t: not bad_host(t) and len(t.encode()) < 256)


@given(hosts, st.integers(1, 65535), st.binary(max_size=50), st.lists(st.integers(3, 255), max_size=20))
def test_every_name_and_port_comes_out_as_it_went_in(host, port, rest, methods):
    machine = Socks5Handshake()
    greeting = bytes((5, len(methods) + 1, *methods, 0))
    assert machine.feed(greeting + by_name(host.encode(), port) + rest) == [
        CHOSEN,
        Connect(Target(host, port)),
    ]
    assert machine.rest == rest


@given(st.binary(min_size=1, max_size=300))
def test_a_greeting_followed_by_anything_never_raises(data):
    for piecewise in (whole, byte_by_byte):
        machine = Socks5Handshake()
        actions = piecewise(machine, GREETING + data)
        assert actions[0] == CHOSEN
        assert len(actions) <= 2


def test_the_table_is_closed():
    """Every state is reachable, every end is an end, and an impossible event is a bug that shows."""
    assert {state for state, _ in TRANSITIONS} | set(TRANSITIONS.values()) == set(State)
    assert not [state for state, _ in TRANSITIONS if state in (State.CONNECTED, State.REFUSED)]
    assert {event for _, event in TRANSITIONS} == set(Event)
    with pytest.raises(KeyError):
        Socks5Handshake().succeeded()


def test_a_target_does_not_print_itself():
    target = Target("hidden.example", 443)
    assert "hidden" not in f"{target} {target!r} {[target]}"
    assert target.reveal() == "hidden.example:443"
    assert Target("::1", 80).reveal() == "[::1]:80"
