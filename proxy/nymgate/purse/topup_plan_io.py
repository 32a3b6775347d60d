"""What will be bought if use goes on as measured: the top-up's own loop played forward, for command and control API."""

import random
import time
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from nymgate.purse.money import explain_refusal

if TYPE_CHECKING:
    from nym_credentials.topup.budget import Offer, Refusal, Spent
    from nym_credentials.topup.plan import Plan, PlannedPurchase
    from nymgate.purse.money_io import Money


async def planned_purchases(
    money: "Money", days: float, sessions: int | None = None
) -> "tuple[Plan, Spent, Offer | None]":
    """The plan for so many days, what is spent of the budget, and the present price (None without an account).

    ``sessions``: clients that send; as many as ran last unless given.
    """
    from nym_credentials.tickets.rules import utc_day
    from nym_credentials.topup.budget import Spent
    from nym_credentials.topup.control import TopUpControl
    from nym_credentials.topup.plan import plan as make_plan
    from nym_credentials.topup.topup_io import lots_of, offer_of
    from nymgate.purse.burn_feed_io import remembered_meter
    from zknym import TicketType

    settings, now = money.plan.config, time.time()
    meter, facts = await remembered_meter(money.store, settings.mixnet.profile, settings.tickets.ticket_size)
    offer = None
    if await money.phrase() is not None:
        async with money.quoter() as buyer:
            offer = offer_of(await buyer.quote())
    payments = await money.payments()
    lots = lots_of(await money.books(), TicketType.MIXNET_ENTRY, utc_day(now))
    known = facts.get("sessions")
    if sessions is None:
        sessions = known if isinstance(known, int) and known > 0 else 1
    control = TopUpControl(money.plan.settings, meter, random.SystemRandom())
    control.decide(now, lots, sessions=sessions)  # so that it knows how the supply is
    planned = make_plan(
        control,
        now,
        lots,
        limits=money.plan.limits,
        offer=offer,
        payments=payments,
        sessions=sessions,
        days=days,
    )
    return planned, Spent.of(payments, now), offer


def plan_fields(planned: "Plan", spent: "Spent", offer: "Offer | None") -> dict[str, Any]:
    """For JSON."""
    found = planned.assessment
    return {
        "made_unix": planned.made_unix,
        "days": planned.days,
        "supply": planned.supply.value,
        "need": found.need.name.lower(),
        "why": found.why,
        "tickets": found.tickets,
        "urgent_below": found.floor,
        "lasts_until_unix": found.out_unix,
        "sessions": planned.sessions,
        "tickets_per_day": planned.per_day,
        "tickets_per_awake_hour": planned.per_awake_hour,
        "purchases": [_purchase_fields(item) for item in planned.purchases],
        "cost_unym": planned.cost,
        "spent_unym": {"day": spent.day, "month": spent.month},
        "price_unym": None if offer is None else offer.price,
        "fee_unym": None if offer is None else offer.fee,
        "balance_unym": None if offer is None else offer.balance,
    }


def _purchase_fields(item: "PlannedPurchase") -> dict[str, Any]:
    return {
        "unix": item.unix,
        "utc": datetime.fromtimestamp(item.unix, UTC).strftime("%Y-%m-%dT%H:%M:%SZ"),
        "why": item.why,
        "price_unym": item.price,
        **refusal_fields(item.refusal),
    }


def refusal_fields(refusal: "Refusal | None") -> dict[str, Any]:
    """For JSON: what the budget says."""
    if refusal is None:
        return {"permitted": True, "refusal": None}
    ours = explain_refusal(refusal)
    said = {"code": ours.code, "what": ours.what, "todo": ours.todo, "until_unix": refusal.until_unix}
    return {"permitted": False, "refusal": said}
