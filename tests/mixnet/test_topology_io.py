"""What a directory can do to a client below the level of its bodies, and what the environment cannot."""

from __future__ import annotations

import asyncio
import gzip
import json
import random
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

import pytest
from aiohttp import web

from nym_mixnet.described import encode_described_page
from nym_mixnet.errors import NymApiError
from nym_mixnet.nym_api import KeyRotationInfo, encode_key_rotation_info
from nym_mixnet.topology_io import NymApiOptions, NymApiSource

INFO = KeyRotationInfo(24, 0, 100, 1_700_000_000 * 10**9, 3600 * 10**9)
BODY = encode_key_rotation_info(INFO)


@asynccontextmanager
async def directory(
    answer: Callable[[web.Request], Awaitable[web.StreamResponse]], **options: float
) -> AsyncIterator[NymApiSource]:
    app = web.Application()
    app.router.add_get("/{path:.*}", answer)
    runner = web.AppRunner(app, shutdown_timeout=0.1, handler_cancellation=True)
    await runner.setup()
    try:
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        url = f"http://127.0.0.1:{runner.addresses[0][1]}"
        patience = NymApiOptions(attempts=1, **options)  # type: ignore[arg-type]
        yield NymApiSource([url], options=patience, rng=random.Random(1))
    finally:
        await runner.cleanup()


async def test_nothing_is_taken_from_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY"):
        monkeypatch.setenv(name, "http://127.0.0.1:1")
    asked = []

    async def answer(request: web.Request) -> web.StreamResponse:
        asked.append(request.headers)
        return web.Response(text=BODY)

    async with directory(answer) as source:
        assert await source.key_rotation_info() == INFO
    assert asked[0]["User-Agent"] == "nymgate"
    assert "Cookie" not in asked[0]


async def test_the_date_of_an_answer_that_lay_in_a_cache_says_nothing_about_our_clock() -> None:
    headers = [{}, {"Age": "0"}, {"Age": "290"}, {"Age": "odd"}]
    stated = []

    async def answer(request: web.Request) -> web.StreamResponse:
        return web.Response(text=BODY, headers={"Date": "Fri, 02 Jan 2026 03:04:05 GMT", **headers.pop(0)})

    async with directory(answer) as source:
        fresh = NymApiSource([source.current_url], on_date=lambda date, *_: stated.append(date))
        while headers:
            await fresh.key_rotation_info()
    assert stated == ["Fri, 02 Jan 2026 03:04:05 GMT"] * 2


async def test_the_limit_holds_for_what_a_compressed_body_becomes() -> None:
    bomb = gzip.compress(b" " * 5_000_000)
    assert len(bomb) < 100_000

    async def answer(_: web.Request) -> web.StreamResponse:
        return web.Response(body=bomb, headers={"Content-Encoding": "gzip"})

    async with directory(answer, body_limit_bytes=1_000_000) as source:
        with pytest.raises(NymApiError, match="more than 1000000 bytes"):
            await source.key_rotation_info()


@pytest.mark.parametrize("started", [False, True])
async def test_silence_before_or_in_the_middle_of_an_answer(started: bool) -> None:
    async def answer(request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse()
        if started:
            await response.prepare(request)
            await response.write(b"{")
        await asyncio.Event().wait()
        return response

    async with directory(answer, request_timeout_seconds=0.05) as source:
        with pytest.raises(NymApiError, match="no answer in time"):
            await source.key_rotation_info()


async def test_an_answer_that_breaks_off() -> None:
    async def answer(request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse(headers={"Content-Length": "1000"})
        await response.prepare(request)
        await response.write(b"{")
        assert request.transport is not None
        request.transport.abort()
        return response

    async with directory(answer) as source:
        with pytest.raises(NymApiError, match="cannot be reached"):
            await source.key_rotation_info()


async def test_announced_nodes_that_never_come() -> None:
    document = json.loads(encode_described_page([]))
    document["pagination"]["total"] = 5

    async def answer(_: web.Request) -> web.StreamResponse:
        return web.json_response(document)

    async with directory(answer) as source:
        assert await source.described_nodes() == []
