"""Known answers of the reference for gateway and directory: tests/vectors/gateway.json (docs/protocol/03 §13)."""

from __future__ import annotations

import json
import random
import re

import pytest
from blake3 import blake3
from nacl.bindings import crypto_scalarmult, crypto_scalarmult_base

from nym_mixnet import (
    bank,
    client_io,
    gateway_wire,
    keys,
    nym_api_models,
    pending,
    profiles,
    reply_keys,
    reply_pool,
    session_key,
)
from nym_mixnet.errors import HandshakeFailed, MalformedGatewayMessage, TopologyError
from nym_mixnet.gateway_wire import (
    AuthenticateRequest,
    AuthenticateResponse,
    BandwidthResponse,
    ClaimFreeBandwidth,
    EcashCredential,
    EncryptedRequest,
    EncryptedResponse,
    ErrorResponse,
    ForgetMe,
    ForgetMeAck,
    HandshakeError,
    HandshakePayload,
    LegacyAuthenticate,
    LegacyCredential,
    OutOfBandwidthResponse,
    RegisterRequest,
    RegisterResponse,
    RememberMe,
    RememberMeAck,
    SendResponse,
    SessionKey,
    SessionType,
    SupportedProtocolRequest,
    SupportedProtocolResponse,
    TicketReplayResponse,
    UpgradeModeJwt,
    derive_session_key,
    open_credential,
    open_forward,
    open_pushed,
    open_request,
    open_response,
    parse_handshake,
    parse_request,
    parse_response,
    seal_credential,
    seal_forward,
    seal_pushed,
    seal_request,
    seal_response,
)
from nym_mixnet.handshake import ClientHandshake, GatewayHandshake, HandshakeState
from nym_mixnet.keys import ClientKeys, SigningKey, read_key_files
from nym_mixnet.nym_api import (
    encode_addresses_request,
    encode_addresses_response,
    encode_key_rotation_info,
    encode_nodes_page,
    encode_nodes_page_bincode,
    encode_rewarded_set,
    encode_semi_skimmed,
    parse_addresses_request,
    parse_addresses_response,
    parse_key_rotation_info,
    parse_nodes_page,
    parse_nodes_page_bincode,
    parse_rewarded_set,
    parse_semi_skimmed,
)
from nym_mixnet.topology import (
    UNKNOWN_ROTATION,
    routing_node_json,
    topology_from_network_json,
    topology_to_network_json,
)
from nym_sphinx.addressing import NodeAddress
from nym_sphinx.base58 import b58decode, b58encode
from nym_sphinx.constants import HEADER_BYTES
from nym_sphinx.mix_packet import MixPacket
from nym_sphinx.packet import Hop
from nym_sphinx.sizes import KeyRotation, PacketSize, PacketType
from tests.vector_files import is_foreign_set, load, unhex

pytestmark = pytest.mark.vectors

VECTORS = load("gateway")

#: What every section may hold; None: a list, whose entries are checked one by one.
SECTIONS = {
    "constants": {
        "aead",
        "current_protocol_version",
        "default_mixnet_request_bandwidth_threshold",
        "kdf_salt_length",
        "nonce_len",
        "packet_sizes",
        "tag_len",
        "ticket_bytes",
    },
    "registration_handshakes": None,
    "authenticate_v2": None,
    "binary": {"shared_key_hex", "requests", "responses", "edge_cases"},
    "encrypted_text": {"shared_key_hex", "requests", "responses"},
    "json": {
        "bytes_hex",
        "nonce_hex",
        "requests",
        "responses",
        "request_acceptance",
        "response_acceptance",
        "handshake_wrappers",
        "ecash_envelope_over_opaque_blob",
    },
    "topology": {
        "entry_addresses",
        "localnet_style_accepted",
        "localnet_style_json",
        "minimally_routable",
        "network_json_text",
        "route_choice_hint",
        "without_metadata_accepted",
    },
    "nym_api": {
        "key_rotation_info_json_text",
        "nodes_by_addresses_request_text",
        "nodes_by_addresses_response_text",
        "nodes_by_addresses_response_unknown_text",
        "rewarded_set_json_text",
        "semi_skimmed_v2_json_text",
        "skimmed_to_routing_nodes",
        "skimmed_v2_active_bincode_hex",
        "skimmed_v2_active_json_text",
        "skimmed_v2_all_json_text",
    },
    "key_files": {
        "ack_key.pem",
        "ack_key_hex",
        "client_stats_id",
        "encryption_private_hex",
        "encryption_public_hex",
        "identity_private_hex",
        "identity_public_hex",
        "private_encryption.pem",
        "private_identity.pem",
        "public_encryption.pem",
        "public_identity.pem",
    },
    "client_debug_config_defaults": {
        "acknowledgements",
        "cover_traffic",
        "forget_me",
        "gateway_connection",
        "remember_me",
        "reply_surbs",
        "stats_reporting",
        "topology",
        "traffic",
    },
}

