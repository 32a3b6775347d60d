"""The mixnet as the listener's upstream: gate, wake-up, exit client, and the two shapes of a stream joined.

A stream that is asked for while there is no way out waits a bounded time for it (the gateway link comes back
by itself) and is then refused with the layer that is missing: listeners stay up whatever happens below.
"""

import asyncio
from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

from nym_exit.errors import ExitError
from nym_exit.stream_io import MixStream
from nym_mixnet.link_state import LinkState
from nymgate.errors import NymgateError, Reply, StreamRefused
from nymgate.listener.caller import ANYBODY, Caller
from nymgate.listener.handshake import Target
from nymgate.listener.upstream import Consumer
from nymgate.ways.sleep_io import Sleeper

LINK_POLL_SECONDS = 0.05
LINK_WAIT_SECONDS = 10.0
START = "topology"
"""The layer that is missing before the first attempt has come to an end."""


class Opener(Protocol):
    """What opens streams: ``nym_exit.ExitClient``."""

    async def open(
        self,
        host: str,
        port: int,
        *,
        early: bool = False,
        timeout: float | None = None,  # noqa: ASYNC109 - the name is the exit client's
    ) -> MixStream:
        """A stream to host:port."""


class LinkView(Protocol):
    """What tells whether anything can be sent: ``nym_mixnet.MixnetClient``."""

    @property
    def link_state(self) -> LinkState:
        """State of the gateway link."""


@dataclass(frozen=True, slots=True)
class Way:
    """A way out that is up: client, exit and the count of streams over them."""

    link: LinkView
    exit: Opener
    sleeper: Sleeper


@dataclass(frozen=True, slots=True)
class UpstreamOptions:
    """Times in seconds."""

    connect_timeout_seconds: float = 30.0
    link_wait_seconds: float = LINK_WAIT_SECONDS
    early_success: bool = False


class MixnetUpstream:
    """Streams through the mixnet; ``way`` is set and taken away by whoever keeps the client alive."""

    def __init__(self, options: UpstreamOptions) -> None:
        self._options = options
        self._way: Way | None = None
        self._changed = asyncio.Event()
        self.missing = (START, "the proxy is still looking for a way into the mixnet")
        """Layer and reason for refusals while there is no way."""
        self.target_failures = 0
        """Streams in a row that could not be connected to their destinations, the last ones."""
        self.supply: Callable[[], StreamRefused | None] = lambda: None
        """Says why streams cannot be paid for, where waiting does not help; None while they can."""
        self._hopeless: NymgateError | None = None

    def reload(self, options: UpstreamOptions) -> None:
        """For streams from now on."""
        self._options = options

    def give_up(self, error: NymgateError) -> None:
        """There will be no way: streams are refused at once, those that wait included."""
        self._hopeless = error
        self.missing = (error.layer, error.what.rstrip("."))
        self.way = None

    @property
    def way(self) -> Way | None:
        """The way out in use."""
        return self._way

    @way.setter
    def way(self, way: Way | None) -> None:
        self._way = way
        self._changed.set()
        self._changed = asyncio.Event()

    async def open(
        self, target: Target, caller: Caller = ANYBODY, *, over: Callable[[], None] | None = None
    ) -> "UpstreamStream":
        """A stream to the target; ``over`` is called once when it has ended. Who asks makes no difference here.

        Raises StreamRefused or an error of ``nym_exit`` within bounded time; then ``over`` is not called.
        """
        loop = asyncio.get_running_loop()
        started = loop.time()
        way = await self._ready_way(started + self._options.link_wait_seconds)
        await way.sleeper.opened()
        try:
            left = max(1.0, self._options.connect_timeout_seconds - (loop.time() - started))
            stream = await way.exit.open(
                target.host, target.port, early=self._options.early_success, timeout=left
            )
        except BaseException as error:
            way.sleeper.closed()
            if getattr(error, "layer", None) == "target":
                self.target_failures += 1
            raise
        self.target_failures = 0
        return UpstreamStream(stream, way.sleeper, over)

    async def _ready_way(self, deadline: float) -> Way:
        loop = asyncio.get_running_loop()
        while True:
            way = self._way
            if way is not None and way.link.link_state is LinkState.READY:
                return way
            broke = self._lacks_allowance(way)
            if broke and (unpaid := self.supply()) is not None:
                raise unpaid
            left = deadline - loop.time()
            if left <= 0 or self._hopeless is not None:
                raise self._refusal(way)
            # Neither the link nor the tickets have an event for others to wait for; the way itself has.
            polls = broke or way is not None or self.missing[0] == START
            try:
                async with asyncio.timeout(min(left, LINK_POLL_SECONDS) if polls else left):
                    await self._changed.wait()
            except TimeoutError:
                continue

    def _lacks_allowance(self, way: Way | None) -> bool:
        """Whether it is for want of a ticket that nothing can be sent."""
        if way is None:
            return self.missing[0] == "tickets"
        return way.link.link_state is LinkState.OUT_OF_BANDWIDTH

    def _refusal(self, way: Way | None) -> StreamRefused:
        if way is None:
            layer, reason = self.missing
            return StreamRefused(
                f"There is no way into the mixnet: {reason}.",
                "It is tried again by itself; try again in a while.",
                code="E_NO_EXIT" if layer == "exit" else "E_NO_WAY",
                layer=layer,
                socks_reply=Reply.NETWORK_UNREACHABLE,
            )
        if way.link.link_state is LinkState.OUT_OF_BANDWIDTH:
            return StreamRefused(
                "The allowance at the entry gateway is used up.",
                "It is claimed again by itself; try again in a while, or choose another entry gateway.",
                code="E_OUT_OF_BANDWIDTH",
                layer="tickets",
                socks_reply=Reply.GENERAL_FAILURE,
            )
        return StreamRefused(
            "The entry gateway cannot be reached at the moment.",
            "The connection is tried again by itself; try again in a while.",
            code="E_GATEWAY",
            layer="gateway",
            socks_reply=Reply.NETWORK_UNREACHABLE,
        )


