"""One node of a running network, as its user holds it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from nym_localnet.counters import Faults
from nym_localnet.plan import NodeKind, NodePlan

if TYPE_CHECKING:
    from nym_localnet.host_io import Host


class NodeHandle:
    """Fault knobs, counters and restart of one node, wherever it runs.

    The knobs are plain attributes: `loss` (probability that a received packet is thrown away), `stall`
    (hears and says nothing, keeps its connections), `extra_delay_seconds` (for each packet), `refuse`
    (exits: no to every Connect); of gateways also `clock_offset_seconds`, `refuse_tickets`,
    `lose_ticket_answers` and `charge_factor`, which `Faults` explains. They take effect at once, or within
    the time that a line takes to a worker process.
    """

    def __init__(self, plan: NodePlan, host: Host) -> None:
        self.plan = plan
        self._host = host
        self._faults = Faults(loss=plan.loss)

    @property
    def name(self) -> str:
        """mix1, gateway1, exit1 and so on."""
        return self.plan.name

    @property
    def kind(self) -> NodeKind:
        """What the node is."""
        return self.plan.kind

    @property
    def loss(self) -> float:
        """Probability 0 to 1."""
        return self._faults.loss

    @loss.setter
    def loss(self, value: float) -> None:
        if not 0 <= value <= 1:
            raise ValueError("loss is a probability, 0 to 1")
        self._set(loss=value)

    @property
    def stall(self) -> bool:
        """Hears and says nothing while True."""
        return self._faults.stall

    @stall.setter
    def stall(self, value: bool) -> None:
        self._set(stall=value)

    @property
    def extra_delay_seconds(self) -> float:
        """Added to the delay of each packet."""
        return self._faults.extra_delay_seconds

    @extra_delay_seconds.setter
    def extra_delay_seconds(self, value: float) -> None:
        if value < 0:
            raise ValueError("a delay cannot be negative")
        self._set(extra_delay_seconds=value)

    @property
    def refuse(self) -> bool:
        """Exits: refuses every Connect while True."""
        return self._faults.refuse

    @refuse.setter
    def refuse(self, value: bool) -> None:
        self._set(refuse=value)

    @property
    def clock_offset_seconds(self) -> float:
        """Gateways: so much is the clock ahead."""
        return self._faults.clock_offset_seconds

    @clock_offset_seconds.setter
    def clock_offset_seconds(self, value: float) -> None:
        self._set(clock_offset_seconds=value)

    @property
    def refuse_tickets(self) -> bool:
        """Gateways: refuse every ticket while True."""
        return self._faults.refuse_tickets

    @refuse_tickets.setter
    def refuse_tickets(self, value: bool) -> None:
        self._set(refuse_tickets=value)

    @property
    def lose_ticket_answers(self) -> bool:
        """Gateways: take tickets and cut the connection instead of answering, while True."""
        return self._faults.lose_ticket_answers

    @lose_ticket_answers.setter
    def lose_ticket_answers(self, value: bool) -> None:
        self._set(lose_ticket_answers=value)

    @property
    def charge_factor(self) -> float:
        """Gateways: a packet costs so many times its length."""
        return self._faults.charge_factor

    @charge_factor.setter
    def charge_factor(self, value: float) -> None:
        if value < 0:
            raise ValueError("a packet cannot cost less than nothing")
        self._set(charge_factor=value)

    async def restart(self) -> None:
        """Stop the node, cutting its connections, and start it again with its keys and ports."""
        await self._host.restart(self.name)

    async def counters(self) -> dict[str, dict[str, int]]:
        """Counts by area (`mix`, `gateway`, `exit`), then by name; see `nym_localnet.counters`."""
        return await self._host.counters(self.name)

    def _set(self, **changes: Any) -> None:
        self._host.set_faults(self.name, changes)
        for knob, value in changes.items():
            setattr(self._faults, knob, value)
