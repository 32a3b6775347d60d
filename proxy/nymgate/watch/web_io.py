"""The port for people and their browsers: the status page, the PAC file, and with its token the control API.

A page of another site must not read what is here, nor give orders. So it answers only to addresses, ``localhost`` and
the configured names (DNS rebinding), refuses what a browser asks for on behalf of another site, and never says that
others may read an answer (no CORS). The API wants its token in a header that no form can send.
"""

import contextlib
import hmac
import ipaddress
import os
import secrets
from collections.abc import Awaitable, Callable, Collection
from importlib.resources import files
from pathlib import Path
from types import TracebackType
from typing import Final, Self
from urllib.parse import urlsplit

import structlog
from aiohttp import web

from nymgate.access.judge import is_loopback
from nymgate.apps.pac import CONTENT_TYPE, pac_file
from nymgate.errors import ConfigError, DataFolderError, ListenError
from nymgate.sections.types import split_address
from nymgate.units import join_address
from nymgate.watch.control_api import PREFIX
from nymgate.watch.exporter_io import bound
from nymgate.watch.page import inside, title, where, whole_page
from nymgate.watch.steering_io import Controls, denied, routes

log = structlog.get_logger("nymgate.web")

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]

TOKEN_NAME: Final = "web.token"  # noqa: S105 - a file's name
TOKEN_BYTES: Final = 32
LEAST_TOKEN_CHARACTERS: Final = 16
MOST_TOKEN_BYTES: Final = 4096
MOST_BODY_BYTES: Final = 64 << 10
BACKLOG: Final = 64
ASSETS: Final = {
    "page.css": "text/css",
    "page.js": "text/javascript",
    "icon.svg": "image/svg+xml",
}
HEADERS: Final = {
    "Content-Security-Policy": "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; "
    "connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Cache-Control": "no-store",
}


class WebServer:
    """Use as an async context manager; ``address`` then says where it listens."""

    def __init__(
        self,
        host: str,
        port: int,
        controls: Controls,
        *,
        token: str,
        names: Collection[str] = (),
        permits: Callable[[str], bool] = is_loopback,
    ) -> None:
        """``permits``: whether a machine with that IP address may ask. ``names``: by which it may be asked for, beside
        addresses and ``localhost``. ``port`` 0 takes any free one."""
        self._wanted = host, port
        self._controls = controls
        self._token = token.encode("utf-8", "surrogateescape")
        self._names = {name.lower().rstrip(".") for name in names} | {"localhost"}
        self._permits = permits
        self._assets = {
            name: files("nymgate.watch").joinpath("pages", name).read_text(encoding="utf-8")
            for name in ASSETS
        }
        self.address: tuple[str, int] = (host, port)
        """With the port that the system chose."""

    @property
    def url(self) -> str:
        """Of the page, as this machine reaches it."""
        host, port = self.address
        here = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(host, host)
        return f"http://{join_address(here, port)}/"

    async def __aenter__(self) -> Self:
        app = web.Application(middlewares=[self._guard], client_max_size=MOST_BODY_BYTES)
        app.add_routes(
            [
                web.get("/", self._page),
                web.get("/inside", self._inside),
                web.get("/proxy.pac", self._pac),
                *(web.get(f"/{name}", self._asset) for name in ASSETS),
                *routes(self._controls),
            ]
        )
        sock = bound(*self._wanted, what="the status page", key="listen.web")
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
        self._controls.closing.set()
        await self._runner.cleanup()

    # ---- who may ask --------------------------------------------------------------------------------------

    @web.middleware
    async def _guard(self, request: web.Request, handler: Handler) -> web.StreamResponse:
        problem = self._problem(request)
        if problem is not None:
            return _said(*problem, as_json=_is_api(request))
        try:
            response = await handler(request)
        except web.HTTPException as error:
            return _said(error.status, error.text or error.reason, more=dict(error.headers))
        if not response.prepared:
            response.headers.update(HEADERS)
        return response

    def _problem(self, request: web.Request) -> tuple[int, str, str] | None:
        """Status, what is wrong and what to do; None if there is nothing."""
        peer = request.remote
        if peer is None or not self._permits(peer):
            return 403, "This machine may not ask here.", "See [access] allow."
        if not self._is_ours(request.host):
            return (
                403,
                "That is no name of this page.",
                "Ask by address, as http://127.0.0.1 and the port, or name the host in [listen] web_names.",
            )
        is_api = _is_api(request)
        site = request.headers.get("Sec-Fetch-Site", "none")
        shown = request.headers.get("Sec-Fetch-Mode") == "navigate" and request.method == "GET" and not is_api
        if site not in ("none", "same-origin") and not shown:
            return 403, "Another site asks: refused.", "Ask from this page, or from a program."
        origin = request.headers.get("Origin")
        if origin is not None and urlsplit(origin).netloc.lower() != request.host.lower():
            return 403, "Another site asks: refused.", "Ask from this page, or from a program."
        if is_api and not self._has_token(request):
            return (
                401,
                "The control API wants its token.",
                "Send it as Authorization: Bearer, and what web.token holds.",
            )
        return None

    def _is_ours(self, host: str) -> bool:
        has_port = host.count(":") == 1 or "]:" in host
        name = (host.rpartition(":")[0] if has_port else host).strip("[]").lower().rstrip(".")
        if name in self._names:
            return True
        try:
            ipaddress.ip_address(name)
        except ValueError:
            return False
        return True

    def _has_token(self, request: web.Request) -> bool:
        scheme, _, given = request.headers.get("Authorization", "").partition(" ")
        right = hmac.compare_digest(given.strip().encode("utf-8", "surrogateescape"), self._token)
        return right and scheme.lower() == "bearer"

    # ---- what there is ------------------------------------------------------------------------------------

    async def _page(self, _request: web.Request) -> web.StreamResponse:
        text = whole_page(await self._controls.status(), f"{self.url}proxy.pac")
        return web.Response(text=text, content_type="text/html")

    async def _inside(self, _request: web.Request) -> web.StreamResponse:
        status = await self._controls.status()
        text = (
            f'<!doctype html><title>{title(status)}</title><p id="where" class="where">{where(status)}</p>'
            f'<main id="inside">{inside(status)}</main>'
        )
        return web.Response(text=text, content_type="text/html")

    async def _pac(self, _request: web.Request) -> web.StreamResponse:
        return web.Response(text=pac_file(self._controls.reachable()), content_type=CONTENT_TYPE)

    async def _asset(self, request: web.Request) -> web.StreamResponse:
        name = request.path.removeprefix("/")
        return web.Response(text=self._assets[name], content_type=ASSETS[name])


