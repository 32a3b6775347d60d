"""Runs the reference's own programs on loopback, with this project's directory as their nym-api.

Only inside a network namespace that has nothing but loopback (`namespace.py`): their defaults name public hosts. The
programs are named by NYM_NODE_PROGRAM and NYM_SOCKS5_CLIENT_PROGRAM. What they need is in docs/protocol/04 §10.3.
"""

from __future__ import annotations

import asyncio
import json
import os
import re
import signal
import time
from asyncio.subprocess import DEVNULL, PIPE, STDOUT, Process
from contextlib import AsyncExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Self

import aiohttp
from aiohttp import web

from nym_localnet.directory import Directory, PublishedNode
from nym_localnet.epochs import EpochClock
from nym_localnet.nym_api_io import NymApi
from nym_localnet.options import ExternalNode
from nym_mixnet.topology import topology_to_network_json

NODE_VARIABLE = "NYM_NODE_PROGRAM"
SOCKS_CLIENT_VARIABLE = "NYM_SOCKS5_CLIENT_PROGRAM"
HOST = "127.0.0.1"
UNREACHABLE = f"http://{HOST}:1"
START_SECONDS = 90
EXIT_POLICY = "ExitPolicy reject *:25\nExitPolicy accept *:*\n"


def bare_environment(home: Path) -> dict[str, str]:
    """What upstream's programs need of a machine; the network is named in some other way."""
    return {
        "PATH": os.environ["PATH"],
        "HOME": str(home),
        "NO_COLOR": "1",
        "RUST_LOG": os.environ.get("RUST_LOG", "info"),
    }


def environment(home: Path, nym_api: str) -> dict[str, str]:
    """What keeps upstream's programs away from public hosts: every built-in URL replaced."""
    return {
        **bare_environment(home),
        "CONFIGURED": "true",
        "NETWORK_NAME": "localnet",
        "BECH32_PREFIX": "n",
        "MIX_DENOM": "unym",
        "MIX_DENOM_DISPLAY": "nym",
        "STAKE_DENOM": "unyx",
        "STAKE_DENOM_DISPLAY": "nyx",
        "DENOMS_EXPONENT": "6",
        "NYM_API": nym_api,
        "NYM_APIS": json.dumps([{"url": nym_api, "front_hosts": None}]),
        "NYM_VPN_APIS": "[]",
        "NYXD": UNREACHABLE,
    }


async def wait_for_port(port: int, process: Process, log: Path) -> None:
    """Return when somebody listens; raises with the end of the log when the process died or time is up."""
    deadline = time.monotonic() + START_SECONDS
    while time.monotonic() < deadline and process.returncode is None:
        try:
            _, writer = await asyncio.open_connection(HOST, port)
        except OSError:
            await asyncio.sleep(0.1)
        else:
            writer.close()
            return
    raise RuntimeError(f"nothing listens on port {port}; the log ends with:\n{log.read_text()[-2000:]}")


async def end(process: Process, grace_seconds: float = 5) -> None:
    if process.returncode is None:
        process.terminate()
        try:
            async with asyncio.timeout(grace_seconds):
                await process.wait()
        except TimeoutError:
            process.kill()
            await process.wait()


@dataclass(frozen=True)
class _Spec:
    number: int
    mode: str
    flags: tuple[str, ...] = ()

    @property
    def gateway(self) -> bool:
        return self.mode != "mixnode"

    @property
    def ws_port(self) -> int | None:
        return 9000 + self.number if self.gateway else None


_GATEWAY_FLAGS = ("--lp-use-mock-ecash", "true", "--enforce-zk-nyms", "false")


