"""Forwarding of plain HTTP: the machine alone, with an application and destinations played by hand."""

import h11
import pytest
from hypothesis import given
from hypothesis import strategies as st

from nymgate.listener.handshake import Target
from nymgate.listener.http_forward import (
    TRANSITIONS,
    CloseStream,
    End,
    Event,
    HttpForward,
    Open,
    Phase,
    ToApplication,
    ToTarget,
    Tunnel,
)
from nymgate.listener.http_message import MAX_HEAD_BYTES
from nymgate.refusals import REFUSALS
from tests.nymgate.machines import cut, single_bytes

HELLO = b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello"
GET = b"GET http://site.example/page HTTP/1.1\r\nHost: site.example\r\n\r\n"


class Talk:
    """A machine and what it commanded, with streams that open by themselves unless told otherwise."""

    def __init__(self, *, opens: bool = True) -> None:
        self.machine = HttpForward()
        self.opens = opens
        self.said = b""
        """To the application."""
        self.streams: list[tuple[Target, bytearray]] = []
        self.closed = 0
        self.tunnel = False
        self.end: End | None = None

    def do(self, commands):
        for command in commands:
            assert self.end is None, "nothing follows the end"
            match command:
                case ToApplication(data):
                    self.said += data
                case ToTarget(data):
                    assert len(self.streams) > self.closed, "a stream is open"
                    self.streams[-1][1].extend(data)
                case Open(target):
                    self.streams.append((target, bytearray()))
                    if self.opens:
                        self.do(self.machine.stream_opened())
                case CloseStream():
                    self.closed += 1
                case Tunnel():
                    self.tunnel = True
                case End():
                    self.end = command
                    self.said += command.data
        return self

    def app(self, data):
        return self.do(self.machine.application_data(data))

    def app_eof(self):
        return self.do(self.machine.application_eof())

    def far(self, data):
        return self.do(self.machine.stream_data(data))

    def far_eof(self):
        return self.do(self.machine.stream_eof())

    def fail(self, code="E_STREAM_LOST"):
        self.closed += 1
        return self.do(self.machine.stream_failed(REFUSALS[code]))

    @property
    def asked(self) -> bytes:
        """What the last destination got."""
        return bytes(self.streams[-1][1])

    @property
    def targets(self) -> list[str]:
        return [target.reveal() for target, _ in self.streams]


def fields(head: bytes) -> dict[bytes, bytes]:
    lines = head.partition(b"\r\n\r\n")[0].split(b"\r\n")[1:]
    return {name.lower(): value.strip() for name, _, value in (line.partition(b":") for line in lines)}


def test_a_page_is_asked_for_in_origin_form_and_comes_back():
    talk = Talk().app(GET)
    assert talk.targets == ["site.example:80"]
    assert talk.asked == b"GET /page HTTP/1.1\r\nHost: site.example\r\n\r\n"
    talk.far(HELLO)
    assert talk.said == HELLO
    assert talk.machine.phase is Phase.IDLE
    assert talk.end is None


@pytest.mark.parametrize(
    "url, line, host, target",
    [
        (b"http://site.example", b"GET / HTTP/1.1", b"site.example", "site.example:80"),
        (
            b"HTTP://Site.Example:8080/a?b=c",
            b"GET /a?b=c HTTP/1.1",
            b"Site.Example:8080",
            "Site.Example:8080",
        ),
        (b"http://site.example?q", b"GET /?q HTTP/1.1", b"site.example", "site.example:80"),
        (b"http://[2001:db8::1]:81/", b"GET / HTTP/1.1", b"[2001:db8::1]:81", "[2001:db8::1]:81"),
        (b"http://192.0.2.7/", b"GET / HTTP/1.1", b"192.0.2.7", "192.0.2.7:80"),
        (b"ws://site.example/", b"GET / HTTP/1.1", b"site.example", "site.example:80"),
        (b"http://site.example//x//y", b"GET //x//y HTTP/1.1", b"site.example", "site.example:80"),
        (b"http://site.example/http://b/", b"GET /http://b/ HTTP/1.1", b"site.example", "site.example:80"),
    ],
)
def test_the_url_decides_whatever_host_says(url, line, host, target):
    talk = Talk().app(b"GET " + url + b" HTTP/1.1\r\nAccept: */*\r\nHost: other.example\r\n\r\n")
    assert talk.targets == [target]
    assert talk.asked == line + b"\r\nHost: " + host + b"\r\nAccept: */*\r\n\r\n"


