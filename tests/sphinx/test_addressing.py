"""Addresses of nodes and clients, and base58 (docs/protocol/02 §3)."""

from __future__ import annotations

from ipaddress import IPv4Address, IPv6Address

import pytest
from hypothesis import given
from hypothesis import strategies as st
from nacl.bindings import crypto_sign_seed_keypair

from nym_sphinx import (
    MalformedAddress,
    MalformedBase58,
    MalformedRecipient,
    NodeAddress,
    Recipient,
    b58decode,
    b58encode,
)

addresses = st.builds(NodeAddress, st.ip_addresses(v=4) | st.ip_addresses(v=6), st.integers(0, 65535))
identities = st.binary(min_size=32, max_size=32).map(lambda seed: crypto_sign_seed_keypair(seed)[0])
recipients = st.builds(Recipient, identities, st.binary(min_size=32, max_size=32), identities)


@given(addresses, st.binary(max_size=20))
def test_address_round_trips(address, behind):
    encoded = address.encode()
    assert len(encoded) == (7 if address.ip.version == 4 else 19)
    assert NodeAddress.decode(encoded) == address
    assert NodeAddress.decode(encoded + behind) == address
    assert NodeAddress.parse(str(address)) == address
    assert address.encode_padded() == encoded.ljust(32, b"\0")
    assert address.encode_padded(19) == encoded.ljust(19, b"\0")
    for length in range(len(encoded)):
        with pytest.raises(MalformedAddress):
            NodeAddress.decode(encoded[:length])


def test_address_is_a_value():
    one, same, other = (NodeAddress.parse(text) for text in ("10.0.0.1:1", "10.0.0.1:1", "10.0.0.1:2"))
    assert one == same
    assert hash(one) == hash(same)
    assert one != other
    assert one != "10.0.0.1:1"
    assert NodeAddress.decode(one.encode()) is NodeAddress.decode(same.encode())
    assert "_encoded" not in repr(one)


def test_mapped_ipv4_stays_ipv6():
    mapped = NodeAddress.parse("[::ffff:1.2.3.4]:80")
    assert mapped.ip.version == 6
    assert str(mapped) == "[::ffff:1.2.3.4]:80"
    assert mapped != NodeAddress.parse("1.2.3.4:80")


@pytest.mark.parametrize(
    "text",
    [
        "",
        "1.2.3.4",
        "1.2.3.4:",
        "1.2.3.4:65536",
        "1.2.3.4:000080",
        "1.2.3.4:-1",
        "1.2.3.4: 80",
        "1.2.3.4:²",
        "[1.2.3.4]:80",
        "::1:80",
        "[::1]",
        "[::1:80",
        "[fe80::1%eth0]:80",
        "example.org:80",
        "1.2.3:80",
    ],
)
def test_texts_that_are_no_address(text):
    with pytest.raises(MalformedAddress):
        NodeAddress.parse(text)


def test_bytes_that_are_no_address():
    for version in {0, 1, 5, 7, 255}:
        with pytest.raises(MalformedAddress):
            NodeAddress.decode(bytes([version]) + bytes(31))
    with pytest.raises(MalformedAddress, match="needs 19 bytes"):
        NodeAddress(IPv6Address("::1"), 1).encode_padded(7)
    for port in (-1, 65536):
        with pytest.raises(MalformedAddress, match="port"):
            NodeAddress(IPv4Address("1.1.1.1"), port)


@given(recipients)
def test_recipient_round_trips(recipient):
    encoded = recipient.encode()
    assert len(encoded) == 96
    assert Recipient.decode(encoded) == recipient
    assert Recipient.parse(str(recipient)) == recipient
    for length in (*range(96), 97):
        with pytest.raises(MalformedRecipient):
            Recipient.decode((encoded + b"x")[:length])


def test_identity_must_be_a_point():
    good = crypto_sign_seed_keypair(bytes(32))[0]
    # y = 2 gives no x on the curve.
    bad = (2).to_bytes(32, "little")
    with pytest.raises(MalformedRecipient, match="Ed25519"):
        Recipient(bad, good, good)
    with pytest.raises(MalformedRecipient, match="Ed25519"):
        Recipient(good, good, bad)
    assert Recipient(good, bad, good).encryption == bad


@given(st.binary(min_size=32, max_size=32))
def test_point_check_agrees_with_the_curve_equation(key):
    """Counted from the other end: y is on the curve exactly if some x solves -x² + y² = 1 + d x² y²."""
    p = 2**255 - 19
    d = -121665 * pow(121666, -1, p) % p
    y = (int.from_bytes(key, "little") % 2**255) % p
    x_squared = (y * y - 1) * pow(d * y * y + 1, -1, p) % p
    root = pow(x_squared, (p + 3) // 8, p)
    solvable = root * root % p in {x_squared, -x_squared % p}
    good = crypto_sign_seed_keypair(bytes(32))[0]
    try:
        Recipient(key, good, good)
    except MalformedRecipient:
        assert not solvable
    else:
        assert solvable


@pytest.mark.parametrize(
    "mangle",
    [
        lambda text: text.replace("@", ""),
        lambda text: text.replace(".", ""),
        lambda text: text + "@" + text,
        lambda text: " " + text,
        lambda text: text + "\n",
        lambda text: text.replace(".", "." + "1"),
        lambda text: text.replace("@", ".@"),
        lambda text: "0" + text,
        lambda text: "",
    ],
)
def test_texts_that_are_no_recipient(mangle):
    identity = crypto_sign_seed_keypair(bytes(32))[0]
    text = str(Recipient(identity, identity, identity))
    with pytest.raises(MalformedRecipient):
        Recipient.parse(mangle(text))


@given(st.binary(max_size=100))
def test_base58_round_trips(data):
    assert b58decode(b58encode(data)) == data


@pytest.mark.parametrize(
    ("data", "text"),
    [(b"", ""), (b"\0", "1"), (b"\0\0a", "112g"), (b"Hello World!", "2NEpo7TZRRrLZSi2U")],
)
def test_base58_known(data, text):
    assert b58encode(data) == text
    assert b58decode(text) == data


@pytest.mark.parametrize("text", ["0", "O", "I", "l", " 1", "1\n", "é"])
def test_base58_junk(text):
    with pytest.raises(MalformedBase58):
        b58decode(text)
