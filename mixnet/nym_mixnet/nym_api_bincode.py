"""Node lists in bincode (docs/protocol/04 §10.1; vectors: ``nym_api.skimmed_v2_active_bincode_hex``)."""

from __future__ import annotations

from collections.abc import Callable
from ipaddress import ip_address
from typing import Literal, TypeVar

from nym_mixnet.bincode import Reader, Writer
from nym_mixnet.errors import MalformedTopology
from nym_mixnet.nym_api_models import (
    NO_UPDATES,
    ROLE_NAMES,
    DeclaredRoles,
    EntryInformation,
    Interval,
    NodesMetadata,
    NodesPage,
    SkimmedNode,
    checked_performance,
)
from nym_mixnet.timestamps import (
    NANOSECONDS,
    format_rfc3339,
    format_spaced,
    parse_rfc3339,
    time_or_epoch,
)
from nym_mixnet.wire_json import U16_MAX, U32_MAX, U64_MAX
from nym_sphinx.base58 import b58decode, b58encode

_Value = TypeVar("_Value")


def _optional(writer: Writer, value: _Value | None, write: Callable[[_Value], None]) -> None:
    writer.flag(value is not None)
    if value is not None:
        write(value)


def encode_nodes_page_bincode(page: NodesPage) -> bytes:
    """A page of skimmed nodes in bincode."""
    out = Writer()
    metadata = page.metadata
    out.flag(metadata.status is not None)
    if metadata.status == NO_UPDATES:
        out.varint(0)
    elif isinstance(metadata.status, Interval):
        status = metadata.status
        seconds, nanos = divmod(status.epoch_length, NANOSECONDS)
        out.varint(1)
        out.varint(status.interval_id)
        out.varint(status.epochs_in_interval)
        out.text(format_rfc3339(status.current_epoch_start))
        for number in (status.current_epoch_id, seconds, nanos, status.total_elapsed_epochs):
            out.varint(number)
    out.varint(metadata.absolute_epoch_id)
    out.varint(metadata.rotation_id)
    out.text(format_spaced(metadata.refreshed_at))
    for number in (page.total, page.page, len(page.nodes), len(page.nodes)):
        out.varint(number)
    for node in page.nodes:
        _write_skimmed(out, node)
    return out.data()


def _write_skimmed(out: Writer, node: SkimmedNode) -> None:
    out.varint(node.node_id)
    out.text(b58encode(node.identity))
    out.varint(len(node.ip_addresses))
    for text in node.ip_addresses:
        address = ip_address(text)
        out.varint(0 if address.version == 4 else 1)
        out.raw(address.packed)
    out.varint(node.mix_port)
    out.text(b58encode(node.sphinx_key))
    if isinstance(node.role, int):
        out.varint(0)
        out.byte(node.role)
    else:
        out.varint(1 + ROLE_NAMES.index(node.role))
    roles = node.supported_roles
    for role in (roles.mixnode, roles.entry, roles.exit_nr, roles.exit_ipr):
        out.flag(role)
    out.flag(node.entry is not None)
    if node.entry is not None:
        _optional(out, node.entry.hostname, out.text)
        out.varint(node.entry.ws_port)
        _optional(out, node.entry.wss_port, out.varint)
    out.text(node.performance)


def parse_nodes_page_bincode(data: bytes) -> NodesPage:
    """A page of skimmed nodes in bincode; `MalformedTopology` names the node it fails at."""
    source = Reader(data)
    where = "metadata"
    try:
        metadata = _bincode_metadata(source)
        where = "nodes.pagination"
        total, page, _ = source.varint(U64_MAX), source.varint(U32_MAX), source.varint(U64_MAX)
        nodes = []
        for index in range(source.count()):
            where = f"nodes.data[{index}]"
            nodes.append(_bincode_skimmed(source))
        where = ""
        source.end()
    except (ValueError, OverflowError) as error:  # MalformedAddress and bad UTF-8 are ValueErrors
        raise MalformedTopology(where, f"not valid bincode: {error}") from None
    return NodesPage(metadata, tuple(nodes), total, page)


def _bincode_metadata(source: Reader) -> NodesMetadata:
    status: Interval | Literal["no-updates"] | None = None
    if source.flag():
        status = NO_UPDATES if source.varint(1) == 0 else _bincode_interval(source)
    return NodesMetadata(
        absolute_epoch_id=source.varint(U32_MAX),
        rotation_id=source.varint(U32_MAX),
        refreshed_at=time_or_epoch(source.text()),
        status=status,
    )


def _bincode_interval(source: Reader) -> Interval:
    interval_id, epochs = source.varint(U32_MAX), source.varint(U32_MAX)
    start = parse_rfc3339(source.text())
    current, seconds, nanos = source.varint(U32_MAX), source.varint(U64_MAX), source.varint(U32_MAX)
    return Interval(
        interval_id, epochs, start, current, seconds * NANOSECONDS + nanos, source.varint(U32_MAX)
    )


def _bincode_key(source: Reader) -> bytes:
    text = source.text()
    key = b58decode(text) if len(text) <= 64 else b""
    if len(key) != 32:
        raise ValueError("a key of 32 bytes in base58 expected")
    return key


def _bincode_skimmed(source: Reader) -> SkimmedNode:
    node_id = source.varint(U32_MAX)
    identity = _bincode_key(source)
    addresses = tuple(
        str(ip_address(source.raw(4 if source.varint(1) == 0 else 16))) for _ in range(source.count())
    )
    mix_port = source.varint(U16_MAX)
    sphinx_key = _bincode_key(source)
    variant = source.varint(len(ROLE_NAMES))
    role: int | str = source.byte() if variant == 0 else ROLE_NAMES[variant - 1]
    roles = DeclaredRoles(source.flag(), source.flag(), source.flag(), source.flag())
    entry = None
    if source.flag():
        hostname = source.text() if source.flag() else None
        ws_port = source.varint(U16_MAX)
        entry = EntryInformation(ws_port, hostname, source.varint(U16_MAX) if source.flag() else None)
    performance = checked_performance(source.text())
    return SkimmedNode(node_id, identity, addresses, mix_port, sphinx_key, role, roles, entry, performance)
