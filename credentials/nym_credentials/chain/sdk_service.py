"""The services of cosmos-sdk, which replace CometBFT's calls over gRPC and REST (docs/protocol/08 §1.1).

Queries are the same protobuf messages under the same paths as in ``abci_query``. What differs is read here: blocks,
and transactions as ``TxResponse``.
"""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any, Final

from nym_credentials.chain import cosmos
from nym_credentials.chain.messages import parse
from nym_credentials.chain.records import NodeStatus
from nym_credentials.chain.rpc import AbciAnswer, BroadcastAnswer, Event, TxAnswer
from nym_credentials.chain.rpc_scalars import unhex
from nym_credentials.errors import MalformedChainData

LATEST_BLOCK_PATH: Final = "/cosmos.base.tendermint.v1beta1.Service/GetLatestBlock"
SYNCING_PATH: Final = "/cosmos.base.tendermint.v1beta1.Service/GetSyncing"
BROADCAST_PATH: Final = "/cosmos.tx.v1beta1.Service/BroadcastTx"
GET_TX_PATH: Final = "/cosmos.tx.v1beta1.Service/GetTx"
GET_TXS_PATH: Final = "/cosmos.tx.v1beta1.Service/GetTxsEvent"
BROADCAST_MODE_SYNC: Final = 2
ORDER_BY_ASCENDING: Final = 1
NANOSECONDS_PER_MICROSECOND: Final = 1000


def read_block_status(latest_block: bytes, syncing: bytes) -> NodeStatus:
    """Of the answers to `LATEST_BLOCK_PATH` and `SYNCING_PATH`."""
    return status_of(
        parse("GetLatestBlockResponse", latest_block, "block"),
        parse("GetSyncingResponse", syncing, "syncing"),
    )


def status_of(latest: Any, syncing: Any) -> NodeStatus:
    """Of the generated classes. Nodes fill ``sdk_block``, older ones only ``block``."""
    header = latest.sdk_block.header if latest.sdk_block.header.chain_id else latest.block.header
    if not header.chain_id or header.height < 0:
        raise MalformedChainData("block.header", "a header with chain id and height")
    seconds, nanos = header.time.seconds, header.time.nanos
    try:
        when = datetime.fromtimestamp(seconds, UTC).replace(microsecond=nanos // NANOSECONDS_PER_MICROSECOND)
    except (ValueError, OverflowError, OSError):
        raise MalformedChainData("block.header.time", "a time") from None
    return NodeStatus(header.chain_id, header.height, when, syncing.syncing)


def broadcast_answer_of(response: Any) -> BroadcastAnswer:
    """Of a ``TxResponse``."""
    return BroadcastAnswer(
        unhex(response.txhash, "txhash").hex().upper(), response.code, response.codespace, response.raw_log
    )


def tx_answer_of(response: Any) -> TxAnswer:
    """Of a ``TxResponse``, whose data are hex. The transaction itself is not read: the hash names it."""
    events = tuple(
        Event(event.type, tuple((pair.key, pair.value) for pair in event.attributes))
        for event in response.events
    )
    return TxAnswer(
        tx_hash=unhex(response.txhash, "txhash").hex().upper(),
        height=response.height,
        tx=b"",
        code=response.code,
        codespace=response.codespace,
        log=response.raw_log,
        data=unhex(response.data, "data"),
        gas_wanted=response.gas_wanted,
        gas_used=response.gas_used,
        events=events,
    )


def refusal(code: int, name: str, text: str) -> AbciAnswer:
    """A refused query as the other transport would tell it."""
    return AbciAnswer(code=code, codespace="sdk", log=f"rpc error: code = {name} desc = {text}")


def tx_request(tx_hash: str) -> Any:
    """For `GET_TX_PATH`."""
    return cosmos.GetTxRequest(hash=tx_hash)
