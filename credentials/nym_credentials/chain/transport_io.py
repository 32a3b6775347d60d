"""How calls reach the chain: CometBFT's JSON-RPC over several endpoints (docs/protocol/08 §1.1, §3, §8).

Endpoints are tried in their order, beginning with the one that answered last. Before an endpoint is believed it has to
show that it is on the right chain and up to date; that is asked again from time to time. Endpoints that disagree on the
chain are a reason to stop, not to choose.
"""

from __future__ import annotations

import asyncio
import time
import uuid
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from types import TracebackType
from typing import Any, Final, Self, TypeVar

import aiohttp

from nym_credentials.chain.nodes import MAX_BLOCK_AGE_SECONDS, check_node, shown_url
from nym_credentials.chain.records import NodeStatus
from nym_credentials.chain.rpc import (
    ALREADY_IN_CACHE,
    INTERNAL_ERROR,
    AbciAnswer,
    AbciQueryCall,
    BroadcastAnswer,
    BroadcastCall,
    Request,
    RpcError,
    StatusCall,
    TxAnswer,
    TxCall,
    TxSearchAnswer,
    TxSearchCall,
    decode_answer,
    read_status,
)
from nym_credentials.chain.transactions import hash_of
from nym_credentials.errors import (
    ChainError,
    ChainUnreachable,
    MalformedChainData,
    MempoolFull,
    NodeStale,
    RpcRefused,
    SubmissionUnclear,
    WrongChain,
    printable,
)

T = TypeVar("T")

CALL_TIMEOUT_SECONDS: Final = 20.0
"""For one endpoint: long enough for a circuit through the mixnet."""
STATUS_VALID_SECONDS: Final = 30.0
"""How long an endpoint is believed before it is asked for its status again."""
MAX_ANSWER_BYTES: Final = 16 * 1024 * 1024
HTTP_OK: Final = 200

Connector = Callable[[], aiohttp.BaseConnector]
"""Makes the connector of a session: through a SOCKS proxy, for instance. Called once per open."""


@dataclass(slots=True)
class _Endpoint:
    url: str
    shown: str
    """For messages."""
    checked_at: float | None = None
    status: NodeStatus | None = None


class _NotConnected(ChainUnreachable):
    """The endpoint never received anything: safe to try elsewhere whatever the call is."""


