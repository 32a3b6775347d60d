"""A buyer that pays with $NYM on Nyx, put together (docs/protocol/08, docs/protocol/09)."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, nullcontext

from nym_credentials.chain.client_io import ChainClient
from nym_credentials.chain.smartcontract_io import POLL_SECONDS, SmartContractSource
from nym_credentials.chain.wallet import Wallet
from nym_credentials.chain.ways_io import transport_for
from nym_credentials.networks import ChainNetwork
from nym_credentials.purchase.buyer_io import Buyer, BuyerOptions, Payer, Turn
from nym_credentials.purchase.directory_io import ChainDirectory, Dealers
from nym_credentials.purchase.payment_io import Clock
from nym_credentials.purchase.ports import PurchaseStore
from nym_credentials.purchase.steps import AtPoint, nowhere
from nym_credentials.signers.client_io import ConnectorFactory


@asynccontextmanager
async def smart_contract_buyer(
    network: ChainNetwork,
    wallet: Wallet,
    store: PurchaseStore,
    *,
    clock: Clock = time.time,
    options: BuyerOptions | None = None,
    connector_factory: ConnectorFactory | None = None,
    poll_seconds: float = POLL_SECONDS,
    turn: Turn = nullcontext,
    at: AtPoint = nowhere,
) -> AsyncIterator[Buyer]:
    """`async with smart_contract_buyer(network, wallet, store.purchases) as buyer: await buyer.buy(…)`.

    `connector_factory` takes all of it, chain and signers, through a proxy: the mixnet itself, say. `turn`:
    see `Buyer`; pass `lambda: FileTurn(path)` where several processes use one store.
    """
    transport = transport_for(network, connector_factory=connector_factory, clock=clock)
    try:
        client = ChainClient(network, transport)
        dealers = Dealers(transport, network.contracts.coconut_dkg)
        yield Buyer(
            store,
            SmartContractSource(client, wallet, poll_seconds=poll_seconds),
            ChainDirectory(client, clock, identities=dealers.identities),
            Payer(network.name, network.contracts.ecash, wallet.address),
            clock=clock,
            options=options,
            connector_factory=connector_factory,
            turn=turn,
            at=at,
        )
    finally:
        await transport.close()