class UpstreamNetwork:
    """Three upstream mix nodes, an entry gateway and an exit gateway with its network requester."""

    def __init__(self, node: Path, folder: Path, *, open_proxy: bool = False) -> None:
        self._node = node
        self._folder = folder
        self._open_proxy = open_proxy
        self._stack = AsyncExitStack()
        self._directory = Directory(EpochClock.starting(4, time.time()))
        self.api = NymApi(self._directory)
        self.nym_api_url = ""
        self.exit_address = ""
        self.processes: dict[int, Process] = {}

    @property
    def network_json(self) -> str:
        return topology_to_network_json(self._directory.topology(time.time()))

    @property
    def entry_identity(self) -> bytes:
        return self._directory.nodes[3].identity

    async def __aenter__(self) -> Self:
        try:
            await self._start()
        except BaseException:
            await self._stack.aclose()
            raise
        return self

    async def __aexit__(self, *_: object) -> None:
        async with asyncio.TaskGroup() as group:
            for process in self.processes.values():
                group.create_task(end(process))
        await self._stack.aclose()

    async def _start(self) -> None:
        self._folder.mkdir(parents=True, exist_ok=True)
        port = await self.api.start(HOST, 0)
        self._stack.push_async_callback(self.api.close)
        self.nym_api_url = f"http://{HOST}:{port}"
        policy = await self._serve_policy()
        exit_flags = ("--entry-bind-address", f"{HOST}:9005", *_GATEWAY_FLAGS, "--nr-allow-local-ips", "true")
        if self._open_proxy:
            exit_flags += ("--open-proxy", "true")
        else:
            exit_flags += ("--open-proxy", "false", "--upstream-exit-policy-url", policy)
        specs = [
            _Spec(1, "mixnode"),
            _Spec(2, "mixnode"),
            _Spec(3, "mixnode"),
            _Spec(4, "entry-gateway", ("--entry-bind-address", f"{HOST}:9004", *_GATEWAY_FLAGS)),
            _Spec(5, "exit-gateway", exit_flags),
        ]
        for spec in specs:
            self._directory.publish(await self._init(spec))
        for spec in specs:
            log = self._folder / f"node{spec.number}.log"
            self.processes[spec.number] = await self._run(spec, ("--unsafe-disable-noise",), log)
        for spec in specs:
            log, process = self._folder / f"node{spec.number}.log", self.processes[spec.number]
            await wait_for_port(10_000 + spec.number, process, log)
            if spec.ws_port:
                await wait_for_port(spec.ws_port, process, log)
        self.exit_address = await self._requester_address()
        self._directory.announce_requester(5, self.exit_address)

    async def _serve_policy(self) -> str:
        async def policy(_: web.Request) -> web.Response:
            return web.Response(text=EXIT_POLICY)

        app = web.Application()
        app.router.add_get("/policy.txt", policy)
        runner = web.AppRunner(app)
        await runner.setup()
        self._stack.push_async_callback(runner.cleanup)
        site = web.TCPSite(runner, HOST, 0)
        await site.start()
        return f"http://{HOST}:{runner.addresses[0][1]}/policy.txt"

    async def _run(self, spec: _Spec, extra: tuple[str, ...], log: Path) -> Process:
        with log.open("wb") as output:
            return await asyncio.create_subprocess_exec(
                str(self._node),
                "run",
                *("--id", f"node{spec.number}", "--mode", spec.mode, "--local"),
                *("--mixnet-bind-address", f"{HOST}:{10_000 + spec.number}"),
                *("--http-bind-address", f"{HOST}:{18_080 + spec.number}"),
                *("--verloc-bind-address", f"{HOST}:{17_900 + spec.number}"),
                *("--public-ips", HOST, "--nym-api-urls", self.nym_api_url, "--nyxd-urls", UNREACHABLE),
                *("--accept-operator-terms-and-conditions", "--wireguard-enabled", "false"),
                *spec.flags,
                *extra,
                env=environment(self._folder, self.nym_api_url),
                stdin=DEVNULL,
                stdout=output,
                stderr=STDOUT,
            )

    async def _init(self, spec: _Spec) -> PublishedNode:
        log = self._folder / f"init{spec.number}.log"
        process = await self._run(spec, ("--init-only", "--write-changes"), log)
        if await process.wait():
            raise RuntimeError(f"node {spec.number} could not be initialised:\n{log.read_text()[-2000:]}")
        config = self._folder / ".nym/nym-nodes" / f"node{spec.number}" / "config/config.toml"
        # All nodes of one machine would bind the same ports of a protocol that is not used here.
        text = re.sub(r"\[::\]:(41|51)264", rf"{HOST}:\g<1>26{spec.number}", config.read_text())
        config.write_text(text)
        details = await asyncio.create_subprocess_exec(
            str(self._node),
            *("node-details", "--id", f"node{spec.number}", "--output", "json"),
            env=environment(self._folder, self.nym_api_url),
            stdin=DEVNULL,
            stdout=PIPE,
            stderr=DEVNULL,
        )
        output, _ = await details.communicate()
        keys = json.loads(output)
        external = ExternalNode(
            identity=keys["ed25519_identity_key"],
            sphinx_key=keys["x25519_primary_sphinx_key"]["public_key"],
            mix_port=10_000 + spec.number,
            layer=None if spec.gateway else spec.number,
            ws_port=spec.ws_port,
        )
        return PublishedNode.external(external, spec.number)

    async def _requester_address(self) -> str:
        url = f"http://{HOST}:18085/api/v1/network-requester"
        deadline = time.monotonic() + START_SECONDS
        async with aiohttp.ClientSession() as session:
            while True:
                try:
                    async with session.get(url) as response:
                        response.raise_for_status()
                        return str((await response.json())["address"])
                except aiohttp.ClientError:
                    if time.monotonic() > deadline:
                        raise
                    await asyncio.sleep(0.2)


