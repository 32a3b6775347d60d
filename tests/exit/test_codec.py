"""Round trips, truncation and garbage for everything that is read from bytes or text."""

from __future__ import annotations

import contextlib
import json
from ipaddress import IPv4Address, IPv6Address

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nym_exit import bincode
from nym_exit.bincode import Reader
from nym_exit.codec import (
    DATA_OVERHEAD_BYTES,
    Connect,
    ConnectionRefused,
    DescriptionAnswer,
    ExitPolicyAnswer,
    NetworkData,
    OpenProxyAnswer,
    Query,
    QueryErrorAnswer,
    RequestMessage,
    ResponseMessage,
    Send,
)
from nym_exit.control import (
    BinaryInfo,
    BuildInformation,
    ControlError,
    ControlRequest,
    Health,
    SupportedVersions,
)
from nym_exit.errors import (
    BadTarget,
    ExitError,
    MalformedBincode,
    MalformedControl,
    MalformedPolicy,
    WireError,
)
from nym_exit.exit_policy import Action, ExitPolicy, IpPattern, PortRange, Refusal, Rule, check_target
from nym_exit.targets import format_target, parse_target
from nym_exit.versions import LEGACY, version_from_json, version_from_text
from nym_sphinx.addressing import Recipient
from tests.vector_files import load

RECIPIENT = Recipient.parse(load("socks5")["recipients"][0]["base58"])

u64 = st.integers(0, 2**64 - 1)
texts = st.text(max_size=60)
v4 = st.integers(0, 2**32 - 1).map(IPv4Address)
v6 = st.integers(0, 2**128 - 1).map(IPv6Address)
versions = st.sampled_from([LEGACY, 3])
interfaces = st.sampled_from([LEGACY, 3, 4, 200])


@st.composite
def ip_patterns(draw):
    kind = draw(st.sampled_from(["*", "*4", "*6", "4", "6"]))
    if kind.startswith("*"):
        return IpPattern.parse(kind)
    address = draw(v4 if kind == "4" else v6)
    return IpPattern(address.version, address, draw(st.integers(1, address.max_prefixlen)))


@st.composite
def port_ranges(draw):
    start = draw(st.integers(0, 65535))
    if start == 0:
        return PortRange(0, 0)
    return PortRange(start, draw(st.integers(start, 65535)))


rules = st.builds(Rule, st.sampled_from(Action), ip_patterns(), port_ranges())
policies = st.lists(rules, max_size=5).map(lambda found: ExitPolicy(tuple(found)))

connects = st.builds(Connect, u64, texts, st.sampled_from([None, RECIPIENT]))
sends = st.builds(Send, u64, u64, st.binary(max_size=50), st.booleans())
requests = st.one_of(connects, sends, st.sampled_from(Query))
answers = st.one_of(
    st.builds(OpenProxyAnswer, st.booleans()),
    st.builds(DescriptionAnswer, texts),
    st.builds(ExitPolicyAnswer, st.booleans(), texts, st.none() | policies),
    st.builds(QueryErrorAnswer, texts),
)
data_or_refusal = st.one_of(
    st.builds(NetworkData, u64, u64, st.binary(max_size=50), st.booleans()),
    st.builds(ConnectionRefused, u64, texts),
)
build_information = st.builds(BuildInformation, *[texts] * 10)
control_responses = st.one_of(
    st.just(Health()),
    st.builds(BinaryInfo, texts, build_information),
    st.builds(SupportedVersions, st.sampled_from([LEGACY, 3, 9]), st.sampled_from([LEGACY, 3, 9])),
    st.builds(ControlError, texts),
)


@given(requests, interfaces, versions)
def test_requests_round_trip(content, interface, protocol):
    if interface == LEGACY and protocol != LEGACY:
        return  # the reference writes it, nobody can read it
    message = RequestMessage(content, interface, protocol)
    assert RequestMessage.decode(message.encode()) == message


@given(data_or_refusal, interfaces, versions)
def test_responses_round_trip(content, interface, protocol):
    if interface == LEGACY and protocol != LEGACY:
        return
    message = ResponseMessage(content, interface, protocol)
    assert ResponseMessage.decode(message.encode()) == message


@given(answers, st.sampled_from([3, 4, 200]))
def test_query_answers_round_trip(content, interface):
    message = ResponseMessage(content, interface)
    assert ResponseMessage.decode(message.encode()) == message


@given(control_responses)
def test_control_answers_round_trip(content):
    message = ResponseMessage(content)
    assert ResponseMessage.decode(message.encode()) == message


