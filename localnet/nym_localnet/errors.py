"""The errors of the test network.

::

    LocalnetError(Exception)
    ├── BadOptions          the options contradict each other; says which and what is allowed
    ├── StartFailed         a node or worker did not come up; says which and why
    ├── WorkerLost          a worker process ended while it was needed
    └── Refused             a gateway says no to a client; `text` is what the client gets to read
        └── TicketRefused       to a ticket
"""

from __future__ import annotations


class LocalnetError(Exception):
    """Base of all errors of this package."""


class BadOptions(LocalnetError, ValueError):
    """The options cannot describe a network."""


class StartFailed(LocalnetError):
    """A part of the network did not come up."""


class WorkerLost(LocalnetError):
    """A worker process is gone, and the nodes it hosted with it."""


class Refused(LocalnetError):
    """A request of a client is refused; the text goes to the client as it is."""

    def __init__(self, text: str) -> None:
        super().__init__(text)
        self.text = text


class TicketRefused(Refused):
    """A ticket is not accepted."""
