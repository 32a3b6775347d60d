"""HTTP through the mixnet: connections of aiohttp that are made by a SOCKS listener of ours, and by nothing else.

It fails closed three times over: names are never looked up here, the maker of sockets that aiohttp would use for a
connection of its own refuses, and whatever the listener refuses is an error. There is no second way.
"""

import asyncio
import errno
import ipaddress
import socket
import ssl
from collections.abc import Callable
from typing import Any, Final

import aiohttp
from aiohttp.abc import AbstractResolver, ResolveResult

from nymgate.listener.socks5 import NO_ACCEPTABLE_METHOD, VERSION

HANDSHAKE_SECONDS: Final = 60.0
"""Listener, way into the mixnet and connection of the exit together."""
_NO_AUTHENTICATION: Final = b"\x05\x01\x00"
_CONNECT: Final = b"\x05\x01\x00"
_IPV4, _NAME, _IPV6 = b"\x01", b"\x03", b"\x04"
_ADDRESS_BYTES: Final = {1: 4, 4: 16}


def mixnet_connector(host: str, port: int) -> Callable[[], aiohttp.BaseConnector]:
    """A factory of connectors that go through the SOCKS listener at that loopback address."""
    return lambda: _SocksConnector(host, port)


class _Unresolved(AbstractResolver):
    """Hands names on as they are: they are resolved at the exit."""

    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_INET
    ) -> list[ResolveResult]:
        return [
            ResolveResult(hostname=host, host=host, port=port, family=socket.AF_INET, proto=0, flags=0),
        ]

    async def close(self) -> None:
        pass


def _no_socket(_address: Any) -> socket.socket:
    raise _refused("connections around the mixnet are not made")


def _refused(why: str) -> OSError:
    return OSError(errno.ECONNREFUSED, why)  # without a number aiohttp would not repeat the text


class MixnetConnector(aiohttp.TCPConnector):
    """Makes no connection but those of :meth:`_open`."""

    def __init__(self) -> None:
        super().__init__(resolver=_Unresolved(), use_dns_cache=False, socket_factory=_no_socket)

    # The one place where aiohttp's connector opens a connection. Should it be called otherwise one day, `_no_socket`
    # refuses instead, and a test fails.
    async def _wrap_create_connection(  # type: ignore[override]
        self,
        protocol_factory: Callable[[], asyncio.BaseProtocol],
        *,
        addr_infos: list[Any],
        req: aiohttp.ClientRequest,
        timeout: aiohttp.ClientTimeout,  # noqa: ASYNC109 - the name is aiohttp's
        client_error: type[Exception] = aiohttp.ClientConnectorError,
        ssl: ssl.SSLContext | None = None,
        server_hostname: str | None = None,
        **_options: Any,
    ) -> tuple[asyncio.Transport, Any]:
        loop = asyncio.get_running_loop()
        host, port = req.url.raw_host or "", req.url.port or 0
        connection: socket.socket | None = None
        try:
            async with asyncio.timeout(timeout.sock_connect or HANDSHAKE_SECONDS):
                connection = await self._open(loop, host, port)
                transport, protocol = await loop.create_connection(
                    protocol_factory, sock=connection, ssl=ssl, server_hostname=server_hostname
                )
        except BaseException as error:
            if connection is not None:
                connection.close()
            if isinstance(error, (OSError, EOFError)):
                problem = error if isinstance(error, OSError) else _refused("the proxy hung up")
                raise client_error(req.connection_key, problem) from error
            raise
        return transport, protocol

    async def _open(self, loop: asyncio.AbstractEventLoop, host: str, port: int) -> socket.socket:
        """A socket behind which host:port is. Raises OSError or EOFError."""
        raise NotImplementedError


class _SocksConnector(MixnetConnector):
    def __init__(self, host: str, port: int) -> None:
        super().__init__()
        self._proxy_address = (host, port)

    async def _open(self, loop: asyncio.AbstractEventLoop, host: str, port: int) -> socket.socket:
        family = socket.AF_INET6 if ":" in self._proxy_address[0] else socket.AF_INET
        connection = socket.socket(family, socket.SOCK_STREAM)
        try:
            connection.setblocking(False)
            try:
                await loop.sock_connect(connection, self._proxy_address)
            except OSError as error:
                raise _refused(
                    "no proxy of ours listens: start `nymgate run`, or set tickets.through_mixnet = false"
                ) from error
            await self._handshake(loop, connection, _target(host, port))
        except BaseException:
            connection.close()
            raise
        return connection

    async def _handshake(
        self, loop: asyncio.AbstractEventLoop, connection: socket.socket, target: bytes
    ) -> None:
        await loop.sock_sendall(connection, _NO_AUTHENTICATION)
        method = await _exactly(loop, connection, 2)
        if method == bytes((VERSION, NO_ACCEPTABLE_METHOD)):
            raise _refused(
                "the proxy there serves its users only, and this is none; let `nymgate run` buy by itself"
            )
        if method != bytes((VERSION, 0)):
            raise _refused("what listens there is no proxy of ours")
        await loop.sock_sendall(connection, _CONNECT + target)
        answer = await _exactly(loop, connection, 4)
        if answer[1] != 0:
            raise _refused(f"the proxy refused the connection (SOCKS reply {answer[1]})")
        await _exactly(loop, connection, _ADDRESS_BYTES.get(answer[3], 4) + 2)


def _target(host: str, port: int) -> bytes:
    try:
        address = ipaddress.ip_address(host)
    except ValueError:
        name = host.encode("ascii")
        place = _NAME + bytes((len(name),)) + name
    else:
        place = (_IPV4 if address.version == 4 else _IPV6) + address.packed
    return place + port.to_bytes(2, "big")


async def _exactly(loop: asyncio.AbstractEventLoop, connection: socket.socket, count: int) -> bytes:
    data = b""
    while len(data) < count:
        part = await loop.sock_recv(connection, count - len(data))
        if not part:
            raise EOFError
        data += part
    return data
