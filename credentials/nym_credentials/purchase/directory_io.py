"""The signers as the chain names them: `purchase.ports.SignerDirectory` (docs/protocol/08 §6)."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from typing import Final, Protocol

from nym_credentials.chain.dkg import DealersPage, EpochState, GetEpochDealers
from nym_credentials.chain.messages import SmartAnswer, SmartQuery
from nym_credentials.chain.records import SignerShare
from nym_credentials.chain.transport import Transport
from nym_credentials.errors import ChainError
from nym_credentials.signers.epoch import SignerSet
from zknym import MalformedText, b58decode

Identities = Callable[[int], Awaitable[Mapping[str, bytes]]]
"""The Ed25519 keys (32 bytes) of an epoch's signers, by account."""

_KEY_BYTES: Final = 32
_MOST_PAGES: Final = 1_000


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


class Dealers:
    """Looks up with which keys signers sign what they say about themselves (docs/protocol/09 §5)."""

    def __init__(self, transport: Transport, contract: str) -> None:
        """`contract`: the address of the coconut-dkg contract."""
        self._transport = transport
        self._contract = contract

    async def identities(self, epoch_id: int) -> Mapping[str, bytes]:
        """By account. Empty for a contract that does not tell: then nobody's word is checked."""
        found: dict[str, bytes] = {}
        start_after: str | None = None
        try:
            for _ in range(_MOST_PAGES):
                query = SmartQuery(self._contract, GetEpochDealers(epoch_id, None, start_after).to_json())
                answer = await self._transport.abci_query(query.PATH, query.encode())
                if answer.code != 0:
                    break
                page = DealersPage.from_json(SmartAnswer.decode(answer.value).data)
                for dealer in page.dealers:
                    key = _key(dealer.ed25519_identity)
                    if key is not None:
                        found[dealer.address] = key
                if page.start_next_after is None or page.start_next_after == start_after:
                    break
                start_after = page.start_next_after
        except ChainError:
            pass  # the list of shares decides whether there is anything to buy; this one only adds a check
        return found


def _key(text: str) -> bytes | None:
    try:
        key = b58decode(text)
    except MalformedText:
        return None
    return key if len(key) == _KEY_BYTES else None


class ChainDirectory:
    """Asks the chain at every call: epochs change, and a list from before would cost a deposit's time."""

    def __init__(
        self,
        chain: KeyGeneration,
        clock: Callable[[], float],
        *,
        identities: Identities | None = None,
    ) -> None:
        """`clock`: Unix seconds. `identities`: as `Dealers.identities`."""
        self._chain = chain
        self._clock = clock
        self._identities = identities

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
        identities = await self._identities(epoch_id) if self._identities is not None else {}
        rows = [(s.node_index, s.key, s.url, s.owner, s.verified, identities.get(s.owner)) for s in shares]
        return await asyncio.to_thread(SignerSet.of_shares, epoch_id, threshold, rows)
