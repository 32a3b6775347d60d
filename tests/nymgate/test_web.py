"""The port for people: who may ask, what they get, and what a page of another site does not get."""

import asyncio
import json
import os
import socket
import stat
import types
from contextlib import AsyncExitStack

import aiohttp
import pytest

from nymgate.access.plan import refuse_exposure
from nymgate.config_layers import load
from nymgate.errors import ConfigError, DataFolderError, ListenError
from nymgate.watch.control_api import OPERATIONS, PREFIX
from nymgate.watch.events import KINDS
from nymgate.watch.web_io import TOKEN_NAME, serve_web, token_for
from tests.nymgate.web_world import BROKEN, FULL_ADDRESS, TOKEN, World, snapshot

BEARER = {"Authorization": f"Bearer {TOKEN}"}


@pytest.fixture
def world():
    return World()


async def ask(server, path, method="GET", *, headers=None, body=None):
    """Status, headers and text."""
    async with (
        aiohttp.ClientSession() as session,
        session.request(
            method, server.url.rstrip("/") + path, headers=headers, data=body, allow_redirects=False
        ) as answer,
    ):
        return answer.status, answer.headers, await answer.text()


async def test_the_page_says_what_there_is_without_a_script(world):
    async with world.page() as server:
        status, headers, text = await ask(server, "/")
        assert status == 200
        for said in ("84 left", "Streams get through", "15.4 NYM a day", "standard", "7fXqZ2Wc", "1289"):
            assert said in text
        assert f"{server.url}proxy.pac" in text
        assert FULL_ADDRESS not in text
        assert headers["Content-Type"].startswith("text/html")
        world.now = snapshot(BROKEN)
        await asyncio.sleep(0.5)
        _, _, text = await ask(server, "/inside")
        assert "<strong>exit</strong> is failing" in text


async def test_nothing_comes_from_elsewhere(world):
    async with world.page() as server:
        _, headers, page = await ask(server, "/")
        policy = headers["Content-Security-Policy"]
        assert "default-src 'none'" in policy
        assert "unsafe" not in policy
        assert "http" not in policy
        for path in ("/page.css", "/page.js", "/icon.svg"):
            status, headers, text = await ask(server, path)
            assert status == 200
            assert headers["X-Content-Type-Options"] == "nosniff"
            page += text
        rest = page.replace(server.url, "").replace("http://www.w3.org/2000/svg", "")
        assert "http" not in rest.replace("http-equiv", "")
        assert "style=" not in page, "the policy forbids it"
        assert "Access-Control-Allow-Origin" not in headers


async def test_the_pac_file_stands_beside_it(world):
    async with world.page() as server:
        status, headers, text = await ask(server, "/proxy.pac")
        assert status == 200
        assert headers["Content-Type"].startswith("application/x-ns-proxy-autoconfig")
        assert "SOCKS5 127.0.0.1:1080" in text
        assert "DIRECT" not in text.split("function")[1]


@pytest.mark.parametrize(
    ("host", "status"),
    [
        ("localhost", 200),
        ("LOCALHOST.:9471", 200),
        ("127.0.0.1:80", 200),
        ("[::1]:9471", 200),
        ("nymgate.lan:9471", 200),
        ("evil.example", 403),
        ("127.0.0.1.evil.example:9471", 403),
        ("localhost.evil.example", 403),
        ("", 403),
        ("lan", 403),
    ],
)
async def test_it_is_asked_for_by_its_own_names_only(world, host, status):
    async with world.page(names=["Nymgate.LAN"]) as server:
        for path in ("/", "/inside", "/proxy.pac", "/page.js"):
            assert (await ask(server, path, headers={"Host": host}))[0] == status
        found, _, text = await ask(server, f"{PREFIX}/status", headers={"Host": host} | BEARER)
        assert found == status
        assert "84" not in text or status == 200


