"""All that looks at a running proxy and tells about it: observer, probes, control socket, port for metrics."""

import contextlib
import time
from collections.abc import Awaitable, Callable
from types import TracebackType
from typing import TYPE_CHECKING, Self

import structlog

from nym_mixnet.tasks_io import TaskSet
from nymgate.control_io import ControlServer
from nymgate.errors import ListenError
from nymgate.exporter_io import Exporter
from nymgate.health import Health
from nymgate.observe_io import Observer
from nymgate.probe_io import Prober
from nymgate.sections.types import split_address
from nymgate.snapshot import Snapshot
from nymgate.wiring import Plan

if TYPE_CHECKING:
    from nymgate.daemon import Proxy

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


def _unix() -> float:
    return time.time()  # looked up at each call: the clock that all other parts read


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
