"""`nymgate tickets list|import|export|pending|resume|trust|accept-backup`: books at hand, and purchases under way."""

import json
import os
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Final

import typer

from nymgate.cli.account import ask
from nymgate.cli.money import MoneyCommand, book_fields, purchase_fields, purchase_line, show_books
from nymgate.cli.options import SharedFlags, YesOption, with_shared_flags
from nymgate.errors import ConfigError, NymgateError

if TYPE_CHECKING:
    from nym_credentials.purchase.steps import Resumed
    from nym_credentials.store.records import BookInfo
    from nymgate.purse.money_io import Money

BOOK_FILE_BYTES: Final = 1 << 20
app = typer.Typer(
    help="Ticketbooks at hand, and purchases under way.", no_args_is_help=True, rich_markup_mode=None
)


@app.command("list")
@with_shared_flags
def list_(
    shared: SharedFlags,
    all_: Annotated[bool, typer.Option("--all", help="Expired, used up and exported books as well.")] = False,
) -> None:
    """List ticketbooks and what became of their tickets."""
    command = MoneyCommand(shared)

    async def work(money: "Money") -> tuple[list[Any], list[Any], int, Any]:
        today = money.today
        books = await money.books()
        shown = books if all_ else [book for book in books if book.usable(today) or book.state == "suspect"]
        return shown, await money.unfinished(), money.store.left_behind, await money.store.totals()

    books, unfinished, left_behind, totals = command.run(work)
    at_risk = [purchase for purchase in unfinished if purchase.state.may_be_paid]
    if shared.as_json:
        typer.echo(
            json.dumps(
                {
                    "network": command.plan.network.name,
                    "books": [book_fields(book) for book in books],
                    "tickets": {"accepted": totals.accepted, "given_up": totals.given_up},
                    "unfinished_purchases": len(at_risk),
                    "left_behind": left_behind,
                }
            )
        )
        return
    show_books(books)
    typer.echo(
        f"in all: {totals.accepted} tickets accepted by gateways, {totals.given_up} given up without a credit"
    )
    if left_behind:
        typer.echo(f"{left_behind} of them just now: a process ended while they were in use")
    if at_risk:
        typer.echo(
            f"{len(at_risk)} purchase(s) paid and not finished: nymgate tickets pending, nymgate tickets resume"
        )


@app.command("import")
@with_shared_flags
def import_(
    shared: SharedFlags,
    file: Annotated[Path, typer.Argument(metavar="FILE", help="A ticketbook file; - is standard input.")],
    used: Annotated[
        int | None,
        typer.Option(
            metavar="N", min=0, help="How many tickets were spent elsewhere, if the file says some were."
        ),
    ] = None,
    reclaim: Annotated[
        bool, typer.Option("--reclaim", help="Take back a book that was exported from here.")
    ] = False,
) -> None:
    """Take a ticketbook from a file of upstream's tools or of `nymgate tickets export`.

    From then on it is spent here and must not be spent elsewhere: delete the file.
    """
    command = MoneyCommand(shared)
    data = _read(file)

    async def work(money: "Money") -> "BookInfo":
        from nymgate.purse.money_io import explained

        with explained():
            return await money.store.import_book(data, money.today, used=used, reclaim=reclaim)

    book = command.run(work)
    if shared.as_json:
        typer.echo(json.dumps(book_fields(book)))
    else:
        typer.echo(f"Book {book.book_id}: {book.remaining} tickets, until {book.expiration} (UTC).")
        typer.echo("Delete the file: who spends it as well spends tickets twice.")


def _read(file: Path) -> bytes:
    try:
        if str(file) == "-":
            data = typer.get_binary_stream("stdin").read(BOOK_FILE_BYTES + 1)
        else:
            with file.open("rb") as stream:
                data = stream.read(BOOK_FILE_BYTES + 1)
    except OSError as error:
        raise ConfigError(f"{file} cannot be read: {error.strerror}.", "Check the path.") from error
    if len(data) > BOOK_FILE_BYTES:
        raise ConfigError(f"{file} is larger than any ticketbook.", "Give the right file.")
    return data


