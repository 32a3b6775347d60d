"""The status page in headless Chromium: live, in both themes, on a phone, without a script, and only from here.

With PAGE_SHOTS set to a folder, the pictures for the documentation are written there: they are made of the same page.
"""

import asyncio
import os
import re
from pathlib import Path

import pytest

from nym_localnet.background_io import BackgroundLocalnet
from nym_localnet.options import LocalnetOptions, Mode
from tests.nymgate.png import smaller
from tests.nymgate.socks_client import through
from tests.nymgate.test_end_to_end import website
from tests.nymgate.watched_world import watched
from tests.nymgate.web_world import BROKEN, LOW, World, browser, snapshot

pytestmark = pytest.mark.slow

PHONE = {"width": 360, "height": 740, "phone": True}
LEAST_CONTRAST = 4.5
"""Of text on its background, as WCAG 2 AA asks."""

CONTRAST = """
(() => {
  const parse = (text) => text.match(/[\\d.]+/g).map(Number);
  const light = ([r, g, b]) => {
    const part = (c) => { c /= 255; return c <= 0.03928 ? c / 12.92 : ((c + 0.055) / 1.055) ** 2.4; };
    return 0.2126 * part(r) + 0.7152 * part(g) + 0.0722 * part(b);
  };
  const behind = (element) => {
    for (let e = element; e; e = e.parentElement) {
      const colour = parse(getComputedStyle(e).backgroundColor);
      if (colour.length < 4 || colour[3] > 0) return colour;
    }
    return [255, 255, 255];
  };
  const found = [];
  for (const element of document.body.querySelectorAll("*")) {
    const own = [...element.childNodes].some((n) => n.nodeType === 3 && n.textContent.trim());
    if (!own || !element.getClientRects().length) continue;
    const pair = [light(parse(getComputedStyle(element).color)), light(behind(element))].sort((a, b) => b - a);
    found.push({ratio: (pair[0] + 0.05) / (pair[1] + 0.05), text: element.textContent.slice(0, 40)});
  }
  return found;
})()
"""
OVERFLOW = """
[...document.querySelectorAll("body *")].filter((e) => {
  const box = e.getBoundingClientRect();
  return box.width && box.left >= 0 && box.right > innerWidth + 0.5;
}).map((e) => e.outerHTML.slice(0, 80))
"""


@pytest.fixture
async def tab(tmp_path):
    async with browser(tmp_path) as found:
        yield found


async def keep(tab, name):
    """A picture for the documentation, if it was asked for."""
    folder = os.environ.get("PAGE_SHOTS")
    data = await tab.shot()
    assert data.startswith(b"\x89PNG")
    if not folder:
        return
    await asyncio.to_thread((Path(folder) / name).write_bytes, smaller(data))


@pytest.mark.parametrize("dark", [False, True])
@pytest.mark.parametrize("facts", [None, LOW, BROKEN], ids=["well", "degraded", "failing"])
async def test_both_themes_can_be_read(tab, dark, facts):
    world = World()
    if facts:
        world.now = snapshot(facts)
    async with world.page() as server:
        await tab.open(server.url, dark=dark)
        found = await tab.value(CONTRAST)
        assert len(found) > 60
        weak = [one for one in found if one["ratio"] < LEAST_CONTRAST]
        assert not weak
        back = await tab.value("getComputedStyle(document.body).backgroundColor")
        assert (sum(map(int, re.findall(r"\d+", back))) < 200) is dark
        if facts is None:
            await keep(tab, "status-dark.png" if dark else "status-light.png")


async def test_the_button_changes_the_theme_and_it_is_remembered(tab):
    async with World().page() as server:
        await tab.open(server.url)
        look = "getComputedStyle(document.body).backgroundColor"
        light = await tab.value(look)
        assert await tab.value("document.querySelector('#theme').hidden") is False
        await tab.value("document.querySelector('#theme').click()")
        assert await tab.value(look) == light, "light, said so"
        await tab.value("document.querySelector('#theme').click()")
        dark = await tab.value(look)
        assert dark != light
        await tab.open(server.url)
        assert await tab.value(look) == dark
        assert await tab.value("document.querySelector('#theme').textContent") == "Theme: dark"
        await tab.value("document.querySelector('#theme').click()")
        assert await tab.value(look) == light, "auto, on a light system"


@pytest.mark.parametrize("width", [320, 360, 768])
@pytest.mark.parametrize("facts", [None, BROKEN], ids=["well", "failing"])
async def test_a_narrow_screen_needs_no_scrolling_sideways(tab, facts, width):
    world = World()
    world.now = snapshot(facts, version="0.9.0+a.very.long.version.of.something") if facts else snapshot()
    async with world.page() as server:
        await tab.open(server.url, **(PHONE | {"width": width}))
        assert await tab.value("innerWidth") == width
        assert await tab.value("document.documentElement.scrollWidth") <= width
        assert await tab.value(OVERFLOW) == []
        assert await tab.value("document.querySelector('#tickets .big').textContent") == "84 left"
        if facts is None and width == 360:
            await keep(tab, "status-phone.png")


