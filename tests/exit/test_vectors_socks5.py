"""Known answers of the reference for the exit protocol: tests/vectors/socks5.json (docs/protocol/05 §9)."""

from __future__ import annotations

import json
from ipaddress import ip_address

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from nym_exit.codec import (
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
from nym_exit.control import BinaryInfo, ControlError, ControlRequest, Health, SupportedVersions
from nym_exit.controller import ConnectionTable, InboundHalf
from nym_exit.errors import (
    AlreadyReconstructed,
    MalformedPolicy,
    OverwriteAttempt,
    SequenceError,
    SequenceTooLarge,
    WireError,
)
from nym_exit.exit_policy import ExitPolicy
from nym_exit.ip_check import is_global
from nym_exit.ordered_buffer import OrderedBuffer
from nym_exit.versions import (
    CURRENT,
    LEGACY,
    version_from_byte,
    version_from_json,
    version_from_text,
    version_to_json,
    version_to_text,
)
from nym_sphinx.addressing import Recipient
from tests.vector_files import is_foreign_set, load

pytestmark = pytest.mark.vectors

VECTORS = load("socks5")

#: Sections that say nothing about this package, each with the reason.
NOT_APPLICABLE = {"ipr": "the IP packet router is not spoken yet (docs/protocol/06)"}

APPLICABLE = {
    "meta",
    "recipients",
    "socks5_requests",
    "socks5_responses",
    "socks5_requests_odd",
    "socks5_responses_odd",
    "control",
    "versions",
    "ordered_buffer",
    "connection_controller",
    "exit_policy",
    "is_global_ip",
}


def entries(section):
    found = VECTORS[section]
    if not found:
        assert is_foreign_set(), f"section {section} is empty"
        return [pytest.param({}, marks=pytest.mark.skip(reason=f"this set has no entries in {section}"))]
    return [
        pytest.param(entry, id=str(entry.get("name") or entry.get("addr") or number))
        for number, entry in enumerate(found)
    ]


def test_every_section_is_known():
    assert set(VECTORS) <= APPLICABLE | set(NOT_APPLICABLE)
    assert set(VECTORS) >= APPLICABLE
    assert VECTORS["meta"]["schema"] == 1


def version(value):
    return LEGACY if value == "legacy" else value


# --- contents ------------------------------------------------------------------------------------------


def request_content(fields):
    match fields["type"]:
        case "connect":
            address = fields["return_address"]
            return Connect(
                int(fields["conn_id"]),
                fields["remote_addr"],
                None if address is None else Recipient.parse(address),
            )
        case "send":
            return Send(
                int(fields["conn_id"]),
                int(fields["seq"]),
                bytes.fromhex(fields["data"]),
                fields["local_closed"],
            )
        case "query":
            return Query[fields["query"].upper()]
    raise AssertionError(f"unknown request type {fields['type']}")


def response_content(fields):
    match fields["type"]:
        case "network_data":
            return NetworkData(
                int(fields["conn_id"]), int(fields["seq"]), bytes.fromhex(fields["data"]), fields["is_closed"]
            )
        case "connection_error":
            return ConnectionRefused(int(fields["conn_id"]), fields["message"])
        case "query":
            return query_answer(fields)
    raise AssertionError(f"unknown response type {fields['type']}")


def query_answer(fields):
    match fields["query"]:
        case "open_proxy":
            return OpenProxyAnswer(fields["value"])
        case "description":
            return DescriptionAnswer(fields["value"])
        case "error":
            return QueryErrorAnswer(fields["value"])
        case "exit_policy":
            policy = None if fields["policy"] is None else ExitPolicy.from_json(fields["policy"])
            if policy is not None:
                assert policy.to_json() == fields["policy"]
                assert policy.format() == fields["policy_torrc"]
                assert policy == ExitPolicy.parse(fields["policy_torrc"])
            return ExitPolicyAnswer(fields["enabled"], fields["upstream"], policy)
    raise AssertionError(f"unknown query {fields['query']}")


CONTROL_NAMES = {
    "Health": ControlRequest.HEALTH,
    "BinaryInfo": ControlRequest.BINARY_INFO,
    "SupportedRequestVersions": ControlRequest.SUPPORTED_VERSIONS,
}


def check_outcome(kind, content_of, raw, outcome):
    """``raw`` decodes (or not) as the reference's decoder decided."""
    if not outcome["ok"]:
        with pytest.raises(WireError):
            kind.decode(raw)
        return
    message = kind.decode(raw)
    assert message.interface == version(outcome["interface"])
    control = outcome.get("control")
    if control is None:
        assert message.protocol == version(outcome["protocol"])
        assert message.content == content_of(outcome["content"])
    elif control is True:
        assert isinstance(message.content, (Health, BinaryInfo, SupportedVersions, ControlError))
    else:
        assert message.content is CONTROL_NAMES[control]


@pytest.mark.parametrize("vector", entries("socks5_requests"))
def test_request(vector):
    raw = bytes.fromhex(vector["hex"])
    content = request_content(vector["content"])
    message = RequestMessage(content, version(vector["interface"]), version(vector["protocol"]))
    assert message.encode() == raw
    check_outcome(RequestMessage, request_content, raw, vector["reparsed"])


@pytest.mark.parametrize("vector", entries("socks5_responses"))
def test_response(vector):
    raw = bytes.fromhex(vector["hex"])
    content = response_content(vector["content"])
    message = ResponseMessage(content, version(vector["interface"]), version(vector["protocol"]))
    assert message.encode() == raw
    check_outcome(ResponseMessage, response_content, raw, vector["reparsed"])


@pytest.mark.parametrize("vector", entries("socks5_requests_odd"))
def test_odd_request(vector):
    check_outcome(RequestMessage, request_content, bytes.fromhex(vector["hex"]), vector["result"])


@pytest.mark.parametrize("vector", entries("socks5_responses_odd"))
def test_odd_response(vector):
    check_outcome(ResponseMessage, response_content, bytes.fromhex(vector["hex"]), vector["result"])


# --- control and versions -------------------------------------------------------------------------------


@pytest.mark.parametrize("vector", entries("control"))
def test_control(vector):
    raw = bytes.fromhex(vector["hex"])
    name = vector["name"]
    if vector["dir"] == "request":
        if not raw:
            assert name == "health_legacy_serialises_to_nothing"
            assert RequestMessage(ControlRequest.HEALTH, LEGACY).encode() == raw
            return
        request = {
            "health": ControlRequest.HEALTH,
            "binary_info": ControlRequest.BINARY_INFO,
            "supported_request_versions": ControlRequest.SUPPORTED_VERSIONS,
        }[name]
        assert RequestMessage(request).encode() == raw
        assert RequestMessage.decode(raw).content is request
        return
    assert vector["dir"] == "response"
    kind = {
        "health": Health,
        "binary_info": BinaryInfo,
        "supported_request_versions": SupportedVersions,
        "error": ControlError,
    }[name]
    message = ResponseMessage.decode(raw)
    assert isinstance(message.content, kind)
    assert message.encode() == raw
    if "ascii_tail" in vector:
        assert raw[3:].decode() == vector["ascii_tail"]
        assert json.loads(vector["ascii_tail"])
    if "parsed" in vector:
        check_outcome(ResponseMessage, response_content, raw, vector["parsed"])


def test_versions():
    section = VECTORS["versions"]
    assert section["from_u8"]
    for entry in section["from_u8"]:
        assert version_from_byte(entry["byte"]) == version(entry["version"])
    assert version_to_text(CURRENT) == section["interface_default_display"]
    assert version_to_text(LEGACY) == section["legacy_display"]
    for text in (section["interface_default_display"], section["legacy_display"]):
        assert version_to_text(version_from_text(text)) == text
    for form in (section["toml_form"], section["toml_form_legacy"]):
        assert version_to_json(version_from_json(form)) == form
    assert set(section) == {
        "from_u8",
        "interface_default_display",
        "legacy_display",
        "toml_form",
        "toml_form_legacy",
    }


@pytest.mark.parametrize("vector", entries("recipients"))
def test_recipient(vector):
    recipient = Recipient.parse(vector["base58"])
    assert str(recipient) == vector["base58"]
    assert recipient.encode().hex() == vector["bytes"]
    assert Recipient.decode(bytes.fromhex(vector["bytes"])) == recipient
    assert recipient.encryption.hex() == vector["encryption_x25519_public"]
    assert recipient.gateway.hex() == vector["gateway_ed25519_public"]
    assert recipient.identity.hex() == vector["identity_ed25519_public"]
    private = Ed25519PrivateKey.from_private_bytes(bytes.fromhex(vector["identity_ed25519_private"]))
    assert private.public_key().public_bytes_raw() == recipient.identity


# --- ordering --------------------------------------------------------------------------------------------

BUFFER_ERRORS = {
    "sequence_too_large": SequenceTooLarge,
    "overwrite": OverwriteAttempt,
    "already_reconstructed": AlreadyReconstructed,
}


@pytest.mark.parametrize("vector", entries("ordered_buffer"))
def test_ordered_buffer(vector):
    buffer = OrderedBuffer()
    assert vector["steps"]
    for step in vector["steps"]:
        result = step["result"]
        if step["op"] == "write":
            write = (int(step["seq"]), bytes.fromhex(step["data"]))
            if result == "ok":
                buffer.write(*write)
            else:
                with pytest.raises(SequenceError) as caught:
                    buffer.write(*write)
                assert type(caught.value) is BUFFER_ERRORS[result["error"]]
            continue
        assert step["op"] == "read"
        read = buffer.read()
        if result is None:
            assert read is None
        else:
            assert read is not None
            assert read.data.hex() == result["data"]
            assert read.last_sequence == int(result["last_sequence"])


@pytest.mark.parametrize("vector", entries("connection_controller"))
def test_connection_controller(vector):
    connection_id = int(vector["conn_id"])
    closed_lanes = []
    table = ConnectionTable[InboundHalf, Send](closed_lanes.append)
    assert vector["steps"]
    for step in vector["steps"]:
        delivered = []
        closed_lanes.clear()
        match step["op"]:
            case "connect":
                half = InboundHalf()
                waiting = table.insert(connection_id, half)
                delivered += [half.receive(message.seq, message.data, message.closed) for message in waiting]
            case "send":
                message = Send(connection_id, int(step["seq"]), bytes.fromhex(step["data"]), step["closed"])
                half = table.route(message)
                if half is not None:
                    delivered.append(half.receive(message.seq, message.data, message.closed))
            case "remove":
                table.remove(connection_id)
            case op:
                raise AssertionError(f"unknown step {op}")
        assert [
            {"payload": delivery.data.hex(), "socket_closed": delivery.closed}
            for delivery in delivered
            if delivery is not None
        ] == step["delivered"]
        assert closed_lanes == [int(lane) for lane in step["lanes_closed"]]


# --- policies --------------------------------------------------------------------------------------------


def test_exit_policy_encodings():
    section = VECTORS["exit_policy"]
    policy = ExitPolicy.parse(section["torrc"])
    assert policy.format() == section["canonical"]
    assert ExitPolicy.parse(section["canonical"]) == policy
    assert policy.to_json() == section["json"]
    assert ExitPolicy.from_json(section["json"]) == policy
    assert policy.encode().hex() == section["bincode"]
    assert ExitPolicy.decode(bytes.fromhex(section["bincode"])) == policy
    assert not policy.is_open
    assert ExitPolicy.open().encode().hex() == section["open_bincode"]
    assert ExitPolicy.open().format() == section["open_canonical"]
    assert ExitPolicy.parse(section["open_canonical"]).is_open
    assert set(section) == {
        "torrc",
        "canonical",
        "json",
        "bincode",
        "open_bincode",
        "open_canonical",
        "allows",
        "uncovered",
        "parse",
    }


def test_exit_policy_lookups():
    section = VECTORS["exit_policy"]
    policy = ExitPolicy.parse(section["torrc"])
    assert section["allows"]
    for lookup in section["allows"]:
        assert policy.allows(ip_address(lookup["addr"]), lookup["port"]) is lookup["allowed"], lookup
    uncovered = section["uncovered"]
    policy = ExitPolicy.parse(uncovered["torrc"])
    assert policy.allows(ip_address(uncovered["addr"]), uncovered["port"]) is uncovered["allowed"]


def test_exit_policy_parser():
    assert VECTORS["exit_policy"]["parse"]
    for case in VECTORS["exit_policy"]["parse"]:
        if case["ok"]:
            assert ExitPolicy.parse(case["text"]).format() == case["canonical"], case
        else:
            with pytest.raises(MalformedPolicy):
                ExitPolicy.parse(case["text"])


@pytest.mark.parametrize("vector", entries("is_global_ip"))
def test_is_global(vector):
    assert is_global(ip_address(vector["addr"])) is vector["global"]
