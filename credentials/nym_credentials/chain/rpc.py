"""CometBFT's JSON-RPC, both directions (docs/protocol/08 §3, §10.3).

One POST per call. The dialect is the one of CometBFT 0.37 and 0.38: attributes of events are plain texts, 64-bit
numbers are texts of digits. Nodes answer errors with HTTP 200. Answers are written in full, because other programs
insist on members that this one has no use for.
"""

from __future__ import annotations

import base64
import binascii
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, ClassVar, Final

from nym_credentials.chain.json_records import MAX_U64, MOST_ITEMS, load_json
from nym_credentials.chain.records import NodeStatus
from nym_credentials.errors import MalformedChainData

VERSION: Final = "2.0"
INTERNAL_ERROR: Final = -32603
METHOD_NOT_FOUND: Final = -32601
INVALID_PARAMS: Final = -32602
INVALID_REQUEST: Final = -32600
ALREADY_IN_CACHE: Final = "tx already exists in cache"
"""In the data of an error: the same bytes are in the mempool already."""
HASH_BYTES: Final = 32
MOST_PER_PAGE: Final = 100


# --- envelopes --------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Request:
    """One call. ``id`` is a random UUID as text; any JSON scalar is accepted from others."""

    id: str | int
    method: str
    params: Mapping[str, Any] | None

    def encode(self) -> bytes:
        """The body of the POST."""
        return json.dumps(
            {"jsonrpc": VERSION, "id": self.id, "method": self.method, "params": self.params},
            separators=(",", ":"),
        ).encode()

    @classmethod
    def decode(cls, body: bytes) -> Request:
        """The inverse, for servers. ``params`` may be absent, null or an object."""
        value = _object(load_json(body), "request")
        method, params, identity = value.get("method"), value.get("params"), value.get("id")
        if value.get("jsonrpc") != VERSION or not isinstance(method, str):
            raise MalformedChainData("request", "a JSON-RPC 2.0 call")
        if not isinstance(identity, str | int):
            raise MalformedChainData("request.id", "a text or a number")
        if params is not None and not isinstance(params, dict):
            raise MalformedChainData("request.params", "an object")
        return cls(identity, method, params)


@dataclass(frozen=True, slots=True)
class RpcError:
    """Instead of a result."""

    code: int
    message: str
    data: str = ""

    def to_object(self) -> dict[str, Any]:
        """As `json` takes it."""
        return {"code": self.code, "message": self.message, "data": self.data}


def encode_answer(identity: str | int | None, outcome: Mapping[str, Any] | RpcError) -> bytes:
    """The body of an answer: a result (already an object), or an error."""
    member = {"error": outcome.to_object()} if isinstance(outcome, RpcError) else {"result": outcome}
    return json.dumps({"jsonrpc": VERSION, "id": identity, **member}, separators=(",", ":")).encode()


def decode_answer(body: bytes, identity: str | int) -> dict[str, Any] | RpcError:
    """The inverse, for the client. Raises `MalformedChainData`, also if it answers another call."""
    value = _object(load_json(body), "answer")
    if value.get("jsonrpc") != VERSION:
        raise MalformedChainData("jsonrpc", VERSION)
    if value.get("id") != identity:
        raise MalformedChainData("id", "that of the request")
    error = value.get("error")
    if error is not None:
        error = _object(error, "error")
        code, message, data = error.get("code"), error.get("message"), error.get("data", "")
        if type(code) is not int or not isinstance(message, str):
            raise MalformedChainData("error", "an object with code and message")
        return RpcError(code, message, data if isinstance(data, str) else json.dumps(data))
    return _object(value.get("result"), "result")


# --- calls ------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class StatusCall:
    """Chain, height and sync state. ``params`` is null: servers must accept that."""

    METHOD: ClassVar = "status"

    def params(self) -> None:
        """Of the request."""
        return


@dataclass(frozen=True, slots=True)
class AbciQueryCall:
    """Any query of the chain's state."""

    METHOD: ClassVar = "abci_query"
    path: str
    data: bytes

    def params(self) -> dict[str, Any]:
        """Of the request."""
        return {"path": self.path, "data": self.data.hex().upper(), "prove": False}

    @classmethod
    def from_params(cls, params: Mapping[str, Any] | None) -> AbciQueryCall:
        """The inverse."""
        given = _object(params, "params")
        return cls(_text(given, "path"), _hex(_text(given, "data"), "data"))


