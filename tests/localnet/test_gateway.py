"""A gateway follows docs/protocol/03: sessions, pushes, the offline store, allowances and refusals."""

from __future__ import annotations

import asyncio
import json
import secrets
import time
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from nym_localnet import gateway_client_io, gateway_connection_io, gateway_store_io
from nym_localnet.errors import TicketRefused
from nym_localnet.gateway_io import GatewaySettings
from nym_localnet.gateway_rules import FREE_ALLOWANCE_BYTES, midnight
from nym_localnet.gateway_store_io import GatewayStore
from nym_localnet.tickets import NOT_VERIFIED, TicketContext
from nym_mixnet.gateway_wire import (
    Credential,
    ForgetMe,
    ForgetMeAck,
    RememberMe,
    RememberMeAck,
    SessionKey,
    SessionType,
    open_response,
    parse_response,
    seal_credential,
    seal_request,
)
from nym_mixnet.keys import ClientKeys
from nym_sphinx import SYSTEM_RNG, Hop, KeyRotation, PacketSize, SurbAck, prepare_packet
from tests.localnet.harness import Sink, loopback, make_packet, node, sink, until
from tests.localnet.raw_client import RawClient, RunningGateway, raw_client, running_gateway, start_gateway

MESSAGE_BYTES = PacketSize.REGULAR.message_bytes


def ack_to(collected: Sink) -> SurbAck:
    return SurbAck(loopback(collected.port), secrets.token_bytes(PacketSize.ACK.packet_bytes))


async def deliver(
    running: RunningGateway,
    identity: bytes,
    payload: bytes,
    ack: SurbAck,
    rotation: KeyRotation = KeyRotation.ODD,
) -> None:
    """Send a data packet whose last hop is the gateway, straight to its mix port."""
    packet = prepare_packet([running.hop], [0], identity).seal(ack.encode() + payload, PacketSize.REGULAR)
    running.gateway.mix.receive(
        _frame(packet, PacketSize.REGULAR, rotation), asyncio.get_running_loop().time()
    )


def _frame(packet: bytes, size: PacketSize, rotation: KeyRotation) -> Any:
    from nym_sphinx import Frame, PacketType

    return Frame(packet, size, rotation, 8, PacketType.MIX)


def payload(tag: int) -> bytes:
    return bytes([tag]) * MESSAGE_BYTES


# Registration and authentication


@pytest.mark.parametrize("version", [4, 5, 6, 9])
async def test_registration(version: int) -> None:
    async with running_gateway() as running, raw_client(running) as client:
        assert await client.ask({"type": "supportedProtocol"}) == {"type": "supportedProtocol", "version": 6}
        if version <= 6:
            assert await client.register(version) == {
                "type": "register",
                "protocol_version": version,
                "status": True,
                "upgrade_mode": False,
            }
            assert await client.ask({"type": "supportedProtocol"}) == {
                "type": "supportedProtocol",
                "version": 6,
            }
        else:
            answer = await client.register(version)
            assert answer["protocol_version"] == 6


async def registered(
    running: RunningGateway, keys: ClientKeys | None = None
) -> tuple[ClientKeys, SessionKey]:
    async with raw_client(running, keys) as client:
        assert (await client.register())["status"] is True
        assert client.key is not None
        result = client.keys, client.key
    await until(lambda: not running.gateway.is_active(result[0].identity_public), "session ended")
    return result


async def test_authentication_and_its_answer() -> None:
    async with running_gateway() as running:
        keys, key = await registered(running)
        for version in (4, 5, 6):
            async with raw_client(running, keys, key) as client:
                answer = await client.authenticate(int(time.time()) - 10 + version, version=version)
                assert answer == {
                    "type": "authenticate",
                    "protocol_version": version,
                    "status": True,
                    "bandwidth_remaining": 0,
                    "upgrade_mode": False,
                }
            await until(lambda: not running.gateway.is_active(keys.identity_public), "session ended")


async def refused_twice(client: RawClient, first: Any) -> str:
    assert first["type"] == "error"
    assert await client.hear() == first
    assert await client.hear() is None
    return str(first["message"])


