"""The SURB bank: reply SURBs supplied ahead of need, in slots that would have been cover (docs/protocol/04 §4.4a).

An anonymous download is limited by the SURBs the exit holds. A shaped client sends a packet in every slot anyhow,
so filling empty slots with SURBs turns idle cover into download capacity and changes nothing an observer can see.
An unshaped client has no empty slots: there SURBs are supplied only while somebody waits for data. Pure.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from nym_sphinx import Recipient

SUPPLY_BATCH_SURBS = 24  # 7 packets, 98 % full: small, so that a new request never waits behind a big one
MAX_GRANT_SURBS = 500  # what we honour of one recipient's requests at a time (docs/protocol/04 §1)


@dataclass(slots=True)
class SurbBank:
    """What one recipient should hold, and what it has asked for."""

    recipient: Recipient
    target: int = 0
    demand: int = 0  # open streams that wait for data
    owed: int = 0  # asked for by the recipient and not yet sent

    def grant(self, amount: int) -> int:
        """Note a request of the recipient; returns what will be honoured of it."""
        honoured = max(0, min(amount, MAX_GRANT_SURBS - self.owed))
        self.owed += honoured
        return honoured


@dataclass(frozen=True, slots=True)
class Supply:
    """Make so many SURBs for that recipient; urgent when it asked for them."""

    recipient: Recipient
    count: int
    urgent: bool


@dataclass(slots=True)
class SurbBanks:
    """All banks of one client."""

    _banks: dict[Recipient, SurbBank] = field(default_factory=dict)

    def get(self, recipient: Recipient) -> SurbBank:
        bank = self._banks.get(recipient)
        if bank is None:
            bank = self._banks[recipient] = SurbBank(recipient)
        return bank

    @property
    def wanted(self) -> bool:
        """Whether any bank has a target or a debt."""
        return any(bank.target > 0 or bank.owed for bank in self._banks.values())

    @property
    def owed(self) -> int:
        """SURBs recipients asked for and that are not made yet."""
        return sum(bank.owed for bank in self._banks.values())

    def next_urgent(self) -> Supply | None:
        """SURBs somebody asked for; takes them off the debt."""
        for bank in self._banks.values():
            if bank.owed:
                count = min(bank.owed, SUPPLY_BATCH_SURBS)
                bank.owed -= count
                return Supply(bank.recipient, count, urgent=True)
        return None

    def next_idle(self, stock: dict[Recipient, int], *, shaped: bool) -> Supply | None:
        """SURBs to fill an empty slot with: for the bank that is emptiest relative to its target."""
        best: SurbBank | None = None
        best_level = 1.0
        for recipient, level in stock.items():
            bank = self._banks[recipient]
            if bank.target <= 0 or not (shaped or bank.demand):
                continue
            ratio = level / bank.target
            if ratio < best_level:
                best, best_level = bank, ratio
        if best is None:
            return None
        return Supply(best.recipient, SUPPLY_BATCH_SURBS, urgent=False)

    def recipients(self) -> list[Recipient]:
        return list(self._banks)