def test_a_hop_is_counted_where_hops_are_counted():
    for method, sent in ((b"TRACE", b"2"), (b"OPTIONS", b"2"), (b"GET", b"3")):
        talk = Talk().app(method + b" http://a/ HTTP/1.1\r\nHost: a\r\nMax-Forwards: 3\r\n\r\n")
        assert b"\r\nMax-Forwards: " + sent + b"\r\n" in talk.asked


def test_options_for_a_whole_server():
    assert (
        Talk()
        .app(b"OPTIONS http://a HTTP/1.1\r\nHost: a\r\n\r\n")
        .asked.startswith(b"OPTIONS * HTTP/1.1\r\n")
    )


@pytest.mark.parametrize(
    "request_bytes, code",
    [
        (b"GET / HTTP/1.1\r\nHost: a\r\n\r\n", "E_HTTP_NOT_PROXIED"),
        (b"OPTIONS * HTTP/1.1\r\nHost: a\r\n\r\n", "E_HTTP_NOT_PROXIED"),
        (b"GET http:/a/ HTTP/1.1\r\nHost: a\r\n\r\n", "E_HTTP_NOT_PROXIED"),
        (b"GET http://a/#x HTTP/1.1\r\nHost: a\r\n\r\n", "E_HTTP_NOT_PROXIED"),
        (b"GET https://a/ HTTP/1.1\r\nHost: a\r\n\r\n", "E_HTTP_SCHEME"),
        (b"GET ftp://a/ HTTP/1.1\r\nHost: a\r\n\r\n", "E_HTTP_SCHEME"),
        (b"GET http:/// HTTP/1.1\r\nHost: a\r\n\r\n", "E_BAD_TARGET"),
        (b"GET http://u:p@a/ HTTP/1.1\r\nHost: a\r\n\r\n", "E_BAD_TARGET"),
        (b"GET http://a:0/ HTTP/1.1\r\nHost: a\r\n\r\n", "E_BAD_TARGET"),
        (b"GET http://a:99999/ HTTP/1.1\r\nHost: a\r\n\r\n", "E_BAD_TARGET"),
        (b"GET http://a\\b/ HTTP/1.1\r\nHost: a\r\n\r\n", "E_BAD_TARGET"),
        (b"GET http://a/ HTTP/1.1\r\n\r\n", "E_HTTP_SYNTAX"),
        (b"GET http://a/ HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n", "E_HTTP_SYNTAX"),
        (b"GET http://a/ HTTP/1.1\r\nHost: a\r\nExpect: coffee\r\n\r\n", "E_HTTP_EXPECT"),
        (b"GET http://a/ HTTP/1.1\r\nHost: a\r\n X: a\x00\r\n\r\n", "E_HTTP_SYNTAX"),
        (b"GET http://a/ b HTTP/1.1\r\nHost: a\r\n\r\n", "E_HTTP_SYNTAX"),
        (b"GET http://a/ HTTP/1.1\r\nX: " + b"y" * (MAX_HEAD_BYTES + 1), "E_HTTP_TOO_LARGE"),
        (
            b"GET http://a/ HTTP/1.1\r\nHost: a\r\nX: " + b"y" * MAX_HEAD_BYTES + b"\r\n\r\n",
            "E_HTTP_TOO_LARGE",
        ),
        (b"GET http://a/" + b"y" * MAX_HEAD_BYTES + b" HTTP/1.1\r\nHost: a\r\n\r\n", "E_HTTP_TOO_LARGE"),
        (b"GET http://[fe80::1%25eth0]/ HTTP/1.1\r\nHost: a\r\n\r\n", "E_BAD_TARGET"),
        (b"TRACE http://a/ HTTP/1.1\r\nHost: a\r\nMax-Forwards: 0\r\n\r\n", "E_HTTP_MAX_FORWARDS"),
        (b"OPTIONS http://a/ HTTP/1.1\r\nHost: a\r\nMax-Forwards: 00\r\n\r\n", "E_HTTP_MAX_FORWARDS"),
        (b"nonsense\r\n\r\n", "E_HTTP_SYNTAX"),
        # Request smuggling: two readers, two lengths.
        (
            b"POST http://a/ HTTP/1.1\r\nHost: a\r\nContent-Length: 4\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\nG",
            "E_HTTP_FRAMING",
        ),
        (
            b"POST http://a/ HTTP/1.0\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
            "E_HTTP_FRAMING",
        ),
        (
            b"POST http://a/ HTTP/1.1\r\nHost: a\r\nContent-Length: 4\r\nContent-Length: 5\r\n\r\nabcde",
            "E_HTTP_SYNTAX",
        ),
        (b"POST http://a/ HTTP/1.1\r\nHost: a\r\nContent-Length: 4, 5\r\n\r\nabcde", "E_HTTP_SYNTAX"),
        (b"POST http://a/ HTTP/1.1\r\nHost: a\r\nContent-Length: +4\r\n\r\nabcd", "E_HTTP_SYNTAX"),
        (b"POST http://a/ HTTP/1.1\r\nHost: a\r\nContent-Length: 0x4\r\n\r\nabcd", "E_HTTP_SYNTAX"),
        (b"POST http://a/ HTTP/1.1\r\nHost: a\r\nContent-Length : 4\r\n\r\nabcd", "E_HTTP_SYNTAX"),
        (b"POST http://a/ HTTP/1.1\r\nHost: a\r\nTransfer-Encoding : chunked\r\n\r\n", "E_HTTP_SYNTAX"),
        (b"POST http://a/ HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: xchunked\r\n\r\n", "E_HTTP_CODING"),
        (b"POST http://a/ HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: gzip, chunked\r\n\r\n", "E_HTTP_CODING"),
        (
            b"POST http://a/ HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\nTransfer-Encoding: x\r\n\r\n",
            "E_HTTP_CODING",
        ),
        (b"POST http://a/ HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: \x0bchunked\r\n\r\n", "E_HTTP_SYNTAX"),
        (b"CONNECT a:80 HTTP/1.1\r\nHost: a\r\nContent-Length: 4\r\n\r\nabcd", "E_HTTP_FRAMING"),
        (b"CONNECT a HTTP/1.1\r\nHost: a\r\n\r\n", "E_BAD_TARGET"),
    ],
)
@pytest.mark.parametrize("pieces", [lambda data: [data], single_bytes], ids=["whole", "bytes"])
def test_what_cannot_be_or_could_be_read_in_two_ways_is_refused(request_bytes, code, pieces):
    talk = Talk()
    for piece in pieces(request_bytes):
        if talk.end is None:
            talk.app(piece)
    assert talk.end is not None
    assert talk.end.code == code
    assert talk.said.startswith(b"HTTP/1.1 %d " % REFUSALS[code].status)
    assert code.encode() in talk.said.partition(b"\r\n\r\n")[2]
    assert talk.streams == []
    assert talk.machine.phase is Phase.OVER


