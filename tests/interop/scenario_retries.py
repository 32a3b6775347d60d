"""Upstream's `nym-node` and our signers when one of them is away, or its answer is lost: settled after 300 seconds.

`python -m tests.interop.scenario_retries` in a namespace; prints one JSON object, which the test judges.
"""

from __future__ import annotations

import asyncio
import json
import os
import tempfile
import time
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

from nym_localnet import Localnet, LocalnetOptions
from tests.interop.money import ask_faucet, eventually
from tests.interop.paying_node import EnforcingNode
from tests.interop.scenario_paying_node import NODE_NUMBER, number_of, stated
from tests.interop.upstream import NODE_VARIABLE
from tests.localnet.paying import buyer, gateway_client, purse, spend

RETRY_SECONDS = 300


async def counted(net: Localnet, account: str) -> list[int]:
    """Tickets of a gateway, by signer."""
    return [counts.get(account, 0) for counts in (await net.payments.books()).tickets]


async def main() -> None:
    report: dict[str, Any] = {}
    async with AsyncExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        net = await stack.enter_async_context(Localnet(LocalnetOptions(pay=True, exits=0)))
        node = EnforcingNode(Path(os.environ[NODE_VARIABLE]), folder, net, "gateway")
        await ask_faucet(net, node.account, "5 NYM")
        await stack.enter_async_context(node)
        await node.publish(NODE_NUMBER)
        number, signers = number_of(net, node), net.payments.signers
        async with buyer(net.payments) as payer:
            tickets = await purse(payer)

        async def pay(*counts: int) -> Any:
            """One ticket of a new client, and the signers know so many."""
            async with gateway_client(net, number) as client:
                await client.register()
                await spend(client, tickets.pay(client.running.identity))

            async def here() -> bool:
                return await counted(net, node.account) == list(counts)

            report.setdefault("counted", []).append(await eventually(20, here))
            return client

        signers[0].faults.down = True
        away = await pay(0, 1, 1)
        signers[0].faults.down = False
        signers[1].faults.lose_next_ticket = True
        lost = await pay(1, 2, 2)
        report["before"] = [await stated(net, number, away), await stated(net, number, lost)]
        started = time.monotonic()

        async def settled() -> bool:
            return (await counted(net, node.account))[0] == 2

        report["settled"] = await eventually(RETRY_SECONDS + 60, settled)
        report["seconds"] = time.monotonic() - started
        await asyncio.sleep(3)
        report["after"] = [await stated(net, number, away), await stated(net, number, lost)]
        report["log"] = [line for line in node.log.read_text().splitlines() if "ticket" in line][-10:]
        print(json.dumps(report))


if __name__ == "__main__":
    asyncio.run(main())