async def test_without_a_script_it_says_the_same(tab):
    world = World()
    world.now = snapshot(BROKEN)
    async with world.page() as server:
        texts = []
        for script in (True, False):
            await tab.open(server.url, script=script)
            texts.append(await tab.value("document.querySelector('main').innerText"))
            assert "exit is failing" in texts[-1]
            assert "Exits" in texts[-1]
        assert texts[0] == texts[1]
        assert await tab.value("document.querySelector('#theme').hidden") is True
        assert await tab.value("document.querySelector('noscript').innerHTML.includes('refresh')")


async def test_it_is_built_to_be_read_aloud_and_used_by_keyboard(tab):
    world = World()
    world.now = snapshot(BROKEN)
    async with world.page() as server:
        await tab.open(server.url)
        value = tab.value
        assert await value("document.documentElement.lang") == "en"
        assert await value("document.querySelectorAll('h1').length") == 1
        assert await value("[...document.querySelectorAll('section')].every((s) => s.querySelector('h2'))")
        assert await value("document.querySelector('#verdict').getAttribute('aria-live')") == "polite"
        assert await value("[...document.images].every((i) => i.hasAttribute('alt'))")
        assert await value("[...document.querySelectorAll('th')].every((h) => h.scope)")
        assert await value("document.querySelector('#layers .failing .state').textContent") == "failing"
        order = []
        for _ in range(3):
            for kind in ("keyDown", "keyUp"):
                await tab.tools.call(
                    "Input.dispatchKeyEvent", type=kind, key="Tab", code="Tab", windowsVirtualKeyCode=9
                )
            order.append(await value("document.activeElement.id || document.activeElement.className"))
            assert await value("getComputedStyle(document.activeElement).outlineStyle") == "solid"
        assert order[:2] == ["skip", "theme"]


async def test_values_change_by_themselves_and_focus_stays(tab):
    world = World()
    async with world.page() as server:
        await tab.open(server.url)
        await tab.value("document.querySelector('#theme').focus()")
        assert await tab.value("document.querySelector('#verdict').className") == "verdict ok"
        world.now = snapshot(BROKEN)
        await tab.until("document.querySelector('#verdict').classList.contains('failing')")
        assert "not ready" in await tab.value("document.title")
        assert await tab.value("document.activeElement.id") == "theme"
        world.now = snapshot()
        await tab.until("document.querySelector('#verdict').classList.contains('ok')")
        assert await tab.value("document.querySelector('#connection').textContent") == ""
    await tab.until("document.querySelector('#connection').textContent.includes('does not answer')")


async def test_a_page_of_another_site_reads_nothing_and_orders_nothing(tab):
    world, evil = World(), World()
    async with world.page() as server, evil.page() as other:
        await tab.open(other.url, script=True)
        # Without the other page's own policy in the way, it is ours that has to refuse.
        await tab.tools.call("Page.setBypassCSP", enabled=True)
        await tab.open(other.url, script=True)
        for request in (
            f"fetch('{server.url}inside').then((a) => a.text())",
            f"fetch('{server.url}api/status', {{headers: {{Authorization: 'Bearer x'}}}}).then((a) => a.text())",
            f"fetch('{server.url}api/reload', {{method: 'POST', mode: 'no-cors'}}).then((a) => a.type)",
        ):
            got = await tab.value(f"{request}.catch((e) => 'refused: ' + e.name)")
            assert got in ("refused: TypeError", "opaque")
        same = await tab.value("fetch('inside').then((a) => a.status)")
        assert same == 200, "requests work as such"
    assert world.orders == []


async def test_a_running_proxy_is_followed(tab, tmp_path):
    with BackgroundLocalnet(LocalnetOptions(mode=Mode.PROCESSES)) as background:
        async with website() as web_port, watched(background.net, tmp_path / "data") as proxy:
            await tab.open(proxy.watch.web.url)
            await tab.until("document.querySelector('#streams dd').textContent === '0'")
            for _ in range(2):
                async with through(proxy.addresses[0][1], "localhost", web_port) as (reader, writer, reply):
                    assert reply == 0
                    writer.write(b"GET / HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")
                    assert await reader.read()
            await tab.until("document.querySelector('#streams dd').textContent === '2'")
            await tab.until("document.querySelector('#verdict').classList.contains('ok')")
            text = await tab.value("document.body.innerText")
            assert "localnet" in text
            assert "free allowance" in text
            pac = await tab.value("fetch('proxy.pac').then((a) => a.text())")
            assert f"127.0.0.1:{proxy.addresses[0][1]}" in pac