async def test_authentication_is_refused_in_the_documented_order_and_words() -> None:
    async with running_gateway() as running:
        keys, key = await registered(running)
        now = int(time.time())

        async def refusal(**change: Any) -> str:
            used = {"timestamp": now, "key": key} | change
            mine = used.pop("keys", keys)
            async with raw_client(running, mine) as client:
                return await refused_twice(client, await client.authenticate(**used))

        wrong_key = SessionKey(bytes(32))
        incompatible = (
            "Attempted to negotiate connection with client using incompatible protocol version. "
            "Ours is 6 and the client reports {}"
        )
        assert await refusal(version=3, timestamp=0) == incompatible.format(3)
        assert await refusal(version=7) == incompatible.format(7)
        for skewed in (now - 125, now + 130, 2**60):
            text = await refusal(timestamp=skewed, keys=ClientKeys.generate(SYSTEM_RNG))
            assert text.startswith("the provided request timestamp is excessively skewed. got ")
            assert " whilst the server time is " in text
        assert await refusal(keys=ClientKeys.generate(SYSTEM_RNG)) == "the client is not registered"
        assert await refusal(key=wrong_key) == "failed to verify provided address ciphertext"
        async with raw_client(running, keys, key) as client:
            assert (await client.authenticate(now))["status"] is True
        await until(lambda: not running.gateway.is_active(keys.identity_public), "session ended")
        reused = "the provided request timestamp is smaller or equal to one previously used"
        assert await refusal() == reused
        assert await refusal(timestamp=now - 1) == reused
        assert (
            await refusal(timestamp=now - 1, key=wrong_key) == "failed to verify provided address ciphertext"
        )


async def test_a_forged_signature_is_refused() -> None:
    async with running_gateway() as running:
        keys, key = await registered(running)
        async with raw_client(running, keys, key) as client:
            request = json.loads(_authenticate_text(keys, key))
            request["requestSignature"][5] ^= 1
            text = await refused_twice(client, await client.ask(request))
            assert text == "failed to verify request signature"


def _authenticate_text(keys: ClientKeys, key: SessionKey) -> str:
    from nym_mixnet.gateway_wire import AuthenticateRequest

    return AuthenticateRequest.create(
        keys, key, protocol_version=6, nonce=bytes(12), timestamp=int(time.time())
    ).encode()


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("nonsense", "Only 'Register' or 'Authenticate' requests are allowed"),
        ('{"type":"claimFreeTestnetBandwidth"}', "Only 'Register' or 'Authenticate' requests are allowed"),
        (
            '{"type":"authenticate","protocol_version":3,"address":"a","enc_address":"b","iv":"c"}',
            "the legacy authentication method is no longer supported. please update your client",
        ),
    ],
)
async def test_before_authentication_other_requests_end_the_connection(text: str, reason: str) -> None:
    async with running_gateway() as running, raw_client(running) as client:
        assert await client.ask(text) == {"type": "error", "message": reason}
        assert await client.hear() is None


async def test_a_packet_before_authentication_ends_the_connection() -> None:
    async with running_gateway() as running, raw_client(running) as client:
        await client.socket.send_bytes(b"\x01\x01" + bytes(40))
        assert (await client.hear())["message"] == (
            "possibly received a sphinx packet without prior authentication. Request is going to be ignored"
        )
        assert await client.hear() is None


async def test_silence_before_authentication_is_ended(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gateway_connection_io, "INITIAL_MESSAGE_SECONDS", 0.05)
    async with running_gateway() as running, raw_client(running) as client:
        assert (await client.hear())["message"] == "timed out while waiting for initial data"
        assert await client.hear() is None


async def test_pings_are_answered_before_and_after_authentication() -> None:
    async with running_gateway() as running, raw_client(running, autoping=False) as client:
        for _ in range(2):
            await client.socket.ping(b"\x01\x02\x03")
            message = await client.socket.receive()
            assert (message.type, bytes(message.data)) == (aiohttp.WSMsgType.PONG, b"\x01\x02\x03")
            if client.key is None:
                await client.register()


