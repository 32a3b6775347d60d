"""A client of a gateway written down to the frames: it says exactly what a test wants to be said."""

from __future__ import annotations

import asyncio
import json
import random
import secrets
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import aiohttp

from nym_localnet.counters import Faults
from nym_localnet.gateway_io import Gateway, GatewaySettings
from nym_localnet.gateway_store_io import GatewayStore
from nym_localnet.mix_io import MixNode
from nym_localnet.sphinx_keys import KeyRing, identity_private
from nym_localnet.tickets import TicketVerifier
from nym_mixnet.gateway_wire import (
    CURRENT_PROTOCOL,
    AuthenticateRequest,
    SessionKey,
    open_pushed,
    seal_forward,
)
from nym_mixnet.handshake import ClientHandshake, HandshakeState
from nym_mixnet.keys import ClientKeys, SigningKey
from nym_mixnet.tasks_io import TaskSet
from nym_sphinx import SYSTEM_RNG, Hop, KeyRotation, MixPacket
from tests.localnet.harness import LOOPBACK, ROTATION, loopback

SECONDS = 10


@dataclass
class RunningGateway:
    """A gateway under test; `restart` brings it back on the same ports with the same store."""

    gateway: Gateway
    mix_port: int
    ws_port: int

    @property
    def url(self) -> str:
        return f"ws://{LOOPBACK}:{self.ws_port}/"

    @property
    def identity(self) -> bytes:
        return self.gateway.identity.public

    @property
    def hop(self) -> Hop:
        return Hop(loopback(self.mix_port), self.gateway.mix.keys.primary.public)


async def start_gateway(
    tasks: TaskSet,
    store: GatewayStore,
    *,
    ports: tuple[int, int] = (0, 0),
    seed: int = 9,
    settings: GatewaySettings | None = None,
    verifier: TicketVerifier | None = None,
    clock: Any = time.time,
) -> RunningGateway:
    keys = KeyRing(bytes([seed]) * 32, ROTATION)
    mix = MixNode(keys, tasks, faults=Faults(), rng=random.Random(seed))
    identity = SigningKey(identity_private(bytes([seed]) * 32))
    gateway = Gateway(identity, mix, store, settings=settings, verifier=verifier, clock=clock)
    return RunningGateway(gateway, *await gateway.start(LOOPBACK, *ports))


@asynccontextmanager
async def running_gateway(**options: Any) -> AsyncIterator[RunningGateway]:
    async with TaskSet("test gateway") as tasks:
        running = await start_gateway(tasks, options.pop("store", None) or GatewayStore(), **options)
        try:
            yield running
        finally:
            await running.gateway.close()


@dataclass
class RawClient:
    """One websocket connection with the keys of one client."""

    running: RunningGateway
    keys: ClientKeys
    socket: aiohttp.ClientWebSocketResponse
    key: SessionKey | None = None
    pushed: list[bytes] = field(default_factory=list)

    async def say(self, text: str | dict[str, Any]) -> None:
        await self.socket.send_str(text if isinstance(text, str) else json.dumps(text))

    async def hear(self) -> Any:
        """The next text as JSON; pushes on the way are opened and kept. None when the gateway hung up."""
        async with asyncio.timeout(SECONDS):
            while True:
                message = await self.socket.receive()
                if message.type is aiohttp.WSMsgType.BINARY:
                    assert self.key is not None
                    self.pushed.append(open_pushed(message.data, self.key))
                elif message.type is aiohttp.WSMsgType.TEXT:
                    return json.loads(message.data)
                else:
                    return None

    async def hear_push(self) -> bytes:
        """The next pushed payload."""
        if not self.pushed:
            async with asyncio.timeout(SECONDS):
                message = await self.socket.receive()
            assert message.type is aiohttp.WSMsgType.BINARY, message
            assert self.key is not None
            return open_pushed(message.data, self.key)
        return self.pushed.pop(0)

    async def ask(self, request: str | dict[str, Any]) -> Any:
        await self.say(request)
        return await self.hear()

    async def register(self, version: int = CURRENT_PROTOCOL) -> Any:
        handshake = ClientHandshake.new(self.keys.signing_key, self.running.identity, version, SYSTEM_RNG)
        await self.say(handshake.start())
        while handshake.state is not HandshakeState.DONE:
            async with asyncio.timeout(SECONDS):
                text = await self.socket.receive_str()
            if json.loads(text)["type"] == "error":
                return json.loads(text)
            for reply in handshake.receive(text):
                await self.say(reply)
        self.key = handshake.session_key
        return await self.hear()

    async def authenticate(
        self, timestamp: int | None = None, *, key: SessionKey | None = None, version: int = CURRENT_PROTOCOL
    ) -> Any:
        key = key or self.key
        assert key is not None
        request = AuthenticateRequest.create(
            self.keys,
            key,
            protocol_version=version,
            nonce=secrets.token_bytes(12),
            timestamp=int(time.time()) if timestamp is None else timestamp,
        )
        self.key = key
        return await self.ask(request.encode())

    async def forward(
        self,
        packet: bytes,
        hop: Hop,
        rotation: KeyRotation = KeyRotation.ODD,
        version: int = CURRENT_PROTOCOL,
    ) -> Any:
        assert self.key is not None
        mix = MixPacket(hop.address, packet, rotation)
        await self.socket.send_bytes(
            seal_forward(mix, self.key, secrets.token_bytes(12), protocol_version=version)
        )
        return await self.hear()


@asynccontextmanager
async def raw_client(
    running: RunningGateway, keys: ClientKeys | None = None, key: SessionKey | None = None, **options: Any
) -> AsyncIterator[RawClient]:
    async with (
        aiohttp.ClientSession() as session,
        session.ws_connect(running.url, **options) as socket,
    ):
        yield RawClient(running, keys or ClientKeys.generate(SYSTEM_RNG), socket, key)
