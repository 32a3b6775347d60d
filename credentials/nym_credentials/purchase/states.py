"""The life of a purchase as a table (docs/protocol/08 §7, docs/protocol/10 §3).

A state says what is certain, and each is durable before the step that it permits: BROADCAST is written before
the transaction is sent, so SIGNED means that nothing was ever sent, and REQUESTING before the first signer sees
the request. There is no state for "stuck": a purchase that cannot go on for now stays where it is, and is taken
up again later (`Purchase.problem` says why).
"""

from __future__ import annotations

from enum import StrEnum
from typing import Final


class PurchaseState(StrEnum):
    """How far a purchase has come."""

    PLANNED = "planned"
    """The deposit's key exists; nothing was signed."""
    SIGNED = "signed"
    """The transaction is stored, and was never sent."""
    BROADCAST = "broadcast"
    """The transaction may have been sent: only the chain knows what became of it."""
    DEPOSITED = "deposited"
    """Paid: the deposit's number is known."""
    REQUESTING = "requesting"
    """The withdrawal request and its secrets are stored; signers may have seen the request."""
    ISSUED = "issued"
    """The book is in the store."""
    FAILED = "failed"
    """Nothing was paid for it, and nothing will be."""

    @property
    def finished(self) -> bool:
        """Whether nothing is left to do."""
        return self in FINISHED

    @property
    def paid(self) -> bool:
        """Whether the money is known to have left the account."""
        return self in PAID

    @property
    def may_be_paid(self) -> bool:
        """Whether money has left the account or may do so yet."""
        return self in PAID or self is PurchaseState.BROADCAST


class PurchaseEvent(StrEnum):
    """What can happen to a purchase."""

    SIGN = "sign"
    SEND = "send"
    INCLUDE = "include"
    REQUEST = "request"
    """A withdrawal request was made; again when the one before has become worthless."""
    ANSWER = "answer"
    """A signer's share has arrived."""
    ISSUE = "issue"
    NOTE = "note"
    """Why it does not go on, for people to read."""
    GIVE_UP = "give up"
    """Before anything was sent."""
    REJECT = "reject"
    """The chain has refused the transaction for good, or another one has taken its place."""


_S, _E = PurchaseState, PurchaseEvent

TRANSITIONS: Final[dict[tuple[PurchaseState, PurchaseEvent], PurchaseState]] = {
    (_S.PLANNED, _E.SIGN): _S.SIGNED,
    (_S.PLANNED, _E.GIVE_UP): _S.FAILED,
    (_S.PLANNED, _E.NOTE): _S.PLANNED,
    (_S.SIGNED, _E.SEND): _S.BROADCAST,
    (_S.SIGNED, _E.GIVE_UP): _S.FAILED,
    (_S.SIGNED, _E.NOTE): _S.SIGNED,
    (_S.BROADCAST, _E.SEND): _S.BROADCAST,
    (_S.BROADCAST, _E.INCLUDE): _S.DEPOSITED,
    (_S.BROADCAST, _E.REJECT): _S.FAILED,
    (_S.BROADCAST, _E.NOTE): _S.BROADCAST,
    (_S.DEPOSITED, _E.REQUEST): _S.REQUESTING,
    (_S.DEPOSITED, _E.NOTE): _S.DEPOSITED,
    (_S.REQUESTING, _E.REQUEST): _S.REQUESTING,
    (_S.REQUESTING, _E.ANSWER): _S.REQUESTING,
    (_S.REQUESTING, _E.ISSUE): _S.ISSUED,
    (_S.REQUESTING, _E.NOTE): _S.REQUESTING,
}
"""Everything else is a mistake of the program. A purchase that was paid can only end as ISSUED."""

FINISHED: Final = frozenset({_S.ISSUED, _S.FAILED})
PAID: Final = frozenset({_S.DEPOSITED, _S.REQUESTING, _S.ISSUED})
UNFINISHED: Final = tuple(state for state in PurchaseState if state not in FINISHED)


def next_state(state: PurchaseState, event: PurchaseEvent) -> PurchaseState:
    """The state after `event`. Raises `ValueError` for what cannot happen."""
    try:
        return TRANSITIONS[state, event]
    except KeyError:
        raise ValueError(f"a purchase that is {state} cannot {event}") from None
