"""The machine of HTTP CONNECT, and which connections it leaves to forwarding."""

import h11
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from nymgate.listener.credential import Credential
from nymgate.listener.handshake import Connect, Forward, Refuse, Target
from nymgate.listener.http_connect import TRANSITIONS, Event, HttpHandshake, State
from nymgate.listener.http_message import MAX_HEAD_BYTES, understand
from nymgate.refusals import REFUSALS
from tests.nymgate.machines import cut, feed_pieces, single_bytes


def connect(target: bytes, *fields: bytes, version: bytes = b"1.1") -> bytes:
    return (
        b"CONNECT " + target + b" HTTP/" + version + b"\r\n" + b"".join(f + b"\r\n" for f in fields) + b"\r\n"
    )


@pytest.fixture(params=[lambda data: [data], single_bytes], ids=["whole", "bytes"])
def pieces(request):
    return request.param


@pytest.mark.parametrize(
    "headers, credential, token",
    [
        ((b"Proxy-Authorization: Basic eDp5",), Credential(b"x", b"y"), None),
        ((b"proxy-AUTHORIZATION:basic   eDp5Ono=\t",), Credential(b"x", b"y:z"), None),
        ((b"Proxy-Authorization: Basic Og==",), None, None),
        ((b"Proxy-Authorization: Basic !!",), Credential(b"Basic !!", b"", "http"), None),
        ((b"Proxy-Authorization: Basic eA==",), Credential(b"Basic eA==", b"", "http"), None),
        ((b"Proxy-Authorization: Bearer abc",), Credential(b"Bearer abc", b"", "http"), None),
        ((b"X-Tor-Stream-Isolation: one two",), None, "one two"),
        ((b"Tor-Stream-Isolation: \xff",), None, "\xff"),
        ((b"X-Tor-Stream-Isolation: a", b"X-Tor-Stream-Isolation: b"), None, "a\0b"),
        ((b"X-Tor-Stream-Isolation: a", b"Proxy-Authorization: Basic eDp5"), Credential(b"x", b"y"), "a"),
        ((b"X-Tor-Stream-Isolation-Not: a", b"X: Proxy-Authorization: Basic eDp5"), None, None),
    ],
)
def test_who_asks(pieces, headers, credential, token):
    """The same whether the head is read here or by h11."""
    asked = connect(b"a:80", b"Host: a:80", *headers)
    ((action,), _) = feed_pieces(HttpHandshake(), pieces(asked))
    assert action == Connect(Target("a", 80), credential, token)
    theirs = h11.Connection(h11.SERVER)
    theirs.receive_data(asked)
    understood = understand(theirs.next_event())
    assert (understood.credential, understood.token) == (credential, token)
    assert "eDp5" not in repr(action)


@pytest.mark.parametrize(
    "asked, target",
    [
        (connect(b"example.com:443", b"Host: example.com:443"), Target("example.com", 443)),
        (connect(b"example.com:443", version=b"1.0"), Target("example.com", 443)),
        (connect(b"example.com:443"), Target("example.com", 443)),
        (connect(b"[2001:db8::1]:22", b"Host: x", b"User-Agent:", b"X: \t\xff"), Target("2001:db8::1", 22)),
        (connect(b"192.0.2.7:1", b"Content-Length: 0"), Target("192.0.2.7", 1)),
        (connect(b"a:65535", b"Authorization: Basic eDp5"), Target("a", 65535)),
        (connect(b"a:80", b"X: " + b"y" * (MAX_HEAD_BYTES - 40)), Target("a", 80)),
    ],
)
def test_connect(pieces, asked, target):
    machine = HttpHandshake()
    assert feed_pieces(machine, pieces(asked + b"\x16\x03\r\n\r\n")) == (
        [Connect(target)],
        b"\x16\x03\r\n\r\n",
    )
    assert machine.succeeded() == b"HTTP/1.1 200 Connection established\r\n\r\n"
    assert machine.state is State.CONNECTED