@given(st.one_of(requests, st.sampled_from(ControlRequest)), st.data())
def test_truncated_requests(content, data):
    raw = RequestMessage(content).encode()
    cut = raw[: data.draw(st.integers(0, len(raw) - 1))]
    try:
        decoded = RequestMessage.decode(cut).content
    except WireError:
        return
    # what is left can only be the same message with less data
    if isinstance(content, Send):
        assert isinstance(decoded, Send)
        assert content.data.startswith(decoded.data)
    else:
        assert isinstance(content, Connect)
        assert decoded == Connect(content.connection_id, content.remote)


@given(st.one_of(answers, data_or_refusal, control_responses), st.data())
def test_truncated_responses(content, data):
    raw = ResponseMessage(content).encode()
    cut = raw[: data.draw(st.integers(0, len(raw) - 1))]
    try:
        decoded = ResponseMessage.decode(cut).content
    except WireError:
        return
    assert isinstance(content, NetworkData | ConnectionRefused)
    assert type(decoded) is type(content)
    assert decoded.connection_id == content.connection_id


@given(st.binary(max_size=80) | st.binary(max_size=40).map(lambda tail: b"\x03\x01\x03" + tail))
def test_garbage_raises_nothing_else(raw):
    for kind in (RequestMessage, ResponseMessage):
        with contextlib.suppress(WireError):
            kind.decode(raw)


@given(st.binary(max_size=40))
def test_control_garbage_raises_nothing_else(tail):
    for tag in (0, 1, 2, 255):
        with contextlib.suppress(MalformedControl):
            ResponseMessage.decode(bytes((3, 0, tag)) + tail)


def test_deeply_nested_json_is_refused():
    with pytest.raises(MalformedControl):
        ResponseMessage.decode(b"\x03\x00\x01" + b"[" * 100_000)


@pytest.mark.parametrize(
    "body",
    [b"{}", b"[]", b'{"binary_name":1}', b'{"binary_name":"x","build_information":{"binary_name":"x"}}'],
)
def test_binary_info_with_missing_fields_is_refused(body):
    with pytest.raises(MalformedControl):
        ResponseMessage.decode(b"\x03\x00\x01" + body)


@pytest.mark.parametrize("value", [{"type": "Versioned", "version": 2}, {"type": "x"}, 3, None, {}])
def test_unknown_version_forms_are_refused(value):
    with pytest.raises(MalformedControl):
        version_from_json(value)


@pytest.mark.parametrize("text", ["", "{", "3"])
def test_version_texts_that_are_no_version(text):
    with pytest.raises(MalformedControl):
        version_from_text(text)


@pytest.mark.parametrize("raw", [b"\x03\x00", b"\x03\x00\x05", b"\x03\x00\x01[1]"])
def test_control_answers_of_no_known_kind(raw):
    with pytest.raises(MalformedControl):
        ResponseMessage.decode(raw)


def test_a_control_answer_has_no_legacy_form():
    assert ResponseMessage(Health(), LEGACY).encode() == b""


def test_the_overhead_is_what_sizes_are_computed_with():
    assert len(RequestMessage(Send(1, 2, b"")).encode()) == DATA_OVERHEAD_BYTES
    assert len(ResponseMessage(NetworkData(1, 2, b"")).encode()) == DATA_OVERHEAD_BYTES


def test_an_address_that_does_not_fit_is_refused_instead_of_cut():
    with pytest.raises(BadTarget):
        RequestMessage(Connect(1, "a" * 65_536)).encode()


def test_nothing_shows_destination_or_data():
    shown = [
        repr(RequestMessage(Connect(7, "secret.example:443", RECIPIENT))),
        repr(RequestMessage(Send(7, 0, b"secret"))),
        repr(ResponseMessage(NetworkData(7, 0, b"secret"))),
        repr(ResponseMessage(ConnectionRefused(7, 'Domain "secret.example:443" failed filter check'))),
    ]
    for text in shown:
        assert "secret" not in text
        assert "example" not in text
        assert str(RECIPIENT)[:20] not in text


# ---- bincode ------------------------------------------------------------------------------------------------


@given(u64)
def test_unsigned_integers(value):
    raw = bincode.encode_uint(value)
    reader = Reader(raw)
    assert reader.u64() == value
    reader.finish()
    assert len(raw) == (1 if value <= 250 else 3 if value <= 0xFFFF else 5 if value <= 0xFFFFFFFF else 9)
    # longer forms are read as well
    assert Reader(b"\xfd" + value.to_bytes(8, "big")).u64() == value


