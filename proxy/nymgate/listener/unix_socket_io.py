"""Listening sockets in the file system: for one user of the machine, or for those a folder's permissions let in."""

import contextlib
import errno
import os
import socket
import stat
from pathlib import Path


def bind_unix(path: Path, mode: int, backlog: int) -> tuple[socket.socket, int]:
    """A listening Unix socket at that path with that mode, and its inode; one that nobody listens on is replaced.

    Raises OSError: EADDRINUSE where somebody listens, or something else than a socket is in the way.
    """
    _clear(path)
    sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        before = os.umask(0o777)  # so that nobody can connect between bind and chmod
        try:
            sock.bind(str(path))
        finally:
            os.umask(before)
        path.chmod(mode)
        sock.listen(backlog)
    except BaseException:
        sock.close()
        raise
    return sock, path.stat().st_ino


def _clear(path: Path) -> None:
    """Remove a socket that was left behind."""
    try:
        kind = path.lstat().st_mode
    except FileNotFoundError:
        return
    if not stat.S_ISSOCK(kind):
        raise OSError(errno.EADDRINUSE, "something else than a socket is there")
    with contextlib.closing(socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)) as knock:
        knock.settimeout(1.0)
        try:
            knock.connect(str(path))
        except ConnectionRefusedError:
            path.unlink()
            return
        except BlockingIOError:
            pass  # alive, and busy
    raise OSError(errno.EADDRINUSE, "another program listens there")
