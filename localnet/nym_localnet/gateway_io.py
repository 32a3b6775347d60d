"""A gateway: a mix node that is the last hop of its clients, and the websocket server that they connect to.

docs/protocol/03. A payload for a connected client is pushed; for an absent one it is stored; either way its
SURB-ack is released only then (docs/protocol/02 §7). A registered client keeps its key, its allowance and its
waiting payloads over a restart.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import socket
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final, cast

from aiohttp import web

from nym_localnet import gateway_rules as rules
from nym_localnet.counters import Faults, GatewayCounters
from nym_localnet.errors import Refused
from nym_localnet.gateway_client_io import ClientSession, Push
from nym_localnet.gateway_connection_io import GatewayConnection
from nym_localnet.gateway_store_io import RETENTION_SECONDS, ClientRecord, GatewayStore
from nym_localnet.mix_io import MixNode
from nym_localnet.tickets import RefuseAllTickets, TicketVerifier
from nym_mixnet.gateway_wire import SessionKey
from nym_mixnet.keys import SigningKey
from nym_mixnet.tasks_io import TaskSet
from nym_sphinx import FinalHop, Frame, MalformedAck, PacketSize, split_surb_ack

logger = logging.getLogger(__name__)

MAX_CONNECTIONS: Final = 8192
MAX_MESSAGE_BYTES: Final = 1024 * 1024
"""per websocket message; real ones stay below 34 KiB"""
SAVE_INTERVAL_SECONDS: Final = 1.0
PURGE_INTERVAL_SECONDS: Final = 3600.0
SHUTDOWN_SECONDS: Final = 2.0
UNMETERED_BYTES: Final = 1 << 60
UNMETERED_UNIX: Final = 1 << 40


@dataclass(frozen=True, slots=True)
class GatewaySettings:
    """What may differ from gateway to gateway."""

    enforce_tickets: bool = False
    """refuse free allowances"""
    free_allowance_bytes: int = rules.FREE_ALLOWANCE_BYTES
    unmetered: frozenset[bytes] = frozenset()
    """identities of clients that pay nothing: the exits that live at this gateway, as upstream's do inside
    it
    """


class Gateway:
    """One gateway. It owns `mix` (given, not started) and `store` (given, not open)."""

    def __init__(
        self,
        identity: SigningKey,
        mix: MixNode,
        store: GatewayStore,
        *,
        settings: GatewaySettings | None = None,
        verifier: TicketVerifier | None = None,
        counters: GatewayCounters | None = None,
        faults: Faults | None = None,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self.identity = identity
        self.mix = mix
        self.store = store
        self.settings = settings or GatewaySettings()
        self.verifier = verifier or RefuseAllTickets()
        self.counters = counters or GatewayCounters()
        self.faults = faults or Faults()
        self._clock = clock
        self.running = asyncio.Event()
        """cleared while the gateway is told to stall"""
        self.running.set()
        self._sessions: dict[bytes, ClientSession] = {}
        self._connections = 0
        self._server: web.Server | None = None
        self._listener: asyncio.Server | None = None
        self._tasks = TaskSet("gateway")
        mix.on_final = self._final

    def clock(self) -> float:
        """Unix time as this gateway sees it."""
        return self._clock() + self.faults.clock_offset_seconds

    async def start(self, host: str, mix_port: int, websocket_port: int) -> tuple[int, int]:
        """Listen; returns the mix port and the websocket port (the system chooses where 0 was given)."""
        await self.store.open()
        self._server = web.Server(self._handle, access_log=None)
        self._listener = await asyncio.get_running_loop().create_server(self._server, host, websocket_port)
        bound: int = self._listener.sockets[0].getsockname()[1]
        self._tasks.spawn(self._save_allowances(), name="save allowances")
        self._tasks.spawn(self._purge(), name="purge old payloads")
        return await self.mix.start(host, mix_port), bound

    async def close(self) -> None:
        """Stop listening and cut all connections; what clients did not get goes to the store."""
        self.running.set()
        if self._listener is not None:
            self._listener.close()
        await self.mix.close()
        for session in list(self._sessions.values()):
            session.abort()
        if self._server is not None:
            await self._server.shutdown(SHUTDOWN_SECONDS)
        for session in list(self._sessions.values()):
            await self.end_session(session)
        if self._listener is not None:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(SHUTDOWN_SECONDS):
                    await self._listener.wait_closed()
        await self._tasks.close()
        await self.store.close()

    def set_stall(self, stalled: bool) -> None:
        """Stop or resume everything that is heard or said; all connections stay open."""
        self.mix.set_stall(stalled)
        if stalled:
            self.running.clear()
        else:
            self.running.set()

    # Packets whose last hop this is

    def _final(self, final: FinalHop, frame: Frame) -> None:
        ack, payload = None, final.plaintext
        if frame.size is not PacketSize.ACK:
            try:
                ack, payload = split_surb_ack(final.plaintext)
            except MalformedAck:
                self.mix.counters.dropped_malformed += 1
                return
        push = Push(payload, ack, frame.rotation)
        session = self._sessions.get(final.destination)
        if session is None:
            self._keep(final.destination, push)
        elif not session.push(push):
            self.counters.stored_refused += 1

    def _keep(self, destination: bytes, push: Push) -> None:
        """Store a payload for a client that is not connected."""
        if not self.store.knows(destination):
            self.counters.unknown_clients += 1
            return

        def stored() -> None:
            self.counters.stored += 1
            self._release_ack(push)

        if not self.store.put_message(destination, push.payload, stored):
            self.counters.stored_refused += 1

    def _release_ack(self, push: Push) -> None:
        if push.ack is not None:
            self.counters.acks_released += 1
            self.mix.forward(push.ack.first_hop, push.ack.packet, push.rotation)

    # Sessions

    def is_active(self, identity: bytes) -> bool:
        """True while that client has a live connection."""
        return identity in self._sessions

    async def make_way(self, identity: bytes, timestamp_unix: float) -> None:
        """The one-session rule for `authenticateV2` (docs/protocol/03 §7.3)."""
        old = self._sessions.get(identity)
        if old is None:
            return
        if timestamp_unix <= old.started_unix:
            raise Refused(rules.STALE_SESSION)
        if await old.probe() and self._sessions.get(identity) is old:
            raise Refused(rules.DUPLICATE)
        if self._sessions.get(identity) is old:
            old.abort()
            await self.end_session(old)
        if identity in self._sessions:  # somebody else was faster
            raise Refused(rules.DUPLICATE)

    def new_session(
        self,
        websocket: web.WebSocketResponse,
        transport: asyncio.Transport,
        identity: bytes,
        key: SessionKey,
        started_unix: float,
    ) -> ClientSession:
        """Take a client's place; the caller has made sure that it is free."""
        session = ClientSession(
            websocket,
            transport,
            identity=identity,
            key=key,
            started_unix=started_unix,
            counters=self.counters,
            running=self.running,
            written=self._release_ack,
        )
        self._sessions[identity] = session
        return session

    async def end_session(self, session: ClientSession) -> None:
        """Free the client's place; safe to call twice."""
        if self._sessions.get(session.identity) is session:
            del self._sessions[session.identity]
        for push in session.take_unwritten():
            self.counters.returned_to_store += 1
            self._keep(session.identity, push)
        if session.dirty:
            await self.save_allowance(session)

    def load_allowance(self, session: ClientSession, record: ClientRecord | None) -> None:
        """Begin to meter a session with what the store knows."""
        if session.identity in self.settings.unmetered:
            session.allowance = rules.Allowance(UNMETERED_BYTES, UNMETERED_UNIX)
        elif record is not None:
            session.allowance = rules.Allowance(record.available_bytes, record.expires_unix)
            session.allowance.expire(self.clock())

    async def save_allowance(self, session: ClientSession) -> None:
        """Write a client's allowance to the store."""
        session.dirty = False
        allowance = session.allowance
        await self.store.set_allowance(session.identity, allowance.net, allowance.expires_unix)

    async def revoke(self, identity: bytes, amount: int) -> None:
        """Take back bytes from a client whose ticket the signers rejected; it may be absent."""
        self.counters.revoked_bytes += amount
        session = self._sessions.get(identity)
        if session is not None:
            session.allowance.revoke(amount)
            await self.save_allowance(session)
            return
        record = await self.store.client(identity)
        if record is not None:
            await self.store.set_allowance(identity, record.available_bytes - amount, record.expires_unix)

    async def _save_allowances(self) -> None:
        while True:
            await asyncio.sleep(SAVE_INTERVAL_SECONDS)
            for session in [session for session in self._sessions.values() if session.dirty]:
                await self.save_allowance(session)

    async def _purge(self) -> None:
        while True:
            await self.store.purge(self.clock() - RETENTION_SECONDS)
            await asyncio.sleep(PURGE_INTERVAL_SECONDS)

    # Connections

    async def _handle(self, request: web.BaseRequest) -> web.StreamResponse:
        transport = cast("asyncio.Transport", request.transport)
        if self._connections >= MAX_CONNECTIONS or transport is None:
            if transport is not None:
                transport.abort()
            raise web.HTTPServiceUnavailable
        await self.running.wait()
        websocket = web.WebSocketResponse(autoping=False, compress=False, max_msg_size=MAX_MESSAGE_BYTES)
        if not websocket.can_prepare(request).ok:
            raise web.HTTPUpgradeRequired(text="a gateway speaks websocket\n")
        await websocket.prepare(request)
        _no_delay(transport)
        self._connections += 1
        try:
            await GatewayConnection(self, websocket, transport).run()
        finally:
            self._connections -= 1
            transport.close()  # without a close frame, as upstream: written errors still get out
        return websocket


def _no_delay(transport: asyncio.Transport) -> None:
    raw = transport.get_extra_info("socket")
    if raw is not None:
        raw.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