async def test_no_extension_is_negotiated_and_plain_http_is_turned_away() -> None:
    async with running_gateway() as running, raw_client(running, compress=15) as client:
        assert client.socket.compress == 0
        async with (
            aiohttp.ClientSession() as session,
            session.get(running.url.replace("ws", "http", 1)) as response,
        ):
            assert response.status == 426


async def test_a_failed_handshake() -> None:
    async with running_gateway() as running, raw_client(running) as client:
        first = await client.ask({"type": "handshakePayload", "protocol_version": 6, "data": [1, 2, 3]})
        assert first["type"] == "handshakeError"
        assert first["message"] == "sent request was malformed"
        text = await refused_twice(client, await client.hear())
        assert text == "Failed to perform registration handshake: sent request was malformed"


async def test_a_silent_handshake_is_ended(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gateway_connection_io, "HANDSHAKE_TIMEOUT_SECONDS", 0.05)
    async with running_gateway() as running, raw_client(running) as client:
        data = [*client.keys.identity_public, *client.keys.encryption_public, *bytes(16)]
        first = await client.ask(
            {"type": "registerHandshakeInitRequest", "protocol_version": 6, "data": data}
        )
        assert first["type"] == "handshakePayload"
        second = await client.hear()
        assert second == {"type": "handshakeError", "message": "timed out waiting for a handshake message"}


# One session


async def test_a_second_session_is_refused_while_the_first_answers_pings() -> None:
    async with running_gateway() as running, raw_client(running) as first:
        await first.register()
        listening = asyncio.get_running_loop().create_task(first.socket.receive())
        async with raw_client(running, first.keys, first.key) as second:
            text = await refused_twice(second, await second.authenticate(int(time.time()) + 2))
            assert text == "There is already an open connection to this client"
        async with raw_client(running, first.keys) as third:
            text = await refused_twice(third, await third.register())
            assert text == "There is already an open connection to this client"
        listening.cancel()


async def test_a_session_that_does_not_answer_is_replaced(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gateway_client_io, "PROBE_SECONDS", 0.1)
    async with running_gateway() as running, raw_client(running, autoping=False) as first:
        await first.register()
        async with raw_client(running, first.keys, first.key) as second:
            assert (await second.authenticate(int(time.time()) + 2))["status"] is True
            assert (await second.ask({"type": "claimFreeTestnetBandwidth"}))["type"] == "bandwidth"
            async with sink() as collected:
                await deliver(running, first.keys.identity_public, payload(3), ack_to(collected))
                assert await second.hear_push() == payload(3)


async def test_an_older_authentication_does_not_replace_a_session() -> None:
    async with running_gateway() as running:
        keys, key = await registered(running)
        now = int(time.time())
        async with raw_client(running, keys, key) as first:
            await first.authenticate(now)
            # the stored timestamp refuses first; a session begun by registration has no stored one
        await until(lambda: not running.gateway.is_active(keys.identity_public), "session ended")
        async with raw_client(running, keys) as again:
            await again.register()
            async with raw_client(running, keys, again.key) as second:
                text = await refused_twice(second, await second.authenticate(now + 1 - 10 + 9))
                assert text == "the provided request timestamp is smaller or equal to one previously used"


async def test_a_stale_authentication_against_a_live_registration() -> None:
    async with running_gateway() as running, raw_client(running) as first:
        await first.register()
        async with raw_client(running, first.keys, first.key) as second:
            text = await refused_twice(second, await second.authenticate(int(time.time()) - 5))
            assert text == "attempted to overwrite client session with a stale authentication"


# Packets


async def test_packets_are_forwarded_metered_and_answered_one_by_one() -> None:
    async with running_gateway() as running, node(final=True) as mix, raw_client(running) as client:
        await client.register()
        total = (await client.ask({"type": "claimFreeTestnetBandwidth"}))["available_total"]
        assert total == FREE_ALLOWANCE_BYTES
        for version in (6, 4):
            packet = make_packet([mix], b"from the client")
            answer = await client.forward(packet, mix.hop, version=version)
            total -= len(packet)
            assert answer == {"type": "send", "remaining_bandwidth": total, "upgrade_mode": False}
        await until(lambda: len(mix.delivered) == 2, "forwarded")
        assert [frame.rotation for _, frame in mix.delivered] == [KeyRotation.ODD, KeyRotation.UNKNOWN]


