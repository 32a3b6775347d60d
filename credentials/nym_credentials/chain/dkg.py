"""Messages of the coconut-dkg contract: the epoch, its threshold and the signers' keys (docs/protocol/08 §6)."""

# ruff: noqa: RUF009  (`member` declares a field, as `dataclasses.field` does)
from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import Any, ClassVar, Final

from nym_credentials.chain.json_records import (
    FLAG,
    MAX_U64,
    TEXT,
    U32,
    U64,
    ContractMessage,
    JsonRecord,
    Kind,
    decimal_text,
    dump_json,
    listed,
    load_json,
    member,
    nested,
    optional,
    parse_message,
)
from nym_credentials.errors import MalformedChainData

NANOSECONDS: Final = 1_000_000_000
DEFAULT_SHARES_PER_PAGE: Final = 10
MOST_SHARES_PER_PAGE: Final = 30
DEFAULT_DEALERS_PER_PAGE: Final = 10
MOST_DEALERS_PER_PAGE: Final = 25
RECHECK_UNINITIALISED_SECONDS: Final = 300
"""How often to look again while no key generation was ever started."""
AFTER_DEADLINE_SECONDS: Final = 1


class Phase(StrEnum):
    """What the signers are doing. Tickets are issued in `IN_PROGRESS` only."""

    WAITING_INITIALISATION = "waiting_initialisation"
    PUBLIC_KEY_SUBMISSION = "public_key_submission"
    DEALING_EXCHANGE = "dealing_exchange"
    VERIFICATION_KEY_SUBMISSION = "verification_key_submission"
    VERIFICATION_KEY_VALIDATION = "verification_key_validation"
    VERIFICATION_KEY_FINALIZATION = "verification_key_finalization"
    IN_PROGRESS = "in_progress"


_RUN: Final = (
    Phase.PUBLIC_KEY_SUBMISSION,
    Phase.DEALING_EXCHANGE,
    Phase.VERIFICATION_KEY_SUBMISSION,
    Phase.VERIFICATION_KEY_VALIDATION,
    Phase.VERIFICATION_KEY_FINALIZATION,
)
"""The phases of one key generation, in order. Each is written as an object that tells whether it is a resharing."""


@dataclass(frozen=True, slots=True)
class PhaseState:
    """A phase; ``resharing`` is None for the two phases that are written as a bare text."""

    phase: Phase
    resharing: bool | None = None

    def to_object(self) -> Any:
        """As `json` takes it."""
        return (
            self.phase.value
            if self.phase not in _RUN
            else {self.phase.value: {"resharing": bool(self.resharing)}}
        )


def _read_phase(value: Any) -> PhaseState:
    name, inner = value, None
    if isinstance(value, dict) and len(value) == 1:
        name, inner = next(iter(value.items()))
    try:
        phase = Phase(name)
    except ValueError:
        raise MalformedChainData("", "a phase of the key generation") from None
    if (phase in _RUN) != isinstance(inner, dict):
        raise MalformedChainData("", "a phase of the key generation")
    if inner is None:
        return PhaseState(phase)
    resharing = inner.get("resharing")
    if not isinstance(resharing, bool):
        raise MalformedChainData("resharing", "true or false")
    return PhaseState(phase, resharing)


PHASE: Final = Kind(_read_phase, lambda state: state.to_object())


@dataclass(frozen=True, slots=True)
class StateProgress(JsonRecord):
    """Counters of the current key generation."""

    registered_dealers: int = member(U32, default=0)
    registered_resharing_dealers: int = member(U32, default=0)
    submitted_dealings: int = member(U32, default=0)
    submitted_key_shares: int = member(U32, default=0)
    verified_keys: int = member(U32, default=0)


