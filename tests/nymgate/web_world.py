"""A status page over numbers that a test makes up, and a browser that looks at it."""

import asyncio
import base64
import contextlib
import dataclasses
import shutil
import subprocess
import types

import aiohttp
import pytest

from nym_mixnet.profiles import ENTRY_TICKET_BYTES
from nymgate.apps.reachable import Reachable
from nymgate.exits.pool import ExitState
from nymgate.watch.control_io import ControlServer
from nymgate.watch.health import Facts, Probe, Trouble, judge
from nymgate.watch.snapshot import (
    Budget,
    Costs,
    Exits,
    Histogram,
    Identities,
    Links,
    Money,
    Packets,
    Purse,
    Snapshot,
    Streams,
    TicketStock,
    TopUp,
)
from nymgate.watch.steering_io import Controls, routes
from nymgate.watch.web_io import WebServer
from tests.nymgate.inside_browser import FLAGS, Tools, active_port

TOKEN = "a token for tests, long enough"
NOW = 1_790_000_000.0
HOURS = 31.5
AWAKE_HOURS = 5.4
LISTENER = "127.0.0.1:1080"
FULL_ADDRESS = "an address nobody shall see on the page"
WELL = Facts(NOW, link="ready", pays=True, loop=Probe(NOW - 2, 0.4), exit=Probe(NOW - 3, 0.9))
LOW = dataclasses.replace(
    WELL,
    supply="degraded",
    hindrance=Trouble(
        "signers",
        "E_SIGNERS",
        "Three of five signers do not answer, so no ticketbook can be bought.",
        "It is tried again by itself.",
    ),
)
BROKEN = dataclasses.replace(WELL, exit=Probe(NOW - 60, 0.9, NOW - 1, 3, "no answer in 5 s"))


def snapshot(facts=WELL, **more):
    """A proxy in use for a day and a bit, with the profile `standard`."""
    values = {
        "taken_unix": NOW,
        "started_unix": NOW - HOURS * 3600,
        "version": "0.9.0",
        "python": "3.11.9",
        "network": "mainnet",
        "profile": "standard",
        "listening": (LISTENER,),
        "health": judge(facts),
        "costs": Costs(2.3886, 477.7e6, 75_000_000),
        "money": Money(
            purse=Purse(
                tickets={"v1-mixnet-entry": TicketStock(84, 1, 14, 1, 0, {"6": 84}, {"active": 2})},
                expires="2026-09-28",
                deposits=2,
                price_unym=150_000_000,
                fees_unym=7_876,
                balance_unym=412_500_000,
                balance_unix=NOW - 60,
            ),
            budget=Budget(
                {"day": 150_000_000, "month": 1_500_000_000}, {"day": 75_000_000, "month": 150_000_000}
            ),
            topup=TopUp(enabled=True, tickets_per_day=11.0, runs_out_unix=NOW + 7 * 86400, bought=2),
        ),
        "links": Links({"ready": 1}, 150_000_000, 150_000_000, 2_700_000_000, 2_800_000_000, claims=14),
        "packets": Packets(sent_first=246_000, sent_again=2_100, sent_cover=866_000, received_acks=240_000),
        "streams": Streams(
            open=7,
            connections=9,
            accepted={LISTENER: 1311},
            ended={LISTENER: {"ok": 1289, "E_TARGET_CONNECT": 9, "E_EXIT_POLICY": 4}},
            bytes_up=38_400_000,
            bytes_down=1_240_000_000,
            first_byte_seconds=Histogram(counts=(0, 0, 0, 20, 900, 300, 60, 9, 0, 0), sum=1400.0),
        ),
        "exits": Exits({"in_use": 1, "up": 1, "down": 1}, 2),
        "identities": Identities({"busy": 1}, AWAKE_HOURS * 3600),
    }
    return Snapshot(**(values | more))


EXITS = [
    ExitState("7fXqZ2Wc", FULL_ADDRESS, "CH", 99, "in use", 1.0, 3.0, 0.82, 7, 1180, 1, True),
    ExitState("9sTbYg4e", FULL_ADDRESS + "2", "DE", 97, "up", 40.0, 200.0, 1.1, 0, 122, 3, True),
    ExitState("Bm3KuQ8v", FULL_ADDRESS + "3", "NL", 71, "down", 900.0, 30.0, None, 0, 9, 0, False),
    ExitState("Cv8Lp1Hd", FULL_ADDRESS + "4", "SE", 95, "untried", None, None, None, 0, 0, 0, False),
]