async def test_out_of_bandwidth_is_a_typed_error_and_the_session_goes_on() -> None:
    settings = GatewaySettings(free_allowance_bytes=3000)
    async with (
        running_gateway(settings=settings) as running,
        node(final=True) as mix,
        raw_client(running) as client,
    ):
        await client.register()
        refused = {"type": "typedError", "error": {"out_of_bandwidth": {"required": 2413, "available": 0}}}
        assert await client.forward(make_packet([mix]), mix.hop) == refused
        await client.ask({"type": "claimFreeTestnetBandwidth"})
        answer = await client.forward(make_packet([mix]), mix.hop)
        assert answer["remaining_bandwidth"] == 3000 - 2413
        refused["error"]["out_of_bandwidth"]["available"] = 587  # type: ignore[index]
        assert await client.forward(make_packet([mix]), mix.hop) == refused
        assert await client.ask({"type": "claimFreeTestnetBandwidth"}) == {
            "type": "bandwidth",
            "available_total": 3587,
            "upgrade_mode": False,
        }
        await until(lambda: len(mix.delivered) == 1, "only the paid one was forwarded")


async def test_malformed_frames_are_refused_and_the_session_goes_on() -> None:
    async with running_gateway() as running, node(final=True) as mix, raw_client(running) as client:
        await client.register()
        await client.ask({"type": "claimFreeTestnetBandwidth"})
        packet = make_packet([mix])
        too_short = await client.forward(packet[:-1], mix.hop)
        assert too_short["message"].startswith(
            "Provided binary request was malformed - failed to serialise created sphinx packet: "
        )
        await client.socket.send_bytes(b"\x07\x01" + bytes(60))
        assert (await client.hear())["message"] == (
            "Provided binary request was malformed - received request with an unknown kind: 7"
        )
        await client.socket.send_bytes(b"\x02\x01" + bytes(60))
        assert (await client.hear())["message"] == (
            "Provided binary request was malformed - failed to either encrypt or decrypt provided message"
        )
        answer = await client.ask("{nonsense")
        assert answer["message"].startswith("Provided text request was malformed - ")
        assert (await client.forward(packet, mix.hop))["type"] == "send"


@pytest.mark.parametrize(
    ("request_text", "reason"),
    [
        (
            '{"type":"authenticate","protocol_version":3,"address":"a","enc_address":"b","iv":"c"}',
            (
                "The received request is not valid in the current context: "
                "received illegal message of type Authenticate in an authenticated client"
            ),
        ),
        (
            '{"type":"registerHandshakeInitRequest","protocol_version":6,"data":[1]}',
            (
                "The received request is not valid in the current context: "
                "received illegal message of type RegisterHandshakeInitRequest in an authenticated client"
            ),
        ),
        (
            '{"type":"bandwidthCredential","enc_credential":[1],"iv":[2]}',
            (
                "The received request is not valid in the current context: "
                "coconut credential are not longer supported"
            ),
        ),
        (
            '{"type":"upgradeModeJWT","token":"x"}',
            "the upgrade mode attestation does not appear to have been published",
        ),
        (
            '{"type":"encryptedRequest","ciphertext":[1],"nonce":[1,2,3,4,5,6,7,8,9,10,11,12]}',
            "failed to decrypt provided text request",
        ),
    ],
)
async def test_requests_that_an_authenticated_client_may_not_make(request_text: str, reason: str) -> None:
    async with running_gateway() as running, raw_client(running) as client:
        await client.register()
        assert await client.ask(request_text) == {"type": "error", "message": reason}
        assert (await client.ask({"type": "supportedProtocol"}))["version"] == 6


async def test_authenticating_twice_on_one_connection_is_unknown() -> None:
    async with running_gateway() as running, raw_client(running) as client:
        await client.register()
        assert client.key is not None
        answer = await client.ask(_authenticate_text(client.keys, client.key))
        assert answer == {"type": "error", "message": "received a text request of an unknown type"}


