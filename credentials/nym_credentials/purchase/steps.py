"""Names of what a purchase does, for whoever watches it: a progress bar, a log, a test that pulls the plug.

A persistence point is a moment between two durable writes, or between a write and the step that it permits. A
process may end at any of them, and the next one goes on from what is stored.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum
from typing import Final

from nym_credentials.purchase.records import Purchase


class Point(StrEnum):
    """The persistence points, in the order of a purchase (docs/protocol/08 §7)."""

    PLANNED = "planned"
    """1: the deposit's key is stored."""
    GLOBAL_DATA = "global-data"
    """2: key and public signatures of the epoch are stored."""
    QUORUM = "quorum"
    """2: enough signers are well; the last moment before something is signed."""
    PREPARED = "prepared"
    """3: the transaction is signed, in memory only."""
    SIGNED = "signed"
    """3: the transaction and its hash are stored."""
    SENDING = "sending"
    """4: it is stored that the transaction is about to be sent."""
    SENT = "sent"
    """4: the transaction was sent."""
    INCLUDED = "included"
    """5: its inclusion is known, in memory only."""
    DEPOSITED = "deposited"
    """5: the number of the deposit is stored."""
    REQUEST_MADE = "request-made"
    """6: the withdrawal request exists in memory only; no signer has seen it."""
    REQUESTING = "requesting"
    """6: the request and its secrets are stored."""
    SHARE_RECEIVED = "share-received"
    """7: a signer has answered; the share is in memory only."""
    SHARE_STORED = "share-stored"
    """7: the share is stored."""
    AGGREGATED = "aggregated"
    """8: the book exists in memory only."""
    ISSUED = "issued"
    """8: the book is in the store and the purchase is finished, in one write."""


PERSISTENCE_POINTS: Final = tuple(Point)

AtPoint = Callable[[Point], None]
"""Called at each persistence point."""


def nowhere(_: Point) -> None:
    """The default: nobody watches."""


class Step(StrEnum):
    """What a purchase is doing, for people."""

    CHECK = "check signers"
    PAY = "pay"
    CONFIRM = "wait for the chain"
    ISSUE = "collect shares"
    DONE = "done"


@dataclass(frozen=True, slots=True)
class Progress:
    """One step of one purchase."""

    step: Step
    purchase: Purchase
    shares: int = 0
    """Valid so far."""
    threshold: int = 0
    """Needed."""
    problem: str = ""
    """What a signer did wrong, with its address. One bad signer does not stop a purchase, but somebody should know."""


@dataclass(frozen=True, slots=True)
class Resumed:
    """What became of one purchase that was taken up again."""

    purchase: Purchase
    error: Exception | None = None
    """Why it does not go on for now; None if it is finished."""