def test_a_bad_chunk_breaks_the_request_off_and_reaches_nobody():
    talk = Talk().app(b"POST http://a/ HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n")
    assert talk.end is not None
    assert talk.end.code == "E_HTTP_SYNTAX"
    assert talk.said.startswith(b"HTTP/1.1 400 ")
    assert talk.closed == 1
    assert b"zz" not in talk.asked


def test_headers_of_one_hop_stay_here():
    talk = Talk().app(
        b"GET http://a/ HTTP/1.1\r\nHost: a\r\nConnection: keep-alive, X-Private, Host, Cookie\r\nKeep-Alive: 5\r\n"
        b"X-Private: 1\r\nProxy-Connection: keep-alive\r\nProxy-Authorization: Basic eDp5\r\nTE: trailers\r\n"
        b"X-Tor-Stream-Isolation: me\r\nCookie: a=b\r\nX-KEPT: as Written\r\nUpgrade: websocket\r\n\r\n"
    )
    # Upgrade is not named in Connection, so it is not one.
    assert talk.asked == b"GET / HTTP/1.1\r\nHost: a\r\nCookie: a=b\r\nX-KEPT: as Written\r\n\r\n"
    talk.far(
        b"HTTP/1.1 200 Fine\r\nConnection: X-Mine\r\nX-Mine: 1\r\nKeep-Alive: 5\r\nProxy-Authenticate: Basic\r\n"
        b"Upgrade: h2c\r\nSet-Cookie: a\r\nContent-Length: 0\r\n\r\n"
    )
    assert talk.said == b"HTTP/1.1 200 Fine\r\nSet-Cookie: a\r\nContent-Length: 0\r\n\r\n"


