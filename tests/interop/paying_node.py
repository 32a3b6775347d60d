"""Upstream's `nym-node` as an entry gateway that takes tickets, on our chain and with our signers.

Only inside a network namespace that has nothing but loopback (`namespace.py`). What it insists on at its start is in
docs/protocol/08 §10.2. It learns the network from the file that our network writes for programs of upstream's.
"""

from __future__ import annotations

import asyncio
import json
import secrets
from asyncio.subprocess import DEVNULL, PIPE, STDOUT, Process
from pathlib import Path
from typing import Self

from nym_credentials.chain.wallet import Wallet, phrase_of
from nym_localnet import Localnet
from nym_localnet.directory import PublishedNode
from nym_localnet.folder import NETWORK_ENV
from nym_localnet.options import ExternalNode
from nym_sphinx import b58decode
from tests.interop.running import free_port
from tests.interop.upstream import HOST, bare_environment, end, wait_for_port


class EnforcingNode:
    """The node, with an account of its own. Fund `account`, then enter; it is published with `publish`."""

    def __init__(self, program: Path, folder: Path, net: Localnet, name: str) -> None:
        self._program = program
        self._folder = folder
        self._net = net
        self._name = name
        self._phrase = phrase_of(secrets.token_bytes(32))
        self._ports = {kind: free_port() for kind in ("mix", "http", "verloc", "entry", "lp", "lp data")}
        self.account = Wallet.from_phrase(self._phrase).address
        self.log = folder / f"{name}.log"
        self.identity = b""
        self.process: Process | None = None

    async def __aenter__(self) -> Self:
        await self.initialise()
        await self.run()
        return self

    async def __aexit__(self, *_: object) -> None:
        if self.process is not None:
            await end(self.process)

    async def initialise(self) -> None:
        """Make keys and configuration."""
        self._folder.mkdir(parents=True, exist_ok=True)
        process = await self._start("--mnemonic", self._phrase, "--init-only", "--write-changes")
        if await process.wait():
            raise RuntimeError(f"{self._name} could not be initialised:\n{self.log.read_text()[-2000:]}")

    async def start(self) -> Process:
        """Begin to run, whatever comes of it."""
        self.process = await self._start("--unsafe-disable-noise")
        return self.process

    async def run(self) -> None:
        """Run until clients can connect."""
        process = await self.start()
        await wait_for_port(self._ports["mix"], process, self.log)
        await wait_for_port(self._ports["entry"], process, self.log)

    async def restart(self) -> None:
        """End the process and run it again, with the same keys, ports and databases."""
        if self.process is not None:
            await end(self.process)
        await self.run()

    async def publish(self, number: int) -> None:
        """List the node in the network's directory."""
        details = await asyncio.create_subprocess_exec(
            str(self._program),
            *("--config-env-file", str(self._net.data_dir / NETWORK_ENV)),
            *("node-details", "--id", self._name, "--output", "json"),
            env=bare_environment(self._folder),
            stdin=DEVNULL,
            stdout=PIPE,
            stderr=DEVNULL,
        )
        output, _ = await details.communicate()
        keys = json.loads(output)
        self.identity = b58decode(keys["ed25519_identity_key"])
        node = ExternalNode(
            identity=keys["ed25519_identity_key"],
            sphinx_key=keys["x25519_primary_sphinx_key"]["public_key"],
            mix_port=self._ports["mix"],
            ws_port=self._ports["entry"],
        )
        self._net.nym_api.directory.publish(PublishedNode.external(node, number))

    async def _start(self, *more: str) -> Process:
        ports = self._ports
        with self.log.open("ab") as output:
            return await asyncio.create_subprocess_exec(
                str(self._program),
                *("--config-env-file", str(self._net.data_dir / NETWORK_ENV)),
                *("run", "--id", self._name, "--mode", "entry-gateway", "--local"),
                *("--mixnet-bind-address", f"{HOST}:{ports['mix']}"),
                *("--http-bind-address", f"{HOST}:{ports['http']}"),
                *("--verloc-bind-address", f"{HOST}:{ports['verloc']}"),
                *("--entry-bind-address", f"{HOST}:{ports['entry']}"),
                *("--lp-control-bind-address", f"{HOST}:{ports['lp']}"),
                *("--lp-data-bind-address", f"{HOST}:{ports['lp data']}"),
                *("--public-ips", HOST, "--nym-api-urls", self._net.nym_api_url),
                *("--nyxd-urls", self._net.payments.rpc_url, "--enforce-zk-nyms", "true"),
                *("--accept-operator-terms-and-conditions", "--wireguard-enabled", "false"),
                *more,
                env=bare_environment(self._folder),
                stdin=DEVNULL,
                stdout=output,
                stderr=STDOUT,
            )
