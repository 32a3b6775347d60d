"""nymgate inside another program: ``async with Gateway(network="mainnet") as gateway``.

A whole proxy for one process: streams through the mixnet without a socket in between, and beside them a listener on
loopback for libraries that know proxies only.
"""

import asyncio
import contextlib
import os
import ssl as ssl_module
from collections.abc import Callable, Mapping
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, Final, Self, TypeVar

from nym_mixnet.link_state import LinkState
from nymgate import wiring
from nymgate.apps.private import for_itself
from nymgate.apps.reachable import ISOLATED, Reachable
from nymgate.apps.stream_transport_io import StreamBroken, StreamTransport, refused, secure
from nymgate.config import Config
from nymgate.config_layers import data_dir as data_folder
from nymgate.config_layers import load, settings
from nymgate.daemon import Proxy
from nymgate.errors import ConfigError, NetworkUnreachable, NymgateError, Reply
from nymgate.listener.credential import Credential
from nymgate.listener.handshake import Connect, Target, bad_host

if TYPE_CHECKING:
    import aiohttp
    import httpx

LISTENER: Final = "library"
START_SECONDS: Final = 120.0
READ_LIMIT_BYTES: Final = 64 << 10
MAX_PORT: Final = 65_535

P = TypeVar("P", bound=asyncio.BaseProtocol)


