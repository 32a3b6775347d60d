"""`nymgate privacy`: what others could join from how this instance is used, and what changes that."""

import json
import os
from typing import TYPE_CHECKING

import typer

from nymgate.cli.money import MoneyCommand
from nymgate.cli.options import (
    ConfigOption,
    DataDirOption,
    JsonOption,
    NetworkOption,
    QuietOption,
    VerboseOption,
)

if TYPE_CHECKING:
    from nymgate.privacy.report import Usage
    from nymgate.purse.money_io import Money


def privacy(
    ctx: typer.Context,
    config: ConfigOption = None,
    network: NetworkOption = None,
    data_dir: DataDirOption = None,
    as_json: JsonOption = False,
    verbose: VerboseOption = 0,
    quiet: QuietOption = 0,
) -> None:
    """Say what chain, signers, gateway and exit could join, from how this instance is used, and what changes it.

    Looks at the configuration and at the times, prices and tickets that the store remembers; asks nobody. -v shows
    as well what gives nothing away. Neither addresses nor destinations are shown.
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
    from nymgate.config_layers import data_dir as data_folder
    from nymgate.privacy.facts_io import identities_in, usage_of
    from nymgate.privacy.findings import judge
    from nymgate.privacy.report import Habits, Usage

    plan = command.plan

    async def work(money: "Money") -> "Usage":
        return await usage_of(money)

    path = plan.store.path
    has_store = path is None or path.exists()  # looking makes no store where there is none
    usage = command.run(work) if has_store else Usage()
    folder = data_folder(plan.config, os.environ) / plan.network.name
    report = judge(
        Habits.of(plan.config, pays=plan.pay),
        usage,
        identities=identities_in(folder),
        network=plan.network.name,
        has_store=has_store,
    )
    if as_json:
        typer.echo(json.dumps(report.to_json()))
    else:
        typer.echo("\n".join(report.lines(everything=command.session.verbosity > 0)))