class UpstreamSocksClient:
    """Upstream's `nym-socks5-client` against some nym-api and exit."""

    def __init__(
        self,
        program: Path,
        folder: Path,
        *,
        nym_api: str,
        provider: str,
        port: int,
        flags: tuple[str, ...] = (),
        anonymous: bool = True,
        gateway: str | None = None,
        environment_file: Path | None = None,
    ) -> None:
        """`environment_file`: as networks write it; replaces the variables that keep the client off public hosts."""
        self._program = program
        self._folder = folder
        self._environment_file = environment_file
        self._initialised = False
        self._nym_api = nym_api
        self._provider = provider
        self._flags = flags
        self._anonymous = anonymous
        self._gateway = gateway
        self.port = port
        self.log = folder / "client.log"
        self.process: Process | None = None

    @property
    def config(self) -> Path:
        """The configuration file that `initialise` writes."""
        return self._folder / ".nym/socks5-clients/client/config/config.toml"

    @property
    def credentials(self) -> Path:
        """The database with its ticketbooks."""
        return self._folder / ".nym/socks5-clients/client/data/credentials_database.db"

    async def initialise(self) -> None:
        """Make identity and configuration, and register at a gateway; pays nothing yet."""
        self._folder.mkdir(parents=True, exist_ok=True)
        gateway = ("--gateway", self._gateway) if self._gateway else ()
        initialised = await self._start(
            "init",
            *("--id", "client", "--provider", self._provider, "--port", str(self.port)),
            *("--use-reply-surbs", "true" if self._anonymous else "false"),
            *(() if self._environment_file else ("--nym-apis", self._nym_api)),
            *gateway,
            *self._flags,
        )
        if await initialised.wait():
            raise RuntimeError(f"nym-socks5-client init failed:\n{self.log.read_text()[-2000:]}")
        self._initialised = True

    async def __aenter__(self) -> Self:
        if not self._initialised:
            await self.initialise()
        self.process = await self._start("run", "--id", "client", *self._flags)
        await wait_for_port(self.port, self.process, self.log)
        return self

    async def __aexit__(self, *_: object) -> None:
        if self.process is not None and self.process.returncode is None:
            self.process.send_signal(signal.SIGINT)
            await end(self.process, 10)

    def errors(self) -> list[str]:
        """The first errors it logged, but for those of a look whether the port is open yet."""
        probes = ("failed to read from the socket: early eof", "without knowing the version")
        errors = [line for line in self.log.read_text().splitlines() if " ERROR " in line]
        return [line for line in errors if not any(probe in line for probe in probes)][:5]

    async def _start(self, *arguments: str) -> Process:
        if self._environment_file is None:
            where, variables = (), environment(self._folder, self._nym_api)
        else:
            where = ("--config-env-file", str(self._environment_file))
            variables = bare_environment(self._folder)
        with self.log.open("ab") as output:
            return await asyncio.create_subprocess_exec(
                str(self._program),
                *where,
                *arguments,
                env=variables,
                stdin=DEVNULL,
                stdout=output,
                stderr=STDOUT,
            )