@dataclass(frozen=True, slots=True)
class BroadcastCall:
    """Hands in a transaction; the answer comes after CheckTx."""

    METHOD: ClassVar = "broadcast_tx_sync"
    tx: bytes

    def params(self) -> dict[str, Any]:
        """Of the request."""
        return {"tx": _b64(self.tx)}

    @classmethod
    def from_params(cls, params: Mapping[str, Any] | None) -> BroadcastCall:
        """The inverse."""
        return cls(_unb64(_text(_object(params, "params"), "tx"), "tx"))


@dataclass(frozen=True, slots=True)
class TxCall:
    """A transaction by its hash: ``tx_hash`` is upper-case hex."""

    METHOD: ClassVar = "tx"
    tx_hash: str

    def params(self) -> dict[str, Any]:
        """Of the request."""
        return {"hash": _b64(bytes.fromhex(self.tx_hash)), "prove": False}

    @classmethod
    def from_params(cls, params: Mapping[str, Any] | None) -> TxCall:
        """The inverse."""
        digest = _unb64(_text(_object(params, "params"), "hash"), "hash")
        if len(digest) != HASH_BYTES:
            raise MalformedChainData("hash", f"{HASH_BYTES} bytes in base64")
        return cls(digest.hex().upper())


@dataclass(frozen=True, slots=True)
class TxSearchCall:
    """Transactions by their events, e.g. ``message.sender='n1…'``; pages count from 1."""

    METHOD: ClassVar = "tx_search"
    query: str
    page: int = 1
    per_page: int = MOST_PER_PAGE

    def params(self) -> dict[str, Any]:
        """Of the request."""
        return {
            "query": self.query,
            "prove": False,
            "page": str(self.page),
            "per_page": str(self.per_page),
            "order_by": "asc",
        }

    @classmethod
    def from_params(cls, params: Mapping[str, Any] | None) -> TxSearchCall:
        """The inverse. Page numbers may be texts or numbers, or absent."""
        given = _object(params, "params")
        page = _number(given.get("page") or "1", "page")
        per_page = _number(given.get("per_page") or "30", "per_page")
        return cls(_text(given, "query"), max(1, page), min(max(1, per_page), MOST_PER_PAGE))


def tx_query(**terms: str) -> str:
    """A search text: every term has to match. Underscores double as dots: ``message__sender`` is message.sender."""
    return " AND ".join(f"{name.replace('__', '.')}='{value}'" for name, value in terms.items())


# --- results ----------------------------------------------------------------------------------------------------


def status_result(status: NodeStatus, *, moniker: str = "node", version: str = "0.38.17") -> dict[str, Any]:
    """The whole answer to ``status``, with every member that upstream's parser insists on."""
    height = str(status.height)
    return {
        "node_info": {
            "protocol_version": {"p2p": "8", "block": "11", "app": "0"},
            "id": "11" * 20,
            "listen_addr": "tcp://0.0.0.0:26656",
            "network": status.chain_id,
            "version": version,
            "channels": "40202122233038606100",
            "moniker": moniker,
            "other": {"tx_index": "on", "rpc_address": "tcp://0.0.0.0:26657"},
        },
        "sync_info": {
            "latest_block_hash": "AA" * HASH_BYTES,
            "latest_app_hash": "BB" * HASH_BYTES,
            "latest_block_height": height,
            "latest_block_time": write_time(status.block_time),
            "earliest_block_hash": "CC" * HASH_BYTES,
            "earliest_app_hash": "DD" * HASH_BYTES,
            "earliest_block_height": "1",
            "earliest_block_time": "2026-01-01T00:00:00Z",
            "catching_up": status.catching_up,
        },
        "validator_info": {
            "address": "EE" * 20,
            "pub_key": {"type": "tendermint/PubKeyEd25519", "value": _b64(bytes([0x3B]) * HASH_BYTES)},
            "voting_power": "1000",
        },
    }


def read_status(result: Mapping[str, Any]) -> NodeStatus:
    """The members that matter. Raises `MalformedChainData`."""
    node = _object(result.get("node_info"), "node_info")
    sync = _object(result.get("sync_info"), "sync_info")
    chain_id = _text(node, "network", "node_info.")
    if not chain_id:
        raise MalformedChainData("node_info.network", "a chain id")
    catching_up = sync.get("catching_up")
    if not isinstance(catching_up, bool):
        raise MalformedChainData("sync_info.catching_up", "true or false")
    return NodeStatus(
        chain_id=chain_id,
        height=_number(sync.get("latest_block_height"), "sync_info.latest_block_height"),
        block_time=read_time(_text(sync, "latest_block_time", "sync_info."), "sync_info.latest_block_time"),
        catching_up=catching_up,
    )