@dataclass(frozen=True, slots=True)
class TimeConfiguration(JsonRecord):
    """How long each phase lasts, seconds."""

    public_key_submission_time_secs: int = member(U64, default=600)
    dealing_exchange_time_secs: int = member(U64, default=300)
    verification_key_submission_time_secs: int = member(U64, default=300)
    verification_key_validation_time_secs: int = member(U64, default=60)
    verification_key_finalization_time_secs: int = member(U64, default=60)
    in_progress_time_secs: int = member(U64, default=1_209_600)

    def of(self, phase: Phase) -> int:
        """Seconds of one phase; 0 while nothing was started."""
        return {
            Phase.WAITING_INITIALISATION: 0,
            Phase.PUBLIC_KEY_SUBMISSION: self.public_key_submission_time_secs,
            Phase.DEALING_EXCHANGE: self.dealing_exchange_time_secs,
            Phase.VERIFICATION_KEY_SUBMISSION: self.verification_key_submission_time_secs,
            Phase.VERIFICATION_KEY_VALIDATION: self.verification_key_validation_time_secs,
            Phase.VERIFICATION_KEY_FINALIZATION: self.verification_key_finalization_time_secs,
            Phase.IN_PROGRESS: self.in_progress_time_secs,
        }[phase]


@dataclass(frozen=True, slots=True)
class EpochState(JsonRecord):
    """The epoch as the contract has it; ``deadline`` in nanoseconds since 1970, None where there is none."""

    state: PhaseState = member(PHASE)
    epoch_id: int = member(U64)
    state_progress: StateProgress = member(nested(StateProgress), default=StateProgress())
    time_configuration: TimeConfiguration = member(nested(TimeConfiguration), default=TimeConfiguration())
    deadline: int | None = member(optional(decimal_text(MAX_U64)), default=None, also=("finish_timestamp",))

    @property
    def issuing(self) -> bool:
        """Whether signers issue tickets now."""
        return self.state.phase is Phase.IN_PROGRESS

    def seconds_until_issuing(self, now: float) -> float:
        """How long to wait before it is worth looking again; 0 when issuing. ``now`` in seconds since 1970."""
        if self.issuing:
            return 0.0
        if self.deadline is None:
            return RECHECK_UNINITIALISED_SECONDS
        later: tuple[Phase, ...] = ()
        if self.state.phase in _RUN:
            later = _RUN[_RUN.index(self.state.phase) + 1 :]
        end = self.deadline / NANOSECONDS + sum(self.time_configuration.of(phase) for phase in later)
        return max(0.0, end - now) + AFTER_DEADLINE_SECONDS


# --- queries ----------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class GetState(ContractMessage):
    """Answer: `DkgState`."""

    NAME: ClassVar = "get_state"


@dataclass(frozen=True, slots=True)
class GetCurrentEpochState(ContractMessage):
    """Answer: `EpochState`."""

    NAME: ClassVar = "get_current_epoch_state"


@dataclass(frozen=True, slots=True)
class GetEpochStateAtHeight(ContractMessage):
    """Answer: `EpochState` or null."""

    NAME: ClassVar = "get_epoch_state_at_height"
    height: int = member(U64)


@dataclass(frozen=True, slots=True)
class GetCurrentEpochThreshold(ContractMessage):
    """Answer: a number or null."""

    NAME: ClassVar = "get_current_epoch_threshold"


@dataclass(frozen=True, slots=True)
class GetEpochThreshold(ContractMessage):
    """Answer: a number, or null for an epoch without one."""

    NAME: ClassVar = "get_epoch_threshold"
    epoch_id: int = member(U64)


@dataclass(frozen=True, slots=True)
class GetVerificationKeys(ContractMessage):
    """Answer: `SharesPage`, ordered by owner."""

    NAME: ClassVar = "get_verification_keys"
    epoch_id: int = member(U64)
    limit: int | None = member(optional(U32), default=None)
    start_after: str | None = member(optional(TEXT), default=None)


@dataclass(frozen=True, slots=True)
class GetVerificationKey(ContractMessage):
    """Answer: `OneShare`."""

    NAME: ClassVar = "get_verification_key"
    epoch_id: int = member(U64)
    owner: str = member(TEXT)


@dataclass(frozen=True, slots=True)
class GetCurrentDealers(ContractMessage):
    """Answer: `DealersPage`."""

    NAME: ClassVar = "get_current_dealers"
    limit: int | None = member(optional(U32), default=None)
    start_after: str | None = member(optional(TEXT), default=None)


