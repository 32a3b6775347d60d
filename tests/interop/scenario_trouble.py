"""Upstream's `nym-cli` buys where something is wrong with our chain or one of our signers.

`python -m tests.interop.scenario_trouble` in a namespace; prints one JSON object, which the test judges.
"""

from __future__ import annotations

import asyncio
import json
import os
import secrets
import tempfile
from contextlib import AsyncExitStack
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from nym_credentials.money import Coin
from nym_credentials.store.store_io import TicketStore
from nym_localnet import Localnet, LocalnetOptions
from tests.interop.money import CLI_VARIABLE, NymCli, ask_faucet
from tests.interop.scenario_books import ALL_PARTS
from zknym import b58encode

SIGNER_FAULTS = ("garbage_share", "other_share", "wrong_key_share")


async def main() -> None:
    report: dict[str, Any] = {}
    async with AsyncExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        net = await stack.enter_async_context(Localnet(LocalnetOptions(pay=True, exits=0)))
        store = await stack.enter_async_context(await TicketStore.open(folder / "store"))
        payments = net.payments
        cli = NymCli(Path(os.environ[CLI_VARIABLE]), folder, net)

        async def buy(name: str) -> None:
            """What it cost and what came of it; good books go into our store, which verifies them."""
            balance, output = payments.balance(cli.address), folder / f"{name}.book"
            done = await cli.run(
                *("ecash", "issue-ticket-book", "--output-file", str(output), *ALL_PARTS),
                *("--bs58-encoded-client-secret", b58encode(secrets.token_bytes(32))),
            )
            seen = {"code": done.code, "spent": balance - payments.balance(cli.address)}
            if output.exists():
                book = await store.import_book(output.read_bytes(), datetime.now(UTC).date())
                seen["tickets"] = book.remaining
            report[name] = seen | {"text": done.output[-900:] if done.code else ""}

        await ask_faucet(net, cli.address, "10 NYM")
        await buy("poor")
        await ask_faucet(net, cli.address, "1000 NYM")
        for fault in SIGNER_FAULTS:
            setattr(payments.signers[0].faults, fault, True)
            await buy(fault)
            setattr(payments.signers[0].faults, fault, False)
        payments.set_reduced_price(cli.address, 10_000_000)
        await buy("reduced price")
        payments.set_reduced_price(cli.address, None)
        payments.faults.price_after_query = Coin("unym", 80_000_000)
        await buy("price raised")
        payments.set_price(75_000_000)
        payments.faults.fail_in_block = "received wrong amount for deposit. got: 1unym. required: 2unym"
        await buy("failed in the block")
        payments.faults.reported_chain_id = "elsewhere"
        await buy("other chain")
        print(json.dumps(report))


if __name__ == "__main__":
    asyncio.run(main())
