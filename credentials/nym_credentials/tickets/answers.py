"""Every error answer of a gateway, and what may happen with the ticket then (docs/protocol/03 §9.4). Pure.

A refused ticket is not stored by an honest gateway, so its index would be good for another payment. But nobody can
tell honest gateways from others, and two different payments with one index reveal the user's key: a ticket whose
bytes left is never made out again (docs/protocol/10 §4.3). What can be done is to send *the same bytes* to *the same
gateway* once more while their time stamp is good: that shows nothing new, and helps where the gateway's trouble
passes.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import Final

from nym_credentials.store.records import Settlement


class Cause(StrEnum):
    """Whose doing a refusal is, which says what to do before the next ticket is risked."""

    NO_TICKET = "no_ticket"
    """It has nothing to do with a ticket."""
    REPLAY = "replay"
    """The ticket, or its pay-info, is known to the gateway already."""
    CLOCK = "clock"
    """Our clock or the gateway's is wrong."""
    GATEWAY = "gateway"
    """The gateway cannot check tickets at the moment; it passes by itself."""
    LINK = "link"
    """The request arrived damaged."""
    TICKET = "ticket"
    """The gateway holds the ticket for wrong: book, public data or this program are at fault."""
    UNKNOWN = "unknown"
    """A text that nobody has seen before."""


@dataclass(frozen=True, slots=True)
class Answer:
    """One row of the table."""

    text: str
    """Part of the gateway's message."""
    cause: Cause
    settlement: Settlement | None
    """What the ticket is settled with; None: there was no ticket in it."""
    resend: bool = False
    """Whether the same bytes may be sent to the same gateway again while they are fresh."""
    advice: str = ""


_CHECK_CLOCK: Final = "Check the clock of this machine (NTP); if it is right, use another gateway."
_WAIT: Final = "Wait, or use another gateway."
_ANOTHER: Final = "Use another gateway."

ANSWERS: Final = (
    Answer("already been spent before", Cause.REPLAY, Settlement.SPENT, advice="It counts as spent."),
    Answer("received payinfo is a duplicate", Cause.REPLAY, Settlement.REFUSED, advice="It counts as spent."),
    Answer("payinfo's timestamp is invalid", Cause.CLOCK, Settlement.REFUSED, advice=_CHECK_CLOCK),
    Answer("invalid spending date", Cause.CLOCK, Settlement.REFUSED, advice=_CHECK_CLOCK),
    Answer("payinfo's public key does not match", Cause.TICKET, Settlement.REFUSED, advice=_ANOTHER),
    Answer("DKG threshold value", Cause.GATEWAY, Settlement.REFUSED, resend=True, advice=_WAIT),
    Answer("key share hasn't been verified", Cause.GATEWAY, Settlement.REFUSED, resend=True, advice=_WAIT),
    Answer(
        "Provided binary request was malformed", Cause.LINK, Settlement.REFUSED, resend=True, advice=_ANOTHER
    ),
    Answer("provided unknown ticketbook type", Cause.TICKET, Settlement.REFUSED, advice=_ANOTHER),
    Answer("more than a single ticket", Cause.TICKET, Settlement.REFUSED, advice=_ANOTHER),
    Answer("ticket failed to get verified", Cause.TICKET, Settlement.REFUSED, advice=_ANOTHER),
    Answer("failed to verify provided ticket", Cause.TICKET, Settlement.REFUSED, advice=_ANOTHER),
    Answer(
        "only accepting coconut credentials for bandwidth",
        Cause.NO_TICKET,
        None,
        advice="This gateway has to be paid with tickets.",
    ),
    Answer("upgrade mode", Cause.NO_TICKET, None),
)
"""In the order in which they are compared. Texts: all that were seen from gateways of the network's programs."""

UNKNOWN_ANSWER: Final = Answer("", Cause.UNKNOWN, Settlement.UNKNOWN, advice=_ANOTHER)
"""For any other text: the ticket counts as spent."""


NO_REASON: Final = Answer("", Cause.UNKNOWN, Settlement.REFUSED, resend=True)
"""For a refusal whose text was not handed on, or a ticket that never left: the same bytes can do no harm."""


def answer_for(text: str) -> Answer:
    """The row for a gateway's error message; `UNKNOWN_ANSWER` if there is none."""
    for answer in ANSWERS:
        if answer.text in text:
            return answer
    return UNKNOWN_ANSWER
