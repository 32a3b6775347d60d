"""The control socket: HTTP over a Unix socket in the data folder, for this user alone.

`GET /snapshot` and `GET /health` are here; others add their routes with :meth:`ControlServer.add` before it starts.
Whoever can open the socket can read the keys beside it as well, so nothing more is asked of them.
"""

import contextlib
import os
import socket
from collections.abc import Awaitable, Callable, Iterable
from pathlib import Path
from types import TracebackType
from typing import Final, Self

import structlog
from aiohttp import web

from nymgate.listener.unix_socket import NAME, socket_path
from nymgate.watch.health import Health
from nymgate.watch.health_json import health_body
from nymgate.watch.snapshot import Snapshot
from nymgate.watch.snapshot_json import to_json

log = structlog.get_logger("nymgate.control")

BACKLOG: Final = 32
PROBE_SECONDS: Final = 1.0


class ControlServer:
    """Use as an async context manager. ``listening`` is False where another instance has the folder."""

    def __init__(
        self,
        folder: Path,
        *,
        snapshot: Callable[[], Awaitable[Snapshot]],
        health: Callable[[], Awaitable[Health]],
    ) -> None:
        self.path = folder / NAME
        self.listening = False
        self._folder = folder
        self._snapshot = snapshot
        self._health = health
        self._app = web.Application()
        self._runner: web.AppRunner | None = None
        self._ends: list[Callable[[], None]] = []
        self.add([web.get("/snapshot", self._get_snapshot), web.get("/health", self._get_health)])

    def add(self, routes: Iterable[web.AbstractRouteDef]) -> None:
        """More routes; before it starts."""
        self._app.add_routes(routes)

    async def __aenter__(self) -> Self:
        try:
            sock = bound_in(self._folder)
        except OSError as error:
            # The proxy works without, and says itself if another instance has its folder.
            log.warning("control.unavailable", reason=error.strerror or str(error))
            return self
        self._runner = web.AppRunner(self._app, access_log=None, shutdown_timeout=1.0)
        try:
            await self._runner.setup()
            await web.SockSite(self._runner, sock, backlog=BACKLOG).start()
        except BaseException:
            sock.close()
            await self._runner.cleanup()
            raise
        self.listening = True
        return self

    def at_end(self, call: Callable[[], None]) -> None:
        """Call this when it ends, before it waits for requests that are still answered."""
        self._ends.append(call)

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for call in self._ends:
            call()
        if self._runner is not None:
            await self._runner.cleanup()
        if self.listening:
            self.listening = False
            with contextlib.suppress(OSError):
                self.path.unlink()

    async def _get_snapshot(self, _request: web.Request) -> web.StreamResponse:
        return web.Response(text=to_json(await self._snapshot()), content_type="application/json")

    async def _get_health(self, _request: web.Request) -> web.StreamResponse:
        health = await self._health()
        return web.json_response(health_body(health), status=200 if health.ready else 503)


def bound_in(folder: Path) -> socket.socket:
    """A listening socket in that folder, for this user only. OSError if it cannot be had, or somebody else has it."""
    sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_CLOEXEC)
    try:
        with socket_path(folder) as path:
            if (folder / NAME).exists():
                if _answers(path):
                    raise FileExistsError("another instance listens there")
                (folder / NAME).unlink()  # left behind by one that crashed
            sock.bind(path)
            os.chmod(folder / NAME, 0o600)
        sock.listen(BACKLOG)
        sock.setblocking(False)
    except BaseException:
        sock.close()
        raise
    return sock


def _answers(path: str) -> bool:
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
        probe.settimeout(PROBE_SECONDS)
        try:
            probe.connect(path)
        except OSError:
            return False
        return True
