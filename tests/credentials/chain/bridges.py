"""gRPC and REST endpoints in front of the test network's chain, as a full node has them."""

from __future__ import annotations

import asyncio
import base64
import json
import time
from collections.abc import AsyncIterator, Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import grpc
from aiohttp import web

from nym_credentials.chain import cosmos
from nym_credentials.chain.messages import (
    AccountQuery,
    BalanceQuery,
    SimulateQuery,
    SmartAnswer,
    SmartQuery,
    parse,
    write,
)
from nym_credentials.chain.rpc import AbciAnswer, TxAnswer
from nym_credentials.chain.sdk_service import (
    BROADCAST_PATH,
    GET_TX_PATH,
    GET_TXS_PATH,
    LATEST_BLOCK_PATH,
    SYNCING_PATH,
)
from nym_credentials.chain.transport_io import JsonRpcTransport


@dataclass(slots=True)
class Trouble:
    """What a bridge does wrong."""

    block_age: float = 0.0
    syncing: bool = False
    chain_id: str | None = None
    answers: dict[str, Any] = field(default_factory=dict)
    """by path: raw answers instead of the right ones"""


class Service:
    """What a node's services answer, in protobuf; queries go on over JSON-RPC."""

    def __init__(self, transport: JsonRpcTransport, trouble: Trouble) -> None:
        self.transport = transport
        self.trouble = trouble

    async def latest(self) -> Any:
        """The latest block."""
        status = await self.transport.status(fresh=True)
        response = cosmos.GetLatestBlockResponse()
        header = response.block.header
        header.chain_id = self.trouble.chain_id or status.chain_id
        header.height = status.height
        header.time.seconds = int(time.time() - self.trouble.block_age)
        return response

    async def syncing(self) -> Any:
        """Whether the node catches up."""
        return cosmos.GetSyncingResponse(syncing=self.trouble.syncing)

    async def broadcast(self, tx: bytes) -> Any:
        """Hands in a transaction."""
        answer = await self.transport.broadcast(tx)
        response = cosmos.BroadcastTxResponse()
        response.tx_response.txhash = answer.tx_hash
        response.tx_response.code = answer.code
        response.tx_response.codespace = answer.codespace
        response.tx_response.raw_log = answer.log
        return response

    async def tx(self, tx_hash: str) -> Any | None:
        """A transaction in a block."""
        answer = await self.transport.tx(tx_hash)
        return None if answer is None else cosmos.GetTxResponse(tx_response=tx_response(answer))

    async def search(self, query: str, page: int) -> Any:
        """A page of transactions."""
        answer = await self.transport.tx_search(query, page)
        return cosmos.GetTxsEventResponse(
            tx_responses=[tx_response(tx) for tx in answer.txs], total=answer.total
        )

    async def query(self, path: str, data: bytes) -> AbciAnswer:
        """Any query."""
        return await self.transport.abci_query(path, data)


def tx_response(answer: TxAnswer) -> Any:
    """As the SDK writes it."""
    return cosmos.TxResponse(
        height=answer.height,
        txhash=answer.tx_hash,
        codespace=answer.codespace,
        code=answer.code,
        data=answer.data.hex().upper(),
        raw_log=answer.log,
        gas_wanted=answer.gas_wanted,
        gas_used=answer.gas_used,
        events=[
            cosmos.Event(
                type=event.kind,
                attributes=[cosmos.EventAttribute(key=key, value=value) for key, value in event.attributes],
            )
            for event in answer.events
        ],
    )


# --- gRPC -------------------------------------------------------------------------------------------------------


class _Handler(grpc.GenericRpcHandler):  # type: ignore[misc]
    def __init__(self, service: Service, loop: asyncio.AbstractEventLoop) -> None:
        self._service = service
        self._loop = loop

    def service(self, details: Any) -> Any:
        path = details.method

        def answer(data: bytes, context: Any) -> bytes:
            return asyncio.run_coroutine_threadsafe(self._answer(path, data, context), self._loop).result()

        return grpc.unary_unary_rpc_method_handler(answer)

    async def _answer(self, path: str, data: bytes, context: Any) -> bytes:
        service = self._service
        if path in service.trouble.answers:
            raw = service.trouble.answers[path]
            if isinstance(raw, grpc.StatusCode):
                context.set_code(raw)
                context.set_details("told to fail")
                return b""
            return bytes(raw)
        if path == LATEST_BLOCK_PATH:
            return write(await service.latest())
        if path == SYNCING_PATH:
            return write(await service.syncing())
        if path == BROADCAST_PATH:
            return write(await service.broadcast(parse("BroadcastTxRequest", data, "x").tx_bytes))
        if path == GET_TX_PATH:
            found = await service.tx(parse("GetTxRequest", data, "x").hash)
            if found is None:
                context.set_code(grpc.StatusCode.NOT_FOUND)
                context.set_details("tx not found")
                return b""
            return write(found)
        if path == GET_TXS_PATH:
            request = parse("GetTxsEventRequest", data, "x")
            return write(await service.search(request.query, request.page))
        answer = await service.query(path, data)
        if answer.code:
            context.set_code(grpc.StatusCode.UNKNOWN)
            context.set_details(answer.log)
            return b""
        return answer.value


