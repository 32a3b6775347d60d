"""Passwords that commands ask for: never from the command line, which every program on the machine can read."""

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Final

import typer

from nymgate.errors import ConfigError

if TYPE_CHECKING:
    from nymgate.apps.reachable import Login

PASSWORD_READ_BYTES: Final = 4096
UserOption = Annotated[
    str | None,
    typer.Option(
        "--user",
        metavar="NAME",
        help="Log in as this user, where the proxy has a users file; asks for the password.",
    ),
]
PasswordFileOption = Annotated[
    Path | None,
    typer.Option("--password-file", metavar="FILE", help="Read the password of --user from this file."),
]


def read_password(file: Path | None, *, twice: bool = False, from_stdin: bool = True) -> bytes:
    """From the file, the terminal or standard input (``-``, or where it is no terminal); without the end of its line.

    ``twice``: a new one, which a slip of the hand would spoil. Without ``from_stdin`` standard input is somebody
    else's.
    """
    from nymgate.access.users import MAX_PASSWORD_BYTES

    if file is not None and (str(file) != "-" or not from_stdin):
        try:
            with file.open("rb") as stream:
                given = stream.read(PASSWORD_READ_BYTES)
        except OSError as error:
            raise ConfigError(
                f"The password cannot be read from {file}: {error.strerror}.", "Check the path."
            ) from None
    elif file is None and sys.stdin.isatty():
        import getpass

        given = getpass.getpass("Password (not shown): ").encode()
        if twice and getpass.getpass("Once more: ").encode() != given:
            raise ConfigError("The two passwords differ.", "Run the command again.")
    elif from_stdin:
        given = sys.stdin.buffer.read(PASSWORD_READ_BYTES)
    else:
        raise ConfigError("There is no terminal to ask for the password.", "Use --password-file.")
    password = given.removesuffix(b"\n").removesuffix(b"\r")
    if not password:
        raise ConfigError("No password was given.", "Type it when asked, or use --password-file.")
    if len(password) > MAX_PASSWORD_BYTES:
        raise ConfigError(
            "The password is longer than 255 bytes, which SOCKS5 cannot carry.", "Use a shorter one."
        )
    return password


def login_of(
    user: str | None, file: Path | None, users_file: str, *, from_stdin: bool = True
) -> "Login | None":
    """The login that was asked for. Says so where one is needed and none was."""
    from nymgate.apps.reachable import Login

    if user is not None:
        try:
            return Login(user, read_password(file, from_stdin=from_stdin).decode())
        except UnicodeDecodeError:
            raise ConfigError("The password is not UTF-8.", "URLs of proxies cannot carry it.") from None
    if file is not None:
        raise ConfigError("--password-file is for --user.", "Say whose password it is.")
    if users_file:
        typer.echo(
            "nymgate: this proxy serves the users of access.users_file only: use --user NAME.", err=True
        )
    return None
