"""One websocket connection at a gateway, from the first byte to the last (docs/protocol/03 §4-§9, §11).

FRESH: only `supportedProtocol`, a registration or an authentication are allowed, and pings are answered
(upstream hangs up on them, which breaks its own clients' latency probe). AUTHENTICATED: packets, control
requests, pushes. Refusals use upstream's texts, and before authentication its habit of saying some of them
twice.
"""

from __future__ import annotations

import asyncio
import logging
import secrets
from typing import TYPE_CHECKING, Final

from aiohttp import WSMsgType, web

from nym_localnet import gateway_rules as rules
from nym_localnet.errors import Refused
from nym_localnet.gateway_client_io import ClientSession
from nym_localnet.tickets import NOT_VERIFIED, TicketContext
from nym_mixnet.errors import HandshakeFailed, MalformedGatewayMessage
from nym_mixnet.gateway_wire import (
    NONCE_BYTES,
    AuthenticateRequest,
    AuthenticateResponse,
    BandwidthResponse,
    ClaimFreeBandwidth,
    EcashCredential,
    EncryptedRequest,
    ErrorResponse,
    ForgetMe,
    ForgetMeAck,
    LegacyAuthenticate,
    LegacyCredential,
    OutOfBandwidthResponse,
    RegisterRequest,
    RegisterResponse,
    RememberMeAck,
    Request,
    Response,
    SendResponse,
    SessionKey,
    SupportedProtocolRequest,
    SupportedProtocolResponse,
    UpgradeModeJwt,
    open_credential,
    open_forward,
    open_request,
    parse_request,
    seal_response,
)
from nym_mixnet.handshake import HANDSHAKE_TIMEOUT_SECONDS, GatewayHandshake, HandshakeState
from nym_sphinx import SYSTEM_RNG

if TYPE_CHECKING:
    from nym_localnet.gateway_io import Gateway

logger = logging.getLogger(__name__)

INITIAL_MESSAGE_SECONDS: Final = 10.0
ENDED: Final = (WSMsgType.CLOSE, WSMsgType.CLOSING, WSMsgType.CLOSED, WSMsgType.ERROR)


class ConnectionOverError(Exception):
    """The connection is over."""