@app.command()
@with_shared_flags
def export(
    shared: SharedFlags,
    book: Annotated[int, typer.Argument(metavar="BOOK", help="Its number in `nymgate tickets list`.")],
    file: Annotated[Path, typer.Argument(metavar="FILE", help="Where to write it; it must not exist.")],
    standalone: Annotated[
        bool, typer.Option("--standalone", help="Without the public data, for who has them already.")
    ] = False,
    base58: Annotated[bool, typer.Option("--base58", help="As text instead of bytes.")] = False,
    again: Annotated[
        bool, typer.Option("--again", help="Once more, for a book that was exported before.")
    ] = False,
    yes: YesOption = False,
) -> None:
    """Give a ticketbook away, into a file that upstream's tools import as well. It is not spent here any more."""
    command = MoneyCommand(shared)
    ask(
        f"Book {book} will not be spent here any more, and who has the file can spend it. Export?",
        yes=yes,
        as_json=shared.as_json,
    )
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL
    try:
        handle = os.open(file, flags, 0o600)  # before the book is given up: a wrong path costs nothing
    except OSError as error:
        raise ConfigError(f"{file} cannot be made: {error.strerror}.", "Give another path.") from error

    async def work(money: "Money") -> bytes:
        from nym_credentials.store.bookfile import BookForm
        from nymgate.purse.money_io import explained

        form = BookForm.STANDALONE if standalone else BookForm.FULL
        with explained():
            return await money.store.export_book(book, form=form, base58=base58, again=again)

    written = False
    try:
        with os.fdopen(handle, "wb") as stream:
            data = command.run(work)
            stream.write(data)
            stream.flush()
            os.fsync(stream.fileno())
        written = True
    except OSError as error:
        raise ExportNotWritten(
            f"{file} cannot be written: {error.strerror}.",
            "The book is exported: write it elsewhere with --again.",
        ) from error
    finally:
        if not written:
            file.unlink(missing_ok=True)
    if shared.as_json:
        typer.echo(json.dumps({"book": book, "file": str(file), "bytes": len(data)}))
    else:
        typer.echo(
            f"Book {book} is in {file} now. Keep the file secret: whoever has it can spend the tickets."
        )


class ExportNotWritten(NymgateError):
    """A book was exported, but its file could not be written."""

    code = "E_EXPORT"
    layer = "tickets"


@app.command()
@with_shared_flags
def pending(
    shared: SharedFlags,
) -> None:
    """List purchases that are not finished, and what they wait for. Asks nobody."""
    command = MoneyCommand(shared)
    unfinished = command.run(lambda money: money.unfinished())
    if shared.as_json:
        typer.echo(json.dumps({"purchases": [purchase_fields(purchase) for purchase in unfinished]}))
        return
    for purchase in unfinished:
        typer.echo(purchase_line(purchase))
    typer.echo("Nothing is unfinished." if not unfinished else "Go on with: nymgate tickets resume")


@app.command()
@with_shared_flags
def resume(
    shared: SharedFlags,
) -> None:
    """Take unfinished purchases up again. Pays for nothing new."""
    command = MoneyCommand(shared)
    from nymgate.cli.purchase_show import PurchaseShow

    async def work(money: "Money") -> "list[Resumed]":
        if not await money.unfinished():
            return []
        with PurchaseShow(silent=shared.as_json or shared.quiet > 0) as show:
            async with money.buyer() as buyer:
                return await buyer.resume(watch=show.watch)

    results = command.run(work)
    if shared.as_json:
        rows = [
            purchase_fields(item.purchase) | {"error": None if item.error is None else str(item.error)}
            for item in results
        ]
        typer.echo(json.dumps({"purchases": rows}))
    else:
        for item in results:
            typer.echo(purchase_line(item.purchase))
        if not results:
            typer.echo("Nothing is unfinished.")
    for item in results:
        if item.error is not None:
            raise item.error


@app.command()
@with_shared_flags
def trust(
    shared: SharedFlags,
    book: Annotated[int, typer.Argument(metavar="BOOK", help="Its number in `nymgate tickets list --all`.")],
    yes: YesOption = False,
) -> None:
    """Spend a book again that was set aside because somebody else seemed to spend it too."""
    command = MoneyCommand(shared)
    ask(f"Is it certain that nobody else spends book {book}?", yes=yes, as_json=shared.as_json)

    async def work(money: "Money") -> "BookInfo":
        from nymgate.purse.money_io import explained

        with explained():
            return await money.store.trust_book(book)

    info = command.run(work)
    typer.echo(
        json.dumps(book_fields(info))
        if shared.as_json
        else f"Book {book} is used again: {info.remaining} tickets."
    )


@app.command("accept-backup")
@with_shared_flags
def accept_backup(
    shared: SharedFlags,
    trusted: Annotated[
        bool,
        typer.Option("--trust", help="No ticket was spent since the backup, and no copy is in use."),
    ] = False,
    give_up: Annotated[
        bool, typer.Option("--give-up-books", help="Spend none of its books: the safe choice.")
    ] = False,
) -> None:
    """Open a ticket store that was restored from a backup or copied, which is refused otherwise.

    Tickets that were spent since the backup would be spent twice: gateways punish that, and it reveals the buyer.
    """
    command = MoneyCommand(shared)
    if trusted == give_up:
        raise ConfigError(
            "It has to be said what shall happen to the books.", "Say --trust or --give-up-books."
        )
    from nym_credentials.store.records import Restored

    async def work(money: "Money") -> "list[BookInfo]":
        return await money.books()

    books = command.run(work, restored=Restored.TRUST if trusted else Restored.EXHAUST)
    if shared.as_json:
        typer.echo(json.dumps({"books": [book_fields(book) for book in books]}))
    else:
        show_books(books)
