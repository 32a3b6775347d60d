"""`nymgate users add|remove|list`: who may use a shared proxy."""

import json
import os
from pathlib import Path
from typing import Annotated

import typer

from nymgate.cli.options import (
    ConfigOption,
    JsonOption,
    QuietOption,
    VerboseOption,
    begin,
    load_configuration,
)
from nymgate.cli.passwords import read_password
from nymgate.errors import ConfigError

FileOption = Annotated[
    Path | None,
    typer.Option("--file", metavar="FILE", help="The users file; that of access.users_file if not given."),
]
app = typer.Typer(help="The users of a shared proxy.", no_args_is_help=True, rich_markup_mode=None)


@app.command(
    context_settings={"allow_extra_args": True}
)  # a password is refused here, not quoted by a parser
def add(
    ctx: typer.Context,
    name: Annotated[str, typer.Argument(help="Letters, digits and . _ @ -", show_default=False)],
    password_file: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="Read the password from this file; - is standard input."),
    ] = None,
    streams: Annotated[int | None, typer.Option(min=1, metavar="N", help="Streams at once.")] = None,
    per_day: Annotated[str | None, typer.Option(metavar="SIZE", help="Bytes a day, such as 1GiB.")] = None,
    per_month: Annotated[str | None, typer.Option(metavar="SIZE", help="Bytes a month.")] = None,
    replace: Annotated[
        bool, typer.Option("--replace", help="Take the place of a user of that name.")
    ] = False,
    file: FileOption = None,
    config: ConfigOption = None,
    as_json: JsonOption = False,
    verbose: VerboseOption = 0,
    quiet: QuietOption = 0,
) -> None:
    """Add a user, with a password that is asked for and not shown, or read from a file or standard input.

    It is never taken from the command line, which every program on the machine can read. Only its hash is kept. A
    proxy that runs takes the users over with SIGHUP.
    """
    begin(ctx, as_json=as_json, verbose=verbose, quiet=quiet)
    from nymgate.access.users import SALT_BYTES, Limits, User, format_line, hash_password, is_name

    if ctx.args:
        raise ConfigError(
            "More than a name stands on the command line, where other programs can read it: it was not taken.",
            "Run `nymgate users add NAME` and type the password when asked, or use --password-file.",
        )
    if not is_name(name):
        raise ConfigError(
            "A user cannot have this name.",
            "Use up to 64 of letters, digits, and . _ @ - (a + begins a token).",
        )
    path = _path(file, config)
    lines = _lines(path, missing_ok=True)
    if any(user == name for user, _line in lines) and not replace:
        raise ConfigError(
            f"The users file {path} has a user of that name.", "Use --replace, or another name."
        )
    limits = Limits(streams, _size(per_day, "--per-day"), _size(per_month, "--per-month"))
    password = read_password(password_file, twice=True)
    line = format_line(User(name, hash_password(password, os.urandom(SALT_BYTES)), limits))
    kept = [line if user == name else before for user, before in lines]
    if line not in kept:
        kept.append(line)
    _write(path, kept)
    if as_json:
        typer.echo(json.dumps({"user": name, "file": str(path)}))
    else:
        typer.echo(f"{name} is in {path}.")
        if not load_configuration(config, {}).config.access.users_file:
            typer.echo(f'Next: users_file = "{path}" under [access] in the configuration file.', err=True)


@app.command()
def remove(
    ctx: typer.Context,
    name: Annotated[str, typer.Argument(help="The user.", show_default=False)],
    file: FileOption = None,
    config: ConfigOption = None,
    as_json: JsonOption = False,
    verbose: VerboseOption = 0,
    quiet: QuietOption = 0,
) -> None:
    """Remove a user. Streams that are open stay until they end."""
    begin(ctx, as_json=as_json, verbose=verbose, quiet=quiet)
    path = _path(file, config)
    lines = _lines(path)
    kept = [line for user, line in lines if user != name]
    if len(kept) == len(lines):
        raise ConfigError(f"The users file {path} has no user of that name.", "See `nymgate users list`.")
    _write(path, kept)
    typer.echo(
        json.dumps({"removed": name, "file": str(path)}) if as_json else f"{name} is gone from {path}."
    )


@app.command("list")
def list_(
    ctx: typer.Context,
    file: FileOption = None,
    config: ConfigOption = None,
    as_json: JsonOption = False,
    verbose: VerboseOption = 0,
    quiet: QuietOption = 0,
) -> None:
    """Show the users and their limits, and nothing of their passwords."""
    begin(ctx, as_json=as_json, verbose=verbose, quiet=quiet)
    from nymgate.access.plan import read_users
    from nymgate.units import format_size

    users = read_users(_path(file, config)).values()
    if as_json:
        shown = [
            {
                "user": user.name,
                "streams": user.limits.streams,
                "bytes_per_day": user.limits.bytes_per_day,
                "bytes_per_month": user.limits.bytes_per_month,
            }
            for user in users
        ]
        typer.echo(json.dumps(shown))
        return
    for user in users:
        limits = user.limits
        words = [
            f"{limits.streams} streams" if limits.streams is not None else "",
            f"{format_size(limits.bytes_per_day)} a day" if limits.bytes_per_day is not None else "",
            f"{format_size(limits.bytes_per_month)} a month" if limits.bytes_per_month is not None else "",
        ]
        typer.echo(f"{user.name:<24}{', '.join(word for word in words if word) or 'no limits of their own'}")


def _path(file: Path | None, config: Path | None) -> Path:
    if file is not None:
        return file.expanduser()
    written = load_configuration(config, {}).config.access.users_file
    if not written:
        raise ConfigError(
            "There is no users file: access.users_file is empty.", "Set it, or name the file with --file."
        )
    return Path(written).expanduser()


def _size(text: str | None, flag: str) -> int | None:
    from nymgate.units import parse_size

    try:
        return parse_size(text) if text is not None else None
    except ValueError:
        raise typer.BadParameter("a size such as 500MB or 1GiB", param_hint=flag) from None


def _lines(path: Path, *, missing_ok: bool = False) -> list[tuple[str | None, str]]:
    """Lines with the user each is about; comments are about nobody. Raises ConfigError for a file that is none."""
    from nymgate.access.plan import read_users

    if missing_ok and not path.exists():
        return []
    read_users(path)
    lines = path.read_text(encoding="utf-8").splitlines()
    return [(_user(line), line) for line in lines]


def _user(line: str) -> str | None:
    text = line.strip()
    return text.partition(":")[0] if text and not text.startswith("#") else None


def _write(path: Path, lines: list[str]) -> None:
    """In one step, so that a proxy that rereads it sees the old file or the new one; for the owner alone."""
    text = "".join(f"{line}\n" for line in lines)
    beside = path.with_name(path.name + ".new")
    try:
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        with os.fdopen(
            os.open(beside, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w", encoding="utf-8"
        ) as out:
            out.write(text)
            out.flush()
            os.fsync(out.fileno())
        if path.exists():  # a file that a group may read stays so
            beside.chmod(path.stat().st_mode & 0o777)
        beside.replace(path)
    except OSError as error:
        raise ConfigError(
            f"The users file {path} cannot be written: {error.strerror}.", "Choose another place with --file."
        ) from error