class UpstreamStream:
    """A stream of the exit client in the shape the listener wants; consumer of the one, stream of the other."""

    __slots__ = ("_consumer", "_open", "_over_too", "_sleeper", "_stream")

    def __init__(self, stream: MixStream, sleeper: Sleeper, over: Callable[[], None] | None = None) -> None:
        self._stream = stream
        self._sleeper = sleeper
        self._over_too = over
        self._consumer: Consumer | None = None
        self._open = True

    # What the listener calls.

    def start(self, consumer: Consumer) -> None:
        self._consumer = consumer
        self._stream.attach(self)

    def write(self, data: bytes) -> None:
        self._stream.write(data)

    def write_eof(self) -> None:
        self._stream.write_eof()

    def pause(self) -> None:
        self._stream.pause_reading()

    def resume(self) -> None:
        self._stream.resume_reading()

    def close(self) -> None:
        self._consumer = None
        self._over()
        self._stream.close()

    def abort(self) -> None:
        self._consumer = None
        self._over()
        self._stream.abort()

    # What the exit client's stream calls.

    def data_received(self, data: bytes) -> None:
        if self._consumer is not None:
            self._consumer.stream_data(data)

    def eof_received(self) -> None:
        if self._consumer is not None:
            self._consumer.stream_eof()

    def stream_ended(self, error: ExitError | None) -> None:
        consumer, self._consumer = self._consumer, None
        self._over()
        if consumer is None:
            return
        if error is None:
            consumer.stream_ended()
        else:
            consumer.stream_failed(error)

    def pause_writing(self) -> None:
        if self._consumer is not None:
            self._consumer.stream_paused()

    def resume_writing(self) -> None:
        if self._consumer is not None:
            self._consumer.stream_resumed()

    def _over(self) -> None:
        if self._open:
            self._open = False
            self._sleeper.closed()
            if self._over_too is not None:
                self._over_too()