@dataclass(frozen=True, slots=True)
class AbciAnswer:
    """The answer to a query; ``code`` 0 is success, else ``log`` says why not."""

    value: bytes = b""
    code: int = 0
    codespace: str = ""
    log: str = ""
    height: int = 0

    def to_result(self) -> dict[str, Any]:
        """As the server sends it."""
        return {
            "response": {
                "code": self.code,
                "log": self.log,
                "info": "",
                "index": "0",
                "key": None,
                "value": _b64(self.value) if self.value else None,
                "proofOps": None,
                "height": str(self.height),
                "codespace": self.codespace,
            }
        }

    @classmethod
    def from_result(cls, result: Mapping[str, Any]) -> AbciAnswer:
        """The inverse; everything but ``value`` may be absent, ``value`` may be null."""
        given = _object(result.get("response"), "response")
        return cls(
            value=_optional_bytes(given, "value", "response."),
            code=_code(given, "response."),
            codespace=_optional_text(given, "codespace", "response."),
            log=_optional_text(given, "log", "response."),
            height=_number(given.get("height") or "0", "response.height"),
        )


@dataclass(frozen=True, slots=True)
class BroadcastAnswer:
    """The answer to a transaction; ``code`` 0 means that it waits for a block."""

    tx_hash: str
    """Upper-case hex."""
    code: int = 0
    codespace: str = ""
    log: str = ""

    def to_result(self) -> dict[str, Any]:
        """As the server sends it, complete: upstream loses the deposit if a member is missing."""
        return {
            "code": self.code,
            "data": "",
            "log": self.log,
            "codespace": self.codespace,
            "hash": self.tx_hash,
        }

    @classmethod
    def from_result(cls, result: Mapping[str, Any]) -> BroadcastAnswer:
        """The inverse; only ``code`` and ``hash`` have to be there."""
        if "code" not in result:
            raise MalformedChainData("code", "a number")
        return cls(
            tx_hash=_hex(_text(result, "hash"), "hash").hex().upper(),
            code=_code(result, ""),
            codespace=_optional_text(result, "codespace", ""),
            log=_optional_text(result, "log", ""),
        )


@dataclass(frozen=True, slots=True)
class Event:
    """Something that happened inside of a transaction."""

    kind: str
    attributes: tuple[tuple[str, str], ...]

    def to_object(self) -> dict[str, Any]:
        """As `json` takes it."""
        pairs = [{"key": key, "value": value, "index": True} for key, value in self.attributes]
        return {"type": self.kind, "attributes": pairs}

    @classmethod
    def from_object(cls, value: Any) -> Event:
        """The inverse. A null value counts as empty."""
        given = _object(value, "event")
        pairs = []
        for pair in _array(given.get("attributes") or [], "attributes"):
            inner = _object(pair, "attribute")
            pairs.append((_text(inner, "key"), _optional_text(inner, "value", "")))
        return cls(_text(given, "type"), tuple(pairs))


@dataclass(frozen=True, slots=True)
class TxAnswer:
    """A transaction that is in a block."""

    tx_hash: str
    """Upper-case hex."""
    height: int
    tx: bytes
    code: int = 0
    codespace: str = ""
    log: str = ""
    data: bytes = b""
    gas_wanted: int = 0
    gas_used: int = 0
    events: tuple[Event, ...] = ()
    index: int = 0

    def to_result(self) -> dict[str, Any]:
        """As the server sends it."""
        return {
            "hash": self.tx_hash,
            "height": str(self.height),
            "index": self.index,
            "tx_result": {
                "code": self.code,
                "data": _b64(self.data) if self.data else None,
                "log": self.log,
                "info": "",
                "gas_wanted": str(self.gas_wanted),
                "gas_used": str(self.gas_used),
                "events": [event.to_object() for event in self.events],
                "codespace": self.codespace,
            },
            "tx": _b64(self.tx),
        }

    @classmethod
    def from_result(cls, result: Mapping[str, Any]) -> TxAnswer:
        """The inverse; what the client has no use for may be absent."""
        inner = _object(result.get("tx_result"), "tx_result")
        return cls(
            tx_hash=_hex(_text(result, "hash"), "hash").hex().upper(),
            height=_number(result.get("height"), "height"),
            tx=_optional_bytes(result, "tx", ""),
            code=_code(inner, "tx_result."),
            codespace=_optional_text(inner, "codespace", "tx_result."),
            log=_optional_text(inner, "log", "tx_result."),
            data=_optional_bytes(inner, "data", "tx_result."),
            gas_wanted=_number(inner.get("gas_wanted") or "0", "tx_result.gas_wanted"),
            gas_used=_number(inner.get("gas_used") or "0", "tx_result.gas_used"),
            events=tuple(Event.from_object(e) for e in _array(inner.get("events") or [], "tx_result.events")),
            index=index if type(index := result.get("index")) is int else 0,
        )


