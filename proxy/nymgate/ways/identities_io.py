"""All mixnet identities of a proxy: the default one, and one for each key of isolation that streams came with.

Streams that arrive while their identity is being made wait for it, for as long as a stream may take to connect, and
share it. An identity without streams sleeps after ``mixnet.sleep_after``, is closed after ``isolation.keep``, and its
keys are erased after ``isolation.forget``. Where each has its keys: ``<data folder>/identities/<key>``.
"""

import asyncio
import contextlib
import os
import secrets
import shutil
import time
from collections.abc import Callable, Collection, Iterator
from pathlib import Path
from typing import Final

import structlog

from nym_mixnet.tasks_io import TaskSet
from nym_sphinx import Recipient
from nymgate.banner import identity_cost
from nymgate.errors import DataFolderError, NymgateError, Reply, StreamRefused
from nymgate.listener.caller import ANYBODY, Caller
from nymgate.listener.handshake import Target
from nymgate.ways.identity_io import Identity, Known, Neighbours
from nymgate.ways.isolation import SECRET_BYTES, Isolation, IsolationKey, Kind, Lodger, Register, Verdict
from nymgate.ways.upstream_io import UpstreamStream
from nymgate.wiring import Plan

log = structlog.get_logger("nymgate.ways.isolation")

FOLDER: Final = "identities"
SECRET_FILE: Final = "secret"  # noqa: S105 - a file's name
KNOWN_MAX_AGE_SECONDS: Final = 3600.0
"""An epoch: what a neighbour learned longer ago is asked for anew."""
FORGET_EVERY_SECONDS: Final = 6 * 3600.0

Maker = Callable[[Path, bytes, Neighbours], Identity]
"""Makes an identity with this folder, this account of tickets and these neighbours, not started."""


