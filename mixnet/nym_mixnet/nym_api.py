"""The bodies of the directory's topology routes in JSON (docs/protocol/04 §10; vectors: ``nym_api``).

Both directions: a client reads what a nym-api writes. Whatever is malformed raises `MalformedTopology` with
the path of the field. Node lists also exist in bincode (`nym_api_bincode`); described nodes are in
`described`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, Literal, TypeVar

from nym_mixnet.errors import MalformedTopology
from nym_mixnet.nym_api_bincode import encode_nodes_page_bincode, parse_nodes_page_bincode
from nym_mixnet.nym_api_models import (
    MINIMUM_GATEWAY_PERFORMANCE_PERCENT,
    MINIMUM_MIXNODE_PERFORMANCE_PERCENT,
    NO_UPDATES,
    ROLE_NAMES,
    DeclaredRoles,
    EntryInformation,
    Interval,
    KeyRotationInfo,
    NodesMetadata,
    NodesPage,
    NoiseKey,
    SemiSkimmedNode,
    SkimmedNode,
    build_topology,
    checked_performance,
)
from nym_mixnet.timestamps import (
    NANOSECONDS,
    format_rfc3339,
    format_spaced,
    parse_rfc3339,
    time_or_epoch,
)
from nym_mixnet.topology import RewardedSet, read_ip_addresses, read_rewarded_set, rewarded_set_json
from nym_mixnet.wire_json import U32_MAX, Fields, JsonFaultError, compact, load_json
from nym_sphinx.base58 import b58encode

PATH_KEY_ROTATION_INFO = "/v1/epoch/key-rotation-info"
PATH_REWARDED_SET = "/v1/nym-nodes/rewarded-set"
PATH_ACTIVE_MIXNODES = "/v2/unstable/nym-nodes/skimmed/mixnodes/active"
PATH_ENTRY_GATEWAYS = "/v2/unstable/nym-nodes/skimmed/entry-gateways"
PATH_SKIMMED = "/v2/unstable/nym-nodes/skimmed"
PATH_SEMI_SKIMMED = "/v2/unstable/nym-nodes/semi-skimmed"
PATH_NODES_BY_ADDRESSES = "/v1/unstable/nym-nodes/by-addresses"

_ROLE_ALIASES = {"entry": "EntryGateway", "gateway": "EntryGateway", "exit": "ExitGateway"}

_Read = TypeVar("_Read")

# ---- reading --------------------------------------------------------------------------------------------


def reading(text: str | bytes, read: Callable[[Fields], _Read]) -> _Read:
    try:
        return read(Fields(load_json(text)))
    except JsonFaultError as fault:
        raise MalformedTopology(fault.path, fault.problem) from None


def length_of(fields: Fields) -> int:
    nanos = fields.integer("nanos", 0, U32_MAX)
    return fields.u64("secs") * NANOSECONDS + nanos


def rfc3339_of(fields: Fields, name: str) -> int:
    text = fields.text(name)
    try:
        return parse_rfc3339(text)
    except (ValueError, OverflowError):
        raise JsonFaultError(fields.at(name), "an RFC 3339 time expected") from None


def _read_status(fields: Fields) -> Interval | Literal["no-updates"] | None:
    if not fields.given("status"):
        return None
    if fields.raw("status") == NO_UPDATES:
        return NO_UPDATES
    fresh = fields.object("status").object("fresh")
    return Interval(
        interval_id=fresh.u32("id"),
        epochs_in_interval=fresh.u32("epochs_in_interval"),
        current_epoch_start=rfc3339_of(fresh, "current_epoch_start"),
        current_epoch_id=fresh.u32("current_epoch_id"),
        epoch_length=length_of(fresh.object("epoch_length")),
        total_elapsed_epochs=fresh.u32("total_elapsed_epochs"),
    )


def _read_metadata(fields: Fields) -> NodesMetadata:
    return NodesMetadata(
        absolute_epoch_id=fields.u32("absolute_epoch_id"),
        rotation_id=fields.u32("rotation_id"),
        refreshed_at=time_or_epoch(fields.text("refreshed_at")),
        status=_read_status(fields),
    )


def _read_role(fields: Fields) -> int | str:
    name = "role" if fields.has("role") else "epoch_role" if fields.has("epoch_role") else "role"
    role = fields.raw(name)
    if isinstance(role, str):
        role = _ROLE_ALIASES.get(role, role)
        if role not in ROLE_NAMES:
            raise JsonFaultError(fields.at(name), "unknown role")
        return role
    return fields.object(name).object("Mixnode").u8("layer")


def read_declared_roles(fields: Fields) -> DeclaredRoles:
    return DeclaredRoles(*(fields.flag(name) for name in ("mixnode", "entry", "exit_nr", "exit_ipr")))


def _read_entry(fields: Fields) -> EntryInformation:
    return EntryInformation(
        fields.u16("ws_port"), fields.optional_text("hostname"), fields.optional_u16("wss_port")
    )


def _read_skimmed(fields: Fields) -> SkimmedNode:
    entry = fields.optional_object("entry")
    performance = fields.text("performance")
    try:
        checked_performance(performance)
    except ValueError as error:
        raise JsonFaultError(fields.at("performance"), str(error)) from None
    roles = read_declared_roles(fields.object("supported_roles")) if fields.has("supported_roles") else None
    return SkimmedNode(
        node_id=fields.u32("node_id"),
        identity=fields.base58_key("ed25519_identity_pubkey"),
        ip_addresses=read_ip_addresses(fields, "ip_addresses"),
        mix_port=fields.u16("mix_port"),
        sphinx_key=fields.base58_key("x25519_sphinx_pubkey"),
        role=_read_role(fields),
        supported_roles=roles or DeclaredRoles(),
        entry=None if entry is None else _read_entry(entry),
        performance=performance,
    )


def parse_nodes_page(text: str | bytes) -> NodesPage:
    """A page of skimmed nodes in JSON."""

    def read(fields: Fields) -> NodesPage:
        listing = fields.object("nodes")
        pagination = listing.object("pagination")
        return NodesPage(
            metadata=_read_metadata(fields.object("metadata")),
            nodes=tuple(_read_skimmed(node) for node in listing.objects("data")),
            total=pagination.u64("total"),
            page=pagination.u32("page"),
        )

    return reading(text, read)


def parse_semi_skimmed(text: str | bytes) -> tuple[NodesMetadata, tuple[SemiSkimmedNode, ...]]:
    """A page of semi-skimmed nodes in JSON."""

    def read_node(fields: Fields) -> SemiSkimmedNode:
        key = fields.optional_object("x25519_noise_versioned_key")
        return SemiSkimmedNode(
            _read_skimmed(fields.object("basic")),
            None if key is None else NoiseKey(key.u8("supported_version"), key.base58_key("x25519_pubkey")),
        )

    def read(fields: Fields) -> tuple[NodesMetadata, tuple[SemiSkimmedNode, ...]]:
        nodes = tuple(read_node(node) for node in fields.object("nodes").objects("data"))
        return _read_metadata(fields.object("metadata")), nodes

    return reading(text, read)


def parse_rewarded_set(text: str | bytes) -> RewardedSet:
    return reading(text, read_rewarded_set)


def parse_key_rotation_info(text: str | bytes) -> KeyRotationInfo:
    """Key-rotation info; lengths of zero, which would be divided by, are refused."""

    def read(fields: Fields) -> KeyRotationInfo:
        state = fields.object("key_rotation_state")
        duration = fields.object("epoch_duration")
        info = KeyRotationInfo(
            validity_epochs=state.integer("validity_epochs", 1, U32_MAX),
            initial_epoch_id=state.u32("initial_epoch_id"),
            current_absolute_epoch_id=fields.u32("current_absolute_epoch_id"),
            current_epoch_start=rfc3339_of(fields, "current_epoch_start"),
            epoch_duration=length_of(duration),
        )
        if info.epoch_duration == 0:
            raise JsonFaultError(duration.path, "an epoch must last longer than nothing")
        return info

    return reading(text, read)


def parse_addresses_request(text: str | bytes) -> tuple[str, ...]:
    """Which nodes have these IP addresses?"""
    return reading(text, lambda fields: read_ip_addresses(fields, "addresses"))


def parse_addresses_response(text: str | bytes) -> dict[str, int | None]:
    """IP address → node id, or None for an address nobody has."""

    def read(fields: Fields) -> dict[str, int | None]:
        existence = fields.object("existence")
        return {ip: existence.u32(ip) if existence.given(ip) else None for ip in existence.values}

    return reading(text, read)


# ---- writing --------------------------------------------------------------------------------------------


def _length_json(nanoseconds: int) -> dict[str, int]:
    seconds, nanos = divmod(nanoseconds, NANOSECONDS)
    return {"secs": seconds, "nanos": nanos}


def _status_json(status: Interval | Literal["no-updates"] | None) -> Any:
    if not isinstance(status, Interval):
        return status
    return {
        "fresh": {
            "id": status.interval_id,
            "epochs_in_interval": status.epochs_in_interval,
            "current_epoch_start": format_rfc3339(status.current_epoch_start),
            "current_epoch_id": status.current_epoch_id,
            "epoch_length": _length_json(status.epoch_length),
            "total_elapsed_epochs": status.total_elapsed_epochs,
        }
    }


def _metadata_json(metadata: NodesMetadata) -> dict[str, Any]:
    return {
        "status": _status_json(metadata.status),
        "absolute_epoch_id": metadata.absolute_epoch_id,
        "rotation_id": metadata.rotation_id,
        "refreshed_at": format_spaced(metadata.refreshed_at),
    }


def declared_roles_json(roles: DeclaredRoles) -> dict[str, bool]:
    return {
        "mixnode": roles.mixnode,
        "entry": roles.entry,
        "exit_nr": roles.exit_nr,
        "exit_ipr": roles.exit_ipr,
    }


def _skimmed_json(node: SkimmedNode) -> dict[str, Any]:
    entry = node.entry
    return {
        "node_id": node.node_id,
        "ed25519_identity_pubkey": b58encode(node.identity),
        "ip_addresses": list(node.ip_addresses),
        "mix_port": node.mix_port,
        "x25519_sphinx_pubkey": b58encode(node.sphinx_key),
        "role": node.role if isinstance(node.role, str) else {"Mixnode": {"layer": node.role}},
        "supported_roles": declared_roles_json(node.supported_roles),
        "entry": entry and {"hostname": entry.hostname, "ws_port": entry.ws_port, "wss_port": entry.wss_port},
        "performance": node.performance,
    }


def _page_json(metadata: NodesMetadata, nodes: Sequence[Any], total: int, page: int) -> str:
    return compact(
        {
            "metadata": _metadata_json(metadata),
            "nodes": {"pagination": {"total": total, "page": page, "size": len(nodes)}, "data": nodes},
        }
    )


def encode_nodes_page(page: NodesPage) -> str:
    return _page_json(page.metadata, [_skimmed_json(node) for node in page.nodes], page.total, page.page)


def encode_semi_skimmed(metadata: NodesMetadata, nodes: Iterable[SemiSkimmedNode]) -> str:
    data = [
        {
            "basic": _skimmed_json(node.basic),
            "x25519_noise_versioned_key": node.noise_key
            and {
                "supported_version": node.noise_key.supported_version,
                "x25519_pubkey": b58encode(node.noise_key.public_key),
            },
        }
        for node in nodes
    ]
    return _page_json(metadata, data, len(data), 0)


def encode_rewarded_set(rewarded: RewardedSet) -> str:
    return compact(rewarded_set_json(rewarded))


def encode_key_rotation_info(info: KeyRotationInfo) -> str:
    rotation = info.rotation_of(info.current_absolute_epoch_id)
    first = info.initial_epoch_id + rotation * info.validity_epochs
    return compact(
        {
            "key_rotation_state": {
                "validity_epochs": info.validity_epochs,
                "initial_epoch_id": info.initial_epoch_id,
            },
            "current_absolute_epoch_id": info.current_absolute_epoch_id,
            "current_epoch_start": format_rfc3339(info.current_epoch_start),
            "epoch_duration": _length_json(info.epoch_duration),
            "progress": {
                "current_key_rotation_id": rotation,
                "current_rotation_starting_epoch": first,
                "current_rotation_ending_epoch": first + info.validity_epochs - 1,
            },
        }
    )


def encode_addresses_request(addresses: Iterable[str]) -> str:
    return compact({"addresses": list(addresses)})


def encode_addresses_response(existence: Mapping[str, int | None]) -> str:
    return compact({"existence": dict(existence)})


__all__ = [
    "MINIMUM_GATEWAY_PERFORMANCE_PERCENT",
    "MINIMUM_MIXNODE_PERFORMANCE_PERCENT",
    "NO_UPDATES",
    "PATH_ACTIVE_MIXNODES",
    "PATH_ENTRY_GATEWAYS",
    "PATH_KEY_ROTATION_INFO",
    "PATH_NODES_BY_ADDRESSES",
    "PATH_REWARDED_SET",
    "PATH_SEMI_SKIMMED",
    "PATH_SKIMMED",
    "DeclaredRoles",
    "EntryInformation",
    "Interval",
    "KeyRotationInfo",
    "NodesMetadata",
    "NodesPage",
    "NoiseKey",
    "SemiSkimmedNode",
    "SkimmedNode",
    "build_topology",
    "declared_roles_json",
    "encode_addresses_request",
    "encode_addresses_response",
    "encode_key_rotation_info",
    "encode_nodes_page",
    "encode_nodes_page_bincode",
    "encode_rewarded_set",
    "encode_semi_skimmed",
    "length_of",
    "parse_addresses_request",
    "parse_addresses_response",
    "parse_key_rotation_info",
    "parse_nodes_page",
    "parse_nodes_page_bincode",
    "parse_rewarded_set",
    "parse_semi_skimmed",
    "read_declared_roles",
    "reading",
    "rfc3339_of",
]
