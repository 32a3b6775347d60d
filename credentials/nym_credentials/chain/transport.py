"""What the chain client needs of a way to the chain; JSON-RPC, REST and gRPC are such ways."""

from __future__ import annotations

from typing import Protocol

from nym_credentials.chain.records import NodeStatus
from nym_credentials.chain.rpc import AbciAnswer, BroadcastAnswer, TxAnswer, TxSearchAnswer


class Transport(Protocol):
    """What the client needs of a way to the chain."""

    async def status(self, *, fresh: bool = False) -> NodeStatus:
        """Of the node that answers at the moment; ``fresh`` asks it now. Raises `ChainError`."""
        ...

    async def abci_query(self, path: str, data: bytes) -> AbciAnswer:
        """A query of the state. Refusals are answers, not errors."""
        ...

    async def broadcast(self, tx: bytes) -> BroadcastAnswer:
        """Hands in a transaction; raises `SubmissionUnclear` if it may have arrived without an answer."""
        ...

    async def tx(self, tx_hash: str) -> TxAnswer | None:
        """A transaction in a block; None if the node does not know it."""
        ...

    async def tx_search(self, query: str, page: int = 1) -> TxSearchAnswer:
        """Transactions by their events."""
        ...

    async def close(self) -> None:
        """Ends all connections."""
        ...
