"""The SURB bank: reply SURBs supplied ahead of need, in slots that would have been cover (docs/protocol/04 §4.4a).

An anonymous download is limited by the SURBs the exit holds. A shaped client sends a packet in every slot anyhow,
so filling empty slots with SURBs turns idle cover into download capacity and changes nothing an observer can see.
An unshaped client has no empty slots: there SURBs are supplied only while somebody waits for data.

The exit cannot be told to wait, only be left without SURBs, and it spends what it has on whatever it has to send. So
while some stream has more waiting than its reader takes, the bank is *throttled*: a trickle keeps the exit from giving
up (it drops what it has queued after a minute without any, docs/protocol/04 §4.5), a faster one comes after messages of
other streams, whose answers share it with the stream that is behind, and answers earn the next ones. Pure.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field

from nym_sphinx import Recipient

SUPPLY_BATCH_SURBS = 24  # 7 packets, 98 % full: small, so that a new request never waits behind a big one
# Enough for a page; a download that takes them faster than they come raises the level.
FIRST_LEVEL_SURBS = 120
MAX_GRANT_SURBS = 500  # what we honour of one recipient's requests at a time (docs/protocol/04 §1)
# One packet of SURBs every 15 s. The exit asks again every 10 to 15 s, each time with a SURB of its reserve: one of the
# three replaces it, one may get lost, the rest becomes a packet of data.
TRICKLE_SURBS = 3
TRICKLE_SECONDS = 15.0
# After a message of a stream whose reader keeps up: a tenth of the time since then. That is 60 SURBs/s for half a
# second, about 200 until the slow trickle is reached, and an answer that takes 10 s waits for one second at most.
STIRRED_TRICKLE_SECONDS = 0.05
STIRRED_TRICKLE_FRACTION = 0.1


@dataclass(slots=True)
class SurbBank:
    """What one recipient should hold, and what it has asked for."""

    recipient: Recipient
    target: int = 0
    demand: int = 0  # open streams that wait for data
    owed: int = 0  # asked for by the recipient and not yet sent
    level: int = FIRST_LEVEL_SURBS  # how full it is kept where every packet is paid for
    reached: bool = False
    throttled: bool = False
    allowance: int = 0  # what may be supplied while throttled
    trickle_at: float = -math.inf
    stirred_at: float = -math.inf  # last message of a stream that keeps up

    def throttle(self, active: bool) -> None:
        """Supply a trickle and what :meth:`allow` says, or everything again."""
        if active is not self.throttled:
            self.throttled = active
            self.allowance = 0

    def stir(self, now: float) -> None:
        """An answer that somebody reads may be needed soon."""
        self.stirred_at = now
        self.trickle_at = min(self.trickle_at, now)

    def allow(self, surbs: int) -> None:
        """So many more while throttled."""
        if self.throttled:
            self.allowance = min(self.allowance + surbs, MAX_GRANT_SURBS)

    def tick(self, now: float) -> None:
        """Let the trickle flow."""
        if self.throttled and now >= self.trickle_at:
            pause = max(STIRRED_TRICKLE_SECONDS, (now - self.stirred_at) * STIRRED_TRICKLE_FRACTION)
            self.trickle_at = now + min(pause, TRICKLE_SECONDS)
            self.allow(TRICKLE_SURBS)

    def wait(self, active: bool) -> None:
        """One more stream waits for data, or one less."""
        self.demand = max(0, self.demand + (1 if active else -1))
        if not self.demand:
            self.level, self.reached = FIRST_LEVEL_SURBS, False

    def wanted_level(self, stock: int, *, shaped: bool) -> int:
        """How many SURBs the recipient should hold now, knowing that it holds `stock`.

        Shaped, the whole target: the slots are there anyhow. Unshaped, a level that doubles each time half of it is
        gone: what a short answer leaves unused was paid for in vain.
        """
        if shaped:
            return self.target
        if not self.demand:
            return 0
        if stock >= self.level:
            self.reached = True
        elif self.reached and stock < self.level / 2:
            self.level, self.reached = self.level * 2, False
        return min(self.level, self.target)

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
    def demanded(self) -> bool:
        """Whether any stream waits for data."""
        return any(bank.demand > 0 for bank in self._banks.values())

    @property
    def owed(self) -> int:
        """SURBs recipients asked for and that are not made yet."""
        return sum(bank.owed for bank in self._banks.values())

    def tick(self, now: float) -> None:
        """Let the trickle of throttled banks flow."""
        for bank in self._banks.values():
            bank.tick(now)

    def next_tick(self) -> float | None:
        """When to call :meth:`tick` and look again; None when nobody is owed a trickle."""
        times = [bank.trickle_at for bank in self._banks.values() if bank.throttled and bank.owed]
        return min(times, default=None)

    def next_urgent(self) -> Supply | None:
        """SURBs somebody asked for; takes them off the debt."""
        for bank in self._banks.values():
            count = min(bank.owed, SUPPLY_BATCH_SURBS)
            if bank.throttled:
                count = min(count, bank.allowance)
                bank.allowance -= count
            if count:
                bank.owed -= count
                return Supply(bank.recipient, count, urgent=True)
        return None

    def next_idle(self, stock: dict[Recipient, int], *, shaped: bool) -> Supply | None:
        """SURBs to fill an empty slot with: for the bank that is emptiest relative to its target."""
        best: SurbBank | None = None
        best_level = 1.0
        for recipient, held in stock.items():
            bank = self._banks[recipient]
            wanted = bank.wanted_level(held, shaped=shaped)
            if wanted <= 0 or bank.throttled:
                continue
            ratio = held / wanted
            if ratio < best_level:
                best, best_level = bank, ratio
        if best is None:
            return None
        return Supply(best.recipient, SUPPLY_BATCH_SURBS, urgent=False)

    def recipients(self) -> list[Recipient]:
        return list(self._banks)
