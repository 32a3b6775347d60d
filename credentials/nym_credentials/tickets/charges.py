"""Does the gateway credit what a ticket buys, and charge no more than was sent? (docs/protocol/03 §9.1, §9.7) Pure.

A gateway that takes tickets without raising the allowance, or that counts packets twice, would be fed one ticket after
the other. The client knows how many bytes it sent: whatever else is missing from the allowance was taken.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from nym_credentials.errors import GatewayOvercharges

PATIENCE_SECONDS: Final = 3_600.0
"""How long a gateway that overcharged gets no ticket; then one more is risked."""

BALANCE_DAYS_SECONDS: Final = 5 * 86_400.0
"""Balances are compared for so long: after six days a gateway rightly forgets them (docs/protocol/10 §5)."""

_SLACK_SHARE: Final = 10
_SLACK_BYTES: Final = 2_000_000
"""For what cannot be known to the byte. Tickets that small networks scale down to less than this are not compared at
all: an honest gateway must never be accused."""


@dataclass(frozen=True, slots=True)
class Meter:
    """What the client's link counts: the stated allowance, and bytes of packets sent since the link was made."""

    remaining: int | None
    charged: int
    link: int = 0
    """Another number for another link, whose counters begin at zero."""


@dataclass(slots=True)
class ChargeWatch:
    """The account at one gateway, as it should be.

    Packets are counted here when they are sent and there when they arrive, and megabytes can be between the two. So
    the account begins with what the gateway said of a moment when all of them had arrived: in answer to a ticket, which
    it takes up after the packets that were sent before it, or before anything was sent.
    """

    ticket_bytes: int
    missing: int = 0
    """Bytes that were taken without our having sent them, at the last look."""
    _balance: int | None = None
    _charged: int = 0
    _link: int = 0
    _since_unix: float = 0.0
    _caught_unix: float | None = None

    @property
    def slack(self) -> int:
        """Bytes that may be missing without anybody's fault."""
        return self.ticket_bytes // _SLACK_SHARE + _SLACK_BYTES

    def check(self, meter: Meter, now_unix: float) -> None:
        """Before a ticket: raises `GatewayOvercharges` if more is missing than what was sent."""
        if self._caught_unix is not None:
            if now_unix - self._caught_unix < PATIENCE_SECONDS:
                raise GatewayOvercharges(self.missing)
            self._caught_unix = self._balance = None
        recent = now_unix - self._since_unix < BALANCE_DAYS_SECONDS
        if self._balance is not None and meter.remaining is not None and self._same_link(meter) and recent:
            self._compare(self._balance - (meter.charged - self._charged), meter.remaining, now_unix)
            if self._caught_unix is not None:
                raise GatewayOvercharges(self.missing)
        else:
            self._set(meter.remaining if meter.charged == 0 else None, meter, now_unix)

    def accepted(self, available_total: int, meter: Meter, now_unix: float, *, before: Meter) -> bool:
        """After a ticket was taken: whether it was credited in full. If not, the next `check` raises.

        `before`: the meter just before the ticket was sent; what was sent since is not in `available_total`.
        """
        if self._balance is not None and self._same_link(meter):
            due = self._balance + self.ticket_bytes - (meter.charged - self._charged)
            self._compare(due, available_total, now_unix)
        self._set(available_total, before, now_unix)
        return self._caught_unix is None

    def _compare(self, due: int, stated: int, now_unix: float) -> None:
        self.missing = max(0, due - stated)
        if self.missing > self.slack and self.ticket_bytes > self.slack:
            self._caught_unix = now_unix

    def _same_link(self, meter: Meter) -> bool:
        return meter.link == self._link and meter.charged >= self._charged

    def _set(self, balance: int | None, meter: Meter, now_unix: float) -> None:
        self._balance, self._charged, self._link = balance, meter.charged, meter.link
        self._since_unix = now_unix
