"""The words with which signers refuse, and what a client does about each (docs/protocol/09 §1, §3.2, §6).

Refusals are plain text with status 400. Both directions: a signer takes its texts from here, a client recognises
them. What a client does not recognise counts as temporary: a deposit is paid for, so trying again costs nothing,
and giving up costs all.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import Final

NOT_A_SIGNER: Final = "this operation couldn't be completed as this nym-api is not an active ecash signer"
DATE_TOO_LATE: Final = "the provided expiration date is too late"
DATE_TOO_EARLY: Final = "the provided expiration date is too early"
DATE_MALFORMED: Final = "the provided expiration date is malformed"
NO_KEYS_YET: Final = "DKG has not finished yet in order to derive the coconut key"
DKG_RUNNING: Final = (
    "a new iteration of DKG is currently in progress. all ticket issuance is halted until that's completed"
)
SIGNATURE_WRONG: Final = "signature didn't verify correctly"
BLACKLISTED: Final = "Account linked to this public key has been blacklisted"
NO_TICKETS: Final = "this gateway hasn't submitted any tickets"
DIGEST_MISMATCH: Final = "the provided request digest does not match the hash of attached serial numbers"
FILTER_RETIRED: Final = "permanently restricted"
CACHE_EMPTY: Final = "relevant cache hasn't been initialised yet"

_UNKNOWN_DEPOSIT: Final = "could not find ecash deposit associated with id"
_CHAIN: Final = "nyxd error"
_ECASH: Final = "Compact ecash internal error"
_ED25519: Final = "could not parse Ed25519 data"


def unknown_deposit(deposit_id: int) -> str:
    """The signer's chain node does not know the deposit (yet)."""
    return f"{_UNKNOWN_DEPOSIT} {deposit_id}"


def chain_failed(why: str) -> str:
    """The signer's chain node failed."""
    return f"{_CHAIN}: {why}"


def ecash_failed(why: str) -> str:
    """The proof of a request is wrong."""
    return f"{_ECASH} - {why}"


def too_few_shares(got: int, threshold: int) -> str:
    """The signer could not gather the shares that it was to aggregate."""
    return f"could not obtain enough shares for aggregation. got {got} shares whilst the threshold is {threshold}"


def wrong_epoch(asked: int, current: int) -> str:
    """Asked for a share of an epoch that is not the current one."""
    return f"could not sign the data for epoch {asked}. our current key is for epoch {current}"


class Verdict(StrEnum):
    """What an answer other than 200 means for a purchase."""

    LATER = "later"
    """The same request may succeed at this signer in a while."""
    OTHERS = "others"
    """Not at this signer in this epoch; others may answer."""
    FATAL = "fatal"
    """This signer will never grant this request."""


_FATAL_STARTS: Final = (SIGNATURE_WRONG, BLACKLISTED, DATE_MALFORMED, _ECASH, _ED25519)
"""Not "too late": a signer whose midnight comes later than ours says so, and grants the same request a little later."""
_BAD_REQUEST: Final = 400
_UNREADABLE: Final = frozenset({413, 415, 422})
"""Statuses that say the request itself cannot be read: repeating it is useless."""
_ABSENT: Final = frozenset({404, 405, 410})


@dataclass(frozen=True, slots=True)
class Refusal:
    """An answer other than 200."""

    status: int
    text: str
    """As the signer wrote it."""

    @property
    def absent(self) -> bool:
        """Whether the signer does not have that route."""
        return self.status in _ABSENT

    @property
    def verdict(self) -> Verdict:
        """What it means for the request that was refused."""
        if self.status in _UNREADABLE:
            return Verdict.FATAL
        if self.absent or self.status < _BAD_REQUEST:
            return Verdict.OTHERS
        if self.status != _BAD_REQUEST:
            return Verdict.LATER
        if self.text.startswith(NOT_A_SIGNER):
            return Verdict.OTHERS
        return Verdict.FATAL if self.text.startswith(_FATAL_STARTS) else Verdict.LATER