#: What is about something that this package does not do, each with the reason.
NOT_APPLICABLE = {
    "constants.packet_sizes.outfox_regular": "outfox packets are neither sent nor forwarded",
    "constants.packet_sizes.outfox_ack": "outfox packets are neither sent nor forwarded",
    "key_files.client_stats_id": "statistics reports are not sent (docs/protocol/04 §9)",
}


def named(found, where):
    """Parameters for the entries of a list."""
    if not found:
        assert is_foreign_set(), f"{where} is empty"
        return [pytest.param({}, marks=pytest.mark.skip(reason=f"this set has no entries in {where}"))]
    return [
        pytest.param(entry, id=f"{number}-{entry.get('name') or entry.get('variant_or_error') or ''}"[:50])
        for number, entry in enumerate(found)
    ]


def entries(section, part=None):
    found = VECTORS[section] if part is None else VECTORS[section][part]
    return named(found, section if part is None else f"{section}.{part}")


def test_every_section_is_tested():
    assert set(VECTORS) == set(SECTIONS)
    for section, parts in SECTIONS.items():
        if parts is None:
            assert isinstance(VECTORS[section], list)
        else:
            assert set(VECTORS[section]) == parts, section


# --- constants -----------------------------------------------------------------------------------------


def test_constants():
    constants = VECTORS["constants"]
    assert constants["aead"] == "AES-256-GCM-SIV"  # what every sealed frame below shows
    assert constants["current_protocol_version"] == gateway_wire.CURRENT_PROTOCOL
    assert constants["default_mixnet_request_bandwidth_threshold"] == gateway_wire.REFILL_THRESHOLD_BYTES
    assert constants["kdf_salt_length"] == session_key.KDF_SALT_BYTES
    assert constants["nonce_len"] == session_key.NONCE_BYTES
    assert constants["tag_len"] == session_key.TAG_BYTES
    assert constants["ticket_bytes"] == gateway_wire.TICKET_BYTES


@pytest.mark.parametrize("entry", entries("constants", "packet_sizes"))
def test_packet_size(entry):
    if f"constants.packet_sizes.{entry['name']}" in NOT_APPLICABLE:
        assert entry["tag"] not in set(PacketSize)
        return
    size = PacketSize[entry["name"].upper()]
    assert size.value == entry["tag"]
    assert entry["header"] == HEADER_BYTES
    assert size.payload_bytes == entry["payload"]
    assert size.plaintext_bytes == entry["plaintext"]
    assert size.packet_bytes == entry["size"]


# --- registration --------------------------------------------------------------------------------------


def handshake_messages(entry):
    messages = entry["messages"]
    assert [message["from"] for message in messages] == ["client", "gateway", "client", "gateway"]
    for message in messages:
        assert bytes(json.loads(message["text"])["data"]) == unhex(message["data_hex"])
    return [message["text"] for message in messages]


def client_side(entry):
    return ClientHandshake(
        identity=SigningKey(unhex(entry["client_identity_private_hex"])),
        gateway_identity=unhex(entry["gateway_identity_public_hex"]),
        protocol_version=entry["protocol_version"],
        ephemeral_private=unhex(entry["client_ephemeral_private_hex"]),
        salt=unhex(entry["kdf_salt_hex"]),
        nonce=unhex(entry["messages"][2]["data_hex"])[-session_key.NONCE_BYTES :],
    )


def gateway_side(entry):
    return GatewayHandshake(
        identity=SigningKey(unhex(entry["gateway_identity_private_hex"])),
        ephemeral_private=unhex(entry["gateway_ephemeral_private_hex"]),
        nonce=unhex(entry["messages"][1]["data_hex"])[-session_key.NONCE_BYTES :],
    )


@pytest.mark.parametrize("entry", entries("registration_handshakes"))
def test_registration_keys(entry):
    for role in ("client", "gateway"):
        identity = SigningKey(unhex(entry[f"{role}_identity_private_hex"])).public
        assert identity == unhex(entry[f"{role}_identity_public_hex"])
        assert b58encode(identity) == entry[f"{role}_identity_bs58"]
        ephemeral = crypto_scalarmult_base(unhex(entry[f"{role}_ephemeral_private_hex"]))
        assert ephemeral == unhex(entry[f"{role}_ephemeral_public_hex"])
    exchange = crypto_scalarmult(
        unhex(entry["client_ephemeral_private_hex"]), unhex(entry["gateway_ephemeral_public_hex"])
    )
    assert exchange == unhex(entry["dh_result_hex"])
    key = derive_session_key(exchange, unhex(entry["kdf_salt_hex"]))
    assert key.raw == unhex(entry["shared_key_hex"])
    assert b58encode(key.raw) == entry["shared_key_bs58"]
    assert blake3(key.raw).digest() == unhex(entry["shared_key_blake3_digest_hex"])


