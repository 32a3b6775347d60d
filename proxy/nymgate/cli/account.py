"""`nymgate account set|get|balance|forget|obtain-ticketbooks`: the words of upstream's `nym-vpnc`."""

import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Final

import typer

from nymgate.cli.money import MoneyCommand, coin_fields, purchase_fields, purchase_line
from nymgate.cli.options import SharedFlags, YesOption, with_shared_flags
from nymgate.errors import CommandRefused, ConfigError

if TYPE_CHECKING:
    from nymgate.purse.money_io import Money
    from nymgate.sensitive import Sensitive

PHRASE_BYTES: Final = 4096
app = typer.Typer(
    help="The account that pays for tickets, and buying them.", no_args_is_help=True, rich_markup_mode=None
)


@app.command(
    "set", context_settings={"allow_extra_args": True}
)  # a phrase is refused here, not quoted by a parser
@with_shared_flags
def set_(
    shared: SharedFlags,
    location: Annotated[
        str, typer.Option(metavar="PLACE", help="Where the account is: blockchain, the only place known.")
    ] = "blockchain",
    phrase_file: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Read the phrase from this file; - is standard input.")
    ] = None,
) -> None:
    """Keep the recovery phrase of the account that pays, sealed in the ticket store.

    The phrase (12 to 24 words) is asked for and not shown; or it is read from --phrase-file or standard input. It
    is never taken from the command line, which every program on the machine can read.
    """
    command = MoneyCommand(shared)
    if shared.ctx.args:
        raise ConfigError(
            "The phrase stands on the command line, where other programs and the shell's history can read it: it was "
            "not taken.",
            "Run `nymgate account set` and type it when asked, or use --phrase-file; if others use this machine, "
            "move the money to a new account.",
        )
    if location != "blockchain":
        raise ConfigError(
            f'An account at "{location}" is none that this program can pay with.',
            "Use --location blockchain, with the phrase of an account on the Nyx chain.",
        )
    command.plan.chain  # noqa: B018 - a network without one is told before anything is asked
    phrase = read_phrase(phrase_file)

    async def work(money: "Money") -> str:
        return (await money.keep_phrase(phrase)).address

    address = command.run(work)
    if shared.as_json:
        typer.echo(json.dumps({"address": address, "network": command.plan.network.name}))
    else:
        typer.echo(f"The account {address} is set, for {command.plan.network.name}.")
        typer.echo("Next: nymgate account balance, then nymgate account obtain-ticketbooks --amount 1")


def read_phrase(file: Path | None) -> "Sensitive[str]":
    """From the file, the terminal or standard input."""
    from nymgate.sensitive import Sensitive

    if file is not None and str(file) != "-":
        try:
            with file.open(encoding="utf-8") as stream:
                text = stream.read(PHRASE_BYTES)
        except (OSError, UnicodeDecodeError) as error:
            reason = error.strerror if isinstance(error, OSError) else "it is not text in UTF-8"
            raise ConfigError(
                f"The phrase cannot be read from {file}: {reason}.", "Check the path."
            ) from None
    elif file is None and sys.stdin.isatty():
        import getpass

        text = getpass.getpass("Recovery phrase (not shown): ")
    else:
        try:
            text = sys.stdin.read(PHRASE_BYTES)
        except UnicodeDecodeError:
            raise ConfigError("Standard input is not text in UTF-8.", "Give the phrase as text.") from None
    if not text.strip():
        raise ConfigError("No phrase was given.", "Type it when asked, or use --phrase-file.")
    return Sensitive(text)


@app.command()
@with_shared_flags
def get(
    shared: SharedFlags,
) -> None:
    """Show the address of the account. Asks nobody; the phrase is never shown."""
    command = MoneyCommand(shared)

    async def work(money: "Money") -> str:
        return (await money.wallet()).address

    address = command.run(work)
    where = "configuration" if command.plan.phrase is not None else "ticket store"
    if shared.as_json:
        shown = {"address": address, "network": command.plan.network.name, "phrase": where}
        typer.echo(json.dumps(shown | {"store": str(command.plan.store)}))
        return
    typer.echo(address)
    typer.echo(f"on {command.plan.network.name}; the phrase is in the {where}", err=True)


