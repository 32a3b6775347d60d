"""aiohttp over streams of the mixnet: a connector without sockets.

It fails closed three times over: names are not looked up, the maker of sockets refuses, and the one method in which
aiohttp opens a connection is replaced.
"""

import asyncio
import errno
import socket
import ssl as ssl_module
from collections.abc import Awaitable, Callable
from typing import Any

import aiohttp
from aiohttp.abc import AbstractResolver, ResolveResult

from nymgate.errors import NymgateError

Connect = Callable[..., Awaitable[tuple[asyncio.Transport, Any]]]
"""``Gateway.connect``."""


class _Unresolved(AbstractResolver):
    """Hands names on as they are: they are resolved at the exit."""

    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_INET
    ) -> list[ResolveResult]:
        return [ResolveResult(hostname=host, host=host, port=port, family=socket.AF_INET, proto=0, flags=0)]

    async def close(self) -> None:
        pass


def _no_socket(_address: Any) -> socket.socket:
    raise OSError(errno.ECONNREFUSED, "connections around the mixnet are not made")


class GatewayConnector(aiohttp.TCPConnector):
    """Every connection is a stream of the gateway's; all with the same ``isolate``."""

    def __init__(self, connect: Connect, isolate: str | None, **options: Any) -> None:
        super().__init__(resolver=_Unresolved(), use_dns_cache=False, socket_factory=_no_socket, **options)
        self._connect_stream = connect
        self._isolate = isolate

    async def _wrap_create_connection(  # type: ignore[override]
        self,
        protocol_factory: Callable[[], asyncio.BaseProtocol],
        *,
        addr_infos: list[Any],
        req: aiohttp.ClientRequest,
        timeout: aiohttp.ClientTimeout,  # noqa: ASYNC109 - the name is aiohttp's
        client_error: type[Exception] = aiohttp.ClientConnectorError,
        ssl: ssl_module.SSLContext | None = None,
        server_hostname: str | None = None,
        **_options: Any,
    ) -> tuple[asyncio.Transport, Any]:
        match timeout:
            case aiohttp.ClientTimeout(sock_connect=seconds):
                pass
        try:
            async with asyncio.timeout(seconds):
                return await self._connect_stream(
                    protocol_factory,
                    req.url.raw_host or "",
                    req.url.port or 0,
                    ssl=ssl or False,
                    server_hostname=server_hostname,
                    isolate=self._isolate,
                )
        except ssl_module.CertificateError as error:
            raise aiohttp.ClientConnectorCertificateError(req.connection_key, error) from error
        except ssl_module.SSLError as error:
            raise aiohttp.ClientConnectorSSLError(req.connection_key, error) from error
        except OSError as error:
            raise client_error(req.connection_key, error) from error
        except NymgateError as error:
            # With a number aiohttp repeats the text.
            told = OSError(errno.ECONNREFUSED, f"{error} [{error.code}]")
            raise client_error(req.connection_key, told) from error