@pytest.mark.parametrize("entry", entries("registration_handshakes"))
def test_registration_as_the_client(entry):
    texts = handshake_messages(entry)
    client = client_side(entry)
    assert client.start() == texts[0]
    assert client.receive(texts[1]) == [texts[2]]
    assert client.receive(texts[3]) == []
    assert client.state is HandshakeState.DONE
    assert client.session_key.raw == unhex(entry["shared_key_hex"])
    assert client.negotiated_version == entry["negotiated_protocol"]


@pytest.mark.parametrize("entry", entries("registration_handshakes"))
def test_registration_as_the_gateway(entry):
    texts = handshake_messages(entry)
    gateway = gateway_side(entry)
    request = parse_request(texts[0])
    assert isinstance(request, RegisterRequest)
    assert request.protocol_version == entry["protocol_version"]
    assert gateway.begin(request) == texts[1]
    assert gateway.receive(texts[2]) == texts[3]
    assert gateway.state is HandshakeState.DONE
    assert gateway.session_key.raw == unhex(entry["shared_key_hex"])
    assert gateway.negotiated_version == entry["negotiated_protocol"]
    assert gateway.client_identity == unhex(entry["client_identity_public_hex"])


@pytest.mark.parametrize("entry", entries("registration_handshakes"))
def test_registration_with_somebody_else(entry):
    texts = handshake_messages(entry)
    other = unhex(entry["gateway_identity_private_hex"])[::-1]
    client = client_side({**entry, "gateway_identity_public_hex": SigningKey(other).public.hex()})
    client.start()
    with pytest.raises(HandshakeFailed):
        client.receive(texts[1])


# --- authentication ------------------------------------------------------------------------------------


@pytest.mark.parametrize("entry", entries("authenticate_v2"))
def test_authentication(entry):
    identity = unhex(entry["client_identity_private_hex"])
    client = ClientKeys(identity, bytes(keys.KEY_BYTES), bytes(keys.ACK_KEY_BYTES))
    key = SessionKey(unhex(entry["shared_key_hex"]))
    request = AuthenticateRequest.create(
        client,
        key,
        protocol_version=entry["protocol_version"],
        nonce=unhex(entry["nonce_hex"]),
        timestamp=entry["request_unix_timestamp"],
    )
    assert request.client_identity == unhex(entry["client_identity_public_hex"])
    assert b58encode(request.client_identity) == entry["client_address_bs58"]
    assert request.address_ciphertext == unhex(entry["address_ciphertext_hex"])
    assert request.signed_plaintext() == unhex(entry["signed_plaintext_hex"])
    assert request.signature == unhex(entry["signature_hex"])
    assert request.encode() == entry["text"]

    received = parse_request(entry["text"])
    assert received == request
    assert received.signature_is_valid()
    assert received.proves(key)
    assert not received.proves(SessionKey(key.raw[::-1]))


# --- binary frames -------------------------------------------------------------------------------------


def binary_key():
    return SessionKey(unhex(VECTORS["binary"]["shared_key_hex"]))


@pytest.mark.parametrize("entry", entries("binary", "requests"))
def test_forwarded_packet(entry):
    assert entry["kind"] in (gateway_wire.KIND_FORWARD, gateway_wire.KIND_FORWARD_V2)
    packet = MixPacket(
        NodeAddress.parse(entry["next_hop"]),
        unhex(entry["sphinx_packet_hex"]),
        KeyRotation(entry["key_rotation"]),
        PacketType(entry["packet_type"]),
    )
    assert len(packet.packet) == entry["sphinx_packet_len"]
    newer = entry["kind"] == gateway_wire.KIND_FORWARD_V2
    assert (packet.encode_v2() if newer else packet.encode_v1()) == unhex(entry["plaintext_hex"])
    version = gateway_wire.FORWARD_V2_PROTOCOL - (0 if newer else 1)
    sealed = seal_forward(packet, binary_key(), unhex(entry["nonce_hex"]), protocol_version=version)
    assert sealed == unhex(entry["frame_hex"])
    assert open_forward(sealed, binary_key()) == packet
    assert open_forward(unhex(entry["frame_by_crate_random_nonce_hex"]), binary_key()) == packet