class Gateway:
    """A way through the mixnet, as an async context manager: inside, streams get through.

    What is configured comes from the same places as for the commands, keywords last: the configuration file
    (``config``: another one), ``NYMGATE_*`` variables, the keywords. A ``Config`` is taken as it is. ``settings`` are
    further keys, dotted: ``{"streams.limit": 50}``. Listeners of the configuration are not opened: there is one, at a
    loopback port of its own. One Gateway or proxy at a time has a ``data_dir``.

    Entering raises NymgateError: ConfigError, StoreBusy where another instance has the folder, NetworkUnreachable if
    there is no way into the mixnet within ``start_timeout`` seconds.
    """

    def __init__(
        self,
        config: Config | Path | str | None = None,
        *,
        network: str | Path | None = None,
        data_dir: str | Path | None = None,
        entry: str | None = None,
        exit: str | None = None,  # noqa: A002 - the word of the configuration
        profile: str | None = None,
        nym_api: list[str] | None = None,
        topology_file: str | Path | None = None,
        settings: Mapping[str, object] | None = None,
        start_timeout: float = START_SECONDS,
    ) -> None:
        given: dict[str, object] = {
            "network": _text(network),
            "data_dir": _text(data_dir),
            "mixnet.entry": entry,
            "mixnet.exit": exit,
            "mixnet.profile": profile,
            "mixnet.nym_api": nym_api,
            "mixnet.topology_file": _text(topology_file),
            **(settings or {}),
        }
        self._config = for_itself(_configuration(config, given))
        self._start_timeout = start_timeout
        self._proxy: Proxy | None = None
        self._stack = contextlib.AsyncExitStack()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._streams: set[StreamTransport] = set()

    async def __aenter__(self) -> Self:
        plan = wiring.make_plan(self._config, data_folder(self._config, os.environ))
        async with contextlib.AsyncExitStack() as stack:
            proxy = await stack.enter_async_context(Proxy(plan))
            try:
                async with asyncio.timeout(self._start_timeout):
                    await proxy.ready()
            except TimeoutError:
                layer, reason = proxy.upstream.missing
                raise NetworkUnreachable(
                    f"There is no way into the mixnet yet: {reason}.", "Try again in a while.", layer=layer
                ) from None
            self._proxy, self._loop = proxy, asyncio.get_running_loop()
            self._stack = stack.pop_all()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._proxy = None
        for stream in list(self._streams):
            stream.cut(_ended())
        await self._stack.aclose()

    @property
    def ready(self) -> bool:
        """Whether streams get through at this moment; one that is opened while not waits a bounded time."""
        way = self._proxy.upstream.way if self._proxy is not None else None
        return way is not None and way.link.link_state is LinkState.READY

    # For libraries that know proxies.

    @property
    def socks_url(self) -> str:
        """``socks5h://127.0.0.1:port``: names are resolved at the exit."""
        return self.proxy_url("socks5h")

    @property
    def http_url(self) -> str:
        """``http://127.0.0.1:port``, for CONNECT and plain requests."""
        return self.proxy_url("http")

    @property
    def proxies(self) -> dict[str, str]:
        """For ``requests``: ``session.proxies``, with ``session.trust_env = False`` so that nothing overrides it."""
        return self.isolated_proxies(None)

    def proxy_url(self, scheme: str = "http", isolate: str | None = None) -> str:
        """URL of the listener. ``scheme``: http or socks5h. ``isolate``: see :meth:`open`."""
        reachable = Reachable.of(self._running().addresses, [], [])
        url = {"http": reachable.http_url, "socks5h": reachable.socks_url}.get(scheme)
        found = url(isolate) if url is not None else None
        if found is None:
            raise ConfigError(f"{scheme} is no kind of proxy that is spoken here.", "Use http or socks5h.")
        return found

    def isolated_proxies(self, isolate: str | None) -> dict[str, str]:
        """As ``proxies``, apart from others: see :meth:`open`."""
        return dict.fromkeys(("http", "https"), self.proxy_url("http", isolate))

    # Streams.

    async def open(
        self,
        host: str,
        port: int,
        *,
        ssl: bool | ssl_module.SSLContext = False,
        server_hostname: str | None = None,
        isolate: str | None = None,
        limit: int = READ_LIMIT_BYTES,
    ) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        """A connection from an exit to ``host:port``, as asyncio's reader and writer.

        Args:
            host: name, resolved at the exit, or IP address.
            port: 1 to 65535.
            ssl: True or a context for TLS, checked against ``server_hostname`` or ``host``.
            isolate: any text. Streams with different texts share no mixnet identity, reply address or exit
                connection; each text in use costs an identity's traffic. None: the common identity.
            limit: of the reader, bytes.

        Raises:
            StreamRefused: no stream within bounded time; ``code``, ``layer`` and ``socks_reply`` say why.
            ssl.SSLError: the certificate is not right.
        Reading and writing raise ``StreamBroken``, also a ConnectionResetError, if the stream breaks off.
        """
        loop = asyncio.get_running_loop()
        reader = asyncio.StreamReader(limit=limit, loop=loop)
        transport, protocol = await self.connect(
            lambda: asyncio.StreamReaderProtocol(reader, loop=loop),
            host,
            port,
            ssl=ssl,
            server_hostname=server_hostname,
            isolate=isolate,
        )
        return reader, asyncio.StreamWriter(transport, protocol, reader, loop)

    async def connect(
        self,
        protocol_factory: Callable[[], P],
        host: str,
        port: int,
        *,
        ssl: bool | ssl_module.SSLContext = False,
        server_hostname: str | None = None,
        isolate: str | None = None,
    ) -> tuple[asyncio.Transport, P]:
        """The same with a protocol of the caller's, as ``loop.create_connection``."""
        transport = await self.create_transport(host, port, isolate=isolate)
        protocol = protocol_factory()
        if ssl is False:
            transport.set_protocol(protocol)
            protocol.connection_made(transport)
            transport.begin()
            return transport, protocol
        context = ssl_module.create_default_context() if ssl is True else ssl
        try:
            return await secure(transport, protocol, context, server_hostname or host), protocol
        except TimeoutError as error:
            raise refused(error) from error

    async def create_transport(self, host: str, port: int, *, isolate: str | None = None) -> StreamTransport:
        """A transport on which nothing moves yet, for those who put a protocol on it themselves."""
        proxy = self._running()
        if asyncio.get_running_loop() is not self._loop:
            raise ConfigError(
                "The gateway runs on another event loop.",
                "Open streams on the loop that entered it, or give what runs elsewhere its http_url or socks_url.",
            )
        problem = bad_host(host)
        if problem is not None or not 0 < port <= MAX_PORT:
            raise ConfigError(
                f"This is no destination: {problem or 'the port is out of range'}.",
                "Give a host name or an IP address, and a port from 1 to 65535.",
            )
        target = Target(host, port)
        credential = Credential(ISOLATED.encode(), isolate.encode()) if isolate else None
        gate = proxy.server.gate
        try:
            entered = await gate.enter(LISTENER, None, Connect(target, credential))
            try:
                stream = await proxy.server.upstream.open(target, entered.caller)
            except BaseException:
                gate.leave(entered)
                raise
        except Exception as error:
            raise refused(error) from error

        def over() -> None:
            gate.leave(entered)
            self._streams.discard(transport)

        transport = StreamTransport(stream, asyncio.Protocol(), over)
        if self._proxy is not proxy:  # it came up while the gateway was being left
            transport.abort()
            raise NotRunning
        self._streams.add(transport)
        return transport

    def httpx_transport(self, *, isolate: str | None = None, **options: Any) -> "httpx.AsyncBaseTransport":
        """For ``httpx.AsyncClient(transport=…)``; ``options`` are those of ``httpx.AsyncHTTPTransport`` that concern
        neither sockets nor proxies: verify, cert, http1, http2, limits, retries. Needs ``nymgate[httpx]``."""
        from nymgate.apps.httpx_io import transport_of

        return transport_of(self.create_transport, isolate=isolate, **options)

    def aiohttp_connector(self, *, isolate: str | None = None, **options: Any) -> "aiohttp.BaseConnector":
        """For ``aiohttp.ClientSession(connector=…)``; ``options`` as of ``aiohttp.TCPConnector``: ssl, limit,
        limit_per_host, keepalive_timeout."""
        from nymgate.apps.aiohttp_io import GatewayConnector

        return GatewayConnector(self.connect, isolate, **options)

    def _running(self) -> Proxy:
        if self._proxy is None:
            raise NotRunning
        return self._proxy


class NotRunning(NymgateError):
    """A gateway was used outside of its context."""

    def __init__(self) -> None:
        super().__init__(
            "The gateway is not running.", "Use it inside `async with Gateway(...) as gateway:`."
        )


def _ended() -> StreamBroken:
    return StreamBroken(
        "The gateway was left while the stream was open.",
        "Read to the end inside `async with Gateway(...)`.",
        code="E_STREAM_CLOSED",
        layer="proxy",
        socks_reply=Reply.GENERAL_FAILURE,
    )


def _text(value: str | Path | None) -> str | None:
    return None if value is None else str(value)


def _configuration(config: Config | Path | str | None, given: Mapping[str, object]) -> Config:
    known = settings()
    if isinstance(config, Config):
        if any(value is not None for value in given.values()):
            raise ConfigError(
                "Both a Config and single settings are given.", "Put the settings into the Config."
            )
        return config
    for key in given:
        if key not in known:
            raise ConfigError(f"Unknown setting {key}.", "See the reference page of the configuration.")
    return load(file=Path(config) if config is not None else None, flags=given).config
