"""`nymgate healthcheck`: for containers and service managers, an exit code; for people, the layer that fails."""

import json
import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer

from nymgate.cli.options import (
    ConfigOption,
    DataDirOption,
    JsonOption,
    NetworkOption,
    QuietOption,
    VerboseOption,
    begin,
    load_configuration,
)
from nymgate.errors import ExitCode

if TYPE_CHECKING:
    from nymgate.config import Config
    from nymgate.watch.asking_io import Answer


def healthcheck(
    ctx: typer.Context,
    config: ConfigOption = None,
    network: NetworkOption = None,
    data_dir: DataDirOption = None,
    as_json: JsonOption = False,
    verbose: VerboseOption = 0,
    quiet: QuietOption = 0,
) -> None:
    """Ask the running proxy whether streams get through: exit code 0 if they do, 1 if not or if it does not run.

    Asks by the control socket in the data folder, else at `listen.metrics`. What works but will not for long (tickets
    that run low and cannot be bought, say) is 0 as well, and is said.
    """
    begin(ctx, as_json=as_json, verbose=verbose, quiet=quiet)
    settings = load_configuration(config, {"network": network, "data_dir": data_dir}).config
    from nymgate.config_layers import data_dir as data_folder
    from nymgate.networks import resolve_network
    from nymgate.watch.asking_io import NotRunning

    data = data_folder(settings, os.environ)
    folder = data / resolve_network(settings.network, data).name
    try:
        answer = ask(settings, folder)
    except NotRunning as error:
        if as_json:
            shown = {"ready": False, "code": error.code, "layer": error.layer}
            typer.echo(json.dumps(shown | {"what": error.what, "todo": error.todo}, ensure_ascii=False))
        else:
            typer.echo(f"not running: {error.what} {error.todo} [{error.code}]")
        raise typer.Exit(ExitCode.FAILED) from None
    body = json.loads(answer.body)
    typer.echo(json.dumps(body, ensure_ascii=False) if as_json else sentence(body))
    if not body["ready"]:
        raise typer.Exit(ExitCode.FAILED)


def ask(settings: "Config", folder: Path) -> "Answer":
    """Of the proxy with that data folder. Raises NotRunning."""
    from nymgate.sections.types import split_address
    from nymgate.watch.asking_io import NotRunning, ask_folder, ask_port

    try:
        return ask_folder(folder, "/health")
    except NotRunning:
        host, port = split_address(settings.listen.metrics) if settings.listen.metrics else ("", 0)
        if not port or "metrics" not in settings.listen.model_fields_set:
            raise  # at the default port anybody's proxy may answer
        return ask_port(_here(host), port, "/readyz")


def _here(host: str) -> str:
    """How this machine reaches a listener at that address."""
    return {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(host, host)


def sentence(body: dict[str, Any]) -> str:
    """The verdict in a line."""
    if not body["layer"]:
        return f"{'ready' if body['ready'] else 'not ready'}: {body['what']}"
    word = "degraded" if body["ready"] else "not ready"
    return f"{word}: {body['layer']}: {body['what']} {body['todo']}".rstrip() + f" [{body['code']}]"
