"""What a contract of the test network is to the chain (docs/protocol/08 §4.1, §5).

Contracts answer JSON to JSON. An execution may raise `ContractError` before it changes anything; the chain restores
the snapshot of every contract when a later message of the same transaction fails.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final, Protocol

from nym_credentials.addresses import encode_address
from nym_credentials.money import Coin
from nym_localnet.chain.errors import QueryRejected

Json = Any
Handler = Callable[[Mapping[str, Json]], Json]

WASM_MODULE: Final = b"wasm\0"
ID_BYTES: Final = 8


@dataclass(frozen=True, slots=True)
class Event:
    """Something a contract did. The chain adds the prefix `wasm-` to the type."""

    type: str
    attributes: tuple[tuple[str, str], ...] = ()


@dataclass(frozen=True, slots=True)
class Execution:
    """What a contract answers to a message: data for the sender, events for everybody."""

    data: bytes = b""
    events: tuple[Event, ...] = ()


@dataclass(frozen=True, slots=True)
class Call:
    """A message on its way to a contract, with what the chain knows about it."""

    sender: str
    funds: tuple[Coin, ...]
    message: Mapping[str, Json]
    height: int
    time_unix: float


@dataclass(frozen=True, slots=True)
class QueryContext:
    """When a query is answered."""

    height: int
    time_unix: float


class Contract(Protocol):
    """One contract."""

    address: str

    def execute(self, call: Call) -> Execution:
        """Raises `ContractError`."""
        ...

    def query(self, query: Mapping[str, Json], context: QueryContext) -> Json:
        """Raises `QueryRejected`."""
        ...

    def snapshot(self) -> Any:
        """Everything that executions may change; cheap."""
        ...

    def restore(self, snapshot: Any) -> None:
        """Back to a snapshot."""
        ...

    def to_json(self) -> dict[str, Json]:
        """The whole state as plain values."""
        ...

    def load_json(self, value: dict[str, Json]) -> None:
        """The reverse of `to_json`."""
        ...


@dataclass(frozen=True, slots=True)
class Invocation:
    """A message or query: `{"name": {arguments}}`."""

    name: str
    arguments: Mapping[str, Json] = field(default_factory=dict)

    @classmethod
    def of(cls, value: Json) -> Invocation | None:
        """None for anything else than an object with exactly one member."""
        if not isinstance(value, Mapping) or len(value) != 1:
            return None
        name, arguments = next(iter(value.items()))
        return cls(name, arguments) if isinstance(arguments, Mapping) else None


def answer_query(contract: str, handlers: Mapping[str, Handler], query: Mapping[str, Json]) -> Json:
    """Let the handler of a query answer it. Unknown ones are refused as the real contracts do."""
    asked = Invocation.of(query)
    handler = handlers.get(asked.name) if asked else None
    if asked is None or handler is None:
        unknown = asked.name if asked else json.dumps(query)[:80]
        raise refused_query(
            f"Error parsing into type {contract}: unknown variant `{unknown}`, expected one of "
            + ", ".join(f"`{name}`" for name in handlers)
        )
    try:
        return handler(asked.arguments)
    except (KeyError, TypeError, ValueError) as error:
        raise refused_query(f"Error parsing into type {contract}: {type(error).__name__} {error}") from error


def refused_query(text: str) -> QueryRejected:
    """A contract does not understand a query, or fails at it."""
    return QueryRejected.unknown(f"{text}: query wasm contract failed")


def page(
    items: Sequence[Json],
    key: Callable[[Json], Json],
    start_after: Json,
    limit: Json,
    default: int,
    most: int,
) -> tuple[list[Json], Json]:
    """A page of sorted items and what the next one starts after: the last of this one, None when it is empty."""
    size = min(default if limit is None else int(limit), most)
    rest = items if start_after is None else [item for item in items if key(item) > start_after]
    found = list(rest[:size])
    return found, (key(found[-1]) if found else None)


def contract_address(prefix: str, number: int) -> str:
    """The address of the contract that was instantiated as `number`, from code of the same number.

    As the real module makes them, so they are the same in every network: SHA-256 of a tag and the two ids.
    """
    ids = number.to_bytes(ID_BYTES, "big") * 2
    module = hashlib.sha256(b"module").digest()
    return encode_address(prefix, hashlib.sha256(module + WASM_MODULE + ids).digest())
