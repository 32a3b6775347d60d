"""A buyer that kills itself at a persistence point: `python -m tests.credentials.purchase.dying_buyer …`."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from pathlib import Path

from nym_credentials.purchase.steps import Point
from tests.credentials.purchase.stores import open_store
from tests.credentials.purchase.world import make_buyer
from zknym import TicketType

DEATH = -signal.SIGKILL


async def main(
    action: str, kind: str, folder: str, chain_url: str, now: float, point: str, occurrence: int
) -> None:
    left = occurrence

    def at(reached: Point) -> None:
        nonlocal left
        if reached == point:
            left -= 1
            if not left:
                os.kill(os.getpid(), signal.SIGKILL)

    async with open_store(kind, Path(folder), now) as store:
        buyer = make_buyer(store, chain_url, lambda: now, at)
        if action == "resume":
            await buyer.resume()
        else:
            await buyer.buy(TicketType.MIXNET_ENTRY)


if __name__ == "__main__":
    action, kind, folder, chain_url, now, point, occurrence = sys.argv[1:]
    asyncio.run(main(action, kind, folder, chain_url, float(now), point, int(occurrence)))
