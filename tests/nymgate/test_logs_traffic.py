"""Real traffic at the most talkative level, in both formats: nothing that was said names a destination or a secret."""

import asyncio
import base64
import json
import os
import re
import signal
import subprocess
import sys

import pytest

from nymgate.purse.money_io import Money
from nymgate.sensitive import Sensitive
from tests.nymgate.paid_world import LIMIT_SECONDS, NYM, new_phrase, paying_network, plan_for
from tests.nymgate.socks_client import dial

pytestmark = [pytest.mark.timeout(240), pytest.mark.slow]

PLACE = "127.83.91.7"
"""On this machine, and nowhere else in what a proxy says."""
NAME = "very-hidden-name.invalid"
USER, PASSWORD = b"caller-nobody-knows", b"open-sesame-4711"
PATH = "/secret-path-of-the-page"
LONG = re.compile(r"[1-9A-HJ-NP-Za-km-z]{70,}|[0-9a-fA-F]{70,}|[A-Za-z0-9+/=]{100,}")
"""Longer than any public key or address in base58 or hex: tickets, signatures, packets."""


async def talk(port, web_port):
    """SOCKS and HTTP, that succeed and that fail; returns what was answered where it had to be."""
    async with dial(port) as (reader, writer):
        writer.write(b"\x05\x01\x02")
        assert await reader.readexactly(2) == b"\x05\x02"
        writer.write(b"\x01" + bytes((len(USER),)) + USER + bytes((len(PASSWORD),)) + PASSWORD)
        assert (await reader.readexactly(2))[1] == 0
        writer.write(b"\x05\x01\x00\x01" + bytes(map(int, PLACE.split("."))) + web_port.to_bytes(2, "big"))
        reply = await reader.readexactly(10)
        assert reply[1] == 0
        writer.write(b"there and back")
        assert await reader.readexactly(14) == b"there and back"
    async with dial(port) as (reader, writer):  # an exit that cannot resolve it
        writer.write(b"\x05\x01\x00")
        await reader.readexactly(2)
        writer.write(b"\x05\x01\x00\x03" + bytes((len(NAME),)) + NAME.encode() + b"\x01\xbb")
        assert (await reader.readexactly(10))[1] != 0
    token = base64.b64encode(USER + b":" + PASSWORD).decode()
    for request in (
        f"CONNECT {PLACE}:1 HTTP/1.1\r\nHost: {PLACE}:1\r\nProxy-Authorization: Basic {token}\r\n\r\n",
        f"GET http://{NAME}{PATH} HTTP/1.1\r\nHost: {NAME}\r\nConnection: close\r\n\r\n",
        f"GET {PATH} HTTP/1.1\r\nHost: {NAME}\r\n\r\n",
        f"NONSENSE {NAME}\r\n\r\n",
    ):
        async with dial(port) as (reader, writer):
            writer.write(request.encode())
            assert (await reader.read(64)).startswith(b"HTTP/1.1 ")
    return token


@pytest.mark.parametrize("style", ["text", "json"])
async def test_traffic_at_debug_level_names_nothing(tmp_path, style):
    phrase = new_phrase()

    async def answer(reader, writer):
        while data := await reader.read(1 << 16):
            writer.write(data)
        writer.close()

    async with paying_network() as net, await asyncio.start_server(answer, PLACE, 0) as server:
        web_port = server.sockets[0].getsockname()[1]
        plan = plan_for(net, tmp_path)
        async with Money(plan.money) as money:
            wallet = await money.keep_phrase(Sensitive(phrase))
            await net.payments.fund(wallet.address, 200 * NYM)
        environment = {key: value for key, value in os.environ.items() if not key.startswith("NYMGATE_")}
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "nymgate", "run", "-vv", *(["--json"] if style == "json" else [])),
            *("--network", str(net.data_dir / "localnet.toml"), "--listen", "127.0.0.1:0"),
            *("--data-dir", str(tmp_path), "--profile", "uncovered"),
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            env=environment
            | {
                "NYMGATE_LISTEN__METRICS": "127.0.0.1:0",
                "NYMGATE_LISTEN__WEB": "127.0.0.1:0",
                "HOME": str(tmp_path),
            },
        )
        said: list[str] = []
        ready: asyncio.Future[int] = asyncio.get_running_loop().create_future()

        async def hear(stream):
            async for line in stream:
                said.append(line.decode())
                port = re.search(r"(?:listening|socks5h://).*?127\.0\.0\.1:(\d+)", said[-1])
                if "ready" in said[-1] and port and not ready.done():
                    ready.set_result(int(port[1]))

        async with asyncio.TaskGroup() as group:
            group.create_task(hear(process.stdout))
            group.create_task(hear(process.stderr))
            try:
                async with asyncio.timeout(LIMIT_SECONDS):
                    token = await talk(await ready, web_port)
            finally:
                process.send_signal(signal.SIGTERM)
                await process.wait()
    text = "".join(said)
    assert process.returncode == 0, text
    assert text.count("stream.ended") + text.count("stream.refused") >= 2, "streams did leave lines"
    assert "debug" in text
    if style == "json":
        levels = {json.loads(line)["level"] for line in said if line.startswith("{")}
        assert "debug" in levels
    secrets = [PLACE, NAME, f":{web_port}", PATH, token, USER.decode(), PASSWORD.decode(), wallet.address]
    secrets += [" ".join(pair) for pair in zip(phrase.split(), phrase.split()[1:], strict=False)]
    for secret in secrets:
        assert secret not in text, [line for line in said if secret in line]
    assert LONG.findall(text) == []
