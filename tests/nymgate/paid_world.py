"""A paying local network in this process, accounts with money, and plans that use both."""

from __future__ import annotations

import asyncio
import contextlib
import secrets
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

from nym_credentials.chain.wallet import phrase_of
from nym_localnet import Localnet, LocalnetOptions, Mode, PaymentOptions
from nymgate import wiring
from nymgate.config_layers import load
from nymgate.purse.money_io import Money
from nymgate.sensitive import Sensitive
from zknym import TicketType

NYM = 1_000_000
TICKET_BYTES = TicketType.MIXNET_ENTRY.bytes_per_ticket
BLOCK_SECONDS = 0.05
POLL_SECONDS = 0.05
LIMIT_SECONDS = 90.0
"""For anything that is waited for: far more than it takes, on a machine that does other things as well."""


def new_phrase() -> str:
    return phrase_of(secrets.token_bytes(32))


@contextlib.asynccontextmanager
async def paying_network(**payment: Any) -> AsyncIterator[Localnet]:
    """Nodes in processes of their own; chain and signers in this one."""
    options = LocalnetOptions(
        pay=True,
        mode=Mode.PROCESSES,
        payment=PaymentOptions(**{"block_seconds": BLOCK_SECONDS, "ticket_retry_seconds": 0.5} | payment),
    )
    async with Localnet(options) as net:
        yield net


def plan_for(net: Localnet, folder: Path, **flags: Any) -> wiring.Plan:
    """Buys nothing by itself, unless the flags say so."""
    settings = {
        "network": str(net.data_dir / "localnet.toml"),
        "listen.mixed": ["127.0.0.1:0"],
        "listen.metrics": "",
        "listen.web": "",
        "mixnet.profile": "uncovered",
        "tickets.top_up": False,
    }
    config = load(environ={"HOME": str(folder)}, flags=settings | flags).config
    return wiring.make_plan(config, folder)


@contextlib.asynccontextmanager
async def account_with(net: Localnet, plan: wiring.Plan, nym: int = 200) -> AsyncIterator[Money]:
    """A new account that the faucet has sent something to."""
    async with Money(plan.money) as money:
        wallet = await money.keep_phrase(Sensitive(new_phrase()))
        if nym:
            await net.payments.fund(wallet.address, nym * NYM)
        yield money


async def buy(money: Money, count: int = 1) -> list[Any]:
    async with money.buyer(poll_seconds=POLL_SECONDS) as buyer:
        return await buyer.buy(TicketType.MIXNET_ENTRY, count)


async def until(done: Callable[[], Any]) -> Any:
    """Wait until it returns something true; it may be a coroutine function."""
    async with asyncio.timeout(LIMIT_SECONDS):
        while True:
            found = done()
            if asyncio.iscoroutine(found):
                found = await found
            if found:
                return found
            await asyncio.sleep(0.05)
