"""What the listener costs: SOCKS5 CONNECTs and relayed bytes per CPU-second, with an upstream that does
nothing.

The proxy runs in a process of its own, so that its CPU time is its own. Beside it, in the same run and under
the same load, stands the yardstick: the least that answers SOCKS5 on ``asyncio.Protocol``, without
time-outs, limits, replies to errors or back-pressure. Both echo. Read the ratio; absolute figures depend on
the machine.

    python bench/bench_socks.py [connections] [megabytes]
"""

import asyncio
import logging
import multiprocessing
import socket
import sys
import time
from multiprocessing.connection import Connection as Pipe

import structlog
import uvloop

from nymgate.caller import ANYBODY, Caller
from nymgate.handshake import Target
from nymgate.server import SocksServer
from nymgate.upstream import Consumer

GREETING = b"\x05\x01\x00"
REQUEST = b"\x05\x01\x00\x03\x0bexample.com\x00\x50"
WORKERS = 16
TARGET_PER_CPU_SECOND = 5000


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
    """A SOCKS5 echo and nothing else."""

    def connection_made(self, transport):
        self.transport, self.step = transport, 0

    def data_received(self, data):
        if self.step == 2:
            self.transport.write(data)
        elif self.step == 1:
            self.transport.write(b"\x05\x00\x00\x01" + bytes(6))
            self.step = 2
        else:
            self.transport.write(b"\x05\x00")
            self.step = 1


async def serve_nymgate(pipe: Pipe) -> None:
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.INFO))
    async with SocksServer(EchoUpstream()) as server:
        ((_host, port),) = await server.listen([("127.0.0.1", 0)])
        await measured(pipe, port)


async def serve_yardstick(pipe: Pipe) -> None:
    server = await asyncio.get_running_loop().create_server(Yardstick, "127.0.0.1", 0, backlog=1024)
    await measured(pipe, server.sockets[0].getsockname()[1])


async def measured(pipe: Pipe, port: int) -> None:
    """Tell the port; answer each message with the CPU time used so far; end at None."""
    ready = asyncio.Event()
    asyncio.get_running_loop().add_reader(pipe.fileno(), ready.set)
    pipe.send(port)
    while True:
        await ready.wait()
        ready.clear()
        if pipe.recv() is None:
            return
        pipe.send(time.process_time())


def process(serve, pipe: Pipe) -> None:
    uvloop.run(serve(pipe))


def connect_and_ping(port: int, count: int) -> None:
    for _ in range(count):
        with socket.create_connection(("127.0.0.1", port)) as sock:
            sock.sendall(GREETING)
            take(sock, 2)
            sock.sendall(REQUEST)
            take(sock, 10)
            sock.sendall(b"x")
            take(sock, 1)


def take(sock: socket.socket, size: int) -> None:
    while size:
        data = sock.recv(size)
        if not data:
            raise ConnectionError("closed")
        size -= len(data)


def echo_bytes(port: int, size: int) -> None:
    piece = bytes(64 << 10)
    with socket.create_connection(("127.0.0.1", port)) as sock:
        sock.sendall(GREETING)
        take(sock, 2)
        sock.sendall(REQUEST)
        take(sock, 10)
        for _ in range(size // len(piece)):
            sock.sendall(piece)
            take(sock, len(piece))


class Proxy:
    """A listening process under measurement."""

    def __init__(self, serve) -> None:
        context = multiprocessing.get_context("spawn")
        self.pipe, other = context.Pipe()
        self.process = context.Process(target=process, args=(serve, other), daemon=True)
        self.process.start()
        self.port = self.pipe.recv()

    def cpu(self) -> float:
        self.pipe.send("cpu")
        return self.pipe.recv()

    def stop(self) -> None:
        self.pipe.send(None)
        self.process.join()


def per_cpu_second(proxy: Proxy, work, each: int, total: float) -> float:
    """Run `work(port, each)` in processes of the load's own, return total per CPU-second of the proxy."""
    before = proxy.cpu()
    context = multiprocessing.get_context("fork")
    workers = [context.Process(target=work, args=(proxy.port, each)) for _ in range(WORKERS)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
        assert worker.exitcode == 0, "the load failed"
    return total / (proxy.cpu() - before)


def main(connections: int = 8000, megabytes: int = 400, rounds: int = 3) -> None:
    proxies = {"nymgate": Proxy(serve_nymgate), "yardstick": Proxy(serve_yardstick)}
    best = {name: [0.0, 0.0] for name in proxies}
    for _ in range(rounds):  # interleaved, best of: other load on the machine only ever slows
        for name, proxy in proxies.items():
            rate = per_cpu_second(proxy, connect_and_ping, connections // WORKERS, connections)
            bulk = per_cpu_second(proxy, echo_bytes, (megabytes << 20) // WORKERS, megabytes * 1.048576)
            best[name] = [max(best[name][0], rate), max(best[name][1], bulk)]
    for proxy in proxies.values():
        proxy.stop()
    print(f"{'SOCKS listener, null upstream':<32}{'connections/cpu-s':>20}{'MB echoed/cpu-s':>20}")
    for name, (rate, bulk) in best.items():
        print(f"{name:<32}{rate:>20,.0f}{bulk:>20,.0f}")
    ours, least = best["nymgate"], best["yardstick"]
    print(f"{'nymgate : yardstick':<32}{ours[0] / least[0]:>20.2f}{ours[1] / least[1]:>20.2f}")
    verdict = "meets" if ours[0] >= TARGET_PER_CPU_SECOND else "misses"
    print(f"accept to CONNECT {verdict} {TARGET_PER_CPU_SECOND:,} per CPU-second")


if __name__ == "__main__":
    main(*(int(argument) for argument in sys.argv[1:]))
