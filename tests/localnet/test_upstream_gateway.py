"""Upstream's own `nym-node` as an enforcing gateway on our chain, paid with our tickets (docs/protocol/08 §10.2).

Needs that program: NYM_NODE_PROGRAM names it.
"""

from __future__ import annotations

import asyncio
import json
import os
import secrets
import socket
from asyncio.subprocess import DEVNULL, PIPE, STDOUT, Process
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import aiohttp
import pytest

from nym_credentials.chain.wallet import Wallet, phrase_of
from nym_localnet import Localnet
from nym_mixnet.keys import ClientKeys
from nym_sphinx import SYSTEM_RNG
from tests.localnet.harness import read_env
from tests.localnet.paying import buyer, gateway_client, paying_net, purse, spend
from tests.localnet.raw_client import RawClient
from zknym import b58decode

PROGRAM = os.environ.get("NYM_NODE_PROGRAM", "")
HOST = "127.0.0.1"
TICKET = 200_000_000
START_SECONDS = 60.0

pytestmark = [
    pytest.mark.interop,
    pytest.mark.skipif(not PROGRAM, reason="needs program: NYM_NODE_PROGRAM does not name one"),
]


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind((HOST, 0))
        return int(probe.getsockname()[1])


@dataclass
class UpstreamGateway:
    """A process and what to connect to."""

    process: Process
    log: Path
    account: str
    url: str = ""
    identity: bytes = b""


@asynccontextmanager
async def upstream_gateway(net: Localnet, folder: Path, *, unym: int) -> AsyncIterator[UpstreamGateway]:
    """The node with an account of so much money. It may have ended by itself already."""
    payments = net.payments
    phrase = phrase_of(secrets.token_bytes(32))
    account = Wallet.from_phrase(phrase).address
    if unym:
        await payments.fund(account, unym)
    environment = {"HOME": str(folder), "PATH": os.environ["PATH"], "RUST_LOG": "info"}
    environment |= read_env(payments.network_env(net.nym_api_url))
    entry = free_port()
    command = [
        *(PROGRAM, "run", "--id", "gateway", "--mode", "entry-gateway", "--local", "--public-ips", HOST),
        *("--mixnet-bind-address", f"{HOST}:{free_port()}", "--http-bind-address", f"{HOST}:{free_port()}"),
        *("--verloc-bind-address", f"{HOST}:{free_port()}", "--entry-bind-address", f"{HOST}:{entry}"),
        *(
            "--lp-control-bind-address",
            f"{HOST}:{free_port()}",
            "--lp-data-bind-address",
            f"{HOST}:{free_port()}",
        ),
        *("--nym-api-urls", net.nym_api_url, "--nyxd-urls", payments.rpc_url, "--enforce-zk-nyms", "true"),
        *("--upgrade-mode-attestation-url", "http://127.0.0.1:1/", "--wireguard-enabled", "false"),
        "--accept-operator-terms-and-conditions",
    ]

    async def start(log: Path, *more: str) -> Process:
        with log.open("wb") as output:
            return await asyncio.create_subprocess_exec(
                *command, *more, env=environment, stdin=DEVNULL, stdout=output, stderr=STDOUT
            )

    first = await start(folder / "init.log", "--mnemonic", phrase, "--init-only", "--write-changes")
    assert await first.wait() == 0, (folder / "init.log").read_text()[-2000:]
    details = await asyncio.create_subprocess_exec(
        PROGRAM, "node-details", "--id", "gateway", "--output", "json",
        env=environment, stdin=DEVNULL, stdout=PIPE, stderr=DEVNULL,
    )  # fmt: skip
    output, _ = await details.communicate()
    process = await start(folder / "run.log", "--unsafe-disable-noise")
    identity = b58decode(json.loads(output)["ed25519_identity_key"])
    gateway = UpstreamGateway(process, folder / "run.log", account, f"ws://{HOST}:{entry}", identity)
    try:
        async with asyncio.timeout(START_SECONDS):
            while process.returncode is None and not await listening(entry):  # noqa: ASYNC110
                await asyncio.sleep(0.1)
        yield gateway
    finally:
        if process.returncode is None:
            process.terminate()
            await process.wait()


async def listening(port: int) -> bool:
    try:
        _, writer = await asyncio.open_connection(HOST, port)
    except OSError:
        return False
    writer.close()
    return True


async def counted(net: Localnet, account: str) -> list[int]:
    """How many tickets of that gateway each signer has found good."""
    return [each.get(account, 0) for each in (await net.payments.books()).tickets]


async def test_it_takes_our_tickets_and_our_signers_find_double_spends(tmp_path: Path) -> None:
    async with (
        paying_net() as net,
        upstream_gateway(net, tmp_path, unym=5_000_000) as gateway,
        buyer(net.payments) as payer,
    ):
        assert gateway.process.returncode is None, gateway.log.read_text()[-2000:]
        tickets = await purse(payer)
        async with aiohttp.ClientSession() as session, session.ws_connect(gateway.url) as websocket:
            client = RawClient(gateway, ClientKeys.generate(SYSTEM_RNG), websocket)  # type: ignore[arg-type]
            assert (await client.register())["status"] is True
            for number in range(1, 4):
                answer = await spend(client, tickets.pay(gateway.identity))
                assert answer["available_total"] == number * TICKET
            answer = await spend(client, tickets.pay(gateway.identity, index=0))
            assert "already been spent before at this gateway" in answer["message"]
        async with asyncio.timeout(30):
            while set(await counted(net, gateway.account)) != {3}:  # noqa: ASYNC110
                await asyncio.sleep(0.05)
        async with gateway_client(net) as client:
            await client.register()
            answer = await spend(client, tickets.pay(client.running.identity, index=1))
            assert answer["available_total"] == TICKET
            async with asyncio.timeout(30):
                while not (await net.nodes["gateway1"].counters())["gateway"]["tickets_rejected"]:  # noqa: ASYNC110
                    await asyncio.sleep(0.05)


async def test_it_does_not_start_without_money(tmp_path: Path) -> None:
    async with paying_net() as net, upstream_gateway(net, tmp_path, unym=0) as gateway:
        async with asyncio.timeout(START_SECONDS):
            assert await gateway.process.wait() == 1
        assert "has a balance of only 0unym" in gateway.log.read_text()
