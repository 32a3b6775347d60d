"""`nymgate topup plan|now`: what `nymgate run` will buy, and buying one book of it now."""

import json
from typing import TYPE_CHECKING, Annotated

import typer

from nymgate.cli.money import MoneyCommand
from nymgate.cli.options import ProfileOption, SharedFlags, YesOption, with_shared_flags

if TYPE_CHECKING:
    from nym_credentials.topup.budget import Offer, Spent
    from nym_credentials.topup.plan import Plan
    from nymgate.purse.money_io import Money

app = typer.Typer(
    help="Ticketbooks that are bought by themselves.", no_args_is_help=True, rich_markup_mode=None
)


@app.command()
@with_shared_flags
def plan(
    shared: SharedFlags,
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
) -> None:
    """Show what will be bought, when, why and for how much, if use goes on as measured. Buys nothing.

    The same loop that `nymgate run` follows is played forward with the present price and budget. The moments are
    drawn by lot again when the time comes.
    """
    command = MoneyCommand(shared, flags={"mixnet.profile": profile})
    from nymgate.purse.topup_plan_io import plan_fields, planned_purchases

    command.plan.chain  # noqa: B018 - a network without one is told before anything is asked

    async def work(money: "Money") -> "tuple[Plan, Spent, Offer | None]":
        return await planned_purchases(money, days, sessions)

    planned, spent, offer = command.run(work)
    limits = command.plan.limits
    if shared.as_json:
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


@app.command()
@with_shared_flags
def now(
    shared: SharedFlags,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Show the price and what the budget says, and pay nothing.")
    ] = False,
    yes: YesOption = False,
) -> None:
    """Buy one ticketbook now, whether it is needed or not, if the budget permits.

    A running `nymgate run` notices by itself, and goes on at once if it had run out.
    """
    command = MoneyCommand(shared)
    from nymgate.cli.buying import buy_books, show_price
    from zknym import TicketType

    if dry_run:
        show_price(command, TicketType.MIXNET_ENTRY, 1, as_json=shared.as_json)
    else:
        buy_books(command, TicketType.MIXNET_ENTRY, 1, yes=yes, as_json=shared.as_json, quiet=shared.quiet)
