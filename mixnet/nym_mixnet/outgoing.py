"""Packets-to-be: one fragment on its way out, and the fate of the message it belongs to."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

from nym_sphinx import KeyRotation, Recipient, ReplySurb


class Sending:
    """What became of one message: how many of its packets are still to be acknowledged.

    An ack comes from the recipient's gateway (docs/protocol/02 §7): "acked" means delivered there, not read.
    """

    __slots__ = ("_callbacks", "_outstanding", "lost")

    def __init__(self, packets: int) -> None:
        self._outstanding = packets
        self._callbacks: list[Callable[[Sending], None]] = []
        self.lost = False

    @property
    def outstanding(self) -> int:
        """Packets neither acknowledged nor given up."""
        return self._outstanding

    @property
    def acked(self) -> bool:
        """Every packet arrived at the recipient's gateway."""
        return self._outstanding == 0 and not self.lost

    @property
    def done(self) -> bool:
        return self._outstanding == 0 or self.lost

    def add_done_callback(self, callback: Callable[[Sending], None]) -> None:
        """Call back once, when the message is acknowledged or given up (at once if it already is)."""
        if self.done:
            callback(self)
        else:
            self._callbacks.append(callback)

    def packet_acked(self) -> None:
        self._outstanding -= 1
        if self._outstanding == 0 and not self.lost:
            self._finish()

    def packet_lost(self) -> None:
        if not self.lost:
            self.lost = True
            self._finish()

    def _finish(self) -> None:
        callbacks, self._callbacks = self._callbacks, []
        for callback in callbacks:
            callback(self)


@dataclass(slots=True, eq=False)
class StoredSurb:
    """A SURB somebody gave us, with the rotation it was made in and when we got it (monotonic seconds)."""

    surb: ReplySurb = field(repr=False)
    rotation: KeyRotation
    received_at: float


@dataclass(slots=True, eq=False)
class Outgoing:
    """One fragment to send: to a known recipient, or over a SURB of whoever `sender_tag` is."""

    fragment_id: bytes
    fragment: bytes = field(repr=False)
    lane: int
    sending: Sending
    recipient: Recipient | None = None
    sender_tag: bytes | None = None
    surb: StoredSurb | None = field(default=None, repr=False)
    surb_request: bool = False
    retransmissions: int = 0
    max_retransmissions: int | None = None
    cancelled: bool = False
