"""A chain to test against: the test network's own, on a real socket, and nodes that misbehave."""

from __future__ import annotations

import json
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

from aiohttp import web

from nym_credentials.chain.client_io import ChainClient
from nym_credentials.chain.records import NodeStatus
from nym_credentials.chain.rpc import status_result
from nym_credentials.chain.smartcontract_io import SmartContractSource
from nym_credentials.chain.transport_io import JsonRpcTransport
from nym_credentials.chain.wallet import Wallet
from nym_credentials.networks import ChainNetwork
from nym_localnet.chain.accounts import wallet_for
from nym_localnet.chain.faucet import FAUCET_FUNDS, Faucet
from nym_localnet.chain.genesis import Nyx, new_chain
from nym_localnet.chain.server_io import ChainServer

PRICE = 75_000_000
CHAIN_ID = "nyx"
BLOCK_SECONDS = 0.05
SEED = bytes(range(32))
RICH = 1_000_000_000

# Made once: deriving from a phrase takes 2048 rounds of PBKDF2.
FAUCET_WALLET = wallet_for(SEED, "faucet", "n")
WALLET = wallet_for(SEED, "buyer", "n")
STRANGER = wallet_for(SEED, "stranger", "n")
ADMIN = wallet_for(SEED, "admin", "n")


@dataclass(slots=True)
class World:
    """A running chain, its network description and everything a payer has."""

    server: ChainServer
    network: ChainNetwork
    transport: JsonRpcTransport
    client: ChainClient
    source: SmartContractSource

    @property
    def nyx(self) -> Nyx:
        """The chain behind the socket."""
        return self.server.nyx

    @property
    def wallet(self) -> Wallet:
        """The payer's."""
        return WALLET

    def balance(self, address: str) -> int:
        """What the chain itself says."""
        return self.nyx.chain.ledger.balance(address, "unym")


@asynccontextmanager
async def chain_world(
    *, balance: int | None = RICH, reduced: int | None = None, chain_id: str | None = None, **options: Any
) -> AsyncIterator[World]:
    """A chain with one payer. ``balance`` None: the payer never received coins. ``chain_id``: the expected one."""
    balances = {FAUCET_WALLET.address: FAUCET_FUNDS}
    if balance is not None:
        balances[WALLET.address] = balance
    nyx = new_chain(
        chain_id=CHAIN_ID,
        prefix="n",
        denom="unym",
        price=PRICE,
        admin=ADMIN.address,
        signers=(ADMIN.address,),
        genesis_unix=time.time(),
        reduced_prices={} if reduced is None else {WALLET.address: reduced},
        balances=balances,
    )
    server = ChainServer(nyx, Faucet(FAUCET_WALLET, nyx.chain), block_seconds=BLOCK_SECONDS, faucet_amount=1)
    async with AsyncExitStack() as stack:
        await server.start()
        stack.push_async_callback(server.close)
        network = ChainNetwork(
            "test", nyx.contracts, (server.url,), ("http://127.0.0.1:1/api/",), chain_id=chain_id
        )
        transport = await stack.enter_async_context(
            JsonRpcTransport(network.rpc_urls, chain_id=chain_id, **options)
        )
        client = ChainClient(network, transport)
        yield World(
            server, network, transport, client, SmartContractSource(client, WALLET, poll_seconds=0.02)
        )


Handler = Callable[[dict[str, Any]], Awaitable[web.StreamResponse] | web.StreamResponse]


@dataclass(slots=True)
class Node:
    """A node that answers as told. ``answers`` maps methods to results, errors or functions of the request."""

    answers: dict[str, Any]
    url: str = ""
    seen: list[dict[str, Any]] = field(default_factory=list)

    def count(self, method: str) -> int:
        """How often a method was asked for."""
        return sum(request["method"] == method for request in self.seen)

    async def handle(self, request: web.Request) -> web.StreamResponse:
        """Any POST."""
        call = json.loads(await request.read())
        self.seen.append(call | {"headers": dict(request.headers)})
        answer = self.answers[call["method"]]
        if callable(answer):
            answer = answer(call)
        if isinstance(answer, Awaitable):
            answer = await answer
        if isinstance(answer, web.StreamResponse):
            return answer
        member = answer if "error" in answer else {"result": answer}
        return web.json_response({"jsonrpc": "2.0", "id": call["id"], **member})


def status_now(
    chain_id: str = CHAIN_ID, *, height: int = 10, age: float = 0.0, catching_up: bool = False
) -> dict[str, Any]:
    """The answer of a node whose latest block is so old."""
    when = datetime.fromtimestamp(time.time() - age, UTC)
    return status_result(NodeStatus(chain_id, height, when, catching_up))


@asynccontextmanager
async def node(**answers: Any) -> AsyncIterator[Node]:
    """A node on a real socket; ``status`` is right unless told otherwise."""
    found = Node({"status": lambda _: status_now(), **answers})
    app = web.Application()
    app.router.add_post("/", found.handle)
    runner = web.AppRunner(app, access_log=None, handle_signals=False, shutdown_timeout=0.1)
    await runner.setup()
    try:
        site = web.TCPSite(runner, "127.0.0.1", 0)
        await site.start()
        found.url = f"http://127.0.0.1:{runner.addresses[0][1]}"
        yield found
    finally:
        await runner.cleanup()
