"""Every parser that the listener has, fed with anything and with what is nearly right: whole, in pieces, byte by byte.

Nothing raises, nothing is kept without bound, and where a message is cut makes no difference.
"""

import asyncio
import base64
import contextlib

import structlog
from hypothesis import given
from hypothesis import strategies as st

from nymgate.access.judge import AccessRules
from nymgate.access.rules import Verdict, destination_rules, parse_pattern
from nymgate.access.users import UsersFileInvalid, parse_users
from nymgate.errors import ListenError
from nymgate.listener.activation import handed_over
from nymgate.listener.credential import of_authorization
from nymgate.listener.detect import MACHINES, MACHINES_WITH_USERS, STRANGERS, Speaks, machine_for
from nymgate.listener.handshake import Answer, Authenticate, Connect, Forward, Refuse
from nymgate.listener.http_connect import HttpHandshake
from nymgate.listener.http_forward import CloseStream, End, HttpForward, Open, ToApplication, ToTarget, Tunnel
from nymgate.listener.http_message import MAX_HEAD_BYTES, BadRequest, split_authority
from nymgate.listener.server import ServerOptions, SocksServer
from nymgate.listener.socks4 import Socks4Handshake
from nymgate.listener.socks5 import Socks5Handshake
from nymgate.refusals import REFUSALS
from tests.fuzz.boxes import boxed, damaged, odd_bytes, pieces
from tests.nymgate.listener_upstreams import EchoUpstream
from tests.nymgate.machines import cut, single_bytes
from tests.nymgate.users import user

hosts = st.sampled_from(
    [b"site.example", b"1.2.3.4", b"[::1]", b"x" * 255, "bücher.example".encode(), b"", b"a\0b"]
)
ports = st.integers(0, 65535)
texts = st.binary(max_size=255) | st.sampled_from([b"alice", b"alice+token", b""])


def socks5(methods, name, password, command, kind, host, port):
    login = bytes((1, len(name))) + name + bytes((len(password),)) + password if 2 in methods else b""
    address = {1: b"\x01\x02\x03\x04", 4: bytes(16)}.get(kind, bytes((len(host),)) + host)
    request = bytes((5, command, 0, kind)) + address + port.to_bytes(2, "big")
    return bytes((5, len(methods), *methods)) + login + request


def socks4(command, address, port, user, host):
    return (
        bytes((4, command))
        + port.to_bytes(2, "big")
        + address
        + user.replace(b"\0", b"")
        + b"\0"
        + host
        + b"\0"
    )


def http(line, headers, body):
    return b"\r\n".join((line, *headers)) + b"\r\n\r\n" + body


socks5_talk = st.builds(
    socks5,
    st.lists(st.sampled_from([0, 1, 2, 0x80]), max_size=4),
    texts,
    texts,
    st.sampled_from([1, 1, 1, 2, 3, 0xF0, 0xF1, 9]),
    st.sampled_from([3, 3, 1, 4, 0]),
    hosts,
    ports,
)
socks4_talk = st.builds(
    socks4,
    st.sampled_from([1, 1, 2, 0xF0]),
    st.sampled_from([b"\1\2\3\4", b"\0\0\0\1", bytes(4)]),
    ports,
    texts,
    hosts,
)
header = st.sampled_from(
    [
        *(b"Host: site.example", b"Content-Length: 5", b"Content-Length: 0", b"Transfer-Encoding: chunked"),
        *(
            b"Transfer-Encoding: gzip, chunked",
            b"Connection: close",
            b"Connection: Upgrade, X",
            b"Upgrade: websocket",
        ),
        *(
            b"Proxy-Authorization: Basic " + base64.b64encode(b"alice:sesame"),
            b"Proxy-Authorization: Basic !",
        ),
        *(
            b"X-Tor-Stream-Isolation: t",
            b"Expect: 100-continue",
            b"TE: trailers",
            b"X: " + b"y" * 200,
            b"Folded: a\r\n b",
        ),
    ]
)
line = st.sampled_from(
    [
        *(
            b"GET http://site.example/ HTTP/1.1",
            b"POST http://site.example:81/a?b HTTP/1.1",
            b"GET / HTTP/1.1",
        ),
        *(
            b"CONNECT site.example:443 HTTP/1.1",
            b"CONNECT [::1]:22 HTTP/1.0",
            b"HEAD http://1.2.3.4/ HTTP/1.0",
        ),
        *(b"OPTIONS http://site.example HTTP/1.1", b"GET ftp://x/ HTTP/1.1", b"CONNECT x HTTP/2.0"),
    ]
)
body = st.sampled_from(
    [b"", b"hello", b"5\r\nhello\r\n0\r\n\r\n", b"5\r\nhello\r\n0\r\nTrailer: x\r\n\r\n", b"\r\n"]
)
http_talk = st.builds(http, line, st.lists(header, max_size=5), body)
status = st.sampled_from(
    [
        *(b"HTTP/1.1 200 OK", b"HTTP/1.0 200 OK", b"HTTP/1.1 204 No Content", b"HTTP/1.1 304 Not Modified"),
        *(b"HTTP/1.1 101 Switching Protocols", b"HTTP/1.1 100 Continue", b"HTTP/1.1 999 ?", b"NONSENSE"),
    ]
)
http_answer = st.builds(http, status, st.lists(header, max_size=4), body)
talk = damaged(socks5_talk | socks4_talk | http_talk | st.binary(max_size=600))
FINAL = (Connect, Forward, Refuse, Authenticate)


