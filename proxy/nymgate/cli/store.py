"""`nymgate store upgrade|copy`: the database of tickets, brought up to date or moved to another one."""

import asyncio
import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Final

import typer

from nymgate.cli.account import ask
from nymgate.cli.money import MoneyCommand
from nymgate.cli.options import SharedFlags, YesOption, with_shared_flags
from nymgate.errors import ConfigError

if TYPE_CHECKING:
    from nym_credentials.store.upkeep_io import Copied, StoreAt
    from nymgate.purse.store_place import StorePlace

CONFIGURED: Final = "configured"
URL_FILE_BYTES: Final = 4096
app = typer.Typer(help="The database of tickets.", no_args_is_help=True, rich_markup_mode=None)


@app.command()
@with_shared_flags
def upgrade(
    shared: SharedFlags,
) -> None:
    """Bring the schema of the ticket store up to that of this version. Nobody else may have it open.

    A store that nobody else has open is brought up to date by every command that opens it; this is for fleets, where
    all replicas have to be stopped first.
    """
    command = MoneyCommand(shared)
    from nym_credentials.store.upkeep_io import upgrade_store
    from nymgate.purse.money_io import explained

    async def work() -> tuple[str, str]:
        with explained():
            return await upgrade_store(_at(command, command.plan.store, None))

    before, after = asyncio.run(work())
    name = str(command.plan.store)
    if shared.as_json:
        typer.echo(json.dumps({"store": name, "before": before, "after": after}))
    elif before == after:
        typer.echo(f"{name} has schema {after} already.")
    else:
        typer.echo(f"{name}: schema {before} is now {after}.")


@app.command()
@with_shared_flags
def copy(
    shared: SharedFlags,
    from_: Annotated[
        str,
        typer.Argument(metavar="FROM", help=f"A path, a URL, @FILE with a URL in it, or `{CONFIGURED}`."),
    ],
    to: Annotated[str, typer.Argument(metavar="TO", help="The same; there must be no ticket store yet.")],
    from_key_file: Annotated[
        Path | None, typer.Option("--from-key-file", metavar="FILE", help="The key of FROM.")
    ] = None,
    to_key_file: Annotated[
        Path | None, typer.Option("--to-key-file", metavar="FILE", help="The key that TO shall have.")
    ] = None,
    yes: YesOption = False,
) -> None:
    """Move everything from one ticket store into a new one, SQLite or PostgreSQL, with nothing lost.

    Afterwards only the new one can be spent from: a ticket must not be in two places. Cut short, the same command goes
    on. Without key files both have the key of the configuration, or the one beside them. `configured` is the store that
    the configuration names.
    """
    command = MoneyCommand(shared)
    source, target = _place(command, from_), _place(command, to)
    ask(
        f"Move everything from {source} to {target}? {source} cannot be used afterwards.",
        yes=yes,
        as_json=shared.as_json,
    )
    from nym_credentials.store.upkeep_io import copy_store
    from nymgate.purse.money_io import explained

    async def work() -> "Copied":
        with explained():
            return await copy_store(_at(command, source, from_key_file), _at(command, target, to_key_file))

    done = asyncio.run(work())
    if shared.as_json:
        typer.echo(
            json.dumps(
                {"from": done.source, "to": done.target, "rows": dict(done.rows), "resumed": done.resumed}
            )
        )
        return
    rows = ", ".join(f"{count} {name}" for name, count in done.rows.items() if count)
    typer.echo(f"{done.target} has everything now: {rows or 'no rows'}.")
    typer.echo(
        f"Point store.url at it. {done.source} is closed for good: keep it until all is well, then delete it."
    )


def _place(command: MoneyCommand, text: str) -> "StorePlace":
    from nymgate.purse.store_place import StorePlace
    from nymgate.sections.money import store_place

    if text == CONFIGURED:
        return command.plan.store
    from_file = text.startswith("@")
    if from_file:
        text = _read(Path(text[1:]).expanduser())
    try:
        place = StorePlace.of(store_place(text), command.plan.folder)
    except ValueError as error:
        raise ConfigError(
            f"That is no place for a ticket store: {error}.",
            "Give a path, sqlite+aiosqlite:///path or postgresql+asyncpg://user@host/database.",
        ) from None
    if place.has_password and not from_file:
        raise ConfigError(
            "The URL stands on the command line with its password, where other programs and the shell's history can "
            "read it: it was not used.",
            "Put the URL into a file that only you can read, and give @FILE; or set it as store.url and say "
            f"`{CONFIGURED}`. Change the password if others use this machine.",
        )
    return place


def _read(path: Path) -> str:
    try:
        with path.open(encoding="utf-8") as file:
            return file.read(URL_FILE_BYTES).strip()
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "it is not text in UTF-8"
        raise ConfigError(f"{path} cannot be read: {reason}.", "Check the path.") from None


def _at(command: MoneyCommand, place: "StorePlace", key_file: Path | None) -> "StoreAt":
    from nym_credentials.store.upkeep_io import StoreAt
    from nymgate.purse.money import StoreKeyChoice
    from nymgate.purse.money_io import store_key

    choice = command.plan.key if key_file is None else StoreKeyChoice(key_file=str(key_file))
    return StoreAt(place.where, store_key(choice), place.folder)
