"""Everything that can go wrong between a byte stream and the exit that carries it.

::

    ExitError
    ├── WireError (ValueError)        bytes that do not follow docs/protocol/05
    │   ├── MalformedBincode
    │   ├── MalformedRequest
    │   ├── MalformedResponse
    │   ├── MalformedControl
    │   └── MalformedPolicy
    ├── SequenceError                 a message the ordered buffer cannot take (docs/protocol/05 §3.3)
    │   ├── SequenceTooLarge
    │   ├── OverwriteAttempt
    │   └── AlreadyReconstructed
    ├── BadTarget (ValueError)        refused here, before anything is sent
    ├── OpenError                     a connection that never came up
    │   ├── ExitRefused               exit policy, or a name the exit cannot resolve
    │   ├── ConnectFailed             the exit tried, the target did not answer
    │   ├── ExitSilent                no answer in time
    │   ├── TargetSilent              no answer in time, though the exit is alive
    │   └── TooManyStreams            this client's own bound
    ├── StreamError                   a connection that was up and is no longer
    │   ├── StreamGap                 a message of the other side never came
    │   ├── StreamLost                a packet of ours was given up
    │   ├── StreamIdle                no sign of life from the other side
    │   │   └── ExitStalled           keep-alives of the exit are missing
    │   │       └── ExitGone          it answers no question either
    │   ├── StreamReset               the other side's connection broke
    │   ├── StreamOverflow            the local reader is too slow for what the exit sends
    │   └── StreamClosed              used after it was closed or aborted
    ├── MixnetDown                    the client below cannot send; names the layer it reports
    └── QueryRefused                  the exit answered a query with an error

Each class says which layer failed (the product's words: ``gateway``, ``mixnet``, ``exit``, ``target``),
whether the same call may succeed later, and what a proxy should answer. No text ever contains the
destination: these errors are logged.
"""

from __future__ import annotations

from typing import ClassVar

from nym_mixnet.errors import ErrorKind

# RFC 1928 §6 reply codes.
SOCKS_GENERAL_FAILURE = 0x01
SOCKS_NOT_ALLOWED = 0x02
SOCKS_NETWORK_UNREACHABLE = 0x03
SOCKS_HOST_UNREACHABLE = 0x04
SOCKS_REFUSED = 0x05
SOCKS_TTL_EXPIRED = 0x06


class ExitError(Exception):
    """Base of everything this package raises.

    Attributes:
        code: stable identifier, the same in logs, metrics and documentation.
        kind: whose fault it is.
        layer: which part of the path failed.
        retryable: whether the same call may succeed later, unchanged.
        socks_reply: RFC 1928 reply code that tells an application the same.
        http_status: the same for an HTTP proxy.
    """

    code: ClassVar[str] = "E_EXIT"
    kind: ClassVar[ErrorKind] = ErrorKind.PROTOCOL
    layer: str = "exit"
    retryable: ClassVar[bool] = False
    socks_reply: ClassVar[int] = SOCKS_GENERAL_FAILURE
    http_status: ClassVar[int] = 502


class WireError(ExitError, ValueError):
    """Bytes that do not follow the exit protocol."""

    code = "E_EXIT_PROTOCOL"


class MalformedBincode(WireError):
    """A bincode value is cut short, out of range, or followed by more bytes."""


class MalformedRequest(WireError):
    """A client-to-exit message cannot be read."""


class MalformedResponse(WireError):
    """An exit-to-client message cannot be read."""


class MalformedControl(WireError):
    """A control request or its answer cannot be read."""


class MalformedPolicy(WireError):
    """An exit policy cannot be read; the text names the offending part."""

    code = "E_POLICY_SYNTAX"


class SequenceError(ExitError):
    """A message that the ordered buffer refuses. The stream goes on without it."""

    code = "E_STREAM_SEQUENCE"


class SequenceTooLarge(SequenceError):
    """The sequence number is further ahead than the buffer holds."""


class OverwriteAttempt(SequenceError):
    """A message with this sequence number already waits; the first one is kept."""


class AlreadyReconstructed(SequenceError):
    """A message with this sequence number was delivered before."""


class BadTarget(ExitError, ValueError):
    """The destination cannot be written in the protocol; nothing was sent."""

    code = "E_BAD_TARGET"
    kind = ErrorKind.CONFIG
    layer = "target"
    http_status = 400


class OpenError(ExitError):
    """A connection that never came up."""

    code = "E_OPEN"
    kind = ErrorKind.NETWORK


class ExitRefused(OpenError):
    """The exit will not connect: its policy forbids the destination, or the name does not resolve.

    The protocol has one answer for both (docs/protocol/05 §3.6).
    """

    code = "E_EXIT_POLICY"
    kind = ErrorKind.REFUSED
    socks_reply = SOCKS_NOT_ALLOWED
    http_status = 403

    def __init__(self) -> None:
        super().__init__(
            "the exit refuses this destination: its policy does not allow the address or port, or the "
            "name does not resolve there; check the spelling or choose an exit with another policy"
        )


class ConnectFailed(OpenError):
    """The exit tried to connect and could not."""

    code = "E_TARGET_CONNECT"
    layer = "target"
    retryable = True
    socks_reply = SOCKS_REFUSED

    def __init__(self) -> None:
        super().__init__(
            "the exit could not connect to the destination (refused or unreachable); "
            "check that the service is up and the port is right"
        )


