"""The outer half of `nymgate exec`: starts a command whose only way out is the proxy, and waits for it.

``exec_inside_io`` is the inner half, and describes the talk between the two. Confinements are tried from the strongest
on; what a system does not allow is an answer of the inner half, which then ends without having started anything.
"""

import asyncio
import contextlib
import errno
import json
import os
import signal
import socket
import subprocess
import sys
from collections.abc import AsyncIterator, Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from nymgate.apps.confinement import Confinement
from nymgate.apps.exec_forward_io import Forwarder
from nymgate.apps.exec_inside_io import send
from nymgate.apps.exec_plan import NOT_FOUND, NOT_STARTED, ExecPlan, exit_code
from nymgate.apps.exec_signals_io import SignalWatch
from nymgate.apps.reachable import Address, Reachable
from nymgate.config import Config
from nymgate.errors import CommandRefused, ConfigError, NetworkUnreachable, NymgateError

INNER_SECONDS: Final = 30.0
"""Start of an interpreter on a busy machine, and a few system calls."""
HELLO_SECONDS: Final = 5.0
_MAX_SOCKETS: Final = 8


class CommandNotStarted(NymgateError):
    """There is no such program, or it cannot be run. ``shell_code`` is what a shell would end with."""

    code = "E_COMMAND"

    def __init__(self, program: str, number: int) -> None:
        super().__init__(
            f"{program} cannot be started: {os.strerror(number) if number else 'bad arguments'}.",
            "Check its name, and give it after --.",
        )
        self.shell_code = NOT_FOUND if number == errno.ENOENT else NOT_STARTED


class _NotAllowed(Exception):
    """The system does not allow this confinement."""


@dataclass(slots=True)
class _Inner:
    """An inner half that is ready to become the command."""

    process: subprocess.Popen[bytes]
    control: socket.socket
    listeners: list[socket.socket]


async def speaks_proxy(address: Address) -> bool:
    """Whether a proxy takes applications there. False if nobody listens; ConfigError if it is something else."""
    try:
        async with asyncio.timeout(HELLO_SECONDS):
            reader, writer = await asyncio.open_connection(*address)
            try:
                # A request that every kind of listener of ours refuses, without a destination in it.
                writer.write(b"GET / HTTP/1.1\r\nHost: nymgate.invalid\r\n\r\n")
                answer = await reader.read(4096)
            finally:
                writer.close()
    except ConnectionRefusedError:
        return False
    except (OSError, TimeoutError):
        answer = b""
    if b"\r\nProxy-Status: nymgate" in answer:
        return True
    raise ConfigError(
        "What listens at the configured address of the proxy is no proxy of ours.",
        "Stop that program, or choose another address with --listen or [listen] mixed.",
    )


class Passing:
    """Passes signals on to the command, once there is one; before that they ask for the end."""

    def __init__(self) -> None:
        self.asked = asyncio.Event()
        self.number: int = signal.SIGTERM
        self.process: subprocess.Popen[bytes] | None = None

    def __call__(self, number: int, from_terminal: bool) -> None:
        """A signal came. The terminal's go to the whole process group, the command included."""
        if self.process is None:
            self.number = number
            self.asked.set()
        elif not from_terminal:
            self.process.send_signal(number)


@contextlib.asynccontextmanager
async def proxy_for_command(
    config: Config, folder: Path, *, wait_seconds: float, asked: asyncio.Event, say: Callable[[str], None]
) -> AsyncIterator[Reachable | None]:
    """Where the proxy is: the one that runs at the configured address, else one for the time of this context.

    None if the end was asked for before it was ready. Raises NymgateError, NetworkUnreachable if there is no way into
    the mixnet within the time.
    """
    at = _configured(config)
    if at is not None and await speaks_proxy((at.socks or at.http)[0]):
        yield at
        return
    from nymgate import wiring  # heavy, and most of the time a proxy runs already
    from nymgate.apps.private import for_itself
    from nymgate.daemon import Proxy
    from nymgate.signals_io import unless

    say("No proxy runs at the configured address: starting one for the time of the command.")
    plan = wiring.make_plan(for_itself(config), folder)
    async with Proxy(plan) as proxy:
        try:
            async with asyncio.timeout(wait_seconds):
                ready = await unless(asked, proxy.ready())
        except TimeoutError:
            layer, reason = proxy.upstream.missing
            raise NetworkUnreachable(
                f"There is no way into the mixnet yet: {reason}.",
                "The command was not started. Try again, or keep `nymgate run` running and see what it says.",
                layer=layer,
            ) from None
        yield Reachable.of(proxy.addresses, [], []) if ready else None
        proxy.hurry()  # whose streams they were is gone


def _configured(config: Config) -> Reachable | None:
    try:
        return Reachable.configured(config.listen)
    except ConfigError:  # a port that the system chooses, or Unix sockets: nothing to look for
        return None


