"""Registration: both roles against each other, and every way in which it ends early."""

from __future__ import annotations

import json
import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nym_mixnet.errors import HandshakeFailed, MalformedGatewayMessage
from nym_mixnet.gateway_requests import HandshakeError, HandshakePayload, RegisterRequest, parse_request
from nym_mixnet.handshake import ClientHandshake, GatewayHandshake, HandshakeState
from nym_mixnet.keys import SigningKey

CLIENT = SigningKey(b"c" * 32)
GATEWAY = SigningKey(b"g" * 32)


def pair(version: int = 6, *, gateway: SigningKey = GATEWAY) -> tuple[ClientHandshake, GatewayHandshake]:
    rng = random.Random(1)
    return (
        ClientHandshake.new(CLIENT, GATEWAY.public, version, rng),
        GatewayHandshake.new(gateway, rng),
    )


def first(text: str) -> RegisterRequest:
    request = parse_request(text)
    assert isinstance(request, RegisterRequest)
    return request


def changed(text: str, position: int) -> str:
    message = json.loads(text)
    message["data"][position] ^= 1
    return json.dumps(message)


@pytest.mark.parametrize(("proposed", "agreed"), [(4, 4), (5, 5), (6, 6), (9, 6), (0, 0)])
def test_both_roles_agree(proposed: int, agreed: int) -> None:
    client, gateway = pair(proposed)
    (third,) = client.receive(gateway.begin(first(client.start())))
    client.receive(gateway.receive(third))
    assert client.session_key == gateway.session_key
    assert client.negotiated_version == gateway.negotiated_version == agreed
    assert gateway.client_identity == CLIENT.public


def test_no_key_before_the_end() -> None:
    client, gateway = pair()
    second = gateway.begin(first(client.start()))
    client.receive(second)
    for side in (client, gateway):
        with pytest.raises(RuntimeError):
            _ = side.session_key


@pytest.mark.parametrize("position", [0, 32, 100, 123])
def test_the_client_notices_a_changed_second_message(position: int) -> None:
    client, gateway = pair()
    second = gateway.begin(first(client.start()))
    with pytest.raises(HandshakeFailed) as caught:
        client.receive(changed(second, position))
    assert client.state is HandshakeState.FAILED
    assert caught.value.reply == HandshakeError(str(caught.value)).encode()


def test_the_client_notices_another_gateway() -> None:
    client, gateway = pair(gateway=SigningKey(b"x" * 32))
    with pytest.raises(HandshakeFailed, match="invalid signature"):
        client.receive(gateway.begin(first(client.start())))


@pytest.mark.parametrize("position", [0, 50, 91])
def test_the_gateway_notices_a_changed_third_message(position: int) -> None:
    client, gateway = pair()
    (third,) = client.receive(gateway.begin(first(client.start())))
    with pytest.raises(HandshakeFailed):
        gateway.receive(changed(third, position))
    assert gateway.state is HandshakeState.FAILED


def test_the_gateway_notices_a_client_without_the_identity_it_names() -> None:
    client, gateway = pair()
    request = first(client.start())
    stolen = RegisterRequest(6, SigningKey(b"v" * 32).public + request.data[32:])
    (third,) = client.receive(gateway.begin(stolen))
    with pytest.raises(HandshakeFailed, match="invalid signature"):
        gateway.receive(third)


@pytest.mark.parametrize("length", [0, 79, 81])
def test_a_first_message_of_another_length(length: int) -> None:
    _, gateway = pair()
    with pytest.raises(HandshakeFailed, match="sent request was malformed"):
        gateway.begin(RegisterRequest(6, bytes(length)))


@pytest.mark.parametrize("length", [0, 96, 123, 125])
def test_a_second_message_of_another_length(length: int) -> None:
    client, _ = pair()
    client.start()
    with pytest.raises(HandshakeFailed, match="received response was malformed"):
        client.receive(HandshakePayload(6, bytes(length)).encode())


def test_ephemeral_keys_that_make_no_secret_are_refused() -> None:
    _, gateway = pair()
    with pytest.raises(HandshakeFailed):
        gateway.begin(RegisterRequest(6, CLIENT.public + bytes(32) + bytes(16)))
    client, _ = pair()
    client.start()
    with pytest.raises(HandshakeFailed):
        client.receive(HandshakePayload(6, bytes(124)).encode())


def test_a_newer_version_in_the_second_message_is_refused() -> None:
    client, gateway = pair()
    message = json.loads(gateway.begin(first(client.start())))
    message["protocol_version"] = 7
    with pytest.raises(HandshakeFailed, match="version 7"):
        client.receive(json.dumps(message))


def test_an_older_version_in_the_second_message_is_adopted() -> None:
    client, gateway = pair(6)
    message = json.loads(gateway.begin(first(client.start())))
    message["protocol_version"] = 5
    client.receive(json.dumps(message))
    assert client.negotiated_version == 5


@pytest.mark.parametrize(
    ("data", "text"), [(b"\0", "sent request"), (b"", "response"), (b"\1\1", "response")]
)
def test_an_end_without_success(data: bytes, text: str) -> None:
    client, gateway = pair()
    client.receive(gateway.begin(first(client.start())))
    with pytest.raises(HandshakeFailed, match=text):
        client.receive(HandshakePayload(6, data).encode())


def test_the_peers_error_is_told_without_its_control_characters() -> None:
    client, gateway = pair()
    client.start()
    with pytest.raises(HandshakeFailed) as caught:
        client.receive(HandshakeError("no\nway\x1b[31m").encode())
    assert (
        str(caught.value)
        == "error on the remote: no\N{REPLACEMENT CHARACTER}way\N{REPLACEMENT CHARACTER}[31m"
    )
    gateway.begin(first(pair()[0].start()))
    with pytest.raises(HandshakeFailed, match="error on the remote: stop"):
        gateway.receive(HandshakeError("stop").encode())


def test_messages_out_of_turn_change_nothing() -> None:
    client, gateway = pair()
    with pytest.raises(MalformedGatewayMessage):
        client.receive(HandshakePayload(6, b"").encode())
    with pytest.raises(MalformedGatewayMessage):
        gateway.receive(HandshakePayload(6, b"").encode())
    (third,) = client.receive(gateway.begin(first(client.start())))
    with pytest.raises(MalformedGatewayMessage):
        client.receive("not a handshake message")
    client.receive(gateway.receive(third))
    with pytest.raises(MalformedGatewayMessage):
        client.receive(HandshakePayload(6, b"\1").encode())
    assert client.session_key == gateway.session_key


def test_silence_is_reported_to_the_peer() -> None:
    client, _ = pair()
    client.start()
    failure = client.timed_out()
    assert failure.reply == HandshakeError("timed out waiting for a handshake message").encode()
    assert client.state is HandshakeState.FAILED


@given(
    st.text()
    | st.builds(lambda v, d: HandshakePayload(v, d).encode(), st.integers(0, 255), st.binary(max_size=130))
)
def test_garbage_fails_or_is_skipped(text: str) -> None:
    client, gateway = pair()
    gateway.begin(first(client.start()))
    for receive in (client.receive, gateway.receive):
        with pytest.raises((HandshakeFailed, MalformedGatewayMessage)):
            receive(text)
