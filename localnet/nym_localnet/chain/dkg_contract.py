"""The contract that says who the signers are (docs/protocol/08 §6).

The signers of this network get their keys from one trusted party, so nothing is dealt here: an epoch is put into
place whole, and the contract tells about it. A test may stop it in any phase, take back the verification of a share,
or let the threshold of an epoch be unknown.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Final

from nym_localnet.chain.contract import Call, Execution, Json, QueryContext, answer_query, page
from nym_localnet.chain.errors import ContractError

IN_PROGRESS: Final = "in_progress"
WAITING: Final = "waiting_initialisation"
PHASES: Final = (
    "public_key_submission",
    "dealing_exchange",
    "verification_key_submission",
    "verification_key_validation",
    "verification_key_finalization",
)
PHASE_SECONDS: Final = {
    "public_key_submission_time_secs": 600,
    "dealing_exchange_time_secs": 300,
    "verification_key_submission_time_secs": 300,
    "verification_key_validation_time_secs": 60,
    "verification_key_finalization_time_secs": 60,
    "in_progress_time_secs": 14 * 24 * 3600,
}
KEY_SIZE: Final = 5
SHARES_PAGE: Final = (10, 30)
DEALERS_PAGE: Final = (10, 25)
NANOSECONDS: Final = 1_000_000_000
CONTRACT_NAME: Final = "crates.io:nym-coconut-dkg"
CONTRACT_VERSION: Final = "0.1.0"
QUERY_TYPE: Final = "nym_coconut_dkg_common::msg::QueryMsg"


@dataclass(frozen=True, slots=True)
class KeyShare:
    """One signer of an epoch, as the contract publishes it."""

    owner: str
    node_index: int
    key: str
    """base58 of the verification key"""
    announce_address: str
    ed25519_identity: str
    """base58; signs what the signer says about itself"""
    verified: bool = True


@dataclass(frozen=True, slots=True)
class DkgEpoch:
    """The signers of an epoch. `threshold` None: not known yet."""

    epoch_id: int
    threshold: int | None
    shares: tuple[KeyShare, ...]


@dataclass(slots=True)
class _State:
    current: int = 0
    phase: str = WAITING
    resharing: bool = False
    deadline: float | None = None
    epochs: dict[int, DkgEpoch] = field(default_factory=dict)


class DkgContract:
    """Epochs, shares and dealers."""

    def __init__(self, address: str, *, denom: str, multisig: str, group: str) -> None:
        self.address = address
        self._about = {
            "mix_denom": denom, "multisig_addr": multisig, "group_addr": group, "key_size": KEY_SIZE,
        }  # fmt: skip
        self._state = _State()

    # What the test network's owner may do and look at

    @property
    def current_epoch(self) -> int:
        """The number of the epoch."""
        return self._state.current

    @property
    def in_progress(self) -> bool:
        """Whether books can be issued."""
        return self._state.phase == IN_PROGRESS

    def epoch(self, epoch_id: int) -> DkgEpoch | None:
        """One epoch that is or was."""
        return self._state.epochs.get(epoch_id)

    def begin_epoch(self, epoch: DkgEpoch, now_unix: float) -> None:
        """Make an epoch current, with its keys in place."""
        state = self._state
        state.epochs = {**state.epochs, epoch.epoch_id: epoch}
        state.current = epoch.epoch_id
        self.set_phase(IN_PROGRESS, now_unix)

    def set_phase(self, phase: str, now_unix: float, *, resharing: bool = False) -> None:
        """Stop in another phase of the key generation, or go on with `in_progress`."""
        if phase not in (IN_PROGRESS, WAITING, *PHASES):
            raise ValueError(f"no phase {phase!r} of the key generation")
        state = self._state
        state.phase, state.resharing = phase, resharing
        # A client believes a deadline even before the first key generation, where there is none.
        length = PHASE_SECONDS.get(f"{phase}_time_secs")
        state.deadline = None if length is None else float(int(now_unix) + length)

    def set_deadline(self, deadline_unix: float | None) -> None:
        """When the current phase ends."""
        self._state.deadline = deadline_unix

    def set_threshold(self, epoch_id: int, threshold: int | None) -> None:
        """Change what is known of the threshold of an epoch."""
        self._replace(replace(self._state.epochs[epoch_id], threshold=threshold))

    def set_verified(self, epoch_id: int, node_index: int, verified: bool) -> None:
        """Confirm a share, or take that back."""
        epoch = self._state.epochs[epoch_id]
        shares = tuple(
            replace(share, verified=verified) if share.node_index == node_index else share
            for share in epoch.shares
        )
        self._replace(replace(epoch, shares=shares))

    def announce(self, epoch_id: int, node_index: int, url: str) -> None:
        """Publish another address of a signer."""
        epoch = self._state.epochs[epoch_id]
        shares = tuple(
            replace(share, announce_address=url) if share.node_index == node_index else share
            for share in epoch.shares
        )
        self._replace(replace(epoch, shares=shares))

    def _replace(self, epoch: DkgEpoch) -> None:
        self._state.epochs = {**self._state.epochs, epoch.epoch_id: epoch}

    # Messages and queries

    def execute(self, call: Call) -> Execution:
        """See `Contract`."""
        raise ContractError("Unauthorized")

    def query(self, query: Mapping[str, Json], context: QueryContext) -> Json:
        """See `Contract`."""
        state = self._state
        handlers = {
            "get_state": lambda arguments: self._about,
            "get_current_epoch_state": lambda arguments: self._epoch_json(),
            "get_epoch_state_at_height": lambda arguments: (
                self._epoch_json() if int(arguments["height"]) <= context.height else None
            ),
            "get_current_epoch_threshold": lambda arguments: self._threshold(state.current),
            "get_epoch_threshold": lambda arguments: self._threshold(int(arguments["epoch_id"])),
            "get_verification_key": self._one_share,
            "get_verification_keys": self._shares_page,
            "get_current_dealers": lambda arguments: self._dealers_page(state.current, arguments),
            "get_epoch_dealers": lambda arguments: self._dealers_page(int(arguments["epoch_id"]), arguments),
            "can_advance_state": lambda arguments: self._can_advance(context),
            "get_cw2_contract_version": lambda arguments: {
                "contract": CONTRACT_NAME, "version": CONTRACT_VERSION,
            },
        }  # fmt: skip
        return answer_query(QUERY_TYPE, handlers, query)

    def _threshold(self, epoch_id: int) -> Json:
        epoch = self.epoch(epoch_id)
        return None if epoch is None else epoch.threshold

    def _sorted_shares(self, epoch_id: int) -> list[KeyShare]:
        epoch = self.epoch(epoch_id)
        return [] if epoch is None else sorted(epoch.shares, key=lambda share: share.owner)

    def _one_share(self, arguments: Mapping[str, Json]) -> Json:
        epoch_id, owner = int(arguments["epoch_id"]), arguments["owner"]
        share = next((share for share in self._sorted_shares(epoch_id) if share.owner == owner), None)
        found = None if share is None else _share_json(share, epoch_id)
        return {"owner": owner, "epoch_id": epoch_id, "share": found}

    def _shares_page(self, arguments: Mapping[str, Json]) -> Json:
        epoch_id = int(arguments["epoch_id"])
        limit = arguments.get("limit")
        found, after = page(
            self._sorted_shares(epoch_id), _owner, arguments.get("start_after"), limit, *SHARES_PAGE
        )
        per_page = min(SHARES_PAGE[0] if limit is None else int(limit), SHARES_PAGE[1])
        shares = [_share_json(share, epoch_id) for share in found]
        return {"shares": shares, "per_page": per_page, "start_next_after": after}

    def _dealers_page(self, epoch_id: int, arguments: Mapping[str, Json]) -> Json:
        limit = arguments.get("limit")
        found, after = page(
            self._sorted_shares(epoch_id), _owner, arguments.get("start_after"), limit, *DEALERS_PAGE
        )
        dealers = [
            {
                "address": share.owner,
                "bte_public_key_with_proof": "",
                "ed25519_identity": share.ed25519_identity,
                "announce_address": share.announce_address,
                "assigned_index": share.node_index,
            }
            for share in found
        ]
        per_page = min(DEALERS_PAGE[0] if limit is None else int(limit), DEALERS_PAGE[1])
        return {"dealers": dealers, "per_page": per_page, "start_next_after": after}

    def _progress(self) -> Json:
        epoch = self.epoch(self._state.current)
        shares = epoch.shares if epoch is not None and self.in_progress else ()
        return {
            "registered_dealers": len(shares),
            "registered_resharing_dealers": 0,
            "submitted_dealings": KEY_SIZE * len(shares),
            "submitted_key_shares": len(shares),
            "verified_keys": sum(share.verified for share in shares),
        }

    def _phase_json(self) -> Json:
        state = self._state
        return {state.phase: {"resharing": state.resharing}} if state.phase in PHASES else state.phase

    def _deadline_json(self) -> Json:
        deadline = self._state.deadline
        return None if deadline is None else str(int(deadline) * NANOSECONDS)

    def _epoch_json(self) -> Json:
        return {
            "state": self._phase_json(),
            "epoch_id": self._state.current,
            "state_progress": self._progress(),
            "time_configuration": PHASE_SECONDS,
            "deadline": self._deadline_json(),
        }

    def _can_advance(self, context: QueryContext) -> Json:
        deadline = self._state.deadline
        return {
            "current_state": self._phase_json(),
            "progress": self._progress(),
            "deadline": self._deadline_json(),
            "reached_deadline": deadline is not None and context.time_unix >= deadline,
            "is_complete": self.in_progress,
        }

    # State

    def snapshot(self) -> Any:
        """See `Contract`."""
        return replace(self._state)

    def restore(self, snapshot: Any) -> None:
        """See `Contract`."""
        self._state = replace(snapshot)

    def to_json(self) -> dict[str, Json]:
        """See `Contract`."""
        state = self._state
        return {
            "current": state.current,
            "phase": state.phase,
            "resharing": state.resharing,
            "deadline": state.deadline,
            "epochs": [
                [epoch.epoch_id, epoch.threshold, [_stored_share(share) for share in epoch.shares]]
                for epoch in state.epochs.values()
            ],
        }

    def load_json(self, value: dict[str, Json]) -> None:
        """See `Contract`."""
        epochs = [
            DkgEpoch(epoch_id, threshold, tuple(KeyShare(*share) for share in shares))
            for epoch_id, threshold, shares in value["epochs"]
        ]
        self._state = _State(
            current=value["current"],
            phase=value["phase"],
            resharing=value["resharing"],
            deadline=value["deadline"],
            epochs={epoch.epoch_id: epoch for epoch in epochs},
        )


def default_threshold(signers: int) -> int:
    """Two thirds, rounded up, as the contract fixes it when the dealings begin."""
    return math.ceil(2 * signers / 3)


def _owner(share: KeyShare) -> str:
    return share.owner


def _share_json(share: KeyShare, epoch_id: int) -> Json:
    return {
        "share": share.key,
        "announce_address": share.announce_address,
        "node_index": share.node_index,
        "owner": share.owner,
        "epoch_id": epoch_id,
        "verified": share.verified,
    }


def _stored_share(share: KeyShare) -> list[Json]:
    return [
        share.owner,
        share.node_index,
        share.key,
        share.announce_address,
        share.ed25519_identity,
        share.verified,
    ]
