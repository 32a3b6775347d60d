"""A gateway forwards, meters and pushes packets (docs/protocol/03 §7, §8)."""

from __future__ import annotations

import asyncio
import time
from pathlib import Path

import pytest

from nym_localnet.gateway_io import GatewaySettings
from nym_localnet.gateway_rules import FREE_ALLOWANCE_BYTES, midnight
from nym_localnet.gateway_store_io import GatewayStore
from nym_sphinx import KeyRotation, PacketSize, prepare_packet
from tests.localnet.gateway_users import (
    ack_to,
    authenticate_text,
    deliver,
    frame_of,
    payload,
)
from tests.localnet.harness import make_packet, node, sink, until
from tests.localnet.raw_client import raw_client, running_gateway, start_gateway


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
        answer = await client.ask(authenticate_text(client.keys, client.key))
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
        frame = frame_of(own_ack, PacketSize.ACK, KeyRotation.ODD)
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
            frame_of(packet.seal(bytes(404), PacketSize.REGULAR), PacketSize.REGULAR, KeyRotation.ODD), 0.0
        )
        assert running.gateway.mix.counters.dropped_malformed == 1


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