def fed(machine, parts, right):
    """What a listener sees of a machine: its actions, and what belongs to the stream."""
    actions, after = [], b""
    for part in parts:
        if actions and isinstance(actions[-1], (Connect, Forward, Refuse)):
            after += part
            continue
        actions += machine.feed(part)
        if actions and isinstance(actions[-1], Authenticate):
            actions += machine.authenticated(right)
    if actions and isinstance(actions[-1], Forward):  # its beginning and what follows are one
        return actions[:-1], actions[-1].data + after
    return actions, machine.rest + after if not (actions and isinstance(actions[-1], Refuse)) else b""


def check_machine(make, data, places, right=True):
    whole = fed(make(), [data], right)
    assert fed(make(), single_bytes(data), right) == whole
    assert fed(make(), cut(data, places), right) == whole
    for index, action in enumerate(whole[0]):
        assert isinstance(action, (Answer, *FINAL))
        if isinstance(action, Refuse):
            assert action.code in REFUSALS
        if not isinstance(action, (Answer, Authenticate)):
            assert index == len(whole[0]) - 1
        if isinstance(action, Connect):
            assert (action.lookup is None) <= action.target.port < 65536
            assert action.target.host.isprintable()
            assert data.endswith(whole[1])


@boxed
@given(damaged(socks5_talk) | st.binary(max_size=600).map(lambda raw: b"\5" + raw), pieces, st.booleans())
def test_socks5(data, places, right):
    check_machine(Socks5Handshake, data, places)
    check_machine(lambda: Socks5Handshake(users=True), data, places, right)


@boxed
@given(damaged(socks4_talk) | st.binary(max_size=900).map(lambda raw: b"\4" + raw), pieces)
def test_socks4(data, places):
    check_machine(Socks4Handshake, data, places)


@boxed
@given(damaged(http_talk) | st.binary(max_size=300).map(lambda raw: b"CONNECT " + raw), pieces)
def test_http_handshake(data, places):
    check_machine(HttpHandshake, data, places)


@boxed
@given(talk, pieces, st.sampled_from(list(Speaks)), st.booleans())
def test_every_listener(data, places, speaks, right):
    for row in (MACHINES[speaks], MACHINES_WITH_USERS[speaks], STRANGERS):
        if data:
            check_machine(lambda row=row: machine_for(data[0], row), data, places, right)


@boxed
@given(
    st.sampled_from(
        [b"CONNECT a:1 HTTP/1.1\r\n", b"GET http://a/ HTTP/1.1\r\n", b"\4\1\0\1\0\0\0\1", b"\5\xff"]
    ),
    odd_bytes,
)
def test_nothing_is_kept_without_bound(start, filler):
    machine = machine_for(start[0], MACHINES[Speaks.MIXED])
    actions = machine.feed(start)
    fed_bytes = 0
    while not (actions and isinstance(actions[-1], FINAL)):
        actions = machine.feed(filler * 500)
        fed_bytes += 500 * len(filler)
        assert fed_bytes < 3 * MAX_HEAD_BYTES