class World:
    """What the page is about; set ``now`` and ``exits`` as you like."""

    def __init__(self):
        self.now = snapshot()
        self.exits = EXITS
        self.orders = []
        self.lines = []
        mixnet = types.SimpleNamespace(replies="anonymous")
        tickets = types.SimpleNamespace(ticket_size=ENTRY_TICKET_BYTES)
        self.plan = types.SimpleNamespace(config=types.SimpleNamespace(mixnet=mixnet, tickets=tickets))
        self.controls = Controls(
            plan=self.the_plan,
            snapshot=self._snapshot,
            health=self._health,
            exits=self._exits,
            reachable=lambda: Reachable.of([("127.0.0.1", 1080)], [], []),
            money=contextlib.nullcontext,
            buying=contextlib.nullcontext(),
            logs=self._logs,
            reload=lambda: self.orders.append("reload"),
            end=lambda: self.orders.append("end"),
        )

    def the_plan(self):
        return self.plan

    async def _snapshot(self):
        return self.now

    async def _health(self):
        return self.now.health

    async def _exits(self):
        return self.exits

    async def _logs(self):
        return self.lines

    @contextlib.asynccontextmanager
    async def page(self, **options):
        async with WebServer("127.0.0.1", 0, self.controls, token=TOKEN, **options) as server:
            yield server


class Browser:
    """One tab."""

    def __init__(self, tools):
        self.tools = tools

    async def open(self, url, *, width=1100, height=900, dark=False, script=True, phone=False):
        call = self.tools.call
        await call(
            "Emulation.setDeviceMetricsOverride",
            width=width,
            height=height,
            deviceScaleFactor=1,
            mobile=phone,
        )
        scheme = "dark" if dark else "light"
        await call("Emulation.setEmulatedMedia", features=[{"name": "prefers-color-scheme", "value": scheme}])
        await call("Emulation.setScriptExecutionDisabled", value=not script)
        await call("Page.navigate", url=url)
        await self.until("document.readyState === 'complete' && !!document.querySelector('main')")

    async def value(self, expression):
        return await self.tools.value(expression)

    async def until(self, expression):
        async with asyncio.timeout(60):
            while not await self.value(expression):  # noqa: ASYNC110 - a page in another process is polled
                await asyncio.sleep(0.1)

    async def shot(self):
        """The whole page as PNG."""
        size = (await self.tools.call("Page.getLayoutMetrics"))["cssContentSize"]
        clip = {"x": 0, "y": 0, "width": size["width"], "height": size["height"], "scale": 1}
        found = await self.tools.call(
            "Page.captureScreenshot", format="png", clip=clip, captureBeyondViewport=True
        )
        return base64.b64decode(found["data"])


@contextlib.asynccontextmanager
async def browser(folder):
    """Headless Chromium."""
    program = shutil.which("chromium") or pytest.fail("chromium is needed by this test")
    profile = folder / "profile"
    process = await asyncio.create_subprocess_exec(
        program, *FLAGS, f"--user-data-dir={profile}", "about:blank", stderr=subprocess.DEVNULL
    )
    try:
        async with asyncio.timeout(60):
            port = await active_port(profile, process)
        async with aiohttp.ClientSession() as session:
            pages = []
            while not pages:
                async with session.get(f"http://127.0.0.1:{port}/json/list") as response:
                    pages = [page for page in await response.json() if page["type"] == "page"]
                await asyncio.sleep(0.05)
            async with session.ws_connect(pages[0]["webSocketDebuggerUrl"], max_msg_size=0) as channel:
                yield Browser(Tools(channel))
    finally:
        process.terminate()
        await process.wait()


def control_server(world, folder):
    """The control socket of that world."""
    folder.mkdir(parents=True, exist_ok=True)
    server = ControlServer(folder, snapshot=world.controls.snapshot, health=world.controls.health)
    server.add(routes(world.controls))
    server.at_end(world.controls.closing.set)
    return server
