"""Which exit, which entry: pure choices over what the directory says.

Two rules. The entry knows who is asking and the exit knows for what, so they are never the same node. And
nobody is chosen by a fixed order: every client on the same list would crowd the same node.
"""

import random
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass

from nym_mixnet.described import DescribedNode
from nym_mixnet.errors import TopologyUnusable
from nym_mixnet.topology import RoutingNode, Topology
from nym_sphinx import Recipient, SphinxError


@dataclass(frozen=True, slots=True)
class ExitCandidate:
    """A network requester that the directory lists (docs/protocol/05 §5.5)."""

    recipient: Recipient
    country: str | None = None
    uses_exit_policy: bool = True


def listed_exits(nodes: Iterable[DescribedNode]) -> list[ExitCandidate]:
    """All network requesters with an address that can be read."""
    found = []
    for node in nodes:
        requester = node.network_requester
        if requester is None:
            continue
        try:
            recipient = Recipient.parse(requester.address)
        except (SphinxError, ValueError):
            continue  # one operator's mistake is not ours to complain about
        found.append(ExitCandidate(recipient, node.country, requester.uses_exit_policy))
    return found


def usable_exits(exits: Iterable[ExitCandidate], topology: Topology, entry: bytes) -> list[ExitCandidate]:
    """Exits that packets can be routed to and that are not at the entry gateway."""
    known = {node.identity for node in topology.nodes.values()}
    return [exit_ for exit_ in exits if exit_.recipient.gateway in known and exit_.recipient.gateway != entry]


def shuffled(exits: Sequence[ExitCandidate], rng: random.Random) -> list[ExitCandidate]:
    """In the order in which to try them."""
    return rng.sample(exits, len(exits))


def choose_entry(
    topology: Topology, exits: Collection[bytes], rng: random.Random, avoid: Collection[bytes] = ()
) -> RoutingNode:
    """A random entry gateway that leaves at least one of ``exits`` (identities of their gateways) to use.

    ``avoid``: gateways that did not answer lately; they are taken only when there is nobody else.
    """
    candidates = [node for node in topology.entry_gateways() if leaves_an_exit(node.identity, exits)]
    if not candidates:
        raise TopologyUnusable(
            "the topology lists no entry gateway beside that of the exit, and one node must not be both; "
            "choose another exit"
        )
    return rng.choice([node for node in candidates if node.identity not in avoid] or candidates)


def leaves_an_exit(entry: bytes, exits: Collection[bytes]) -> bool:
    """Whether there is an exit elsewhere. With no exit known there is nothing to leave."""
    return not exits or any(gateway != entry for gateway in exits)
