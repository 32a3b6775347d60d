"""What the scenarios of money share: upstream's command line, our buyer and our payer, and the network's books.

Only inside a network namespace that has nothing but loopback (`namespace.py`). NYM_CLI_PROGRAM names `nym-cli`.
Upstream's programs learn the network from the file that it writes for them, `localnet.env`, and from nothing else.
"""

from __future__ import annotations

import asyncio
import secrets
import time
from asyncio.subprocess import DEVNULL, PIPE, STDOUT
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import aiohttp

from nym_credentials.chain.wallet import Wallet, phrase_of
from nym_credentials.networks import load_network
from nym_credentials.purchase.buyer_io import Buyer
from nym_credentials.purchase.smartcontract_buyer_io import smart_contract_buyer
from nym_credentials.store.store_io import TicketStore
from nym_localnet import Localnet
from nym_localnet.folder import NETWORK_ENV, NETWORK_TOML
from tests.interop.upstream import bare_environment

CLI_VARIABLE = "NYM_CLI_PROGRAM"
NYM = 1_000_000
TICKET = 200_000_000
COMMAND_SECONDS = 120


@dataclass(frozen=True)
class Done:
    """How a command of upstream's ended."""

    code: int
    output: str
    seconds: float


class NymCli:
    """Upstream's command line with an account of its own."""

    def __init__(self, program: Path, folder: Path, net: Localnet) -> None:
        self._program = program
        self._folder = folder
        self._net = net
        self._phrase = phrase_of(secrets.token_bytes(32))
        self.address = Wallet.from_phrase(self._phrase).address
        folder.mkdir(parents=True, exist_ok=True)

    async def run(self, *arguments: str) -> Done:
        """One command; what it printed and logged comes in one piece."""
        started = time.monotonic()
        process = await asyncio.create_subprocess_exec(
            str(self._program),
            *("--config-env-file", str(self._net.data_dir / NETWORK_ENV)),
            *arguments,
            env=bare_environment(self._folder) | {"MNEMONIC": self._phrase},
            cwd=self._folder,
            stdin=DEVNULL,
            stdout=PIPE,
            stderr=STDOUT,
        )
        try:
            async with asyncio.timeout(COMMAND_SECONDS):
                output, _ = await process.communicate()
        except BaseException:
            process.kill()
            await process.wait()
            raise
        return Done(process.returncode or 0, output.decode(errors="replace"), time.monotonic() - started)

    async def ecash(self, *arguments: str) -> Done:
        """A command that has to succeed."""
        done = await self.run("ecash", *arguments)
        if done.code:
            raise RuntimeError(f"nym-cli ecash {arguments[0]} ended with {done.code}:\n{done.output[-3000:]}")
        return done


async def ask_faucet(net: Localnet, address: str, amount: str) -> None:
    """As a user would: an HTTP request."""
    wish = {"address": address, "amount": amount}
    async with aiohttp.ClientSession() as http, http.post(net.payments.faucet_url, json=wish) as answer:
        if answer.status != 200:
            raise RuntimeError(f"the faucet says {answer.status}: {await answer.text()}")


@asynccontextmanager
async def customer(net: Localnet, store: TicketStore) -> AsyncIterator[tuple[Buyer, Wallet]]:
    """Our own buyer, told of the network by the file for our programs, with a new account."""
    network = load_network((net.data_dir / NETWORK_TOML).read_text())
    wallet = Wallet.from_phrase(phrase_of(secrets.token_bytes(32)))
    async with smart_contract_buyer(network, wallet, store.purchases, poll_seconds=0.1) as buyer:
        yield buyer, wallet


async def eventually(seconds: float, condition: Callable[[], Awaitable[bool]]) -> bool:
    """Whether a condition came true in time."""
    deadline = time.monotonic() + seconds
    while not await condition():
        if time.monotonic() > deadline:
            return False
        await asyncio.sleep(0.1)
    return True


async def verified(net: Localnet, gateway: str, tickets: int, seconds: float = 20) -> bool:
    """Whether all signers hold so many tickets of a gateway's account."""
    account = net.payments.address(gateway) if gateway in net.nodes else gateway

    async def all_have() -> bool:
        books = await net.payments.books()
        return all(counts.get(account, 0) == tickets for counts in books.tickets)

    return await eventually(seconds, all_have)


async def gateway_counters(net: Localnet, name: str) -> Mapping[str, int]:
    """The counts of one of our gateways that are about money."""
    counters = (await net.nodes[name].counters())["gateway"]
    return {key: value for key, value in counters.items() if "ticket" in key or "bytes" in key}
