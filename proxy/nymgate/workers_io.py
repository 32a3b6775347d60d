"""The parent of several workers: binds the listening sockets, starts the workers and starts them again, passes signals.

It carries no stream itself. A worker that dies takes its own streams with it and nobody else's; the sockets are the
parent's too, so connections that nobody has taken yet wait for another worker.
"""

import asyncio
import contextlib
import random
import signal
import socket
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, Final, Self

import structlog

from nym_mixnet.tasks_io import TaskSet
from nym_sphinx import SYSTEM_RNG
from nymgate import wiring
from nymgate.folder_io import held_folder
from nymgate.listener.activation_io import READY, STOPPING, notify
from nymgate.listener.detect import Speaks
from nymgate.listener.server import BACKLOG, listen_error
from nymgate.listener.unix_socket import NAME
from nymgate.listener.unix_socket_io import bind_unix
from nymgate.purse.money_io import Money
from nymgate.signals_io import Signals, unless
from nymgate.units import join_address
from nymgate.watch.control_io import ControlServer
from nymgate.watch.fleet_io import Fleet
from nymgate.watch.steering_io import Controls, exits_of, logs_of, routes
from nymgate.watch.watch_io import reachable_at, serve_metrics
from nymgate.watch.web_io import WebServer, serve_web
from nymgate.workers import (
    After,
    Failed,
    Handed,
    Malformed,
    News,
    Orders,
    Ready,
    Slot,
    Up,
    decode_news,
    worker_folder,
)

log = structlog.get_logger("nymgate.workers")

MODULE: Final = "nymgate.cli.worker"
LINE_BYTES: Final = 1 << 20
KILL_AFTER_DRAIN_SECONDS: Final = 20.0
"""Leaving the mixnet in good order takes a few seconds after the last stream."""
KILL_IN_HURRY_SECONDS: Final = 10.0
LAGGARD_SECONDS: Final = 30.0
NEWS_SECONDS: Final = 5.0


class Worker:
    """A process that is running."""

    def __init__(self, process: asyncio.subprocess.Process, lifeline: socket.socket) -> None:
        self.process = process
        self.lifeline = lifeline
        self.up = False
        """Whether it understands signals."""
        self.failed: Failed | None = None

    def send(self, number: signal.Signals) -> None:
        """A signal, if it still lives."""
        with contextlib.suppress(ProcessLookupError):
            self.process.send_signal(number)


