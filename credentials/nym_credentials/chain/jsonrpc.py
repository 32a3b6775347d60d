"""Envelopes of JSON-RPC 2.0, both directions (docs/protocol/08 §3). Nodes answer errors with HTTP 200."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from nym_credentials.chain.json_records import load_json
from nym_credentials.chain.rpc_scalars import an_object
from nym_credentials.errors import MalformedChainData

VERSION: Final = "2.0"
INTERNAL_ERROR: Final = -32603
METHOD_NOT_FOUND: Final = -32601
INVALID_PARAMS: Final = -32602
INVALID_REQUEST: Final = -32600


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
        value = an_object(load_json(body), "request")
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
    value = an_object(load_json(body), "answer")
    if value.get("jsonrpc") != VERSION:
        raise MalformedChainData("jsonrpc", VERSION)
    if value.get("id") != identity:
        raise MalformedChainData("id", "that of the request")
    error = value.get("error")
    if error is not None:
        error = an_object(error, "error")
        code, message, data = error.get("code"), error.get("message"), error.get("data", "")
        if type(code) is not int or not isinstance(message, str):
            raise MalformedChainData("error", "an object with code and message")
        return RpcError(code, message, data if isinstance(data, str) else json.dumps(data))
    return an_object(value.get("result"), "result")