def test_nothing_of_the_proxy_is_said_to_the_destination():
    talk = Talk().app(GET)
    assert not fields(talk.asked).keys() & {b"via", b"forwarded", b"x-forwarded-for", b"proxy-status"}


def test_requests_to_one_destination_share_a_stream_and_others_get_their_own():
    talk = Talk()
    for _ in range(3):
        talk.app(GET).far(HELLO)
    assert talk.targets == ["site.example:80"]
    talk.app(b"GET http://site.example:81/ HTTP/1.1\r\nHost: site.example\r\n\r\n").far(HELLO)
    assert talk.targets == ["site.example:80", "site.example:81"]
    assert talk.closed == 1
    assert talk.said == HELLO * 4


def test_pipelined_requests_are_answered_in_order():
    talk = Talk().app(GET + GET.replace(b"page", b"two") + GET.replace(b"page", b"three"))
    assert talk.asked.count(b"GET") == 1
    talk.far(HELLO).far(HELLO.replace(b"hello", b"zwei!")).far(HELLO)
    assert talk.asked.count(b"GET") == 3
    assert talk.said == HELLO + HELLO.replace(b"hello", b"zwei!") + HELLO


def test_bodies_travel_as_they_come():
    talk = Talk().app(b"PUT http://a/ HTTP/1.1\r\nHost: a\r\nContent-Length: 10\r\n\r\nfirst")
    assert talk.asked.endswith(b"\r\n\r\nfirst")
    assert talk.machine.hungry
    talk.app(b"later")
    assert talk.asked.endswith(b"firstlater")
    assert not talk.machine.hungry


def test_chunked_bodies_are_chunked_again_with_their_trailers():
    talk = Talk().app(
        b"POST http://a/ HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n"
        b"5;ext=1\r\nhello\r\n6\r\n world\r\n0\r\nX-Sum: 1\r\nContent-Length: 3\r\n\r\n"
    )
    head, _, body = talk.asked.partition(b"\r\n\r\n")
    assert fields(head) == {b"host": b"a", b"transfer-encoding": b"chunked"}
    assert body == b"5\r\nhello\r\n6\r\n world\r\n0\r\nX-Sum: 1\r\n\r\n"
    talk.far(
        b"HTTP/1.1 200 OK\r\nContent-Length: 99\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\nX-T: 2\r\n\r\n"
    )
    assert talk.said == (
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\nX-T: 2\r\n\r\n"
    )


