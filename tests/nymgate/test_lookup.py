"""Tor's RESOLVE and RESOLVE_PTR: what DNS is asked, what its answers mean, and the way through the mixnet."""

import asyncio
import contextlib
import socket

import dns.flags
import dns.message
import dns.rcode
import dns.rrset
import pytest
from hypothesis import given
from hypothesis import strategies as st

from nym_localnet.background_io import BackgroundLocalnet
from nym_localnet.options import LocalnetOptions, Mode
from nym_localnet.resolver_io import Resolver
from nymgate.errors import ConfigError, NetworkFileError, Reply, StreamRefused
from nymgate.listener import lookup_io
from nymgate.listener.caller import ANYBODY
from nymgate.listener.handshake import Lookup, Target
from nymgate.listener.lookup import Questions
from nymgate.listener.lookup_io import look_up
from nymgate.networks import PUBLIC_RESOLVER, parse_env_network, parse_toml_network
from nymgate.wiring import resolver
from tests.nymgate.listener_upstreams import TestUpstream
from tests.nymgate.socks_client import GREETING, dial
from tests.nymgate.test_end_to_end import plan_for, proxy_on
from tests.nymgate.test_server import serving

NAME = "somewhere.example"


def messages(wire):
    """The messages in what is sent over TCP."""
    found = []
    while wire:
        end = 2 + int.from_bytes(wire[:2], "big")
        found.append(dns.message.from_wire(wire[2:end]))
        wire = wire[end:]
    return found


def answers(questions, *, rcode=dns.rcode.NOERROR, **records):
    """What a resolver that knows these records sends; the last question is answered first."""
    wire = b""
    for query in reversed(messages(questions.wire)):
        response = dns.message.make_response(query, recursion_available=True)
        response.set_rcode(rcode)
        kind = dns.rdatatype.to_text(query.question[0].rdtype)
        for text in records.get(kind, ()):
            response.answer.append(dns.rrset.from_text(*text.split(" ", 4)))
        wire += response.to_wire(prepend_length=True)
    return wire


A = [f"{NAME}. 60 IN A 192.0.2.7"]
AAAA = [f"{NAME}. 60 IN AAAA 2001:db8::7"]
ALIAS = [f"{NAME}. 60 IN CNAME other.example.", "other.example. 60 IN A 192.0.2.9"]


@pytest.mark.parametrize(
    "lookup, host, records, found",
    [
        (Lookup.ADDRESS, NAME, {"A": A, "AAAA": AAAA}, "192.0.2.7"),
        (Lookup.ADDRESS, NAME, {"AAAA": AAAA}, "2001:db8::7"),
        (Lookup.ADDRESS, NAME, {"A": ALIAS}, "192.0.2.9"),
        (Lookup.IPV4_ADDRESS, NAME, {"A": A, "AAAA": AAAA}, "192.0.2.7"),
        (
            Lookup.NAME,
            "192.0.2.7",
            {"PTR": ["7.2.0.192.in-addr.arpa. 60 IN PTR seven.example."]},
            "seven.example",
        ),
        (Lookup.ADDRESS, "bücher.example", {"A": ["xn--bcher-kva.example. 60 IN A 192.0.2.8"]}, "192.0.2.8"),
    ],
)
@pytest.mark.parametrize("piece", [1, 7, 1 << 16])
def test_what_was_looked_up_is_found_in_the_answers(lookup, host, records, found, piece):
    questions = Questions.of(host, lookup)
    wire = answers(questions, **records)
    heard = [questions.receive(wire[start : start + piece]) for start in range(0, len(wire), piece)]
    assert heard[-1] == found
    assert set(heard[:-1]) <= {None}


def test_nothing_but_the_question_is_asked():
    for query in messages(Questions.of(NAME, Lookup.ADDRESS).wire):
        assert [str(one.name) for one in query.question] == [f"{NAME}."]
        assert query.flags & dns.flags.RD
        assert [*query.answer, *query.authority, *query.additional] == []
    ids = {messages(Questions.of(NAME, Lookup.ADDRESS).wire)[0].id for _ in range(8)}
    assert len(ids) > 1, "nobody can guess them"


