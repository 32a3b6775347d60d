"""`nymgate healthcheck`: for containers and service managers, an exit code; for people, the layer that fails."""

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer

from nymgate.cli.options import SharedFlags, network_folder, with_shared_flags
from nymgate.errors import ExitCode

if TYPE_CHECKING:
    from nymgate.config import Config
    from nymgate.watch.asking_io import Answer


@with_shared_flags
def healthcheck(
    shared: SharedFlags,
) -> None:
    """Ask the running proxy whether streams get through: exit code 0 if they do, 1 if not or if it does not run.

    Asks by the control socket in the data folder, else at `listen.metrics`. What works but will not for long (tickets
    that run low and cannot be bought, say) is 0 as well, and is said.
    """
    shared.begin()
    settings = shared.configuration().config
    from nymgate.watch.asking_io import NotRunning

    folder = network_folder(settings)
    try:
        answer = ask(settings, folder)
    except NotRunning as error:
        if shared.as_json:
            shown = {"ready": False, "code": error.code, "layer": error.layer}
            typer.echo(json.dumps(shown | {"what": error.what, "todo": error.todo}, ensure_ascii=False))
        else:
            typer.echo(f"not running: {error.what} {error.todo} [{error.code}]")
        raise typer.Exit(ExitCode.FAILED) from None
    body = json.loads(answer.body)
    typer.echo(json.dumps(body, ensure_ascii=False) if shared.as_json else sentence(body))
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
