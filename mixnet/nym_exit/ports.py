"""What this package needs from the layers around it, as protocols: the mixnet client below, sockets above.

The client is ``nym_mixnet.MixnetClient``; only this much of it is used, so tests can put a network of
their own in its place.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Protocol

from nym_exit.chunking import Chunking
from nym_exit.errors import ExitError
from nym_exit.stream import Outbound
from nym_sphinx.addressing import Recipient

if TYPE_CHECKING:
    from nym_mixnet.client_io import MixnetClient
    from nym_mixnet.client_records import ReceivedMessage
    from nym_mixnet.link_state import LinkState

    def _the_real_client_fits(client: MixnetClient) -> ClientPort:
        return client


class SendingPort(Protocol):
    """The fate of one message that was handed to the mixnet client."""

    @property
    def lost(self) -> bool:
        """A packet of it was given up."""

    def add_done_callback(self, callback: Callable[[Any], None]) -> None:
        """Call back once with this object, when all packets are acknowledged or one was given up."""


class BankPort(Protocol):
    """Reply SURBs that one recipient should hold ahead of need."""

    def set_target(self, surbs: int) -> None: ...
    def stock(self) -> int: ...
    def demand(self, active: bool) -> None: ...
    def throttle(self, active: bool) -> None: ...
    def stir(self) -> None: ...
    def allow(self, surbs: int) -> None: ...


class ClientPort(Protocol):
    """The part of a mixnet client that exit clients use."""

    on_message: Callable[[ReceivedMessage], None]

    @property
    def address(self) -> Recipient: ...
    @property
    def link_state(self) -> LinkState: ...
    async def send_plain(self, recipient: Recipient, data: bytes, *, lane: int = ...) -> SendingPort: ...
    async def send_anonymous(
        self, recipient: Recipient, data: bytes, *, surbs: int, lane: int = ...
    ) -> SendingPort: ...
    def close_lane(self, lane: int) -> None: ...
    def lane_queued(self, lane: int) -> int: ...
    async def wait_lane(
        self, lane: int, *, queued_below: int | None = None, unacked_below: int | None = None
    ) -> None: ...
    def bank(self, recipient: Recipient) -> BankPort: ...


class StreamPort(Protocol):
    """Where one stream's messages go: a lane of a mixnet client, with the encoding of this side."""

    def chunking(self) -> Chunking:
        """How the next message would travel; asked before each one."""

    def queued_packets(self) -> int:
        """Packets of this stream that wait for a slot (at an exit: for a slot or for reply SURBs)."""

    async def wait_queued(self, at_most: int) -> None:
        """Return once no more than so many packets wait."""

    async def send(self, message: Outbound, chunking: Chunking) -> SendingPort:
        """Encode and queue one message; ``chunking`` is what :meth:`chunking` said for it."""

    def link_ready(self) -> bool:
        """Whether anything can arrive at the moment."""


class StreamConsumer(Protocol):
    """Who reads a stream and writes to it: the same shape as ``asyncio.Protocol`` on purpose."""

    def data_received(self, data: bytes) -> None:
        """Bytes of the other side, in order. May call ``pause_reading``."""

    def eof_received(self) -> None:
        """The other side will write no more. Called at most once, after all data."""

    def stream_ended(self, error: ExitError | None) -> None:
        """The last call of all: None after an orderly end, else why the stream broke."""

    def pause_writing(self) -> None:
        """Too much waits to be sent: please hold back (nothing is lost otherwise)."""

    def resume_writing(self) -> None:
        """Enough was sent, go on."""