@pytest.mark.parametrize(
    ("headers", "page", "api"),
    [
        ({}, 200, 200),
        ({"Sec-Fetch-Site": "none", "Sec-Fetch-Mode": "navigate"}, 200, 200),
        ({"Sec-Fetch-Site": "same-origin"}, 200, 200),
        ({"Sec-Fetch-Site": "cross-site", "Sec-Fetch-Mode": "navigate"}, 200, 403),
        ({"Sec-Fetch-Site": "cross-site", "Sec-Fetch-Mode": "no-cors"}, 403, 403),
        ({"Sec-Fetch-Site": "same-site", "Sec-Fetch-Mode": "cors"}, 403, 403),
        ({"Origin": "https://evil.example"}, 403, 403),
        ({"Origin": "null"}, 403, 403),
        ({"Origin": "http://127.0.0.1:1"}, 403, 403),
    ],
)
async def test_what_another_site_asks_is_refused_token_or_not(world, headers, page, api):
    async with world.page() as server:
        assert (await ask(server, "/inside", headers=headers))[0] == page
        assert (await ask(server, f"{PREFIX}/status", headers=headers | BEARER))[0] == api
        assert (await ask(server, f"{PREFIX}/reload", "POST", headers=headers | BEARER))[0] in (202, 403)
        await asyncio.sleep(0.1)
        assert world.orders == (["reload"] if api == 200 else [])
        own = {"Origin": server.url.rstrip("/")}
        assert (await ask(server, "/inside", headers=own))[0] == 200


async def test_the_api_wants_its_token(world):
    async with world.page() as server:
        wrong = ["", "Bearer", "Bearer ", f"Bearer {TOKEN}x", f"Bearer {TOKEN[:-1]}", f"Basic {TOKEN}", TOKEN]
        wrong += ["Bearer \xff\xfe", "bearer " + TOKEN.upper()]
        for operation in OPERATIONS:
            for given in (None, *wrong):
                headers = {} if given is None else {"Authorization": given}
                status, answer, text = await ask(
                    server, PREFIX + operation.path, operation.method, headers=headers
                )
                assert status == 401, (operation, given)
                assert answer["WWW-Authenticate"] == "Bearer"
                assert TOKEN not in text
        for path, given, code in (
            ("/none", BEARER, 404),
            ("/reload", BEARER, 405),
            ("/status", {}, 401),
            ("/status", BEARER | {"Host": "evil.example"}, 403),
        ):
            status, answer, text = await ask(server, PREFIX + path, headers=given)
            assert status == code
            assert answer["Content-Type"].startswith("application/json")
            assert answer["Cache-Control"] == "no-store"
            assert json.loads(text)["error"]["code"] == "E_API"
        assert (await ask(server, f"{PREFIX}/none", headers=BEARER))[0] == 404
        assert (await ask(server, f"{PREFIX}/none"))[0] == 401, "what there is is not told either"
        assert (await ask(server, f"{PREFIX}/reload", headers=BEARER))[0] == 405
        status, _, text = await ask(server, f"{PREFIX}/status", headers={"Authorization": f"bearer {TOKEN}"})
        assert status == 200
        assert json.loads(text)["tickets"]["remaining"] == 84
        assert world.orders == []


async def test_who_may_not_connect_gets_nothing(world):
    async with world.page(permits=lambda peer: False) as server:
        for path in ("/", "/proxy.pac", f"{PREFIX}/status"):
            assert (await ask(server, path, headers=BEARER))[0] == 403


async def test_other_methods_and_paths(world):
    async with world.page() as server:
        for path, method, status in (
            ("/", "POST", 405),
            ("/../../etc/passwd", "GET", 404),
            ("/pages/page.css", "GET", 404),
            ("/metrics", "GET", 404),
            ("/", "HEAD", 200),
            ("/", "OPTIONS", 405),
        ):
            found, headers, _ = await ask(server, path, method)
            assert found == status, path
            assert "Access-Control-Allow-Origin" not in headers
            assert "default-src 'none'" in headers["Content-Security-Policy"]


async def test_orders_and_what_is_known(world):
    async with world.page() as server:
        for path, key in (("index", "/"), ("exits", "/exits"), ("logs", "/logs"), ("health", "/health")):
            status, _, text = await ask(server, PREFIX + key, headers=BEARER)
            assert status == 200, path
            json.loads(text)
        index = json.loads((await ask(server, f"{PREFIX}/", headers=BEARER))[2])
        assert [one["path"] for one in index] == [PREFIX + one.path for one in OPERATIONS]
        assert (await ask(server, f"{PREFIX}/reload", "POST", headers=BEARER))[0] == 202
        assert (await ask(server, f"{PREFIX}/drain", "POST", headers=BEARER))[0] == 202
        await asyncio.sleep(0.3)
        assert world.orders == ["reload", "end"]
        world.controls.reload = None
        status, _, text = await ask(server, f"{PREFIX}/reload", "POST", headers=BEARER)
        assert status == 403
        assert json.loads(text)["error"]["code"] == "E_DECLINED"
        world.now = snapshot(BROKEN)
        assert (await ask(server, f"{PREFIX}/health", headers=BEARER))[0] == 503