@pytest.mark.parametrize(
    "asked, code",
    [
        (connect(b"example.com"), "E_BAD_TARGET"),
        (connect(b"example.com:"), "E_BAD_TARGET"),
        (connect(b"example.com:0"), "E_BAD_TARGET"),
        (connect(b"example.com:65536"), "E_BAD_TARGET"),
        (connect(b"example.com:+80"), "E_BAD_TARGET"),
        (connect(b"example.com:8_0"), "E_BAD_TARGET"),
        (connect(b":443"), "E_BAD_TARGET"),
        (connect(b"2001:db8::1:443"), "E_BAD_TARGET"),
        (connect(b"[2001:db8::1]"), "E_BAD_TARGET"),
        (connect(b"[example.com]:443"), "E_BAD_TARGET"),
        (connect(b"user@example.com:443"), "E_BAD_TARGET"),
        (connect(b"http://example.com:443"), "E_BAD_TARGET"),
        (connect(b"example.com:443/"), "E_BAD_TARGET"),
        (connect(b"a:80", b"Transfer-Encoding: chunked"), "E_HTTP_FRAMING"),
        (connect(b"a:80", b"Content-Length: 5"), "E_HTTP_FRAMING"),
        (connect(b"a:80", b"Content-Length: 0", b"content-length: 5"), "E_HTTP_FRAMING"),
        (connect(b"a:80", b"Content-Length: 0, 5"), "E_HTTP_FRAMING"),
        (connect(b"a:80", b" folded"), "E_HTTP_SYNTAX"),
        (connect(b"a:80", b"Name : value"), "E_HTTP_SYNTAX"),
        (connect(b"a:80", b"no colon"), "E_HTTP_SYNTAX"),
        (connect(b"a:80", b"X: a\x00b"), "E_HTTP_SYNTAX"),
        (connect(b"a:80", b"X: a\rb"), "E_HTTP_SYNTAX"),
        (connect(b"a:80", b"X: a\nY: b"), "E_HTTP_SYNTAX"),
        (connect(b"a:80", version=b"2.0"), "E_HTTP_SYNTAX"),
        (connect(b"a:80 b"), "E_HTTP_SYNTAX"),
        (connect(b"a\xff:80"), "E_HTTP_SYNTAX"),
        (b"CONNECT a:80 HTTP/1.1\n\n", "E_HTTP_SYNTAX"),
        (connect(b"a:80", b"X: " + b"y" * MAX_HEAD_BYTES), "E_HTTP_TOO_LARGE"),
        (b"CONNECT " + b"y" * MAX_HEAD_BYTES, "E_HTTP_TOO_LARGE"),
    ],
)
def test_refusals(pieces, asked, code):
    machine = HttpHandshake()
    (refusal,), _rest = feed_pieces(machine, pieces(asked))
    assert isinstance(refusal, Refuse)
    assert refusal.code == code
    assert refusal.data.startswith(b"HTTP/1.1 %d " % REFUSALS[code].status)
    assert code.encode() in refusal.data.partition(b"\r\n\r\n")[2]
    assert machine.state is State.REFUSED


@pytest.mark.parametrize(
    "data",
    [b"GET http://a/ HTTP/1.1\r\n\r\n", b"CONNEC", b"CONNECTS x", b"connect a:80 HTTP/1.1\r\n\r\n", b"COPY "],
)
def test_everything_else_is_left_to_forwarding(pieces, data):
    machine = HttpHandshake()
    actions, rest = feed_pieces(machine, pieces(data))
    if b"CONNECT ".startswith(data):
        assert actions == []
    else:
        (forward,) = actions
        assert isinstance(forward, Forward)
        assert forward.data + rest == data
        assert machine.state is State.FORWARDING


@pytest.mark.parametrize("refusal", REFUSALS.values(), ids=lambda refusal: refusal.code)
def test_failures_have_status_and_identifier(refusal):
    machine = HttpHandshake()
    machine.feed(connect(b"example.com:443"))
    said = machine.failed(refusal)
    assert said.startswith(b"HTTP/1.1 %d " % refusal.status)
    assert refusal.code.encode() in said
    assert b"Connection: close" in said


def test_incomplete_input_waits():
    data = connect(b"example.com:443", b"Host: example.com:443")
    for end in range(len(data)):
        machine = HttpHandshake()
        assert machine.feed(data[:end]) == []
        assert machine.feed(data[end:]) == [Connect(Target("example.com", 443))]


field_bytes = st.one_of(
    st.sampled_from(
        [b"Host: a", b"Content-Length: 0", b"Content-Length: 1", b"Transfer-Encoding: x", b" a", b"a :b"]
    ),
    st.binary(max_size=12).map(lambda raw: b"X: " + raw),
    st.binary(max_size=12),
)
heads = st.builds(
    lambda target, fields, version: connect(target, *fields, version=version),
    st.one_of(st.sampled_from([b"a:80", b"[::1]:5", b"a"]), st.binary(max_size=12)),
    st.lists(field_bytes, max_size=4),
    st.sampled_from([b"1.1", b"1.0", b"1.2", b"0.9"]),
)


@given(
    st.one_of(heads, st.binary(max_size=200), st.binary(max_size=200).map(lambda raw: b"CONNECT " + raw)),
    st.lists(st.integers(0, 500), max_size=5),
)
@example(b"CONNECT a:80 HTTP/1.1\r\nX: \x0b\r\n\r\n", [])
def test_pieces_do_not_matter_and_h11_agrees(data, places):
    whole, cut_up, bytewise = HttpHandshake(), HttpHandshake(), HttpHandshake()
    actions, rest = feed_pieces(whole, [data])
    cut_actions, cut_rest = feed_pieces(cut_up, cut(data, places))
    byte_actions, byte_rest = feed_pieces(bytewise, single_bytes(data))
    assert whole.state is cut_up.state is bytewise.state
    if whole.state is State.FORWARDING:
        assert actions[0].data == cut_actions[0].data + cut_rest == byte_actions[0].data + byte_rest == data
        return
    assert actions == cut_actions == byte_actions
    if whole.state is State.CONNECTING:
        assert rest == cut_rest == byte_rest
        theirs = h11.Connection(h11.SERVER)
        head = data[: len(data) - len(rest)]
        if b"host:" not in head.lower():  # old tunnel programs leave it out; a tunnel does not need it
            head = head[:-2] + b"Host: x\r\n\r\n"
        theirs.receive_data(head)
        if head.lower().count(b"\r\nhost:") == 1:
            event = theirs.next_event()
            assert isinstance(event, h11.Request)
            assert event.method == b"CONNECT"


def test_the_table_is_closed():
    assert {state for state, _ in TRANSITIONS} | set(TRANSITIONS.values()) == set(State)
    ends = (State.CONNECTED, State.REFUSED, State.FORWARDING)
    assert not [state for state, _ in TRANSITIONS if state in ends]
    assert {event for _, event in TRANSITIONS} == set(Event)
