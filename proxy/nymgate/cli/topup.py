"""`nymgate topup plan|now`: what `nymgate run` will buy, and buying one book of it now."""

import json
import time
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Annotated, Any

import typer

from nymgate.cli.money import MoneyCommand
from nymgate.cli.options import (
    ConfigOption,
    DataDirOption,
    JsonOption,
    NetworkOption,
    ProfileOption,
    QuietOption,
    VerboseOption,
    YesOption,
)

if TYPE_CHECKING:
    from nym_credentials.topup.budget import Offer, Spent
    from nym_credentials.topup.plan import Plan, PlannedPurchase
    from nymgate.money_io import Money

app = typer.Typer(
    help="Ticketbooks that are bought by themselves.", no_args_is_help=True, rich_markup_mode=None
)


@app.command()
def plan(
    ctx: typer.Context,
    days: Annotated[
        float, typer.Option("--days", metavar="N", min=0.1, max=31.0, help="How far ahead.")
    ] = 7.0,
    sessions: Annotated[
        int | None,
        typer.Option(
            "--sessions",
            metavar="N",
            min=1,
            max=1000,
            help="Clients that send: workers or replicas times identities. Without it as many as ran last.",
        ),
    ] = None,
    profile: ProfileOption = None,
    config: ConfigOption = None,
    network: NetworkOption = None,
    data_dir: DataDirOption = None,
    as_json: JsonOption = False,
    verbose: VerboseOption = 0,
    quiet: QuietOption = 0,
) -> None:
    """Show what will be bought, when, why and for how much, if use goes on as measured. Buys nothing.

    The same loop that `nymgate run` follows is played forward with the present price and budget. The moments are
    drawn by lot again when the time comes.
    """
    command = MoneyCommand(
        ctx,
        config=config,
        network=network,
        data_dir=data_dir,
        as_json=as_json,
        verbose=verbose,
        quiet=quiet,
        flags={"mixnet.profile": profile},
    )
    command.plan.chain  # noqa: B018 - a network without one is told before anything is asked

    async def work(money: "Money") -> "tuple[Plan, Spent, Offer | None]":
        return await _planned(money, days, sessions)

    planned, spent, offer = command.run(work)
    limits = command.plan.limits
    if as_json:
        typer.echo(json.dumps(plan_fields(planned, spent, offer) | {"tops_up": command.plan.tops_up}))
        return
    from nym_credentials.money import format_nym

    typer.echo("\n".join(planned.lines()))
    held = "no account is set" if offer is None else f"the account holds {format_nym(offer.balance)}"
    typer.echo(f"Cost: {format_nym(planned.cost)} within {days:g} days; {held}.")
    typer.echo(
        f"Budget: {limits}. Spent: {format_nym(spent.day)} today, {format_nym(spent.month)} this month (UTC)."
    )
    if not command.plan.tops_up:
        typer.echo("Nothing of it is bought by itself: tickets.top_up or tickets.enabled is false.")


async def _planned(money: "Money", days: float, sessions: int | None) -> "tuple[Plan, Spent, Offer | None]":
    import random

    from nym_credentials.tickets.rules import utc_day
    from nym_credentials.topup.budget import Spent
    from nym_credentials.topup.control import TopUpControl
    from nym_credentials.topup.plan import plan as make_plan
    from nym_credentials.topup.topup_io import lots_of, offer_of
    from nymgate.burn_feed_io import remembered_meter
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
    """For --json."""
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
    from nymgate.cli.buying import refusal_fields

    return {
        "unix": item.unix,
        "utc": datetime.fromtimestamp(item.unix, UTC).strftime("%Y-%m-%dT%H:%M:%SZ"),
        "why": item.why,
        "price_unym": item.price,
        **refusal_fields(item.refusal),
    }


@app.command()
def now(
    ctx: typer.Context,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Show the price and what the budget says, and pay nothing.")
    ] = False,
    yes: YesOption = False,
    config: ConfigOption = None,
    network: NetworkOption = None,
    data_dir: DataDirOption = None,
    as_json: JsonOption = False,
    verbose: VerboseOption = 0,
    quiet: QuietOption = 0,
) -> None:
    """Buy one ticketbook now, whether it is needed or not, if the budget permits.

    A running `nymgate run` notices by itself, and goes on at once if it had run out.
    """
    command = MoneyCommand(
        ctx,
        config=config,
        network=network,
        data_dir=data_dir,
        as_json=as_json,
        verbose=verbose,
        quiet=quiet,
    )
    from nymgate.cli.buying import buy_books, show_price
    from zknym import TicketType

    if dry_run:
        show_price(command, TicketType.MIXNET_ENTRY, 1, as_json=as_json)
    else:
        buy_books(command, TicketType.MIXNET_ENTRY, 1, yes=yes, as_json=as_json, quiet=quiet)
