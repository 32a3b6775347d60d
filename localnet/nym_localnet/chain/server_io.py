"""The chain as a process sees it: an HTTP server with the JSON-RPC and the faucet, and a clock that makes blocks.

`POST /` takes JSON-RPC, `GET /status?…` the same with parameters in the URL, `POST /faucet` gives coins away.
"""

from __future__ import annotations

import asyncio
import json
import logging
import socket
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

from aiohttp import web

from nym_localnet.chain.chain import TxResult
from nym_localnet.chain.faucet import BadRequest, Faucet, Wish
from nym_localnet.chain.genesis import Nyx
from nym_localnet.chain.rpc import Rpc
from nym_localnet.errors import LocalnetError, StartFailed
from nym_localnet.folder import write_file
from nym_mixnet.tasks_io import TaskSet

logger = logging.getLogger(__name__)

SHUTDOWN_SECONDS: Final = 1.0
MAX_BODY_BYTES: Final = 4 * 1024 * 1024
FAUCET_SECONDS: Final = 30.0
STATE_VERSION: Final = 1


class ChainServer:
    """One node with the whole chain in it. `state_file` None forgets everything at the end."""

    def __init__(
        self,
        nyx: Nyx,
        faucet: Faucet,
        *,
        block_seconds: float,
        faucet_amount: int,
        state_file: Path | None = None,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self.nyx = nyx
        self.faucet = faucet
        self.port = 0
        self.requests: dict[str, int] = {}
        """requests by method, since the start"""
        self._block_seconds = block_seconds
        self._faucet_amount = faucet_amount
        self._state_file = state_file
        self._clock = clock
        self._rpc = Rpc(nyx.chain, clock=clock)
        self._runner: web.AppRunner | None = None
        self._tasks = TaskSet("chain")
        self._block_made = asyncio.Condition()
        self._faucet_turn = asyncio.Lock()
        nyx.chain.on_change = self.save

    @property
    def url(self) -> str:
        """Where JSON-RPC is spoken."""
        return f"http://127.0.0.1:{self.port}"

    @property
    def faucet_url(self) -> str:
        """Where coins are given away."""
        return f"{self.url}/faucet"

    def load(self) -> bool:
        """Take up the state that was kept. False when there is none; `StartFailed` when it is unreadable."""
        if self._state_file is None or not self._state_file.exists():
            return False
        try:
            value = json.loads(self._state_file.read_text(encoding="utf-8"))
            if value["version"] != STATE_VERSION or value["chain"]["chain_id"] != self.nyx.chain.chain_id:
                raise StartFailed(f"{self._state_file} is of another chain: remove it to begin anew")
            self.nyx.chain.load_json(value["chain"])
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise StartFailed(f"{self._state_file} cannot be used: remove it to begin anew") from error
        return True

    def save(self) -> None:
        """Keep the state, if it is to be kept."""
        if self._state_file is not None:
            state = {"version": STATE_VERSION, "chain": self.nyx.chain.to_json()}
            write_file(self._state_file, json.dumps(state), mode=0o600)

    async def start(self, host: str = "127.0.0.1", port: int = 0) -> int:
        """Serve and make blocks; returns the port."""
        app = web.Application(client_max_size=MAX_BODY_BYTES)
        app.router.add_post("/", self._post)
        app.router.add_post("/faucet", self._give)
        app.router.add_get("/faucet", self._about_faucet)
        app.router.add_get("/{method}", self._get)
        self._runner = web.AppRunner(
            app, access_log=None, handle_signals=False, shutdown_timeout=SHUTDOWN_SECONDS
        )
        await self._runner.setup()
        listener = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
        try:
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            listener.bind((host, port))
            await web.SockSite(self._runner, listener).start()
        except BaseException:
            listener.close()
            raise
        self.port = int(listener.getsockname()[1])
        self._tasks.spawn(self._make_blocks(), name="blocks")
        return self.port

    async def close(self) -> None:
        """Stop serving."""
        await self._tasks.close()
        if self._runner is not None:
            await self._runner.cleanup()
            self._runner = None
            self.save()

    async def fund(self, address: str, amount: int) -> TxResult:
        """Send base units from the faucet to an address; returns when they are there."""
        wish = Wish(address, amount)
        async with self._faucet_turn:
            raw = await asyncio.to_thread(self.faucet.transfer, wish, *self.faucet.next_signer())
            submission = self.nyx.chain.submit(raw)
        if submission.code:
            raise LocalnetError(f"the faucet was refused: {submission.log}")
        async with asyncio.timeout(FAUCET_SECONDS):
            result = await self.included(submission.hash)
        if result.code:
            raise LocalnetError(f"the faucet's transfer failed: {result.log}")
        return result

    async def included(self, hash_: str) -> TxResult:
        """Wait until a transaction is in a block."""
        async with self._block_made:
            while (result := self.nyx.chain.result(hash_)) is None:
                await self._block_made.wait()
            return result

    async def next_block(self) -> int:
        """Wait for the next block; its number."""
        async with self._block_made:
            await self._block_made.wait()
            return self.nyx.chain.height

    async def _make_blocks(self) -> None:
        while True:
            await asyncio.sleep(self._block_seconds)
            self.nyx.chain.make_block(self._clock())
            async with self._block_made:
                self._block_made.notify_all()

    # Requests

    async def _post(self, request: web.Request) -> web.Response:
        body = await request.read()
        await self._guard()
        self._count(body)
        return web.Response(body=self._rpc.handle(body), content_type="application/json")

    async def _get(self, request: web.Request) -> web.Response:
        await self._guard()
        parameters: dict[str, Any] = {
            name: value.strip('"') for name, value in request.query.items() if value != ""
        }
        body = self._rpc.call(request.match_info["method"], parameters)
        return web.Response(body=body, content_type="application/json")

    async def _guard(self) -> None:
        faults = self.nyx.faults
        if faults.stall:
            async with self._block_made:
                await self._block_made.wait_for(lambda: not faults.stall)
        if faults.down:
            raise web.HTTPServiceUnavailable(text="the node is told to fail")

    def _count(self, body: bytes) -> None:
        try:
            method = str(json.loads(body)["method"])
        except (ValueError, KeyError, TypeError):
            method = "?"
        self.requests[method] = self.requests.get(method, 0) + 1

    async def _about_faucet(self, request: web.Request) -> web.Response:
        chain = self.nyx.chain
        facts = {
            "address": self.faucet.address,
            "balance": chain.ledger.balance(self.faucet.address, chain.denom),
            "denom": chain.denom,
            "default_amount": self._faucet_amount,
        }
        return web.json_response(facts)

    async def _give(self, request: web.Request) -> web.Response:
        try:
            wish = Wish.parse(await request.read(), prefix=self.nyx.chain.prefix, default=self._faucet_amount)
        except BadRequest as error:
            return web.Response(status=400, text=f"{error}\n")
        try:
            result = await self.fund(wish.address, wish.amount)
        except (LocalnetError, TimeoutError) as error:
            return web.Response(status=503, text=f"{str(error) or 'no block came in time'}\n")
        return web.json_response(
            {"address": wish.address, "amount": wish.amount, "hash": result.hash, "height": result.height}
        )
