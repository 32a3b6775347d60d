"""What systemd says to a service it starts: which descriptors are listening sockets (sd_listen_fds(3)).

``LISTEN_FDS`` counts them from descriptor 3, ``LISTEN_PID`` names who they are for, ``LISTEN_FDNAMES`` gives each the
``FileDescriptorName=`` of its socket unit; ours are called after the keys of ``[listen]``.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from nymgate.errors import ListenError

FIRST_DESCRIPTOR: Final = 3
NAMES: Final = ("mixed", "socks", "http", "metrics", "web")
VARIABLES: Final = ("LISTEN_FDS", "LISTEN_PID", "LISTEN_FDNAMES")
_MOST: Final = 256
# What systemd calls a socket whose unit has no FileDescriptorName=, and systemd-socket-activate all of them.
_UNNAMED: Final = ("unknown", "")


@dataclass(frozen=True, slots=True)
class HandedOver:
    """A descriptor and the listener it is for."""

    descriptor: int
    name: str


def handed_over(environ: Mapping[str, str], pid: int) -> tuple[HandedOver, ...]:
    """The sockets in this process's environment. ListenError for one of an unknown name."""
    if environ.get("LISTEN_PID") != str(pid):
        return ()
    text = environ.get("LISTEN_FDS", "")
    if not text.isascii() or not text.isdigit() or not 0 < int(text) <= _MOST:
        return ()
    names = environ["LISTEN_FDNAMES"].split(":") if environ.get("LISTEN_FDNAMES") else []
    found = []
    for index in range(int(text)):
        name = names[index] if index < len(names) else ""
        if name in _UNNAMED or name.endswith(".socket"):  # the name of the unit is the default
            name = "mixed"
        if name not in NAMES:
            raise ListenError(
                f"systemd hands over a socket by the name of {name!r}.",
                f"Set FileDescriptorName= of the socket unit to one of {', '.join(NAMES)}.",
            )
        found.append(HandedOver(FIRST_DESCRIPTOR + index, name))
    return tuple(found)
