"""Everything that goes wrong between this client and the mixnet.

Each error says what happened and what helps. Its class carries three facts for callers that must map it
to a reply code, an exit status or a metric: ``kind`` (whose fault), ``layer`` (where) and ``retryable``
(whether doing the same again later can succeed). No message contains a key, a ticket or a destination.

::

    MixnetError
    ├── GatewayError                    layer "gateway"
    │   ├── GatewayUnreachable          no connection: refused, timed out, reset
    │   ├── GatewayProtocolError        the gateway said something that the protocol does not allow
    │   │   ├── MalformedGatewayMessage   one message that could not be read
    │   │   ├── HandshakeFailed           registration ended early
    │   │   └── IncompatibleVersion       no protocol version in common
    │   ├── GatewayRefused              the gateway answered "no" (``reason`` is its text)
    │   │   ├── NotRegistered             it does not know this client (any more)
    │   │   └── DuplicateSession          another live connection of this client
    │   └── LinkDown                    nothing can be sent at the moment
    │       └── OutOfBandwidth            the link is up, its allowance is used up
    ├── TopologyError                   layer "topology"
    │   ├── TopologyUnusable            a layer without nodes, no gateways
    │   ├── UnknownGateway              no such gateway in the current topology
    │   ├── NymApiError                 the directory could not be asked, or answered with an error
    │   └── MalformedTopology           a body or file is wrong; ``path`` names the field
    │       └── BadTopologyFile         it is the file that the configuration names
    ├── StoreError                      layer "store"
    │   └── StoreInUse                  another process holds the data folder
    ├── TicketError                     layer "tickets"
    │   └── NoTickets                   nothing left to pay with
    └── NoReplySurbs                    layer "mixnet": nothing to answer with
"""

from __future__ import annotations

from enum import StrEnum
from typing import ClassVar

_REASON_CHARACTERS = 300


class ErrorKind(StrEnum):
    """Whose fault an error is: a closed set, so that callers can map all of it."""

    CONFIG = "config"
    NETWORK = "network"
    PROTOCOL = "protocol"
    REFUSED = "refused"
    EXHAUSTED = "exhausted"
    INTERNAL = "internal"


def printable(text: str, limit: int = _REASON_CHARACTERS) -> str:
    """A peer's text made safe for logs: one line, no control characters, at most `limit` characters."""
    line = "".join(c if c.isprintable() else "\N{REPLACEMENT CHARACTER}" for c in text[: limit + 1])
    return line if len(line) <= limit else line[:limit] + "…"


class MixnetError(Exception):
    """Base of all errors of this package."""

    kind: ClassVar[ErrorKind] = ErrorKind.INTERNAL
    layer: ClassVar[str] = "mixnet"
    retryable: ClassVar[bool] = False


class GatewayError(MixnetError):
    """Something about the connection to the entry gateway."""

    kind = ErrorKind.NETWORK
    layer = "gateway"
    retryable = True


class GatewayUnreachable(GatewayError):
    """No connection to the gateway, or it broke."""


class GatewayProtocolError(GatewayError):
    """The gateway (or whatever answers at its address) does not follow the protocol."""

    kind = ErrorKind.PROTOCOL


class MalformedGatewayMessage(GatewayProtocolError):
    """One message that could not be read. `detail` is the text a gateway reports for it."""

    def __init__(self, detail: str) -> None:
        super().__init__(detail)
        self.detail = detail


class HandshakeFailed(GatewayProtocolError):
    """Registration ended early. `reply` is the text frame that tells the peer, if it should be told."""

    def __init__(self, message: str, *, reply: str | None = None) -> None:
        super().__init__(message)
        self.reply = reply


class IncompatibleVersion(GatewayProtocolError):
    """Client and gateway have no protocol version in common; choose another gateway or update."""

    retryable = False


class GatewayRefused(GatewayError):
    """The gateway answered with an error; `reason` is its text, shortened and made printable."""

    kind = ErrorKind.REFUSED

    def __init__(self, reason: str) -> None:
        self.reason = printable(reason)
        super().__init__(f"the gateway refused: {self.reason}")


class NotRegistered(GatewayRefused):
    """The gateway has no (or another) shared key for this client: register again."""


class DuplicateSession(GatewayRefused):
    """The gateway still holds another live connection of this client: wait, then retry."""


class LinkDown(GatewayError):
    """Nothing can be sent now: the link is being set up again, or is closed."""


class OutOfBandwidth(LinkDown):
    """The gateway forwards nothing more until the allowance is raised."""

    kind = ErrorKind.EXHAUSTED


class TopologyError(MixnetError):
    """Something about the list of nodes."""

    kind = ErrorKind.NETWORK
    layer = "topology"
    retryable = True


class TopologyUnusable(TopologyError):
    """No route can be built from this topology."""


class UnknownGateway(TopologyError):
    """A gateway that the current topology does not hold."""

    kind = ErrorKind.CONFIG


class NymApiError(TopologyError):
    """The directory could not be asked, or answered with an error."""


class MalformedTopology(TopologyError):
    """A body or file is wrong. `path` names the field, e.g. ``nodes.data[3].mix_port``; `source` where from."""

    kind = ErrorKind.PROTOCOL

    def __init__(self, path: str, problem: str, *, source: str = "") -> None:
        super().__init__(": ".join(part for part in (source, path, problem) if part))
        self.path = path
        self.problem = problem


class BadTopologyFile(MalformedTopology):
    """The file cannot be read, or is none. `source` is its path."""

    kind = ErrorKind.CONFIG


class StoreError(MixnetError):
    """The data folder cannot be used."""

    layer = "store"


class StoreInUse(StoreError):
    """Another process holds the data folder."""

    kind = ErrorKind.CONFIG
    retryable = True


class TicketError(MixnetError):
    """Something about paying the gateway."""

    kind = ErrorKind.EXHAUSTED
    layer = "tickets"
    retryable = True


class NoTickets(TicketError):
    """Nothing left to pay with."""


class NoReplySurbs(MixnetError):
    """There is nothing to answer that sender with."""

    kind = ErrorKind.EXHAUSTED
    retryable = True
