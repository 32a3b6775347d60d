"""All that looks at a running proxy and tells about it: observer, probes, control socket, metrics, status page."""

import contextlib
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from types import TracebackType
from typing import TYPE_CHECKING, Self

import structlog

from nym_mixnet.tasks_io import TaskSet
from nymgate.apps.reachable import Address, Reachable
from nymgate.errors import ListenError
from nymgate.exits.pool import ExitState
from nymgate.listener.detect import Speaks
from nymgate.sections.types import split_address
from nymgate.watch.control_io import ControlServer
from nymgate.watch.exporter_io import Exporter
from nymgate.watch.health import Health
from nymgate.watch.observe_io import Observer
from nymgate.watch.probe_io import Prober
from nymgate.watch.snapshot import Snapshot
from nymgate.watch.steering_io import Controls, routes
from nymgate.watch.web_io import WebServer, serve_web
from nymgate.wiring import Plan

if TYPE_CHECKING:
    from nymgate.daemon import Proxy
    from nymgate.purse.money_io import Money

log = structlog.get_logger("nymgate.watch")


class Watch:
    """Use as an async context manager around a proxy that listens."""

    def __init__(self, proxy: "Proxy") -> None:
        self._proxy = proxy
        self.observer = Observer(proxy, clock=_unix)
        self.prober = self.observer.prober = Prober(lambda: self.observer.watched().connected, clock=_unix)
        self.control = ControlServer(proxy.plan.folder, snapshot=self.observer.snapshot, health=self.health)
        """Routes can be added until it starts."""
        self.metrics: tuple[str, int] | None = None
        """Where metrics are served, with the port that the system chose; None if nowhere."""
        self.web: WebServer | None = None
        """The status page and what is beside it; None if it is nowhere."""
        self.controls = Controls(
            plan=lambda: proxy.plan,
            snapshot=self.observer.snapshot,
            health=self.health,
            exits=self._exits,
            reachable=lambda: reachable_at(proxy.addresses, proxy.addresses_apart),
            money=self._money,
            buying=proxy.purse.turn if proxy.purse is not None else contextlib.nullcontext(),
        )
        """What the control API works with; who runs the proxy says how it is reloaded and ended."""
        self.control.add(routes(self.controls))
        self.control.at_end(self.controls.closing.set)

    async def __aenter__(self) -> Self:
        async with contextlib.AsyncExitStack() as stack:
            tasks = await stack.enter_async_context(TaskSet("watch"))
            await stack.enter_async_context(self.control)
            self.metrics = await serve_metrics(
                self._proxy.plan,
                stack,
                self.observer.snapshot,
                self.health,
                lambda peer: self._proxy.server.gate.access.permits(peer),
            )
            self.web = await serve_web(
                self.controls, stack, lambda peer: self._proxy.server.gate.access.permits(peer)
            )
            tasks.spawn(self.observer.tick_for_ever(), name="observe")
            tasks.spawn(self.prober.run(), name="probe")
            tasks.spawn(self.observer.watch_balance(), name="balance")
            self._stack = stack.pop_all()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._stack.aclose()

    async def health(self) -> Health:
        """The verdict on what is known now."""
        return self.observer.health()

    async def _exits(self) -> list[ExitState]:
        return self.observer.exits()

    @contextlib.asynccontextmanager
    async def _money(self) -> AsyncIterator["Money"]:
        assert self._proxy.purse is not None
        yield self._proxy.purse.money  # the store's lock is this process's: opened twice it would be let go


def _unix() -> float:
    return time.time()  # looked up at each call: the clock that all other parts read


def reachable_at(mixed: Sequence[Address], apart: Mapping[Speaks, Sequence[Address]]) -> Reachable:
    """Where applications connect to, by what was bound."""
    return Reachable.of(mixed, apart.get(Speaks.SOCKS, ()), apart.get(Speaks.HTTP, ()))


async def serve_metrics(
    plan: Plan,
    stack: contextlib.AsyncExitStack,
    snapshot: Callable[[], Awaitable[Snapshot]],
    health: Callable[[], Awaitable[Health]],
    permits: Callable[[str], bool],
) -> tuple[str, int] | None:
    """Serve what `[listen] metrics` asks for until the stack is closed; returns where. Raises ListenError."""
    listen = plan.config.listen
    handed = plan.metrics_socket
    if handed is not None:
        host, port = handed.getsockname()[:2]
    elif listen.metrics:
        host, port = split_address(listen.metrics)
    else:
        return None
    try:
        exporter = await stack.enter_async_context(
            Exporter(host, port, snapshot=snapshot, health=health, permits=permits, sock=handed)
        )
    except ListenError as error:
        if "metrics" in listen.model_fields_set:
            raise
        # Nobody has asked for this port: a second proxy on this machine shall not fail for it.
        log.warning("metrics.off", reason=error.what, todo=error.todo)
        return None
    return exporter.address
