"""The JSON-RPC face of the chain, as CometBFT 0.38 speaks it (docs/protocol/08 §3, §10).

Pure: a request body and the time in, a response body out. Answers have every member that the real node's have.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import json
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from typing import Any, Final

from nym_credentials.chain.json_records import dump_json
from nym_credentials.chain.json_records import load_json as load_contract_json
from nym_credentials.chain.messages import (
    AccountAnswer,
    AccountQuery,
    BalanceAnswer,
    BalanceQuery,
    SimulateAnswer,
    SimulateQuery,
    SmartAnswer,
    SmartQuery,
)
from nym_credentials.chain.records import Account as AccountRecord
from nym_credentials.errors import MalformedChainData
from nym_credentials.money import Coin
from nym_localnet.chain.chain import AlreadyKnown, Chain, TxResult
from nym_localnet.chain.contract import QueryContext
from nym_localnet.chain.ecash_contract import EcashContract
from nym_localnet.chain.errors import (
    INVALID_REQUEST,
    KEY_NOT_FOUND,
    NO_SUCH_CONTRACT,
    UNKNOWN_REQUEST,
    WASM,
    QueryRejected,
)
from nym_localnet.chain.search import BadQuery, search

PARSE_ERROR: Final = -32700
BAD_REQUEST: Final = -32600
NO_METHOD: Final = -32601
BAD_PARAMETERS: Final = -32602
INTERNAL: Final = -32603
NODE_VERSION: Final = "0.38.17"
NODE_CHANNELS: Final = "40202122233038606100"
HASH_BYTES: Final = 32
ADDRESS_BYTES: Final = 20
MOST_PER_PAGE: Final = 100
DEFAULT_PER_PAGE: Final = 30
PRICE_QUERIES: Final = ("get_default_deposit_amount", "get_required_deposit_amount")


class RpcError(Exception):
    """A JSON-RPC error, which travels with HTTP status 200."""

    def __init__(self, code: int, message: str, data: str) -> None:
        super().__init__(f"{message}: {data}")
        self.code = code
        self.message = message
        self.data = data


def internal(data: str) -> RpcError:
    """What most failures of a method come out as."""
    return RpcError(INTERNAL, "Internal error", data)


class Rpc:
    """Answers the requests of one node."""

    def __init__(
        self, chain: Chain, *, clock: Callable[[], float], rpc_address: str = "tcp://0.0.0.0:26657"
    ) -> None:
        self._chain = chain
        self._clock = clock
        self._rpc_address = rpc_address
        self._methods: dict[str, Callable[[Mapping[str, Any]], Any]] = {
            "status": self._status,
            "health": lambda parameters: {},
            "abci_info": self._abci_info,
            "abci_query": self._abci_query,
            "broadcast_tx_sync": self._broadcast,
            "tx": self._tx,
            "tx_search": self._tx_search,
        }
        self._paths: dict[str, Callable[[bytes], bytes]] = {
            AccountQuery.PATH: self._account,
            BalanceQuery.PATH: self._balance,
            SmartQuery.PATH: self._smart_query,
            SimulateQuery.PATH: self._simulate,
        }

    def handle(self, body: bytes) -> bytes:
        """The response to a POST, one request or a batch of them."""
        try:
            request = json.loads(body)
        except ValueError as error:
            return _encoded(_error(None, RpcError(PARSE_ERROR, "Parse error. Invalid JSON", str(error))))
        if isinstance(request, list):
            return _encoded([self._one(each) for each in request])
        return _encoded(self._one(request))

    def call(self, method: str, parameters: Mapping[str, Any]) -> bytes:
        """The response to a GET of `/method?parameters`."""
        return _encoded(self._one({"jsonrpc": "2.0", "id": -1, "method": method, "params": parameters}))

    def _one(self, request: Any) -> dict[str, Any]:
        if not isinstance(request, dict) or not isinstance(request.get("method"), str):
            return _error(None, RpcError(BAD_REQUEST, "Invalid Request", "no method"))
        number, method = request.get("id"), self._methods.get(request["method"])
        parameters = request.get("params")
        try:
            if method is None:
                raise RpcError(NO_METHOD, "Method not found", "")
            if parameters is None:
                parameters = {}
            if not isinstance(parameters, dict):
                raise RpcError(BAD_PARAMETERS, "Invalid params", "parameters go by name")
            result = method(parameters)
        except RpcError as error:
            return _error(number, error)
        except (KeyError, TypeError, ValueError) as error:
            return _error(
                number, RpcError(BAD_PARAMETERS, "Invalid params", f"{type(error).__name__}: {error}")
            )
        return {"jsonrpc": "2.0", "id": number, "result": result}

    # Methods

    def _status(self, parameters: Mapping[str, Any]) -> Any:
        chain, faults = self._chain, self._chain.faults
        return {
            "node_info": {
                "protocol_version": {"p2p": "8", "block": "11", "app": "0"},
                "id": "11" * ADDRESS_BYTES,
                "listen_addr": "tcp://0.0.0.0:26656",
                "network": faults.reported_chain_id or chain.chain_id,
                "version": NODE_VERSION,
                "channels": NODE_CHANNELS,
                "moniker": "localnet",
                "other": {"tx_index": "on", "rpc_address": self._rpc_address},
            },
            "sync_info": {
                "latest_block_hash": _digest("block", chain.height),
                "latest_app_hash": _digest("app", chain.height),
                "latest_block_height": str(chain.height),
                "latest_block_time": rfc3339(chain.block_unix - faults.age_seconds),
                "earliest_block_hash": _digest("block", 1),
                "earliest_app_hash": _digest("app", 1),
                "earliest_block_height": "1",
                "earliest_block_time": "2026-01-01T00:00:00Z",
                "catching_up": faults.catching_up,
            },
            "validator_info": {
                "address": "EE" * ADDRESS_BYTES,
                "pub_key": {
                    "type": "tendermint/PubKeyEd25519",
                    "value": base64.b64encode(bytes(range(HASH_BYTES))).decode(),
                },
                "voting_power": "1000",
            },
        }

    def _abci_info(self, parameters: Mapping[str, Any]) -> Any:
        height = self._chain.height
        app_hash = base64.b64encode(bytes.fromhex(_digest("app", height))).decode()
        return {
            "response": {
                "data": "NymLocalnet",
                "version": "",
                "last_block_height": str(height),
                "last_block_app_hash": app_hash,
            }
        }

    def _abci_query(self, parameters: Mapping[str, Any]) -> Any:
        path, data = parameters["path"], bytes.fromhex(_text(parameters, "data").removeprefix("0x"))
        answer: dict[str, Any] = {
            "code": 0, "log": "", "info": "", "index": "0", "key": None, "value": None,
            "proofOps": None, "height": str(self._chain.height), "codespace": "",
        }  # fmt: skip
        try:
            query = self._paths.get(path)
            if query is None:
                raise QueryRejected(UNKNOWN_REQUEST, f"unknown query path: {path}: unknown request")
            value = query(data)
            answer["value"] = base64.b64encode(value).decode() if value else None
        except QueryRejected as refused:
            answer |= {"code": refused.code, "log": refused.log, "codespace": refused.codespace}
        except MalformedChainData as error:
            answer |= {"code": INVALID_REQUEST, "log": f"{error}: invalid request", "codespace": "sdk"}
        return {"response": answer}

    def _broadcast(self, parameters: Mapping[str, Any]) -> Any:
        raw = _base64(parameters, "tx")
        unreadable, self._chain.faults.unreadable_broadcast = self._chain.faults.unreadable_broadcast, False
        try:
            submission = self._chain.submit(raw)
        except AlreadyKnown as error:
            raise internal(str(error)) from error
        answer = {
            "code": submission.code,
            "data": "",
            "log": submission.log,
            "codespace": submission.codespace,
            "hash": submission.hash,
        }
        if unreadable:
            del answer["codespace"], answer["hash"]
        return answer

    def _tx(self, parameters: Mapping[str, Any]) -> Any:
        text = _text(parameters, "hash")
        digest = bytes.fromhex(text[2:]) if text.startswith("0x") else _base64(parameters, "hash")
        found = self._chain.result(digest.hex().upper())
        if found is None:
            raise internal(f"tx ({digest.hex().upper()}) not found")
        return _result_json(found)

    def _tx_search(self, parameters: Mapping[str, Any]) -> Any:
        page = _number(parameters, "page", 1)
        per_page = min(_number(parameters, "per_page", DEFAULT_PER_PAGE), MOST_PER_PAGE)
        order = parameters.get("order_by") or "asc"
        try:
            found = search(self._chain.results(), _text(parameters, "query"))
        except BadQuery as error:
            raise internal(f"failed to parse query: {error}") from error
        if order not in ("asc", "desc"):
            raise internal("expected order_by to be either `asc` or `desc` or empty")
        if order == "desc":
            found.reverse()
        pages = max(1, -(-len(found) // per_page))
        if not 1 <= page <= pages:
            raise internal(f"page should be within [1, {pages}] range, given {page}")
        shown = found[(page - 1) * per_page : page * per_page]
        return {"txs": [_result_json(each) for each in shown], "total_count": str(len(found))}

    # Queries

    def _account(self, data: bytes) -> bytes:
        address = AccountQuery.decode(data).address
        account = self._chain.ledger.account(address)
        if account is None:
            text = f"rpc error: code = NotFound desc = account {address} not found: key not found"
            raise QueryRejected(KEY_NOT_FOUND, text)
        record = AccountRecord(account.address, account.number, account.sequence, account.public_key)
        return AccountAnswer(record).encode()

    def _balance(self, data: bytes) -> bytes:
        query = BalanceQuery.decode(data)
        return BalanceAnswer(
            Coin(query.denom, self._chain.ledger.balance(query.address, query.denom))
        ).encode()

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


def rfc3339(unix: float) -> str:
    """A time as nodes print it."""
    return datetime.fromtimestamp(unix, UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")


def _result_json(result: TxResult) -> Any:
    return {
        "hash": result.hash,
        "height": str(result.height),
        "index": result.index,
        "tx_result": {
            "code": result.code,
            "data": base64.b64encode(result.data).decode() if result.data else None,
            "log": result.log,
            "info": "",
            "gas_wanted": str(result.gas_wanted),
            "gas_used": str(result.gas_used),
            "events": [
                {
                    "type": event.type,
                    "attributes": [
                        {"key": key, "value": value, "index": True} for key, value in event.attributes
                    ],
                }
                for event in result.events
            ],
            "codespace": result.codespace,
        },
        "tx": base64.b64encode(result.raw).decode(),
    }


def _digest(kind: str, height: int) -> str:
    return hashlib.sha256(f"{kind} {height}".encode()).hexdigest().upper()


def _error(number: Any, error: RpcError) -> dict[str, Any]:
    return {
        "jsonrpc": "2.0",
        "id": number,
        "error": {"code": error.code, "message": error.message, "data": error.data},
    }


def _encoded(value: Any) -> bytes:
    return json.dumps(value, separators=(",", ":"), ensure_ascii=False).encode()


def _text(parameters: Mapping[str, Any], name: str) -> str:
    value = parameters[name]
    if not isinstance(value, str):
        raise TypeError(f"{name} is no text")
    return value


def _number(parameters: Mapping[str, Any], name: str, default: int) -> int:
    value = parameters.get(name)
    return default if value is None else int(value)


def _base64(parameters: Mapping[str, Any], name: str) -> bytes:
    try:
        return base64.b64decode(_text(parameters, name), validate=True)
    except binascii.Error as error:
        raise ValueError(f"{name} is not base64") from error
