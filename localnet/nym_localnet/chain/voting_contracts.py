"""The multisig and group contracts: who may vote, and proposals to redeem tickets (docs/protocol/08 §10.2, 09 §8).

Gateways insist on a multisig with an *absolute percentage* threshold before they start. Proposals exist for the
route by which older gateways had their tickets redeemed; signers look them up, nobody votes on them here.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from nym_localnet.chain.contract import Call, Execution, Json, QueryContext, answer_query, page, refused_query
from nym_localnet.chain.errors import ContractError

PERCENTAGE: Final = "0.67"
REDEMPTION_TITLE: Final = "ecash-redemption"
VOTERS_PAGE: Final = (10, 30)
MEMBER_WEIGHT: Final = 1


@dataclass(frozen=True, slots=True)
class Proposal:
    """A request to redeem tickets."""

    id: int
    title: str
    description: str
    """base58 of the digest over the serial numbers"""
    proposer: str
    tickets: int
    gateway: str


class Group:
    """The list of signers, all of weight 1."""

    def __init__(self, address: str, members: tuple[str, ...] = ()) -> None:
        self.address = address
        self.members = tuple(sorted(members))

    def execute(self, call: Call) -> Execution:
        """See `Contract`."""
        raise ContractError("Unauthorized")

    def query(self, query: Mapping[str, Json], context: QueryContext) -> Json:
        """See `Contract`."""
        handlers = {
            "admin": lambda arguments: {"admin": None},
            "total_weight": lambda arguments: {"weight": len(self.members) * MEMBER_WEIGHT},
            "list_members": self._list,
            "member": lambda arguments: {
                "weight": MEMBER_WEIGHT if arguments["addr"] in self.members else None
            },
        }
        return answer_query("nym_group_contract_common::msg::QueryMsg", handlers, query)

    def _list(self, arguments: Mapping[str, Json]) -> Json:
        found, _ = page(self.members, str, arguments.get("start_after"), arguments.get("limit"), *VOTERS_PAGE)
        return {"members": [{"addr": address, "weight": MEMBER_WEIGHT} for address in found]}

    def snapshot(self) -> Any:
        """See `Contract`."""
        return self.members

    def restore(self, snapshot: Any) -> None:
        """See `Contract`."""
        self.members = snapshot

    def to_json(self) -> dict[str, Json]:
        """See `Contract`."""
        return {"members": list(self.members)}

    def load_json(self, value: dict[str, Json]) -> None:
        """See `Contract`."""
        self.members = tuple(value["members"])


class Multisig:
    """Threshold and proposals. `threshold_answer` may be replaced, to try how gateways take other kinds."""

    def __init__(self, address: str, group: Group) -> None:
        self.address = address
        self._group = group
        self._proposals: tuple[Proposal, ...] = ()
        self.threshold_answer: Json = None
        """None answers with the percentage"""

    def propose_redemption(self, proposer: str, commitment: str, tickets: int, gateway: str) -> int:
        """What the ecash contract does for a gateway; the number of the proposal, from 1."""
        proposal_id = len(self._proposals) + 1
        proposal = Proposal(proposal_id, REDEMPTION_TITLE, commitment, proposer, tickets, gateway)
        self._proposals = (*self._proposals, proposal)
        return proposal_id

    def proposal(self, proposal_id: int) -> Proposal | None:
        """None for an unknown number."""
        return self._proposals[proposal_id - 1] if 1 <= proposal_id <= len(self._proposals) else None

    def execute(self, call: Call) -> Execution:
        """See `Contract`."""
        raise ContractError("Unauthorized")

    def query(self, query: Mapping[str, Json], context: QueryContext) -> Json:
        """See `Contract`."""
        handlers = {
            "threshold": lambda arguments: self._threshold(),
            "proposal": lambda arguments: self._proposal_json(int(arguments["proposal_id"])),
            "list_voters": self._voters,
            "voter": lambda arguments: {
                "weight": MEMBER_WEIGHT if arguments["address"] in self._group.members else None
            },
        }
        return answer_query("nym_multisig_contract_common::msg::QueryMsg", handlers, query)

    def _threshold(self) -> Json:
        if self.threshold_answer is not None:
            return self.threshold_answer
        total = len(self._group.members) * MEMBER_WEIGHT
        return {"absolute_percentage": {"percentage": PERCENTAGE, "total_weight": total}}

    def _voters(self, arguments: Mapping[str, Json]) -> Json:
        found, _ = page(
            self._group.members, str, arguments.get("start_after"), arguments.get("limit"), *VOTERS_PAGE
        )
        return {"voters": [{"addr": address, "weight": MEMBER_WEIGHT} for address in found]}

    def _proposal_json(self, proposal_id: int) -> Json:
        proposal = self.proposal(proposal_id)
        if proposal is None:
            raise refused_query("type: cw3::proposal::Proposal; key: not found")
        return {
            "id": proposal.id,
            "title": proposal.title,
            "description": proposal.description,
            "msgs": [],
            "status": "open",
            "expires": {"never": {}},
            "threshold": self._threshold(),
            "proposer": proposal.proposer,
            "deposit": None,
        }

    def snapshot(self) -> Any:
        """See `Contract`."""
        return self._proposals

    def restore(self, snapshot: Any) -> None:
        """See `Contract`."""
        self._proposals = snapshot

    def to_json(self) -> dict[str, Json]:
        """See `Contract`."""
        return {
            "proposals": [
                [each.id, each.title, each.description, each.proposer, each.tickets, each.gateway]
                for each in self._proposals
            ]
        }

    def load_json(self, value: dict[str, Json]) -> None:
        """See `Contract`."""
        self._proposals = tuple(Proposal(*each) for each in value["proposals"])
