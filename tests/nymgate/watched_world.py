"""A proxy on a local network with its port for metrics open, and questions to it."""

import asyncio
import contextlib
import json

from nymgate import wiring
from nymgate.config_layers import load
from nymgate.daemon import Proxy
from nymgate.watch.asking_io import ask_folder, ask_port
from nymgate.watch.snapshot_json import from_json

LIMIT_SECONDS = 60.0
"""For anything that is waited for."""


def watched_plan(network, folder, **flags):
    """``network``: a running local network."""
    settings = {
        "network": str(network.data_dir / "localnet.toml"),
        "listen.mixed": ["127.0.0.1:0"],
        "listen.metrics": "127.0.0.1:0",
        "listen.web": "127.0.0.1:0",
        "mixnet.profile": "uncovered",
    }
    config = load(environ={"HOME": str(folder)}, flags=settings | flags).config
    return wiring.make_plan(config, folder)


@contextlib.asynccontextmanager
async def watched(network, folder, *, ready=True, **flags):
    """A running proxy."""
    async with Proxy(watched_plan(network, folder, **flags)) as proxy:
        if ready:
            async with asyncio.timeout(LIMIT_SECONDS):
                await proxy.ready()
        yield proxy


async def get(proxy, path):
    """From the port for metrics: status and text."""
    answer = await asyncio.to_thread(ask_port, *proxy.watch.metrics, path)
    return answer.status, answer.body.decode()


async def readyz(proxy):
    """Status and the body of `/readyz`."""
    status, text = await get(proxy, "/readyz")
    return status, json.loads(text)


async def snapshot_of(proxy):
    """By the control socket."""
    return from_json((await asyncio.to_thread(ask_folder, proxy.plan.folder, "/snapshot")).body)


async def until_health(proxy, wanted, limit_seconds=LIMIT_SECONDS):
    """Wait until `wanted(status, body)` holds; returns the body and how long that took."""
    loop = asyncio.get_running_loop()
    started = loop.time()
    seen = None
    try:
        async with asyncio.timeout(limit_seconds):
            while True:
                seen = await readyz(proxy)
                if wanted(*seen):
                    return seen[1], loop.time() - started
                await asyncio.sleep(0.2)
    except TimeoutError:
        raise AssertionError(f"not in {limit_seconds:g} s; last seen: {seen}") from None
