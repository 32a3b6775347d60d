"""A small gateway on a real websocket, whose bad manners can be switched on one by one."""

from __future__ import annotations

import asyncio
import random
import ssl
from collections.abc import Awaitable, Callable
from types import TracebackType
from typing import Self

from aiohttp import WSMsgType, web

from nym_mixnet.gateway_wire import (
    FREE_ALLOWANCE_BYTES,
    NONCE_BYTES,
    TEXT_NOT_REGISTERED,
    AuthenticateRequest,
    AuthenticateResponse,
    BandwidthResponse,
    ClaimFreeBandwidth,
    Credential,
    EcashCredential,
    ErrorResponse,
    OutOfBandwidthResponse,
    RegisterRequest,
    RegisterResponse,
    SendResponse,
    SessionKey,
    SupportedProtocolRequest,
    SupportedProtocolResponse,
    open_credential,
    open_forward,
    parse_request,
    seal_pushed,
)
from nym_mixnet.handshake import GatewayHandshake
from nym_mixnet.keys import SigningKey
from nym_mixnet.topology import EntryDetails, NodeRoles, RoutingNode
from nym_sphinx.addressing import NodeAddress
from nym_sphinx.mix_packet import MixPacket

TicketAnswer = BandwidthResponse | ErrorResponse | None
TICKET_BYTES = 200_000_000


