"""A network that stays up until it is told to end, with a few lines about what to connect to."""

from __future__ import annotations

from collections.abc import Callable

from nym_localnet.localnet_io import Localnet, summary
from nym_localnet.options import LocalnetOptions


async def run_localnet(options: LocalnetOptions, report: Callable[[str], None]) -> None:
    """Keep a network up until this is cancelled. `report` gets lines for people, first when it is up.

    `StartFailed` when it does not come up, `WorkerLost` when a part of it dies.
    """
    async with Localnet(options) as net:
        for line in describe(net):
            report(line)
        await net.wait_lost()


def describe(net: Localnet) -> list[str]:
    """What to connect to."""
    facts = summary(net)
    lines = [f"directory (nym-api)  {facts['nym_api']}"]
    lines += [f"gateway              {identity}  {url}" for identity, url in facts["gateways"].items()]
    lines += [f"exit                 {address}" for address in facts["exits"]]
    if "chain" in facts:
        lines += [
            f"chain (JSON-RPC)     {facts['chain']}  ({facts['chain_id']}, a book costs {facts['price']})",
            f'faucet               {facts["faucet"]}  POST {{"address": "n1…"}}',
            *(f"signer               {url}" for url in facts["signers"]),
            f"network file         {facts['network_toml']}",
            f"upstream variables   {facts['network_env']}",
        ]
    return [*lines, f"topology file        {facts['network_json']}"]