def test_an_answer_until_the_end_of_the_stream():
    talk = Talk().app(GET).far(b"HTTP/1.0 200 OK\r\n\r\nall").far(b" of it").far_eof()
    assert fields(talk.said) == {b"transfer-encoding": b"chunked"}
    assert talk.said.endswith(b"\r\n\r\n3\r\nall\r\n6\r\n of it\r\n0\r\n\r\n")
    assert talk.end is None
    talk.app(GET)
    assert len(talk.streams) == 2


def test_an_application_of_http_1_0_gets_an_end_of_the_connection():
    talk = Talk().app(b"GET http://a/ HTTP/1.0\r\nExpect: 100-continue\r\n\r\n")
    assert talk.asked == b"GET / HTTP/1.1\r\nHost: a\r\n\r\n"
    talk.far(
        b"HTTP/1.1 103 H\r\n\r\nHTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\nX-T: 2\r\n\r\n"
    )
    assert talk.said == b"HTTP/1.1 200 OK\r\nConnection: close\r\n\r\nabc"
    assert talk.end == End("ok")


@pytest.mark.parametrize(
    "request_line, head",
    [
        (b"HEAD", b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n"),
        (b"GET", b"HTTP/1.1 304 Not Modified\r\nContent-Length: 5\r\n\r\n"),
        (b"GET", b"HTTP/1.1 204 No Content\r\n\r\n"),
    ],
)
def test_answers_without_body(request_line, head):
    talk = Talk().app(GET.replace(b"GET", request_line)).far(head)
    assert talk.said == head
    assert talk.machine.phase is Phase.IDLE


def test_expectations_are_passed_on_and_answers_too():
    talk = Talk().app(
        b"PUT http://a/ HTTP/1.1\r\nHost: a\r\nContent-Length: 2\r\nExpect: 100-Continue\r\n\r\n"
    )
    assert fields(talk.asked)[b"expect"] == b"100-Continue"
    talk.far(b"HTTP/1.1 100 Continue\r\n\r\n")
    assert talk.said == b"HTTP/1.1 100 Continue\r\n\r\n"
    talk.app(b"ab").far(HELLO)
    assert talk.said.endswith(HELLO)
    assert talk.machine.phase is Phase.IDLE


def test_an_expectation_that_is_refused_ends_the_connection():
    talk = Talk().app(
        b"PUT http://a/ HTTP/1.1\r\nHost: a\r\nContent-Length: 2\r\nExpect: 100-continue\r\n\r\n"
    )
    talk.far(b"HTTP/1.1 417 No\r\nContent-Length: 0\r\n\r\n")
    assert talk.said.startswith(b"HTTP/1.1 417 No\r\n")
    assert talk.end == End("ok")
    assert talk.closed == 1


def test_upgrade_becomes_a_tunnel():
    talk = Talk().app(
        b"GET http://a/chat HTTP/1.1\r\nHost: a\r\nConnection: keep-alive, Upgrade\r\nUpgrade: h2c, websocket\r\n"
        b"HTTP2-Settings: x\r\nSec-WebSocket-Key: k\r\n\r\n"
    )
    assert fields(talk.asked)[b"upgrade"] == b"websocket"
    assert fields(talk.asked)[b"connection"] == b"Upgrade"
    talk.app(b"early")
    talk.far(b"HTTP/1.1 101 Switching\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nX: y\r\n\r\nframe")
    assert talk.said.startswith(b"HTTP/1.1 101 Switching\r\n")
    assert fields(talk.said) == {b"connection": b"Upgrade", b"upgrade": b"websocket", b"x": b"y"}
    assert talk.said.endswith(b"\r\n\r\nframe")
    assert talk.asked.endswith(b"\r\n\r\nearly")
    assert talk.tunnel
    assert talk.machine.phase is Phase.TUNNEL


def test_an_upgrade_that_is_declined_goes_on_as_http():
    talk = Talk().app(GET[:-2] + b"Connection: Upgrade\r\nUpgrade: websocket\r\n\r\n").far(HELLO)
    assert talk.said == HELLO
    talk.app(GET).far(HELLO)
    assert talk.said == HELLO * 2


def test_h2c_is_not_offered_and_an_upgrade_nobody_asked_for_is_no_answer():
    talk = Talk().app(
        GET[:-2] + b"Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: x\r\n\r\n"
    )
    assert talk.asked == b"GET /page HTTP/1.1\r\nHost: site.example\r\n\r\n"
    talk.far(b"HTTP/1.1 101 Switching\r\nConnection: Upgrade\r\nUpgrade: h2c\r\n\r\nPRI *")
    assert talk.end is not None
    assert talk.end.code == "E_TARGET_HTTP"
    assert not talk.tunnel


def test_connect_after_requests_becomes_a_tunnel():
    talk = Talk().app(GET).far(HELLO)
    talk.app(b"CONNECT secure.example:443 HTTP/1.1\r\nHost: secure.example:443\r\n\r\n\x16\x03")
    assert talk.targets[-1] == "secure.example:443"
    assert talk.said == HELLO + b"HTTP/1.1 200 Connection established\r\n\r\n"
    assert talk.asked == b"\x16\x03"
    assert talk.tunnel


@pytest.mark.parametrize("row", REFUSALS.values(), ids=lambda row: row.code)
@pytest.mark.parametrize("method", [b"GET", b"HEAD"])
def test_a_refused_stream_is_an_answer(row, method):
    talk = Talk(opens=False).app(GET.replace(b"GET", method))
    talk.do(talk.machine.stream_refused(row))
    head, _, body = talk.said.partition(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 %d " % row.status)
    assert (row.code.encode() in body) is (method == b"GET")
    assert talk.end is not None


def test_a_kept_stream_that_was_gone_is_replaced_for_requests_that_can_be_repeated():
    for end in (Talk.far_eof, Talk.fail):
        talk = Talk().app(GET).far(HELLO).app(GET)
        end(talk)
        assert len(talk.streams) == 2
        assert talk.asked == b"GET /page HTTP/1.1\r\nHost: site.example\r\n\r\n"
        talk.far(HELLO)
        assert talk.said == HELLO * 2
        end(talk.app(GET))  # once more with a kept stream, then with a new one
        assert len(talk.streams) == 3
        end(talk)
        assert len(talk.streams) == 3
        assert talk.end is not None
        assert talk.said.partition(HELLO * 2)[2].startswith(b"HTTP/1.1 502 ")


@pytest.mark.parametrize(
    "method, fields", [(b"POST", b""), (b"PUT", b"Content-Length: 0\r\n"), (b"GET", b"Content-Length: 0\r\n")]
)
def test_requests_that_may_have_done_something_are_not_repeated(method, fields):
    talk = Talk().app(GET).far(HELLO).app(GET.replace(b"GET", method)[:-2] + fields + b"\r\n").far_eof()
    assert len(talk.streams) == 1
    assert talk.end is not None
    assert talk.end.code == "E_TARGET_CLOSED"


def test_a_destination_that_closes_while_idle_is_forgotten():
    for end in (Talk.far_eof, Talk.fail, lambda talk: talk.far(b"HTTP/1.1 408 Late\r\n\r\n")):
        talk = Talk().app(GET).far(HELLO)
        end(talk)
        assert talk.said == HELLO
        assert talk.end is None
        talk.app(GET).far(HELLO)
        assert len(talk.streams) == 2
        assert talk.said == HELLO * 2


def test_an_answer_with_more_after_it_does_not_poison_the_next():
    talk = Talk().app(GET).far(HELLO + b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nevil")
    assert talk.said == HELLO
    assert talk.closed == 1
    talk.app(GET).far(HELLO)
    assert talk.said == HELLO * 2


@pytest.mark.parametrize(
    "answer, code",
    [
        (b"garbage\r\n\r\n", "E_TARGET_HTTP"),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\n", "E_TARGET_HTTP"),
        (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: x\r\n\r\n", "E_TARGET_HTTP"),
        (b"HTTP/1.1 200 OK\r\nX: " + b"y" * (MAX_HEAD_BYTES + 1), "E_TARGET_HTTP"),
    ],
)
def test_answers_that_are_none(answer, code):
    talk = Talk().app(GET).far(answer)
    assert talk.end is not None
    assert talk.end.code == code
    assert talk.said.startswith(b"HTTP/1.1 502 ")


@pytest.mark.parametrize("answer", [b"", b"HTTP/1.1 200 OK\r\nConte"])
def test_a_destination_that_says_nothing(answer):
    talk = Talk().app(GET)
    if answer:
        talk.far(answer)
    talk.far_eof()
    assert talk.end is not None
    assert talk.end.code == "E_TARGET_CLOSED"
    assert talk.said.startswith(b"HTTP/1.1 502 ")


@pytest.mark.parametrize("end", [Talk.far_eof, Talk.fail])
@pytest.mark.parametrize(
    "answer", [HELLO[:-1], b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n"]
)
def test_half_an_answer_is_broken_off_not_ended(end, answer):
    talk = Talk().app(GET).far(answer)
    end(talk)
    assert talk.end is not None
    assert talk.end.reset
    assert talk.end.data == b""
    assert talk.end.code in ("E_TARGET_CLOSED", "E_STREAM_LOST")


def test_an_application_that_half_closes_still_gets_its_answer():
    talk = Talk().app(GET).app_eof()
    assert talk.end is None
    talk.far(HELLO)
    assert talk.said.endswith(b"\r\n\r\nhello")
    assert talk.end == End("ok")


def test_an_application_that_leaves_between_requests():
    assert Talk().app_eof().end == End("ok")
    assert Talk().app(GET).far(HELLO).app_eof().end == End("ok")


def test_an_application_that_leaves_in_a_head_or_a_body():
    assert Talk().app(GET[:-5]).app_eof().end.code == "E_HTTP_SYNTAX"
    talk = Talk().app(b"PUT http://a/ HTTP/1.1\r\nHost: a\r\nContent-Length: 10\r\n\r\nfirst").app_eof()
    assert talk.end.code == "E_HTTP_SYNTAX"
    assert talk.closed == 1


def test_partial_heads_are_seen():
    talk = Talk()
    assert not talk.machine.partial
    assert talk.app(b"GE").machine.partial
    assert not talk.app(GET[2:]).machine.partial
    assert not talk.far(HELLO).machine.partial


def test_while_a_stream_opens_bytes_wait():
    talk = Talk(opens=False).app(GET)
    assert not talk.machine.hungry
    talk.app(GET)
    talk.do(talk.machine.stream_opened()).far(HELLO).far(HELLO)
    assert talk.said == HELLO * 2


message = st.one_of(
    st.sampled_from(
        [
            GET,
            GET.replace(b"GET", b"HEAD"),
            b"POST http://b/ HTTP/1.1\r\nHost: b\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n",
            b"PUT http://a:81/ HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\n\r\nabc",
            b"CONNECT a:80 HTTP/1.1\r\nHost: a\r\n\r\n",
            b"GET http://a/ HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n",
            b"GET http://a/ HTTP/1.0\r\n\r\n",
            b"\r\n",
        ]
    ),
    st.binary(max_size=40),
)
reply = st.one_of(
    st.sampled_from(
        [
            HELLO,
            b"HTTP/1.1 100 Continue\r\n\r\n",
            b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n",
            b"HTTP/1.0 200 OK\r\n\r\nabc",
            b"HTTP/1.1 101 X\r\nUpgrade: a\r\n\r\n",
            b"HTTP/1.1 204 X\r\n\r\n",
        ]
    ),
    st.binary(max_size=40),
)
happening = st.one_of(
    st.tuples(st.just(Talk.app), message),
    st.tuples(st.just(Talk.far), reply),
    st.tuples(st.just(Talk.far_eof)),
    st.tuples(st.just(Talk.fail)),
    st.tuples(st.just(Talk.app_eof)),
)


@given(st.lists(happening, max_size=12))
def test_whatever_happens_in_whatever_order_nothing_breaks(happenings):
    talk = Talk()
    application_is_there = True
    for act, *arguments in happenings:
        if talk.end is not None or talk.tunnel:
            break
        if act in (Talk.far, Talk.far_eof, Talk.fail) and len(talk.streams) == talk.closed:
            continue
        if act in (Talk.app, Talk.app_eof) and not application_is_there:
            continue
        application_is_there = application_is_there and act is not Talk.app_eof
        if arguments == [b""]:
            continue
        before = talk.closed
        act(talk, *arguments)
        if act is Talk.fail and talk.machine.phase is Phase.IDLE:
            assert talk.closed >= before + 1
    assert len(talk.streams) - talk.closed in (0, 1)


@given(st.lists(message, min_size=1, max_size=4), st.lists(st.integers(0, 600), max_size=8))
def test_pieces_do_not_matter(messages, places):
    data = b"".join(messages) or b"\r\n"

    def asked_of(pieces):
        talk = Talk()
        for piece in pieces:
            if talk.end is None and not talk.tunnel:
                talk.app(piece)
        return talk

    whole, bytewise = asked_of([data]), asked_of(single_bytes(data))
    cut_up = asked_of(cut(data, places))
    for other in (bytewise, cut_up):
        assert other.targets == whole.targets
        assert other.said == whole.said
        if not whole.tunnel:
            assert other.machine.phase is whole.machine.phase
            assert unchunked(other.asked if other.streams else b"") == unchunked(
                whole.asked if whole.streams else b""
            )


def unchunked(data: bytes) -> bytes:
    """Chunks follow the pieces in which bytes came; what they hold does not."""
    if not data:
        return b""
    connection = h11.Connection(h11.SERVER)
    connection.receive_data(data)
    result = b""
    while (event := connection.next_event()) not in (h11.NEED_DATA, h11.PAUSED):
        result += bytes(event.data) if isinstance(event, h11.Data) else repr(event).encode()
    return result


def test_the_table_is_closed():
    assert {phase for phase, _ in TRANSITIONS} | set(TRANSITIONS.values()) == set(Phase)
    assert not [phase for phase, _ in TRANSITIONS if phase in (Phase.OVER, Phase.TUNNEL)]
    assert {event for _, event in TRANSITIONS} == set(Event)


def caller_get(*headers: bytes) -> bytes:
    lines = (b"GET http://site.example/ HTTP/1.1", b"Host: site.example", *headers)
    return b"\r\n".join(lines) + b"\r\n\r\n"


ALICE = b"Proxy-Authorization: Basic YWxpY2U6"
BOB = b"Proxy-Authorization: Basic Ym9iOg=="
APART = b"X-Tor-Stream-Isolation: apart"


@pytest.mark.parametrize("others", [(), (BOB,), (ALICE, APART), (APART,)])
def test_requests_of_different_callers_never_share_a_stream(others):
    talk = Talk()
    talk.app(caller_get(ALICE)).far(HELLO).app(caller_get(ALICE)).far(HELLO)
    assert (len(talk.streams), talk.closed) == (1, 0), "the same caller's do"
    talk.app(caller_get(*others)).far(HELLO)
    assert (len(talk.streams), talk.closed) == (2, 1)
    talk.app(caller_get(ALICE)).far(HELLO)
    assert (len(talk.streams), talk.closed) == (3, 2)
    assert talk.end is None
    for _target, sent in talk.streams:
        assert b"GET / HTTP/1.1" in sent
        assert b"uthorization" not in sent
        assert b"solation" not in sent
