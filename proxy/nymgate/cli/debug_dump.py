"""`nymgate debug-dump`: a report that can be posted where others read it."""

import contextlib
import getpass
import json
import os
import platform
import socket
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Final

import typer

from nymgate.cli.options import SharedFlags, network_folder, with_shared_flags
from nymgate.errors import ConfigError, NymgateError

if TYPE_CHECKING:
    from nymgate.config import Config

LIBRARIES: Final = (
    *("aiohttp", "uvloop", "cryptography", "PyNaCl", "blake3", "py_arkworks_bls12381", "cosmpy"),
    *("sqlalchemy", "aiosqlite", "asyncpg", "pydantic", "structlog", "prometheus-client", "typer", "rich"),
)
FileArgument = Annotated[
    Path | None,
    typer.Argument(
        metavar="[FILE]", help="Where to write it; standard output unless given.", show_default=False
    ),
]


@with_shared_flags
def debug_dump(
    shared: SharedFlags,
    file: FileArgument = None,
) -> None:
    """Write a report for those who help: versions, settings that differ, numbers and last log lines of the running
    proxy.

    Without secrets, destinations, hosts, addresses, accounts, tickets, amounts, dates and paths; identities of gateways
    are shortened. Read it before you post it all the same. Works without a running proxy too, and then says less.
    """
    shared.begin()
    effective = shared.configuration()
    from nymgate.config_layers import data_dir, settings
    from nymgate.watch.debug_report import known_of, report_text, scrubbed_log, shown_config
    from nymgate.watch.scrub import Scrubber

    data = data_dir(effective.config, os.environ)
    scrubber = Scrubber(known_of(effective.config) | here(effective.config, data), settings())
    parts: dict[str, Any] = {
        "versions": versions(),
        "settings that differ from their defaults": shown_config(effective.config, effective.origins),
    }
    now, found = time.time(), running(network_folder(effective.config))
    parts["proxy"] = scrubber.data(found.pop("absent"))
    lines = found.pop("logs", [])
    parts |= {name: scrubber.data(without_addresses(part), now) for name, part in found.items()}
    parts["log"] = scrubbed_log(lines, scrubber, now)
    text = json.dumps(parts, ensure_ascii=False, indent=1) + "\n" if shared.as_json else report_text(parts)
    if file is None:
        typer.echo(text, nl=False)
        return
    try:
        with os.fdopen(os.open(file, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w") as opened:
            opened.write(text)
    except OSError as error:
        raise ConfigError(
            f"The report cannot be written to {file}: {error.strerror}.", "Name another file."
        ) from error
    if shared.quiet == 0:
        typer.echo(f"Written to {file}. Read it before you post it.", err=True)


def versions() -> dict[str, Any]:
    """Of this program and what it stands on; nothing that tells one machine from another."""
    from importlib.metadata import PackageNotFoundError, version

    from nymgate import __version__

    libraries: dict[str, str | None] = {}
    for name in LIBRARIES:
        try:
            libraries[name] = version(name)
        except PackageNotFoundError:
            libraries[name] = None
    return {
        "nymgate": __version__,
        "python": f"{platform.python_implementation()} {platform.python_version()}",
        "system": f"{platform.system()} {platform.release().split('-')[0]} {platform.machine()}",
        "cores": os.cpu_count(),
        "container": os.path.exists("/.dockerenv") or os.path.exists("/run/.containerenv"),
        "libraries": libraries,
    }


def here(config: "Config", data: Path) -> dict[str, str]:
    """Names of this machine, of its users, and of the proxy's."""
    known = {str(Path.home()): "home", str(data): "data folder", sys.prefix: "python"}
    names = {socket.gethostname(): "machine", platform.node(): "machine"}
    with contextlib.suppress(OSError, KeyError):  # a number without a name, as in containers
        names[getpass.getuser()] = "user"
    if config.access.users_file:
        from nymgate.access.plan import read_users

        with contextlib.suppress(NymgateError):
            known |= dict.fromkeys(read_users(Path(config.access.users_file).expanduser()), "a user")
    known |= {name: kind for name, kind in names.items() if name not in ("localhost", "root")}
    return known


def running(folder: Path) -> dict[str, Any]:
    """What the running proxy tells; ``absent`` says why it does not."""
    from nymgate.watch.asking_io import NotRunning, ask_folder
    from nymgate.watch.control_api import PREFIX

    found: dict[str, Any] = {"absent": "running"}
    for name in ("status", "snapshot", "exits", "logs"):
        try:
            answer = ask_folder(folder, f"{PREFIX}/{name}")
            found[name] = json.loads(answer.body)
        except NotRunning as error:
            found["absent"] = error.what
            break
        except ValueError:
            found[name] = None
    return found


def without_addresses(part: Any) -> Any:
    """Exits by the first characters of their identity, which is enough to tell one from another."""
    if isinstance(part, list):
        return [
            {key: value for key, value in one.items() if key != "address"}
            if isinstance(one, Mapping)
            else one
            for one in part
        ]
    return part
