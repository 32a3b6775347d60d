"""Run inside a network namespace by test_browser: drives Chromium there and writes down everything it sends.

The namespace is made tempting: a default route (into loopback, where a direct connection would be seen) and a resolver
that answers. Takes the order as JSON on standard input, gives the report as JSON on standard output.
"""

import asyncio
import contextlib
import json
import os
import socket
import struct
import subprocess
import sys
import tempfile
import threading
from pathlib import Path

import aiohttp
from aiohttp import web

ALL_PACKETS = 3  # ETH_P_ALL
FLAGS = [
    "--headless=new",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--disable-dev-shm-usage",
    "--remote-debugging-port=0",
]


def make_tempting(folder):
    """A way out and a resolver, both of which end up with us."""
    subprocess.run(["ip", "route", "add", "default", "dev", "lo"], check=True)
    resolver = folder / "resolv.conf"
    resolver.write_text("nameserver 127.0.0.1\n")
    subprocess.run(["mount", "--bind", resolver, "/etc/resolv.conf"], check=True)


class Capture(threading.Thread):
    """Every packet of the namespace: what was sent where, and which names were asked for."""

    def __init__(self):
        super().__init__(daemon=True)
        self.sniffer = socket.socket(socket.AF_PACKET, socket.SOCK_DGRAM, socket.htons(ALL_PACKETS))
        self.sniffer.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 32 << 20)
        self.opened = set()  # (protocol, address, port) of TCP SYNs and of UDP
        self.packets = 0

    def run(self):
        while True:
            packet, (_interface, kind, _type, *_rest) = self.sniffer.recvfrom(65536)
            self.packets += 1
            with contextlib.suppress(struct.error, IndexError, ValueError):
                self.look(packet, kind)

    def look(self, packet, kind):
        if kind == 0x0800:
            header, protocol = (packet[0] & 15) * 4, packet[9]
            address = socket.inet_ntop(socket.AF_INET, packet[16:20])
        elif kind == 0x86DD:
            header, protocol = 40, packet[6]
            address = socket.inet_ntop(socket.AF_INET6, packet[24:40])
        else:
            return
        (port,) = struct.unpack_from(">H", packet, header + 2)
        if protocol == 6 and packet[header + 13] & 0x12 == 0x02:
            self.opened.add(("tcp", address, port))
        elif protocol == 17:
            self.opened.add(("udp", address, port))


class Resolver(asyncio.DatagramProtocol):
    """Answers every query: with nothing, but the name is written down."""

    def __init__(self):
        self.names = []

    def connection_made(self, transport):
        self.transport = transport

    def datagram_received(self, data, address):
        labels, at = [], 12
        while data[at]:
            labels.append(data[at + 1 : at + 1 + data[at]].decode("latin-1"))
            at += 1 + data[at]
        self.names.append(".".join(labels))
        self.transport.sendto(data[:2] + b"\x81\x83" + data[4:6] + bytes(6) + data[12:], address)


def remotes():
    """Remote ends of the namespace's sockets, from the kernel's tables."""
    found = set()
    for name in ("tcp", "tcp6"):
        for line in Path(f"/proc/net/{name}").read_text().splitlines()[1:]:
            address, port = line.split()[2].split(":")
            if int(port, 16):
                words = struct.unpack(f"<{len(address) // 8}I", bytes.fromhex(address))
                raw = struct.pack(f">{len(words)}I", *words)
                family = socket.AF_INET if len(raw) == 4 else socket.AF_INET6
                found.add((socket.inet_ntop(family, raw), int(port, 16)))
    return found


class Tools:
    """Chromium's DevTools protocol."""

    def __init__(self, channel):
        self.channel = channel
        self.number = 0

    async def call(self, method, **parameters):
        self.number += 1
        await self.channel.send_json({"id": self.number, "method": method, "params": parameters})
        async for message in self.channel:
            answer = json.loads(message.data)
            if answer.get("id") == self.number:
                return answer["result"]
        raise RuntimeError("the browser hung up")

    async def value(self, expression):
        answer = await self.call(
            "Runtime.evaluate", expression=expression, awaitPromise=True, returnByValue=True
        )
        return answer["result"].get("value")


async def serve_pac(text):
    async def pac(_request):
        return web.Response(text=text, content_type="application/x-ns-proxy-autoconfig")

    app = web.Application()
    app.add_routes([web.get("/proxy.pac", pac)])
    runner = web.AppRunner(app, access_log=None)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    return runner, runner.addresses[0][1]


async def active_port(profile, process):
    while True:
        with contextlib.suppress(OSError, ValueError, IndexError):
            return int((profile / "DevToolsActivePort").read_text().splitlines()[0])
        if process.returncode is not None:
            raise RuntimeError(f"Chromium ended: {process.returncode}")
        await asyncio.sleep(0.05)


async def browse(order, profile, seen):
    flags, runner = [*FLAGS, f"--user-data-dir={profile}"], None
    allowed = []
    if order["pac"] is None:
        flags.append(f"--proxy-server={order['server']}")
    else:
        runner, port = await serve_pac(order["pac"])
        allowed.append(port)
        flags.append(f"--proxy-pac-url=http://127.0.0.1:{port}/proxy.pac")
    clean = {name: value for name, value in os.environ.items() if not name.lower().endswith("_proxy")}
    process = await asyncio.create_subprocess_exec(
        order["chromium"], *flags, "about:blank", env=clean, stderr=subprocess.DEVNULL
    )
    try:
        port = await active_port(profile, process)
        allowed.append(port)
        async with aiohttp.ClientSession() as session:
            while True:
                async with session.get(f"http://127.0.0.1:{port}/json/list") as response:
                    pages = [page for page in await response.json() if page["type"] == "page"]
                if pages:
                    break
                await asyncio.sleep(0.05)
            async with session.ws_connect(pages[0]["webSocketDebuggerUrl"], max_msg_size=0) as channel:
                tools = Tools(channel)
                await tools.call("Page.navigate", url=order["url"])
                result = None
                while result is None:
                    seen |= remotes()
                    await asyncio.sleep(0.05)
                    result = await tools.value("window.finished ? JSON.stringify(window.report()) : null")
    finally:
        process.terminate()
        await process.wait()
        if runner is not None:
            await runner.cleanup()
    return json.loads(result), allowed


async def main(order):
    loop = asyncio.get_running_loop()
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as name:
        folder = Path(name)
        make_tempting(folder)
        capture = Capture()
        capture.start()
        _transport, resolver = await loop.create_datagram_endpoint(Resolver, local_addr=("127.0.0.1", 53))
        seen = set()
        async with asyncio.timeout(order["seconds"]):
            page, allowed = await browse(order, folder / "profile", seen)
        await asyncio.sleep(0.3)
        report = {
            "page": page,
            "allowed": allowed,
            "opened": sorted(capture.opened),
            "remotes": sorted(seen),
            "names": list(resolver.names),
            "packets": capture.packets,
        }
        # That nothing was seen means something only if it would have been seen.
        capture.opened.clear()
        control = await asyncio.create_subprocess_exec(
            "curl", "-s", "--noproxy", "*", "--max-time", "1", "http://198.51.100.7:81/"
        )
        await control.wait()
        control = await asyncio.create_subprocess_exec(
            "getent", "ahosts", "control.example", stdout=subprocess.DEVNULL
        )
        await control.wait()
        await asyncio.sleep(0.3)
        report["control_opened"] = sorted(capture.opened)
        report["control_names"] = resolver.names[len(report["names"]) :]
        print(json.dumps(report))


if __name__ == "__main__":
    asyncio.run(main(json.load(sys.stdin)))
