"""Which way to the chain a network's description asks for."""

from __future__ import annotations

import time
from collections.abc import Callable

from nym_credentials.chain.grpc_transport_io import GrpcTransport
from nym_credentials.chain.rest_transport_io import RestTransport
from nym_credentials.chain.transport import Transport
from nym_credentials.chain.transport_io import Connector, JsonRpcTransport
from nym_credentials.errors import NetworkDescriptionInvalid
from nym_credentials.networks import ChainNetwork


def transport_for(
    network: ChainNetwork,
    *,
    connector_factory: Connector | None = None,
    clock: Callable[[], float] = time.time,
) -> Transport:
    """REST or gRPC if the operator named such an endpoint, else the JSON-RPC that every network publishes.

    ``connector_factory`` makes aiohttp connectors: with one that goes through a SOCKS proxy, all traffic with the chain
    does. gRPC cannot go through it and is refused with one, rather than going around it. ``clock``: Unix seconds.
    """
    if network.rest_url is not None:
        return RestTransport(
            network.rest_url, chain_id=network.chain_id, connector_factory=connector_factory, clock=clock
        )
    if network.grpc_url is not None:
        if connector_factory is not None:
            raise NetworkDescriptionInvalid(
                f"the network {network.name}",
                "grpc",
                "cannot be reached through a proxy.",
                "Leave it out to use JSON-RPC, or name a REST endpoint.",
            )
        return GrpcTransport(network.grpc_url, chain_id=network.chain_id, clock=clock)
    return JsonRpcTransport(
        network.rpc_urls, chain_id=network.chain_id, connector_factory=connector_factory, clock=clock
    )
