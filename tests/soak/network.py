"""The test network of these tests, and who is who in it."""

import asyncio
from pathlib import Path

from nym_localnet.background_io import BackgroundLocalnet
from nym_localnet.node_handle import NodeHandle

ENTRY = "gateway1"
"""with two gateways and the exit at the second, every client's entry"""
EXIT_GATEWAY = "gateway2"
EXIT = "exit1"
LOSSY = "mix2"
"""the only mix node of its layer: each packet passes it, and its ack once more"""


def network_file(network: BackgroundLocalnet) -> Path:
    return network.net.data_dir / "localnet.toml"


def node(network: BackgroundLocalnet, name: str) -> NodeHandle:
    return network.net.nodes[name]


def heal(network: BackgroundLocalnet) -> None:
    for handle in network.net.nodes.values():
        handle.loss, handle.stall = 0.0, False


async def restart(network: BackgroundLocalnet, name: str) -> None:
    """Without holding up the event loop that the proxy may be in."""
    await asyncio.to_thread(network.do, node(network, name).restart())


async def counted(network: BackgroundLocalnet, name: str, area: str, counter: str) -> int:
    counts = await asyncio.to_thread(network.do, node(network, name).counters())
    return counts[area][counter]
