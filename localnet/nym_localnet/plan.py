"""Which nodes a network has: names, ids, layers, secrets and ports, worked out before anything starts.

Pure. Plans travel to worker processes as JSON, which is why they hold plain values.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from enum import StrEnum
from typing import Any, Final

from nym_localnet.errors import BadOptions
from nym_localnet.options import LAYERS, LocalnetOptions
from nym_localnet.sphinx_keys import derive, exit_keys


class NodeKind(StrEnum):
    """What a node is."""

    MIXNODE = "mixnode"
    GATEWAY = "gateway"
    EXIT = "exit"


@dataclass(frozen=True, slots=True)
class NodePlan:
    """One node to start. Ports of 0 are for the system to choose."""

    name: str
    kind: NodeKind
    seed_hex: str = field(repr=False)
    node_id: int = 0
    """0 for exits, which are clients and not in the directory"""
    layer: int | None = None
    mix_port: int = 0
    ws_port: int = 0
    gateway: str = ""
    """exits: the name of the gateway that they are a client of"""
    unmetered: tuple[str, ...] = ()
    """gateways: identities (hex) of the exits that live there"""
    loss: float = 0.0
    fixed_ports: bool = False
    """the ports were asked for: another program that holds one is an error, not a reason to choose anew"""

    @property
    def seed(self) -> bytes:
        """The secret that all keys of the node follow from."""
        return bytes.fromhex(self.seed_hex)

    def to_json(self) -> dict[str, Any]:
        """Plain values."""
        return asdict(self)

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> NodePlan:
        """The reverse of `to_json`."""
        return cls(**{**value, "kind": NodeKind(value["kind"]), "unmetered": tuple(value["unmetered"])})


@dataclass(frozen=True, slots=True)
class Ports:
    """Where a started node listens; 0 where it does not."""

    mix: int = 0
    websocket: int = 0


MIX_PREFIX: Final = "mix"
GATEWAY_PREFIX: Final = "gateway"
EXIT_PREFIX: Final = "exit"


def plan_network(
    options: LocalnetOptions, seed: bytes, remembered: Mapping[str, Ports] | None = None
) -> tuple[NodePlan, ...]:
    """All nodes of the network in the order in which they start.

    `remembered`: the ports that a kept network had last time; used where no port is fixed by the options.
    """
    ports = remembered or {}
    plans: list[NodePlan] = []
    mixes, gateways = options.mixnodes, options.gateways
    for number in range(mixes + gateways):
        is_mix = number < mixes
        index = number if is_mix else number - mixes
        name = f"{MIX_PREFIX if is_mix else GATEWAY_PREFIX}{index + 1}"
        known = ports.get(name, Ports())
        plans.append(
            NodePlan(
                name=name,
                kind=NodeKind.MIXNODE if is_mix else NodeKind.GATEWAY,
                seed_hex=derive(seed, name).hex(),
                node_id=number + 1,
                layer=index % LAYERS + 1 if is_mix else None,
                mix_port=options.first_mix_port + number if options.first_mix_port else known.mix,
                ws_port=0 if is_mix else _websocket_port(options, index, known),
                loss=options.loss_of(name, is_mixnode=is_mix),
                fixed_ports=bool(options.first_mix_port or (options.first_ws_port and not is_mix)),
            )
        )
    for index in range(options.exits):
        name = f"{EXIT_PREFIX}{index + 1}"
        home = f"{GATEWAY_PREFIX}{gateways - index % gateways}"
        own_seed = derive(seed, name)
        plans.append(NodePlan(name, NodeKind.EXIT, own_seed.hex(), gateway=home))
        number = next(number for number, plan in enumerate(plans) if plan.name == home)
        guests = (*plans[number].unmetered, exit_keys(own_seed).identity_public.hex())
        plans[number] = replace(plans[number], unmetered=guests)
    _check_names(options, plans)
    return tuple(plans)


def without_ports(plan: NodePlan) -> NodePlan:
    """The same node, with ports for the system to choose."""
    return replace(plan, mix_port=0, ws_port=0)


def share(plans: tuple[NodePlan, ...], workers: int) -> list[list[NodePlan]]:
    """Nodes by worker: kinds are dealt in turn, so that each worker gets its part of every layer."""
    hands: list[list[NodePlan]] = [[] for _ in range(max(1, workers))]
    for number, plan in enumerate(plans):
        hands[number % len(hands)].append(plan)
    return [hand for hand in hands if hand]


def _websocket_port(options: LocalnetOptions, index: int, known: Ports) -> int:
    return options.first_ws_port + index if options.first_ws_port else known.websocket


def _check_names(options: LocalnetOptions, plans: list[NodePlan]) -> None:
    relays = {plan.name for plan in plans if plan.kind is not NodeKind.EXIT}
    exits = {plan.name for plan in plans if plan.kind is NodeKind.EXIT}
    for option, named, names in (
        ("loss", options.loss, relays | exits),
        ("countries", options.countries, relays),
        ("performances", options.performances, relays),
        ("exit_policies", options.exit_policies, exits),
    ):
        unknown = sorted(set(named) - names) if isinstance(named, Mapping) else []
        if unknown:
            raise BadOptions(
                f"{option} names nodes that there are not: {', '.join(unknown)}; there are "
                f"{', '.join(sorted(names))}"
            )