async def test_messages_and_acks_are_pushed_and_the_ack_is_released_afterwards() -> None:
    async with running_gateway() as running, sink() as collected, raw_client(running) as client:
        await client.register()
        me = client.keys.identity_public
        ack = ack_to(collected)
        await deliver(running, me, payload(1), ack, KeyRotation.UNKNOWN)
        assert await client.hear_push() == payload(1)
        await until(lambda: collected.frames, "ack released")
        assert collected.frames[0].packet == ack.packet
        assert collected.frames[0].rotation is KeyRotation.UNKNOWN
        own_ack = prepare_packet([running.hop], [0], me).seal(b"a" * 21, PacketSize.ACK)
        frame = _frame(own_ack, PacketSize.ACK, KeyRotation.ODD)
        running.gateway.mix.receive(frame, 0.0)
        assert await client.hear_push() == b"a" * 21
        counters = running.gateway.counters
        await until(lambda: counters.pushed_acks == 1, "counted")
        assert (counters.pushed_messages, counters.acks_released) == (1, 1)
        assert len(collected.frames) == 1


async def test_a_data_packet_without_room_for_an_ack_is_dropped() -> None:
    async with running_gateway() as running, raw_client(running) as client:
        await client.register()
        packet = prepare_packet([running.hop], [0], client.keys.identity_public)
        running.gateway.mix.receive(
            _frame(packet.seal(bytes(404), PacketSize.REGULAR), PacketSize.REGULAR, KeyRotation.ODD), 0.0
        )
        assert running.gateway.mix.counters.dropped_malformed == 1


# The offline store


async def test_payloads_for_an_absent_client_wait_in_order_and_come_before_the_answer() -> None:
    async with running_gateway() as running, sink() as collected:
        keys, key = await registered(running)
        count = 2 * gateway_store_io.RETRIEVAL_BATCH + 7
        for number in range(count):
            await deliver(running, keys.identity_public, payload(number % 251), ack_to(collected))
        await until(lambda: len(collected.frames) == count, "acks released once stored")
        async with raw_client(running, keys, key) as client:
            answer = await client.authenticate()
            assert answer["type"] == "authenticate"
            assert client.pushed == [payload(number % 251) for number in range(count)]
        assert running.gateway.store.waiting(keys.identity_public) == 0


async def test_a_registration_gets_what_was_stored_under_the_new_key() -> None:
    async with running_gateway() as running, sink() as collected:
        keys, _ = await registered(running)
        await deliver(running, keys.identity_public, payload(5), ack_to(collected))
        await until(lambda: collected.frames, "stored")
        async with raw_client(running, keys) as client:
            assert (await client.register())["status"] is True
            assert client.pushed == [payload(5)]


async def test_payloads_for_strangers_are_dropped_without_ack() -> None:
    async with running_gateway() as running, sink() as collected:
        await deliver(running, bytes(32), payload(1), ack_to(collected))
        assert running.gateway.counters.unknown_clients == 1
        assert not collected.frames


async def test_the_store_of_one_client_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gateway_store_io, "MAX_STORED_PER_CLIENT", 2)
    async with running_gateway() as running, sink() as collected:
        keys, _ = await registered(running)
        for number in range(3):
            await deliver(running, keys.identity_public, payload(number), ack_to(collected))
        await until(lambda: len(collected.frames) == 2, "two stored")
        assert running.gateway.counters.stored_refused == 1


async def test_old_payloads_are_purged() -> None:
    store = GatewayStore()
    async with running_gateway(store=store) as running, sink() as collected:
        keys, _ = await registered(running)
        await deliver(running, keys.identity_public, payload(1), ack_to(collected))
        await until(lambda: collected.frames, "stored")
        assert await store.purge(time.time() - 60) == 0
        assert await store.purge(time.time() + 60) == 1
        assert store.waiting(keys.identity_public) == 0