def _is_api(request: web.Request) -> bool:
    return request.path == PREFIX or request.path.startswith(f"{PREFIX}/")


def _said(
    status: int, what: str, todo: str = "", *, more: dict[str, str] | None = None, as_json: bool = False
) -> web.Response:
    kept = {name: value for name, value in (more or {}).items() if name in ("Allow", "Location")}
    if status == 401:
        kept["WWW-Authenticate"] = "Bearer"
    if as_json:
        response = denied(status, what, todo)
        response.headers.update(HEADERS | kept)
        return response
    text = f"{what.rstrip()} {todo}".rstrip()
    return web.Response(status=status, text=f"{text}\n", headers=HEADERS | kept)


def token_for(folder: Path, configured: str) -> str:
    """The token of the API: the configured file's, or that of the folder, which is made if it is missing.

    Raises ConfigError or DataFolderError.
    """
    path = Path(configured).expanduser() if configured else folder / TOKEN_NAME
    try:
        if not configured and not path.exists():
            _make(path)
        with path.open("rb") as file:
            token = file.read(MOST_TOKEN_BYTES + 1).decode("utf-8", "surrogateescape").strip()
    except OSError as error:
        if configured:
            raise ConfigError(
                f"The token of the control API cannot be read from {path}: {error.strerror}.",
                "Correct listen.web_token_file, or leave it empty.",
            ) from error
        raise DataFolderError(
            f"The token of the control API cannot be kept in {path}: {error.strerror}.",
            "Correct the permissions of the data folder.",
        ) from error
    if not LEAST_TOKEN_CHARACTERS <= len(token) <= MOST_TOKEN_BYTES:
        raise ConfigError(
            f"The file {path} holds no token of {LEAST_TOKEN_CHARACTERS} to {MOST_TOKEN_BYTES} characters.",
            "Write a long random one into it" + ("." if configured else ", or delete it: a new one is made."),
        )
    return token


def _make(path: Path) -> None:
    fresh = path.with_name(f".{path.name}.{os.getpid()}")
    fresh.unlink(missing_ok=True)
    with os.fdopen(os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as file:
        file.write(secrets.token_urlsafe(TOKEN_BYTES) + "\n")
    with contextlib.suppress(FileExistsError):
        os.link(fresh, path)  # another process may have been first
    fresh.unlink()


async def serve_web(
    controls: Controls, stack: contextlib.AsyncExitStack, permits: Callable[[str], bool]
) -> WebServer | None:
    """Serve what `[listen] web` asks for until the stack is closed. Raises ListenError, ConfigError."""
    plan = controls.plan()
    listen = plan.config.listen
    if not listen.web:
        return None
    token = token_for(plan.folder, listen.web_token_file)
    server = WebServer(
        *split_address(listen.web), controls, token=token, names=listen.web_names, permits=permits
    )
    try:
        return await stack.enter_async_context(server)
    except ListenError as error:
        if "web" in listen.model_fields_set:
            raise
        # Nobody has asked for this port: a second proxy on this machine shall not fail for it.
        log.warning("web.off", reason=error.what, todo=error.todo)
        return None