class GatewayConnection:
    """Runs one connection."""

    def __init__(self, gateway: Gateway, socket: web.WebSocketResponse, transport: asyncio.Transport) -> None:
        self._gateway = gateway
        self._socket = socket
        self._transport = transport
        self._session: ClientSession | None = None

    async def run(self) -> None:
        """Until the client leaves or is refused."""
        try:
            session = self._session = await self._until_authenticated()
            self._gateway.counters.sessions += 1
            async with asyncio.TaskGroup() as group:
                writer = group.create_task(session.run_writer(), name="gateway session writer")
                try:
                    await self._serve(session)
                except (ConnectionOverError, ConnectionError):
                    logger.debug("a client has left")
                finally:
                    writer.cancel()
        except (ConnectionOverError, ConnectionError):
            logger.debug("a client has left before it was authenticated")
        except Refused as refused:
            self._gateway.counters.refused_sessions += 1
            logger.debug("connection refused: %s", refused.text)
        finally:
            if self._session is not None:
                await self._gateway.end_session(self._session)

    # Before authentication

    async def _until_authenticated(self) -> ClientSession:
        while True:
            try:
                request = await self._initial_request()
            except Refused as refused:
                await self._send(ErrorResponse(refused.text))
                raise
            if isinstance(request, SupportedProtocolRequest):
                await self._send(SupportedProtocolResponse(rules.CURRENT_PROTOCOL))
                continue
            try:
                if isinstance(request, AuthenticateRequest):
                    return await self._authenticate(request)
                return await self._register(request)
            except Refused as refused:
                for _ in range(2):  # docs/protocol/03 §4 and §5: once by the handler, once by its caller
                    await self._send(ErrorResponse(refused.text))
                raise

    async def _initial_request(self) -> SupportedProtocolRequest | AuthenticateRequest | RegisterRequest:
        try:
            async with asyncio.timeout(INITIAL_MESSAGE_SECONDS):
                kind, data = await self._next()
        except TimeoutError:
            raise Refused(rules.INITIAL_TIMEOUT) from None
        if kind is WSMsgType.BINARY:
            raise Refused(rules.SPHINX_WITHOUT_AUTHENTICATION)
        try:
            request = parse_request(str(data))
        except MalformedGatewayMessage:
            raise Refused(rules.ONLY_REGISTER_OR_AUTHENTICATE) from None
        match request:
            case SupportedProtocolRequest() | AuthenticateRequest() | RegisterRequest():
                return request
            case LegacyAuthenticate():
                raise Refused(rules.LEGACY_AUTHENTICATION)
            case _:
                raise Refused(rules.ONLY_REGISTER_OR_AUTHENTICATE)

    async def _authenticate(self, request: AuthenticateRequest) -> ClientSession:
        gateway, identity = self._gateway, request.client_identity
        version = rules.negotiate(request.protocol_version)
        rules.check_request(request, gateway.clock())
        record = await gateway.store.client(identity)
        stored_key = None if record is None else SessionKey(record.shared_key)
        key = rules.check_record(request, stored_key, None if record is None else record.last_auth_unix)
        await gateway.make_way(identity, request.timestamp)
        session = self._claim(identity, key, float(request.timestamp))
        await gateway.store.set_last_auth(identity, request.timestamp)
        gateway.load_allowance(session, record)
        await self._push_stored(session)
        await self._send(AuthenticateResponse(version, True, session.allowance.available))
        return session

    async def _register(self, request: RegisterRequest) -> ClientSession:
        gateway = self._gateway
        handshake = GatewayHandshake.new(gateway.identity, SYSTEM_RNG)
        if gateway.is_active(request.data[:32]):
            raise Refused(rules.DUPLICATE)
        try:
            await self._socket.send_str(handshake.begin(request))
            while handshake.state is not HandshakeState.DONE:
                reply = await self._handshake_step(handshake)
                if reply is not None:
                    await self._socket.send_str(reply)
        except HandshakeFailed as failed:
            if failed.reply is not None:
                await self._socket.send_str(failed.reply)
            raise Refused(rules.HANDSHAKE_FAILED.format(failed)) from None
        identity, key = handshake.client_identity, handshake.session_key
        if gateway.is_active(identity):
            raise Refused(rules.DUPLICATE)
        session = self._claim(identity, key, gateway.clock())
        await gateway.store.register(identity, key.raw)
        gateway.load_allowance(session, await gateway.store.client(identity))
        await self._push_stored(session)
        await self._send(RegisterResponse(handshake.negotiated_version, True))
        return session

    async def _handshake_step(self, handshake: GatewayHandshake) -> str | None:
        """Feed the next handshake message; frames that are none are skipped while the timer runs."""
        try:
            async with asyncio.timeout(HANDSHAKE_TIMEOUT_SECONDS):
                while True:
                    kind, data = await self._next()
                    if kind is WSMsgType.TEXT:
                        try:
                            return handshake.receive(str(data))
                        except MalformedGatewayMessage:
                            continue
        except TimeoutError:
            raise handshake.timed_out() from None

    def _claim(self, identity: bytes, key: SessionKey, started_unix: float) -> ClientSession:
        """From now on payloads for this client wait in its session, behind those of the offline store."""
        session = self._gateway.new_session(self._socket, self._transport, identity, key, started_unix)
        self._session = session
        return session

    async def _push_stored(self, session: ClientSession) -> None:
        """docs/protocol/03 §7.4: everything stored goes out, in order, before the answer."""
        store = self._gateway.store
        await store.settled()
        while batch := await store.messages(session.identity):
            await session.write_payloads(message.payload for message in batch)
            await store.delete_messages(session.identity, (message.id for message in batch))

    # After authentication

    async def _serve(self, session: ClientSession) -> None:
        while True:
            kind, data = await self._next()
            if kind is WSMsgType.BINARY:
                assert isinstance(data, bytes)
                await self._send(self._forward(session, data))
            else:
                await self._send(await self._control(session, str(data)))

    def _forward(self, session: ClientSession, frame: bytes) -> Response:
        gateway = self._gateway
        try:
            packet = open_forward(frame, session.key)
        except MalformedGatewayMessage as error:
            gateway.counters.refused_packets += 1
            return ErrorResponse(rules.BAD_BINARY.format(error.detail))
        cost = round(len(packet.packet) * gateway.faults.charge_factor)
        if not session.allowance.charge(cost, gateway.clock()):
            gateway.counters.out_of_bandwidth += 1
            return OutOfBandwidthResponse(cost, session.allowance.available)
        session.dirty = True
        gateway.counters.packets_from_clients += 1
        gateway.counters.charged_bytes += cost
        gateway.mix.forward(packet.first_hop, packet.packet, packet.rotation, packet.packet_type)
        return SendResponse(session.allowance.available)

    async def _control(self, session: ClientSession, text: str) -> Response:
        try:
            request = parse_request(text)
        except MalformedGatewayMessage as error:
            return ErrorResponse(rules.BAD_TEXT.format(error.detail))
        try:
            return await self._answer(session, request)
        except Refused as refused:
            return ErrorResponse(refused.text)

    async def _answer(self, session: ClientSession, request: Request) -> Response:
        match request:
            case SupportedProtocolRequest():
                return SupportedProtocolResponse(rules.CURRENT_PROTOCOL)
            case ClaimFreeBandwidth():
                return await self._claim_free(session)
            case EcashCredential():
                return await self._spend(session, request)
            case EncryptedRequest():
                return await self._sensitive(session, request)
            case UpgradeModeJwt():
                raise Refused(rules.NO_UPGRADE_MODE)
            case LegacyCredential():
                raise Refused(rules.ILLEGAL.format(rules.ILLEGAL_COCONUT))
            case LegacyAuthenticate():
                raise Refused(rules.ILLEGAL.format(rules.ILLEGAL_TYPE.format("Authenticate")))
            case RegisterRequest():
                name = "RegisterHandshakeInitRequest"
                raise Refused(rules.ILLEGAL.format(rules.ILLEGAL_TYPE.format(name)))
            case AuthenticateRequest():
                raise Refused(rules.UNKNOWN_TEXT)

    async def _claim_free(self, session: ClientSession) -> Response:
        settings = self._gateway.settings
        if session.identity in settings.unmetered:
            return BandwidthResponse(session.allowance.available)
        if settings.enforce_tickets:
            raise Refused(rules.ONLY_TICKETS)
        session.allowance.claim_free(settings.free_allowance_bytes, self._gateway.clock())
        await self._gateway.save_allowance(session)
        return BandwidthResponse(session.allowance.available)

    async def _spend(self, session: ClientSession, request: EcashCredential) -> Response:
        gateway = self._gateway
        try:
            credential = open_credential(request, session.key)
        except MalformedGatewayMessage as error:
            raise Refused(rules.BAD_BINARY.format(error.detail)) from None
        if not rules.has_credential_length(credential):
            raise Refused(rules.BAD_BINARY.format(rules.BAD_SEALED))
        now = gateway.clock()
        context = TicketContext(gateway.identity.public, now, gateway.store.spend_ticket, session.identity)
        try:
            if gateway.faults.refuse_tickets:
                raise Refused(NOT_VERIFIED)
            granted = await gateway.verifier.verify(credential, context)
        except Refused:
            gateway.counters.tickets_refused += 1
            raise
        gateway.counters.tickets += 1
        gateway.counters.granted_bytes += granted
        session.allowance.add_ticket(granted, gateway.clock())
        await gateway.save_allowance(session)
        if gateway.faults.lose_ticket_answers:
            session.abort()
            raise ConnectionOverError
        return BandwidthResponse(session.allowance.available)

    async def _sensitive(self, session: ClientSession, request: EncryptedRequest) -> Response:
        try:
            inner = open_request(request, session.key)
        except MalformedGatewayMessage:
            raise Refused(rules.UNDECRYPTABLE_TEXT) from None
        answer: ForgetMeAck | RememberMeAck = RememberMeAck()
        if isinstance(inner, ForgetMe):
            answer = ForgetMeAck()
            if inner.client:
                await self._gateway.store.forget(session.identity)
        return seal_response(answer, session.key, secrets.token_bytes(NONCE_BYTES))

    # Both

    async def _next(self) -> tuple[WSMsgType, str | bytes]:
        """The next text or binary message; pings are answered and pongs noted on the way."""
        while True:
            message = await self._socket.receive()
            await self._gateway.running.wait()
            match message.type:
                case WSMsgType.BINARY | WSMsgType.TEXT:
                    return message.type, message.data
                case WSMsgType.PING:
                    await self._socket.pong(message.data)
                case WSMsgType.PONG:
                    if self._session is not None:
                        self._session.pong(bytes(message.data))
                case _ if message.type in ENDED:
                    raise ConnectionOverError

    async def _send(self, response: Response) -> None:
        await self._socket.send_str(response.encode())