@dataclass(frozen=True, slots=True)
class GetEpochDealers(ContractMessage):
    """Answer: `DealersPage`."""

    NAME: ClassVar = "get_epoch_dealers"
    epoch_id: int = member(U64)
    limit: int | None = member(optional(U32), default=None)
    start_after: str | None = member(optional(TEXT), default=None)


@dataclass(frozen=True, slots=True)
class CanAdvanceState(ContractMessage):
    """Answer: `StateAdvance`."""

    NAME: ClassVar = "can_advance_state"


@dataclass(frozen=True, slots=True)
class GetCw2ContractVersion(ContractMessage):
    """Answer: `ContractVersion`."""

    NAME: ClassVar = "get_cw2_contract_version"


DKG_QUERIES: Final = {
    kind.NAME: kind
    for kind in (
        GetState,
        GetCurrentEpochState,
        GetEpochStateAtHeight,
        GetCurrentEpochThreshold,
        GetEpochThreshold,
        GetVerificationKeys,
        GetVerificationKey,
        GetCurrentDealers,
        GetEpochDealers,
        CanAdvanceState,
        GetCw2ContractVersion,
    )
}


def parse_dkg_query(text: bytes | str) -> ContractMessage:
    """One of `DKG_QUERIES`. Raises `MalformedChainData`."""
    return parse_message(text, DKG_QUERIES)


# --- answers ----------------------------------------------------------------------------------------------------


def threshold_to_json(threshold: int | None) -> bytes:
    """The answer to both threshold queries."""
    return dump_json(threshold)


def threshold_from_json(text: bytes | str) -> int | None:
    """The inverse; None for null. Raises `MalformedChainData`."""
    threshold: int | None = optional(U64).read(load_json(text))
    return threshold


@dataclass(frozen=True, slots=True)
class VerificationKeyShare(JsonRecord):
    """One signer: ``share`` is its verification key in base58, ``node_index`` (from 1) its place in the sharing."""

    share: str = member(TEXT)
    announce_address: str = member(TEXT)
    node_index: int = member(U64)
    owner: str = member(TEXT)
    epoch_id: int = member(U64)
    verified: bool = member(FLAG)


@dataclass(frozen=True, slots=True)
class OneShare(JsonRecord):
    """``share`` is None if that owner has none in that epoch."""

    owner: str = member(TEXT)
    epoch_id: int = member(U64)
    share: VerificationKeyShare | None = member(optional(nested(VerificationKeyShare)))


@dataclass(frozen=True, slots=True)
class SharesPage(JsonRecord):
    """``start_next_after`` is the last owner of the page, None on an empty one."""

    shares: tuple[VerificationKeyShare, ...] = member(listed(nested(VerificationKeyShare)))
    per_page: int = member(U64)
    start_next_after: str | None = member(optional(TEXT), default=None)


@dataclass(frozen=True, slots=True)
class Dealer(JsonRecord):
    """A participant of the key generation."""

    address: str = member(TEXT)
    bte_public_key_with_proof: str = member(TEXT)
    ed25519_identity: str = member(TEXT)
    announce_address: str = member(TEXT)
    assigned_index: int = member(U64)


@dataclass(frozen=True, slots=True)
class DealersPage(JsonRecord):
    """Dealers, ordered by address."""

    dealers: tuple[Dealer, ...] = member(listed(nested(Dealer)))
    per_page: int = member(U64)
    start_next_after: str | None = member(optional(TEXT), default=None)


@dataclass(frozen=True, slots=True)
class DkgState(JsonRecord):
    """What the contract was created with."""

    mix_denom: str = member(TEXT)
    multisig_addr: str = member(TEXT)
    group_addr: str = member(TEXT)
    key_size: int = member(U32)


@dataclass(frozen=True, slots=True)
class StateAdvance(JsonRecord):
    """Whether the next phase may begin."""

    current_state: PhaseState = member(PHASE)
    progress: StateProgress = member(nested(StateProgress))
    deadline: int | None = member(optional(decimal_text(MAX_U64)))
    reached_deadline: bool = member(FLAG)
    is_complete: bool = member(FLAG)


@dataclass(frozen=True, slots=True)
class ContractVersion(JsonRecord):
    """Name and version of the contract's code."""

    contract: str = member(TEXT)
    version: str = member(TEXT)
