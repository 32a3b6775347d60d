"""The link to the entry gateway: one websocket session, kept alive for ever (docs/protocol/03 §1, §10).

`GatewayLink.run` connects, registers or authenticates, reads, and when the connection breaks does it again,
with back-off and without limit. Nothing that the network or the gateway does ends it; what is wrong at the
moment is in `stats`. The protocol itself is in `gateway_session`, payments are in `claims_io`.
"""

from __future__ import annotations

import asyncio
import logging
import random
import time
from collections.abc import Callable, Sequence

import aiohttp

from nym_mixnet.allowance import Allowance
from nym_mixnet.claims_io import BandwidthClaims
from nym_mixnet.errors import (
    DuplicateSession,
    GatewayError,
    GatewayProtocolError,
    GatewayUnreachable,
    IncompatibleVersion,
    LinkDown,
    MixnetError,
    NotRegistered,
    OutOfBandwidth,
    StoreError,
    printable,
)
from nym_mixnet.gateway_events import (
    AuthenticationStarted,
    BandwidthChanged,
    ClaimAnswered,
    Closed,
    Event,
    Garbage,
    OutOfBandwidthEvent,
    PushedAck,
    PushedMessage,
    Ready,
    Refused,
    Registered,
)
from nym_mixnet.gateway_session import GatewaySession
from nym_mixnet.gateway_socket_io import GatewaySocket, open_socket
from nym_mixnet.gateway_wire import SessionKey
from nym_mixnet.keys import ClientKeys
from nym_mixnet.link_state import LinkOptions, LinkState, LinkStats
from nym_mixnet.store_io import ClientStore, GatewayRegistration, MemoryStore
from nym_mixnet.tasks_io import TaskSet
from nym_mixnet.tickets import TicketSource
from nym_mixnet.topology import RoutingNode
from nym_sphinx.mix_packet import MixPacket
from nym_sphinx.rng import SYSTEM_RNG

__all__ = ["GatewayLink", "LinkOptions", "LinkState", "LinkStats"]

_LOG = logging.getLogger(__name__)

_EARLY_DROPS = 2
"""After so many connections that were taken and dropped before the session stood, the next address is tried. One may
be a gateway that restarts; more are a terminator without its gateway, or somebody else's websocket."""


