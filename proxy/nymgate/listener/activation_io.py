"""Sockets that systemd opened for us, and telling it that we are ready (sd_notify(3)).

A socket unit can hold ports below 1024 and those of a restart, so that no connection is refused meanwhile. Where it
brings sockets of a name, they take the place of the addresses configured for it.
"""

import contextlib
import os
import socket
import time
from collections.abc import Mapping, MutableMapping
from dataclasses import replace
from typing import Final

import structlog

from nymgate.access.plan import refuse_exposed_host
from nymgate.errors import ListenError
from nymgate.listener.activation import VARIABLES, handed_over
from nymgate.listener.detect import Speaks
from nymgate.wiring import Plan

log = structlog.get_logger("nymgate.systemd")

READY: Final = "READY=1"
STOPPING: Final = "STOPPING=1"


class Activated:
    """The sockets that came with the process. Each is taken once; what nobody takes is closed."""

    def __init__(self, sockets: Mapping[str, list[socket.socket]] | None = None) -> None:
        self._sockets = dict(sockets or {})

    @classmethod
    def of_process(cls, environ: MutableMapping[str, str] | None = None) -> "Activated":
        """Those of this process; the variables are taken away, so that no child believes they are its own.

        Raises ListenError for a descriptor that is no listening stream socket, or has a name that means nothing.
        """
        environ = os.environ if environ is None else environ
        sockets: dict[str, list[socket.socket]] = {}
        for handed in handed_over(environ, os.getpid()):
            os.set_inheritable(handed.descriptor, False)
            sockets.setdefault(handed.name, []).append(_listening(handed.descriptor, handed.name))
        if sockets:
            for variable in VARIABLES:
                environ.pop(variable, None)
        return cls(sockets)

    def take(self, name: str) -> list[socket.socket]:
        """The sockets of that name: mixed, socks, http, metrics or web. None is left afterwards."""
        return self._sockets.pop(name, [])

    def has(self, name: str) -> bool:
        """Whether there are sockets of that name."""
        return name in self._sockets

    def close(self) -> None:
        """Close what nobody took."""
        for name, sockets in self._sockets.items():
            log.warning("socket.unused", name=name)
            for sock in sockets:
                sock.close()
        self._sockets.clear()


def in_place(plan: Plan, activated: Activated) -> tuple[Plan, list[tuple[Speaks, socket.socket]]]:
    """The plan without the addresses that sockets came in place of, and those sockets with what they speak.

    Raises ConfigError where one is reached by other machines and nothing says who may use it.
    """
    sockets: list[tuple[Speaks, socket.socket]] = []
    replaced: set[Speaks] = set()
    for name, speaks in (("mixed", Speaks.MIXED), ("socks", Speaks.SOCKS), ("http", Speaks.HTTP)):
        for sock in activated.take(name):
            if sock.family != socket.AF_UNIX:
                host, port = sock.getsockname()[:2]
                refuse_exposed_host(plan.config, host, f"systemd hands over {host}, port {port}")
            sockets.append((speaks, sock))
            replaced.add(speaks)
    metrics = activated.take("metrics")
    for sock in metrics[:1]:
        if sock.family == socket.AF_UNIX:
            raise ListenError(
                "systemd hands over a Unix socket for metrics.",
                "Use an address and a port in the socket unit.",
            )
        refuse_exposed_host(plan.config, sock.getsockname()[0], "systemd hands over a socket for metrics")
    for sock in metrics[1:]:
        log.warning("socket.unused", name="metrics")
        sock.close()
    return replace(
        plan,
        metrics_socket=metrics[0] if metrics else None,
        listen=() if Speaks.MIXED in replaced else plan.listen,
        listen_apart=tuple((speaks, () if speaks in replaced else at) for speaks, at in plan.listen_apart),
        listen_unix=tuple(entry for entry in plan.listen_unix if entry[0] not in replaced),
    ), sockets


def _listening(descriptor: int, name: str) -> socket.socket:
    try:
        sock = socket.socket(fileno=descriptor)
        listens = sock.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN)
    except OSError as error:
        raise ListenError(
            f"Descriptor {descriptor}, handed over as {name}, is no socket: {error.strerror}.",
            "Correct LISTEN_FDS, or the socket unit.",
        ) from None
    if not listens or sock.type != socket.SOCK_STREAM:
        raise ListenError(
            f"Descriptor {descriptor}, handed over as {name}, is no listening stream socket.",
            "Use ListenStream= in the socket unit, with Accept=no.",
        )
    sock.setblocking(False)
    return sock


def reloading() -> str:
    """What ``Type=notify-reload`` wants to hear before READY."""
    return f"RELOADING=1\nMONOTONIC_USEC={time.monotonic_ns() // 1000}"


def notify(state: str, environ: Mapping[str, str] | None = None) -> bool:
    """Tell the service manager, if there is one that wants to know. True if it was told."""
    place = (os.environ if environ is None else environ).get("NOTIFY_SOCKET", "")
    if not place.startswith(("/", "@")):
        return False
    address = "\0" + place[1:] if place.startswith("@") else place
    with contextlib.suppress(OSError), socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sock:
        sock.sendto(state.encode(), address)
        return True
    return False
