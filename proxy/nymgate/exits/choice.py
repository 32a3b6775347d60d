"""Which exit, which entry: pure choices over what the directory says.

Two rules. The entry knows who is asking and the exit knows for what, so they are never the same node. And
nobody is chosen by a fixed order: every client on the same list would crowd the same node. Chance decides, and
nodes that the directory has measured to be better have more of it.
"""

import random
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from enum import Enum
from ipaddress import ip_address
from typing import Final, TypeVar

from nym_exit.exit_policy import ExitPolicy
from nym_mixnet.described import DescribedNode
from nym_mixnet.errors import TopologyUnusable
from nym_mixnet.topology import RoutingNode, Topology
from nym_sphinx import Recipient, SphinxError, b58decode, b58encode
from nymgate.errors import NetworkUnreachable, NoUsableExit
from nymgate.sections.mixnet import countries_of, is_identity

T = TypeVar("T")

UNKNOWN_SCORE_PERCENT: Final = 50
"""For nodes that nobody has measured: what the directory's list begins with."""
SCORE_EXPONENT: Final = 4
"""A node of 50 % is taken a sixteenth as often as one of 100 %: a stream crosses it twice, hundreds of times."""


@dataclass(frozen=True, slots=True)
class ExitCandidate:
    """A network requester that the directory lists (docs/protocol/05 §5.5)."""

    recipient: Recipient
    country: str | None = None
    uses_exit_policy: bool = True
    score: int | None = None
    """Measured performance in percent; None where nobody measured."""


@dataclass(frozen=True, slots=True)
class Wish:
    """What the configuration asks of an entry or an exit: nothing, a country, or one node."""

    countries: tuple[str, ...] = ()
    """Two-letter codes; empty for any."""
    identity: bytes | None = None
    """The gateway, or the gateway that hosts the exit."""
    recipient: Recipient | None = None
    """The exit itself."""

    @classmethod
    def parse(cls, text: str) -> "Wish":
        """Read ``auto``, ``country:CH,DE``, an identity, or the full address of an exit. ValueError otherwise."""
        if text == "auto":
            return cls()
        if (countries := countries_of(text)) is not None:
            return cls(countries=countries)
        if is_identity(text):
            return cls(identity=b58decode(text))
        recipient = Recipient.parse(text)
        return cls(identity=recipient.gateway, recipient=recipient)

    @property
    def is_open(self) -> bool:
        """Whether any node will do."""
        return not self.countries and self.identity is None

    def allows(self, gateway: bytes, country: str | None) -> bool:
        """Whether a node is what was asked for."""
        if self.identity is not None:
            return gateway == self.identity
        return not self.countries or country in self.countries

    def __str__(self) -> str:
        if self.recipient is not None:
            return str(self.recipient)
        if self.identity is not None:
            return b58encode(self.identity)
        return " or ".join(self.countries) or "anywhere"


ANYWHERE: Final = Wish()


class Verdict(Enum):
    """What an exit policy says about a destination, as far as it can be told without resolving its name."""

    PERMITTED = "permitted"
    DENIED = "denied"
    UNKNOWN = "unknown"


def listed_exits(
    nodes: Iterable[DescribedNode], scores: Mapping[bytes, int] | None = None
) -> list[ExitCandidate]:
    """All network requesters with an address that can be read; ``scores`` by identity, in percent."""
    found = []
    for node in nodes:
        requester = node.network_requester
        if requester is None:
            continue
        try:
            recipient = Recipient.parse(requester.address)
        except (SphinxError, ValueError):
            continue  # one operator's mistake is not ours to complain about
        score = (scores or {}).get(recipient.gateway)
        found.append(ExitCandidate(recipient, node.country, requester.uses_exit_policy, score))
    return found


def wished_exits(exits: Iterable[ExitCandidate], wish: Wish) -> list[ExitCandidate]:
    """Those that the configuration allows. An exit named by its full address needs no listing."""
    if wish.recipient is not None:
        known = [exit_ for exit_ in exits if exit_.recipient == wish.recipient]
        return known or [ExitCandidate(wish.recipient)]
    return [exit_ for exit_ in exits if wish.allows(exit_.recipient.gateway, exit_.country)]


def usable_exits(exits: Iterable[ExitCandidate], topology: Topology, entry: bytes) -> list[ExitCandidate]:
    """Exits that packets can be routed to and that are not at the entry gateway."""
    known = {node.identity for node in topology.nodes.values()}
    return [exit_ for exit_ in exits if exit_.recipient.gateway in known and exit_.recipient.gateway != entry]