@dataclass(frozen=True, slots=True)
class TxSearchAnswer:
    """One page of found transactions, and how many there are in all."""

    txs: tuple[TxAnswer, ...]
    total: int

    def to_result(self) -> dict[str, Any]:
        """As the server sends it."""
        return {"txs": [tx.to_result() for tx in self.txs], "total_count": str(self.total)}

    @classmethod
    def from_result(cls, result: Mapping[str, Any]) -> TxSearchAnswer:
        """The inverse."""
        found = _array(result.get("txs") or [], "txs")
        txs = tuple(TxAnswer.from_result(_object(tx, "txs")) for tx in found)
        return cls(txs, _number(result.get("total_count"), "total_count"))


def tx_not_found(tx_hash: str) -> RpcError:
    """What a node says of a hash that is in no block (yet)."""
    return RpcError(INTERNAL_ERROR, "Internal error", f"tx ({tx_hash}) not found")


# --- scalars ----------------------------------------------------------------------------------------------------


def write_time(when: datetime) -> str:
    """RFC 3339 in UTC."""
    return when.astimezone(UTC).isoformat().replace("+00:00", "Z")


def read_time(text: str, field: str) -> datetime:
    """RFC 3339; nodes give nanoseconds, which are cut to microseconds."""
    whole, dot, rest = text.partition(".")
    if dot:
        digits = rest[: len(rest) - len(rest.lstrip("0123456789"))]
        text = f"{whole}.{digits[:6].ljust(6, '0')}{rest[len(digits) :]}"
    try:
        when = datetime.fromisoformat(text)
    except ValueError:
        when = None  # type: ignore[assignment]
    if when is None or when.tzinfo is None:
        raise MalformedChainData(field, "a time with its zone")
    return when


def _object(value: Any, field: str) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise MalformedChainData(field, "an object")
    return value


def _array(value: Any, field: str) -> Sequence[Any]:
    if not isinstance(value, list) or len(value) > MOST_ITEMS:
        raise MalformedChainData(field, f"an array of at most {MOST_ITEMS} elements")
    return value


def _text(given: Mapping[str, Any], name: str, outer: str = "") -> str:
    value = given.get(name)
    if not isinstance(value, str):
        raise MalformedChainData(f"{outer}{name}", "a text")
    return value


def _optional_text(given: Mapping[str, Any], name: str, outer: str) -> str:
    return "" if given.get(name) is None else _text(given, name, outer)


def _optional_bytes(given: Mapping[str, Any], name: str, outer: str) -> bytes:
    return _unb64(_optional_text(given, name, outer), f"{outer}{name}")


def _number(value: Any, field: str) -> int:
    """A 64-bit number, as the text of digits that nodes send or as a number."""
    if isinstance(value, str) and value.isascii() and value.isdigit() and len(value) <= len(str(MAX_U64)):
        value = int(value)
    if type(value) is not int or not 0 <= value <= MAX_U64:
        raise MalformedChainData(field, "a whole number")
    return value


def _code(given: Mapping[str, Any], outer: str) -> int:
    return _number(given.get("code") or 0, f"{outer}code")


def _b64(data: bytes) -> str:
    return base64.b64encode(data).decode()


def _unb64(text: str, field: str) -> bytes:
    try:
        return base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError):
        raise MalformedChainData(field, "base64") from None


def _hex(text: str, field: str) -> bytes:
    try:
        if text.isalnum() or not text:
            return bytes.fromhex(text)
    except ValueError:
        pass
    raise MalformedChainData(field, "hex digits")
