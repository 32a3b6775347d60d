"""A buyer on the test network that kills itself at a persistence point; the phrase comes on standard input."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from pathlib import Path

from nym_credentials.chain.wallet import Wallet
from nym_credentials.networks import load_network
from nym_credentials.purchase.smartcontract_buyer_io import smart_contract_buyer
from nym_credentials.purchase.steps import Point
from nym_credentials.store.store_io import TicketStore
from zknym import TicketType


async def main(network: str, path: str, point: str, occurrence: int) -> None:
    left = occurrence

    def at(reached: Point) -> None:
        nonlocal left
        if reached == point:
            left -= 1
            if not left:
                os.kill(os.getpid(), signal.SIGKILL)

    wallet = Wallet.from_phrase(sys.stdin.read())
    async with (
        await TicketStore.open(path) as store,
        smart_contract_buyer(
            load_network(Path(network).read_text()), wallet, store.purchases, poll_seconds=0.02, at=at
        ) as buyer,
    ):
        await buyer.buy(TicketType.MIXNET_ENTRY)


if __name__ == "__main__":
    network, path, point, occurrence = sys.argv[1:]
    asyncio.run(main(network, path, point, int(occurrence)))
