"""Upstreams for tests and benchmarks of the listener: none of them is a mixnet, each shows one behaviour."""

import asyncio

from nymgate.listener.caller import ANYBODY, Caller
from nymgate.listener.handshake import Target
from nymgate.listener.upstream import Consumer


class TestStream:
    """A stream that swallows what it is given and remembers what happened to it."""

    __test__ = False

    def __init__(self, upstream: "TestUpstream", target: Target) -> None:
        self.upstream = upstream
        self.target = target
        self.consumer: Consumer | None = None
        self.received = bytearray()
        self.eof = False
        self.paused = False
        self.closed = False
        self.aborted = False

    def start(self, consumer: Consumer) -> None:
        self.consumer = consumer
        self.upstream.started(self)

    def write(self, data: bytes) -> None:
        assert not self.closed
        assert not self.eof
        self.received += data
        self.upstream.wrote(self, data)

    def write_eof(self) -> None:
        assert not self.closed
        self.eof = True
        self.upstream.wrote_eof(self)

    def pause(self) -> None:
        self.paused = True

    def resume(self) -> None:
        self.paused = False
        self.upstream.resumed(self)

    def close(self) -> None:
        assert not self.closed
        self.closed = True

    def abort(self) -> None:
        self.close()
        self.aborted = True


class TestUpstream:
    """Opens swallowing streams at once."""

    __test__ = False

    def __init__(self) -> None:
        self.streams: list[TestStream] = []
        self.callers: list[Caller] = []

    async def open(self, target: Target, caller: Caller = ANYBODY) -> TestStream:
        stream = TestStream(self, target)
        self.streams.append(stream)
        self.callers.append(caller)
        return stream

    def started(self, stream: TestStream) -> None: ...

    def wrote(self, stream: TestStream, data: bytes) -> None: ...

    def wrote_eof(self, stream: TestStream) -> None: ...

    def resumed(self, stream: TestStream) -> None: ...


class EchoUpstream(TestUpstream):
    """Sends back what it gets, and ends when the application does."""

    def wrote(self, stream, data):
        stream.consumer.stream_data(data)

    def wrote_eof(self, stream):
        stream.consumer.stream_eof()


class RefusingUpstream(TestUpstream):
    """Opens nothing."""

    def __init__(self, error: Exception) -> None:
        super().__init__()
        self.error = error

    async def open(self, target, caller=ANYBODY):
        raise self.error


class SlowUpstream(EchoUpstream):
    """Opens when told to."""

    def __init__(self) -> None:
        super().__init__()
        self.gate = asyncio.Event()
        self.waiting = 0
        self.cancelled = 0

    async def open(self, target, caller=ANYBODY):
        self.waiting += 1
        try:
            await self.gate.wait()
        except asyncio.CancelledError:
            self.cancelled += 1
            raise
        return await super().open(target, caller)


class SourceUpstream(TestUpstream):
    """Sends a body as fast as it is taken, in pieces, then ends."""

    def __init__(self, body: bytes, piece: int = 16_000) -> None:
        super().__init__()
        self.body = body
        self.piece = piece
        self.sent: dict[TestStream, int] = {}

    def started(self, stream):
        self.sent[stream] = 0
        self.resumed(stream)

    def resumed(self, stream):
        while not stream.paused and not stream.closed and self.sent[stream] < len(self.body):
            piece = self.body[self.sent[stream] : self.sent[stream] + self.piece]
            self.sent[stream] += len(piece)
            stream.consumer.stream_data(piece)
        if self.sent[stream] == len(self.body) and not stream.closed and not stream.paused:
            self.sent[stream] += 1
            stream.consumer.stream_eof()
