"""The listeners that ``bench_socks`` compares, each in a process of its own, so that its CPU time is its own.

All have a null upstream: what goes in comes out, nothing is connected to. pproxy gets one in place of its direct
connections; all the rest of it is as shipped.
"""

import asyncio
import logging
import multiprocessing
import time
from multiprocessing.connection import Connection as Pipe
from typing import ClassVar

import structlog
import uvloop

from nymgate.listener.caller import ANYBODY, Caller
from nymgate.listener.handshake import Target
from nymgate.listener.server import SocksServer
from nymgate.listener.upstream import Consumer


class EchoStream:
    """The null upstream: what goes in comes out."""

    consumer: Consumer

    def start(self, consumer: Consumer) -> None:
        self.consumer = consumer

    def write(self, data: bytes) -> None:
        self.consumer.stream_data(data)

    def write_eof(self) -> None:
        self.consumer.stream_eof()

    def pause(self) -> None:
        self.consumer.stream_paused()

    def resume(self) -> None:
        self.consumer.stream_resumed()

    def close(self) -> None: ...

    def abort(self) -> None: ...


class EchoUpstream:
    async def open(self, target: Target, caller: Caller = ANYBODY) -> EchoStream:
        return EchoStream()


class Yardstick(asyncio.Protocol):
    """The least that answers SOCKS5 or CONNECT and echoes: no time-outs, limits, replies to errors, back-pressure."""

    def connection_made(self, transport):
        self.transport, self.step = transport, 0

    def data_received(self, data):
        if self.step == 2:
            self.transport.write(data)
        elif data[0] != 5:
            self.transport.write(b"HTTP/1.1 200 OK\r\n\r\n")
            self.step = 2
        elif self.step == 1:
            self.transport.write(b"\x05\x00\x00\x01" + bytes(6))
            self.step = 2
        else:
            self.transport.write(b"\x05\x00")
            self.step = 1


class EchoWriter:
    """What pproxy writes to in place of a connection; its reader is fed.

    Something has to hold a reader that is waited for, as the event loop does with those of sockets: nobody holds
    pproxy's tasks, and the garbage collector would take them.
    """

    held: ClassVar[set["EchoWriter"]] = set()

    def __init__(self, reader: asyncio.StreamReader) -> None:
        self.reader = reader
        self.closed = False
        self.held.add(self)

    def write(self, data: bytes) -> None:
        self.reader.feed_data(data)

    async def drain(self) -> None: ...

    def is_closing(self) -> bool:
        return self.closed

    def close(self) -> None:
        if not self.closed:
            self.closed = True
            self.held.discard(self)
            self.reader.feed_eof()


async def serve_nymgate(pipe: Pipe) -> None:
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.INFO))
    async with SocksServer(EchoUpstream()) as server:
        ((_host, port),) = await server.listen([("127.0.0.1", 0)])
        await measured(pipe, port)


async def serve_yardstick(pipe: Pipe) -> None:
    server = await asyncio.get_running_loop().create_server(Yardstick, "127.0.0.1", 0, backlog=1024)
    await measured(pipe, server.sockets[0].getsockname()[1])


async def serve_pproxy(pipe: Pipe) -> None:
    import pproxy
    from pproxy.server import DIRECT

    async def open_connection(*_arguments, **_options):
        reader = asyncio.StreamReader()
        return reader, EchoWriter(reader)

    DIRECT.open_connection = open_connection
    server = await pproxy.Server("http+socks4+socks5://127.0.0.1:0").start_server({"rserver": []})
    await measured(pipe, server.sockets[0].getsockname()[1])


async def measured(pipe: Pipe, port: int) -> None:
    """Tell the port; answer each message with the CPU time used so far; end at None."""
    ready = asyncio.Event()
    asyncio.get_running_loop().add_reader(pipe.fileno(), ready.set)
    pipe.send(port)
    while True:
        await ready.wait()
        ready.clear()
        if not pipe.poll():  # asyncio says it once more than there are messages
            continue
        if pipe.recv() is None:
            return
        pipe.send(time.process_time())


def process(serve, on_uvloop: bool, pipe: Pipe) -> None:
    (uvloop.run if on_uvloop else asyncio.run)(serve(pipe))


class Peer:
    """A listening process under measurement."""

    def __init__(self, serve, *, on_uvloop: bool = True) -> None:
        context = multiprocessing.get_context("spawn")
        self.pipe, other = context.Pipe()
        self.process = context.Process(target=process, args=(serve, on_uvloop, other), daemon=True)
        self.process.start()
        self.port = self.pipe.recv()

    def cpu(self) -> float:
        self.pipe.send("cpu")
        return self.pipe.recv()

    def stop(self) -> None:
        self.pipe.send(None)
        self.process.join()
