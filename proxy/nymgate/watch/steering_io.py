"""What the control API does, over what one proxy or the parent of several workers gives it to do it with."""

import asyncio
import contextlib
import json
from collections.abc import Awaitable, Callable, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import structlog
from aiohttp import web

from nymgate.apps.reachable import Reachable
from nymgate.errors import CommandRefused, ConfigError, DependencyFailed, ExitCode, NymgateError
from nymgate.exits.pool import ExitState
from nymgate.logs import RECENT
from nymgate.purse.money import explain_money, explain_refusal
from nymgate.purse.topup_plan_io import plan_fields, planned_purchases, refusal_fields
from nymgate.watch.asking_io import NotRunning, ask_folder
from nymgate.watch.control_api import API_CODE, OPERATIONS, PREFIX
from nymgate.watch.events import changes
from nymgate.watch.health import Health
from nymgate.watch.health_json import health_body
from nymgate.watch.snapshot import Snapshot
from nymgate.watch.snapshot_json import plain, record
from nymgate.watch.status import Status, status_of
from nymgate.wiring import Plan

if TYPE_CHECKING:
    from nymgate.purse.money_io import Money

log = structlog.get_logger("nymgate.control")

LOOK_SECONDS: Final = 1.0
"""Between two looks for events."""
QUIET_SECONDS: Final = 15.0
"""After so long without an event a comment is sent, so that a connection that is gone is noticed."""
FRESH_SECONDS: Final = 0.4
"""A snapshot that is no older is shown to the next who asks as well."""
MOST_LISTENERS: Final = 16
"""Of events, at a time."""
MOST_DAYS: Final = 31.0
WORKER_SECONDS: Final = 3.0
_STATUS: Final = {
    ExitCode.USAGE: 400,
    ExitCode.REFUSED: 403,
    ExitCode.NETWORK: 503,
    ExitCode.EXHAUSTED: 402,
    ExitCode.BUSY: 409,
}


async def no_logs() -> list[dict[str, Any]]:
    """Of this process alone."""
    return list(RECENT)


@dataclass(slots=True)
class Controls:
    """What is asked and told. ``reload`` and ``end`` are None where the proxy is part of another program."""

    plan: Callable[[], Plan]
    snapshot: Callable[[], Awaitable[Snapshot]]
    health: Callable[[], Awaitable[Health]]
    exits: Callable[[], Awaitable[list[ExitState]]]
    reachable: Callable[[], Reachable]
    money: "Callable[[], AbstractAsyncContextManager[Money]]"
    buying: AbstractAsyncContextManager[Any]
    """Held while a book is bought, beside the store's own lock."""
    logs: Callable[[], Awaitable[list[dict[str, Any]]]] = no_logs
    reload: Callable[[], None] | None = None
    end: Callable[[], None] | None = None
    closing: asyncio.Event = field(default_factory=asyncio.Event)
    """Set when streams of events are to end."""
    _last: tuple[float, Snapshot] | None = None
    _looking: asyncio.Lock = field(default_factory=asyncio.Lock)
    listeners: int = 0

    async def look(self) -> Snapshot:
        """A snapshot, perhaps the one that somebody else has just asked for."""
        loop = asyncio.get_running_loop()
        async with self._looking:
            if self._last is None or loop.time() - self._last[0] > FRESH_SECONDS:
                self._last = loop.time(), await self.snapshot()
            return self._last[1]

    async def status(self) -> Status:
        """For people."""
        config = self.plan().config
        return status_of(
            await self.look(),
            await self.exits(),
            anonymous_replies=config.mixnet.replies == "anonymous",
            ticket_bytes=config.tickets.ticket_size,
        )


def routes(controls: Controls) -> list[web.RouteDef]:
    """The operations of ``control_api``, for a server that has asked who it is already."""
    handlers = Handlers(controls)
    return [
        *(
            web.route(one.method, PREFIX + one.path, _explained(getattr(handlers, one.name)))
            for one in OPERATIONS
        ),
        web.route("*", PREFIX + "{rest:(/.*)?}", _unknown),
    ]


