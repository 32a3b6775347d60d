"""A client of a gateway that speaks TLS, as a process of its own: what it trusts is fixed when it starts.

`python -m tests.mixnet.tls_client PORT IDENTITY` connects to `wss://localhost:PORT`, sends one packet and prints what
became of it.
"""

from __future__ import annotations

import asyncio
import random
import sys

from nym_mixnet.gateway_io import GatewayLink, LinkOptions
from nym_mixnet.store_io import MemoryStore
from nym_mixnet.tasks_io import TaskSet
from nym_mixnet.topology import EntryDetails, NodeRoles, RoutingNode
from nym_sphinx import KeyRotation, MixPacket, NodeAddress

HOST = "localhost"
PACKET = MixPacket(NodeAddress.parse("127.0.0.1:1789"), bytes(2413), KeyRotation.ODD)


async def main(port: int, identity: bytes) -> None:
    node = RoutingNode(
        node_id=1,
        mix_host=PACKET.first_hop,
        identity=identity,
        sphinx_key=bytes(32),
        roles=NodeRoles(mixnet_entry=True),
        # the plain port is one that nothing listens on
        entry=EntryDetails(("127.0.0.1",), 1, HOST, port),
    )
    store = MemoryStore()
    await store.open()
    link = GatewayLink(
        keys=await store.load_or_create_keys(random.Random(3)),
        gateway=node,
        store=store,
        tickets=None,
        on_frame=lambda frame: None,
        options=LinkOptions(backoff_first_seconds=0.05, connect_timeout_seconds=5.0),
    )
    async with TaskSet("client") as tasks:
        tasks.spawn(link.run(), name="link")
        async with asyncio.timeout(60):
            while not link.ready and not link.stats.failures:  # noqa: ASYNC110 - whichever comes first
                await asyncio.sleep(0.01)
        if link.ready:
            await link.send([PACKET])
            print("sent")
        else:
            print(link.stats.last_error)
        await link.close()


if __name__ == "__main__":
    asyncio.run(main(int(sys.argv[1]), bytes.fromhex(sys.argv[2])))