class ExitSilent(OpenError):
    """The exit did not answer in time."""

    code = "E_EXIT_SILENT"
    retryable = True
    socks_reply = SOCKS_TTL_EXPIRED
    http_status = 504

    def __init__(self, what: str, seconds: float) -> None:
        super().__init__(
            f"the exit did not answer {what} within {seconds:g} s; "
            "it may be down or overloaded: try again or choose another exit"
        )


class TargetSilent(OpenError):
    """The exit is alive, and its attempt to connect has come to nothing in time.

    The protocol has no word for it: an exit of the reference waits as long as its operating system does.
    """

    code = "E_TARGET_SILENT"
    layer = "target"
    retryable = True
    socks_reply = SOCKS_HOST_UNREACHABLE
    http_status = 504

    def __init__(self, seconds: float) -> None:
        super().__init__(
            f"the destination did not answer the exit within {seconds:g} s, and the exit is well; "
            "check that the address is right and the machine is up"
        )


class TooManyStreams(OpenError):
    """This client carries as many streams as it is allowed to."""

    code = "E_TOO_MANY_STREAMS"
    kind = ErrorKind.EXHAUSTED
    retryable = True
    http_status = 503

    def __init__(self, limit: int) -> None:
        super().__init__(f"{limit} streams are open, the limit of this client; close some or raise the limit")


class StreamError(ExitError):
    """A connection that was up and is no longer."""

    code = "E_STREAM"
    kind = ErrorKind.NETWORK
    retryable = True


class StreamGap(StreamError):
    """Later messages arrived, one before them did not, and waiting longer would not bring it.

    Packets that a gateway acknowledged and then lost are never sent again (docs/protocol/03 §10), so
    the hole stays for ever.
    """

    code = "E_STREAM_GAP"
    layer = "mixnet"

    def __init__(self, missing: int, held: int, seconds: float) -> None:
        super().__init__(
            f"message {missing} of the other side is missing, {held} later ones have waited for "
            f"{seconds:g} s; the stream cannot continue, open a new connection"
        )
        self.missing = missing


class StreamLost(StreamError):
    """A packet of this stream was given up after the limit of retransmissions."""

    code = "E_STREAM_LOST"
    layer = "mixnet"

    def __init__(self) -> None:
        super().__init__(
            "a packet of this stream was never acknowledged and is given up; "
            "open a new connection, and look at the mixnet's loss if it happens again"
        )


class StreamIdle(StreamError):
    """Nothing at all came from the other side for the idle limit, not even a keep-alive."""

    code = "E_STREAM_IDLE"

    def __init__(self, seconds: float) -> None:
        super().__init__(
            f"nothing came from the other side for {seconds:g} s, not even a keep-alive; "
            "open a new connection"
        )


class ExitStalled(StreamIdle):
    """The exit has missed its keep-alives: it, or its way to its gateway, has stalled, or it was started anew.

    Our packets are acknowledged meanwhile, or the stream would have ended as lost: it is not our side.
    """

    code = "E_EXIT_STALLED"

    def __init__(self, seconds: float, keepalive_seconds: float) -> None:
        StreamError.__init__(
            self,
            f"the exit has sent nothing for {seconds:g} s, though it sends a keep-alive every "
            f"{keepalive_seconds:g} s: it has stalled or lost its gateway; open a new connection or choose "
            "another exit",
        )


class ExitGone(ExitStalled):
    """The exit says nothing at all, not even to questions about its health."""

    def __init__(self, seconds: float) -> None:
        StreamError.__init__(
            self,
            f"the exit has said nothing for {seconds:.0f} s, not even that it is alive when asked; "
            "open a new connection: another exit is used for it if there is one",
        )


class StreamReset(StreamError):
    """The other end ended the stream at once instead of closing it."""

    code = "E_STREAM_RESET"
    layer = "target"

    def __init__(self) -> None:
        super().__init__(
            "the connection at the other side broke off; what arrived until then is right, the rest is lost"
        )


class StreamOverflow(StreamError):
    """More arrived than the local reader took; the exit cannot be told to wait."""

    code = "E_STREAM_OVERFLOW"
    kind = ErrorKind.EXHAUSTED
    retryable = False

    def __init__(self, limit_bytes: int) -> None:
        super().__init__(
            f"more than {limit_bytes} bytes arrived that nobody read; the exit protocol cannot slow the "
            "sender down: read faster or raise the receive limit"
        )


class StreamClosed(StreamError):
    """The stream was used after it ended here."""

    code = "E_STREAM_CLOSED"
    kind = ErrorKind.INTERNAL
    retryable = False

    def __init__(self, what: str = "the stream is closed") -> None:
        super().__init__(f"{what}; open a new connection")


class MixnetDown(ExitError):
    """The mixnet client below refused or failed to send."""

    code = "E_MIXNET"
    kind = ErrorKind.NETWORK
    layer = "mixnet"
    retryable = True
    socks_reply = SOCKS_NETWORK_UNREACHABLE
    http_status = 503

    def __init__(self, cause: BaseException) -> None:
        layer = getattr(cause, "layer", None)
        if isinstance(layer, str):
            self.layer = layer
        super().__init__(f"the mixnet client cannot send ({type(cause).__name__}); wait for it to reconnect")


class QueryRefused(ExitError):
    """The exit answered a query with an error, or with an answer to something else."""

    code = "E_EXIT_QUERY"
    kind = ErrorKind.REFUSED