async def _unknown(request: web.Request) -> web.StreamResponse:
    allowed = {one.method for one in OPERATIONS if request.path == PREFIX + one.path}
    if not allowed:
        return denied(404, "The control API has no such path.", f"GET {PREFIX}/ lists what there is.")
    said = denied(405, "That path takes another method.", f"GET {PREFIX}/ lists what there is.")
    said.headers["Allow"] = ", ".join(sorted(allowed))
    return said


def _explained(
    handler: Callable[[web.Request], Awaitable[web.StreamResponse]],
) -> Callable[[web.Request], Awaitable[web.StreamResponse]]:
    async def handle(request: web.Request) -> web.StreamResponse:
        try:
            return await handler(request)
        except NymgateError as error:
            return refused(error)
        except Exception as error:
            if hasattr(error, "layer") and hasattr(error, "happened"):
                return refused(explain_money(error))  # type: ignore[arg-type]
            raise

    return handle


def refused(error: NymgateError, status: int | None = None) -> web.Response:
    """An error as an answer."""
    said = {"code": error.code, "layer": error.layer, "what": error.what, "todo": error.todo}
    return _json({"error": said}, status=status or _STATUS.get(error.exit_code, 500))


def denied(status: int, what: str, todo: str) -> web.Response:
    """An answer to one who may not ask, or asks for what there is not: an error like the others."""
    return refused(
        DependencyFailed(what, todo, layer="proxy", code=API_CODE, exit_code=ExitCode.REFUSED), status
    )


def _json(data: Any, status: int = 200) -> web.Response:
    return web.json_response(
        data, status=status, dumps=lambda value: json.dumps(value, ensure_ascii=False, default=str)
    )


