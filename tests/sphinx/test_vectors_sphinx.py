"""Known answers of the reference for packets: tests/vectors/sphinx.json (docs/protocol/01 §12)."""

from __future__ import annotations

import hashlib

import pytest

from nym_sphinx import (
    HeaderMacMismatch,
    Hop,
    MalformedPacket,
    NodeAddress,
    PayloadTampered,
    SphinxError,
    Surb,
    build_surb,
    prepare_packet,
    unwrap,
    x25519_public,
)
from nym_sphinx.ciphers import lioness_decrypt, lioness_encrypt
from nym_sphinx.constants import FULL_KEY_VERSIONS, HEADER_BYTES, UNCLAMPED_VERSIONS, V259
from nym_sphinx.curve import x25519
from nym_sphinx.kdf import (
    BLINDING,
    MAC_KEY,
    PAYLOAD_KEY,
    PAYLOAD_SEED,
    REPLAY_TAG,
    STREAM_KEY,
    expand_secret,
    payload_key_from_seed,
)
from nym_sphinx.payload import open_payload, seal_payload
from tests.sphinx.sphinx_world import ScriptedRandom, build_unclamped
from tests.vector_files import assert_blob, blob, cases, load, unhex, unknown_types

pytestmark = pytest.mark.vectors

VECTORS = load("sphinx")
TYPES = {"expand_secret", "lioness", "payload", "sphinx_packet", "surb", "reject"}
REJECTIONS = {
    "mac_mismatch": HeaderMacMismatch,
    "bad_leading_zeros": PayloadTampered,
    "packet_too_short": MalformedPacket,
}


def test_every_type_is_checked():
    assert unknown_types(VECTORS, TYPES) == set()


@pytest.mark.parametrize("vector", cases(VECTORS, "expand_secret"))
def test_expand_secret(vector):
    alpha = unhex(vector["alpha"])
    shared = x25519(unhex(vector["private_key"]), alpha)
    assert shared == unhex(vector["shared_secret"])
    keys = expand_secret(shared)
    assert keys == unhex(vector["expanded"])
    assert expand_secret(shared, 100) == keys[:100]
    assert keys[STREAM_KEY] == unhex(vector["stream_key"])
    assert keys[MAC_KEY] == unhex(vector["mac_key"])
    assert keys[PAYLOAD_KEY] == unhex(vector["legacy_payload_key"])
    assert keys[PAYLOAD_SEED] == unhex(vector["payload_key_seed"])
    assert keys[BLINDING] == unhex(vector["blinding_factor"])
    assert keys[REPLAY_TAG] == unhex(vector["replay_tag"])
    assert payload_key_from_seed(keys[PAYLOAD_SEED]) == unhex(vector["payload_key"])
    assert x25519(keys[BLINDING], alpha) == unhex(vector["next_alpha"])


@pytest.mark.parametrize("vector", cases(VECTORS, "lioness"))
def test_lioness(vector):
    key, plaintext, ciphertext = (unhex(vector[name]) for name in ("key", "plaintext", "ciphertext"))
    assert lioness_encrypt([key], plaintext) == ciphertext
    assert lioness_decrypt(key, ciphertext) == plaintext
    assert lioness_decrypt(key, plaintext) == unhex(vector["decrypted_plaintext"])
    assert lioness_encrypt([key], unhex(vector["decrypted_plaintext"])) == plaintext


@pytest.mark.parametrize("vector", cases(VECTORS, "payload"))
def test_payload(vector):
    keys = [payload_key_from_seed(unhex(seed)) for seed in vector["payload_key_seeds"]]
    assert keys == [unhex(key) for key in vector["payload_keys"]]
    encrypted = seal_payload(keys, unhex(vector["message"]), vector["payload_size"])
    assert encrypted == unhex(vector["encrypted"])
    for key in keys:
        encrypted = lioness_decrypt(key, encrypted)
    assert open_payload(encrypted) == unhex(vector["message"])


def route_of(vector):
    route = []
    for node in vector["route"]:
        address = NodeAddress.parse(node["socket"])
        assert address.encode_padded() == unhex(node["address"])
        assert NodeAddress.decode(unhex(node["address"])) == address
        assert x25519_public(unhex(node["private_key"])) == unhex(node["public_key"])
        route.append(Hop(address, unhex(node["public_key"])))
    return route


def header_inputs(vector):
    delays_ns = [int(delay) for delay in vector["delays_ns"]]
    return route_of(vector), delays_ns, unhex(vector["destination"])