@pytest.mark.parametrize(
    "change, code",
    [
        (lambda questions: answers(questions), "E_NO_ADDRESS"),
        (lambda questions: answers(questions, rcode=dns.rcode.NXDOMAIN), "E_NO_ADDRESS"),
        (lambda questions: answers(questions, rcode=dns.rcode.SERVFAIL), "E_RESOLVER"),
        (lambda questions: answers(questions, rcode=dns.rcode.REFUSED), "E_RESOLVER"),
        (lambda questions: answers(Questions.of("other.example", Lookup.ADDRESS), A=A), "E_RESOLVER"),
        (lambda questions: questions.wire, "E_RESOLVER"),
        (lambda questions: b"\x00\x04HTTP", "E_RESOLVER"),
        (lambda questions: b"\x00\x00", "E_RESOLVER"),
    ],
)
def test_other_answers_are_refusals(change, code):
    questions = Questions.of(NAME, Lookup.ADDRESS)
    with pytest.raises(StreamRefused) as caught:
        questions.receive(change(questions))
    assert caught.value.code == code
    assert NAME not in str(caught.value)


@pytest.mark.parametrize("host", ["a..b", "x" * 64 + ".example", "-" * 250 + ".example", "\x80.example"])
def test_what_is_no_name_is_not_asked(host):
    with pytest.raises(StreamRefused) as caught:
        Questions.of(host, Lookup.ADDRESS)
    assert caught.value.code == "E_BAD_TARGET"


@given(st.binary(max_size=200))
def test_any_bytes_are_an_answer_or_a_refusal(data):
    questions = Questions.of(NAME, Lookup.ADDRESS)
    with contextlib.suppress(StreamRefused):
        assert questions.receive(data) is None


class ToResolver(TestUpstream):
    """The stream is a real connection to a resolver on this machine."""

    def __init__(self, port):
        super().__init__()
        self.port = port

    def wrote(self, stream, data):
        stream.task = asyncio.get_running_loop().create_task(self._carry(stream, data))

    async def _carry(self, stream, data):
        async with dial(self.port) as (reader, writer):
            writer.write(data)
            while more := await reader.read(5):
                stream.consumer.stream_data(more)
        if not stream.closed:
            stream.consumer.stream_eof()


@pytest.fixture
async def known():
    server = Resolver()
    await server.start("127.0.0.1")
    yield server
    await server.close()


async def test_a_lookup_is_one_stream_that_is_given_up_after_it(known):
    upstream = ToResolver(known.port)
    target = Target("127.0.0.1", known.port)
    assert await look_up(upstream, target, "localhost", Lookup.ADDRESS, ANYBODY) == "127.0.0.1"
    (stream,) = upstream.streams
    assert (stream.target, stream.aborted) == (target, True)
    stream.task.cancel()


async def test_a_resolver_that_does_not_answer_is_given_up(known, monkeypatch):
    monkeypatch.setattr(lookup_io, "ANSWER_SECONDS", 0.2)
    known.silent = True
    upstream = ToResolver(known.port)
    with pytest.raises(StreamRefused, match="in time") as caught:
        await look_up(upstream, Target("127.0.0.1", known.port), "localhost", Lookup.ADDRESS, ANYBODY)
    assert caught.value.code == "E_RESOLVER"
    assert upstream.streams[0].aborted
    upstream.streams[0].task.cancel()


async def test_addresses_need_nobody():
    for host in ("192.0.2.7", "2001:db8::7"):
        assert await look_up(TestUpstream(), None, host, Lookup.ADDRESS, ANYBODY) == host
    with pytest.raises(StreamRefused) as caught:
        await look_up(TestUpstream(), None, "2001:db8::7", Lookup.IPV4_ADDRESS, ANYBODY)
    assert caught.value.code == "E_NO_ADDRESS"


