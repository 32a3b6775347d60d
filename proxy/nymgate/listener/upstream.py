"""What the listener wants from whatever carries streams: open one, write to it, be called with what comes
back.

The only implementation of the product is the mixnet (``upstream_io``). Tests and benchmarks bring null
and echo ones. There is none, and must never be one, that connects to a destination from this machine.
"""

from typing import Protocol

from nymgate.listener.caller import ANYBODY, Caller
from nymgate.listener.handshake import Target


class Consumer(Protocol):
    """The application's side of a stream, called by the upstream on the event loop."""

    def stream_data(self, data: bytes) -> None:
        """Bytes for the application, in order."""

    def stream_eof(self) -> None:
        """The destination sends nothing more."""

    def stream_ended(self) -> None:
        """The stream is over in both directions, in good order. Nothing is called after this."""

    def stream_failed(self, error: Exception) -> None:
        """The stream is over before its time. Nothing is called after this."""

    def stream_paused(self) -> None:
        """Take nothing more from the application for now."""

    def stream_resumed(self) -> None:
        """Go on taking from the application."""


class Stream(Protocol):
    """An open stream, used by the application's side on the event loop."""

    def start(self, consumer: Consumer) -> None:
        """From now on call ``consumer``; what arrived before is handed over at once."""

    def write(self, data: bytes) -> None:
        """Send; always takes all of it. ``stream_paused`` asks for a rest."""

    def write_eof(self) -> None:
        """The application sends nothing more."""

    def pause(self) -> None:
        """Call ``stream_data`` no more until ``resume``."""

    def resume(self) -> None:
        """Undo ``pause``."""

    def close(self) -> None:
        """Take nothing more, but send what was written. The consumer is called no more."""

    def abort(self) -> None:
        """The application broke off: end at once. The consumer is called no more."""


class Upstream(Protocol):
    """Opens streams."""

    async def open(self, target: Target, caller: Caller = ANYBODY) -> Stream:
        """A stream to the target for that caller, connected (or, with early success, on its way).

        Raises an error with ``socks_reply``, ``code`` and ``layer`` (``errors.StreamRefused`` or one of
        ``nym_exit``'s) within bounded time.
        """
