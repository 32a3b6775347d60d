"""The knobs of a test network. Light: importing this loads no networking."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from ipaddress import ip_address
from pathlib import Path
from typing import Final

from nym_localnet.epochs import DEFAULT_EPOCH_SECONDS, DEFAULT_VALIDITY_EPOCHS
from nym_localnet.errors import BadOptions
from nym_localnet.payment_options import PaymentOptions

LAYERS: Final = 3
SEED_BYTES: Final = 32
MAX_PORT: Final = 65_535
FREE_ALLOWANCE_BYTES: Final = 64 * 1024**3

DEFAULT_EXIT_POLICY: Final = """\
# The exit policy of the test network, in the form that upstream's operators publish.
ExitPolicy accept 127.0.0.0/8:*          # services on this machine, which is what a test network is for
ExitPolicy accept [::1]:*
ExitPolicy reject 0.0.0.0/8:*
ExitPolicy reject 10.0.0.0/8:*
ExitPolicy reject 100.64.0.0/10:*
ExitPolicy reject 169.254.0.0/16:*
ExitPolicy reject 172.16.0.0/12:*
ExitPolicy reject 192.168.0.0/16:*
ExitPolicy reject [fc00::]/7:*
ExitPolicy reject [fe80::]/10:*
ExitPolicy reject *:25                   # no mail
ExitPolicy accept *:*
"""


class Mode(StrEnum):
    """Where the nodes run."""

    TASKS = "tasks"
    """in the caller's event loop: starts fastest, shares its processor core"""
    PROCESSES = "processes"
    """in worker processes of their own"""


@dataclass(frozen=True, slots=True)
class ExternalNode:
    """A node that somebody else runs and this network publishes. Keys are base58, as nodes print them."""

    identity: str
    sphinx_key: str
    mix_port: int
    ip: str = "127.0.0.1"
    layer: int | None = None
    """mix layer 1 to 3; None for a gateway"""
    ws_port: int | None = None
    network_requester: str | None = None
    """Nym address of the exit inside that node"""
    noise_key: str | None = None
    node_id: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class LocalnetOptions:
    """What network to bring up. The defaults are a whole one: three layers, two gateways, one exit."""

    mixnodes: int = 3
    """spread over the three layers in turn"""
    gateways: int = 2
    exits: int = 1
    """hosted at the last gateways, one each, and wrapping around"""
    external_nodes: tuple[ExternalNode, ...] = ()

    mode: Mode = Mode.TASKS
    workers: int = 0
    """worker processes in mode `processes`; 0 takes one per processor, at most one per node"""

    data_dir: Path | None = None
    """keeps identities, registrations and stored messages; None uses a temporary folder"""
    network_file: Path | None = None
    """a second copy of `localnet.toml` for programs that look for one, removed when the network ends"""
    seed: bytes | None = field(default=None, repr=False)
    """32 bytes from which all node keys follow; None draws one, or takes that of `data_dir`"""

    nym_api_port: int = 0
    """0 lets the system choose, here and below"""
    first_mix_port: int = 0
    first_ws_port: int = 0

    rotation_id: int = 1
    """key rotation to begin with; 0 publishes *unknown*, as a file-made localnet of upstream does"""
    epoch_seconds: float = DEFAULT_EPOCH_SECONDS
    validity_epochs: int = DEFAULT_VALIDITY_EPOCHS

    loss: float | Mapping[str, float] = 0.0
    """probability of losing a packet: at every mix node, or by node name"""
    legacy_frames: bool = False
    """nodes write frames of version 7, as upstream's do by default"""
    replay_protection: bool = True
    max_delay_seconds: float = 10.0

    enforce_tickets: bool = False
    """gateways refuse free allowances"""
    pay: bool = False
    """chain, faucet and signers come with the network, and its gateways take tickets and nothing else"""
    payment: PaymentOptions = field(default_factory=PaymentOptions)
    """the knobs of chain, signers and tickets; used with `pay`"""
    free_allowance_bytes: int = FREE_ALLOWANCE_BYTES

    exit_policy: str = DEFAULT_EXIT_POLICY
    """upstream's text format; the empty string is an open proxy"""
    exit_policies: Mapping[str, str] = field(default_factory=dict)
    """other policies for some exits, by name"""
    countries: Mapping[str, str] = field(default_factory=dict)
    """where nodes say they are, by node name: two-letter codes"""
    performances: Mapping[str, float] = field(default_factory=dict)
    """what the directory has measured, by node name: 0 to 1, which is that of all others"""
    exit_allow_local_ips: bool = True
    """lets the exit reach loopback and private addresses, where the policy allows them"""

    def __post_init__(self) -> None:
        self._check_nodes()
        for name in ("nym_api_port", "first_mix_port", "first_ws_port"):
            if not 0 <= getattr(self, name) <= MAX_PORT:
                raise BadOptions(f"{name} must be 0 (any) to {MAX_PORT}")
        if self.workers < 0:
            raise BadOptions("workers must be 0 (as many as there are processors) or more")
        if self.rotation_id < 0 or self.epoch_seconds <= 0 or self.validity_epochs < 1:
            raise BadOptions(
                "rotation_id starts at 0, epoch_seconds are positive, validity_epochs at least 1"
            )
        if self.seed is not None and len(self.seed) != SEED_BYTES:
            raise BadOptions(f"the seed must have {SEED_BYTES} bytes")
        losses = self.loss.values() if isinstance(self.loss, Mapping) else (self.loss,)
        if not all(0 <= loss <= 1 for loss in losses):
            raise BadOptions("loss is a probability, 0 to 1")
        if not all(0 <= measured <= 1 for measured in self.performances.values()):
            raise BadOptions("a performance is a number from 0 to 1")
        if not all(len(code) == 2 and code.isalpha() for code in self.countries.values()):
            raise BadOptions("a country is a code of two letters")
        if self.max_delay_seconds < 0 or self.free_allowance_bytes < 0:
            raise BadOptions("max_delay_seconds and free_allowance_bytes cannot be negative")
        object.__setattr__(self, "mode", Mode(self.mode))

    def _check_nodes(self) -> None:
        if self.mixnodes < 0 or self.gateways < 0 or self.exits < 0:
            raise BadOptions("numbers of nodes cannot be negative")
        layers = {number % LAYERS + 1 for number in range(self.mixnodes)}
        layers |= {node.layer for node in self.external_nodes if node.layer is not None}
        if layers != {1, 2, 3}:
            raise BadOptions("each of the layers 1, 2 and 3 needs a mix node: ask for at least 3 mixnodes")
        if self.gateways == 0 and not any(node.ws_port for node in self.external_nodes):
            raise BadOptions("a network needs at least one gateway")
        if self.exits and self.gateways == 0:
            raise BadOptions("an exit is a client of one of our gateways: ask for at least one gateway")
        for node in self.external_nodes:
            ip_address(node.ip)

    def loss_of(self, name: str, *, is_mixnode: bool) -> float:
        """The loss of one node."""
        if isinstance(self.loss, Mapping):
            return self.loss.get(name, 0.0)
        return self.loss if is_mixnode else 0.0
