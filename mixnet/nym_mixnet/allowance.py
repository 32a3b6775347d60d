"""How much the gateway still forwards for us (docs/protocol/03 §9). Pure.

The gateway states the number with every answer. It is unknown right after a registration: then packets wait
until a claim was answered, and if that claim fails they are tried all the same, because an old allowance
may survive.

What it states is behind by the packets that it has not answered yet: on a busy machine megabytes of them. They are
reckoned with when the next claim is due.
"""

from __future__ import annotations

from nym_sphinx.sizes import PacketSize

ORDINARY_PACKET_BYTES = PacketSize.REGULAR.packet_bytes


class Allowance:
    """The state of the allowance during a session; bytes."""

    def __init__(self, threshold_bytes: int) -> None:
        self._threshold = threshold_bytes
        self._required = ORDINARY_PACKET_BYTES
        self._try_anyway = False
        self.remaining: int | None = None
        self.upgrade_mode = False
        self.unanswered_packets = 0
        """Packets sent that `remaining` does not know of yet."""

    def session_started(self, remaining: int | None, *, upgrade_mode: bool) -> None:
        """`remaining`: as the gateway said, or as remembered, or None if nobody knows."""
        self._required = ORDINARY_PACKET_BYTES
        self._try_anyway = False
        self.unanswered_packets = 0
        self.stated(remaining, upgrade_mode=upgrade_mode)

    def stated(self, remaining: int | None, *, upgrade_mode: bool) -> None:
        """The gateway named the number."""
        self.remaining = remaining
        self.upgrade_mode = upgrade_mode

    def packet_refused(self, required: int, available: int) -> None:
        """A packet of `required` bytes was dropped because only `available` are left."""
        self.remaining = available
        self._required = max(required, ORDINARY_PACKET_BYTES)
        self._try_anyway = False

    def claim_failed(self) -> None:
        """No more to be had for now."""
        self._try_anyway = self.remaining is None

    @property
    def covers_packets(self) -> bool:
        """False when the gateway would drop the next packet. In upgrade mode it does not count them."""
        if self.upgrade_mode:
            return True
        if self.remaining is None:
            return self._try_anyway
        return self.remaining >= self._required

    @property
    def wants_claim(self) -> bool:
        """True below the threshold."""
        if self.upgrade_mode:
            return False
        if self.remaining is None or not self.covers_packets:
            return True
        # No more than the threshold: a gateway that leaves packets unanswered must not be paid for ever.
        on_the_way = min(self.unanswered_packets * ORDINARY_PACKET_BYTES, self._threshold)
        return self.remaining - on_the_way < self._threshold
