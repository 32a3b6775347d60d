"""Who asks for a stream, and what they said to be kept apart from others.

The listener makes one for each request; the upstream picks a mixnet identity by it (``isolation``). What an application
sent to say who it is stays here: it is never logged and never travels on to a destination.
"""

from dataclasses import dataclass, field
from typing import Final


@dataclass(frozen=True, slots=True)
class Caller:
    """An application as the listener saw it. Only the listener's name is shown."""

    listener: str
    """The address that took the connection, such as ``127.0.0.1:1080`` or ``unix:/run/nymgate.sock``."""
    peer: str | None = field(default=None, repr=False)
    """The application's IP address; None for Unix sockets."""
    user: str | None = field(default=None, repr=False)
    """The user of the users file whose password was right; None without such a file."""
    credential: str | None = field(default=None, repr=False)
    """User and password as the application sent them, joined so that no two pairs look alike: as Tor takes them, a
    token of isolation. With a users file: what stands behind the ``+`` of ``user+token``."""
    token: str | None = field(default=None, repr=False)
    """Header ``X-Tor-Stream-Isolation``."""


ANYBODY: Final = Caller("")
"""Nobody in particular: no listener was asked."""