async def test_what_a_broken_connection_did_not_take_goes_back_to_the_store() -> None:
    async with running_gateway() as running, sink() as collected:
        async with raw_client(running, receive_timeout=None) as client:
            await client.register()
            keys, key = client.keys, client.key
            # The client stops reading: the kernel's buffers fill, the rest waits at the gateway.
            client.socket._response.connection.transport.pause_reading()  # type: ignore[union-attr]
            count = 4000
            for number in range(count):
                await deliver(running, keys.identity_public, payload(number % 251), ack_to(collected))
                if number % 100 == 0:
                    await asyncio.sleep(0)
            await until(lambda: len(collected.frames) > 100, "some were written")
            await asyncio.sleep(0.05)
            acknowledged = len(collected.frames)
            assert acknowledged < count
            client.socket._response.connection.transport.abort()  # type: ignore[union-attr]
        await until(lambda: len(collected.frames) == count, "all acknowledged: written or stored")
        returned = running.gateway.counters.returned_to_store
        assert returned >= count - acknowledged
        async with raw_client(running, keys, key) as client:
            await client.authenticate()
            assert len(client.pushed) == returned
            assert client.pushed == [payload(number % 251) for number in range(count)][-returned:]


async def test_a_slow_client_does_not_fill_the_gateway(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gateway_client_io, "MAX_QUEUED", 10)
    async with running_gateway() as running, sink() as collected, raw_client(running) as client:
        await client.register()
        for number in range(20):  # no turn for the writer in between
            await deliver(running, client.keys.identity_public, payload(number), ack_to(collected))
        await until(lambda: len(collected.frames) == 10, "what fitted is acknowledged")
        assert running.gateway.counters.stored_refused == 10


# Restart, stall, allowance


async def test_a_restart_keeps_registrations_allowances_and_payloads(tmp_path: Path) -> None:
    from nym_mixnet.tasks_io import TaskSet

    path = tmp_path / "gateway" / "gateway.sqlite"
    async with TaskSet("test") as tasks, node(final=True) as mix, sink() as collected:
        first = await start_gateway(tasks, GatewayStore(path))
        async with raw_client(first) as client:
            await client.register()
            await client.ask({"type": "claimFreeTestnetBandwidth"})
            packet = make_packet([mix])
            remaining = (await client.forward(packet, mix.hop))["remaining_bandwidth"]
            keys, key = client.keys, client.key
            ports = first.mix_port, first.ws_port
            await first.gateway.close()
            assert await client.hear() is None
        second = await start_gateway(tasks, GatewayStore(path), ports=ports)
        assert (second.mix_port, second.ws_port) == ports
        assert second.identity == first.identity
        await deliver(second, keys.identity_public, payload(8), ack_to(collected))
        await until(lambda: collected.frames, "stored")
        await second.gateway.close()
        third = await start_gateway(tasks, GatewayStore(path), ports=ports)
        async with raw_client(third, keys, key) as client:
            answer = await client.authenticate()
            assert answer["bandwidth_remaining"] == remaining == FREE_ALLOWANCE_BYTES - len(packet)
            assert client.pushed == [payload(8)]
        await third.gateway.close()


async def test_a_stalled_gateway_is_silent_until_it_goes_on() -> None:
    async with running_gateway() as running, raw_client(running, autoping=False) as client:
        await client.register()
        running.gateway.set_stall(True)
        await client.say({"type": "supportedProtocol"})
        hearing = asyncio.get_running_loop().create_task(client.hear())
        done, _ = await asyncio.wait([hearing], timeout=0.1)
        assert not done
        running.gateway.set_stall(False)
        assert (await hearing)["version"] == 6


async def test_the_free_allowance_ends_at_midnight() -> None:
    now = [midnight(time.time()) + 86_000.0]
    async with (
        running_gateway(clock=lambda: now[0]) as running,
        node(final=True) as mix,
        raw_client(running) as client,
    ):
        await client.register()
        await client.ask({"type": "claimFreeTestnetBandwidth"})
        now[0] += 300
        assert (await client.forward(make_packet([mix]), mix.hop))["type"] == "send"
        now[0] += 200
        refused = await client.forward(make_packet([mix]), mix.hop)
        assert refused["error"]["out_of_bandwidth"]["available"] == 0


