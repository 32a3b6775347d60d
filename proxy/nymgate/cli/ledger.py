"""`nymgate ledger`: every deposit, book and ticket, for people, spreadsheets and programs; and against the chain."""

import json
from dataclasses import asdict, replace
from datetime import UTC, datetime
from enum import StrEnum
from typing import TYPE_CHECKING, Annotated, Any, Final

import typer

from nymgate.cli.money import MoneyCommand
from nymgate.cli.options import SharedFlags, with_shared_flags
from nymgate.errors import ConfigError, ExitCode

if TYPE_CHECKING:
    from nym_credentials.topup.ledger import Ledger
    from nym_credentials.topup.reconcile import Reconciliation
    from nymgate.purse.money_io import Money


_BOOKS_HEAD: Final = (
    f"{'book':>4}  {'added (UTC)':<19}  {'type':<16}  {'last day':<10}  {'state':<9}  {'tickets':>7}  "
    f"{'unused':>6}  {'in use':>6}  {'accepted':>8}  {'lost':>4}  source"
)


class Form(StrEnum):
    """How it is written."""

    TEXT = "text"
    CSV = "csv"
    JSON = "json"


class Part(StrEnum):
    """One table of it."""

    DEPOSITS = "deposits"
    BOOKS = "books"
    TICKETS = "tickets"


@with_shared_flags
def ledger(
    shared: SharedFlags,
    form: Annotated[
        Form, typer.Option("--format", help="text, csv (one table, see --table) or json (all of it).")
    ] = Form.TEXT,
    table: Annotated[
        Part | None, typer.Option("--table", help="Which table --format csv writes: deposits without it.")
    ] = None,
    tickets: Annotated[
        bool, typer.Option("--tickets", help="A line for each ticket that was drawn; with csv that table.")
    ] = False,
    reconcile: Annotated[
        bool,
        typer.Option("--reconcile", help="Compare with the chain; exit code 1 if the two differ."),
    ] = False,
) -> None:
    """Show what was paid, for which books, and what became of their tickets. It holds no secrets and no destinations.

    It does tell when money moved and when tickets went: an export deserves the care of a bank statement.
    """
    shared = replace(shared, as_json=shared.as_json or form is Form.JSON)
    command = MoneyCommand(shared)
    if shared.as_json and form is Form.CSV:
        raise ConfigError("--json and --format csv do not go together.", "Leave one of them out.")
    if table is not None and form is not Form.CSV:
        raise ConfigError("--table is for --format csv.", "Leave it out: the others show all tables.")
    part = table or (Part.TICKETS if tickets else Part.DEPOSITS)
    with_tickets = tickets or part is Part.TICKETS

    async def work(money: "Money") -> "tuple[Ledger, dict[str, Reconciliation] | None]":
        found = await money.ledger(tickets=with_tickets)
        return found, await money.reconcile(found) if reconcile else None

    found, compared = command.run(work)
    if shared.as_json:
        shown: dict[str, Any] = json.loads(found.to_json())
        shown["network"] = command.plan.network.name
        if compared is not None:
            shown["reconciliation"] = {
                account: {"balanced": one.balanced} | asdict(one) for account, one in compared.items()
            }
        typer.echo(json.dumps(shown))
    elif form is Form.CSV:
        typer.echo(found.to_csv(part.value), nl=False)
    else:
        typer.echo("\n".join(ledger_lines(found)))
    problems = found.problems()
    if compared is not None and not shared.as_json:
        for account, one in compared.items():
            typer.echo("\n".join([f"On the chain, {account}:", *one.lines()]), err=form is Form.CSV)
        if not compared:
            typer.echo("There is no account to compare with the chain.", err=form is Form.CSV)
    if problems or (compared is not None and not all(one.balanced for one in compared.values())):
        for problem in [] if shared.as_json else problems:
            typer.echo(f"WARNING  {problem}", err=True)
        if reconcile:
            raise typer.Exit(ExitCode.FAILED)


def ledger_lines(found: "Ledger") -> list[str]:
    """For a terminal."""
    from nym_credentials.money import format_nym
    from nymgate.privacy.report import count_of

    totals = found.totals()
    lines = [
        f"{'begun (UTC)':<19}  {'type':<16}  {'price':>12}  {'fee':>12}  {'deposit':>8}  {'state':<10}  account"
    ]
    for line in found.deposits:
        number = "-" if line.deposit_id is None else str(line.deposit_id)
        fee = "-" if line.fee_unym is None else format_nym(line.fee_unym)
        lines.append(
            f"{_utc(line.begun_unix):<19}  {line.ticket_type:<16}  {format_nym(line.price_unym):>12}  {fee:>12}  "
            f"{number:>8}  {line.state.value:<10}  {line.account}"
        )
    lines += [
        "",
        _BOOKS_HEAD,
    ]
    lines += [
        f"{book.book_id:>4}  {_utc(book.added_unix):<19}  {book.ticket_type:<16}  {book.expiration:<10}  "
        f"{book.state.value:<9}  {book.tickets:>7}  {book.fresh + book.reverted:>6}  {book.in_use:>6}  "
        f"{book.accepted:>8}  {book.given_up:>4}  {book.source.value}"
        for book in found.books
    ]
    if found.tickets:
        lines += ["", f"{'book':>4}  {'ticket':>6}  {'taken (UTC)':<19}  {'settled (UTC)':<19}  state"]
        lines += [
            f"{one.book_id:>4}  {one.index:>6}  {_utc(one.taken_unix):<19}  "
            f"{'-' if one.settled_unix is None else _utc(one.settled_unix):<19}  {one.state.value}"
            for one in found.tickets
        ]
    each = totals.unym_per_accepted
    deposits, books = count_of(totals.deposits, "deposit"), count_of(totals.books, "book")
    price = "" if each is None else f", {format_nym(round(each))} for each that was accepted"
    open_ = f", {format_nym(totals.open_unym)} perhaps" if totals.open_unym else ""
    return [
        *lines,
        "",
        f"paid     {format_nym(totals.paid_unym)} for {deposits}{open_}",
        f"fees     {format_nym(totals.fees_unym)}",
        f"tickets  {totals.tickets} in {books}: {totals.accepted} accepted{price}",
        f"lost     {totals.given_up} without a credit, {totals.expired} expired unused",
    ]


def _utc(unix: int) -> str:
    return datetime.fromtimestamp(unix, UTC).strftime("%Y-%m-%d %H:%M:%S")
