"""The chain over gRPC, for operators who have such an endpoint: none is published (docs/protocol/08 §1.1).

Through grpcio, which cosmpy brings. A query's path is the method's path, and its bytes are those of ``abci_query``. It
connects directly: whoever sends all traffic through the mixnet uses JSON-RPC or REST.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from types import TracebackType
from typing import Any, Final, Self
from urllib.parse import urlsplit

from nym_credentials.chain import cosmos
from nym_credentials.chain.messages import parse, write
from nym_credentials.chain.nodes import MAX_BLOCK_AGE_SECONDS, check_node, shown_url
from nym_credentials.chain.records import NodeStatus
from nym_credentials.chain.rpc import MOST_PER_PAGE, AbciAnswer, BroadcastAnswer, TxAnswer, TxSearchAnswer
from nym_credentials.chain.sdk_service import (
    BROADCAST_MODE_SYNC,
    BROADCAST_PATH,
    GET_TX_PATH,
    GET_TXS_PATH,
    LATEST_BLOCK_PATH,
    ORDER_BY_ASCENDING,
    SYNCING_PATH,
    broadcast_answer_of,
    read_block_status,
    refusal,
    tx_answer_of,
    tx_request,
)
from nym_credentials.chain.transactions import hash_of
from nym_credentials.errors import (
    ChainError,
    ChainUnreachable,
    MalformedChainData,
    SubmissionUnclear,
    printable,
)

CALL_TIMEOUT_SECONDS: Final = 20.0
STATUS_VALID_SECONDS: Final = 30.0


class _Refused(Exception):
    """The server answered with a gRPC status."""

    def __init__(self, code: int, name: str, details: str) -> None:
        super().__init__(name)
        self.answer = refusal(code, name, details)
        self.is_not_found = name == "NOT_FOUND" or "not found" in details.lower()


class GrpcTransport:
    """`Transport` over one gRPC endpoint, ``http://host:9090`` or ``https://…``."""

    def __init__(
        self,
        url: str,
        *,
        chain_id: str | None = None,
        timeout_seconds: float = CALL_TIMEOUT_SECONDS,
        max_block_age_seconds: float = MAX_BLOCK_AGE_SECONDS,
        clock: Callable[[], float] = time.time,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        """``chain_id`` is the expected one; None pins the first that the endpoint names."""
        self._url = url
        self._shown = shown_url(url)
        self._chain_id = chain_id
        self._timeout = timeout_seconds
        self._max_age = max_block_age_seconds
        self._clock = clock
        self._monotonic = monotonic
        self._channel: Any = None
        self._known: tuple[float, NodeStatus] | None = None

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()

    async def close(self) -> None:
        """Ends the connection."""
        channel, self._channel = self._channel, None
        if channel is not None:
            await asyncio.to_thread(channel.close)

    async def status(self, *, fresh: bool = False) -> NodeStatus:
        """Of the node behind the endpoint."""
        known, now = self._known, self._monotonic()
        if fresh or known is None or now - known[0] > STATUS_VALID_SECONDS:
            self._known = None
            try:
                latest = await self._call(LATEST_BLOCK_PATH, b"")
                found = read_block_status(latest, await self._call(SYNCING_PATH, b""))
            except _Refused as error:
                raise ChainUnreachable(
                    f"{self._shown} does not tell its block: {printable(error.answer.log)}."
                ) from None
            except MalformedChainData as error:
                raise error.at(self._shown) from None
            self._chain_id = self._chain_id or found.chain_id
            known = (now, found)
        check_node(self._shown, known[1], self._chain_id, self._clock(), self._max_age)
        self._known = known
        return known[1]

    async def abci_query(self, path: str, data: bytes) -> AbciAnswer:
        """A query of the state."""
        await self.status()
        try:
            return AbciAnswer(await self._call(path, data))
        except _Refused as error:
            return error.answer

    async def broadcast(self, tx: bytes) -> BroadcastAnswer:
        """Hands in a transaction."""
        await self.status()
        request = cosmos.BroadcastTxRequest(tx_bytes=tx, mode=BROADCAST_MODE_SYNC)
        try:
            answer = await self._call(BROADCAST_PATH, write(request))
            found = broadcast_answer_of(parse("BroadcastTxResponse", answer, "tx_response").tx_response)
            if found.tx_hash != hash_of(tx):
                raise MalformedChainData("tx_response.txhash", "that of the transaction", self._shown)
        except (ChainError, _Refused) as error:
            raise SubmissionUnclear(
                f"{self._shown} gave no clear answer to the transaction {hash_of(tx)}: {printable(str(error))}",
                "It may be included later: its outcome is asked for by its hash.",
            ) from None
        return found

    async def tx(self, tx_hash: str) -> TxAnswer | None:
        """A transaction in a block."""
        await self.status()
        try:
            answer = await self._call(GET_TX_PATH, write(tx_request(tx_hash)))
        except _Refused as error:
            if error.is_not_found:
                return None
            raise ChainUnreachable(f"{self._shown} refused to tell: {printable(error.answer.log)}.") from None
        found = tx_answer_of(parse("GetTxResponse", answer, "tx_response").tx_response)
        if found.tx_hash != tx_hash:
            raise MalformedChainData("tx_response.txhash", "that of the transaction asked for", self._shown)
        return found

    async def tx_search(self, query: str, page: int = 1) -> TxSearchAnswer:
        """One page of transactions, oldest first."""
        await self.status()
        request = cosmos.GetTxsEventRequest(
            query=query, page=page, limit=MOST_PER_PAGE, order_by=ORDER_BY_ASCENDING
        )
        try:
            answer = await self._call(GET_TXS_PATH, write(request))
        except _Refused as error:
            raise ChainUnreachable(
                f"{self._shown} refused to search: {printable(error.answer.log)}."
            ) from None
        found = parse("GetTxsEventResponse", answer, "tx_responses")
        return TxSearchAnswer(tuple(tx_answer_of(each) for each in found.tx_responses), found.total)

    async def _call(self, path: str, data: bytes) -> bytes:
        """Raises `_Refused` for an answer of the application, `ChainUnreachable` for everything else."""
        return await asyncio.to_thread(self._call_now, path, data)

    def _call_now(self, path: str, data: bytes) -> bytes:
        grpc = cosmos.grpc
        if self._channel is None:
            parts = urlsplit(self._url)
            secure = parts.scheme == "https"
            target = f"{parts.hostname}:{parts.port or (443 if secure else 80)}"
            self._channel = (
                grpc.secure_channel(target, grpc.ssl_channel_credentials())
                if secure
                else grpc.insecure_channel(target)
            )
        try:
            return bytes(self._channel.unary_unary(path)(data, timeout=self._timeout))
        except grpc.RpcError as error:
            code, details = error.code(), str(error.details())
            if code in (grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.DEADLINE_EXCEEDED):
                raise ChainUnreachable(f"{self._shown} cannot be reached: {printable(details)}.") from None
            raise _Refused(int(code.value[0]), code.name, details) from None
