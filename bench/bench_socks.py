"""What the listener costs beside others: connections and relayed bytes per CPU-second, for SOCKS5 and for CONNECT.

In the same run and under the same load stand pproxy, on asyncio as it is shipped and made to run on uvloop, and the
yardstick: the least that answers on ``asyncio.Protocol``. All echo (``socks_peers``). Rounds are interleaved; a ratio
is the median of those of the rounds. Absolute figures depend on the machine.

    python bench/bench_socks.py [connections] [megabytes] [rounds]
"""

import multiprocessing
import socket
import statistics
import sys

from bench.socks_peers import Peer, serve_nymgate, serve_pproxy, serve_yardstick

GREETING = b"\x05\x01\x00"
REQUEST = b"\x05\x01\x00\x03\x0bexample.com\x00\x50"
CONNECT = b"CONNECT example.com:80 HTTP/1.1\r\nHost: example.com:80\r\n\r\n"
WORKERS = 16
STUCK_SECONDS = 60.0
TARGET_PER_CPU_SECOND = 5000
TARGETS = {"pproxy on asyncio": 2.0, "pproxy on uvloop": 1.2}
PIECE_BYTES = 64 << 10


def socks5(port: int) -> socket.socket:
    sock = socket.create_connection(("127.0.0.1", port), STUCK_SECONDS)
    sock.sendall(GREETING)
    take(sock, 2)
    sock.sendall(REQUEST)
    take(sock, 10)
    return sock


def connect(port: int) -> socket.socket:
    sock = socket.create_connection(("127.0.0.1", port), STUCK_SECONDS)
    sock.sendall(CONNECT)
    head = b""
    while not head.endswith(b"\r\n\r\n"):
        part = sock.recv(4096)
        if not part:
            raise ConnectionError("closed")
        head += part
    assert b" 200 " in head.split(b"\r\n")[0]
    return sock


def take(sock: socket.socket, size: int) -> None:
    while size:
        data = sock.recv(size)
        if not data:
            raise ConnectionError("closed")
        size -= len(data)


def connect_and_ping(opened, port: int, count: int) -> None:
    for _ in range(count):
        with opened(port) as sock:
            sock.sendall(b"x")
            take(sock, 1)


def echo_bytes(opened, port: int, size: int) -> None:
    piece = bytes(PIECE_BYTES)
    with opened(port) as sock:
        for _ in range(size // len(piece)):
            sock.sendall(piece)
            take(sock, len(piece))


def per_cpu_second(peer: Peer, work, opened, each: int, total: float) -> float:
    """Run `work(opened, port, each)` in processes of the load's own, return total per CPU-second of the peer."""
    before = peer.cpu()
    context = multiprocessing.get_context("fork")
    workers = [context.Process(target=work, args=(opened, peer.port, each)) for _ in range(WORKERS)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
        assert worker.exitcode == 0, "the load failed"
    return total / (peer.cpu() - before)


def main(connections: int = 3200, megabytes: int = 192, rounds: int = 5) -> None:
    peers = {
        "nymgate": Peer(serve_nymgate),
        "pproxy on asyncio": Peer(serve_pproxy, on_uvloop=False),
        "pproxy on uvloop": Peer(serve_pproxy),
        "yardstick": Peer(serve_yardstick),
    }
    each, size = connections // WORKERS, (megabytes << 20) // WORKERS // PIECE_BYTES * PIECE_BYTES
    for opened in (socks5, connect):
        rates: dict[str, list[tuple[float, float]]] = {name: [] for name in peers}
        for _ in range(rounds):
            for name, peer in peers.items():
                rates[name].append(
                    (
                        per_cpu_second(peer, connect_and_ping, opened, each, each * WORKERS),
                        per_cpu_second(peer, echo_bytes, opened, size, size * WORKERS / 1e6),
                    )
                )
        show("SOCKS5" if opened is socks5 else "CONNECT", rates)
    for peer in peers.values():
        peer.stop()


def show(protocol: str, rates: dict[str, list[tuple[float, float]]]) -> None:
    print(f"{f'{protocol}, null upstream':<36}{'connections/cpu-s':>20}{'MB echoed/cpu-s':>20}")
    for name, rounds in rates.items():
        rate, bulk = (statistics.median(column) for column in zip(*rounds, strict=True))
        print(f"{name:<36}{rate:>20,.0f}{bulk:>20,.0f}")
    for name, rounds in rates.items():
        if name == "nymgate":
            continue
        pairs = zip(rates["nymgate"], rounds, strict=True)
        each = [(ours[0] / theirs[0], ours[1] / theirs[1]) for ours, theirs in pairs]
        rate, bulk = (statistics.median(column) for column in zip(*each, strict=True))
        target = TARGETS.get(name)
        verdict = ""
        if target is not None:
            verdict = f"  {'meets' if min(rate, bulk) >= target else 'misses'} {target}"
        print(f"{f'nymgate : {name}':<36}{rate:>20.2f}{bulk:>20.2f}{verdict}")
    rate = statistics.median(rate for rate, _bulk in rates["nymgate"])
    verdict = "meets" if rate >= TARGET_PER_CPU_SECOND else "misses"
    print(f"accept to stream {verdict} {TARGET_PER_CPU_SECOND:,} per CPU-second\n")


if __name__ == "__main__":
    main(*(int(argument) for argument in sys.argv[1:]))