class GatewayLink:
    """Our session with one gateway. `on_frame` gets each pushed payload (message or ack) as it arrives."""

    def __init__(
        self,
        *,
        keys: ClientKeys,
        gateway: RoutingNode,
        store: ClientStore | MemoryStore,
        tickets: TicketSource | None,
        on_frame: Callable[[bytes], None],
        on_state: Callable[[LinkState], None] | None = None,
        options: LinkOptions | None = None,
        rng: random.Random = SYSTEM_RNG,
        clock: Callable[[], float] = time.monotonic,
        unix_time: Callable[[], float] = time.time,
    ) -> None:
        self.stats = LinkStats()
        self._keys = keys
        self._gateway = gateway
        self._store = store
        self._on_frame = on_frame
        self._on_state = on_state
        self._options = options or LinkOptions()
        self._rng = rng
        self._clock = clock
        self._unix_time = unix_time
        self._allowance = Allowance(self._options.claim_threshold_bytes)
        self._claims = BandwidthClaims(
            tickets=tickets,
            gateway_identity=gateway.identity,
            allowance=self._allowance,
            stats=self.stats,
            options=self._options,
            rng=rng,
            on_change=self._allowance_changed,
        )
        self._state = LinkState.CONNECTING
        self._changed = asyncio.Event()
        self._stop = asyncio.Event()
        self._stopped = asyncio.Event()
        self._running = False
        self._socket: GatewaySocket | None = None
        self._session: GatewaySession | None = None
        self._ready_since: float | None = None
        self._cause: GatewayError | None = None
        self._last_failure = ""
        self._failures_in_row = 0
        self._url_shift = 0
        self._dropped_early = 0
        self._saved_allowance: int | None = None

    # ---- what the owner uses -----------------------------------------------------------------------------

    @property
    def state(self) -> LinkState:
        return self._state

    @property
    def ready(self) -> bool:
        """True if packets can be sent now."""
        return self._state is LinkState.READY

    @property
    def gateway(self) -> RoutingNode:
        return self._gateway

    def retry_claim(self) -> None:
        """Tickets have come: a claim that failed for want of one is made again at once."""
        self._claims.retry()

    def update_gateway(self, gateway: RoutingNode) -> None:
        """The same gateway with fresher addresses, for the next connection."""
        if gateway.identity != self._gateway.identity:
            raise ValueError("a link stays with its gateway")
        self._gateway = gateway

    async def wait_ready(self) -> None:
        """Return once packets can be sent; `LinkDown` if the link is closed."""
        while not self.ready:
            if self._state is LinkState.CLOSED:
                raise LinkDown("the gateway link is closed")
            await self._changed.wait()

    async def send(self, packets: Sequence[MixPacket]) -> None:
        """Hand packets to the gateway; waits while the socket's buffer is full.

        Raises `LinkDown` (or its kind `OutOfBandwidth`): packets that were not written are lost then, and
        so may be the ones written last.
        """
        session, socket = self._session, self._socket
        if self._state is not LinkState.READY or session is None or socket is None:
            if self._state is LinkState.OUT_OF_BANDWIDTH:
                raise OutOfBandwidth("the allowance at the gateway is used up")
            raise LinkDown("there is no connection to the gateway at the moment")
        stats = self.stats
        try:
            for packet in packets:
                frame = session.seal(packet)
                await socket.send_bytes(frame)
                stats.packets_sent += 1
                stats.bytes_charged += len(packet.packet)
            self._allowance.unanswered_packets = session.unanswered_packets
            self._claims.check()
        except (aiohttp.ClientError, OSError) as error:
            raise LinkDown("the connection to the gateway broke") from error

    def hold_reading(self) -> None:
        """Leave what the gateway sends in the system's buffer until `resume_reading`, which must not be long."""
        if self._socket is not None and self.ready and not self._stop.is_set():
            self._socket.hold_reading()

    def resume_reading(self) -> None:
        """Read again what the gateway sends."""
        if self._socket is not None and not self._socket.broken:
            self._socket.resume_reading()

    async def close(self) -> None:
        """End the session in good order and make `run` return."""
        self._stop.set()
        if self._running:
            await self._stopped.wait()
        else:
            self._enter(LinkState.CLOSED)

    async def run(self) -> None:
        """Keep the session alive until cancelled or closed; a closed link does not run again."""
        if self._running:
            raise LinkDown("this gateway link is running already")
        if self._stop.is_set():
            return
        self._running = True
        tasks = TaskSet("gateway link")
        try:
            keep = tasks.spawn(self._keep_alive(), name="keep alive")
            stop = tasks.spawn(self._stop.wait(), name="stop")
            await asyncio.wait((keep, stop), return_when=asyncio.FIRST_COMPLETED)
            if keep.done():
                keep.result()  # it never returns: this raises what ended it
        finally:
            self._stop.set()
            self.resume_reading()  # who held it is ending as well
            try:
                await self._claims.last_answer()
                await tasks.close()
                await self._claims.finish()
            finally:
                self._running = False
                self._enter(LinkState.CLOSED)
                self._stopped.set()

    # ---- one session after another -----------------------------------------------------------------------

    async def _keep_alive(self) -> None:
        while True:
            self._ready_since = None
            self._cause = None
            try:
                await self._one_session()
                raise AssertionError("a session only ends with an error")
            except MixnetError as error:
                pause = await self._after(error)
            except Exception as error:
                _LOG.exception("the gateway link failed")
                pause = await self._after(GatewayError(f"internal error ({type(error).__name__})"))
            await asyncio.sleep(pause)
            self.stats.reconnects += 1

    async def _after(self, error: MixnetError) -> float:
        """Note why a session ended or could not be had; returns how long to wait."""
        options, stats = self._options, self.stats
        if self._ready_since is not None and self._clock() - self._ready_since >= options.settled_seconds:
            self._failures_in_row = 0
        earlier = self._failures_in_row
        self._failures_in_row += 1
        kind = type(error).__name__
        again = kind == self._last_failure
        self._last_failure = kind
        stats.failures[kind] = stats.failures.get(kind, 0) + 1
        stats.last_error = str(error)
        _LOG.log(logging.DEBUG if earlier else logging.WARNING, "gateway link: %s", error)
        longest = min(options.backoff_limit_seconds, options.backoff_first_seconds * 2.0 ** min(earlier, 30))
        pause = self._rng.uniform(0, longest)
        if isinstance(error, NotRegistered):
            await self._forget_registration()
            return pause if again else 0.0
        if isinstance(error, IncompatibleVersion):
            return self._rng.uniform(0.5, 1.0) * options.backoff_limit_seconds
        if isinstance(error, DuplicateSession):
            return max(pause, options.duplicate_wait_seconds)
        if self._ready_since is None and (
            isinstance(error, GatewayProtocolError) or self._dropped_early >= _EARLY_DROPS
        ):
            self._url_shift += 1  # something else may be listening there
            self._dropped_early = 0
        return pause

    async def _forget_registration(self) -> None:
        try:
            await self._store.delete_registration(self._gateway.identity)
        except StoreError as error:
            _LOG.error("the registration cannot be removed: %s", error)

    async def _one_session(self) -> None:
        """From connecting to the end; always raises."""
        urls = self._gateway.gateway_urls()
        shift = self._url_shift % max(1, len(urls))
        async with open_socket(urls[shift:] + urls[:shift], self._options) as (socket, url):
            self._url_shift = urls.index(url)
            self.stats.url = url
            try:
                await self._serve(socket)
            except (GatewayUnreachable, LinkDown):
                if self._ready_since is None:
                    self._dropped_early += 1
                raise
            except BaseException:  # refused, or we are closing: the connection itself is sound
                await socket.say_goodbye()
                raise
            finally:
                await self._save_allowance()

    async def _serve(self, socket: GatewaySocket) -> None:
        identity = self._gateway.identity
        registration = await self._store.get_registration(identity)
        session = GatewaySession(
            keys=self._keys,
            gateway_identity=identity,
            session_key=None if registration is None else SessionKey(registration.shared_key),
            last_timestamp=await self._store.get_last_auth_timestamp(identity),
            rng=self._rng,
        )
        session.start()
        ready = await self._set_up(socket, session)
        await self._begin(socket, session, ready)
        try:
            async with TaskSet("gateway session") as tasks:
                tasks.spawn(self._claim(socket, session), name="bandwidth claims")
                tasks.spawn(self._save_regularly(), name="allowance")
                await self._read(socket, session)
        finally:
            self._session = None
            self._enter(LinkState.RECONNECTING)

    async def _set_up(self, socket: GatewaySocket, session: GatewaySession) -> Ready:
        """Negotiate, then register or authenticate."""
        loop = asyncio.get_running_loop()
        deadline = loop.time() + self._options.answer_timeout_seconds
        while True:
            await self._write(socket, session)
            try:
                async with asyncio.timeout_at(deadline):
                    message = await socket.receive()
            except TimeoutError:
                error = session.silent_too_long()
                await self._write(socket, session)
                raise error from None
            events: list[Event]
            if message.type is aiohttp.WSMsgType.TEXT:
                events = session.receive_text(message.data, int(self._unix_time()))
            elif message.type is aiohttp.WSMsgType.BINARY:
                events = [session.receive_binary(message.data)]
            else:
                raise socket.lost(message)
            for event in events:
                if not isinstance(event, Garbage):  # garbage buys no time
                    deadline = loop.time() + self._options.answer_timeout_seconds
                if isinstance(event, Ready):
                    return event
                await self._while_setting_up(socket, session, event)

    async def _while_setting_up(self, socket: GatewaySocket, session: GatewaySession, event: Event) -> None:
        identity = self._gateway.identity
        match event:
            case AuthenticationStarted(timestamp):
                await self._store.put_last_auth_timestamp(identity, timestamp)
            case Registered(session_key):
                urls = tuple(self._gateway.gateway_urls())
                await self._store.put_registration(
                    GatewayRegistration(identity, session_key.raw, urls, self._unix_time())
                )
            case PushedMessage(payload) | PushedAck(payload):
                self._deliver(payload)
            case Closed(error):
                await self._write(socket, session)
                raise error
            case Garbage():
                self._garbage(event)

    async def _begin(self, socket: GatewaySocket, session: GatewaySession, ready: Ready) -> None:
        identity = self._gateway.identity
        remembered = await self._store.get_allowance(identity)
        if await self._store.active_gateway() != identity:
            await self._store.put_active_gateway(identity)
        self._saved_allowance = remembered
        self._allowance.session_started(
            remembered if ready.remaining is None else ready.remaining, upgrade_mode=ready.upgrade_mode
        )
        self._session, self._socket = session, socket
        self._ready_since = self._clock()
        self._dropped_early = 0
        self.stats.sessions += 1
        self.stats.last_error = None
        self._allowance_changed()

    async def _claim(self, socket: GatewaySocket, session: GatewaySession) -> None:
        try:
            await self._claims.run(session, lambda: self._write(socket, session))
        except GatewayError as error:
            self._cause = error
            socket.abort()

    async def _write(self, socket: GatewaySocket, session: GatewaySession) -> None:
        """Write what the session wants to send.

        `GatewayUnreachable` if the connection was gone before, `LinkDown` if it went while writing.
        """
        for text in session.data_to_send():
            if socket.broken:
                raise GatewayUnreachable("the gateway closed the connection")
            try:
                await socket.send_str(text)
            except (aiohttp.ClientError, OSError) as error:
                raise LinkDown("the connection to the gateway broke while writing") from error

    # ---- the running session -----------------------------------------------------------------------------

    async def _read(self, socket: GatewaySocket, session: GatewaySession) -> None:
        receive = socket.receive
        text, binary = aiohttp.WSMsgType.TEXT, aiohttp.WSMsgType.BINARY
        while True:
            message = await receive()
            if message.type is binary:
                pushed = session.receive_binary(message.data)
                if isinstance(pushed, Garbage):
                    self._garbage(pushed)
                else:
                    self._deliver(pushed.payload)
            elif message.type is text:
                for event in session.receive_text(message.data, 0):
                    self._while_ready(event)
            else:
                raise self._cause or socket.lost(message)

    def _while_ready(self, event: Event) -> None:
        match event:
            case BandwidthChanged(remaining, upgrade_mode):
                self._allowance.stated(remaining, upgrade_mode=upgrade_mode)
                self._allowance_changed()
            case OutOfBandwidthEvent(required, available):
                self.stats.packets_refused += 1
                self._allowance.packet_refused(required, available)
                self._allowance_changed()
            case ClaimAnswered(available_total=total, upgrade_mode=upgrade_mode):
                if total is not None:
                    self.stats.bytes_claimed += max(0, total - (self._allowance.remaining or 0))
                    self._allowance.stated(total, upgrade_mode=upgrade_mode)
                    self.stats.last_error = None
                self._claims.answered(event)
                self._allowance_changed()
            case Refused(reason):
                self.stats.packets_refused += 1
                self._count("refused", reason)
            case Garbage():
                self._garbage(event)

    def _deliver(self, payload: bytes) -> None:
        self.stats.frames_received += 1
        try:
            self._on_frame(payload)
        except Exception:
            if self._count("handler"):
                _LOG.exception("a received frame could not be handled")

    def _garbage(self, event: Garbage) -> None:
        self._count(event.kind, event.detail)

    def _count(self, kind: str, detail: str = "") -> bool:
        """Count a frame that is ignored; true (and a line in the log) for the first of its kind."""
        seen = self.stats.garbage.get(kind, 0)
        self.stats.garbage[kind] = seen + 1
        if not seen and detail:
            _LOG.warning("ignoring what the gateway sent (%s): %s", kind, printable(detail))
        return not seen

    def _allowance_changed(self) -> None:
        allowance = self._allowance
        self.stats.remaining_bandwidth = allowance.remaining
        self.stats.upgrade_mode = allowance.upgrade_mode
        if self._session is not None:
            allowance.unanswered_packets = self._session.unanswered_packets
            self._enter(LinkState.READY if allowance.covers_packets else LinkState.OUT_OF_BANDWIDTH)
            self._claims.check()

    async def _save_regularly(self) -> None:
        while True:
            await asyncio.sleep(self._options.allowance_save_seconds)
            await self._save_allowance()

    async def _save_allowance(self) -> None:
        remaining = self._allowance.remaining
        if remaining is None or remaining == self._saved_allowance:
            return
        try:
            await self._store.put_allowance(self._gateway.identity, remaining)
        except StoreError as error:
            _LOG.warning("the allowance cannot be stored: %s", error)
        self._saved_allowance = remaining

    # ---- endings -----------------------------------------------------------------------------------------

    def _enter(self, state: LinkState) -> None:
        if state is self._state or self._state is LinkState.CLOSED:
            return
        self._state = state
        changed, self._changed = self._changed, asyncio.Event()
        changed.set()
        if self._on_state is not None:
            try:
                self._on_state(state)
            except Exception:
                _LOG.exception("a change of the link's state could not be handled")
