"""The command tree, and the one place where an error becomes a sentence and an exit code."""

import contextlib
import errno
import json
import os
import sys
import traceback
from typing import TYPE_CHECKING, Annotated, Any, Final, cast

import typer
from typer.core import TyperGroup

from nymgate import __version__
from nymgate.cli import (
    account,
    configuration,
    debug_dump,
    demo,
    env,
    exec_,
    exits,
    gateways,
    healthcheck,
    ledger,
    localnet,
    privacy,
    run,
    status,
    store,
    tickets,
    topup,
    users,
)
from nymgate.cli.options import session
from nymgate.errors import ConfigError, ExitCode, NymgateError

if TYPE_CHECKING:
    from nym_credentials.errors import CredentialsError
    from nym_exit.errors import ExitError
    from nym_mixnet.errors import MixnetError

HELP = """Send what applications say through the Nym mixnet.

`nymgate demo` shows it on this machine alone; `nymgate run` is the proxy."""

_FULL: Final = (errno.ENOSPC, errno.EDQUOT)


class _Group(TyperGroup):
    """Reports errors of commands: one sentence what happened, one what to do, never a traceback unasked."""

    def invoke(self, ctx: Any) -> Any:
        wants_json = "--json" in [*ctx._protected_args, *ctx.args]
        try:
            return super().invoke(ctx)
        except (typer.Exit, typer.Abort):
            raise
        except KeyboardInterrupt:
            raise typer.Exit(130) from None
        except BrokenPipeError:
            _give_up_output()
            sys.stderr.close()  # the reader of our output is gone: nobody to tell
            raise typer.Exit(ExitCode.FAILED) from None
        except Exception as error:
            if hasattr(error, "format_message"):  # a usage error of the command line library
                if not wants_json or not getattr(error, "ctx", None):
                    raise  # it shows itself
                session(ctx).json = True
                usage: Any = error
                what = usage.format_message().rstrip(".")
                error = ConfigError(f"{what}.", f"See `{usage.ctx.command_path} -h`.")
            if isinstance(error, OSError) and error.errno in _FULL:
                _give_up_output()
            report(ctx, error)
            raise typer.Exit(as_ours(error).exit_code) from None


def _give_up_output() -> None:
    """Nothing more can be written: what is left in the buffer must not fail once more at the end."""
    with contextlib.suppress(OSError, ValueError):
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, sys.stdout.fileno())
        os.close(nowhere)


def as_ours(error: BaseException) -> NymgateError:
    """Any error in terms of this package."""
    if isinstance(error, NymgateError):
        return error
    if isinstance(error, BaseExceptionGroup):
        return as_ours(error.exceptions[0])
    if hasattr(error, "layer") and hasattr(error, "happened"):
        from nymgate.purse.money import explain_money

        return explain_money(cast("CredentialsError", error))
    if hasattr(error, "layer") and hasattr(error, "kind"):
        from nymgate.wiring import explain

        return explain(cast("MixnetError | ExitError", error))
    if isinstance(error, OSError) and error.errno in _FULL:
        return NymgateError(f"Writing failed: {error.strerror}.", "Make room, or write elsewhere.")
    ours = NymgateError(
        f"Internal error ({type(error).__name__}).", "Run again with -vv and report what it says."
    )
    ours.__cause__ = error
    return ours


def report(ctx: typer.Context, error: BaseException) -> None:
    """Say it on standard error."""
    ours, state = as_ours(error), session(ctx)
    if state.json:
        shown = {"code": ours.code, "layer": ours.layer, "what": ours.what, "todo": ours.todo}
        typer.echo(json.dumps({"error": shown}, ensure_ascii=False), err=True)
    else:
        typer.echo(f"nymgate: {ours.what} {ours.todo} [{ours.code}]", err=True)
    if state.verbosity >= 2:
        typer.echo("".join(traceback.format_exception(error)), err=True)


app = typer.Typer(
    name="nymgate",
    help=HELP,
    cls=_Group,
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
    context_settings={"help_option_names": ["-h", "--help"]},
)


def _version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"nymgate {__version__}")
        raise typer.Exit


@app.callback()
def _root(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version and exit.")
    ] = False,
) -> None:
    pass


app.command("run")(run.run)
app.command("demo")(demo.demo)
app.command("env")(env.env)
# What comes after the command's name is the command's, options included.
app.command("exec", context_settings={"allow_interspersed_args": False})(exec_.exec_)
app.command("gateways")(gateways.gateways)
app.command("exits")(exits.exits)
app.command("status")(status.status)
app.command("healthcheck")(healthcheck.healthcheck)
app.command("debug-dump")(debug_dump.debug_dump)
app.command("privacy")(privacy.privacy)
app.add_typer(account.app, name="account")
app.add_typer(tickets.app, name="tickets")
app.add_typer(users.app, name="users")
app.add_typer(topup.app, name="topup")
app.command("ledger")(ledger.ledger)
app.add_typer(store.app, name="store")
app.add_typer(configuration.app, name="config")
app.add_typer(localnet.app, name="localnet")


def main() -> None:
    """Entry point."""
    app(prog_name="nymgate")
