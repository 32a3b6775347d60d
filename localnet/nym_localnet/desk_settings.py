"""How a gateway takes tickets, as its network tells it. Light: worker processes of mix nodes load it too."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, slots=True, kw_only=True)
class DeskSettings:
    """What gateways of this network do with tickets. Plain values: it travels to worker processes as JSON."""

    rpc_url: str
    dkg_address: str
    account: str
    """the gateway's own, which signers are told"""
    scale: float = 1.0
    penalty: float = 10.0
    retry_seconds: float = 300.0

    @classmethod
    def from_json(cls, value: dict[str, Any]) -> DeskSettings:
        """The reverse of `dataclasses.asdict`."""
        return cls(**value)