@app.command()
@with_shared_flags
def balance(
    shared: SharedFlags,
) -> None:
    """Show what the account has, what a ticketbook costs it, and the tickets at hand."""
    command = MoneyCommand(shared)

    async def work(money: "Money") -> dict[str, Any]:
        wallet = await money.wallet()
        async with money.chain_client() as chain:
            holds = await chain.balance(wallet.address)
            price = await chain.price_for(wallet.address)
        stock = await money.stock()
        return {
            "address": wallet.address,
            "network": command.plan.network.name,
            "balance": coin_fields(holds),
            "price": coin_fields(price.best),
            "reduced": price.best != price.default,
            "books_affordable": holds.amount // max(1, price.best.amount),
            "tickets": stock.tickets,
            "tickets_until": stock.expires.isoformat() if stock.expires else None,
            "unfinished_purchases": stock.unfinished,
        }

    shown = command.run(work)
    if shared.as_json:
        typer.echo(json.dumps(shown))
        return
    from nym_credentials.money import Coin, format_coin

    holds, price = Coin(**_swap(shown["balance"])), Coin(**_swap(shown["price"]))
    special = ", a price of this account's own" if shown["reduced"] else ""
    typer.echo(f"account  {shown['address']} on {shown['network']}")
    typer.echo(f"balance  {format_coin(holds)}, enough for {_books(shown['books_affordable'])}")
    typer.echo(f"a book   {format_coin(price)}{special}")
    until = f", the last on {shown['tickets_until']} (UTC)" if shown["tickets_until"] else ""
    typer.echo(f"tickets  {shown['tickets']} left{until}")
    if shown["unfinished_purchases"]:
        typer.echo(f"WARNING  {shown['unfinished_purchases']} paid and not finished: nymgate tickets resume")


def _swap(coin: dict[str, Any]) -> dict[str, Any]:
    return {"denom": coin["denom"], "amount": coin["amount"]}


def _books(count: int) -> str:
    return "1 book" if count == 1 else f"{count} books"


@app.command()
@with_shared_flags
def forget(
    shared: SharedFlags,
    yes: YesOption = False,
) -> None:
    """Remove the stored phrase. Tickets stay; its money can only be used by those who have the phrase elsewhere."""
    command = MoneyCommand(shared)
    if command.plan.phrase is not None:
        raise ConfigError(
            "The phrase comes from the configuration, and is not kept here.",
            "Take it away where it comes from; `nymgate config show` tells.",
        )

    async def look(money: "Money") -> tuple[str, list[Any]]:
        return (await money.wallet()).address, await money.unfinished()

    address, unfinished = command.run(look)
    at_risk = [purchase for purchase in unfinished if purchase.state.may_be_paid]
    if at_risk:
        typer.echo(
            f"WARNING: {len(at_risk)} purchase(s) of this account are paid, or may be, and not finished. Without its "
            "phrase they cannot be taken up again here. First: nymgate tickets resume",
            err=True,
        )
        for purchase in at_risk:
            typer.echo(f"  {purchase_line(purchase)}", err=True)
    ask(f"Forget the phrase of {address}?", yes=yes, as_json=shared.as_json)
    command.run(lambda money: money.forget_phrase())
    if shared.as_json:
        purchases = [purchase_fields(purchase) for purchase in at_risk]
        typer.echo(json.dumps({"forgotten": address, "unfinished": purchases}))
    else:
        typer.echo(f"The phrase of {address} is forgotten.")


def ask(question: str, *, yes: bool, as_json: bool) -> None:
    """A yes, or CommandRefused. Without a terminal only --yes is one."""
    if yes:
        return
    if as_json or not sys.stdin.isatty():
        raise ConfigError("This has to be agreed to, and there is nobody to ask.", "Say --yes.")
    if not typer.confirm(question, err=True):
        raise CommandRefused("Nothing was done.", "Run it again if that was a mistake.")


@app.command("obtain-ticketbooks")
@with_shared_flags
def obtain_ticketbooks(
    shared: SharedFlags,
    amount: Annotated[int, typer.Option(metavar="N", min=1, max=1000, help="How many books.")],
    source: Annotated[
        str | None,
        typer.Option(metavar="NAME", help="What they are paid with: smartcontract, the only one known."),
    ] = None,
    type_: Annotated[
        str,
        typer.Option(
            "--type",
            metavar="TYPE",
            help="mixnet-entry, mixnet-exit, wireguard-entry or wireguard-exit. nymgate itself spends the first.",
        ),
    ] = "mixnet-entry",
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Show price and fee, and pay nothing.")] = False,
    yes: YesOption = False,
) -> None:
    """Buy ticketbooks with the account's money: a deposit on the chain, then the signers issue.

    One book is 50 tickets, to be spent within 7 days. --amount 1 is one book of one type (upstream's command of that
    name buys three kinds at once). Price and fee are shown before anything is paid, and what `[budget]` does not permit
    is refused before anything is signed. What is cut short in the middle is not lost: the same command goes on where
    it stopped, as do `nymgate tickets resume` and `nymgate run`.
    """
    command = MoneyCommand(shared, flags={"tickets.source": source})
    from nymgate.cli.buying import buy_books, show_price
    from nymgate.cli.purchase_show import parse_type

    ticket_type = parse_type(type_)
    if dry_run:
        show_price(command, ticket_type, amount, as_json=shared.as_json)
    else:
        buy_books(command, ticket_type, amount, yes=yes, as_json=shared.as_json, quiet=shared.quiet)