@asynccontextmanager
async def grpc_bridge(url: str, trouble: Trouble) -> AsyncIterator[str]:
    """A gRPC endpoint in front of a JSON-RPC one; its URL."""
    async with JsonRpcTransport([url]) as transport:
        with ThreadPoolExecutor(4) as pool:
            server = grpc.server(pool)
            server.add_generic_rpc_handlers(
                (_Handler(Service(transport, trouble), asyncio.get_running_loop()),)
            )
            port = server.add_insecure_port("127.0.0.1:0")
            server.start()
            try:
                yield f"http://127.0.0.1:{port}"
            finally:
                await asyncio.to_thread(server.stop(0).wait)


# --- REST -------------------------------------------------------------------------------------------------------


@asynccontextmanager
async def rest_bridge(url: str, trouble: Trouble) -> AsyncIterator[str]:
    """A REST endpoint in front of a JSON-RPC one; its URL."""
    async with JsonRpcTransport([url]) as transport:
        service = Service(transport, trouble)
        app = web.Application()

        def route(method: str, path: str, answer: Callable[[web.Request], Any]) -> None:
            async def handle(request: web.Request) -> web.Response:
                told = trouble.answers.get(path)
                if isinstance(told, int):
                    return web.Response(status=told, text="told to fail")
                if told is not None:
                    return web.json_response(told)
                found = await answer(request)
                return found if isinstance(found, web.Response) else web.json_response(found)

            app.router.add_route(method, path, handle)

        async def latest(_: web.Request) -> Any:
            found = as_json(await service.latest())
            return found | {"unknown": 1, "block": found["block"] | {"data": {"txs": ["x"]}, "newer": True}}

        async def syncing(_: web.Request) -> Any:
            return as_json(await service.syncing())

        async def account(request: web.Request) -> Any:
            query = AccountQuery(request.match_info["address"])
            return answered("QueryAccountResponse", await service.query(query.PATH, query.encode()))

        async def balance(request: web.Request) -> Any:
            query = BalanceQuery(request.match_info["address"], request.query["denom"])
            return answered("QueryBalanceResponse", await service.query(query.PATH, query.encode()))

        async def smart(request: web.Request) -> Any:
            query = SmartQuery(request.match_info["address"], base64.b64decode(request.match_info["query"]))
            answer = await service.query(query.PATH, query.encode())
            if answer.code:
                return refused(answer)
            return {"data": json.loads(SmartAnswer.decode(answer.value).data)}

        async def simulate(request: web.Request) -> Any:
            query = SimulateQuery(base64.b64decode((await request.json())["tx_bytes"]))
            return answered("SimulateResponse", await service.query(query.PATH, query.encode()))

        async def broadcast(request: web.Request) -> Any:
            return as_json(await service.broadcast(base64.b64decode((await request.json())["tx_bytes"])))

        async def one(request: web.Request) -> Any:
            found = await service.tx(request.match_info["hash"])
            if found is None:
                return web.json_response({"code": 5, "message": "tx not found", "details": []}, status=404)
            return as_json(found) | {"tx": {"body": {"messages": [{"@type": "/unknown"}]}}}

        async def search(request: web.Request) -> Any:
            return as_json(await service.search(request.query["query"], int(request.query["page"])))

        base = "/cosmos/base/tendermint/v1beta1"
        route("GET", f"{base}/blocks/latest", latest)
        route("GET", f"{base}/syncing", syncing)
        route("GET", "/cosmos/auth/v1beta1/accounts/{address}", account)
        route("GET", "/cosmos/bank/v1beta1/balances/{address}/by_denom", balance)
        route("GET", "/cosmwasm/wasm/v1/contract/{address}/smart/{query}", smart)
        route("POST", "/cosmos/tx/v1beta1/simulate", simulate)
        route("POST", "/cosmos/tx/v1beta1/txs", broadcast)
        route("GET", "/cosmos/tx/v1beta1/txs/{hash}", one)
        route("GET", "/cosmos/tx/v1beta1/txs", search)
        runner = web.AppRunner(app, access_log=None, handle_signals=False, shutdown_timeout=0.1)
        await runner.setup()
        try:
            await web.TCPSite(runner, "127.0.0.1", 0).start()
            yield f"http://127.0.0.1:{runner.addresses[0][1]}"
        finally:
            await runner.cleanup()


def answered(kind: str, answer: AbciAnswer) -> Any:
    """A query's answer as JSON."""
    return refused(answer) if answer.code else as_json(parse(kind, answer.value, "x"))


def refused(answer: AbciAnswer) -> web.Response:
    """As the gateway of the SDK writes errors."""
    code, status = (5, 404) if "not found" in answer.log else (2, 500)
    return web.json_response({"code": code, "message": answer.log, "details": []}, status=status)


def as_json(message: Any) -> dict[str, Any]:
    """Protobuf's own JSON with the names of the proto file, as the SDK writes it."""
    found = cosmos.MessageToDict(
        message, preserving_proto_field_name=True, always_print_fields_with_no_presence=True
    )
    assert isinstance(found, dict)
    return found
