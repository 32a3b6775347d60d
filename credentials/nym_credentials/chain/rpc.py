"""CometBFT's calls and their results, both directions (docs/protocol/08 §3, §10.3).

One POST per call. The dialect is the one of CometBFT 0.37 and 0.38: attributes of events are plain texts, 64-bit
numbers are texts of digits. Answers are written in full, because other programs insist on members that this one has
no use for.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, Final

from nym_credentials.chain.jsonrpc import (
    INTERNAL_ERROR,
    INVALID_PARAMS,
    INVALID_REQUEST,
    METHOD_NOT_FOUND,
    Request,
    RpcError,
    decode_answer,
    encode_answer,
)
from nym_credentials.chain.records import NodeStatus
from nym_credentials.chain.rpc_scalars import (
    an_array,
    an_object,
    b64,
    code_of,
    number,
    optional_bytes_of,
    optional_text_of,
    read_time,
    text_of,
    unb64,
    unhex,
    write_time,
)
from nym_credentials.errors import MalformedChainData

__all__ = [
    "ALREADY_IN_CACHE", "INTERNAL_ERROR", "INVALID_PARAMS", "INVALID_REQUEST", "METHOD_NOT_FOUND",
    "AbciAnswer", "AbciQueryCall", "BroadcastAnswer", "BroadcastCall", "Event", "Request", "RpcError", "StatusCall",
    "TxAnswer", "TxCall", "TxSearchAnswer", "TxSearchCall",
    "decode_answer", "encode_answer", "read_status", "status_result", "tx_not_found", "tx_query",
]  # fmt: skip

ALREADY_IN_CACHE: Final = "tx already exists in cache"
"""In the data of an error: the same bytes are in the mempool already."""
HASH_BYTES: Final = 32
MOST_PER_PAGE: Final = 100


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
        given = an_object(params, "params")
        return cls(text_of(given, "path"), unhex(text_of(given, "data"), "data"))


@dataclass(frozen=True, slots=True)
class BroadcastCall:
    """Hands in a transaction; the answer comes after CheckTx."""

    METHOD: ClassVar = "broadcast_tx_sync"
    tx: bytes

    def params(self) -> dict[str, Any]:
        """Of the request."""
        return {"tx": b64(self.tx)}

    @classmethod
    def from_params(cls, params: Mapping[str, Any] | None) -> BroadcastCall:
        """The inverse."""
        return cls(unb64(text_of(an_object(params, "params"), "tx"), "tx"))


@dataclass(frozen=True, slots=True)
class TxCall:
    """A transaction by its hash: ``tx_hash`` is upper-case hex."""

    METHOD: ClassVar = "tx"
    tx_hash: str

    def params(self) -> dict[str, Any]:
        """Of the request."""
        return {"hash": b64(bytes.fromhex(self.tx_hash)), "prove": False}

    @classmethod
    def from_params(cls, params: Mapping[str, Any] | None) -> TxCall:
        """The inverse."""
        digest = unb64(text_of(an_object(params, "params"), "hash"), "hash")
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
        given = an_object(params, "params")
        page = number(given.get("page") or "1", "page")
        per_page = number(given.get("per_page") or "30", "per_page")
        return cls(text_of(given, "query"), max(1, page), min(max(1, per_page), MOST_PER_PAGE))


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
            "pub_key": {"type": "tendermint/PubKeyEd25519", "value": b64(bytes([0x3B]) * HASH_BYTES)},
            "voting_power": "1000",
        },
    }


def read_status(result: Mapping[str, Any]) -> NodeStatus:
    """The members that matter. Raises `MalformedChainData`."""
    node = an_object(result.get("node_info"), "node_info")
    sync = an_object(result.get("sync_info"), "sync_info")
    chain_id = text_of(node, "network", "node_info.")
    if not chain_id:
        raise MalformedChainData("node_info.network", "a chain id")
    catching_up = sync.get("catching_up")
    if not isinstance(catching_up, bool):
        raise MalformedChainData("sync_info.catching_up", "true or false")
    return NodeStatus(
        chain_id=chain_id,
        height=number(sync.get("latest_block_height"), "sync_info.latest_block_height"),
        block_time=read_time(text_of(sync, "latest_block_time", "sync_info."), "sync_info.latest_block_time"),
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
                "value": b64(self.value) if self.value else None,
                "proofOps": None,
                "height": str(self.height),
                "codespace": self.codespace,
            }
        }

    @classmethod
    def from_result(cls, result: Mapping[str, Any]) -> AbciAnswer:
        """The inverse; everything but ``value`` may be absent, ``value`` may be null."""
        given = an_object(result.get("response"), "response")
        return cls(
            value=optional_bytes_of(given, "value", "response."),
            code=code_of(given, "response."),
            codespace=optional_text_of(given, "codespace", "response."),
            log=optional_text_of(given, "log", "response."),
            height=number(given.get("height") or "0", "response.height"),
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
            tx_hash=unhex(text_of(result, "hash"), "hash").hex().upper(),
            code=code_of(result, ""),
            codespace=optional_text_of(result, "codespace", ""),
            log=optional_text_of(result, "log", ""),
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
        given = an_object(value, "event")
        pairs = []
        for pair in an_array(given.get("attributes") or [], "attributes"):
            inner = an_object(pair, "attribute")
            pairs.append((text_of(inner, "key"), optional_text_of(inner, "value", "")))
        return cls(text_of(given, "type"), tuple(pairs))


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
                "data": b64(self.data) if self.data else None,
                "log": self.log,
                "info": "",
                "gas_wanted": str(self.gas_wanted),
                "gas_used": str(self.gas_used),
                "events": [event.to_object() for event in self.events],
                "codespace": self.codespace,
            },
            "tx": b64(self.tx),
        }

    @classmethod
    def from_result(cls, result: Mapping[str, Any]) -> TxAnswer:
        """The inverse; what the client has no use for may be absent."""
        inner = an_object(result.get("tx_result"), "tx_result")
        return cls(
            tx_hash=unhex(text_of(result, "hash"), "hash").hex().upper(),
            height=number(result.get("height"), "height"),
            tx=optional_bytes_of(result, "tx", ""),
            code=code_of(inner, "tx_result."),
            codespace=optional_text_of(inner, "codespace", "tx_result."),
            log=optional_text_of(inner, "log", "tx_result."),
            data=optional_bytes_of(inner, "data", "tx_result."),
            gas_wanted=number(inner.get("gas_wanted") or "0", "tx_result.gas_wanted"),
            gas_used=number(inner.get("gas_used") or "0", "tx_result.gas_used"),
            events=tuple(
                Event.from_object(e) for e in an_array(inner.get("events") or [], "tx_result.events")
            ),
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
        found = an_array(result.get("txs") or [], "txs")
        txs = tuple(TxAnswer.from_result(an_object(tx, "txs")) for tx in found)
        return cls(txs, number(result.get("total_count"), "total_count"))


def tx_not_found(tx_hash: str) -> RpcError:
    """What a node says of a hash that is in no block (yet)."""
    return RpcError(INTERNAL_ERROR, "Internal error", f"tx ({tx_hash}) not found")
