"""`nymgate exec`: a command whose only way out is the proxy."""

import json
import os
from typing import Annotated

import typer

from nymgate.cli.env import ISOLATE_HELP, isolation
from nymgate.cli.options import (
    ConfigOption,
    DataDirOption,
    EntryOption,
    ExitOption,
    JsonOption,
    ListenOption,
    NetworkOption,
    ProfileOption,
    QuietOption,
    VerboseOption,
    begin,
    level_flag,
    load_configuration,
)
from nymgate.cli.passwords import PasswordFileOption, UserOption, login_of

DEFAULT_WAIT_SECONDS = 120.0


def exec_(
    ctx: typer.Context,
    command: Annotated[list[str], typer.Argument(metavar="CMD...")],
    config: ConfigOption = None,
    network: NetworkOption = None,
    listen: ListenOption = None,
    entry: EntryOption = None,
    exit_: ExitOption = None,
    profile: ProfileOption = None,
    data_dir: DataDirOption = None,
    isolate: Annotated[bool, typer.Option("--isolate", help=ISOLATE_HELP)] = False,
    user: UserOption = None,
    password_file: PasswordFileOption = None,
    strict: Annotated[
        bool, typer.Option("--strict", help="Refuse where there are no network namespaces, rather than warn.")
    ] = False,
    wait: Annotated[
        float,
        typer.Option("--wait", metavar="SECONDS", min=1.0, help="How long a proxy started here may take."),
    ] = DEFAULT_WAIT_SECONDS,
    as_json: JsonOption = False,
    verbose: VerboseOption = 0,
    quiet: QuietOption = 0,
) -> None:
    """Run a command whose only way out is the proxy: nymgate exec -- git clone https://example.com/x.git

    The command runs in a network namespace with loopback and nothing else; a listener inside leads to the proxy, and
    the proxy variables name it. What does not know these variables gets no connection at all, rather than a direct
    one. There is no DNS inside, by design: programs have to leave names to the proxy, as they do with socks5h:// and
    HTTP proxies. Programs that others start for it (Docker's, a browser that is open already) are outside.

    The proxy at the configured address is used; if none runs there, one is started for the time of the command. Where
    the system has no namespaces, the command gets the variables only, with a warning. Signals are passed on, and the
    exit code is the command's own (128 + n after signal n; 127 no such program, 126 not to be started).
    """
    from nymgate.apps.exec_signals_io import SignalWatch

    with SignalWatch() as watch:  # before anything starts a thread
        state = begin(ctx, as_json=as_json, verbose=verbose, quiet=quiet)
        flags = {
            "network": network,
            "listen.mixed": listen,
            "mixnet.entry": entry,
            "mixnet.exit": exit_,
            "mixnet.profile": profile,
            "data_dir": data_dir,
            # The terminal is the command's.
            "log.level": level_flag(state) if state.verbosity else "warning",
        }
        effective = load_configuration(config, flags)
        from nymgate.apps import exec_io
        from nymgate.apps.exec_plan import ExecPlan, exit_code
        from nymgate.cli.app import report
        from nymgate.cli.run import run_loop
        from nymgate.config_layers import data_dir as data_folder
        from nymgate.logs import configure_from

        settings = effective.config
        configure_from(settings.log)
        result = 0
        # Standard input is the command's.
        login = login_of(user, password_file, settings.access.users_file, from_stdin=False)

        def say(text: str) -> None:
            if state.verbosity >= 0 and not state.json:
                typer.echo(f"nymgate: {text}", err=True)

        def warn(text: str) -> None:
            shown = json.dumps({"warning": text}, ensure_ascii=False) if state.json else f"nymgate: {text}"
            typer.echo(shown, err=True)

        async def main() -> None:
            nonlocal result
            passing = exec_io.Passing()
            watch.deliver(passing)
            folder = data_folder(settings, os.environ)
            async with exec_io.proxy_for_command(
                settings, folder, wait_seconds=wait, asked=passing.asked, say=say
            ) as at:
                if at is None:
                    result = exit_code(-passing.number)
                    return
                plan = ExecPlan(tuple(command), at, isolation(isolate), login)
                result = await exec_io.run_command(
                    plan, watch, passing, environ=os.environ, strict=strict, warn=warn
                )

        try:
            run_loop(main())
        except exec_io.CommandNotStarted as error:
            report(ctx, error)
            result = error.shell_code
    raise typer.Exit(result)
