"""The chain over cosmos-sdk's REST, for operators who have such an endpoint: none is published (docs/protocol/08 §1.1).

cosmpy's messages over aiohttp, so that it can go through a proxy, has time-outs and reads answers of newer nodes, whose
unknown members cosmpy's own client refuses.
"""

from __future__ import annotations

import asyncio
import base64
import json
import time
from collections.abc import Awaitable, Callable, Mapping
from types import TracebackType
from typing import Any, Final, Self
from urllib.parse import quote

import aiohttp

from nym_credentials.chain import cosmos
from nym_credentials.chain.json_records import dump_json
from nym_credentials.chain.messages import (
    AccountQuery,
    BalanceQuery,
    SimulateQuery,
    SmartAnswer,
    SmartQuery,
    write,
)
from nym_credentials.chain.nodes import MAX_BLOCK_AGE_SECONDS, check_node, shown_url
from nym_credentials.chain.records import NodeStatus
from nym_credentials.chain.rpc import MOST_PER_PAGE, AbciAnswer, BroadcastAnswer, TxAnswer, TxSearchAnswer
from nym_credentials.chain.sdk_service import broadcast_answer_of, refusal, status_of, tx_answer_of
from nym_credentials.chain.transactions import hash_of
from nym_credentials.chain.transport_io import Connector
from nym_credentials.errors import (
    ChainError,
    ChainUnreachable,
    MalformedChainData,
    SubmissionUnclear,
    printable,
)

CALL_TIMEOUT_SECONDS: Final = 20.0
STATUS_VALID_SECONDS: Final = 30.0
MAX_ANSWER_BYTES: Final = 16 * 1024 * 1024
HTTP_OK: Final = 200
NOT_FOUND: Final = 5
"""gRPC's status, which the gateway puts into the body."""
_ACCOUNT_TYPES: Final = ("BaseAccount", "ModuleAccount", "BaseVestingAccount", "PubKey")
"""One of each file: the types that an account may be of have to be loaded before it can be read."""


class _Refused(Exception):
    """The gateway answered with an error of the application."""

    def __init__(self, code: int, message: str) -> None:
        super().__init__(message)
        self.answer = refusal(code, "NotFound" if code == NOT_FOUND else str(code), message)
        self.is_not_found = code == NOT_FOUND or "not found" in message.lower()


