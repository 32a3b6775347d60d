"""Which hindrance an error of a purchase is, and who is at fault (docs/protocol/10 §9). Pure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from nym_credentials.errors import (
    AccountUnfunded,
    ChainError,
    CredentialsError,
    InsufficientFunds,
    IssuanceIncomplete,
    PaymentUnconfirmed,
    PurchaseConflict,
    PurchaseError,
    PurchaseUnreadable,
    QuorumMissing,
    SignersError,
    StoreError,
    StoreInUse,
    WalletError,
)
from nym_credentials.topup.hindrances import Hindrance

_HINDRANCES: Final[tuple[tuple[type[CredentialsError], Hindrance], ...]] = (
    (InsufficientFunds, Hindrance.FUNDS),
    (AccountUnfunded, Hindrance.FUNDS),
    (WalletError, Hindrance.WALLET),
    (PaymentUnconfirmed, Hindrance.UNCONFIRMED),
    (PurchaseConflict, Hindrance.ELSEWHERE),
    (PurchaseUnreadable, Hindrance.STORE),
    (StoreInUse, Hindrance.ELSEWHERE),
    (StoreError, Hindrance.STORE),
    (SignersError, Hindrance.SIGNERS),
    (ChainError, Hindrance.CHAIN),
    (PurchaseError, Hindrance.CHAIN),
)
"""The first that fits."""


@dataclass(frozen=True, slots=True)
class Fault:
    """An error as the control is told of it."""

    hindrance: Hindrance
    text: str
    parties: Mapping[str, str]
    """Signers at fault, by address, with what they did."""
    missing: int = 1
    """How many of them are needed to be well again."""


def fault_of(error: Exception) -> Fault:
    """What to tell the control. Errors from outside the package's tree are named by their class only."""
    if not isinstance(error, CredentialsError):
        return Fault(Hindrance.INTERNAL, f"Topping up failed: {type(error).__name__}.", {})
    hindrance = next((found for kind, found in _HINDRANCES if isinstance(error, kind)), Hindrance.INTERNAL)
    if isinstance(error, QuorumMissing):
        return Fault(hindrance, str(error), error.ill, max(1, error.threshold - error.well))
    if isinstance(error, IssuanceIncomplete):
        return Fault(hindrance, str(error), error.problems, max(1, error.threshold - error.shares))
    return Fault(hindrance, str(error), {})
