"""The directory server: the nym-api routes that clients and nodes use.

Node lists are answered in bincode when `output=bincode` asks for it, everything else in JSON whatever is
asked for: clients decode by the content type of the answer. `page` and `per_page` are ignored as upstream's
server does: everything is one page.
"""

from __future__ import annotations

import asyncio
import socket
import time
from collections.abc import Awaitable, Callable
from email.utils import format_datetime
from typing import Final

from aiohttp import web

from nym_localnet.counters import Faults
from nym_localnet.directory import Directory, PublishedNode
from nym_localnet.epochs import EPOCHS_IN_INTERVAL
from nym_mixnet.described import PATH_DESCRIBED, PATH_DESCRIBED_V1
from nym_mixnet.errors import MalformedTopology
from nym_mixnet.nym_api import (
    PATH_ACTIVE_MIXNODES,
    PATH_ENTRY_GATEWAYS,
    PATH_KEY_ROTATION_INFO,
    PATH_NODES_BY_ADDRESSES,
    PATH_REWARDED_SET,
    PATH_SEMI_SKIMMED,
    PATH_SKIMMED,
    NodesPage,
    encode_addresses_response,
    encode_key_rotation_info,
    encode_nodes_page,
    encode_nodes_page_bincode,
    encode_rewarded_set,
    encode_semi_skimmed,
    parse_addresses_request,
)
from nym_mixnet.wire_json import Fields, JsonFaultError, compact, load_json
from nym_sphinx import b58encode

PATH_REFRESH_DESCRIBED: Final = "/v1/nym-nodes/refresh-described"
JSON: Final = "application/json"
BINCODE: Final = "application/bincode"
SHUTDOWN_SECONDS: Final = 1.0

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]

ROLE_FILTERS: Final[dict[str, Callable[[PublishedNode], bool]]] = {
    "active-mixnode": lambda node: node.layer is not None,
    "entry-gateway": lambda node: node.entry is not None,
    "exit-gateway": lambda node: node.requester is not None,
}
ROLE_ALIASES: Final = {"entry": "entry-gateway", "gateway": "entry-gateway", "exit": "exit-gateway"}


def refusal(status: int, message: str) -> web.Response:
    """An error as upstream's server words it: JSON with a message."""
    return web.Response(status=status, text=compact({"message": message}), content_type=JSON)


class NymApi:
    """Serves a `Directory`. `faults.refuse` answers 503, `faults.stall` does not answer."""

    def __init__(
        self,
        directory: Directory,
        *,
        faults: Faults | None = None,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self.directory = directory
        self.faults = faults or Faults()
        self.requests = 0
        self._clock = clock
        self._runner: web.AppRunner | None = None
        self._running = asyncio.Event()
        self._running.set()
        self.port = 0

    async def start(self, host: str, port: int) -> int:
        """Listen; returns the port."""
        app = web.Application(middlewares=[self._guard])
        app.router.add_get(PATH_KEY_ROTATION_INFO, self._key_rotation_info)
        app.router.add_get(PATH_REWARDED_SET, self._rewarded_set)
        app.router.add_get(PATH_ACTIVE_MIXNODES, self._active_mixnodes)
        app.router.add_get(PATH_ENTRY_GATEWAYS, self._entry_gateways)
        app.router.add_get(PATH_SKIMMED, self._skimmed)
        app.router.add_get(PATH_SEMI_SKIMMED, self._semi_skimmed)
        app.router.add_get(PATH_DESCRIBED, self._described)
        app.router.add_get(PATH_DESCRIBED_V1, self._described)
        app.router.add_post(PATH_NODES_BY_ADDRESSES, self._by_addresses)
        app.router.add_post(PATH_REFRESH_DESCRIBED, self._refresh_described)
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
        return self.port

    async def close(self) -> None:
        """Stop serving."""
        self._running.set()
        if self._runner is not None:
            await self._runner.cleanup()
            self._runner = None

    def set_stall(self, stalled: bool) -> None:
        """Stop or resume answering."""
        self.faults.stall = stalled
        if stalled:
            self._running.clear()
        else:
            self._running.set()

    @web.middleware
    async def _guard(self, request: web.Request, handler: Handler) -> web.StreamResponse:
        self.requests += 1
        await self._running.wait()
        if self.faults.refuse:
            return refusal(503, "the directory is told to fail")
        try:
            return await handler(request)
        except web.HTTPException as error:
            if error.status < 400:
                raise
            return refusal(error.status, error.reason)

    # Routes

    async def _key_rotation_info(self, request: web.Request) -> web.Response:
        return _json(encode_key_rotation_info(self.directory.key_rotation_info(self._clock())))

    async def _rewarded_set(self, request: web.Request) -> web.Response:
        return _json(encode_rewarded_set(self.directory.rewarded_set(self._clock())))

    async def _active_mixnodes(self, request: web.Request) -> web.Response:
        return self._nodes(request, ROLE_FILTERS["active-mixnode"], with_interval=True, expires=True)

    async def _entry_gateways(self, request: web.Request) -> web.Response:
        return self._nodes(request, ROLE_FILTERS["entry-gateway"], with_interval=True)

    async def _skimmed(self, request: web.Request) -> web.Response:
        role = request.query.get("role")
        if role is None:
            return self._nodes(request, lambda node: True, with_interval=False)
        wanted = ROLE_FILTERS.get(ROLE_ALIASES.get(role, role))
        if wanted is None:
            return refusal(400, f"unknown role, use one of {', '.join(ROLE_FILTERS)}")
        return self._nodes(request, wanted, with_interval=True)

    def _nodes(
        self,
        request: web.Request,
        wanted: Callable[[PublishedNode], bool],
        *,
        with_interval: bool,
        expires: bool = False,
    ) -> web.Response:
        now = self._clock()
        # Upstream compares with the number of the epoch inside its interval, not with the absolute one.
        known = request.query.get("epoch_id")
        if known is not None and known == str(self.directory.clock.epoch_at(now) % EPOCHS_IN_INTERVAL):
            page = self.directory.no_updates(now)
        else:
            page = self.directory.skimmed(wanted, now, with_interval=with_interval)
        response = _page(request, page)
        if expires:
            response.headers["Expires"] = format_datetime(self.directory.expires(now), usegmt=True)
        return response

    async def _semi_skimmed(self, request: web.Request) -> web.Response:
        return _json(encode_semi_skimmed(*self.directory.semi_skimmed(self._clock())))

    async def _described(self, request: web.Request) -> web.Response:
        return _json(self.directory.described(self._clock()))

    async def _by_addresses(self, request: web.Request) -> web.Response:
        try:
            addresses = parse_addresses_request(await request.text())
        except MalformedTopology as error:
            return refusal(422, str(error))
        return _json(encode_addresses_response(self.directory.ids_of_addresses(addresses)))

    async def _refresh_described(self, request: web.Request) -> web.Response:
        """A node asks to be looked at again; there is nothing to look at, so it only learns that it is
        known.
        """
        try:
            identity = Fields(load_json(await request.text())).text("node_identity")
        except JsonFaultError as error:
            return refusal(422, str(error))
        if not any(b58encode(node.identity) == identity for node in self.directory.nodes):
            return refusal(404, "no node with that identity is known")
        return _json("null")


def _json(text: str) -> web.Response:
    return web.Response(body=text.encode(), content_type=JSON)


def _page(request: web.Request, page: NodesPage) -> web.Response:
    if request.query.get("output") == "bincode":
        return web.Response(body=encode_nodes_page_bincode(page), content_type=BINCODE)
    return _json(encode_nodes_page(page))