class Handlers:
    """One method for each operation, named as there."""

    def __init__(self, controls: Controls) -> None:
        self._controls = controls

    async def index(self, _request: web.Request) -> web.StreamResponse:
        return _json(
            [
                {"method": one.method, "path": PREFIX + one.path, "says": one.says, "takes": one.takes}
                for one in OPERATIONS
            ]
        )

    async def status(self, _request: web.Request) -> web.StreamResponse:
        return _json(plain(await self._controls.status()))

    async def health(self, _request: web.Request) -> web.StreamResponse:
        health = await self._controls.health()
        return _json(health_body(health), status=200 if health.ready else 503)

    async def snapshot(self, _request: web.Request) -> web.StreamResponse:
        return _json(plain(await self._controls.look()))

    async def tickets(self, _request: web.Request) -> web.StreamResponse:
        found = (await self._controls.look()).money
        if found is None:
            raise web.HTTPNotFound(text="Nothing is paid here: the gateway's free allowance is used.\n")
        return _json(plain(found))

    async def exits(self, _request: web.Request) -> web.StreamResponse:
        return _json(plain(await self._controls.exits()))

    async def logs(self, _request: web.Request) -> web.StreamResponse:
        return _json(await self._controls.logs())

    # ---- money --------------------------------------------------------------------------------------------

    async def plan(self, request: web.Request) -> web.StreamResponse:
        try:
            days = float(request.query.get("days", "7"))
        except ValueError:
            days = -1.0
        if not 0.1 <= days <= MOST_DAYS:
            raise ConfigError("days is no number from 0.1 to 31.", "Ask for ?days=7, say.")
        self._pays()
        async with self._controls.money() as money:
            found = await planned_purchases(money, days)
        return _json(plan_fields(*found) | {"tops_up": self._controls.plan().money.tops_up})

    async def buy(self, request: web.Request) -> web.StreamResponse:
        from nymgate.cli.money import purchase_fields
        from nymgate.cli.purchase_show import quote_fields
        from zknym import TicketType

        order = await _body(request)
        dry_run = order.pop("dry_run", False)
        if order or not isinstance(dry_run, bool):
            raise ConfigError("That is no order to buy.", 'Send {"dry_run": true}, or {} to buy.')
        self._pays()
        kind = TicketType.MIXNET_ENTRY
        async with self._controls.money() as money:
            if dry_run:
                async with money.quoter() as asker:
                    quote = await asker.quote(1)
                return _json(quote_fields(quote, kind) | refusal_fields(await money.refusal(quote)))

            async def agree(quote: Any) -> bool:
                refusal = await money.refusal(quote)
                if refusal is not None:
                    raise explain_refusal(refusal)
                return True

            async with self._controls.buying, money.buyer() as buyer:
                bought = await buyer.buy(kind, 1, confirm=agree)
        return _json({"bought": [purchase_fields(purchase) for purchase in bought]})

    def _pays(self) -> None:
        if not self._controls.plan().money.pay:
            raise CommandRefused(
                "Nothing is paid here: the gateway's free allowance is used.", "Set tickets.enabled to true."
            )

    # ---- orders -------------------------------------------------------------------------------------------

    async def reload(self, _request: web.Request) -> web.StreamResponse:
        return self._told(self._controls.reload, "reloading")

    async def drain(self, _request: web.Request) -> web.StreamResponse:
        return self._told(self._controls.end, "draining")

    @staticmethod
    def _told(order: Callable[[], None] | None, doing: str) -> web.StreamResponse:
        if order is None:
            raise CommandRefused(
                "This proxy is part of another program, which alone can do that.", "Ask that program."
            )
        # After the answer has been written: the end of all this closes the connection.
        asyncio.get_running_loop().call_later(0.05, order)
        log.info("control.ordered", order=doing)
        return _json({doing: True}, status=202)

    # ---- events -------------------------------------------------------------------------------------------

    async def events(self, request: web.Request) -> web.StreamResponse:
        controls = self._controls
        if controls.listeners >= MOST_LISTENERS:
            raise web.HTTPServiceUnavailable(text=f"{MOST_LISTENERS} listen to events already.\n")
        controls.listeners += 1
        try:
            response = web.StreamResponse(
                headers={"Content-Type": "text/event-stream", "Cache-Control": "no-store"}
            )
            await response.prepare(request)
            with contextlib.suppress(ConnectionResetError):
                await self._tell(response)
            return response
        finally:
            controls.listeners -= 1

    async def _tell(self, response: web.StreamResponse) -> None:
        controls, loop = self._controls, asyncio.get_running_loop()
        before = await controls.look()
        await response.write(_event("status", plain(await controls.status())))
        told = loop.time()
        while not controls.closing.is_set():
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(LOOK_SECONDS):
                    await controls.closing.wait()
            after = await controls.look()
            for event in changes(before, after):
                await response.write(_event(event.kind, {"at_unix": event.at_unix, **event.facts}))
                told = loop.time()
            before = after
            if loop.time() - told >= QUIET_SECONDS:
                await response.write(b": nothing new\n\n")
                told = loop.time()


def _event(kind: str, data: Any) -> bytes:
    return f"event: {kind}\ndata: {json.dumps(data, ensure_ascii=False)}\n\n".encode()


async def _body(request: web.Request) -> dict[str, Any]:
    text = await request.text()
    try:
        found = json.loads(text) if text.strip() else {}
    except ValueError:
        found = None
    if not isinstance(found, dict):
        raise ConfigError("The body is no JSON object.", "Send {}, say.")
    return found


# ---- several workers -----------------------------------------------------------------------------------------------


async def exits_of(folders: Sequence[Path]) -> list[ExitState]:
    """Of the workers with these data folders, those that answer."""
    return [record(ExitState, one) for one in await _gathered(folders, "/exits")]


async def logs_of(folders: Sequence[Path]) -> list[dict[str, Any]]:
    """Of this process and of the workers, in their order."""
    return sorted(
        [*RECENT, *await _gathered(folders, "/logs")], key=lambda line: str(line.get("timestamp", ""))
    )


async def _gathered(folders: Sequence[Path], path: str) -> list[Any]:
    def ask(folder: Path) -> list[Any]:
        try:
            answer = ask_folder(folder, PREFIX + path, limit_seconds=WORKER_SECONDS)
            return list(json.loads(answer.body)) if answer.status == 200 else []
        except (NotRunning, ValueError):
            return []

    answers = await asyncio.gather(*(asyncio.to_thread(ask, folder) for folder in folders))
    return [one for answer in answers for one in answer]
