"""The key that verifies the tickets of an epoch, put together from the shares on the chain (docs/protocol/03 §9.4).

A gateway asks the chain, never the signers. What was found is kept; what could not be had is asked for again with
the next ticket.
"""

from __future__ import annotations

import asyncio
import logging
import uuid
from dataclasses import dataclass, field
from typing import Final

import aiohttp

from nym_credentials.chain.dkg import (
    GetEpochThreshold,
    GetVerificationKeys,
    SharesPage,
    VerificationKeyShare,
    threshold_from_json,
)
from nym_credentials.chain.json_records import ContractMessage
from nym_credentials.chain.jsonrpc import Request, RpcError, decode_answer
from nym_credentials.chain.messages import SmartAnswer, SmartQuery
from nym_credentials.chain.rpc import AbciAnswer, AbciQueryCall
from nym_credentials.errors import CredentialsError
from nym_localnet.ecash.ticket_rules import NO_THRESHOLD, UNVERIFIED_SHARE
from nym_localnet.errors import TicketRefused
from zknym import EcashError, VerificationKey, aggregate_verification_keys, b58decode

logger = logging.getLogger(__name__)

CHAIN_SECONDS: Final = 10.0
CHAIN_FAILED: Final = "there was an issue attempting to use the validator [nyxd]: {}"


@dataclass(frozen=True, slots=True)
class EpochSigner:
    """One signer of an epoch, for a gateway."""

    index: int
    url: str


@dataclass(frozen=True, slots=True)
class EpochData:
    """What verifies tickets of an epoch, and who has to be told of them."""

    epoch_id: int
    master: VerificationKey = field(repr=False)
    signers: tuple[EpochSigner, ...]


class EpochKeySource:
    """Asks one node of the chain."""

    def __init__(self, rpc_url: str, dkg_address: str) -> None:
        self._rpc_url = rpc_url
        self._dkg_address = dkg_address
        self._known: dict[int, EpochData] = {}
        self._asking = asyncio.Lock()
        self._session: aiohttp.ClientSession | None = None

    async def close(self) -> None:
        """Close the connections."""
        if self._session is not None:
            await self._session.close()
            self._session = None

    async def epoch(self, epoch_id: int) -> EpochData:
        """The data of an epoch. Raises `TicketRefused` in the gateway's words."""
        async with self._asking:
            found = self._known.get(epoch_id)
            if found is None:
                try:
                    found = await self._fetch(epoch_id)
                except (CredentialsError, aiohttp.ClientError, TimeoutError, EcashError) as error:
                    logger.warning("the keys of epoch %d are not to be had: %s", epoch_id, error)
                    raise TicketRefused(CHAIN_FAILED.format(type(error).__name__)) from error
                self._known[epoch_id] = found
            return found

    async def _fetch(self, epoch_id: int) -> EpochData:
        threshold = threshold_from_json(await self._ask(GetEpochThreshold(epoch_id)))
        if threshold is None:
            raise TicketRefused(NO_THRESHOLD.format(epoch_id))
        shares: list[VerificationKeyShare] = []
        after: str | None = None
        while True:
            answer = await self._ask(GetVerificationKeys(epoch_id, None, after))
            page = SharesPage.from_json(answer)
            shares += page.shares
            after = page.start_next_after
            if after is None:
                break
        if not all(share.verified for share in shares):
            raise TicketRefused(UNVERIFIED_SHARE)
        if len(shares) < threshold:
            raise TicketRefused(NO_THRESHOLD.format(epoch_id))
        master = await asyncio.to_thread(_aggregate, shares)
        signers = tuple(EpochSigner(share.node_index, share.announce_address) for share in shares)
        return EpochData(epoch_id, master, signers)

    async def _ask(self, message: ContractMessage) -> bytes:
        query = SmartQuery(self._dkg_address, message.to_json())
        call = AbciQueryCall(SmartQuery.PATH, query.encode())
        request = Request(str(uuid.uuid4()), "abci_query", call.params())
        if self._session is None:
            self._session = aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=CHAIN_SECONDS))
        headers = {"Content-Type": "application/json"}
        async with self._session.post(self._rpc_url, data=request.encode(), headers=headers) as response:
            response.raise_for_status()
            body = await response.read()
        answer = decode_answer(body, request.id)
        if isinstance(answer, RpcError):
            raise TicketRefused(CHAIN_FAILED.format(answer.message))
        found = AbciAnswer.from_result(answer)
        if found.code:
            raise TicketRefused(CHAIN_FAILED.format(found.log))
        return SmartAnswer.decode(found.value).data


def _aggregate(shares: list[VerificationKeyShare]) -> VerificationKey:
    keys = [(share.node_index, VerificationKey.decode(b58decode(share.share))) for share in shares]
    master = aggregate_verification_keys(keys)
    _ = master.prepared  # the tables that every verification needs
    return master