class RestTransport:
    """`Transport` over one REST endpoint, ``http://host:1317``."""

    def __init__(
        self,
        url: str,
        *,
        chain_id: str | None = None,
        connector_factory: Connector | None = None,
        timeout_seconds: float = CALL_TIMEOUT_SECONDS,
        max_block_age_seconds: float = MAX_BLOCK_AGE_SECONDS,
        clock: Callable[[], float] = time.time,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        """``chain_id`` is the expected one; None pins the first that the endpoint names."""
        self._url = url.rstrip("/")
        self._shown = shown_url(url)
        self._chain_id = chain_id
        self._connector_factory = connector_factory
        self._timeout = timeout_seconds
        self._max_age = max_block_age_seconds
        self._clock = clock
        self._monotonic = monotonic
        self._session: aiohttp.ClientSession | None = None
        self._known: tuple[float, NodeStatus] | None = None
        self._queries: dict[str, Callable[[bytes], Awaitable[bytes]]] = {
            AccountQuery.PATH: self._account,
            BalanceQuery.PATH: self._balance,
            SmartQuery.PATH: self._smart_query,
            SimulateQuery.PATH: self._simulate,
        }

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()

    async def close(self) -> None:
        """Ends all connections."""
        session, self._session = self._session, None
        if session is not None:
            await session.close()

    async def status(self, *, fresh: bool = False) -> NodeStatus:
        """Of the node behind the endpoint."""
        known, now = self._known, self._monotonic()
        if fresh or known is None or now - known[0] > STATUS_VALID_SECONDS:
            self._known = None
            base = "/cosmos/base/tendermint/v1beta1"
            latest = self._filled(
                "GetLatestBlockResponse", _header_only(await self._ask(f"{base}/blocks/latest"))
            )
            found = status_of(latest, self._filled("GetSyncingResponse", await self._ask(f"{base}/syncing")))
            self._chain_id = self._chain_id or found.chain_id
            known = (now, found)
        check_node(self._shown, known[1], self._chain_id, self._clock(), self._max_age)
        self._known = known
        return known[1]

    async def abci_query(self, path: str, data: bytes) -> AbciAnswer:
        """One of the queries that a payer makes; others are not offered over REST."""
        await self.status()
        try:
            return AbciAnswer(await self._queries[path](data))
        except _Refused as error:
            return error.answer

    async def broadcast(self, tx: bytes) -> BroadcastAnswer:
        """Hands in a transaction."""
        await self.status()
        body = {"tx_bytes": base64.b64encode(tx).decode(), "mode": "BROADCAST_MODE_SYNC"}
        try:
            answer = await self._ask("/cosmos/tx/v1beta1/txs", body=body)
            found = broadcast_answer_of(self._tx_response(answer.get("tx_response")))
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
            answer = await self._ask(f"/cosmos/tx/v1beta1/txs/{tx_hash}")
        except _Refused as error:
            if error.is_not_found:
                return None
            raise ChainUnreachable(f"{self._shown} refused to tell: {printable(error.answer.log)}.") from None
        found = tx_answer_of(self._tx_response(answer.get("tx_response")))
        if found.tx_hash != tx_hash:
            raise MalformedChainData("tx_response.txhash", "that of the transaction asked for", self._shown)
        return found

    async def tx_search(self, query: str, page: int = 1) -> TxSearchAnswer:
        """One page of transactions, oldest first."""
        await self.status()
        text = f"query={quote(query, safe='')}&order_by=ORDER_BY_ASC&page={page}&limit={MOST_PER_PAGE}"
        try:
            answer = await self._ask(f"/cosmos/tx/v1beta1/txs?{text}")
        except _Refused as error:
            raise ChainUnreachable(
                f"{self._shown} refused to search: {printable(error.answer.log)}."
            ) from None
        found = answer.get("tx_responses")
        if not isinstance(found, list):
            raise MalformedChainData("tx_responses", "an array", self._shown)
        total = answer.get("total")
        if not isinstance(total, str) or not (total.isascii() and total.isdigit()):
            raise MalformedChainData("total", "a text of digits", self._shown)
        return TxSearchAnswer(tuple(tx_answer_of(self._tx_response(each)) for each in found), int(total))

    # --- queries: the protobuf request becomes a URL, the JSON answer becomes protobuf again ---------------------

    async def _account(self, data: bytes) -> bytes:
        address = quote(AccountQuery.decode(data).address, safe="")
        for name in _ACCOUNT_TYPES:
            getattr(cosmos, name)
        return write(
            self._filled("QueryAccountResponse", await self._ask(f"/cosmos/auth/v1beta1/accounts/{address}"))
        )

    async def _balance(self, data: bytes) -> bytes:
        query = BalanceQuery.decode(data)
        address, denom = quote(query.address, safe=""), quote(query.denom, safe="")
        path = f"/cosmos/bank/v1beta1/balances/{address}/by_denom?denom={denom}"
        return write(self._filled("QueryBalanceResponse", await self._ask(path)))

    async def _smart_query(self, data: bytes) -> bytes:
        query = SmartQuery.decode(data)
        text = quote(base64.b64encode(query.query).decode(), safe="")
        answer = await self._ask(f"/cosmwasm/wasm/v1/contract/{quote(query.contract, safe='')}/smart/{text}")
        if "data" not in answer:
            raise MalformedChainData("data", "present", self._shown)
        return SmartAnswer(dump_json(answer["data"])).encode()

    async def _simulate(self, data: bytes) -> bytes:
        body = {"tx_bytes": base64.b64encode(SimulateQuery.decode(data).tx_bytes).decode()}
        answer = await self._ask("/cosmos/tx/v1beta1/simulate", body=body)
        return write(self._filled("SimulateResponse", {"gas_info": answer.get("gas_info")}))

    # --- requests -----------------------------------------------------------------------------------------------

    def _tx_response(self, value: Any) -> Any:
        """A ``TxResponse`` without the transaction inside of it, whose messages REST writes in another way."""
        if not isinstance(value, dict):
            raise MalformedChainData("tx_response", "an object", self._shown)
        return self._filled(
            "TxResponse", {key: inner for key, inner in value.items() if key not in ("tx", "logs")}
        )

    def _filled(self, kind: str, value: Any) -> Any:
        """The generated class from JSON; members that it does not know are skipped."""
        try:
            return cosmos.ParseDict(value, getattr(cosmos, kind)(), ignore_unknown_fields=True)
        except (cosmos.ParseError, TypeError, ValueError, AttributeError):
            raise MalformedChainData(kind, "JSON of that message", self._shown) from None

    async def _ask(self, path: str, *, body: Mapping[str, Any] | None = None) -> dict[str, Any]:
        """Raises `_Refused` for an answer of the application, `ChainUnreachable` for everything else."""
        method = "GET" if body is None else "POST"
        try:
            async with asyncio.timeout(self._timeout):
                async with self._open().request(
                    method, f"{self._url}{path}", json=body, allow_redirects=False
                ) as response:
                    text = await response.content.read(MAX_ANSWER_BYTES + 1)
                    while len(text) <= MAX_ANSWER_BYTES and (
                        more := await response.content.read(MAX_ANSWER_BYTES)
                    ):
                        text += more
                    status = response.status
        except TimeoutError:
            raise ChainUnreachable(f"{self._shown} did not answer within {self._timeout:g} s.") from None
        except (aiohttp.ClientError, OSError) as error:
            raise ChainUnreachable(f"{self._shown} cannot be reached: {printable(str(error))}.") from None
        if len(text) > MAX_ANSWER_BYTES:
            raise MalformedChainData("body", f"at most {MAX_ANSWER_BYTES} bytes", self._shown)
        try:
            value = json.loads(text)
        except ValueError:
            value = None
        if status != HTTP_OK:
            if isinstance(value, dict) and type(value.get("code")) is int:
                raise _Refused(value["code"], str(value.get("message", "")))
            raise ChainUnreachable(f"{self._shown} answered with HTTP status {status}.")
        if not isinstance(value, dict):
            raise MalformedChainData("body", "a JSON object", self._shown)
        return value

    def _open(self) -> aiohttp.ClientSession:
        if self._session is None:
            self._session = aiohttp.ClientSession(
                connector=self._connector_factory() if self._connector_factory else None,
                cookie_jar=aiohttp.DummyCookieJar(),
                skip_auto_headers=("User-Agent",),
                trust_env=False,
            )
        return self._session


def _header_only(value: Mapping[str, Any]) -> dict[str, Any]:
    """A block without its transactions and commits."""
    found = {}
    for name in ("block", "sdk_block"):
        block = value.get(name)
        header = block.get("header") if isinstance(block, dict) else None
        if isinstance(header, dict):
            found[name] = {
                "header": {key: header[key] for key in ("chain_id", "height", "time") if key in header}
            }
    return found
