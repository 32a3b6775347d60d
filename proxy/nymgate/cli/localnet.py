"""`nymgate localnet up`: a whole Nym network on this machine, kept running."""

import json
import os
import secrets
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Final

import typer

from nymgate.cli.money import MoneyCommand
from nymgate.cli.options import (
    ConfigOption,
    DataDirOption,
    JsonOption,
    QuietOption,
    SharedFlags,
    VerboseOption,
    begin,
    level_flag,
)
from nymgate.errors import DependencyFailed, ExitCode

if TYPE_CHECKING:
    from nymgate.purse.money_io import Money

FAUCET_SECONDS: Final = 30

app = typer.Typer(
    help="A Nym network of its own on this machine.", no_args_is_help=True, rich_markup_mode=None
)


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
    from nymgate.folder_io import cannot_be_made
    from nymgate.logs import configure_logs
    from nymgate.networks import LOCALNET_FILE_NAME

    effective = load_configuration(None, {"data_dir": data_dir})
    configure_logs(level=level_flag(state) or "warning", style="json" if as_json else "auto")
    folder = data_folder(effective.config, os.environ)
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    except OSError as error:
        raise cannot_be_made(folder, error) from error

    from nym_localnet.errors import BadOptions, LocalnetError
    from nym_localnet.localnet_io import Localnet, summary
    from nym_localnet.options import LocalnetOptions, Mode
    from nym_localnet.payment_options import PaymentOptions
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
                echo_facts(facts, ticket_scale)
            await until_signal(net.wait_lost())

    try:
        run_loop(main())
    except LocalnetError as error:
        refused = isinstance(error, BadOptions)
        what = "There can be no such local network" if refused else "The local network failed"
        raise DependencyFailed(
            f"{what}: {str(error).rstrip('.')}.",
            "Correct the options." if refused else "Run again with -v.",
            layer="localnet",
            code="E_LOCALNET",
            exit_code=ExitCode.USAGE if refused else ExitCode.FAILED,
        ) from error


def echo_facts(facts: dict[str, object], ticket_scale: float = 1.0) -> None:
    """What to connect to. A proxy has to know of tickets that are worth another number of bytes."""
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
        typer.echo("  nymgate localnet fund")
        typer.echo("  nymgate account obtain-ticketbooks --amount 1 --network localnet")
        from zknym import TicketType

        size = round(TicketType.MIXNET_ENTRY.bytes_per_ticket * ticket_scale)
        told = "" if ticket_scale == 1.0 else f"NYMGATE_TICKETS__TICKET_SIZE={size}B "
        typer.echo(f"  {told}nymgate run --network localnet")
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


@app.command()
def fund(
    ctx: typer.Context,
    address: Annotated[
        str | None, typer.Argument(metavar="ADDRESS", help="Whom to give it to instead of the account.")
    ] = None,
    amount: Annotated[str, typer.Option(metavar="AMOUNT", help="How much.")] = "200 NYM",
    config: ConfigOption = None,
    data_dir: DataDirOption = None,
    as_json: JsonOption = False,
    verbose: VerboseOption = 0,
    quiet: QuietOption = 0,
) -> None:
    """Give NYM of the local network (`up --pay`) to the account; makes a throw-away one if none is set.

    It is play money: the chain of that network knows it and nobody else does.
    """
    command = MoneyCommand(SharedFlags(ctx, config, "localnet", data_dir, as_json, verbose, quiet))
    from nym_credentials.money import format_nym, parse_nym

    unym, url = parse_nym(amount), command.plan.chain.rpc_urls[0].rstrip("/") + "/faucet"
    receiver = address or command.run(_account_address)
    _ask_faucet(url, receiver, unym)
    if as_json:
        typer.echo(json.dumps({"address": receiver, "amount": unym, "denom": "unym"}))
    else:
        typer.echo(f"{receiver} got {format_nym(unym)}.")
        typer.echo("Next: nymgate account obtain-ticketbooks --amount 1 --network localnet")


async def _account_address(money: "Money") -> str:
    """Of the account; a new one is made where there is none."""
    if await money.phrase() is not None:
        return (await money.wallet()).address
    from nym_credentials.chain.wallet import phrase_of
    from nymgate.sensitive import Sensitive

    wallet = await money.keep_phrase(Sensitive(phrase_of(secrets.token_bytes(32))))
    typer.echo(f"A throw-away account was made and set: {wallet.address}", err=True)
    return wallet.address


def _ask_faucet(url: str, address: str, unym: int) -> None:
    """Raises DependencyFailed when the faucet does not answer or refuses."""
    import urllib.error
    import urllib.request

    body = json.dumps({"address": address, "amount": unym}).encode()
    # The address is one of this machine: the network file of `localnet up` says so.
    request = urllib.request.Request(url, body)  # noqa: S310
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))  # whatever proxy the shell has set
    try:
        with opener.open(request, timeout=FAUCET_SECONDS) as answer:
            answer.read()
    except (OSError, ValueError) as error:
        if isinstance(error, urllib.error.HTTPError):
            reason = error.read(200).decode(errors="replace").strip() or str(error)
        else:
            reason = str(error)
        raise DependencyFailed(
            f"The faucet gave nothing: {reason.rstrip('.')}.",
            "Check the address, and that `nymgate localnet up --pay` is running.",
            layer="chain",
            code="E_FAUCET",
            exit_code=ExitCode.NETWORK,
        ) from error
