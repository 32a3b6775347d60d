"""httpx over streams of the mixnet, and over a proxy that runs already. httpx is optional: ``nymgate[httpx]``."""

import asyncio
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable
from contextlib import asynccontextmanager
from typing import Any

from nymgate.apps.reachable import ISOLATED
from nymgate.apps.stream_transport_io import StreamTransport, secure
from nymgate.errors import ConfigError, NymgateError

try:
    import httpcore
    import httpx
except ImportError as error:
    raise ConfigError(
        "httpx is not installed.", "Install it beside nymgate: pip install 'nymgate[httpx]'."
    ) from error

Open = Callable[..., Awaitable[StreamTransport]]
"""``Gateway.create_transport``."""

DEFAULT_PROXY = "http://127.0.0.1:1080"


def httpx_transport(
    proxy: str = DEFAULT_PROXY, *, isolate: str | None = None, **options: Any
) -> httpx.AsyncBaseTransport:
    """A transport through a proxy that runs already (``nymgate run``), for ``httpx.AsyncClient(transport=…)``.

    ``proxy``: an ``http://`` address of it. ``isolate``: any text, which keeps what goes this way apart from the rest.
    ``options``: those of ``httpx.AsyncHTTPTransport``.
    """
    through = httpx.Proxy(proxy, auth=(ISOLATED, isolate) if isolate else None)
    return httpx.AsyncHTTPTransport(proxy=through, trust_env=False, **options)


def transport_of(create_transport: Open, *, isolate: str | None, **options: Any) -> httpx.AsyncBaseTransport:
    """A transport over streams of a gateway."""
    return _GatewayTransport(create_transport, isolate, **options)


class _GatewayTransport(httpx.AsyncHTTPTransport):
    def __init__(
        self,
        create_transport: Open,
        isolate: str | None,
        *,
        verify: ssl.SSLContext | str | bool = True,
        cert: Any = None,
        http1: bool = True,
        http2: bool = False,
        limits: httpx.Limits | None = None,
        retries: int = 0,
    ) -> None:
        super().__init__(verify=verify, cert=cert, http1=http1, http2=http2, trust_env=False)
        limits = limits or httpx.Limits(max_connections=100, max_keepalive_connections=20)
        # The pool of httpx's own making would open sockets. This one has another way to the network and no other.
        self._pool = httpcore.AsyncConnectionPool(
            ssl_context=httpx.create_ssl_context(verify=verify, cert=cert, trust_env=False),
            max_connections=limits.max_connections,
            max_keepalive_connections=limits.max_keepalive_connections,
            keepalive_expiry=limits.keepalive_expiry,
            http1=http1,
            http2=http2,
            retries=retries,
            network_backend=_Backend(create_transport, isolate),
        )


class _Backend(httpcore.AsyncNetworkBackend):
    def __init__(self, create_transport: Open, isolate: str | None) -> None:
        self._create_transport = create_transport
        self._isolate = isolate

    async def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,  # noqa: ASYNC109 - the name is httpcore's
        local_address: str | None = None,
        socket_options: Iterable[Any] | None = None,
    ) -> httpcore.AsyncNetworkStream:
        async with _mapped(httpcore.ConnectTimeout, httpcore.ConnectError, timeout):
            return _Stream(await self._create_transport(host, port, isolate=self._isolate), (host, port))

    async def connect_unix_socket(
        self,
        path: str,
        timeout: float | None = None,  # noqa: ASYNC109 - the name is httpcore's
        socket_options: Iterable[Any] | None = None,
    ) -> httpcore.AsyncNetworkStream:
        raise httpcore.ConnectError("connections around the mixnet are not made")

    async def sleep(self, seconds: float) -> None:
        await asyncio.sleep(seconds)


class _Stream(httpcore.AsyncNetworkStream):
    """Bytes of a stream. Nothing moves before the first use, so that TLS can still get below."""

    def __init__(self, raw: StreamTransport, address: tuple[str, int]) -> None:
        self._loop = asyncio.get_running_loop()
        self._raw = raw
        self._address = address
        self._reader = asyncio.StreamReader(loop=self._loop)
        self._protocol = asyncio.StreamReaderProtocol(self._reader, loop=self._loop)
        self._writer: asyncio.StreamWriter | None = None

    def _begun(self) -> asyncio.StreamWriter:
        if self._writer is None:
            self._raw.set_protocol(self._protocol)
            self._protocol.connection_made(self._raw)
            self._writer = asyncio.StreamWriter(self._raw, self._protocol, self._reader, self._loop)
            self._raw.begin()
        return self._writer

    async def read(
        self,
        max_bytes: int,
        timeout: float | None = None,  # noqa: ASYNC109 - the name is httpcore's
    ) -> bytes:
        self._begun()
        async with _mapped(httpcore.ReadTimeout, httpcore.ReadError, timeout):
            return await self._reader.read(max_bytes)

    async def write(
        self,
        buffer: bytes,
        timeout: float | None = None,  # noqa: ASYNC109 - the name is httpcore's
    ) -> None:
        writer = self._begun()
        async with _mapped(httpcore.WriteTimeout, httpcore.WriteError, timeout):
            writer.write(buffer)
            await writer.drain()

    async def aclose(self) -> None:
        if self._writer is None:
            self._raw.abort()
        else:
            self._writer.close()

    async def start_tls(
        self,
        ssl_context: ssl.SSLContext,
        server_hostname: str | None = None,
        timeout: float | None = None,  # noqa: ASYNC109 - the name is httpcore's
    ) -> httpcore.AsyncNetworkStream:
        if self._writer is not None:  # only through a proxy behind the exit, which has to answer first
            raise httpcore.ConnectError("TLS inside of a proxy's tunnel is not supported")
        async with _mapped(httpcore.ConnectTimeout, httpcore.ConnectError, timeout):
            transport = await secure(
                self._raw, self._protocol, ssl_context, server_hostname or self._address[0]
            )
        self._writer = asyncio.StreamWriter(transport, self._protocol, self._reader, self._loop)
        return self

    def get_extra_info(self, info: str) -> Any:
        if info == "server_addr":
            return self._address
        if info == "is_readable":  # httpcore asks this of idle connections: anything to read means they ended
            return self._reader.at_eof() or self._raw.is_closing() or self._reader.exception() is not None
        return self._writer.get_extra_info(info) if self._writer is not None else None


@asynccontextmanager
async def _mapped(
    late: type[Exception], broken: type[Exception], seconds: float | None
) -> AsyncIterator[None]:
    try:
        async with asyncio.timeout(seconds):
            yield
    except TimeoutError as error:
        raise late("it took too long") from error
    except (NymgateError, OSError) as error:  # ssl.SSLError is an OSError
        raise broken(str(error)) from error