def check_hops(vector, packet):
    """Process the packet at every node and compare all that each derives and sends on."""
    assert len(vector["hops"]) == len(vector["route"])
    for node, expected in zip(vector["route"], vector["hops"], strict=True):
        private_key = unhex(node["private_key"])
        assert packet[:32] == unhex(expected["alpha_in"])
        shared = x25519(private_key, packet[:32])
        assert shared == unhex(expected["shared_secret"])
        keys = expand_secret(shared)
        assert keys[STREAM_KEY] == unhex(expected["stream_key"])
        assert keys[MAC_KEY] == unhex(expected["mac_key"])
        assert keys[BLINDING] == unhex(expected["blinding_factor"])
        payload_key = (
            keys[PAYLOAD_KEY]
            if expected["version"] in FULL_KEY_VERSIONS
            else payload_key_from_seed(keys[PAYLOAD_SEED])
        )
        assert payload_key == unhex(expected["payload_key"])

        asked = []
        hop = unwrap(packet, private_key, seen=lambda tag, asked=asked: bool(asked.append(tag)))
        assert asked == [unhex(expected["replay_tag"])]
        assert hop.replay_tag == unhex(expected["replay_tag"])
        assert hop.version == expected["version"]
        if expected["kind"] == "forward":
            assert hop.next_address == unhex(expected["next_address"])
            assert hop.delay_ns == int(expected["delay_ns"])
            packet = hop.packet
            assert packet[:HEADER_BYTES] == unhex(expected["header_out"])
            assert hashlib.sha256(packet).hexdigest() == expected["packet_out_sha256"]
            if "packet_out" in expected:
                assert packet == unhex(expected["packet_out"])
        else:
            assert expected["kind"] == "final"
            assert hop.destination == unhex(expected["destination"])
            assert hop.identifier == unhex(expected["identifier"])
            assert_blob(hop.plaintext, expected["plaintext"])
            assert hop.plaintext == blob(vector["message"])


@pytest.mark.parametrize("shortcut", [True, False], ids=["shortcut", "chain"])
@pytest.mark.parametrize("vector", cases(VECTORS, "sphinx_packet"))
def test_packet_is_rebuilt(vector, shortcut):
    route, delays_ns, destination = header_inputs(vector)
    version, identifier = vector["sphinx_version"], unhex(vector["identifier"])
    secret, padding = unhex(vector["initial_secret"]), unhex(vector["final_padding"])
    if version in UNCLAMPED_VERSIONS:
        header, keys = build_unclamped(route, delays_ns, destination, identifier, version, secret, padding)
    else:
        rng = ScriptedRandom(secret + padding)
        prepared = prepare_packet(
            route, delays_ns, destination, version=version, identifier=identifier, rng=rng, shortcut=shortcut
        )
        assert rng.used_up
        assert prepared.first_hop == route[0].address
        header, keys = prepared.header, prepared.payload_keys
    packet = header + seal_payload(keys, blob(vector["message"]), vector["payload_size"])
    assert len(packet) == vector["packet_len"]
    if "packet" in vector:
        assert packet == unhex(vector["packet"])
    assert hashlib.sha256(packet).hexdigest() == vector["packet_sha256"]


@pytest.mark.parametrize("vector", cases(VECTORS, "sphinx_packet"))
def test_packet_is_processed(vector):
    check_hops(vector, unhex(vector["packet"]))


@pytest.mark.parametrize("vector", cases(VECTORS, "sphinx_packet"))
def test_filler_is_what_the_last_hop_sees(vector):
    """The filler is the tail of the last hop's routing block, as the hops before it made it by decrypting zeros."""
    packet = unhex(vector["packet"])
    for node in vector["route"][:-1]:
        packet = unwrap(packet, unhex(node["private_key"])).packet
    filler = unhex(vector["filler"])
    assert len(filler) == 60 * (len(vector["route"]) - 1)
    assert packet[HEADER_BYTES - len(filler) : HEADER_BYTES] == filler


@pytest.mark.parametrize("shortcut", [True, False], ids=["shortcut", "chain"])
@pytest.mark.parametrize("vector", cases(VECTORS, "surb"))
def test_surb_is_rebuilt(vector, shortcut):
    rng = ScriptedRandom(unhex(vector["initial_secret"]) + unhex(vector["final_padding"]))
    surb = build_surb(
        *header_inputs(vector),
        version=vector["sphinx_version"],
        identifier=unhex(vector["identifier"]),
        rng=rng,
        shortcut=shortcut,
    )
    assert rng.used_up
    assert surb.encode() == unhex(vector["surb"])
    assert len(surb.encode()) == vector["surb_len"]


@pytest.mark.parametrize("vector", cases(VECTORS, "surb"))
def test_surb_is_used(vector):
    surb = Surb.decode(unhex(vector["surb"]))
    assert surb.encode() == unhex(vector["surb"])
    assert surb.first_hop.encode_padded() == unhex(vector["first_hop"])
    assert (surb.version == V259) is vector["uses_key_seeds"]
    assert surb.hops == len(vector["route"])
    packet = surb.header + seal_payload(surb.payload_keys(), blob(vector["message"]), vector["payload_size"])
    assert packet == unhex(vector["packet"])
    check_hops(vector, packet)


@pytest.mark.parametrize("vector", cases(VECTORS, "reject"))
def test_bad_packet_is_refused(vector):
    packet = unhex(vector["packet"])
    for node in vector["route"][: vector["fails_at_hop"]]:
        packet = unwrap(packet, unhex(node["private_key"])).packet
    failing = unhex(vector["route"][vector["fails_at_hop"]]["private_key"])
    with pytest.raises(SphinxError) as raised:
        unwrap(packet, failing)
    assert type(raised.value) is REJECTIONS[vector["error"]]
