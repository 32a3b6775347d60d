"""`nymgate privacy`: what others could join from how this instance is used, and what changes that."""

import json
from typing import TYPE_CHECKING

import typer

from nymgate.cli.money import MoneyCommand
from nymgate.cli.options import SharedFlags, with_shared_flags

if TYPE_CHECKING:
    from nymgate.privacy.report import Usage
    from nymgate.purse.money_io import Money


@with_shared_flags
def privacy(
    shared: SharedFlags,
) -> None:
    """Say what chain, signers, gateway and exit could join, from how this instance is used, and what changes it.

    Looks at the configuration and at the times, prices and tickets that the store remembers; asks nobody. -v shows
    as well what gives nothing away. Neither addresses nor destinations are shown.
    """
    command = MoneyCommand(shared)
    from nymgate.privacy.facts_io import identities_in, usage_of
    from nymgate.privacy.findings import judge
    from nymgate.privacy.report import Habits, Usage

    plan = command.plan

    async def work(money: "Money") -> "Usage":
        return await usage_of(money)

    path = plan.store.path
    has_store = path is None or path.exists()  # looking makes no store where there is none
    usage = command.run(work) if has_store else Usage()
    report = judge(
        Habits.of(plan.config, pays=plan.pay),
        usage,
        identities=identities_in(plan.folder),
        network=plan.network.name,
        has_store=has_store,
    )
    if shared.as_json:
        typer.echo(json.dumps(report.to_json()))
    else:
        typer.echo("\n".join(report.lines(everything=command.session.verbosity > 0)))