class Identities:
    """The listener's upstream. ``make`` builds an identity; the default one is there from the start."""

    def __init__(self, plan: Plan, make: Maker) -> None:
        self._plan = plan
        self._make = make
        self._loop = asyncio.get_running_loop()
        self._folder = plan.folder / FOLDER
        self._kinds = frozenset(Kind(kind) for kind in plan.config.isolation.by)
        self._secret: bytes | None = None
        self._loading = asyncio.Lock()
        settings = plan.config.isolation
        self._register = Register(settings.max_identities, settings.keep)
        self._identities: dict[Lodger, Identity] = {}
        self._starting: dict[Lodger, asyncio.Task[None]] = {}
        self._leaving: dict[IsolationKey, asyncio.Task[None]] = {}
        self._timer: asyncio.TimerHandle | None = None
        self._tasks = TaskSet("identities")
        self._made = 0
        self._closing = False
        self.default = make(plan.folder, b"", _Others(self, None))
        """For streams that ask for no identity of their own."""

    def __iter__(self) -> Iterator[Identity]:
        """The default identity first, then the others in the order of their making."""
        yield self.default
        yield from list(self._identities.values())

    def __len__(self) -> int:
        return 1 + len(self._identities)

    @property
    def made(self) -> int:
        """Identities made for keys since the start."""
        return self._made

    def start(self) -> None:
        """Look for the default identity's way into the mixnet."""
        self.default.start()
        self._tasks.spawn(self._forget_for_ever(), name="forget")

    async def close(self, *, hurry: bool = False) -> None:
        """Leave the mixnet with all of them."""
        self._closing = True
        if self._timer is not None:
            self._timer.cancel()
        leaving = list(self._leaving.values())
        if leaving and not hurry:
            await asyncio.wait(leaving)  # each is bounded, and a cancelled one would leave its client open
        await self._tasks.close()
        # All are closed, whatever comes of one of them.
        ends = await asyncio.gather(
            *(identity.close(hurry=hurry) for identity in self), return_exceptions=True
        )
        self._identities.clear()
        for end in ends:
            if isinstance(end, BaseException):
                raise end

    def reload(self, plan: Plan) -> None:
        """Take over what can change while running."""
        self._plan = plan
        settings = plan.config.isolation
        self._kinds = frozenset(Kind(kind) for kind in settings.by)
        self._register.most, self._register.keep_seconds = settings.max_identities, settings.keep
        for identity in self:
            identity.reload(plan)
        for lodger in self._register.surplus():
            self._close(lodger)
        self._set_timer()

    # ---- streams ------------------------------------------------------------------------------------------

    async def open(self, target: Target, caller: Caller = ANYBODY) -> UpstreamStream:
        """A stream over the caller's identity. Raises StreamRefused or an error of ``nym_exit`` in bounded time."""
        key = await self._key(caller, target)
        if key is None:
            return await self.default.upstream.open(target, caller)
        lodger = self._lodger(key)
        lodger.opened()
        try:
            return await self._identities[lodger].upstream.open(
                target, caller, over=lambda: self._stream_over(lodger)
            )
        except BaseException:
            self._stream_over(lodger)
            raise

    async def _key(self, caller: Caller, target: Target) -> IsolationKey | None:
        # Who asks for nothing needs no secret: the file is made when it is needed for the first time.
        if Isolation(self._kinds, bytes(SECRET_BYTES)).key(caller, target) is None:
            return None
        async with self._loading:
            if self._secret is None:
                try:
                    self._secret = await asyncio.to_thread(load_secret, self._folder)
                except DataFolderError as error:
                    log.error("identity.failed", layer=error.layer, code=error.code, reason=str(error))
                    raise StreamRefused(
                        error.what,
                        error.todo,
                        code="E_NO_WAY",
                        layer="proxy",
                        socks_reply=Reply.GENERAL_FAILURE,
                    ) from error
        return Isolation(self._kinds, self._secret).key(caller, target)

    def _lodger(self, key: IsolationKey) -> Lodger:
        verdict, lodger = self._register.ask(key)
        if verdict is Verdict.REFUSE or self._closing:
            raise StreamRefused(
                f"All {self._register.most} identities that streams may have of their own are in use.",
                "Close some streams, or raise [isolation] max_identities: each costs as much as a proxy of its own.",
                code="E_ISOLATION_LIMIT",
                layer="proxy",
                socks_reply=Reply.GENERAL_FAILURE,
            )
        if lodger is not None and verdict is Verdict.USE:
            return lodger
        if lodger is not None:
            self._close(lodger)
        return self._begin(key)

    def _stream_over(self, lodger: Lodger) -> None:
        lodger.closed(self._loop.time())
        if len(self._register) > self._register.most:  # the limit was lowered meanwhile
            for extra in self._register.surplus():
                self._close(extra)
        self._set_timer()

    # ---- coming and going ---------------------------------------------------------------------------------

    def _begin(self, key: IsolationKey) -> Lodger:
        lodger = self._register.admit(key, self._loop.time())
        identity = self._make(self._folder / key.folder, key.digest, _Others(self, lodger))
        self._made += 1
        identity.number = self._made
        self._identities[lodger] = identity
        self._starting[lodger] = self._tasks.spawn(self._start(lodger, identity), name="identity")
        log.info(
            "identity.made",
            identity=identity.number,
            open=len(self._identities),
            most=self._register.most,
            cost=identity_cost(self._plan.profile, pays=identity.spender is not None),
        )
        return lodger

    async def _start(self, lodger: Lodger, identity: Identity) -> None:
        """From the first attempt until it has a way, or never can have one."""
        try:
            before = self._leaving.get(lodger.key)
            if before is not None:
                await asyncio.wait((before,))  # its folder is in use until then
            await asyncio.to_thread(_prepare, identity.folder)
            identity.start()
            connected = await identity.ready()
        except NymgateError as error:
            log.warning(
                "identity.failed",
                identity=identity.number,
                layer=error.layer,
                code=error.code,
                reason=str(error),
            )
            identity.upstream.give_up(error)
            del self._starting[lodger]
            self._close(lodger)
        else:
            del self._starting[lodger]
            log.info("identity.ready", identity=identity.number, exit=str(connected.exit.recipient))

    def _close(self, lodger: Lodger) -> None:
        identity = self._identities.pop(lodger, None)
        self._register.leave(lodger)
        if identity is None:
            return
        starting = self._starting.pop(lodger, None)
        if starting is not None:
            starting.cancel()
        log.info("identity.closed", identity=identity.number, open=len(self._identities))
        before = self._leaving.get(lodger.key)
        task = self._tasks.spawn(self._leave(identity, before), name="leave")
        self._leaving[lodger.key] = task
        task.add_done_callback(lambda done: self._left(lodger.key, done))

    async def _leave(self, identity: Identity, before: asyncio.Task[None] | None) -> None:
        if before is not None:
            await asyncio.wait((before,))
        try:
            await identity.close()
        finally:
            await asyncio.to_thread(_touch, identity.folder)

    def _left(self, key: IsolationKey, task: asyncio.Task[None]) -> None:
        if self._leaving.get(key) is task:
            del self._leaving[key]

    def _set_timer(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        at = self._register.timer()
        if at is not None and not self._closing:
            self._timer = self._loop.call_at(at, self._due)

    def _due(self) -> None:
        self._timer = None
        for lodger in self._register.due(self._loop.time()):
            self._close(lodger)
        self._set_timer()

    # ---- what was used long ago ---------------------------------------------------------------------------

    async def _forget_for_ever(self) -> None:
        with contextlib.suppress(NymgateError):
            await self.default.ready()  # from here on the data folder is certainly ours
            while True:
                limit_unix = time.time() - self._plan.config.isolation.forget
                in_use = {lodger.key.folder for lodger in self._identities}
                in_use |= {key.folder for key in self._leaving}
                gone = await asyncio.to_thread(forget, self._folder, limit_unix, in_use)
                if gone:
                    log.info("identities.forgotten", count=gone)
                await asyncio.sleep(FORGET_EVERY_SECONDS)


class _Others:
    """What an identity may know of the others."""

    def __init__(self, identities: Identities, me: Lodger | None) -> None:
        self._identities = identities
        self._me = me

    def known(self) -> Known | None:
        """What the default identity learned of the network."""
        return None if self._me is None else self._identities.default.known(KNOWN_MAX_AGE_SECONDS)

    def entry(self) -> bytes | None:
        """The default identity's entry gateway."""
        if self._me is None:
            return None
        connected = self._identities.default.connected
        return connected.entry.identity if connected is not None else None

    def exits(self) -> Collection[Recipient]:
        """The exits of all others."""
        if self._me is None:
            return ()
        mine = self._identities._identities.get(self._me)
        return {
            identity.exit_in_use
            for identity in self._identities
            if identity is not mine and identity.exit_in_use is not None
        }


def load_secret(folder: Path) -> bytes:
    """What keys of isolation are made with; made at the first call, in a file for this user only."""
    path = folder / SECRET_FILE
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        if not path.exists():
            fresh = folder / f".{SECRET_FILE}.{os.getpid()}"
            fresh.unlink(missing_ok=True)
            with os.fdopen(os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file:
                file.write(secrets.token_bytes(SECRET_BYTES))
                file.flush()
                os.fsync(file.fileno())
            with contextlib.suppress(FileExistsError):
                os.link(fresh, path)  # another process may have been first
            fresh.unlink()
        secret = path.read_bytes()
    except OSError as error:
        raise _unusable(folder, error) from error
    if len(secret) != SECRET_BYTES:
        raise DataFolderError(
            f"The file {path} does not hold {SECRET_BYTES} bytes.",
            "Delete it: callers then get new identities.",
        )
    return secret


def forget(folder: Path, limit_unix: float, in_use: Collection[str]) -> int:
    """Erase the folders of identities that were used before that time; returns how many."""
    gone = 0
    if not folder.is_dir():
        return gone
    for path in folder.iterdir():
        if path.is_dir() and path.name not in in_use and path.stat().st_mtime < limit_unix:
            shutil.rmtree(path, ignore_errors=True)
            gone += 1
    return gone


def _prepare(folder: Path) -> None:
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        os.utime(folder)
    except OSError as error:
        raise _unusable(folder, error) from error


def _touch(folder: Path) -> None:
    with contextlib.suppress(OSError):
        os.utime(folder)


def _unusable(folder: Path, error: OSError) -> DataFolderError:
    return DataFolderError(
        f"The folder of identities {folder.parent if folder.name != FOLDER else folder} cannot be used: "
        f"{error.strerror}.",
        "Correct its permissions, or choose another data folder with --data-dir.",
    )
