"""One authenticated client of a gateway: its key, its allowance, and what waits to be pushed to it.

docs/protocol/03 §7 and §10. Upstream releases the SURB-ack of a payload when it enters an in-memory queue;
what a broken connection takes with it is then lost for ever. Here the ack is released once the operating
system has taken the bytes, and what it has not taken goes back to the offline store.
"""

from __future__ import annotations

import asyncio
import secrets
from collections import deque
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Final

from aiohttp import web

from nym_localnet.counters import GatewayCounters
from nym_localnet.gateway_rules import Allowance
from nym_mixnet.gateway_wire import NONCE_BYTES, SessionKey, is_ack, seal_pushed
from nym_sphinx import KeyRotation, SurbAck

PUSH_BATCH: Final = 32
MAX_QUEUED: Final = 5_000
"""payloads per client, about 8 MB; what does not fit is dropped without its ack, so its sender repeats it"""
PROBE_BYTES: Final = 8
PROBE_SECONDS: Final = 1.0
"""docs/protocol/03 §7.3"""
FIRST_DRAIN_PAUSE_SECONDS: Final = 0.001
LAST_DRAIN_PAUSE_SECONDS: Final = 0.02


@dataclass(frozen=True, slots=True)
class Push:
    """One payload for a client, and the ack that its sender waits for."""

    payload: bytes
    ack: SurbAck | None
    rotation: KeyRotation


class ClientSession:
    """The live connection of one registered client."""

    def __init__(
        self,
        socket: web.WebSocketResponse,
        transport: asyncio.Transport,
        *,
        identity: bytes,
        key: SessionKey,
        started_unix: float,
        counters: GatewayCounters,
        running: asyncio.Event,
        written: Callable[[Push], None],
    ) -> None:
        self.identity = identity
        self.key = key
        self.started_unix = started_unix
        self.allowance = Allowance()
        self.dirty = False
        """the allowance differs from what the store knows"""
        self._socket = socket
        self._transport = transport
        self._counters = counters
        self._running = running
        self._written = written
        self._queue: deque[Push] = deque()
        self._in_flight: list[Push] = []
        self._wakeup = asyncio.Event()
        self._probe: tuple[bytes, asyncio.Future[None]] | None = None

    def push(self, push: Push) -> bool:
        """Queue a payload; False when the client reads too slowly to take more."""
        if len(self._queue) >= MAX_QUEUED:
            return False
        self._queue.append(push)
        self._wakeup.set()
        return True

    async def write_payloads(self, payloads: Iterable[bytes]) -> None:
        """Seal and send payloads; returns when the operating system has them all. `ConnectionError`
        otherwise.
        """
        key, send = self.key, self._socket.send_bytes
        for payload in payloads:
            await send(seal_pushed(payload, key, secrets.token_bytes(NONCE_BYTES)))
        await self._drained()

    async def run_writer(self) -> None:
        """Push what is queued, release the acks of what was written; until cancelled or the connection
        breaks.
        """
        queue = self._queue
        try:
            while True:
                await self._wakeup.wait()
                await self._running.wait()
                self._wakeup.clear()
                while queue:
                    self._in_flight = [queue.popleft() for _ in range(min(PUSH_BATCH, len(queue)))]
                    await self.write_payloads(push.payload for push in self._in_flight)
                    done, self._in_flight = self._in_flight, []
                    for push in done:
                        if is_ack(push.payload):
                            self._counters.pushed_acks += 1
                        else:
                            self._counters.pushed_messages += 1
                        self._written(push)
        except (ConnectionError, RuntimeError):
            self.abort()  # the reader notices and takes the session down

    def take_unwritten(self) -> list[Push]:
        """Everything that was queued and not known to be written, oldest first."""
        left = [*self._in_flight, *self._queue]
        self._in_flight = []
        self._queue.clear()
        return left

    async def probe(self) -> bool:
        """Is the client still there? Sends a ping; False when no pong comes within a second."""
        if self._probe is not None:
            return True  # docs/protocol/03 §7.3: a second probe while one is running counts as active
        answered: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        payload = secrets.token_bytes(PROBE_BYTES)
        self._probe = (payload, answered)
        try:
            async with asyncio.timeout(PROBE_SECONDS):
                await self._socket.ping(payload)
                await answered
        except (TimeoutError, ConnectionError, RuntimeError):
            return False
        else:
            return True
        finally:
            self._probe = None

    def pong(self, payload: bytes) -> None:
        """A pong has come; it counts if it answers the running probe."""
        if self._probe is not None and self._probe[0] == payload and not self._probe[1].done():
            self._probe[1].set_result(None)

    def abort(self) -> None:
        """Cut the connection without a word."""
        self._transport.abort()

    async def _drained(self) -> None:
        transport = self._transport
        pause = FIRST_DRAIN_PAUSE_SECONDS
        await asyncio.sleep(0)
        while not transport.is_closing() and transport.get_write_buffer_size():
            await asyncio.sleep(pause)
            pause = min(pause * 2, LAST_DRAIN_PAUSE_SECONDS)
        if transport.is_closing():
            raise ConnectionResetError("the client's connection broke while payloads were written to it")
