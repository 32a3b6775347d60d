"""`nymgate gateways`: what one can enter the mixnet by."""

import json
import os
from typing import TYPE_CHECKING, Any

import typer

from nymgate.cli.options import (
    ConfigOption,
    CountryOption,
    JsonOption,
    NetworkOption,
    NymApiOption,
    QuietOption,
    TopologyFileOption,
    VerboseOption,
    begin,
    countries_given,
    load_configuration,
)

if TYPE_CHECKING:
    from nym_mixnet.described import DescribedNode
    from nym_mixnet.topology import Topology


def gateways(
    ctx: typer.Context,
    config: ConfigOption = None,
    network: NetworkOption = None,
    nym_api: NymApiOption = None,
    topology_file: TopologyFileOption = None,
    country: CountryOption = None,
    as_json: JsonOption = False,
    verbose: VerboseOption = 0,
    quiet: QuietOption = 0,
) -> None:
    """List the entry gateways of the network, and which of them have an exit."""
    begin(ctx, as_json=as_json, verbose=verbose, quiet=quiet)
    wanted = countries_given(country)
    flags = {"network": network, "mixnet.nym_api": nym_api, "mixnet.topology_file": topology_file}
    effective = load_configuration(config, flags)
    import asyncio

    from nymgate import wiring
    from nymgate.config_layers import data_dir

    settings = effective.config
    source = wiring.directory(settings, data_dir(settings, os.environ))

    async def ask() -> "tuple[Topology, list[DescribedNode], dict[bytes, int]]":
        return await source.fetch(), await source.described_nodes(), await source.performances()

    rows = [row for row in table(*asyncio.run(ask())) if wanted is None or row["country"] in wanted]
    if as_json:
        typer.echo(json.dumps(rows, ensure_ascii=False))
    else:
        show(rows)


def table(
    topology: "Topology", described: "list[DescribedNode]", performances: "dict[bytes, int]"
) -> list[dict[str, Any]]:
    """One row for each gateway that clients can connect to, by country."""
    from nym_sphinx import b58encode

    about = {node.identity: node for node in described}
    rows = []
    for node in topology.entry_gateways():
        told = about.get(node.identity)
        requester = told.network_requester if told is not None else None
        rows.append(
            {
                "identity": b58encode(node.identity),
                "node_id": node.node_id,
                "country": told.country if told is not None else None,
                "performance_percent": performances.get(node.identity),
                "roles": [
                    name
                    for name, has in (
                        ("mixnode", node.roles.mixnode),
                        ("entry", node.roles.mixnet_entry),
                        ("exit", node.roles.mixnet_exit or requester is not None),
                    )
                    if has
                ],
                "exit": requester.address if requester is not None else None,
                "urls": node.gateway_urls(),
            }
        )
    return sorted(rows, key=lambda row: (row["country"] or "~", row["identity"]))


def show(rows: list[dict[str, Any]]) -> None:
    """As text: identities are for copying, so nothing is cut."""
    if not rows:
        typer.echo("The network lists no entry gateways here.")
        return
    typer.echo(f"{'identity':<44}  {'country':<7}  {'performance':>11}  {'roles':<12}  exit")
    for row in rows:
        percent = row["performance_percent"]
        performance = "-" if percent is None else f"{percent} %"
        typer.echo(
            f"{row['identity']:<44}  {row['country'] or '-':<7}  {performance:>11}  {','.join(row['roles']):<12}  "
            f"{row['exit'] or '-'}"
        )
