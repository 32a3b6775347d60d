"""What will be bought, when and why, if use goes on as projected: a dry run of the loop itself. Pure.

The plan is made by playing the control forward with projected use and the present price. It promises nothing: the
moments are drawn anew when the time comes.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from random import Random
from typing import Final

from nym_credentials.money import format_nym
from nym_credentials.topup.budget import Offer, Payment, Refusal, Spent, judge
from nym_credentials.topup.burn import DAY_SECONDS, Outlook
from nym_credentials.topup.control import Assessment, TopUpControl, Trouble
from nym_credentials.topup.hindrances import Supply
from nym_credentials.topup.settings import BudgetLimits
from nym_credentials.topup.stock import Lot, live

_MOST_LOOKS: Final = 5_000
_SEED: Final = 1
_BOOK_DELAY_SECONDS: Final = 60.0


@dataclass(frozen=True, slots=True)
class PlannedPurchase:
    """One book that will be bought, or refused."""

    unix: float
    """About when."""
    why: str
    price: int | None
    """unym; None if the price is not known."""
    refusal: Refusal | None = None
    """Why the budget will say no, as things stand."""


@dataclass(frozen=True, slots=True)
class Plan:
    """The days to come."""

    made_unix: float
    days: float
    supply: Supply
    assessment: Assessment
    """Of now."""
    sessions: int
    per_day: float
    """Tickets, all sessions together, as projected."""
    per_awake_hour: float
    """Tickets of one session that is awake."""
    purchases: tuple[PlannedPurchase, ...]
    trouble: Trouble | None = None

    @property
    def cost(self) -> int:
        """unym of the books that the budget lets through."""
        return sum(item.price or 0 for item in self.purchases if item.refusal is None)

    def lines(self) -> list[str]:
        """For a terminal."""
        found = self.assessment
        use = (
            f"Use: {self.per_day:.1f} tickets a day as projected, {self.per_awake_hour:.1f} an hour awake for each "
            f"of {self.sessions} session{'s' if self.sessions != 1 else ''}."
        )
        lines = [found.why, use]
        if found.per_day <= 0 and found.tickets:
            lines.append(f"Use is not regular: the next book is bought when {found.floor} tickets are left.")
        if self.trouble is not None:
            lines.append(self.trouble.text)
        for item in self.purchases:
            at = datetime.fromtimestamp(item.unix, UTC).strftime("%Y-%m-%d %H:%M UTC")
            price = "price unknown" if item.price is None else format_nym(item.price)
            said = f"refused: {item.refusal.text}" if item.refusal is not None else item.why
            lines.append(f"{at}, about: a ticketbook, {price}. {said}")
        if not self.purchases:
            lines.append(f"Nothing will be bought within {self.days:g} days.")
        return lines


def plan(
    control: TopUpControl,
    now: float,
    lots: Sequence[Lot],
    *,
    limits: BudgetLimits,
    offer: Offer | None,
    payments: Sequence[Payment] = (),
    sessions: int = 1,
    days: float = 7.0,
) -> Plan:
    """Plays the control forward over `days`. `offer`: price, fee and balance of now, None if they are not known."""
    player = control.copy(Random(_SEED))  # noqa: S311 - a forecast, not a secret
    expected = control.meter.forecast(now, Outlook.EXPECTED, sessions)
    hand, paid, moment, end = list(lots), list(payments), now, now + days * DAY_SECONDS
    balance = offer.balance if offer is not None else 0
    owed, found = 0.0, control.assess(now, lots, sessions)
    bought: list[PlannedPurchase] = []
    for _ in range(_MOST_LOOKS):
        # Of the ticket that was claimed last the gateway still grants the rest.
        decision = player.decide(moment, hand, sessions=sessions, granted=1.0 - owed)
        if decision.buy:
            refusal = None
            if offer is not None:
                now_offer = Offer(offer.price, offer.fee, balance)
                refusal = judge(limits, now_offer, Spent.of(paid, moment), moment)
            if refusal is None or not bought or bought[-1].refusal is None:
                price = offer.price if offer is not None else None
                bought.append(PlannedPurchase(moment, decision.why, price, refusal))
            if refusal is not None:
                step = max(player.refused(moment, refusal).retry_unix, moment + 3600.0)
            else:
                step = moment + _BOOK_DELAY_SECONDS
                if offer is not None:
                    balance -= offer.price + offer.fee
                    paid.append(Payment(moment, offer.price))
        else:
            refusal, step = None, decision.look_unix
        until = min(end, max(step, moment + 1.0))
        used = expected.use(moment, until)
        player.meter.observe(moment, until, used, sessions=sessions)
        owed += used
        hand = live(hand, until)
        while owed >= 1.0 and hand:
            owed -= 1.0
            hand = [lot for lot in (Lot(hand[0].tickets - 1, hand[0].dies_unix), *hand[1:]) if lot.tickets]
        owed = min(owed, 1.0)
        if decision.buy and refusal is None:
            hand.append(Lot.bought(until))
            player.bought(until)
        moment = until
        if moment >= end:
            break
    return Plan(
        made_unix=now,
        days=days,
        supply=control.supply,
        assessment=found,
        sessions=sessions,
        per_day=expected.per_day,
        per_awake_hour=control.meter.per_awake_hour(),
        purchases=tuple(bought),
        trouble=control.trouble,
    )
