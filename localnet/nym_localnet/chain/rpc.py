"""The JSON-RPC face of the chain, as CometBFT 0.38 speaks it (docs/protocol/08 §3, §10).

Pure: a request body and the time in, a response body out. Requests and answers are those of `nym_credentials.chain`,
with every member that the real node's have.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from typing import Any, Final

from nym_credentials.chain.json_records import dump_json
from nym_credentials.chain.json_records import load_json as load_contract_json
from nym_credentials.chain.jsonrpc import (
    INTERNAL_ERROR,
    INVALID_PARAMS,
    INVALID_REQUEST,
    METHOD_NOT_FOUND,
    RpcError,
    encode_answer,
)
from nym_credentials.chain.messages import (
    AccountAnswer,
    AccountQuery,
    AllBalancesAnswer,
    AllBalancesQuery,
    BalanceAnswer,
    BalanceQuery,
    SimulateAnswer,
    SimulateQuery,
    SmartAnswer,
    SmartQuery,
)
from nym_credentials.chain.records import Account, NodeStatus
from nym_credentials.chain.rpc import (
    AbciAnswer,
    AbciQueryCall,
    BroadcastAnswer,
    BroadcastCall,
    Event,
    TxAnswer,
    TxCall,
    TxSearchAnswer,
    TxSearchCall,
    status_result,
    tx_not_found,
)
from nym_credentials.errors import MalformedChainData
from nym_credentials.money import Coin
from nym_localnet.chain.chain import AlreadyKnown, Chain, TxResult
from nym_localnet.chain.contract import QueryContext
from nym_localnet.chain.ecash_contract import EcashContract
from nym_localnet.chain.errors import INVALID_REQUEST as INVALID_QUERY
from nym_localnet.chain.errors import (
    KEY_NOT_FOUND,
    NO_SUCH_CONTRACT,
    SDK,
    UNKNOWN_REQUEST,
    WASM,
    QueryRejected,
)
from nym_localnet.chain.search import BadQuery, search

PARSE_ERROR: Final = -32700
PRICE_QUERIES: Final = ("get_default_deposit_amount", "get_required_deposit_amount")


class RpcFailure(Exception):
    """A JSON-RPC error, which travels with HTTP status 200."""

    def __init__(self, error: RpcError) -> None:
        super().__init__(f"{error.message}: {error.data}")
        self.error = error


def internal(data: str) -> RpcFailure:
    """What most failures of a method come out as."""
    return RpcFailure(RpcError(INTERNAL_ERROR, "Internal error", data))


class Rpc:
    """Answers the requests of one node."""

    def __init__(self, chain: Chain, *, clock: Callable[[], float]) -> None:
        self._chain = chain
        self._clock = clock
        self._methods: dict[str, Callable[[Mapping[str, Any] | None], dict[str, Any]]] = {
            "status": self._status,
            "health": lambda parameters: {},
            "abci_query": self._abci_query,
            "broadcast_tx_sync": self._broadcast,
            "tx": self._tx,
            "tx_search": self._tx_search,
        }
        self._paths: dict[str, Callable[[bytes], bytes]] = {
            AccountQuery.PATH: self._account,
            BalanceQuery.PATH: self._balance,
            AllBalancesQuery.PATH: self._balances,
            SmartQuery.PATH: self._smart_query,
            SimulateQuery.PATH: self._simulate,
        }

    def handle(self, body: bytes) -> bytes:
        """The response to a POST, one request or a batch of them."""
        try:
            request = json.loads(body)
        except ValueError as error:
            return encode_answer(None, RpcError(PARSE_ERROR, "Parse error. Invalid JSON", str(error)))
        if isinstance(request, list):
            return b"[" + b",".join(self._one(each) for each in request) + b"]"
        return self._one(request)

    def call(self, method: str, parameters: Mapping[str, Any]) -> bytes:
        """The response to a GET of `/method?parameters`."""
        return self._one({"jsonrpc": "2.0", "id": -1, "method": method, "params": parameters})

    def _one(self, request: Any) -> bytes:
        if not isinstance(request, dict) or not isinstance(request.get("method"), str):
            return encode_answer(None, RpcError(INVALID_REQUEST, "Invalid Request", "no method"))
        number, method = request.get("id"), self._methods.get(request["method"])
        if method is None:
            return encode_answer(number, RpcError(METHOD_NOT_FOUND, "Method not found", ""))
        try:
            return encode_answer(number, method(request.get("params")))
        except RpcFailure as failure:
            return encode_answer(number, failure.error)
        except MalformedChainData as error:
            return encode_answer(number, RpcError(INVALID_PARAMS, "Invalid params", str(error)))

    # Methods

    def _status(self, parameters: Mapping[str, Any] | None) -> dict[str, Any]:
        chain, faults = self._chain, self._chain.faults
        block_time = datetime.fromtimestamp(chain.block_unix - faults.age_seconds, UTC)
        network = faults.reported_chain_id or chain.chain_id
        status = NodeStatus(network, chain.height, block_time, faults.catching_up)
        return status_result(status, moniker="localnet")

    def _abci_query(self, parameters: Mapping[str, Any] | None) -> dict[str, Any]:
        call, height = AbciQueryCall.from_params(parameters), self._chain.height
        try:
            query = self._paths.get(call.path)
            if query is None:
                raise QueryRejected(UNKNOWN_REQUEST, f"unknown query path: {call.path}: unknown request")
            return AbciAnswer(query(call.data), height=height).to_result()
        except QueryRejected as refused:
            refusal = AbciAnswer(b"", refused.code, refused.codespace, refused.log, height)
        except MalformedChainData as error:
            refusal = AbciAnswer(b"", INVALID_QUERY, SDK, f"{error}: invalid request", height)
        return refusal.to_result()

    def _broadcast(self, parameters: Mapping[str, Any] | None) -> dict[str, Any]:
        raw, faults = BroadcastCall.from_params(parameters).tx, self._chain.faults
        unreadable, faults.unreadable_broadcast = faults.unreadable_broadcast, False
        try:
            submission = self._chain.submit(raw)
        except AlreadyKnown as error:
            raise internal(str(error)) from error
        answer = BroadcastAnswer(
            submission.hash, submission.code, submission.codespace, submission.log
        ).to_result()
        if unreadable:
            del answer["codespace"], answer["hash"]
        return answer

    def _tx(self, parameters: Mapping[str, Any] | None) -> dict[str, Any]:
        digest = TxCall.from_params(parameters).tx_hash
        found = self._chain.result(digest)
        if found is None:
            raise RpcFailure(tx_not_found(digest))
        return _answer(found).to_result()

    def _tx_search(self, parameters: Mapping[str, Any] | None) -> dict[str, Any]:
        call = TxSearchCall.from_params(parameters)
        order = (parameters or {}).get("order_by") or "asc"
        try:
            found = search(self._chain.results(), call.query)
        except BadQuery as error:
            raise internal(f"failed to parse query: {error}") from error
        if order not in ("asc", "desc"):
            raise internal("expected order_by to be either `asc` or `desc` or empty")
        if order == "desc":
            found.reverse()
        pages = max(1, -(-len(found) // call.per_page))
        if call.page > pages:
            raise internal(f"page should be within [1, {pages}] range, given {call.page}")
        shown = found[(call.page - 1) * call.per_page : call.page * call.per_page]
        return TxSearchAnswer(tuple(map(_answer, shown)), len(found)).to_result()

    # Queries

    def _account(self, data: bytes) -> bytes:
        address = AccountQuery.decode(data).address
        account = self._chain.ledger.account(address)
        if account is None:
            text = f"rpc error: code = NotFound desc = account {address} not found: key not found"
            raise QueryRejected(KEY_NOT_FOUND, text)
        record = Account(account.address, account.number, account.sequence, account.public_key)
        return AccountAnswer(record).encode()

    def _balance(self, data: bytes) -> bytes:
        query = BalanceQuery.decode(data)
        return BalanceAnswer(
            Coin(query.denom, self._chain.ledger.balance(query.address, query.denom))
        ).encode()

    def _balances(self, data: bytes) -> bytes:
        address = AllBalancesQuery.decode(data).address
        return AllBalancesAnswer(tuple(self._chain.ledger.balances(address))).encode()

    def _smart_query(self, data: bytes) -> bytes:
        query = SmartQuery.decode(data)
        contract = self._chain.contract(query.contract)
        if contract is None:
            text = f"rpc error: code = Unknown desc = no such contract: address {query.contract}: unknown request"
            raise QueryRejected(NO_SUCH_CONTRACT, text, WASM)
        asked = load_contract_json(query.query)
        answer = contract.query(asked, QueryContext(self._chain.height, self._clock()))
        faults = self._chain.faults
        price = faults.price_after_query
        if price and isinstance(contract, EcashContract) and any(name in asked for name in PRICE_QUERIES):
            contract.price, faults.price_after_query = price, None
        return SmartAnswer(dump_json(answer)).encode()

    def _simulate(self, data: bytes) -> bytes:
        return SimulateAnswer(self._chain.simulate(SimulateQuery.decode(data).tx_bytes)).encode()


def _answer(result: TxResult) -> TxAnswer:
    return TxAnswer(
        tx_hash=result.hash,
        height=result.height,
        tx=result.raw,
        code=result.code,
        codespace=result.codespace,
        log=result.log,
        data=result.data,
        gas_wanted=result.gas_wanted,
        gas_used=result.gas_used,
        events=tuple(Event(event.type, event.attributes) for event in result.events),
        index=result.index,
    )