async def test_free_bandwidth_can_be_refused() -> None:
    async with (
        running_gateway(settings=GatewaySettings(enforce_tickets=True)) as running,
        raw_client(running) as client,
    ):
        await client.register()
        assert await client.ask({"type": "claimFreeTestnetBandwidth"}) == {
            "type": "error",
            "message": "This gateway is only accepting coconut credentials for bandwidth",
        }


# Tickets and sealed requests


class AcceptOnce:
    """Grants 200 MB for a serial number (the payment) that was not spent here."""

    async def verify(self, credential: bytes, context: TicketContext) -> int:
        ticket = Credential.decode(credential)
        assert ticket.gateway_identity == context.gateway_identity
        if not await context.spend(ticket.payment):
            raise TicketRefused(
                "the provided bandwidth credential has already been spent before at this gateway"
            )
        return 200_000_000


def ticket_for(running: RunningGateway, serial: bytes) -> bytes:
    from datetime import UTC, datetime

    from nym_mixnet.gateway_wire import make_pay_info

    info = make_pay_info(bytes(32), int(time.time()), running.identity)
    return Credential(serial, info, datetime.now(UTC).date(), 1).encode()


async def test_tickets_without_a_verifier_are_refused() -> None:
    async with running_gateway() as running, raw_client(running) as client:
        await client.register()
        assert client.key is not None
        sealed = seal_credential(ticket_for(running, b"1"), client.key, secrets.token_bytes(12))
        assert await client.ask(sealed.encode()) == {"type": "error", "message": NOT_VERIFIED}
        malformed = seal_credential(ticket_for(running, b"1")[:-1], client.key, secrets.token_bytes(12))
        assert (await client.ask(malformed.encode()))["message"] == (
            "Provided binary request was malformed - the received encrypted data was malformed"
        )


async def test_a_verifier_grants_bandwidth_and_remembers_serials_over_restarts(tmp_path: Path) -> None:
    path = tmp_path / "gateway.sqlite"
    keys, key = ClientKeys.generate(SYSTEM_RNG), None
    for life in range(2):
        async with (
            running_gateway(store=GatewayStore(path), verifier=AcceptOnce()) as running,
            raw_client(running, keys, key) as client,
        ):
            await (client.authenticate() if key else client.register())
            key = client.key
            assert key is not None
            fresh = seal_credential(ticket_for(running, b"life %d" % life), key, secrets.token_bytes(12))
            answer = await client.ask(fresh.encode())
            assert answer == {
                "type": "bandwidth",
                "available_total": 200_000_000 * (life + 1),
                "upgrade_mode": False,
            }
            spent = seal_credential(ticket_for(running, b"life 0"), key, secrets.token_bytes(12))
            assert "already been spent" in (await client.ask(spent.encode()))["message"]


async def test_forget_me_and_remember_me() -> None:
    async with running_gateway() as running:
        async with raw_client(running) as client:
            await client.register()
            key = client.key
            assert key is not None
            for request, expected in (
                (RememberMe(SessionType.SOCKS5), RememberMeAck()),
                (ForgetMe(client=False, stats=True), ForgetMeAck()),
                (ForgetMe(client=True, stats=True), ForgetMeAck()),
            ):
                answer = await client.ask(seal_request(request, key, secrets.token_bytes(12)).encode())
                response = parse_response(json.dumps(answer))
                assert open_response(response, key) == expected  # type: ignore[arg-type]
            keys = client.keys
        await until(lambda: not running.gateway.is_active(keys.identity_public), "session ended")
        async with raw_client(running, keys, key) as client:
            text = await refused_twice(client, await client.authenticate())
            assert text == "the client is not registered"
        assert Hop  # the route of the tests above


async def test_too_many_connections_are_turned_away(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("nym_localnet.gateway_io.MAX_CONNECTIONS", 1)
    async with running_gateway() as running, raw_client(running):
        with pytest.raises(aiohttp.ClientError):
            async with raw_client(running):
                pass
