"""Buying books from a command: price and budget first, a question, bars, and what came of it."""

import json
import sys
from typing import TYPE_CHECKING, Any

import typer

from nymgate.cli.money import MoneyCommand, purchase_fields
from nymgate.cli.purchase_show import PurchaseShow, book_text, quote_fields, quote_lines
from nymgate.errors import ConfigError
from nymgate.purse.money import explain_refusal
from nymgate.purse.topup_plan_io import refusal_fields

if TYPE_CHECKING:
    from nym_credentials.chain.source import Quote
    from nym_credentials.topup.budget import Refusal
    from nymgate.purse.money_io import Money
    from zknym import TicketType


def show_price(command: MoneyCommand, ticket_type: "TicketType", amount: int, *, as_json: bool) -> None:
    """--dry-run: price, fee and what the budget says; nothing is paid."""

    async def work(money: "Money") -> "tuple[Quote, Refusal | None]":
        async with money.quoter() as buyer:
            quote = await buyer.quote(amount)
        return quote, await money.refusal(quote)

    quote, refusal = command.run(work)
    if as_json:
        typer.echo(json.dumps(quote_fields(quote, ticket_type) | refusal_fields(refusal)))
        return
    lines = quote_lines(quote, ticket_type)
    if refusal is not None:
        lines.append(f"  budget   it would be refused: {explain_refusal(refusal).what}")
    typer.echo("\n".join([*lines, "Nothing was paid (--dry-run)."]))


def buy_books(
    command: MoneyCommand, ticket_type: "TicketType", amount: int, *, yes: bool, as_json: bool, quiet: int
) -> None:
    """Ask, buy, and tell. The budget is asked before anything is signed, for all books together and for each."""
    if not yes and (as_json or not sys.stdin.isatty()):
        raise ConfigError(
            "The price has to be agreed to, and there is nobody to ask.",
            "See it with --dry-run, then say --yes.",
        )

    async def buy(money: "Money") -> list[dict[str, Any]]:
        async with money.buyer() as buyer:
            show = PurchaseShow(silent=as_json or quiet > 0)

            async def agree(quote: "Quote") -> bool:
                show.end_bars()
                refusal = await money.refusal(quote)
                if refusal is not None:
                    raise explain_refusal(refusal)
                show.note("\n".join(quote_lines(quote, ticket_type)))
                return yes or typer.confirm("Buy?", err=True)

            with show:
                bought = await buyer.buy(ticket_type, amount, confirm=agree, watch=show.watch)
            books = {book.purchase_id: book for book in await money.books()}
            for purchase in bought:
                show.note(f"  {book_text(books.get(str(purchase.id)), purchase)}")
            return [purchase_fields(purchase) for purchase in bought]

    try:
        shown = command.run(buy)
    except KeyboardInterrupt:
        typer.echo(
            "Interrupted. What was paid is not lost: nymgate tickets pending shows it, nymgate tickets resume goes on.",
            err=True,
        )
        raise
    if as_json:
        typer.echo(json.dumps({"bought": shown}))
