"""What tests of a gateway do again and again."""

from __future__ import annotations

import asyncio
import secrets
import time
from typing import Any

from nym_mixnet.gateway_wire import (
    AuthenticateRequest,
    SessionKey,
)
from nym_mixnet.keys import ClientKeys
from nym_sphinx import Frame, KeyRotation, PacketSize, PacketType, SurbAck, prepare_packet
from tests.localnet.harness import Sink, loopback, until
from tests.localnet.raw_client import RawClient, RunningGateway, raw_client

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
    """Let a data packet whose last hop is the gateway arrive there."""
    packet = prepare_packet([running.hop], [0], identity).seal(ack.encode() + payload, PacketSize.REGULAR)
    running.gateway.mix.receive(
        frame_of(packet, PacketSize.REGULAR, rotation), asyncio.get_running_loop().time()
    )


def frame_of(packet: bytes, size: PacketSize, rotation: KeyRotation) -> Any:
    return Frame(packet, size, rotation, 8, PacketType.MIX)


def payload(tag: int) -> bytes:
    return bytes([tag]) * MESSAGE_BYTES


async def registered(
    running: RunningGateway, keys: ClientKeys | None = None
) -> tuple[ClientKeys, SessionKey]:
    async with raw_client(running, keys) as client:
        assert (await client.register())["status"] is True
        assert client.key is not None
        result = client.keys, client.key
    await until(lambda: not running.gateway.is_active(result[0].identity_public), "session ended")
    return result


async def refused_twice(client: RawClient, first: Any) -> str:
    assert first["type"] == "error"
    assert await client.hear() == first
    assert await client.hear() is None
    return str(first["message"])


def authenticate_text(keys: ClientKeys, key: SessionKey) -> str:
    return AuthenticateRequest.create(
        keys, key, protocol_version=6, nonce=bytes(12), timestamp=int(time.time())
    ).encode()
