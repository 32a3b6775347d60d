"""The inner half of `nymgate exec`: a process that leaves the network behind and then becomes the command.

    python -P -m nymgate.apps.exec_inside_io FD

It talks to the outer half over the socket FD, a JSON object a message::

    outer                                   inner
      confinement, addresses to listen at ─►
                                          ◄─ "unshared"             in new namespaces
      "mapped"                            ─►                        users and groups are known there
                                          ◄─ "ready" + sockets      loopback is up and listens
      argv, environment: go               ─►
                                          ◄─ end of file            it is the command now
    or at any time                        ◄─ "failed": what, errno

The listening sockets belong to the namespace, whoever holds them: the outer half takes connections from them and is
the only way out. There is no route, no resolver, and nobody inside who could make one.

Names could still be asked for over Unix sockets, which belong to files and not to the network: those of the usual
resolvers are covered by empty folders.
"""

import ctypes
import fcntl
import json
import os
import signal
import socket
import struct
import sys
from typing import Any, Final

from nymgate.apps.confinement import Confinement

MESSAGE_BYTES: Final = 4 << 20
"""More than Linux takes as arguments and environment of a program by default."""

_NEW_MOUNTS: Final = 0x00020000
_NEW_USER: Final = 0x10000000
_NEW_NETWORK: Final = 0x40000000
_FLAGS: Final = {
    Confinement.USER_NAMESPACE: _NEW_USER | _NEW_NETWORK | _NEW_MOUNTS,
    Confinement.NAMESPACE: _NEW_NETWORK | _NEW_MOUNTS,
}
_MOUNTS_OF_OURS: Final = 0x4000 | 0x80000  # MS_REC | MS_SLAVE: what we mount is not seen outside
_EMPTY_MOUNT: Final = 0x1 | 0x2 | 0x4 | 0x8  # MS_RDONLY | MS_NOSUID | MS_NODEV | MS_NOEXEC
_GET_FLAGS, _SET_FLAGS, _UP = 0x8913, 0x8914, 0x1  # SIOCGIFFLAGS, SIOCSIFFLAGS, IFF_UP
_BACKLOG: Final = 1024

RESOLVERS: Final = ("/run/systemd/resolve", "/run/nscd", "/var/run/nscd", "/run/avahi-daemon", "/run/dbus")
"""Folders of sockets at which other processes look names up: systemd-resolved, nscd, Avahi, and the system bus."""


class Failure(Exception):
    """A step that the system did not allow."""

    def __init__(self, step: str, number: int) -> None:
        super().__init__(step)
        self.step = step
        self.number = number


def main(descriptor: int) -> None:
    """Follow the order, become the command. Returns only if that fails."""
    os.set_inheritable(descriptor, False)
    control = socket.socket(fileno=descriptor)
    order = receive(control)
    try:
        _become(_confine(control, order))
    except Failure as failure:
        send(control, failed=failure.step, errno=failure.number)


def send(control: socket.socket, **message: Any) -> None:
    """Tell the other half."""
    control.sendall(json.dumps(message).encode() + b"\n")


def receive(control: socket.socket) -> dict[str, Any]:
    """What the other half says; the process ends with it if it is gone."""
    data = b""
    while not data.endswith(b"\n"):
        part = control.recv(1 << 16)
        if not part:
            raise SystemExit(1)
        data += part
    message: dict[str, Any] = json.loads(data)
    return message


def _confine(control: socket.socket, order: dict[str, Any]) -> dict[str, Any]:
    """Leave the network, hand over the listeners; returns what to become."""
    confinement = Confinement(order["confinement"])
    sockets: list[socket.socket] = []
    if confinement is not Confinement.VARIABLES:
        libc = ctypes.CDLL(None, use_errno=True)
        _unshare(libc, _FLAGS[confinement])
        send(control, unshared=True)
        receive(control)
        try:
            _loopback_up()
            _cover_resolvers(libc)
            sockets = [_listener(host, port) for host, port in order["listen"]]
        except OSError as error:
            raise Failure("the network of its own cannot be set up", error.errno or 0) from error
    message = json.dumps({"ready": True}).encode() + b"\n"
    socket.send_fds(control, [message], [sock.fileno() for sock in sockets])
    for sock in sockets:
        sock.close()
    return receive(control)


def _unshare(libc: ctypes.CDLL, flags: int) -> None:
    if not hasattr(libc, "unshare"):
        raise Failure("this system has no namespaces", 0)
    if libc.unshare(flags) != 0:
        raise Failure("namespaces are not allowed here", ctypes.get_errno())


def _loopback_up() -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        request = struct.pack("16sH22x", b"lo", 0)
        _name, flags = struct.unpack("16sH22x", fcntl.ioctl(sock, _GET_FLAGS, request))
        fcntl.ioctl(sock, _SET_FLAGS, struct.pack("16sH22x", b"lo", flags | _UP))


def _cover_resolvers(libc: ctypes.CDLL) -> None:
    _mount(libc, "none", "/", None, _MOUNTS_OF_OURS)
    for folder in dict.fromkeys(os.path.realpath(path) for path in RESOLVERS):
        if os.path.isdir(folder):
            _mount(libc, "none", folder, "tmpfs", _EMPTY_MOUNT)


def _mount(libc: ctypes.CDLL, source: str, target: str, kind: str | None, flags: int) -> None:
    encoded = kind.encode() if kind is not None else None
    if libc.mount(source.encode(), os.fsencode(target), encoded, ctypes.c_ulong(flags), None) != 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))


def _listener(host: str, port: int) -> socket.socket:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    return socket.create_server((host, port), family=family, backlog=_BACKLOG)


def _become(go: dict[str, Any]) -> None:
    argv = go["argv"]
    for number in (signal.SIGPIPE, signal.SIGXFSZ):  # Python ignores them, and what is ignored stays so
        signal.signal(number, signal.SIG_DFL)
    signal.pthread_sigmask(signal.SIG_SETMASK, go["blocked"])
    try:
        os.execvpe(argv[0], argv, go["environ"])  # noqa: S606 - running what it is told to is what this is for
    except (OSError, ValueError) as error:
        raise Failure("the command cannot be started", getattr(error, "errno", None) or 0) from error


if __name__ == "__main__":
    main(int(sys.argv[1]))
