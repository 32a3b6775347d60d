"""When a ticket may be made out: midnight, clocks, debts, gateways that refuse (docs/protocol/10 §9). Pure.

A ticket that is refused is lost (`answers`), so each known reason for a refusal is looked for before one is taken.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, date, datetime
from email.utils import parsedate_to_datetime
from typing import Final

from nym_credentials.errors import ClockSkewed, GatewayInDebt, GatewayPaused
from nym_credentials.store.records import GatewayAccount
from zknym import PAY_INFO_TOLERANCE_SECONDS

SECONDS_PER_DAY: Final = 86_400

MIDNIGHT_MARGIN_SECONDS: Final = 30.0
"""On either side of 00:00 UTC, the day of a gateway whose clock is tolerably wrong may be another one."""

MAX_SKEW_SECONDS: Final = PAY_INFO_TOLERANCE_SECONDS - 10.0
"""What is left of the gateways' tolerance goes to the way there and to the gateway's own error."""

SKEW_MEMORY_SECONDS: Final = 3_600.0
"""How long a comparison of clocks is believed: clocks are set right, and machines wake from sleep."""

DOUBT_SECONDS: Final = 600.0
"""How long to wait for a comparison after a gateway refused a ticket for its time, before another one is risked."""

RESEND_SECONDS: Final = 20.0
"""How old a payment may be to be sent again: younger than the gateways' tolerance by the way there."""


def utc_day(now_unix: float) -> date:
    """The UTC day of a Unix time."""
    return datetime.fromtimestamp(now_unix, UTC).date()


def until_day_is_certain(now_unix: float, margin_seconds: float = MIDNIGHT_MARGIN_SECONDS) -> float:
    """Seconds to wait until every gateway agrees which UTC day it is; 0 for most of the day."""
    since_midnight = now_unix % SECONDS_PER_DAY
    if since_midnight < margin_seconds:
        return margin_seconds - since_midnight
    left = SECONDS_PER_DAY - since_midnight
    return left + margin_seconds if left <= margin_seconds else 0.0


@dataclass(slots=True)
class ClockWatch:
    """Compares our clock with what servers state in `Date` headers and block times."""

    max_skew_seconds: float = MAX_SKEW_SECONDS
    skew_seconds: float | None = None
    """Ours minus theirs at the last comparison; None before the first one. For metrics."""
    _compared_unix: float = 0.0
    _doubted_unix: float | None = None

    def date_header(self, value: str, sent_unix: float, received_unix: float) -> None:
        """The `Date` header of an answer to a request sent and received at our times. Rubbish is passed over."""
        try:
            stated = parsedate_to_datetime(value)
        except ValueError:
            return
        if stated.tzinfo is not None:
            self.compared(stated.timestamp(), sent_unix, received_unix)

    def compared(self, server_unix: float, sent_unix: float, received_unix: float) -> None:
        """A server stated its time, in whole seconds, between our `sent_unix` and `received_unix`."""
        earliest = sent_unix - server_unix - 1.0  # a Date header cuts fractions off
        latest = received_unix - server_unix
        # The true difference lies in between: the smallest that fits is the one that can be proven.
        self.skew_seconds = max(earliest, 0.0) if latest >= 0 else latest
        self._compared_unix = received_unix
        self._doubted_unix = None

    def doubted(self, now_unix: float) -> None:
        """A gateway refused a ticket for its time: who is wrong will show at the next comparison."""
        self._doubted_unix = now_unix

    def agrees(self, now_unix: float) -> bool:
        """Whether our clock was found right a short while ago: asked before what cannot be undone."""
        recent = abs(now_unix - self._compared_unix) <= SKEW_MEMORY_SECONDS
        return recent and self.skew_seconds is not None and abs(self.skew_seconds) <= self.max_skew_seconds

    def check(self, now_unix: float) -> None:
        """Raises `ClockSkewed` if gateways would refuse a payment of now."""
        if self._doubted_unix is not None and abs(now_unix - self._doubted_unix) < DOUBT_SECONDS:
            raise ClockSkewed(
                "A gateway refused a ticket because of its time, and no other clock was asked since.",
                "Check the clock of this machine (NTP); if it is right, use another gateway.",
            )
        skew = self.skew_seconds
        if skew is None or abs(now_unix - self._compared_unix) > SKEW_MEMORY_SECONDS:
            return
        if abs(skew) > self.max_skew_seconds:
            raise ClockSkewed(
                f"The clock of this machine is {abs(skew):.0f} s {'ahead of' if skew > 0 else 'behind'} the network's: "
                f"gateways refuse payments that are more than {PAY_INFO_TOLERANCE_SECONDS} s off.",
                "Set the clock (NTP).",
                skew_seconds=skew,
            )


DEBT_MEMORY_SECONDS: Final = 7 * SECONDS_PER_DAY
"""After that the gateway has let the balance expire (docs/protocol/10 §5)."""


def check_gateway(account: GatewayAccount, now_unix: float) -> None:
    """Raises `GatewayInDebt` or `GatewayPaused` if no ticket should be risked at that gateway now."""
    remembered = now_unix - account.changed_unix < DEBT_MEMORY_SECONDS
    if account.allowance is not None and account.allowance < 0 and remembered:
        raise GatewayInDebt(account.allowance)
    wait = account.paused_until_unix - now_unix
    if wait > 0:
        raise GatewayPaused(
            f"The gateway cost {account.refusals} ticket(s) without crediting them; the next one is risked in "
            f"{wait:.0f} s.",
            "Use another gateway if this goes on.",
            wait_seconds=wait,
        )