def forwarded(events):
    """Runs a forwarding machine, whose streams open by themselves, through pairs of who speaks and what."""
    machine, said, sent, ended, tunnel = HttpForward(), b"", b"", None, False
    app_over, far_over = False, True

    def do(commands):
        nonlocal said, sent, ended, tunnel, far_over
        for command in commands:
            assert ended is None, "nothing follows the end"
            match command:
                case ToApplication(data):
                    said += data
                case ToTarget(data):
                    sent += data
                case Open():
                    far_over = False
                    do(machine.stream_opened())
                case CloseStream():
                    pass
                case Tunnel():
                    tunnel = True
                case End(code, data, _reset):
                    assert code == "ok" or code in REFUSALS
                    ended = code
                    said += data

    for who, data in events:
        if ended is not None or tunnel:
            break
        # No socket reports nothing, or anything after its end.
        if (who in ("app", "far") and not data) or (app_over if who.startswith("app") else far_over):
            continue
        app_over = app_over or who == "app_eof"
        far_over = far_over or who in ("far_eof", "far_lost")
        match who:
            case "app":
                do(machine.application_data(data))
            case "far":
                do(machine.stream_data(data))
            case "app_eof":
                do(machine.application_eof())
            case "far_eof":
                do(machine.stream_eof())
            case _:
                do(machine.stream_failed(REFUSALS["E_STREAM_RESET"]))
    return said, sent, ended, tunnel


app_says = st.tuples(st.just("app"), damaged(http_talk))
far_says = st.tuples(st.just("far"), damaged(http_answer))
ends = st.tuples(st.sampled_from(["app_eof", "far_eof", "far_lost"]), st.just(b""))


@boxed
@given(st.lists(app_says | far_says | ends, max_size=6))
def test_http_forwarding(events):
    said, sent, ended, tunnel = forwarded(events)
    if not tunnel:  # what is in one is the application's business
        names = {line.partition(b":")[0].lower() for line in sent.split(b"\r\n")}
        assert not names & {b"proxy-authorization", b"x-tor-stream-isolation", b"te", b"keep-alive"}
    assert ended in (None, "ok") or ended.startswith("E_")
    assert isinstance(said, bytes)


@boxed
@given(damaged(http_talk), pieces)
def test_http_forwarding_does_not_mind_where_it_is_cut(data, places):
    _said, sent, *end = forwarded([("app", data)])
    for parts in (single_bytes(data), cut(data, places)):
        _said, sent_in_parts, *end_in_parts = forwarded([("app", part) for part in parts])
        assert end_in_parts == end
        if b"chunked" in sent:  # chunks are as they came; what they hold is the same
            assert sent_in_parts.partition(b"\r\n\r\n")[0] == sent.partition(b"\r\n\r\n")[0]
        elif not end[1]:
            assert sent_in_parts == sent


RULES = destination_rules(
    ["*.example", "10.0.0.0/8:80-90", "[::/0]"], ["bad.example", "0.0.0.0/4"], private=False
)


@boxed
@given(st.text(max_size=80), st.binary(max_size=80), ports)
def test_what_people_and_headers_say(text, raw, port):
    """Configuration, users files, variables, authorities: right, or the error that each is known for."""
    for parse, known in (
        (lambda: parse_pattern(text), ValueError),
        (lambda: parse_users(text), UsersFileInvalid),
        (lambda: split_authority(raw, 80), BadRequest),
        (lambda: split_authority(raw, None), BadRequest),
        (
            lambda: handed_over({"LISTEN_PID": "1", "LISTEN_FDS": text, "LISTEN_FDNAMES": text}, 1),
            ListenError,
        ),
    ):
        try:
            parse()
        except known as error:
            assert str(error)  # noqa: PT017 - most examples raise
    said = of_authorization([raw])
    assert said is None or said.joined()
    try:
        target = split_authority(raw, port or 1)
    except BadRequest:
        return
    assert RULES.judge(target) in Verdict


@boxed
@given(talk, pieces, st.booleans(), st.booleans())
def test_the_whole_listener(data, places, users, eof):
    """Whatever one application says, another one is served."""
    access = AccessRules(users={"alice": user("alice", "sesame")} if users else None)
    login = b"\5\1\2\1\5alice\6sesame" if users else b"\5\1\0"

    async def once():
        async with SocksServer(EchoUpstream(), ServerOptions(), access) as server:
            ((_host, port),) = await server.listen([("127.0.0.1", 0)])
            _reader, odd = await asyncio.open_connection("127.0.0.1", port)
            for part in cut(data, places):
                odd.write(part)
                await asyncio.sleep(0)
            if eof and not odd.transport.is_closing():
                odd.write_eof()
            reader, writer = await asyncio.open_connection("127.0.0.1", port)
            writer.write(login + b"\5\1\0\3\1a\0\x50hello")
            assert (await reader.readuntil(b"hello")).endswith(b"hello")
            for end in (odd, writer):
                end.close()
                with contextlib.suppress(ConnectionError):
                    await end.wait_closed()
        assert server.stats.streams == server.gate.admission.streams == server.gate.admission.waiting == 0

    with structlog.testing.capture_logs() as logs, asyncio.Runner() as runner:
        runner.run(once())
    assert not [event for event in logs if event["log_level"] == "error"], logs