@pytest.mark.parametrize("entry", entries("binary", "responses"))
def test_pushed_payload(entry):
    message = unhex(entry["message_hex"])
    sealed = seal_pushed(message, binary_key(), unhex(entry["nonce_hex"]))
    assert sealed == unhex(entry["frame_hex"])
    assert sealed[0] == entry["kind"]
    assert open_pushed(sealed, binary_key()) == message
    assert open_pushed(unhex(entry["frame_by_crate_random_nonce_hex"]), binary_key()) == message


@pytest.mark.parametrize("entry", entries("binary", "edge_cases"))
def test_odd_frame(entry):
    frame = unhex(entry["frame_hex"])
    if entry["accepted_as_response"]:
        assert open_pushed(frame, binary_key()) == unhex(entry["message_hex_or_error"])
        return
    with pytest.raises(MalformedGatewayMessage) as caught:
        open_pushed(frame, binary_key())
    assert caught.value.detail == entry["message_hex_or_error"]


# --- sealed texts --------------------------------------------------------------------------------------


def sensitive(plaintext):
    ((name, fields),) = json.loads(plaintext).items()
    match name:
        case "ForgetMe":
            return ForgetMe(fields["client"], fields["stats"])
        case "RememberMe":
            return RememberMe(SessionType(fields["session_type"]))
        case "ForgetMeAck":
            return ForgetMeAck()
        case "RememberMeAck":
            return RememberMeAck()
    raise AssertionError(f"unknown message {name}")


def sealed_text_key():
    return SessionKey(unhex(VECTORS["encrypted_text"]["shared_key_hex"]))


@pytest.mark.parametrize("entry", entries("encrypted_text", "requests"))
def test_sealed_request(entry):
    message = sensitive(entry["plaintext"])
    assert message.encode() == entry["plaintext"]
    sealed = seal_request(message, sealed_text_key(), unhex(entry["nonce_hex"]))
    assert sealed.ciphertext == unhex(entry["ciphertext_hex"])
    assert sealed.encode() == entry["text"]
    received = parse_request(entry["text"])
    assert isinstance(received, EncryptedRequest)
    assert open_request(received, sealed_text_key()) == message


@pytest.mark.parametrize("entry", entries("encrypted_text", "responses"))
def test_sealed_response(entry):
    message = sensitive(entry["plaintext"])
    assert message.encode() == entry["plaintext"]
    sealed = seal_response(message, sealed_text_key(), unhex(entry["nonce_hex"]))
    assert sealed.ciphertext == unhex(entry["ciphertext_hex"])
    assert sealed.encode() == entry["text"]
    received = parse_response(entry["text"])
    assert isinstance(received, EncryptedResponse)
    assert open_response(received, sealed_text_key()) == message


# --- plain texts ---------------------------------------------------------------------------------------

REQUEST_CLASSES = {
    "Authenticate": LegacyAuthenticate,
    "AuthenticateV2": AuthenticateRequest,
    "BandwidthCredential": LegacyCredential,
    "BandwidthCredentialV2": LegacyCredential,
    "ClaimFreeTestnetBandwidth": ClaimFreeBandwidth,
    "EcashCredential": EcashCredential,
    "EncryptedRequest": EncryptedRequest,
    "RegisterHandshakeInitRequest": RegisterRequest,
    "SupportedProtocol": SupportedProtocolRequest,
    "UpgradeModeJWT": UpgradeModeJwt,
}
RESPONSE_CLASSES = {
    "Authenticate": (AuthenticateResponse,),
    "Bandwidth": (BandwidthResponse,),
    "EncryptedResponse": (EncryptedResponse,),
    "Error": (ErrorResponse,),
    "Register": (RegisterResponse,),
    "Send": (SendResponse,),
    "SupportedProtocol": (SupportedProtocolResponse,),
    "TypedError": (OutOfBandwidthResponse, TicketReplayResponse),
}


def request_from(variant, fields):
    """The request that a text of the reference stands for, made without our parser."""
    blob, nonce = unhex(VECTORS["json"]["bytes_hex"]), unhex(VECTORS["json"]["nonce_hex"])
    match variant:
        case "RegisterHandshakeInitRequest":
            return RegisterRequest(fields["protocol_version"], blob)
        case "EcashCredential":
            return EcashCredential(blob, nonce)
        case "UpgradeModeJWT":
            return UpgradeModeJwt(fields["token"])
        case "ClaimFreeTestnetBandwidth":
            return ClaimFreeBandwidth()
        case "EncryptedRequest":
            return EncryptedRequest(blob, nonce)
        case "SupportedProtocol":
            return SupportedProtocolRequest()
        case "Authenticate":
            return LegacyAuthenticate(
                fields["protocol_version"], fields["address"], fields["enc_address"], fields["iv"]
            )
        case "BandwidthCredential" | "BandwidthCredentialV2":
            return LegacyCredential(fields["type"], blob, nonce)
    raise AssertionError(f"unknown request {variant}")


