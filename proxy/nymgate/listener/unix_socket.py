"""The path of the control socket, in a form that the kernel takes.

The address of a Unix socket has room for 107 bytes, and data folders can be deeper than that. Linux knows an open
folder by a short name as well: ``/proc/self/fd/<number>``.
"""

import contextlib
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Final

NAME: Final = "control.sock"
LONGEST_BYTES: Final = 107


@contextlib.contextmanager
def socket_path(folder: Path) -> Iterator[str]:
    """The path of the socket in that folder, to bind or connect to while in here. Raises OSError."""
    path = str(folder / NAME)
    if len(os.fsencode(path)) <= LONGEST_BYTES:
        yield path
        return
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        yield f"/proc/self/fd/{descriptor}/{NAME}"
    finally:
        os.close(descriptor)
