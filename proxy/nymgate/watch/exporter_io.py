"""The port for machines: `/metrics` for Prometheus, `/livez` and `/readyz` for whoever restarts or routes.

On loopback it answers requests to this machine's addresses only: a page in a browser that had its own name point here
(DNS rebinding) would be told apart by the `Host` header that it cannot choose.
"""

import asyncio
import ipaddress
import socket
from collections.abc import Awaitable, Callable
from types import TracebackType
from typing import Final, Self

import structlog
from aiohttp import web

from nymgate.access.judge import is_loopback
from nymgate.errors import ListenError
from nymgate.units import join_address
from nymgate.watch.exposition import exposition
from nymgate.watch.health import Health
from nymgate.watch.health_json import health_body
from nymgate.watch.snapshot import Snapshot

log = structlog.get_logger("nymgate.metrics")

LIMIT_SECONDS: Final = 10.0
BACKLOG: Final = 128


class Exporter:
    """Use as an async context manager; ``address`` then says where it listens."""

    def __init__(
        self,
        host: str,
        port: int,
        *,
        snapshot: Callable[[], Awaitable[Snapshot]],
        health: Callable[[], Awaitable[Health]],
        permits: Callable[[str], bool] = is_loopback,
        sock: socket.socket | None = None,
    ) -> None:
        """``sock``: one that listens there already.

        ``permits``: whether a machine with that IP address may ask. ``port`` 0 takes any free one.
        """
        self._wanted = host, port
        self._sock = sock
        self._snapshot = snapshot
        self._health = health
        self._permits = permits
        self._private = is_loopback(host)
        self.address: tuple[str, int] = (host, port)
        """With the port that the system chose."""

    async def __aenter__(self) -> Self:
        app = web.Application(middlewares=[self._guard])
        app.add_routes(
            [
                web.get("/metrics", self._metrics),
                web.get("/livez", self._livez),
                web.get("/readyz", self._readyz),
            ]
        )
        sock = self._sock if self._sock is not None else bound(*self._wanted)
        self._runner = web.AppRunner(app, access_log=None, shutdown_timeout=1.0)
        try:
            await self._runner.setup()
            await web.SockSite(self._runner, sock, backlog=BACKLOG).start()
        except BaseException:
            sock.close()
            await self._runner.cleanup()
            raise
        self.address = self._wanted[0], sock.getsockname()[1]
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._runner.cleanup()

    @web.middleware
    async def _guard(
        self, request: web.Request, handler: Callable[[web.Request], Awaitable[web.StreamResponse]]
    ) -> web.StreamResponse:
        peer = request.remote
        if peer is None or not self._permits(peer):
            raise web.HTTPForbidden(text="This machine may not ask here: see [access] allow.\n")
        if self._private and not _names_this_machine(request.host):
            raise web.HTTPForbidden(text="Ask by address: http://127.0.0.1 and the port.\n")
        async with asyncio.timeout(LIMIT_SECONDS):
            response = await handler(request)
        response.headers["Cache-Control"] = "no-store"
        response.headers["X-Content-Type-Options"] = "nosniff"
        return response

    async def _metrics(self, request: web.Request) -> web.StreamResponse:
        body, content_type = exposition(await self._snapshot(), request.headers.get("Accept", ""))
        response = web.Response(body=body)
        response.headers["Content-Type"] = content_type
        response.enable_compression()
        return response

    async def _livez(self, _request: web.Request) -> web.StreamResponse:
        # That it answers is the answer: it does so on the event loop that carries the streams.
        return web.json_response({"alive": True})

    async def _readyz(self, _request: web.Request) -> web.StreamResponse:
        health = await self._health()
        return web.json_response(health_body(health), status=200 if health.ready else 503)


def bound(host: str, port: int, *, what: str = "metrics", key: str = "listen.metrics") -> socket.socket:
    """A listening socket. Raises ListenError, which says that ``what`` is served there, as ``key`` asks."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    try:
        sock = socket.create_server((host, port), family=family, backlog=BACKLOG)
    except OSError as error:
        raise ListenError(
            f"Cannot serve {what} on {join_address(host, port)}: {error.strerror or error}.",
            f"Stop the program that uses the port, or choose another with {key}; empty is none.",
        ) from error
    sock.setblocking(False)
    return sock


def _names_this_machine(host: str) -> bool:
    has_port = host.count(":") == 1 or "]:" in host
    name = (host.rpartition(":")[0] if has_port else host).strip("[]")
    if name.lower() in ("localhost", "localhost."):
        return True
    try:
        ipaddress.ip_address(name)
    except ValueError:
        return False
    return True
