"""The signers as the chain names them: `purchase.ports.SignerDirectory` (docs/protocol/08 §6)."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from typing import Protocol

from nym_credentials.chain.dkg import EpochState
from nym_credentials.chain.records import SignerShare
from nym_credentials.signers.epoch import SignerSet


class KeyGeneration(Protocol):
    """What the chain tells about the signers and their keys."""

    async def epoch_state(self) -> EpochState:
        """The current epoch."""
        ...

    async def threshold(self, epoch_id: int | None = None) -> int | None:
        """How many shares of an epoch make a book; None if it has no threshold."""
        ...

    async def shares(self, epoch_id: int) -> list[SignerShare]:
        """All signers of an epoch."""
        ...


class ChainDirectory:
    """Asks the chain at every call: epochs change, and a cached list would cost a deposit's time.

    `identities`: the Ed25519 keys (32 bytes) of signers by their account, where somebody knows them.
    """

    def __init__(
        self,
        chain: KeyGeneration,
        clock: Callable[[], float],
        *,
        identities: Mapping[str, bytes] | None = None,
    ) -> None:
        self._chain = chain
        self._clock = clock
        self._identities = identities or {}

    async def current(self) -> SignerSet:
        """The signers of the current epoch; `issuing` is False while new keys are made."""
        state = await self._chain.epoch_state()
        if not state.issuing:
            wait = state.seconds_until_issuing(self._clock())
            return SignerSet(state.epoch_id, 1, (), issuing=False, wait_seconds=wait)
        return await self.of_epoch(state.epoch_id)

    async def of_epoch(self, epoch_id: int) -> SignerSet:
        """The signers of any epoch. Raises `EpochKeysInconsistent` if too few of them are usable."""
        threshold = await self._chain.threshold(epoch_id)
        shares = await self._chain.shares(epoch_id)
        rows = [
            (s.node_index, s.key, s.url, s.owner, s.verified, self._identities.get(s.owner)) for s in shares
        ]
        return await asyncio.to_thread(SignerSet.of_shares, epoch_id, threshold, rows)
