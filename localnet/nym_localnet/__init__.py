"""A whole Nym network on loopback: mix nodes, gateways, exits and their directory, for tests and demonstrations.

    async with Localnet(LocalnetOptions(mixnodes=3, gateways=2, exits=1)) as net:
        print(net.nym_api_url, net.exit_address)

With `pay=True` it has a chain, a faucet and signers as well, and its gateways take tickets and nothing else:

    async with Localnet(LocalnetOptions(pay=True, payment=PaymentOptions(signers=5, threshold=4))) as net:
        await net.payments.fund(address, 200_000_000)  # unym
        print(net.payments.rpc_url, net.data_dir / "localnet.toml", net.data_dir / "localnet.env")

Names are loaded when they are first used: pytest imports this package in every project that has it installed.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from nym_localnet.background_io import BackgroundLocalnet
    from nym_localnet.counters import ExitCounters, Faults, GatewayCounters, MixCounters
    from nym_localnet.errors import (
        BadOptions,
        LocalnetError,
        Refused,
        StartFailed,
        TicketRefused,
        WorkerLost,
    )
    from nym_localnet.localnet_io import Localnet, summary
    from nym_localnet.node_handle import NodeHandle
    from nym_localnet.options import DEFAULT_EXIT_POLICY, ExternalNode, LocalnetOptions, Mode
    from nym_localnet.payment_options import PaymentOptions
    from nym_localnet.plan import NodeKind
    from nym_localnet.run_io import run_localnet
    from nym_localnet.tickets import TicketContext, TicketVerifier

_HOMES: Final = {
    "background_io": ("BackgroundLocalnet",),
    "counters": ("ExitCounters", "Faults", "GatewayCounters", "MixCounters"),
    "errors": ("BadOptions", "LocalnetError", "Refused", "StartFailed", "TicketRefused", "WorkerLost"),
    "localnet_io": ("Localnet", "summary"),
    "node_handle": ("NodeHandle",),
    "options": ("DEFAULT_EXIT_POLICY", "ExternalNode", "LocalnetOptions", "Mode"),
    "payment_options": ("PaymentOptions",),
    "plan": ("NodeKind",),
    "run_io": ("run_localnet",),
    "tickets": ("TicketContext", "TicketVerifier"),
}
_HOME_OF: Final = {name: module for module, names in _HOMES.items() for name in names}

__all__ = [
    "DEFAULT_EXIT_POLICY",
    "BackgroundLocalnet",
    "BadOptions",
    "ExitCounters",
    "ExternalNode",
    "Faults",
    "GatewayCounters",
    "Localnet",
    "LocalnetError",
    "LocalnetOptions",
    "MixCounters",
    "Mode",
    "NodeHandle",
    "NodeKind",
    "PaymentOptions",
    "Refused",
    "StartFailed",
    "TicketContext",
    "TicketRefused",
    "TicketVerifier",
    "WorkerLost",
    "run_localnet",
    "summary",
]


def __getattr__(name: str) -> Any:
    home = _HOME_OF.get(name)
    if home is None:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(f"{__name__}.{home}"), name)


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