def response_from(variant, fields):
    """The response that a text of the reference stands for, made without our parser."""
    blob, nonce = unhex(VECTORS["json"]["bytes_hex"]), unhex(VECTORS["json"]["nonce_hex"])
    mode = fields.get("upgrade_mode")
    match variant:
        case "Authenticate":
            remaining = fields["bandwidth_remaining"]
            return AuthenticateResponse(fields["protocol_version"], fields["status"], remaining, mode)
        case "Register":
            return RegisterResponse(fields["protocol_version"], fields["status"], mode)
        case "EncryptedResponse":
            return EncryptedResponse(blob, nonce)
        case "Bandwidth":
            return BandwidthResponse(fields["available_total"], mode)
        case "Send":
            return SendResponse(fields["remaining_bandwidth"], mode)
        case "SupportedProtocol":
            return SupportedProtocolResponse(fields["version"])
        case "Error":
            return ErrorResponse(fields["message"])
        case "TypedError" if fields["error"] == "ticket_replay":
            return TicketReplayResponse()
        case "TypedError":
            amounts = fields["error"]["out_of_bandwidth"]
            return OutOfBandwidthResponse(amounts["required"], amounts["available"])
    raise AssertionError(f"unknown response {variant}")


@pytest.mark.parametrize("entry", entries("json", "requests"))
def test_request_text(entry):
    request = request_from(entry["variant"], json.loads(entry["text"]))
    assert request.encode() == entry["text"]
    assert parse_request(entry["text"]) == request


@pytest.mark.parametrize("entry", entries("json", "responses"))
def test_response_text(entry):
    response = response_from(entry["name"], json.loads(entry["text"]))
    assert response.encode() == entry["text"]
    assert parse_response(entry["text"]) == response


@pytest.mark.parametrize("entry", entries("json", "request_acceptance"))
def test_request_is_accepted_or_not(entry):
    if entry["accepted"]:
        assert type(parse_request(entry["text"])) is REQUEST_CLASSES[entry["variant_or_error"]]
        return
    with pytest.raises(MalformedGatewayMessage):
        parse_request(entry["text"])


@pytest.mark.parametrize("entry", entries("json", "response_acceptance"))
def test_response_is_accepted_or_not(entry):
    if entry["accepted"]:
        assert isinstance(parse_response(entry["text"]), RESPONSE_CLASSES[entry["variant_or_error"]])
        return
    with pytest.raises(MalformedGatewayMessage):
        parse_response(entry["text"])


@pytest.mark.parametrize("entry", entries("json", "handshake_wrappers"))
def test_handshake_wrapper(entry):
    fields = json.loads(entry["text"])
    made = {
        "handshakePayload": lambda: HandshakePayload(
            fields["protocol_version"], unhex(VECTORS["json"]["bytes_hex"])
        ),
        "handshakeError": lambda: HandshakeError(fields["message"]),
    }[entry["name"]]()
    assert made.encode() == entry["text"]
    assert parse_handshake(entry["text"]) == made


def test_ticket_envelope():
    entry = VECTORS["json"]["ecash_envelope_over_opaque_blob"]
    assert set(entry) == {"credential_blob_hex", "nonce_hex", "shared_key_hex", "text"}
    key, blob = SessionKey(unhex(entry["shared_key_hex"])), unhex(entry["credential_blob_hex"])
    sealed = seal_credential(blob, key, unhex(entry["nonce_hex"]))
    assert sealed.encode() == entry["text"]
    received = parse_request(entry["text"])
    assert isinstance(received, EcashCredential)
    assert open_credential(received, key) == blob


# --- topology ------------------------------------------------------------------------------------------


def with_microseconds(text):
    """Times in a topology file, cut to the microseconds that a `datetime` holds."""
    return re.sub(r"(T[0-9:]+\.[0-9]{6})[0-9]+Z", r"\1Z", text)


def network():
    return topology_from_network_json(VECTORS["topology"]["network_json_text"])


def accepted(text):
    try:
        return topology_from_network_json(text)
    except TopologyError:
        return None


def test_topology_file():
    text = VECTORS["topology"]["network_json_text"]
    assert topology_to_network_json(network()) == with_microseconds(text)
    fields = json.loads(text)
    assert network().rotation_id == fields["metadata"]["key_rotation_id"]
    assert network().absolute_epoch_id == fields["metadata"]["absolute_epoch_id"]
    assert {str(node_id) for node_id in network().nodes} == set(fields["node_details"])


