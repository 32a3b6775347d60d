"""The mixnet client: topology, gateway link, traffic shaping, acknowledgements, reply SURBs.

    from nym_mixnet import PROFILES, MemoryStore, MixnetClient, NymApiSource

    source = NymApiSource(["https://validator.nymtech.net/api"])
    async with MixnetClient(source=source, store=MemoryStore(), profile=PROFILES["standard"]) as client:
        client.on_message = lambda message: print(len(message.data))
        await client.send_anonymous(recipient, b"hello", surbs=10)

The protocol logic is pure (`core.ClientCore`, `gateway_session`, `topology`, `nym_api`); modules named `*_io`
put sockets, files and clocks around it. Names are loaded when first used: a command line that only needs a
profile's name does not pay for the network stack.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from nym_mixnet.client_io import MixnetClient, SurbBankHandle
    from nym_mixnet.client_records import ClientOptions, ClientStats, ReceivedMessage
    from nym_mixnet.core import ClientCore
    from nym_mixnet.errors import ErrorKind, MixnetError
    from nym_mixnet.keys import ClientKeys
    from nym_mixnet.lanes import Lane
    from nym_mixnet.link_state import LinkState, LinkStats
    from nym_mixnet.outgoing import Sending
    from nym_mixnet.profiles import PROFILES, ProfileCosts, TrafficProfile
    from nym_mixnet.store_io import ClientStore, MemoryStore
    from nym_mixnet.tickets import PreparedTicket, TicketOutcome, TicketSource
    from nym_mixnet.topology import RoutingNode, Topology
    from nym_mixnet.topology_io import FileSource, NymApiSource, TopologySource

_HOMES = {
    "client_io": ("MixnetClient", "SurbBankHandle"),
    "core": ("ClientCore", "ClientOptions", "ClientStats", "ReceivedMessage"),
    "errors": ("ErrorKind", "MixnetError"),
    "keys": ("ClientKeys",),
    "lanes": ("Lane",),
    "link_state": ("LinkState", "LinkStats"),
    "outgoing": ("Sending",),
    "profiles": ("PROFILES", "ProfileCosts", "TrafficProfile"),
    "store_io": ("ClientStore", "MemoryStore"),
    "tickets": ("PreparedTicket", "TicketOutcome", "TicketSource"),
    "topology": ("RoutingNode", "Topology"),
    "topology_io": ("FileSource", "NymApiSource", "TopologySource"),
}
_HOME_OF = {name: module for module, names in _HOMES.items() for name in names}

__all__ = [
    "PROFILES",
    "ClientCore",
    "ClientKeys",
    "ClientOptions",
    "ClientStats",
    "ClientStore",
    "ErrorKind",
    "FileSource",
    "Lane",
    "LinkState",
    "LinkStats",
    "MemoryStore",
    "MixnetClient",
    "MixnetError",
    "NymApiSource",
    "PreparedTicket",
    "ProfileCosts",
    "ReceivedMessage",
    "RoutingNode",
    "Sending",
    "SurbBankHandle",
    "TicketOutcome",
    "TicketSource",
    "Topology",
    "TopologySource",
    "TrafficProfile",
]


def __getattr__(name: str) -> object:
    module = _HOME_OF.get(name)
    if module is None:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(import_module(f"{__name__}.{module}"), name)
    globals()[name] = value
    return value