class Workers:
    """Use as an async context manager: inside, sockets are bound and workers are kept alive."""

    def __init__(
        self,
        plan: wiring.Plan,
        count: int,
        *,
        config_file: Path | None,
        flags: Mapping[str, Any],
        handed: Sequence[tuple[Speaks, socket.socket]] = (),
        rng: random.Random = SYSTEM_RNG,
    ) -> None:
        """``handed``: sockets that systemd opened, beside the plan's.
        ``config_file`` and ``flags`` are what each worker reads its configuration from, beside the environment."""
        self.plan = plan
        self.addresses: dict[Speaks, list[tuple[str, int]]] = {}
        """Where applications connect to, with the ports that the system chose."""
        self.slots = tuple(Slot(number) for number in range(1, count + 1))
        self.running: dict[int, Worker] = {}
        """By number."""
        self.ready: dict[int, Ready] = {}
        """By number: what each said when it was ready last."""
        self.metrics: tuple[str, int] | None = None
        """Where metrics of all workers are served; None if nowhere."""
        self.web: WebServer | None = None
        """The status page of all workers; None if it is nowhere."""
        self._config_file = str(config_file) if config_file is not None else None
        self._flags = dict(flags)
        self._rng = rng
        self._handed = handed
        self._sockets: list[tuple[Speaks, socket.socket]] = list(handed)
        self._unix: list[tuple[Path, int]] = []
        self._ending = asyncio.Event()
        self._hurry = False

    async def __aenter__(self) -> Self:
        self._tasks = TaskSet("workers")
        loop = asyncio.get_running_loop()
        self._all_ready: asyncio.Future[None] = loop.create_future()
        self._first_ready: asyncio.Future[None] = loop.create_future()
        async with contextlib.AsyncExitStack() as stack:
            stack.enter_context(held_folder(self.plan.folder))
            stack.callback(self._close_sockets)
            self._bind()
            fleet = Fleet(self.folders)
            control = ControlServer(self.plan.folder, snapshot=fleet.snapshot, health=fleet.health)
            self.controls = Controls(
                plan=lambda: self.plan,
                snapshot=fleet.snapshot,
                health=fleet.health,
                exits=lambda: exits_of(self.folders()),
                reachable=lambda: reachable_at(self.addresses[Speaks.MIXED], self.addresses),
                money=lambda: Money(self.plan.money),
                buying=asyncio.Lock(),
                logs=lambda: logs_of(self.folders()),
            )
            control.add(routes(self.controls))
            control.at_end(self.controls.closing.set)
            await stack.enter_async_context(control)
            self.metrics = await serve_metrics(
                self.plan, stack, fleet.snapshot, fleet.health, self.plan.access.permits
            )
            self.web = await serve_web(self.controls, stack, self.plan.access.permits)
            for slot in self.slots:
                self._tasks.spawn(self._keep(slot), name=f"worker {slot.number}")
            self._stack = stack.pop_all()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if not self._ending.is_set():
            self.end()
        limit = (
            KILL_IN_HURRY_SECONDS
            if self._hurry
            else self.plan.config.streams.drain + KILL_AFTER_DRAIN_SECONDS
        )
        if not await self.gone(limit):
            log.warning("workers.killed", count=len(self.running))
            self.pass_on(signal.SIGKILL)
            await self.gone(KILL_IN_HURRY_SECONDS)
        await self._tasks.close()
        for future in (self._all_ready, self._first_ready):
            if future.done() and not future.cancelled():
                future.exception()  # seen
        await self._stack.aclose()
        for path in self.sockets():  # of workers that could not do it themselves
            path.unlink(missing_ok=True)

    def folders(self) -> list[Path]:
        """The data folder of each worker."""
        return [worker_folder(self.plan.folder, slot.number) for slot in self.slots]

    def sockets(self) -> list[Path]:
        """The control socket of each worker."""
        return [folder / NAME for folder in self.folders()]

    async def all_ready(self) -> None:
        """Wait until streams get through in every worker. Raises the NymgateError that trying again cannot mend."""
        await asyncio.shield(self._all_ready)

    async def settled(self) -> None:
        """The same, but wait for laggards no longer than a while when one is ready."""
        await asyncio.shield(self._first_ready)
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(LAGGARD_SECONDS):
                await self.all_ready()

    def pass_on(self, number: signal.Signals) -> None:
        """Send a signal to every worker."""
        for worker in self.running.values():
            # One that is still starting reads the configuration anyway, and would die of it.
            if number is not signal.SIGHUP or worker.up:
                worker.send(number)

    def end(self) -> None:
        """Have all end in good order: open streams get their time."""
        self._ending.set()
        self.pass_on(signal.SIGTERM)

    def hurry(self) -> None:
        """Have all end at once, after :meth:`end`."""
        self._hurry = True
        self.pass_on(signal.SIGTERM)

    async def gone(self, limit_seconds: float) -> bool:
        """Wait until no worker is left; False if that takes longer."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(limit_seconds):
                await self._tasks.wait()
        return not len(self._tasks)

    # ---- one worker ---------------------------------------------------------------------------------------

    async def _keep(self, slot: Slot) -> None:
        loop = asyncio.get_running_loop()
        while not self._ending.is_set():
            started = loop.time()
            worker = await self._start(slot)
            hearing = self._tasks.spawn(self._hear(slot, worker), name=f"news of {slot.number}")
            try:
                code = await worker.process.wait()
                await asyncio.wait((hearing,), timeout=NEWS_SECONDS)  # its last words
            finally:
                hearing.cancel()
                self.running.pop(slot.number, None)
                self.ready.pop(slot.number, None)
                await asyncio.wait((hearing,))
                worker.lifeline.close()
            lived = loop.time() - started
            after, longest = slot.ended(
                ending=self._ending.is_set(), hopeless=worker.failed is not None, lived_seconds=lived
            )
            if after is After.GIVE_UP and worker.failed is not None:
                for future in (self._all_ready, self._first_ready):
                    if not future.done():
                        future.set_exception(worker.failed.error())
                return
            if after is After.NOTHING:
                return
            pause = self._rng.uniform(longest / 2, longest)
            log.warning(
                "worker.ended",
                worker=slot.number,
                exit_code=code if code >= 0 else None,
                signal=signal.Signals(-code).name if code < 0 else None,
                reason=worker.failed.what if worker.failed is not None else None,
                restart_seconds=round(pause, 1),
            )
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(pause):
                    await self._ending.wait()

    async def _start(self, slot: Slot) -> Worker:
        ours, theirs = socket.socketpair()
        with contextlib.closing(theirs):
            handed = [sock.fileno() for _speaks, sock in self._sockets]
            process = await asyncio.create_subprocess_exec(
                *(sys.executable, "-P", "-m", MODULE, str(theirs.fileno())),
                pass_fds=(*handed, theirs.fileno()),
                stdin=asyncio.subprocess.DEVNULL,
                # Ctrl-C on a terminal goes to the parent alone, which passes it on: twice would mean "at once".
                start_new_session=True,
            )
        worker = self.running[slot.number] = Worker(process, ours)
        orders = Orders(
            slot.number,
            len(self.slots),
            self._config_file,
            self._flags,
            tuple(Handed(sock.fileno(), speaks) for speaks, sock in self._sockets),
        )
        ours.setblocking(False)
        with contextlib.suppress(OSError):  # it has ended already: that is seen soon enough
            await asyncio.get_running_loop().sock_sendall(ours, orders.encode())
        if self._ending.is_set():
            worker.send(signal.SIGTERM)
        return worker

    async def _hear(self, slot: Slot, worker: Worker) -> None:
        loop = asyncio.get_running_loop()
        buffer = b""
        with contextlib.suppress(OSError):
            while data := await loop.sock_recv(worker.lifeline, LINE_BYTES):
                *lines, buffer = (buffer + data).split(b"\n")
                for line in lines:
                    try:
                        self._told(slot, worker, decode_news(line))
                    except Malformed as error:
                        log.warning("worker.unclear", worker=slot.number, reason=str(error))

    def _told(self, slot: Slot, worker: Worker, news: News) -> None:
        match news:
            case Up():
                worker.up = True
            case Failed():
                worker.failed = news
            case Ready():
                slot.was_ready = True
                self.ready[slot.number] = news
                if not self._first_ready.done():
                    self._first_ready.set_result(None)
                log.info("worker.ready", worker=slot.number, ready=len(self.ready), of=len(self.slots))
                if len(self.ready) == len(self.slots) and not self._all_ready.done():
                    self._all_ready.set_result(None)

    # ---- what is the parent's -----------------------------------------------------------------------------

    def _bind(self) -> None:
        plan = self.plan
        for speaks, addresses in ((Speaks.MIXED, plan.listen), *plan.listen_apart):
            self.addresses[speaks] = []
            for host, port in addresses:
                family = socket.AF_INET6 if ":" in host else socket.AF_INET
                try:
                    sock = socket.create_server((host, port), family=family, backlog=BACKLOG)
                except OSError as error:
                    raise listen_error(join_address(host, port), error) from error
                self._sockets.append((speaks, sock))
                self.addresses[speaks].append((host, sock.getsockname()[1]))
        for speaks, sock in self._handed:
            if sock.family != socket.AF_UNIX:
                self.addresses[speaks].append(sock.getsockname()[:2])
        for speaks, path in plan.listen_unix:
            try:
                sock, inode = bind_unix(path, int(plan.config.access.unix_mode, 8), BACKLOG)
            except OSError as error:
                raise listen_error(f"unix:{path}", error) from error
            self._sockets.append((speaks, sock))
            self._unix.append((path, inode))

    def _close_sockets(self) -> None:
        for _speaks, sock in self._sockets:
            sock.close()
        for path, inode in self._unix:
            with contextlib.suppress(OSError):
                if path.stat().st_ino == inode:  # and not a successor's
                    path.unlink()


async def run(workers: Workers, *, announce: Callable[[Workers], None], reread: Callable[[], None]) -> None:
    """Run until SIGTERM or SIGINT; SIGHUP is for ``reread`` and every worker. Raises the error that ended it before."""

    def hangup() -> None:
        reread()
        workers.pass_on(signal.SIGHUP)

    with Signals(hangup) as signals:
        async with workers:
            workers.controls.reload, workers.controls.end = hangup, signals.first.set
            notify(READY)
            log.info("listening", addresses=[join_address(*one) for one in workers.addresses[Speaks.MIXED]])
            if await unless(signals.first, workers.settled()):
                announce(workers)
                await signals.first.wait()
            log.info(
                "stopping", workers=len(workers.running), limit_seconds=workers.plan.config.streams.drain
            )
            notify(STOPPING)
            workers.end()
            limit = workers.plan.config.streams.drain + KILL_AFTER_DRAIN_SECONDS
            if not await unless(signals.second, workers.gone(limit)) or workers.running:
                log.warning("stopping.now", workers=len(workers.running))
                workers.hurry()


def shared_listeners(handed: Sequence[Handed]) -> list[tuple[Speaks, socket.socket]]:
    """The sockets that a worker was given."""
    return [(one.speaks, socket.socket(fileno=one.descriptor)) for one in handed]