def test_topology_file_of_the_localnet_script():
    fields = VECTORS["topology"]["localnet_style_json"]
    topology = accepted(json.dumps(fields))
    assert (topology is not None) == VECTORS["topology"]["localnet_style_accepted"]
    if topology is None:
        return
    written = json.loads(topology_to_network_json(topology))
    for node_id, node in fields["node_details"].items():
        known = {name: value for name, value in node.items() if name != "version"}
        assert written["node_details"].pop(node_id) == known
    assert not written["node_details"]
    assert written["rewarded_set"] == fields["rewarded_set"]
    assert written["metadata"]["key_rotation_id"] == fields["metadata"]["key_rotation_id"]


def test_topology_file_without_metadata():
    fields = json.loads(VECTORS["topology"]["network_json_text"])
    del fields["metadata"]
    topology = accepted(json.dumps(fields))
    assert (topology is not None) == VECTORS["topology"]["without_metadata_accepted"]
    if topology is not None:
        assert (topology.rotation_id, topology.absolute_epoch_id) == (UNKNOWN_ROTATION, 0)
        assert topology.nodes == network().nodes


def test_usable_topology():
    try:
        network().ensure_usable()
    except TopologyError:
        assert not VECTORS["topology"]["minimally_routable"]
    else:
        assert VECTORS["topology"]["minimally_routable"]


def test_routes_through_the_topology():
    topology = network()
    if not VECTORS["topology"]["minimally_routable"]:
        pytest.skip("this set's topology has no routes")
    steps = VECTORS["topology"]["route_choice_hint"].split("->")
    rng = random.Random(4)
    for egress_id in topology.rewarded_set.exit_gateways:
        allowed = [
            (egress_id,) if step == "egress" else getattr(topology.rewarded_set, step) for step in steps
        ]
        route = topology.random_route(topology.nodes[egress_id].identity, rng)
        assert len(route) == len(steps)
        for hop, ids in zip(route, allowed, strict=True):
            known = [topology.nodes[node_id] for node_id in ids if node_id in topology.nodes]
            assert hop in [Hop(node.mix_host, node.sphinx_key) for node in known]


def with_brackets(url):
    """The reference puts IPv6 addresses into URLs as they are, which no URL parser reads; ours have brackets."""
    scheme, _, rest = url.partition("://")
    host, _, port = rest.rpartition(":")
    return f"{scheme}://[{host}]:{port}" if ":" in host and not host.startswith("[") else url


@pytest.mark.parametrize("entry", entries("topology", "entry_addresses"))
def test_gateway_address(entry):
    assert set(entry) == {
        "node_id",
        "no_tls",
        "preferred",
        "tls",
        "with_fallback",
        "with_fallback_no_hostname",
    }
    urls = network().nodes[entry["node_id"]].gateway_urls()
    assert (urls[0] if urls else None) == (entry["preferred"] and with_brackets(entry["preferred"]))
    encrypted = [url for url in urls if url.startswith("wss://")]
    plain = [url for url in urls if url.startswith("ws://")]
    assert encrypted == ([entry["tls"]] if entry["tls"] else [])
    assert plain[:1] == [with_brackets(url) for url in [entry["no_tls"]] if url]
    with_hostname = [with_brackets(url) for url in entry["with_fallback"] if url]
    assert plain[: len(with_hostname)] == with_hostname
    by_address = [with_brackets(url) for url in entry["with_fallback_no_hostname"] if url]
    assert [url for url in plain if url in by_address] == by_address
    assert not urls or by_address


# --- directory -----------------------------------------------------------------------------------------

DIRECTORY_TEXTS = {
    "key_rotation_info_json_text": lambda text: encode_key_rotation_info(parse_key_rotation_info(text)),
    "nodes_by_addresses_request_text": lambda text: encode_addresses_request(parse_addresses_request(text)),
    "nodes_by_addresses_response_text": lambda text: encode_addresses_response(
        parse_addresses_response(text)
    ),
    "nodes_by_addresses_response_unknown_text": lambda text: encode_addresses_response(
        parse_addresses_response(text)
    ),
    "rewarded_set_json_text": lambda text: encode_rewarded_set(parse_rewarded_set(text)),
    "semi_skimmed_v2_json_text": lambda text: encode_semi_skimmed(*parse_semi_skimmed(text)),
    "skimmed_v2_active_json_text": lambda text: encode_nodes_page(parse_nodes_page(text)),
    "skimmed_v2_all_json_text": lambda text: encode_nodes_page(parse_nodes_page(text)),
}


