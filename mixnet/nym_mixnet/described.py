"""What nodes say about themselves, as the directory repeats it (docs/protocol/05 §5.5).

Only what a client chooses by: keys, addresses, declared roles, country, and the addresses of the exit
services. Everything else in these large bodies is ignored when read; when written it is filled with what
the reference's parser insists on.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from nym_mixnet.nym_api import (
    DeclaredRoles,
    declared_roles_json,
    read_declared_roles,
    reading,
)
from nym_mixnet.topology import read_ip_addresses
from nym_mixnet.wire_json import Fields, JsonFaultError, compact
from nym_sphinx.base58 import b58encode

PATH_DESCRIBED = "/v2/nym-nodes/described"
PATH_DESCRIBED_V1 = "/v1/nym-nodes/described"

DEFAULT_MIX_PORT = 1789
NO_ROLES = DeclaredRoles()


@dataclass(frozen=True, slots=True)
class NetworkRequester:
    """The exit service for TCP streams: its Nym address, and whether it follows an exit policy."""

    address: str
    uses_exit_policy: bool


@dataclass(frozen=True, slots=True)
class DescribedNode:
    """One node's description. `country`: ISO 3166 code of two letters, if it names one."""

    node_id: int
    identity: bytes
    sphinx_key: bytes
    ip_addresses: tuple[str, ...]
    roles: DeclaredRoles = NO_ROLES
    rotation_id: int = 0
    hostname: str | None = None
    mix_port: int = DEFAULT_MIX_PORT
    ws_port: int = 9000
    wss_port: int | None = None
    country: str | None = None
    network_requester: NetworkRequester | None = None
    ip_packet_router: str | None = None
    version: str = ""


@dataclass(frozen=True, slots=True)
class DescribedPage:
    """One page of described nodes."""

    nodes: tuple[DescribedNode, ...]
    total: int
    page: int = 0
    listed: int = 0
    """How many there were, the unreadable ones included."""


def _read_country(auxiliary: Fields | None) -> str | None:
    if auxiliary is None:
        return None
    location = auxiliary.values.get("location")
    if not isinstance(location, str) or len(location) != 2 or not location.isalpha():
        return None
    return location.upper()


def _read_node(fields: Fields) -> DescribedNode:
    description = fields.object("description")
    host = description.object("host_information")
    keys = host.object("keys")
    current = keys.optional_object("current_x25519_sphinx_key")
    auxiliary = description.optional_object("auxiliary_details")
    ports = None if auxiliary is None else auxiliary.optional_object("announce_ports")
    roles = description.optional_object("declared_role")
    requester = description.optional_object("network_requester")
    router = description.optional_object("ip_packet_router")
    sockets = description.object("mixnet_websockets")
    mix_port = None if ports is None else ports.optional_u16("mix_port")
    return DescribedNode(
        node_id=fields.u32("node_id"),
        identity=keys.base58_key("ed25519"),
        sphinx_key=keys.base58_key("x25519") if current is None else current.base58_key("public_key"),
        ip_addresses=read_ip_addresses(host, "ip_address"),
        roles=NO_ROLES if roles is None else read_declared_roles(roles),
        rotation_id=0 if current is None else current.u32("rotation_id"),
        hostname=host.optional_text("hostname"),
        mix_port=DEFAULT_MIX_PORT if mix_port is None else mix_port,
        ws_port=sockets.u16("ws_port"),
        wss_port=sockets.optional_u16("wss_port"),
        country=_read_country(auxiliary),
        network_requester=None
        if requester is None
        else NetworkRequester(requester.text("address"), requester.flag("uses_exit_policy")),
        ip_packet_router=None if router is None else router.text("address"),
        version=description.object("build_information").text("build_version"),
    )


def parse_described_page(text: str | bytes) -> DescribedPage:
    """Read one page. Single nodes that cannot be read are left out: one bad host must not hide all others.

    Raises `MalformedTopology` if the page itself is malformed.
    """

    def read(fields: Fields) -> DescribedPage:
        pagination = fields.object("pagination")
        nodes, listed = [], fields.objects("data")
        for node in listed:
            try:
                nodes.append(_read_node(node))
            except JsonFaultError:
                continue
        return DescribedPage(tuple(nodes), pagination.u64("total"), pagination.u32("page"), len(listed))

    return reading(text, read)


def _node_json(node: DescribedNode) -> dict[str, Any]:
    requester = node.network_requester
    return {
        "node_id": node.node_id,
        "contract_node_type": "nym_node",
        "description": {
            "last_polled": "1970-01-01 00:00:00.0 +00:00:00",
            "host_information": {
                "ip_address": list(node.ip_addresses),
                "hostname": node.hostname,
                "keys": {
                    "ed25519": b58encode(node.identity),
                    "x25519": b58encode(node.sphinx_key),
                    "current_x25519_sphinx_key": {
                        "rotation_id": node.rotation_id,
                        "public_key": b58encode(node.sphinx_key),
                    },
                    "pre_announced_x25519_sphinx_key": None,
                    "x25519_versioned_noise": None,
                },
            },
            "declared_role": declared_roles_json(node.roles),
            "auxiliary_details": {
                "location": node.country,
                "announce_ports": {"verloc_port": None, "mix_port": node.mix_port},
                "accepted_operator_terms_and_conditions": False,
            },
            "build_information": {
                "binary_name": "nym-node",
                "build_timestamp": "",
                "build_version": node.version,
                "commit_sha": "",
                "commit_timestamp": "",
                "commit_branch": "",
                "rustc_version": "",
                "rustc_channel": "",
                "cargo_profile": "",
                "cargo_triple": "",
            },
            "network_requester": requester
            and {"address": requester.address, "uses_exit_policy": requester.uses_exit_policy},
            "ip_packet_router": None if node.ip_packet_router is None else {"address": node.ip_packet_router},
            "authenticator": None,
            "wireguard": None,
            "mixnet_websockets": {"ws_port": node.ws_port, "wss_port": node.wss_port},
        },
    }


def encode_described_page(nodes: Iterable[DescribedNode]) -> str:
    """One page with all nodes."""
    data = [_node_json(node) for node in nodes]
    pagination = {"total": len(data), "page": 0, "size": len(data)}
    return compact({"pagination": pagination, "data": data})