class JsonRpcTransport:
    """JSON-RPC over HTTP with fail-over. Used as ``async with``, or closed with `close`."""

    def __init__(
        self,
        urls: Sequence[str],
        *,
        chain_id: str | None = None,
        connector_factory: Connector | None = None,
        timeout_seconds: float = CALL_TIMEOUT_SECONDS,
        max_block_age_seconds: float = MAX_BLOCK_AGE_SECONDS,
        clock: Callable[[], float] = time.time,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        """``chain_id`` is the expected one, None to believe endpoints that agree.

        ``clock`` gives seconds since 1970.
        """
        if not urls:
            raise ValueError("a transport needs at least one URL")
        self._endpoints = [_Endpoint(url, shown_url(url)) for url in urls]
        self._chain_id = chain_id
        self._connector_factory = connector_factory
        self._timeout = timeout_seconds
        self._max_age = max_block_age_seconds
        self._clock = clock
        self._monotonic = monotonic
        self._session: aiohttp.ClientSession | None = None
        self._agreeing = asyncio.Lock()

    @property
    def chain_id(self) -> str | None:
        """Expected by configuration, or agreed on by the endpoints that answered first."""
        return self._chain_id

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()

    async def close(self) -> None:
        """Ends all connections. The transport can be used again afterwards."""
        session, self._session = self._session, None
        if session is not None:
            await session.close()

    # --- the calls ----------------------------------------------------------------------------------------------

    async def status(self, *, fresh: bool = False) -> NodeStatus:
        """Chain, height and time of the first endpoint that can be believed."""
        await self._agree_on_chain()
        failures: list[ChainError] = []
        for endpoint in list(self._endpoints):
            try:
                status = await self._believed(endpoint, fresh=fresh)
            except ChainError as error:
                failures.append(error)
                continue
            self._prefer(endpoint)
            return status
        raise self._all_failed(failures)

    async def abci_query(self, path: str, data: bytes) -> AbciAnswer:
        """A query of the state at the latest height."""
        call = AbciQueryCall(path, data)
        return await self._first(call.METHOD, call.params(), AbciAnswer.from_result)

    async def broadcast(self, tx: bytes) -> BroadcastAnswer:
        """Hands in a transaction. Sending the same bytes to several endpoints is safe: it is one transaction."""
        await self._agree_on_chain()
        call, tx_hash = BroadcastCall(tx), hash_of(tx)
        failures: list[ChainError] = []
        unclear = False
        for endpoint in list(self._endpoints):
            try:
                await self._believed(endpoint)
            except ChainError as error:  # it was not given the transaction yet
                failures.append(error)
                continue
            try:
                outcome = await self._ask(endpoint, call.METHOD, call.params())
                if isinstance(outcome, RpcError):
                    if ALREADY_IN_CACHE in f"{outcome.message} {outcome.data}":
                        return BroadcastAnswer(tx_hash)
                    raise _refused(endpoint.shown, call.METHOD, outcome)
                answer = _at(endpoint.shown, BroadcastAnswer.from_result, outcome)
                if answer.tx_hash != tx_hash:
                    raise MalformedChainData("hash", "that of the transaction", endpoint.shown)
            except _NotConnected as error:
                failures.append(error)
                continue
            except MempoolFull as error:
                failures.append(error)
                continue
            except ChainError as error:
                failures.append(error)
                unclear = True
                continue
            if answer.code != 0 and unclear:
                break  # an endpoint asked earlier may have it: this refusal may be because of that
            self._prefer(endpoint)
            return answer
        if unclear:
            raise SubmissionUnclear(
                f"No endpoint gave a clear answer to the transaction {tx_hash}: {_joined(failures)}",
                "It may be included later: its outcome is asked for by its hash.",
            )
        raise self._all_failed(failures)

    async def tx(self, tx_hash: str) -> TxAnswer | None:
        """A transaction in a block; None if a node that is up to date does not know it."""
        call = TxCall(tx_hash)
        try:
            answer = await self._first(call.METHOD, call.params(), TxAnswer.from_result)
        except RpcRefused as error:
            if _says_not_found(error):
                return None
            raise
        if answer.tx_hash != tx_hash or (answer.tx and hash_of(answer.tx) != tx_hash):
            raise MalformedChainData("hash", "that of the transaction asked for", self._endpoints[0].shown)
        return answer

    async def tx_search(self, query: str, page: int = 1) -> TxSearchAnswer:
        """One page of transactions, oldest first."""
        call = TxSearchCall(query, page)
        return await self._first(call.METHOD, call.params(), TxSearchAnswer.from_result)

    # --- endpoints ----------------------------------------------------------------------------------------------

    async def _first(self, method: str, params: Mapping[str, Any], read: Callable[[Any], T]) -> T:
        """The answer of the first endpoint that can be believed and gives one; "not found" is an answer."""
        await self._agree_on_chain()
        failures: list[ChainError] = []
        for endpoint in list(self._endpoints):
            try:
                await self._believed(endpoint)
                outcome = await self._ask(endpoint, method, params)
                if isinstance(outcome, RpcError):
                    raise _refused(endpoint.shown, method, outcome)
                answer = _at(endpoint.shown, read, outcome)
            except ChainError as error:
                if _says_not_found(error):
                    self._prefer(endpoint)
                    raise
                failures.append(error)
                continue
            self._prefer(endpoint)
            return answer
        raise self._all_failed(failures)

    def _prefer(self, endpoint: _Endpoint) -> None:
        """The endpoint that answered is asked first from now on."""
        if self._endpoints[0] is not endpoint:
            self._endpoints.remove(endpoint)
            self._endpoints.insert(0, endpoint)

    async def _agree_on_chain(self) -> None:
        """Without an expected chain id: all endpoints that answer have to name the same one."""
        if self._chain_id is not None:
            return
        async with self._agreeing:
            if self.chain_id is not None:  # agreed on while this call waited
                return
            named: dict[str, str] = {}
            failures: list[ChainError] = []

            async def ask(endpoint: _Endpoint) -> None:
                try:
                    named[endpoint.shown] = (await self._fetch_status(endpoint)).chain_id
                except ChainError as error:
                    failures.append(error)

            async with asyncio.TaskGroup() as group:
                for endpoint in self._endpoints:
                    group.create_task(ask(endpoint))
            if not named:
                raise self._all_failed(failures)
            if len(set(named.values())) > 1:
                listed = ", ".join(f"{url} says {printable(chain_id)}" for url, chain_id in named.items())
                raise WrongChain(
                    f"The RPC endpoints are not of one chain: {listed}.",
                    "Remove the wrong ones; nothing was signed.",
                )
            self._chain_id = next(iter(named.values()))

    async def _believed(self, endpoint: _Endpoint, *, fresh: bool = False) -> NodeStatus:
        """The endpoint's status, if it is on the right chain and up to date. Raises `WrongChain`, `NodeStale`."""
        now = self._monotonic()
        known = endpoint.status
        if (
            fresh
            or known is None
            or endpoint.checked_at is None
            or now - endpoint.checked_at > STATUS_VALID_SECONDS
        ):
            known = await self._fetch_status(endpoint)
        try:
            check_node(endpoint.shown, known, self._chain_id, self._clock(), self._max_age)
        except ChainError:
            endpoint.checked_at = None
            raise
        return known

    async def _fetch_status(self, endpoint: _Endpoint) -> NodeStatus:
        outcome = await self._ask(endpoint, StatusCall.METHOD, None)
        if isinstance(outcome, RpcError):
            raise _refused(endpoint.shown, StatusCall.METHOD, outcome)
        endpoint.status = _at(endpoint.shown, read_status, outcome)
        endpoint.checked_at = self._monotonic()
        return endpoint.status

    async def _ask(
        self, endpoint: _Endpoint, method: str, params: Mapping[str, Any] | None
    ) -> dict[str, Any] | RpcError:
        """One POST. Raises `_NotConnected`, `ChainUnreachable` or `MalformedChainData`."""
        request = Request(str(uuid.uuid4()), method, params)
        try:
            async with asyncio.timeout(self._timeout):
                async with self._open().post(
                    endpoint.url,
                    data=request.encode(),
                    headers={"Content-Type": "application/json"},
                    allow_redirects=False,
                ) as response:
                    if response.status != HTTP_OK:
                        endpoint.checked_at = None
                        raise ChainUnreachable(
                            f"{endpoint.shown} answered {method} with HTTP status {response.status}."
                        )
                    body = await _bounded(response, endpoint.shown)
        except TimeoutError:
            endpoint.checked_at = None
            raise ChainUnreachable(
                f"{endpoint.shown} did not answer {method} within {self._timeout:g} s."
            ) from None
        except aiohttp.ClientConnectorError as error:
            endpoint.checked_at = None
            raise _NotConnected(
                f"{endpoint.shown} cannot be reached: {printable(str(error.os_error))}."
            ) from None
        except (aiohttp.ClientError, OSError) as error:
            endpoint.checked_at = None
            raise ChainUnreachable(
                f"{endpoint.shown} broke off: {printable(str(error) or type(error).__name__)}."
            ) from None
        return _at(endpoint.shown, decode_answer, body, request.id)

    def _open(self) -> aiohttp.ClientSession:
        """The session, made at the first call: connectors belong to a running loop."""
        if self._session is None:
            self._session = aiohttp.ClientSession(
                connector=self._connector_factory() if self._connector_factory else None,
                cookie_jar=aiohttp.DummyCookieJar(),  # nothing that would link one purchase to another
                skip_auto_headers=("User-Agent",),
                trust_env=False,
            )
        return self._session

    def _all_failed(self, failures: Sequence[ChainError]) -> ChainError:
        """The one error for many: of the gravest kind, with all reasons."""
        for kind in (WrongChain, NodeStale, MempoolFull, RpcRefused, MalformedChainData):
            found = [error for error in failures if isinstance(error, kind)]
            if found:
                return found[0]
        return ChainUnreachable(
            f"No RPC endpoint of the chain answered: {_joined(failures)}",
            "Check the network connection, or name others.",
        )


def _says_not_found(error: ChainError) -> bool:
    """Whether a node says that it knows no such transaction; that it knows no such *method* is another code."""
    return (
        isinstance(error, RpcRefused) and error.code == INTERNAL_ERROR and "not found" in error.data.lower()
    )


def _joined(failures: Sequence[ChainError]) -> str:
    return " ".join(error.happened for error in failures)


def _at(url: str, read: Callable[..., T], *arguments: Any) -> T:
    """``read(*arguments)``, with the endpoint named in the error."""
    try:
        return read(*arguments)
    except MalformedChainData as error:
        raise error.at(url) from None


def _refused(url: str, method: str, error: RpcError) -> ChainError:
    if "mempool is full" in f"{error.message} {error.data}":
        return MempoolFull(f"The mempool of {url} is full.", "Try again later.", log=error.data)
    return RpcRefused(url, method, error.code, error.message, error.data)


async def _bounded(response: aiohttp.ClientResponse, url: str) -> bytes:
    """The body, if it is not absurdly long."""
    body = bytearray()
    async for piece in response.content.iter_any():
        body += piece
        if len(body) > MAX_ANSWER_BYTES:
            raise MalformedChainData("body", f"at most {MAX_ANSWER_BYTES} bytes", url)
    return bytes(body)