@pytest.mark.parametrize("name", sorted(name for name in VECTORS["nym_api"] if name.endswith("_text")))
def test_directory_text(name):
    text = VECTORS["nym_api"][name]
    assert DIRECTORY_TEXTS[name](text) == text


def test_directory_values():
    bodies = VECTORS["nym_api"]
    info = json.loads(bodies["key_rotation_info_json_text"])
    parsed = parse_key_rotation_info(bodies["key_rotation_info_json_text"])
    current = parsed.rotation_of(parsed.current_absolute_epoch_id)
    assert current == info["progress"]["current_key_rotation_id"]
    assert parsed.epoch_seconds == info["epoch_duration"]["secs"] + info["epoch_duration"]["nanos"] / 1e9
    assert parsed.rotation_seconds == parsed.epoch_seconds * info["key_rotation_state"]["validity_epochs"]
    assert (
        parse_addresses_response(bodies["nodes_by_addresses_response_text"])
        == (json.loads(bodies["nodes_by_addresses_response_text"])["existence"])
    )
    page = json.loads(bodies["skimmed_v2_all_json_text"])
    for node, fields in zip(
        parse_nodes_page(bodies["skimmed_v2_all_json_text"]).nodes, page["nodes"]["data"], strict=True
    ):
        assert node.identity == b58decode(fields["ed25519_identity_pubkey"])
        assert node.sphinx_key == b58decode(fields["x25519_sphinx_pubkey"])
        assert list(node.ip_addresses) == fields["ip_addresses"]
        assert node.performance == fields["performance"]
    semi = json.loads(bodies["semi_skimmed_v2_json_text"])
    _, nodes = parse_semi_skimmed(bodies["semi_skimmed_v2_json_text"])
    for node, fields in zip(nodes, semi["nodes"]["data"], strict=True):
        noise = fields["x25519_noise_versioned_key"]
        assert (node.noise_key is None) == (noise is None)
        if node.noise_key is not None:
            assert node.noise_key.public_key == b58decode(noise["x25519_pubkey"])


def test_node_list_in_bincode():
    body = unhex(VECTORS["nym_api"]["skimmed_v2_active_bincode_hex"])
    page = parse_nodes_page_bincode(body)
    assert page == parse_nodes_page(VECTORS["nym_api"]["skimmed_v2_active_json_text"])
    assert encode_nodes_page_bincode(page) == body


def test_nodes_of_a_list_as_routes_need_them():
    page = parse_nodes_page(VECTORS["nym_api"]["skimmed_v2_all_json_text"])
    derived = [node.routing_node() for node in page.nodes]
    assert [routing_node_json(node) for node in derived if node is not None] == (
        VECTORS["nym_api"]["skimmed_to_routing_nodes"]
    )


# --- key files -----------------------------------------------------------------------------------------


def key_vectors():
    files = VECTORS["key_files"]
    return files, {name: text for name, text in files.items() if name.endswith(".pem")}


def test_key_files_are_written(tmp_path):
    files, texts = key_vectors()
    client = ClientKeys(
        unhex(files["identity_private_hex"]),
        unhex(files["encryption_private_hex"]),
        unhex(files["ack_key_hex"]),
    )
    assert client.pem_files() == texts
    keys.write_key_files(tmp_path, client)
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == {
        name: text.encode("ascii") for name, text in texts.items()
    }


def test_key_files_are_read(tmp_path):
    files, texts = key_vectors()
    for name, text in texts.items():
        (tmp_path / name).write_bytes(text.encode("ascii"))
    client = read_key_files(tmp_path)
    assert client is not None
    assert client.identity_private == unhex(files["identity_private_hex"])
    assert client.identity_public == unhex(files["identity_public_hex"])
    assert client.encryption_private == unhex(files["encryption_private_hex"])
    assert client.encryption_public == unhex(files["encryption_public_hex"])
    assert client.ack_key == unhex(files["ack_key_hex"])


# --- default settings ----------------------------------------------------------------------------------

_UNITS = {"day": 86_400, "days": 86_400, "h": 3600, "m": 60, "s": 1, "ms": 0.001}


def seconds(value):
    if isinstance(value, dict):
        assert set(value) == {"secs", "nanos"}
        return value["secs"] + value["nanos"] / 1e9
    parts = re.findall(r"([0-9]+)([a-z]+)", value)
    assert " ".join(number + unit for number, unit in parts) == value
    return sum(int(number) * _UNITS[unit] for number, unit in parts)


def plain(value):
    return value