async def resolve(port, host, command=0xF0):
    """Reply code, address type and what is told."""
    async with dial(port) as (reader, writer), asyncio.timeout(60):
        kind, address = (
            (3, bytes((len(host),)) + host) if isinstance(host, bytes) else (1, socket.inet_aton(host))
        )
        writer.write(GREETING + bytes((5, command, 0, kind)) + address + b"\x00\x00")
        assert await reader.readexactly(2) == b"\x05\x00"
        found = await reader.read()  # and then it is over
        assert found[:1] + found[2:3] == b"\x05\x00"
        return found[1], found[3], found[4:-2]


async def test_without_a_resolver_it_is_refused():
    upstream = TestUpstream()
    async with serving(upstream, resolver=None) as (server, port):
        assert await resolve(port, NAME.encode()) == (Reply.COMMAND_NOT_SUPPORTED, 1, bytes(4))
        assert server.stats.ended["E_SOCKS_RESOLVE"] == 1
    assert upstream.streams == []


async def test_early_success_is_no_answer(known):
    async with serving(
        ToResolver(known.port), resolver=Target("127.0.0.1", known.port), early_success=True
    ) as (_server, port):
        assert await resolve(port, b"localhost") == (0, 1, socket.inet_aton("127.0.0.1"))


@pytest.fixture(scope="module")
def network():
    with BackgroundLocalnet(LocalnetOptions(mode=Mode.PROCESSES)) as background:
        yield background


async def test_names_are_looked_up_through_the_mixnet(network, tmp_path):
    before = network.net.resolver.questions
    async with proxy_on(network, tmp_path) as proxy:
        port = proxy.addresses[0][1]
        assert await resolve(port, b"localhost") == (0, 1, socket.inet_aton("127.0.0.1"))
        code, kind, told = await resolve(port, "127.0.0.1", 0xF1)
        assert (code, kind, told[0]) == (0, 3, len(told) - 1)
        assert told[1:].decode() == socket.getnameinfo(("127.0.0.1", 0), socket.NI_NAMEREQD)[0]
        assert (await resolve(port, b"nowhere.invalid"))[0] == Reply.HOST_UNREACHABLE
        async with dial(port) as (reader, writer):
            writer.write(b"\x04\xf0\x00\x00\x00\x00\x00\x01\x00localhost\x00")
            assert await reader.read() == b"\x00\x5a\x00\x00" + socket.inet_aton("127.0.0.1")
        assert network.net.resolver.questions - before >= 4
        assert proxy.server.stats.streams == 0


async def test_rules_hold_for_what_is_looked_up(network, tmp_path):
    before = network.net.resolver.questions
    async with proxy_on(network, tmp_path, **{"rules.deny": ["localhost"]}) as proxy:
        assert (await resolve(proxy.addresses[0][1], b"localhost"))[0] == Reply.NOT_ALLOWED
    assert network.net.resolver.questions == before


def test_the_resolver_is_the_networks_unless_it_is_named(network, tmp_path):
    own = f"127.0.0.1:{network.net.resolver.port}".split(":")
    assert resolver(plan_for(network, tmp_path)) == Target(own[0], int(own[1]))
    assert resolver(plan_for(network, tmp_path, **{"streams.resolver": "none"})) is None
    named = {"streams.resolver": "[2001:db8::53]:5353"}
    assert resolver(plan_for(network, tmp_path, **named)) == Target("2001:db8::53", 5353)
    with pytest.raises(ConfigError, match=r"9\.9\.9\.9:53"):
        plan_for(network, tmp_path, **{"streams.resolver": "9.9.9.9"})


def test_network_files_may_name_one():
    text = 'nym_api = "http://127.0.0.1:1/"\n'
    assert parse_toml_network(text, "x.toml").resolver == PUBLIC_RESOLVER
    assert parse_toml_network(f'resolver = "dns.example:53"\n{text}', "x.toml").resolver == "dns.example:53"
    assert parse_env_network("NYM_API=http://127.0.0.1:1/", "x.env").resolver == PUBLIC_RESOLVER
    for wrong in ('"dns.example"', "53", '"::1:53"', '"[::1:53"', '"dns.example:0"'):
        with pytest.raises(NetworkFileError, match="resolver"):
            parse_toml_network(f"resolver = {wrong}\n{text}", "x.toml")
