"""The exit's connections to targets: checking the destination, connecting, and moving bytes both ways.

docs/protocol/05 §5.2 and §5.3. A name is resolved once; the addresses that were checked are the ones
connected to. A target that ends its side gets no end of ours: half-close is kept in both directions.
"""

from __future__ import annotations

import asyncio
import logging
import socket
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv6Address, ip_address
from typing import Final, cast

from nym_exit.errors import BadTarget, ExitError
from nym_exit.exit_policy import ExitPolicy, Refusal, check_target
from nym_exit.stream_io import MixStream
from nym_exit.targets import parse_target
from nym_localnet.counters import ExitCounters

logger = logging.getLogger(__name__)

CONNECT_SECONDS: Final = 10.0
"""per address"""
RESOLVE_SECONDS: Final = 10.0
WRITE_HIGH_WATER_BYTES: Final = 256 * 1024

IpAddress = IPv4Address | IPv6Address


@dataclass(frozen=True, slots=True)
class CheckedTarget:
    """Addresses that a destination stands for and that may be connected to."""

    addresses: tuple[IpAddress, ...]
    port: int


async def find_target(remote: str, policy: ExitPolicy, *, allow_local_ips: bool) -> CheckedTarget | Refusal:
    """Resolve a destination and hold all its addresses against the policy."""
    try:
        host, port = parse_target(remote)
        addresses = await _resolve(host, port)
    except (BadTarget, OSError, UnicodeError):  # a name that cannot be encoded raises the last one
        return Refusal.UNRESOLVED
    refusal = check_target(addresses, port, policy, allow_local_ips=allow_local_ips)
    return refusal if refusal is not None else CheckedTarget(tuple(addresses), port)


async def _resolve(host: str, port: int) -> list[IpAddress]:
    try:
        return [ip_address(host)]
    except ValueError:
        pass
    async with asyncio.timeout(RESOLVE_SECONDS):
        found = await asyncio.get_running_loop().getaddrinfo(host, port, type=socket.SOCK_STREAM)
    addresses = [ip_address(str(entry[4][0]).partition("%")[0]) for entry in found]
    return list(dict.fromkeys(addresses))


async def connect(target: CheckedTarget) -> Target | None:
    """Connect to the first address that takes a connection; None when none does."""
    loop = asyncio.get_running_loop()
    for address in target.addresses:
        try:
            async with asyncio.timeout(CONNECT_SECONDS):
                _, protocol = await loop.create_connection(Target, str(address), target.port)
        except OSError:
            continue
        return protocol
    return None


class Target(asyncio.Protocol):
    """One TCP connection of the exit, and the consumer of the stream that it belongs to."""

    def __init__(self) -> None:
        self._transport: asyncio.Transport | None = None
        self._stream: MixStream | None = None
        self._counters = ExitCounters()
        self._early: list[bytes] = []
        self._early_end: bool = False
        self._lost = False
        self._held = False
        """reading is paused on purpose, by a stall"""
        self._wanted = True
        """the stream takes more"""

    def join(self, stream: MixStream, counters: ExitCounters) -> None:
        """Begin to move bytes."""
        self._stream = stream
        self._counters = counters
        stream.attach(_Consumer(self))
        for data in self._early:
            self.data_received(data)
        self._early.clear()
        if self._early_end:
            stream.write_eof()
        if self._lost:
            stream.close()

    def hold(self, held: bool) -> None:
        """Stop or resume reading from the target, whatever the stream wants."""
        self._held = held
        self._set_reading()

    def abort(self) -> None:
        """Cut the connection."""
        if self._transport is not None:
            self._transport.abort()

    # asyncio.Protocol: the target's side

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)  # uvloop's class is no subclass
        self._transport.set_write_buffer_limits(high=WRITE_HIGH_WATER_BYTES)

    def data_received(self, data: bytes) -> None:
        if self._stream is None:
            self._early.append(data)
            return
        self._counters.bytes_from_targets += len(data)
        if not self._stream.core.local_eof:
            self._stream.write(data)

    def eof_received(self) -> bool:
        if self._stream is None:
            self._early_end = True
        else:
            self._stream.write_eof()
        return True  # the other direction goes on

    def connection_lost(self, exc: Exception | None) -> None:
        self._transport = None
        self._lost = True
        if self._stream is not None:
            self._stream.close()

    def pause_writing(self) -> None:
        if self._stream is not None:
            self._stream.pause_reading()

    def resume_writing(self) -> None:
        if self._stream is not None:
            self._stream.resume_reading()

    # The stream's side

    def write(self, data: bytes) -> None:
        """Bytes of the client."""
        self._counters.bytes_to_targets += len(data)
        if self._transport is not None and not self._transport.is_closing():
            self._transport.write(data)

    def write_eof(self) -> None:
        """The client will send no more; the target may still answer."""
        if self._transport is not None and not self._transport.is_closing():
            self._transport.write_eof()

    def set_wanted(self, wanted: bool) -> None:
        """The stream can, or cannot, take more."""
        self._wanted = wanted
        self._set_reading()

    def end(self, error: ExitError | None) -> None:
        """The stream is over."""
        if self._transport is None:
            return
        if error is None:
            self._transport.close()
        else:
            self._transport.abort()

    def _set_reading(self) -> None:
        transport = self._transport
        if transport is None or transport.is_closing():
            return
        wanted = self._wanted and not self._held
        if wanted and not transport.is_reading():
            transport.resume_reading()
        elif not wanted and transport.is_reading():
            transport.pause_reading()


class _Consumer:
    """The stream's calls, whose names are those of the target's side."""

    __slots__ = ("_target",)

    def __init__(self, target: Target) -> None:
        self._target = target

    def data_received(self, data: bytes) -> None:
        self._target.write(data)

    def eof_received(self) -> None:
        self._target.write_eof()

    def stream_ended(self, error: ExitError | None) -> None:
        self._target.end(error)

    def pause_writing(self) -> None:
        self._target.set_wanted(False)

    def resume_writing(self) -> None:
        self._target.set_wanted(True)