class Reachable:
    """Identities of the gateways that packets can be routed to, by the newest topology that can be used."""

    def __init__(self, topology: Callable[[], Topology]) -> None:
        self._topology = topology
        self._seen: Topology | None = None
        self._known: frozenset[bytes] = frozenset()

    def __call__(self) -> frozenset[bytes]:
        try:
            topology = self._topology()
        except TopologyUnusable:
            return self._known
        if topology is not self._seen:
            self._seen = topology
            self._known = frozenset(node.identity for node in topology.nodes.values())
        return self._known


def elsewhere(countries: Iterable[str | None]) -> str:
    """Where there are nodes, for somebody who asked for others."""
    known = sorted({country for country in countries if country is not None})
    return f"there are some in {', '.join(known)}" if known else "no node says where it is"


def no_exit_matches(listed: Sequence[ExitCandidate], wish: Wish) -> NoUsableExit:
    """What to say to somebody whose wish leaves no exit."""
    if not listed:
        return NoUsableExit(
            "The directory lists no network requester.",
            "Give one as mixnet.exit, or try another network.",
        )
    if wish.countries:
        return NoUsableExit(
            f"The directory lists no exit in {wish}; {elsewhere(exit_.country for exit_ in listed)}.",
            "Change mixnet.exit; `nymgate exits` lists all of them.",
        )
    return NoUsableExit(
        f"The directory lists no exit at the gateway {wish}.",
        "Change mixnet.exit; `nymgate exits` lists all of them.",
    )


def no_entry_matches(countries: Iterable[str | None], wish: Wish) -> NetworkUnreachable:
    """The same for entries; ``countries`` of those that there are."""
    return NetworkUnreachable(
        f"The directory lists no entry gateway in {wish}; {elsewhere(countries)}.",
        "Change mixnet.entry; `nymgate gateways` lists all of them.",
        layer="gateway",
    )


def weight(score: int | None) -> float:
    """How often a node is taken, beside others."""
    percent = UNKNOWN_SCORE_PERCENT if score is None else max(1, min(score, 100))
    return (percent / 100) ** SCORE_EXPONENT


def shuffled(items: Sequence[T], rng: random.Random, weights: Sequence[float] | None = None) -> list[T]:
    """In a random order in which a heavier one is likelier to be early, as if drawn one after the other."""
    if weights is None:
        return rng.sample(items, len(items))
    # Efraimidis and Spirakis: the largest of u^(1/w) is each item with probability w over the sum.
    keys = [rng.random() ** (1 / weight_) for weight_ in weights]
    return [items[index] for index in sorted(range(len(items)), key=keys.__getitem__, reverse=True)]


def choose_entry(
    topology: Topology,
    exits: Collection[bytes],
    rng: random.Random,
    avoid: Collection[bytes] = (),
    *,
    allowed: Collection[bytes] | None = None,
    scores: Mapping[bytes, int] | None = None,
) -> RoutingNode:
    """A random entry gateway that leaves at least one of ``exits`` (identities of their gateways) to use.

    ``avoid``: gateways that did not answer lately; they are taken only when there is nobody else. ``allowed``: the
    only ones that may be taken, None for all.
    """
    listed = [node for node in topology.entry_gateways() if allowed is None or node.identity in allowed]
    if not listed:
        raise TopologyUnusable("the topology lists no entry gateway that mixnet.entry allows")
    candidates = [node for node in listed if leaves_an_exit(node.identity, exits)]
    if not candidates:
        raise TopologyUnusable(
            "the topology lists no entry gateway beside that of the exit, and one node must not be both; "
            "choose another exit"
        )
    wanted = [node for node in candidates if node.identity not in avoid] or candidates
    weights = [weight((scores or {}).get(node.identity)) for node in wanted]
    return rng.choices(wanted, weights)[0]


def leaves_an_exit(entry: bytes, exits: Collection[bytes]) -> bool:
    """Whether there is an exit elsewhere. With no exit known there is nothing to leave."""
    return not exits or any(gateway != entry for gateway in exits)


def verdict(policy: ExitPolicy, host: str, port: int) -> Verdict:
    """What a policy says about a destination. A name may resolve to anything: only the port can decide there."""
    try:
        address = ip_address(host.removeprefix("[").removesuffix("]"))
    except ValueError:
        return _verdict_on_port(policy, port)
    return Verdict.PERMITTED if policy.allows(address, port) else Verdict.DENIED


def _verdict_on_port(policy: ExitPolicy, port: int) -> Verdict:
    """PERMITTED: for addresses at large, special ones apart. DENIED: for all addresses."""
    families, some = {4, 6}, False
    for rule in policy.rules:
        if port not in rule.ports:
            continue
        pattern = rule.ip_pattern
        covered = families if pattern.version is None else families & {pattern.version}
        if not covered:
            continue
        if pattern.prefix is not None:
            some = some or rule.action.accepts
        elif rule.action.accepts:
            return Verdict.PERMITTED
        else:
            families = families - covered
    return Verdict.UNKNOWN if some else Verdict.DENIED