@given(st.integers(-(2**63), 2**63 - 1))
def test_signed_integers(value):
    assert Reader(bincode.encode_int(value)).signed() == value


@given(st.floats(allow_nan=False), texts, st.binary(max_size=300), st.booleans())
def test_other_values(number, text, blob, flag):
    raw = (
        bincode.encode_f64(number)
        + bincode.encode_str(text)
        + bincode.encode_bytes(blob)
        + bincode.encode_bool(flag)
    )
    reader = Reader(raw)
    assert (reader.f64(), reader.text(), reader.blob(), reader.boolean()) == (number, text, blob, flag)
    reader.finish()
    for cut in range(len(raw)):
        short = Reader(raw[:cut])
        with pytest.raises(MalformedBincode):
            short.f64(), short.text(), short.blob(), short.boolean()


@pytest.mark.parametrize(
    ("read", "raw"),
    [
        (Reader.u64, b"\xfe" + bytes(16)),
        (Reader.u64, b"\xff"),
        (Reader.u16, b"\xfc\x00\x01\x00\x00"),
        (Reader.u32, b"\xfd\x00\x00\x00\x01\x00\x00\x00\x00"),
        (Reader.boolean, b"\x02"),
        (Reader.option, b"\x02"),
        (Reader.text, b"\x01\xff"),
        (Reader.blob, b"\xfd\xff\xff\xff\xff\xff\xff\xff\xff"),
        (lambda reader: reader.variant(3), b"\x03"),
    ],
)
def test_values_out_of_range_are_refused(read, raw):
    with pytest.raises(MalformedBincode):
        read(Reader(raw))


@pytest.mark.parametrize("value", [-1, 2**64])
def test_integers_that_do_not_fit_are_not_written(value):
    with pytest.raises(MalformedBincode):
        bincode.encode_uint(value)


def test_a_policy_of_a_million_announced_rules_fails_at_once():
    with pytest.raises(MalformedBincode):
        ExitPolicy.decode(b"\xfd\xff\xff\xff\xff\xff\xff\xff\xff" + b"\x00\x01*\x01\xfb\xff\xff")


def test_a_wrong_pattern_inside_bincode_is_refused():
    with pytest.raises(MalformedBincode):
        ExitPolicy.decode(b"\x01\x00\x03*/8\x01\x02")


# ---- policies -----------------------------------------------------------------------------------------------


@given(policies)
def test_policies_round_trip_in_all_encodings(policy):
    assert ExitPolicy.parse(policy.format()) == policy
    assert ExitPolicy.from_json(json.loads(json.dumps(policy.to_json()))) == policy
    assert ExitPolicy.decode(policy.encode()) == policy


@given(st.text(alphabet="ExitPolicy acptrj6*4:/.[]#\n-0189f", max_size=60) | texts)
def test_policy_garbage_raises_nothing_else(text):
    for source in (text, f"ExitPolicy {text}", f"ExitPolicy accept {text}"):
        with contextlib.suppress(MalformedPolicy):
            policy = ExitPolicy.parse(source)
            assert ExitPolicy.parse(policy.format()) == policy


@pytest.mark.parametrize(
    "value",
    [
        None,
        {},
        {"rules": {}},
        {"rules": [{}]},
        {"rules": [{"action": "deny", "pattern": {"ip_pattern": "*", "ports": {"start": 1, "end": 2}}}]},
        {"rules": [{"action": "accept", "pattern": {"ip_pattern": "x", "ports": {"start": 1, "end": 2}}}]},
        {
            "rules": [
                {"action": "accept", "pattern": {"ip_pattern": "*", "ports": {"start": 1, "end": 70000}}}
            ]
        },
        {"rules": [{"action": "accept", "pattern": {"ip_pattern": "*", "ports": {"start": True, "end": 2}}}]},
    ],
)
def test_policy_json_of_another_shape_is_refused(value):
    with pytest.raises(MalformedPolicy):
        ExitPolicy.from_json(value)


def test_zones_are_refused():
    with pytest.raises(MalformedPolicy):
        ExitPolicy.parse("ExitPolicy accept fe80::1%eth0:80")


def test_the_first_rule_that_matches_decides():
    policy = ExitPolicy.parse(
        "ExitPolicy reject 10.0.0.0/8:*\nExitPolicy accept *4:80-90\nExitPolicy reject *:*"
    )
    assert policy.allows(IPv4Address("10.1.1.1"), 80) is False
    assert policy.allows(IPv4Address("11.1.1.1"), 80) is True
    assert policy.allows(IPv4Address("11.1.1.1"), 91) is False
    assert policy.allows(IPv6Address("2606:4700::1"), 80) is False


