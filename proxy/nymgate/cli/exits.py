"""`nymgate exits`: through whom one can leave the mixnet."""

import json
import os
from typing import TYPE_CHECKING, Annotated

import typer

from nymgate.cli.options import (
    ConfigOption,
    CountryOption,
    JsonOption,
    NetworkOption,
    NymApiOption,
    QuietOption,
    VerboseOption,
    begin,
    countries_given,
    load_configuration,
)
from nymgate.errors import CommandRefused

if TYPE_CHECKING:
    from nym_mixnet.topology import Topology
    from nym_sphinx import Recipient
    from nymgate.exits.choice import ExitCandidate
    from nymgate.exits.listing import Probed

ProbeOption = Annotated[
    bool,
    typer.Option(
        "--probe",
        help="Ask each over the mixnet whether it is alive and which ports it permits: about twelve packets each. "
        "Not with tickets, of which a connection of its own would cost one.",
    ),
]


def exits(
    ctx: typer.Context,
    config: ConfigOption = None,
    network: NetworkOption = None,
    nym_api: NymApiOption = None,
    country: CountryOption = None,
    probe: ProbeOption = False,
    as_json: JsonOption = False,
    verbose: VerboseOption = 0,
    quiet: QuietOption = 0,
) -> None:
    """List the exits of the network, and which of them this configuration may use."""
    begin(ctx, as_json=as_json, verbose=verbose, quiet=quiet)
    wanted = countries_given(country)
    effective = load_configuration(config, {"network": network, "mixnet.nym_api": nym_api})
    import asyncio

    from nym_mixnet.store_io import remembered_gateway
    from nymgate import wiring
    from nymgate.config_layers import data_dir
    from nymgate.exits.choice import Reachable, listed_exits
    from nymgate.exits.listing import exit_lines, exit_rows
    from nymgate.exits.probe_io import probe_exits

    plan = wiring.make_plan(effective.config, data_dir(effective.config, os.environ))
    if probe and plan.money.pay:
        raise CommandRefused(
            "Probing takes a connection of its own, and each costs a ticket.",
            "The running proxy asks the exits it uses: see `nymgate status`. Or set tickets.enabled to false where "
            "gateways give a free allowance.",
        )

    async def ask() -> "tuple[Topology, list[ExitCandidate], dict[Recipient, Probed]]":
        source = wiring.topology_source(plan)
        topology = await source.fetch()
        listed = listed_exits(await source.described_nodes(), source.gateway_scores)
        if wanted is not None:
            listed = [each for each in listed if each.country in wanted]
        return topology, listed, await probe_exits(plan, listed) if probe and listed else {}

    topology, listed, probed = asyncio.run(ask())
    entry = plan.entry_wish.identity or remembered_gateway(plan.folder)
    rows = exit_rows(listed, Reachable(lambda: topology)(), plan.exit_wish, entry, probed)
    if as_json:
        typer.echo(json.dumps(rows, ensure_ascii=False))
    else:
        typer.echo("\n".join(exit_lines(rows, probed=probe)))
