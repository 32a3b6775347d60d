"""The destination of the demo: a small web server on loopback with a page, its assets and a file of random bytes."""

import hashlib
import random
from types import TracebackType
from typing import Final, Self

from aiohttp import web

_SEED: Final = 20260101  # the same page and file each time: numbers of two runs can be compared
_STYLE: Final = b"body{font:16px sans-serif;max-width:40em;margin:3em auto}img{width:8em}\n"


class Site:
    """Serves while inside ``async with``."""

    def __init__(self, size: int) -> None:
        rng = random.Random(_SEED)  # noqa: S311 - filler
        images = {f"/image{number}.bin": rng.randbytes(30_000) for number in (1, 2, 3, 4)}
        tags = "".join(f'<img src="{path}" alt="noise">' for path in images)
        html = (
            '<!doctype html><title>Through five hops</title><link rel="stylesheet" href="/style.css">'
            f'<script src="/script.js"></script><h1>It works</h1><p>This page came through a mixnet.</p>{tags}\n'
        )
        self._bodies = {
            "/": html.encode(),
            "/style.css": _STYLE,
            "/script.js": b"console.log('through five hops');\n" * 200,
            **images,
            "/file.bin": rng.randbytes(size),
        }
        self.size = size
        self.file = "/file.bin"
        self.page = [path for path in self._bodies if path != self.file]
        self._runner: web.AppRunner | None = None
        self._port = 0

    def url(self, path: str) -> str:
        """By name: it is resolved at the exit."""
        return f"http://localhost:{self._port}{path}"

    def sha256(self, path: str) -> str:
        """Of what the server has."""
        return hashlib.sha256(self._bodies[path]).hexdigest()

    async def __aenter__(self) -> Self:
        app = web.Application()
        app.router.add_get("/{tail:.*}", self._answer)
        self._runner = web.AppRunner(app, access_log=None)
        await self._runner.setup()
        site = web.TCPSite(self._runner, "127.0.0.1", 0)
        await site.start()
        self._port = self._runner.addresses[0][1]
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        assert self._runner is not None
        await self._runner.cleanup()

    async def _answer(self, request: web.Request) -> web.Response:
        body = self._bodies.get(request.path)
        return web.Response(body=body) if body is not None else web.Response(status=404)