class MiniGateway:
    """One gateway on 127.0.0.1. Attributes may be changed while it runs."""

    def __init__(self, seed: int = 7) -> None:
        self.rng = random.Random(seed)
        self.identity = SigningKey(self.rng.randbytes(32))
        self.version = 6
        self.answer_version = True
        self.answer_claims = True
        self.allowance = 0
        self.metering = True
        self.free = True
        self.keys: dict[bytes, SessionKey] = {}
        self.timestamps: dict[bytes, list[int]] = {}
        self.packets: list[MixPacket] = []
        self.tickets: list[Credential] = []
        self.ticket_answer: Callable[[Credential], TicketAnswer] = self._accept_ticket
        self.refuse_authentication: list[str] = []
        self.push_before_answer: list[bytes] = []
        self.on_claim: Callable[[web.WebSocketResponse], Awaitable[None]] | None = None
        self.sockets: list[web.WebSocketResponse] = []
        self.registrations = 0
        self.authentications = 0
        self.connections = 0
        self.refuse_connections = False
        self.port = 0
        self.tls: ssl.SSLContext | None = None
        self._runner: web.AppRunner | None = None
        self.transports: list[asyncio.Transport] = []

    async def __aenter__(self) -> Self:
        await self.start()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.stop()

    async def start(self) -> None:
        app = web.Application()
        app.router.add_get("/", self._handle)
        self._runner = web.AppRunner(app, shutdown_timeout=0.1, handler_cancellation=True)
        await self._runner.setup()
        site = web.TCPSite(self._runner, "127.0.0.1", self.port, ssl_context=self.tls)
        await site.start()
        self.port = self._runner.addresses[0][1]

    async def stop(self) -> None:
        self.cut()
        if self._runner is not None:
            await self._runner.cleanup()
            self._runner = None

    def cut(self) -> None:
        """Break all connections without a word."""
        for transport in self.transports:
            transport.abort()
        self.transports.clear()
        self.sockets.clear()

    def pause_reading(self) -> None:
        """Hang: nothing is read any more, nothing is answered."""
        for transport in self.transports:
            transport.pause_reading()

    def node(self) -> RoutingNode:
        return RoutingNode(
            node_id=1,
            mix_host=NodeAddress.parse("127.0.0.1:1"),
            identity=self.identity.public,
            sphinx_key=bytes(32),
            roles=NodeRoles(mixnet_entry=True),
            entry=EntryDetails(("127.0.0.1",), self.port),
        )

    async def push(self, payload: bytes, socket: int = -1) -> None:
        """Deliver a payload to the client that connected last."""
        (key,) = self.keys.values()
        await self.sockets[socket].send_bytes(seal_pushed(payload, key, self.rng.randbytes(NONCE_BYTES)))

    def _accept_ticket(self, ticket: Credential) -> TicketAnswer:
        self.allowance += TICKET_BYTES
        return BandwidthResponse(self.allowance)

    async def _handle(self, request: web.Request) -> web.StreamResponse:
        if self.refuse_connections:
            return web.Response(status=503)
        self.connections += 1
        socket = web.WebSocketResponse(compress=False, autoping=True)
        await socket.prepare(request)
        transport = request.transport
        assert transport is not None
        self.transports.append(transport)
        self.sockets.append(socket)
        client = b""
        async for message in socket:
            if message.type is WSMsgType.BINARY:
                await self._forward(socket, client, message.data)
            elif message.type is WSMsgType.TEXT:
                client = await self._text(socket, client, message.data) or client
        return socket

    async def _forward(self, socket: web.WebSocketResponse, client: bytes, frame: bytes) -> None:
        packet = open_forward(frame, self.keys[client])
        cost = len(packet.packet)
        if self.metering and self.allowance < cost:
            await socket.send_str(OutOfBandwidthResponse(cost, self.allowance).encode())
            return
        self.allowance -= cost
        self.packets.append(packet)
        await socket.send_str(SendResponse(self.allowance).encode())

    async def _text(self, socket: web.WebSocketResponse, client: bytes, text: str) -> bytes | None:
        request = parse_request(text)
        match request:
            case SupportedProtocolRequest():
                if self.answer_version:
                    await socket.send_str(SupportedProtocolResponse(self.version).encode())
            case RegisterRequest():
                return await self._register(socket, request)
            case AuthenticateRequest():
                return await self._authenticate(socket, request)
            case ClaimFreeBandwidth():
                if self.on_claim is not None:
                    await self.on_claim(socket)
                elif not self.answer_claims:
                    pass
                elif self.free:
                    self.allowance += FREE_ALLOWANCE_BYTES
                    await socket.send_str(BandwidthResponse(self.allowance).encode())
                else:
                    text = "This gateway is only accepting coconut credentials for bandwidth"
                    await socket.send_str(ErrorResponse(text).encode())
            case EcashCredential():
                ticket = Credential.decode(open_credential(request, self.keys[client]))
                self.tickets.append(ticket)
                if self.on_claim is not None:
                    await self.on_claim(socket)
                else:
                    answer = self.ticket_answer(ticket)
                    if answer is not None:
                        await socket.send_str(answer.encode())
        return None

    async def _register(self, socket: web.WebSocketResponse, request: RegisterRequest) -> bytes:
        handshake = GatewayHandshake.new(self.identity, self.rng)
        await socket.send_str(handshake.begin(request))
        await socket.send_str(handshake.receive(await socket.receive_str()))
        client = handshake.client_identity
        self.keys[client] = handshake.session_key
        self.registrations += 1
        await self._push_stored(socket, client)
        await socket.send_str(RegisterResponse(handshake.negotiated_version, status=True).encode())
        return client

    async def _authenticate(
        self, socket: web.WebSocketResponse, request: AuthenticateRequest
    ) -> bytes | None:
        assert request.signature_is_valid()
        client = request.client_identity
        self.timestamps.setdefault(client, []).append(request.timestamp)
        key = self.keys.get(client)
        refusal = self.refuse_authentication.pop(0) if self.refuse_authentication else None
        if key is None or not request.proves(key):
            refusal = TEXT_NOT_REGISTERED
        if refusal is not None:
            for _ in range(2):  # real gateways repeat themselves before they hang up
                await socket.send_str(ErrorResponse(refusal).encode())
            await socket.close()
            return None
        self.authentications += 1
        await self._push_stored(socket, client)
        answer = AuthenticateResponse(request.protocol_version, True, self.allowance)
        await socket.send_str(answer.encode())
        return client

    async def _push_stored(self, socket: web.WebSocketResponse, client: bytes) -> None:
        for payload in self.push_before_answer:
            frame = seal_pushed(payload, self.keys[client], self.rng.randbytes(NONCE_BYTES))
            await socket.send_bytes(frame)
