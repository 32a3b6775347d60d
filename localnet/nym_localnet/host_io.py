"""A share of the network's nodes in one event loop: the caller's own, or that of a worker process.

`Host` is what the orchestration sees; `NodeHost` does it here, `WorkerHost` (worker_host_io) asks another
process.
"""

from __future__ import annotations

import errno
import logging
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from ipaddress import ip_address
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from nym_localnet.addresses import PeerFilter
from nym_localnet.counters import Faults, GatewayCounters, MixCounters
from nym_localnet.desk_settings import DeskSettings
from nym_localnet.errors import LocalnetError, StartFailed
from nym_localnet.mix_io import MixNode, MixSettings
from nym_localnet.plan import NodeKind, NodePlan, Ports, without_ports
from nym_localnet.sphinx_keys import KeyRing, identity_private
from nym_localnet.tickets import TicketVerifier
from nym_mixnet.keys import SigningKey
from nym_mixnet.tasks_io import TaskSet

if TYPE_CHECKING:
    from nym_localnet.ecash.desk_io import TicketDesk

logger = logging.getLogger(__name__)

LOOPBACK = "127.0.0.1"


@dataclass(frozen=True, slots=True, kw_only=True)
class HostSettings:
    """What all nodes of a network share. Plain values: it travels to worker processes as JSON."""

    data_dir: str
    durable: bool
    rotation_id: int
    legacy_frames: bool = False
    replay_protection: bool = True
    max_delay_seconds: float = 10.0
    enforce_tickets: bool = False
    free_allowance_bytes: int = 0
    exit_policy: str = ""
    exit_policies: Mapping[str, str] = field(default_factory=dict)
    exit_allow_local_ips: bool = True
    desks: Mapping[str, DeskSettings] = field(default_factory=dict)
    """how gateways take tickets, by name; none in a network without e-cash"""
    listed_ips: tuple[str, ...] = ()
    """addresses of nodes outside this network that packets may be sent to"""

    def to_json(self) -> dict[str, Any]:
        """Plain values."""
        return asdict(self)

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> HostSettings:
        """The reverse of `to_json`."""
        desks = {name: DeskSettings.from_json(each) for name, each in value["desks"].items()}
        return cls(**{**value, "desks": desks, "listed_ips": tuple(value["listed_ips"])})


class Host(Protocol):
    """Runs nodes."""

    async def start(self, plans: Sequence[NodePlan]) -> dict[str, Ports]:
        """Start mix nodes and gateways; where they listen, by name. `StartFailed` otherwise."""
        ...

    async def start_exit(self, plan: NodePlan, nym_api_url: str, gateway_identity: bytes) -> str:
        """Start an exit in a running network; its Nym address."""
        ...

    async def restart(self, name: str) -> None:
        """Stop a node and start it again, with its keys, ports and what it keeps on disk."""
        ...

    async def rotate(self, rotation_id: int) -> None:
        """Make another key rotation current at all nodes."""
        ...

    async def refresh(self) -> None:
        """Let the exits learn what the directory says now."""
        ...

    async def counters(self, name: str) -> dict[str, dict[str, int]]:
        """The counters of a node: by area (`mix`, `gateway`, `exit`), then by name."""
        ...

    def set_faults(self, name: str, changes: Mapping[str, Any]) -> None:
        """Change fault knobs of a node (fields of `Faults`). Takes effect soon; does not wait."""
        ...

    async def close(self) -> None:
        """Stop everything."""
        ...


class Hosted(Protocol):
    """One running node."""

    faults: Faults

    async def start(self) -> Ports: ...
    async def close(self) -> None: ...
    def apply_faults(self) -> None: ...
    def counters(self) -> dict[str, dict[str, int]]: ...
    def rotate(self, rotation_id: int) -> None: ...
    async def refresh(self) -> None: ...


class HostedMix:
    """A mix node and what survives its restart."""

    def __init__(self, plan: NodePlan, settings: HostSettings, tasks: TaskSet) -> None:
        self.plan = plan
        self.faults = Faults(loss=plan.loss)
        self._settings = settings
        self._tasks = tasks
        self._keys = KeyRing(plan.seed, settings.rotation_id)
        self._counters = MixCounters()
        self._mix: MixNode | None = None
        self._ports = Ports(plan.mix_port, plan.ws_port)

    def _new_mix(self) -> MixNode:
        settings = self._settings
        return MixNode(
            self._keys,
            self._tasks,
            allowed=PeerFilter(ip_address(ip) for ip in settings.listed_ips),
            settings=MixSettings(
                legacy_frames=settings.legacy_frames,
                replay_protection=settings.replay_protection,
                max_delay_seconds=settings.max_delay_seconds,
            ),
            faults=self.faults,
            counters=self._counters,
        )

    async def start(self) -> Ports:
        self._mix = self._new_mix()
        self._ports = Ports(await self._mix.start(LOOPBACK, self._ports.mix))
        return self._ports

    async def close(self) -> None:
        if self._mix is not None:
            await self._mix.close()

    def apply_faults(self) -> None:
        if self._mix is not None:
            self._mix.set_stall(self.faults.stall)

    def counters(self) -> dict[str, dict[str, int]]:
        return {"mix": self._counters.as_dict()}

    def rotate(self, rotation_id: int) -> None:
        self._keys.rotate(rotation_id)

    async def refresh(self) -> None:
        """A relay does not ask the directory."""


