"""When a node is believed (docs/protocol/08 §8): on the right chain, not catching up, with a recent block."""

from __future__ import annotations

from typing import Final
from urllib.parse import urlsplit

from nym_credentials.chain.records import NodeStatus
from nym_credentials.errors import NodeStale, WrongChain, printable

MAX_BLOCK_AGE_SECONDS: Final = 300.0
"""A node whose latest block is older is not believed."""


def shown_url(url: str) -> str:
    """The endpoint for messages: without user, password, path and query, which may hold an operator's access key."""
    parts = urlsplit(url)
    host = f"[{parts.hostname}]" if ":" in (parts.hostname or "") else parts.hostname
    return f"{parts.scheme}://{host}{'' if parts.port is None else f':{parts.port}'}"


def check_node(
    url: str, status: NodeStatus, chain_id: str | None, now: float, max_age_seconds: float
) -> None:
    """Raises `WrongChain` or `NodeStale`. ``chain_id`` None accepts any; ``now`` in seconds since 1970."""
    if chain_id is not None and status.chain_id != chain_id:
        raise WrongChain(
            f"{url} is on the chain {printable(status.chain_id)} instead of {chain_id}.",
            "Name an endpoint of the right network; nothing was signed.",
        )
    age = status.age_seconds(now)
    if status.catching_up or age > max_age_seconds:
        reason = "is still catching up" if status.catching_up else f"knows no block of the last {int(age)} s"
        raise NodeStale(
            f"{url} {reason} (height {status.height}).",
            "Wait, name another endpoint, or set this machine's clock.",
        )
