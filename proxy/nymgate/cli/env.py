"""`nymgate env`: the proxy variables for a shell."""

import json
import os
from typing import Annotated

import typer

from nymgate.apps.proxy_variables import Shell
from nymgate.cli.options import (
    ConfigOption,
    JsonOption,
    ListenOption,
    QuietOption,
    VerboseOption,
    begin,
    load_configuration,
)
from nymgate.cli.passwords import PasswordFileOption, UserOption, login_of

ISOLATE_HELP = "A random password, for a mixnet identity and exit of its own: nobody can join it with others."


def env(
    ctx: typer.Context,
    config: ConfigOption = None,
    listen: ListenOption = None,
    shell: Annotated[
        Shell | None, typer.Option("--shell", help="Language of the lines; that of $SHELL if not given.")
    ] = None,
    isolate: Annotated[bool, typer.Option("--isolate", help=ISOLATE_HELP)] = False,
    user: UserOption = None,
    password_file: PasswordFileOption = None,
    unset: Annotated[bool, typer.Option("--unset", help="Lines that take the variables away again.")] = False,
    as_json: JsonOption = False,
    verbose: VerboseOption = 0,
    quiet: QuietOption = 0,
) -> None:
    """Print the variables that make programs of a shell use the proxy: eval "$(nymgate env)".

    ALL_PROXY, HTTP_PROXY and HTTPS_PROXY name the configured addresses, in upper and lower case; NO_PROXY is emptied,
    because what it lists is connected to directly. In fish: nymgate env | source. In PowerShell:
    nymgate env | Out-String | Invoke-Expression. A program that knows no such variables goes past the proxy all the
    same: `nymgate exec` holds those as well.
    """
    begin(ctx, as_json=as_json, verbose=verbose, quiet=quiet)
    from nymgate.apps.proxy_variables import all_names, assignments, proxy_variables, removals, shell_of

    language = shell or shell_of(os.environ.get("SHELL"))
    if unset:
        typer.echo(json.dumps(dict.fromkeys(all_names())) if as_json else removals(language))
        return
    from nymgate.apps.reachable import Reachable

    settings = load_configuration(config, {"listen.mixed": listen}).config
    at = Reachable.configured(settings.listen)
    login = login_of(user, password_file, settings.access.users_file)
    variables = proxy_variables(at, isolation(isolate), login)
    typer.echo(json.dumps(variables) if as_json else assignments(variables, language))


def isolation(wanted: bool) -> str | None:
    """A token that nobody else has."""
    import secrets

    return secrets.token_hex(16) if wanted else None
