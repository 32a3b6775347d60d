"""`nymgate localnet up`: a whole Nym network on this machine, kept running."""

import json
import os
from pathlib import Path
from typing import Annotated

import typer

from nymgate.cli.options import DataDirOption, JsonOption, QuietOption, VerboseOption, begin, level_flag

app = typer.Typer(
    help="A Nym network of its own on this machine.", no_args_is_help=True, rich_markup_mode=None
)


@app.callback()
def _group() -> None:
    pass  # so that `up` stays a word of its own while it is the only one


@app.command()
def up(
    ctx: typer.Context,
    mixnodes: Annotated[int, typer.Option(metavar="N", help="Mix nodes, spread over three layers.")] = 3,
    gateways: Annotated[int, typer.Option(metavar="N", help="Gateways.")] = 2,
    exits: Annotated[int, typer.Option(metavar="N", help="Exits (network requesters).")] = 1,
    api_port: Annotated[int, typer.Option(metavar="PORT", help="Port of the directory; 0 takes any.")] = 0,
    keep: Annotated[
        Path | None,
        typer.Option(
            metavar="FOLDER", help="Keep keys and ports in this folder, to come back as the same network."
        ),
    ] = None,
    pay: Annotated[
        bool,
        typer.Option(
            "--pay", help="With a chain, a faucet and signers; gateways take tickets and nothing else."
        ),
    ] = False,
    signers: Annotated[int, typer.Option(metavar="N", help="With --pay: signers of tickets.")] = 3,
    threshold: Annotated[
        int, typer.Option(metavar="N", help="With --pay: signers that it takes to issue a ticketbook.")
    ] = 2,
    ticket_scale: Annotated[
        float,
        typer.Option(
            metavar="FACTOR",
            help="With --pay: a ticket buys this part of its bytes. Clients of upstream need 1.",
        ),
    ] = 1.0,
    chain_port: Annotated[
        int, typer.Option(metavar="PORT", help="With --pay: port of the chain; 0 takes any.")
    ] = 0,
    data_dir: DataDirOption = None,
    as_json: JsonOption = False,
    verbose: VerboseOption = 0,
    quiet: QuietOption = 0,
) -> None:
    """Bring up mix nodes, gateways, an exit and their directory on loopback, until Ctrl-C."""
    state = begin(ctx, as_json=as_json, verbose=verbose, quiet=quiet)
    from nymgate.cli.options import load_configuration
    from nymgate.cli.run import run_loop
    from nymgate.config_layers import data_dir as data_folder
    from nymgate.logs import configure_logs
    from nymgate.networks import LOCALNET_FILE_NAME

    effective = load_configuration(None, {"data_dir": data_dir})
    configure_logs(level=level_flag(state) or "warning", style="json" if as_json else "auto")
    folder = data_folder(effective.config, os.environ)
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)

    from nym_localnet.errors import LocalnetError
    from nym_localnet.localnet_io import Localnet, summary
    from nym_localnet.options import LocalnetOptions, Mode
    from nym_localnet.payment_options import PaymentOptions
    from nymgate.errors import DependencyFailed, ExitCode
    from nymgate.signals_io import until_signal

    async def main() -> None:
        options = LocalnetOptions(
            mixnodes=mixnodes,
            gateways=gateways,
            exits=exits,
            mode=Mode.PROCESSES,
            nym_api_port=api_port,
            data_dir=keep,
            network_file=folder / LOCALNET_FILE_NAME,
            pay=pay,
            payment=PaymentOptions(
                signers=signers, threshold=threshold, ticket_scale=ticket_scale, chain_port=chain_port
            ),
        )
        async with Localnet(options) as net:
            facts = summary(net)
            if as_json:
                typer.echo(json.dumps(facts))
            else:
                echo_facts(facts)
            await until_signal(net.wait_lost())

    try:
        run_loop(main())
    except LocalnetError as error:
        raise DependencyFailed(
            f"The local network failed: {str(error).rstrip('.')}.",
            "Correct the options, or run again with -v.",
            layer="localnet",
            code="E_LOCALNET",
            exit_code=ExitCode.FAILED,
        ) from error


def echo_facts(facts: dict[str, object]) -> None:
    """What to connect to."""
    typer.echo(f"A Nym network is up. Its directory: {facts['nym_api']}")
    gateways, exits = facts["gateways"], facts["exits"]
    assert isinstance(gateways, dict)
    assert isinstance(exits, list)
    for identity, url in gateways.items():
        typer.echo(f"  gateway  {identity}  {url}")
    for address in exits:
        typer.echo(f"  exit     {address}")
    if "chain" in facts:
        echo_payments(facts)
    typer.echo(f"  files    {facts['folder']}  (network.json for clients of upstream)")
    if "chain" in facts:
        typer.echo("In another terminal:")
        typer.echo("  nymgate account set --network localnet")
        typer.echo(f'  curl -d \'{{"address": "n1…"}}\' {facts["faucet"]}')
        typer.echo("  nymgate account obtain-ticketbooks --amount 1 --network localnet")
        typer.echo("  nymgate run --network localnet")
    else:
        typer.echo("In another terminal: nymgate run --network localnet")
    typer.echo("Ctrl-C ends it.")


def echo_payments(facts: dict[str, object]) -> None:
    """Where money comes from and goes to."""
    signers = facts["signers"]
    assert isinstance(signers, list)
    typer.echo(f"  chain    {facts['chain']}  ({facts['chain_id']}, a ticketbook costs {facts['price']})")
    typer.echo(f"  faucet   {facts['faucet']}")
    for url in signers:
        typer.echo(f"  signer   {url}")
    typer.echo(f"  money    {facts['network_toml']}, {facts['network_env']} (programs of upstream)")
