"""One running proxy: listeners first, then a way into the mixnet, kept until told to stop.

Listeners are bound before anything else and stay: while there is no way, streams are refused with the layer that is
missing (``identity_io``). Only what trying again cannot mend ends the proxy.
"""

import asyncio
import contextlib
import random
import socket
from collections.abc import Callable, Sequence
from pathlib import Path
from types import TracebackType
from typing import Self

import structlog

from nym_mixnet.tasks_io import TaskSet
from nym_sphinx import SYSTEM_RNG
from nymgate import wiring
from nymgate.config import Config
from nymgate.errors import NymgateError
from nymgate.folder_io import held_folder
from nymgate.listener.activation_io import READY, STOPPING, notify, reloading
from nymgate.listener.detect import Speaks
from nymgate.listener.server import SocksServer
from nymgate.logs import configure_from
from nymgate.purse.money_io import Stock
from nymgate.purse.purse_io import Purse
from nymgate.reload import Changes, compare, merge, named
from nymgate.signals_io import Signals, unless
from nymgate.units import join_address
from nymgate.watch.watch_io import Watch
from nymgate.ways.identities_io import Identities
from nymgate.ways.identity_io import Connected, Identity, Neighbours
from nymgate.ways.inside_io import inside_connector
from nymgate.ways.upstream_io import LINK_WAIT_SECONDS, MixnetUpstream

__all__ = ["Connected", "Proxy", "run"]

log = structlog.get_logger("nymgate.daemon")


class Proxy:
    """Use as an async context manager: inside, applications can connect. ``ready`` says when streams get through."""

    def __init__(
        self,
        plan: wiring.Plan,
        *,
        listeners: Sequence[tuple[Speaks, socket.socket]] | None = None,
        handed: Sequence[tuple[Speaks, socket.socket]] = (),
        rng: random.Random = SYSTEM_RNG,
    ) -> None:
        """``listeners``: sockets that listen already, shared with other processes; taken in place of the plan's.
        ``handed``: sockets that systemd opened for this process alone, beside the plan's."""
        self.plan = plan
        self._handed = handed
        self._listeners = listeners
        self.addresses: list[tuple[str, int]] = []
        """Where applications connect to with any protocol, with the ports that the system chose."""
        self.addresses_apart: dict[Speaks, list[tuple[str, int]]] = {}
        """Where they connect to with some of them."""
        self._rng = rng
        self._hurry = False
        self.purse: Purse | None = None
        """What pays for the traffic; None where nothing does."""

    async def __aenter__(self) -> Self:
        self._tasks = TaskSet("proxy")
        async with contextlib.AsyncExitStack() as purse_stack, contextlib.AsyncExitStack() as stack:
            purse_stack.enter_context(held_folder(self.plan.folder))
            if self.plan.money.pay:
                self.purse = await purse_stack.enter_async_context(Purse(self.plan.money, rng=self._rng))
            self.identities = Identities(self.plan, self._identity)
            self.server = SocksServer(
                self.identities,
                wiring.server_options(self.plan),
                self.plan.access,
                (self.plan.shared or self.plan.folder) / "usage.sqlite",
            )
            await stack.enter_async_context(self.server)
            await self._listen()
            self.watch = await stack.enter_async_context(Watch(self))
            if self.purse is not None:
                if self.purse.money.proxy is not None:
                    self.purse.money.inside = inside_connector(self.upstream.open)
                self.purse.processes = lambda: self.plan.workers
                self._tasks.spawn(self.purse.keep(self._reached), name="purchases")
            self.identities.start()
            self._stack, self._purse_stack = stack.pop_all(), purse_stack.pop_all()
        return self

    async def _listen(self) -> None:
        if self._listeners is not None:
            self.addresses_apart = {speaks: [] for speaks, _addresses in self.plan.listen_apart}
            for speaks, sock in self._listeners:
                if sock.family != socket.AF_UNIX:
                    known = self.addresses if speaks is Speaks.MIXED else self.addresses_apart[speaks]
                    known.append(sock.getsockname()[:2])
            self._tasks.spawn(self._take_part(self._listeners), name="listen")
            return
        self.addresses = await self.server.listen(self.plan.listen)
        for speaks, addresses in self.plan.listen_apart:
            self.addresses_apart[speaks] = await self.server.listen(addresses, speaks)
        for speaks, path in self.plan.listen_unix:
            await self.server.listen_unix(path, speaks, int(self.plan.config.access.unix_mode, 8))
        for speaks, sock in self._handed:
            await self.server.adopt(sock, speaks)
            if sock.family != socket.AF_UNIX:
                known = self.addresses if speaks is Speaks.MIXED else self.addresses_apart[speaks]
                known.append(sock.getsockname()[:2])

    async def _take_part(self, listeners: Sequence[tuple[Speaks, socket.socket]]) -> None:
        """Leave connections to others until streams get through; but somebody has to refuse them in the end."""
        with contextlib.suppress(NymgateError, TimeoutError):
            async with asyncio.timeout(LINK_WAIT_SECONDS):
                await self.ready()
        for speaks, sock in listeners:
            if not self.server.draining:
                await self.server.adopt(sock, speaks)

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._tasks.close()
        await self._stack.aclose()
        for _speaks, sock in self._listeners or ():
            sock.close()
        try:
            await self.identities.close(hurry=self._hurry)
        finally:
            await self._purse_stack.aclose()  # last: the link settles its tickets while it closes

    def _identity(self, folder: Path, account: bytes, neighbours: Neighbours) -> Identity:
        return Identity(
            self.plan,
            folder,
            spender=self.purse.source_for(account or self._account()) if self.purse is not None else None,
            hide_questions=self.plan.money.proxy is not None,
            neighbours=neighbours,
            on_demand=bool(account),
            rng=self._rng,
        )

    def _account(self) -> bytes:
        """Keeps the default identities of workers apart in the store that they share."""
        return b"worker %d" % self.plan.worker if self.plan.worker else b""

    @property
    def identity(self) -> Identity:
        """The default identity, of those who ask for none of their own."""
        return self.identities.default

    @property
    def upstream(self) -> MixnetUpstream:
        """What opens streams for those who ask for no identity of their own."""
        return self.identity.upstream

    @property
    def connected(self) -> Connected | None:
        """The way in use, for those who want its numbers."""
        return self.identity.connected

    async def ready(self) -> Connected:
        """Wait until streams get through. Raises the NymgateError that trying again cannot mend."""
        return await self.identity.ready()

    def _reached(self) -> asyncio.Future[None]:
        """Done when what tickets are bought from can be reached: at once, or by way of the mixnet."""
        reached: asyncio.Future[None] = asyncio.get_running_loop().create_future()

        def arrived() -> None:
            if not reached.done():
                reached.set_result(None)

        if self.plan.money.proxy is None:
            reached.set_result(None)
        else:
            self.identity.when_ready(arrived)
        return reached

    def reload(self, config: Config) -> Changes:
        """Take over from a reread configuration what can change while running. Streams go on.

        Raises ConfigError for values that do not fit together; then everything stays as it was.
        """
        changes = compare(self.plan.config, config)
        plan = wiring.with_config(self.plan, merge(self.plan.config, config))
        self.plan = plan
        self.server.reload(wiring.server_options(plan), plan.access)
        self.identities.reload(plan)
        if self.purse is not None:
            self.purse.reload(plan.money)
        return changes

    async def drain(self, limit_seconds: float) -> bool:
        """Stop listening and let streams end; True if all did."""
        return await self.server.drain(limit_seconds)

    def hurry(self) -> None:
        """Make the end that follows take no time: nothing queued is waited for."""
        self._hurry = True