#: Setting → how it is written, and what we use in its place.
DEFAULTS = {
    "acknowledgements.ack_wait_addition": (seconds, pending.ACK_WAIT_ADDITION_SECONDS),
    "acknowledgements.ack_wait_multiplier": (plain, pending.ACK_WAIT_MULTIPLIER),
    "acknowledgements.average_ack_delay": (seconds, profiles.STANDARD.ack_delay_seconds),
    "cover_traffic.disable_loop_cover_traffic_stream": (
        plain,
        profiles.STANDARD.cover_interval_seconds is None,
    ),
    "cover_traffic.loop_cover_traffic_average_delay": (seconds, profiles.STANDARD.cover_interval_seconds),
    "reply_surbs.maximum_allowed_reply_surb_request_size": (plain, bank.MAX_GRANT_SURBS),
    "reply_surbs.maximum_reply_key_age": (seconds, reply_keys.MAX_KEY_AGE_SECONDS),
    "reply_surbs.maximum_reply_surb_drop_waiting_period": (seconds, reply_pool.GIVE_UP_AFTER_SECONDS),
    "reply_surbs.maximum_reply_surb_request_size": (plain, reply_pool.MAX_REQUEST_SURBS),
    "reply_surbs.maximum_reply_surb_rerequest_waiting_period": (seconds, reply_pool.REREQUEST_AFTER_SECONDS),
    "reply_surbs.maximum_reply_surb_storage_threshold": (plain, reply_pool.MAX_STORED_SURBS),
    "reply_surbs.maximum_reply_surbs_rerequests": (plain, reply_pool.MAX_REREQUESTS),
    "reply_surbs.minimum_reply_surb_request_size": (plain, reply_pool.MIN_REQUEST_SURBS),
    "reply_surbs.minimum_reply_surb_storage_threshold": (plain, reply_pool.MIN_STORED_SURBS),
    "topology.minimum_gateway_performance": (plain, nym_api_models.MINIMUM_GATEWAY_PERFORMANCE_PERCENT),
    "topology.minimum_mixnode_performance": (plain, nym_api_models.MINIMUM_MIXNODE_PERFORMANCE_PERCENT),
    "topology.topology_refresh_rate": (seconds, client_io.TOPOLOGY_REFRESH_SECONDS),
    "traffic.average_packet_delay": (seconds, profiles.STANDARD.packet_delay_seconds),
    "traffic.disable_main_poisson_packet_distribution": (plain, not profiles.STANDARD.shaped),
    "traffic.message_sending_average_delay": (seconds, profiles.STANDARD.message_interval_seconds),
}

#: Settings that pin nothing of ours, each with the reason.
UNPINNED = {
    "cover_traffic.cover_traffic_primary_size_ratio": "one packet size only",
    "forget_me.client": "not sent unless asked for",
    "forget_me.stats": "not sent unless asked for",
    "gateway_connection.gateway_response_timeout": "ours is shorter: the link is set up anew instead",
    "remember_me.session_type": "not sent unless asked for",
    "remember_me.stats": "not sent unless asked for",
    "reply_surbs.minimum_reply_surb_threshold_buffer": "zero, so not a constant of its own",
    "reply_surbs.surb_mix_hops": "unused in the reference",
    "stats_reporting.enabled": "no statistics are sent",
    "stats_reporting.provider_address": "no statistics are sent",
    "stats_reporting.reporting_interval": "no statistics are sent",
    "topology.disable_refreshing": "always refreshed",
    "topology.ignore_egress_epoch_role": "always ignored: the gateway of an address counts",
    "topology.ignore_ingress_epoch_role": "always ignored",
    "topology.max_startup_gateway_waiting_period": "the whole start is retried instead",
    "topology.max_startup_network_waiting_period": "the whole start is retried instead",
    "topology.topology_resolution_timeout": "unused in the reference",
    "topology.use_extended_topology": "never",
    "traffic.deterministic_route_selection": "never",
    "traffic.disable_mix_hops": "never",
    "traffic.maximum_number_of_retransmissions": "ours gives up at some point, the reference never",
    "traffic.packet_type": "one packet type only",
    "traffic.primary_packet_size": "one packet size only",
    "traffic.secondary_packet_size": "one packet size only",
    "traffic.use_legacy_sphinx_format": "effective for nothing but cover packets (docs/protocol/04 §2.6)",
}


def settings():
    return {
        f"{group}.{name}": value
        for group, values in VECTORS["client_debug_config_defaults"].items()
        for name, value in values.items()
    }


def test_every_default_is_known():
    assert set(settings()) == set(DEFAULTS) | set(UNPINNED)


@pytest.mark.parametrize("name", sorted(DEFAULTS))
def test_default_setting(name):
    read, ours = DEFAULTS[name]
    assert read(settings()[name]) == pytest.approx(ours)