async def run_command(
    plan: ExecPlan,
    watch: SignalWatch,
    passing: Passing,
    *,
    environ: Mapping[str, str],
    strict: bool,
    warn: Callable[[str], None],
) -> int:
    """Run the command to its end; returns its exit code as a shell would.

    ``strict``: raise CommandRefused rather than running it with nothing but variables. Raises CommandNotStarted.
    """
    inner, confinement = await _start(plan, strict=strict, warn=warn)
    try:
        async with Forwarder() as forwarder:
            await forwarder.serve(
                [(sock, route.outside) for sock, route in zip(inner.listeners, plan.routes(), strict=False)]
            )
            if passing.asked.is_set():
                return exit_code(-passing.number)
            await asyncio.to_thread(_go, inner, plan, plan.environment(environ, confinement), watch)
            passing.process = inner.process
            if passing.asked.is_set():  # in this very moment
                inner.process.send_signal(passing.number)
            return exit_code(await asyncio.to_thread(inner.process.wait))
    finally:
        _end(inner)


async def _start(plan: ExecPlan, *, strict: bool, warn: Callable[[str], None]) -> tuple[_Inner, Confinement]:
    reason = ""
    possible = (Confinement.USER_NAMESPACE, Confinement.NAMESPACE)[: 2 if os.geteuid() == 0 else 1]
    for confinement in possible:
        try:
            return await asyncio.to_thread(_prepare, plan, confinement), confinement
        except _NotAllowed as problem:
            reason = reason or str(problem)
    if strict:
        raise CommandRefused(
            f"This system does not let the command be confined: {reason}.",
            "Allow user namespaces, or leave --strict away and trust the program to follow the proxy variables.",
        )
    warn(
        f"WARNING: no network namespace ({reason}): nothing but proxy variables keeps the command from connecting "
        f"directly. --strict refuses instead."
    )
    return await asyncio.to_thread(_prepare, plan, Confinement.VARIABLES), Confinement.VARIABLES


def _prepare(plan: ExecPlan, confinement: Confinement) -> _Inner:
    """Start an inner half and bring it to where only "go" is missing. Raises _NotAllowed."""
    ours, theirs = socket.socketpair()
    with theirs:
        process = subprocess.Popen(  # noqa: S603 - our own module
            [sys.executable, "-P", "-m", "nymgate.apps.exec_inside_io", str(theirs.fileno())],
            pass_fds=(theirs.fileno(),),
        )
    inner = _Inner(process, ours, [])
    try:
        ours.settimeout(INNER_SECONDS)
        listen = [] if confinement is Confinement.VARIABLES else [route.inside for route in plan.routes()]
        send(ours, confinement=confinement, listen=listen)
        if confinement is not Confinement.VARIABLES:
            _expect(_answer(inner), "unshared")
            if confinement is Confinement.USER_NAMESPACE:
                _map_users(process.pid)
            send(ours, mapped=True)
        _expect(_answer(inner), "ready")
    except BaseException as error:
        _end(inner)
        if isinstance(error, OSError | EOFError):
            raise _NotAllowed(error.strerror if isinstance(error, OSError) else "it ended") from error
        raise
    return inner


def _answer(inner: _Inner) -> dict[str, Any]:
    """A message of the inner half, with the sockets that came along."""
    data, descriptors, _flags, _address = socket.recv_fds(inner.control, 1 << 16, _MAX_SOCKETS)
    inner.listeners += [socket.socket(fileno=descriptor) for descriptor in descriptors]
    if not data:
        raise EOFError
    message: dict[str, Any] = json.loads(data)
    return message


def _expect(message: dict[str, Any], word: str) -> None:
    if word not in message:
        number = message.get("errno")
        reason = f"{message.get('failed')}, {os.strerror(number)}" if number else str(message.get("failed"))
        raise _NotAllowed(reason)


def _map_users(pid: int) -> None:
    """Let users and groups be the same inside: all that we have for root, the own ones for others."""
    if os.geteuid() == 0:
        users, groups = (_identical(Path(f"/proc/self/{kind}_map").read_text()) for kind in ("uid", "gid"))
    else:
        Path(f"/proc/{pid}/setgroups").write_text("deny")
        users, groups = (f"{number} {number} 1\n" for number in (os.geteuid(), os.getegid()))
    Path(f"/proc/{pid}/uid_map").write_text(users)
    Path(f"/proc/{pid}/gid_map").write_text(groups)


def _identical(own_map: str) -> str:
    rows = (line.split() for line in own_map.splitlines())
    return "".join(f"{inside} {inside} {count}\n" for inside, _outside, count in rows)


def _go(inner: _Inner, plan: ExecPlan, environ: dict[str, str], watch: SignalWatch) -> None:
    """Let it become the command. Raises CommandNotStarted."""
    with contextlib.suppress(BrokenPipeError):
        blocked = [int(number) for number in watch.blocked]
        send(inner.control, argv=list(plan.argv), environ=environ, blocked=blocked)
    inner.control.settimeout(None)
    try:
        message = _answer(inner)
    except (EOFError, ConnectionResetError):
        return
    raise CommandNotStarted(plan.argv[0], message.get("errno", 0))


def _end(inner: _Inner) -> None:
    inner.control.close()
    for sock in inner.listeners:
        sock.close()
    if inner.process.poll() is None:
        inner.process.kill()
    inner.process.wait()