Reread = Callable[[], Config]
"""Reads the configuration again, from where it came. Raises NymgateError."""


def reload(proxy: Proxy, reread: Reread) -> None:
    """What SIGHUP asks for. A configuration that is wrong is reported, and the old one stays in force."""
    try:
        changes = proxy.reload(reread())
    except NymgateError as error:
        log.error("reload.failed", code=error.code, reason=str(error), in_force="the configuration of before")
        return
    configure_from(proxy.plan.config.log)
    log.info("reloaded", changed=named(changes.applied) or "nothing")
    if changes.waiting:
        log.warning("needs a restart: %s", named(changes.waiting))


async def run(
    plan: wiring.Plan,
    *,
    announce: Callable[[Proxy, Connected, Stock | None], None],
    reread: Reread | None = None,
    listeners: Sequence[tuple[Speaks, socket.socket]] | None = None,
    handed: Sequence[tuple[Speaks, socket.socket]] = (),
    up: Callable[[], None] = lambda: None,
) -> None:
    """Run until SIGTERM or SIGINT; SIGHUP rereads the configuration. Raises the NymgateError that ended it before.

    ``up`` is called when signals are understood; ``listeners``, ``handed``: see :class:`Proxy`.
    """
    proxy = Proxy(plan, listeners=listeners, handed=handed)
    started = False

    def hangup() -> None:
        if reread is None or not started:
            log.warning("reload.ignored", reason="still starting" if reread else "there is nothing to reread")
        else:
            notify(reloading())
            reload(proxy, reread)
            notify(READY)

    with Signals(hangup) as signals:
        up()
        async with proxy:
            started = True
            controls = proxy.watch.controls
            controls.reload, controls.end = hangup, signals.first.set
            # A worker takes part in what its parent listens on when it is ready, and not before.
            names = proxy.server.stats.listeners or [join_address(*one) for one in proxy.addresses]
            log.info("listening", addresses=list(names))
            notify(READY)
            if await unless(signals.first, proxy.ready()):
                connected = await proxy.ready()
                announce(proxy, connected, await proxy.purse.stock() if proxy.purse is not None else None)
                await signals.first.wait()
            limit = proxy.plan.config.streams.drain
            notify(STOPPING)
            log.info("stopping", open=proxy.server.open_connections, limit_seconds=limit)
            if not await unless(signals.second, proxy.drain(limit)):
                log.warning("stopping.now", open=proxy.server.open_connections)
                proxy.hurry()
