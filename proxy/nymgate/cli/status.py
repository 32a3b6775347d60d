"""`nymgate status`: how it stands with the running proxy, once or as a view that follows it."""

import json
import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Final

import typer

from nymgate.cli.options import SharedFlags, network_folder, with_shared_flags
from nymgate.errors import ExitCode

if TYPE_CHECKING:
    from rich.console import RenderableType

    from nymgate.watch.status import Status

EVERY_SECONDS: Final = 2.0

WatchOption = Annotated[bool, typer.Option("--watch", "-w", help="Follow it on the terminal until Ctrl-C.")]


@with_shared_flags
def status(
    shared: SharedFlags,
    watch: WatchOption = False,
) -> None:
    """Show how it stands with the running proxy: exit code 0 if streams get through, 1 if not or if it does not run.

    Layers with the one that fails, tickets and until when, what every profile costs, budget, exits, streams, privacy.
    Asks by the control socket in the data folder; with several workers all of them. --watch follows it; with --json
    that is one line for each look.
    """
    shared.begin()
    folder = network_folder(shared.configuration().config)
    ready = follow(folder, as_json=shared.as_json) if watch else once(folder, as_json=shared.as_json)
    if not ready:
        raise typer.Exit(ExitCode.FAILED)


def once(folder: Path, *, as_json: bool) -> bool:
    """Show it; returns whether streams get through."""
    from nymgate.watch.asking_io import NotRunning
    from nymgate.watch.status_text import status_lines

    try:
        found = ask(folder)
    except NotRunning as error:
        show_absence(error, as_json=as_json)
        return False
    if as_json:
        typer.echo(_json(found))
    else:
        typer.echo("\n".join(status_lines(found)))
    return found.ready


def ask(folder: Path) -> "Status":
    """The status of the proxy with that data folder. Raises NotRunning."""
    from nymgate.listener.unix_socket import NAME
    from nymgate.watch.asking_io import NotRunning, ask_folder
    from nymgate.watch.control_api import PREFIX
    from nymgate.watch.snapshot_json import record
    from nymgate.watch.status import Status

    answer = ask_folder(folder, f"{PREFIX}/status")
    try:
        found = record(Status, json.loads(answer.body))
    except (ValueError, TypeError, KeyError):
        raise NotRunning(str(folder / NAME), "what answers there is of another version") from None
    assert isinstance(found, Status)
    return found


def _json(found: "Status") -> str:
    from nymgate.watch.snapshot_json import plain

    return json.dumps(plain(found), ensure_ascii=False)


def show_absence(error: "Exception", *, as_json: bool) -> None:
    """That nobody answers, in one sentence, and what to do."""
    from nymgate.watch.asking_io import NotRunning

    assert isinstance(error, NotRunning)
    if as_json:
        said = {"code": error.code, "layer": error.layer, "what": error.what, "todo": error.todo}
        typer.echo(json.dumps({"ready": False, "state": "absent", **said}, ensure_ascii=False))
    else:
        typer.echo(f"not running: {error.what} {error.todo} [{error.code}]")


def follow(folder: Path, *, as_json: bool, pause: Callable[[float], None] = time.sleep) -> bool:
    """Show it again and again until Ctrl-C; returns whether streams got through at the last look."""
    from rich.console import Console
    from rich.live import Live

    ready = False
    try:
        if as_json or not Console().is_terminal:
            while True:
                ready = once(folder, as_json=as_json)
                pause(EVERY_SECONDS)
        with Live(screen=True, auto_refresh=False, vertical_overflow="ellipsis") as live:
            while True:
                ready, shown = look(folder)
                live.update(shown, refresh=True)
                pause(EVERY_SECONDS)
    except KeyboardInterrupt:
        pass
    return ready


def look(folder: Path) -> "tuple[bool, RenderableType]":
    """One look, to be drawn."""
    from rich.text import Text

    from nymgate.cli.status_view import view
    from nymgate.watch.asking_io import NotRunning

    try:
        found = ask(folder)
    except NotRunning as error:
        return False, Text(f"not running: {error.what} {error.todo} [{error.code}]", style="bold red")
    return found.ready, view(found)