def test_an_exit_checks_every_address():
    policy = ExitPolicy.parse("ExitPolicy reject 9.9.9.9:*\nExitPolicy accept *4:443")
    one, two, nine = IPv4Address("1.1.1.1"), IPv4Address("2.2.2.2"), IPv4Address("9.9.9.9")
    local = IPv4Address("127.0.0.1")
    assert check_target([one, two], 443, policy) is None
    assert check_target([one, nine], 443, policy) is Refusal.REJECTED
    assert check_target([one], 80, policy) is Refusal.NOT_COVERED
    assert check_target([IPv6Address("2606:4700::1")], 443, policy) is Refusal.NOT_COVERED
    assert check_target([], 443, policy) is Refusal.UNRESOLVED
    assert check_target([one, local], 443, ExitPolicy.open()) is Refusal.LOCAL_ADDRESS
    assert check_target([local], 443, ExitPolicy.open(), allow_local_ips=True) is None


# ---- targets ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("host", "port", "text"),
    [
        ("nymtech.net", 443, "nymtech.net:443"),
        ("NymTech.NET.", 80, "NymTech.NET.:80"),
        ("xn--bcher-kva.example", 1, "xn--bcher-kva.example:1"),
        ("bücher.example", 1, "bücher.example:1"),
        ("1.2.3.4", 65535, "1.2.3.4:65535"),
        ("2001:db8::1", 443, "2001:db8:0:0:0:0:0:1:443"),
        ("[2001:DB8::a]", 443, "2001:db8:0:0:0:0:0:a:443"),
        ("::1", 80, "0:0:0:0:0:0:0:1:80"),
        ("::ffff:1.2.3.4", 80, "0:0:0:0:0:ffff:102:304:80"),
    ],
)
def test_targets_are_written_as_the_reference_writes_them(host, port, text):
    assert format_target(host, port) == text


@pytest.mark.parametrize(
    ("host", "port"),
    [
        ("", 80),
        ("a\0b", 80),
        ("a\nb", 80),
        ("a\x7f", 80),
        ("a" * 65_531, 65535),
        ("\ud800", 80),
        ("fe80::1%eth0", 80),
        ("[example.org]", 80),
        ("example.org", 0),
        ("example.org", 65_536),
        ("example.org", -1),
    ],
)
def test_targets_that_cannot_be_written_are_refused_without_repeating_them(host, port):
    with pytest.raises(BadTarget) as caught:
        format_target(host, port)
    assert not host.strip("\0") or host not in str(caught.value)


def test_the_longest_target_fits():
    text = format_target("a" * 65_529, 65535)
    assert len(text) == 65_535
    assert RequestMessage.decode(RequestMessage(Connect(1, text)).encode()).content == Connect(1, text)


@pytest.mark.parametrize(
    ("text", "host", "port"),
    [
        ("1.2.3.4:80", "1.2.3.4", 80),
        ("example.org:0", "example.org", 0),
        ("[2001:db8::1]:443", "2001:db8::1", 443),
        ("2001:db8:0:0:0:0:0:1:443", "2001:db8:0:0:0:0:0:1", 443),
        ("::1:80", "::1", 80),
    ],
)
def test_targets_are_read_at_the_last_colon(text, host, port):
    assert parse_target(text) == (host, port)


@pytest.mark.parametrize(
    "text", ["", "1.2.3.4", "1.2.3.4:", ":80", "a:99999", "a:-1", "a:８０", "[a]:80", "a:x"]
)
def test_targets_that_cannot_be_read_are_refused(text):
    with pytest.raises(BadTarget):
        parse_target(text)


@given(v4 | v6, st.integers(1, 65535))
def test_addresses_survive_the_way(address, port):
    host, back = parse_target(format_target(str(address), port))
    assert type(address)(host) == address
    assert back == port


# ---- errors -------------------------------------------------------------------------------------------------


def all_errors(kind):
    for child in kind.__subclasses__():
        yield child
        yield from all_errors(child)


def test_every_error_says_which_layer_failed_and_what_to_answer():
    kinds = set(all_errors(ExitError))
    assert len(kinds) > 15
    for kind in kinds:
        assert kind.code.startswith("E_")
        assert kind.layer in {"exit", "mixnet", "target"}
        assert 1 <= kind.socks_reply <= 8
        assert 400 <= kind.http_status < 600