async def test_events_tell_what_changes(world):
    async with (
        world.page() as server,
        aiohttp.ClientSession() as session,
        session.get(f"{server.url}api/events", headers=BEARER) as answer,
        asyncio.timeout(60),
    ):
        assert answer.headers["Content-Type"] == "text/event-stream"
        kind, data = await event(answer)
        assert (kind, data["ready"]) == ("status", True)
        world.now = snapshot(BROKEN, exits=types.SimpleNamespace(states={"down": 3}, failovers=3))
        seen = {}
        while "health" not in seen:
            kind, data = await event(answer)
            assert kind in KINDS
            seen[kind] = data
        assert seen["health"]["layer"] == "exit"
        assert seen["layer"]["state"] == "failing"
        assert seen["exits"]["changes"] == 3
        assert FULL_ADDRESS not in json.dumps(seen)
    assert world.controls.closing.is_set()


async def event(answer):
    kind = data = None
    async for line in answer.content:
        text = line.decode().rstrip("\n")
        if text.startswith("event: "):
            kind = text.removeprefix("event: ")
        elif text.startswith("data: "):
            data = json.loads(text.removeprefix("data: "))
        elif not text and kind is not None:
            return kind, data
    raise AssertionError("the stream has ended")


async def test_so_many_may_listen_to_events(world):
    world.controls.listeners = 16
    async with world.page() as server:
        assert (await ask(server, f"{PREFIX}/events", headers=BEARER))[0] == 503


# ---- where it listens, and its token ------------------------------------------------------------------------------


def test_the_token_is_made_once_for_this_user_alone(tmp_path):
    token = token_for(tmp_path, "")
    assert len(token) >= 40
    assert stat.S_IMODE((tmp_path / TOKEN_NAME).stat().st_mode) == 0o600
    assert token_for(tmp_path, "") == token
    assert os.listdir(tmp_path) == [TOKEN_NAME]


def test_a_token_of_ones_own(tmp_path):
    file = tmp_path / "token"
    file.write_text("  sixteen-or-more-x\n")
    assert token_for(tmp_path, str(file)) == "sixteen-or-more-x"
    file.write_text("short")
    with pytest.raises(ConfigError, match="no token of 16"):
        token_for(tmp_path, str(file))
    with pytest.raises(ConfigError, match="cannot be read"):
        token_for(tmp_path, str(tmp_path / "none"))
    assert os.listdir(tmp_path) == ["token"]
    with pytest.raises(DataFolderError, match="cannot be kept"):
        token_for(tmp_path / "none", "")


def plan_with(tmp_path, web, *, asked):
    listen = types.SimpleNamespace(
        web=web, web_token_file="", web_names=[], model_fields_set={"web"} if asked else set()
    )
    return types.SimpleNamespace(config=types.SimpleNamespace(listen=listen), folder=tmp_path)


async def test_a_taken_port_is_an_error_only_if_it_was_asked_for(world, tmp_path):
    with socket.create_server(("127.0.0.1", 0)) as taken:
        address = f"127.0.0.1:{taken.getsockname()[1]}"
        async with AsyncExitStack() as stack:
            world.plan = plan_with(tmp_path, address, asked=False)
            assert await serve_web(world.controls, stack, lambda peer: True) is None
            world.plan = plan_with(tmp_path, address, asked=True)
            with pytest.raises(ListenError, match=f"Cannot serve the status page on {address}.*listen.web"):
                await serve_web(world.controls, stack, lambda peer: True)
            world.plan = plan_with(tmp_path, "", asked=True)
            assert await serve_web(world.controls, stack, lambda peer: True) is None


@pytest.mark.parametrize(
    ("settings", "refused"),
    [
        ({"listen.web": "0.0.0.0:9471"}, True),
        ({"listen.web": "[::]:9471", "access.allow": ["::/0"]}, True),
        ({"listen.web": "0.0.0.0:9471", "access.allow": ["192.168.0.0/16"]}, False),
        ({"listen.web": "127.0.0.1:9471"}, False),
        ({"listen.web": ""}, False),
    ],
)
def test_other_machines_see_it_only_if_they_are_named(settings, refused):
    config = load(environ={"HOME": "/nonexistent"}, flags=settings).config
    if not refused:
        refuse_exposure(config)
        return
    with pytest.raises(ConfigError, match=r"listen\.web has"):
        refuse_exposure(config)