class HostedGateway(HostedMix):
    """A gateway and what survives its restart."""

    def __init__(
        self, plan: NodePlan, settings: HostSettings, tasks: TaskSet, verifier: TicketVerifier | None
    ) -> None:
        from nym_localnet.gateway_io import Gateway

        super().__init__(plan, settings, tasks)
        self._verifier = verifier
        self._gateway_counters = GatewayCounters()
        self._gateway: Gateway | None = None
        self._desk: TicketDesk | None = None

    async def start(self) -> Ports:
        # Here, not above: a worker that hosts mix nodes only need not load a web server.
        from nym_localnet.gateway_io import Gateway, GatewaySettings
        from nym_localnet.gateway_store_io import GatewayStore

        settings = self._settings
        self._mix = self._new_mix()
        self._desk = self._new_desk()
        path = Path(settings.data_dir) / self.plan.name / "gateway.sqlite"
        self._gateway = Gateway(
            SigningKey(identity_private(self.plan.seed)),
            self._mix,
            GatewayStore(path, durable=settings.durable),
            settings=GatewaySettings(
                enforce_tickets=settings.enforce_tickets,
                free_allowance_bytes=settings.free_allowance_bytes,
                unmetered=frozenset(bytes.fromhex(identity) for identity in self.plan.unmetered),
            ),
            verifier=self._verifier or self._desk,
            counters=self._gateway_counters,
            faults=self.faults,
        )
        if self._desk is not None:
            self._desk.on_revoked = self._gateway.revoke
        ports = await self._gateway.start(LOOPBACK, self._ports.mix, self._ports.websocket)
        self._ports = Ports(*ports)
        if self._desk is not None:
            await self._desk.start()
        return self._ports

    def _new_desk(self) -> TicketDesk | None:
        desk = self._settings.desks.get(self.plan.name)
        if desk is None:
            return None
        from nym_localnet.ecash.desk_io import TicketDesk
        from nym_localnet.ecash.desk_store_io import DeskStore

        path = Path(self._settings.data_dir) / self.plan.name / "tickets.sqlite"
        store = DeskStore(path, durable=self._settings.durable)
        return TicketDesk(desk, store, counters=self._gateway_counters)

    @property
    def desk(self) -> TicketDesk | None:
        """Where tickets are taken, in a network with e-cash."""
        return self._desk

    async def close(self) -> None:
        if self._desk is not None:
            await self._desk.close()
        if self._gateway is not None:
            await self._gateway.close()

    def apply_faults(self) -> None:
        if self._gateway is not None:
            self._gateway.set_stall(self.faults.stall)

    def counters(self) -> dict[str, dict[str, int]]:
        return {"mix": self._counters.as_dict(), "gateway": self._gateway_counters.as_dict()}


class NodeHost:
    """Runs nodes in the current event loop."""

    def __init__(self, settings: HostSettings, verifier: TicketVerifier | None = None) -> None:
        self._settings = settings
        self._verifier = verifier
        self._tasks = TaskSet("test network")
        self._nodes: dict[str, Hosted] = {}

    async def start(self, plans: Sequence[NodePlan]) -> dict[str, Ports]:
        """See `Host`."""
        return {plan.name: await self._start_node(plan) for plan in plans}

    async def _start_node(self, plan: NodePlan) -> Ports:
        node = self._make(plan)
        try:
            ports = await node.start()
        except OSError as error:
            await node.close()
            if error.errno != errno.EADDRINUSE or plan.fixed_ports or not (plan.mix_port or plan.ws_port):
                raise StartFailed(f"{plan.name} cannot listen: {error.strerror or error}") from error
            # A port remembered from last time belongs to another program now.
            node = self._make(without_ports(plan))
            ports = await node.start()
        self._nodes[plan.name] = node
        return ports

    def _make(self, plan: NodePlan) -> Hosted:
        if plan.kind is NodeKind.MIXNODE:
            return HostedMix(plan, self._settings, self._tasks)
        return HostedGateway(plan, self._settings, self._tasks, self._verifier)

    async def start_exit(self, plan: NodePlan, nym_api_url: str, gateway_identity: bytes) -> str:
        """See `Host`."""
        from nym_localnet.hosted_exit_io import HostedExit

        node = HostedExit(plan, self._settings, nym_api_url, gateway_identity)
        self._nodes[plan.name] = node
        await node.start()
        return node.address

    async def restart(self, name: str) -> None:
        """See `Host`."""
        node = self._node(name)
        await node.close()
        await node.start()
        node.apply_faults()

    async def rotate(self, rotation_id: int) -> None:
        """See `Host`."""
        for node in self._nodes.values():
            node.rotate(rotation_id)

    async def refresh(self) -> None:
        """See `Host`."""
        for node in self._nodes.values():
            await node.refresh()

    async def counters(self, name: str) -> dict[str, dict[str, int]]:
        """See `Host`."""
        return self._node(name).counters()

    def set_faults(self, name: str, changes: Mapping[str, Any]) -> None:
        """See `Host`."""
        node = self._node(name)
        for knob, value in changes.items():
            setattr(node.faults, knob, value)
        node.apply_faults()

    async def close(self) -> None:
        """See `Host`. Exits go first, being clients of the rest."""
        nodes = list(self._nodes.values())
        self._nodes.clear()
        for node in reversed(nodes):
            await node.close()
        await self._tasks.close()

    def _node(self, name: str) -> Hosted:
        try:
            return self._nodes[name]
        except KeyError:
            raise LocalnetError(f"no node {name} runs here") from None


__all__ = ["Host", "HostSettings", "Hosted", "NodeHost"]
