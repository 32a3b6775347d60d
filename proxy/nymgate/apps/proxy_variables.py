"""The environment variables by which programs are told of a proxy, and how each shell sets them.

Programs read the names in upper or lower case, curl ``http_proxy`` in lower case only: both are set, to the same.
``NO_PROXY`` is emptied: what it listed would be connected to directly, with the name looked up by this machine's
resolver.
"""

import os.path
import shlex
from collections.abc import Mapping
from enum import StrEnum
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from nymgate.apps.reachable import Login, Reachable

NAMES: Final = ("ALL_PROXY", "HTTP_PROXY", "HTTPS_PROXY", "NO_PROXY")


class Shell(StrEnum):
    """Languages in which a variable can be set."""

    SH = "sh"
    FISH = "fish"
    POWERSHELL = "powershell"


def proxy_variables(
    at: "Reachable", isolate: str | None = None, login: "Login | None" = None
) -> dict[str, str]:
    """Name to value, in upper and lower case; ``isolate`` sets the programs that use them apart from others, ``login``
    is for a proxy with users."""
    socks, http = at.socks_url(isolate, login), at.http_url(isolate, login)
    # Where only one kind is spoken it stands for the other as well: an unset variable would mean a direct connection.
    everything = socks or http or ""
    web = http or socks or ""
    values = dict(zip(NAMES, (everything, web, web, ""), strict=True))
    return values | {name.lower(): value for name, value in values.items()}


def all_names() -> tuple[str, ...]:
    """Every variable that is set."""
    return NAMES + tuple(name.lower() for name in NAMES)


def shell_of(path: str | None) -> Shell:
    """The language of the shell that ``$SHELL`` names."""
    name = os.path.basename(path or "")
    if name == "fish":
        return Shell.FISH
    return Shell.POWERSHELL if name in ("pwsh", "powershell") else Shell.SH


def assignments(variables: Mapping[str, str], shell: Shell) -> str:
    """Lines for ``eval`` that set and export the variables."""
    return "\n".join(_assignment(name, value, shell) for name, value in variables.items())


def removals(shell: Shell) -> str:
    """Lines for ``eval`` that take the variables away again."""
    names = all_names()
    match shell:
        case Shell.SH:
            return f"unset {' '.join(names)}"
        case Shell.FISH:
            return f"set -e {' '.join(names)}"
        case Shell.POWERSHELL:
            return "\n".join(f"Remove-Item Env:{name} -ErrorAction SilentlyContinue" for name in names)


def _assignment(name: str, value: str, shell: Shell) -> str:
    match shell:
        case Shell.SH:
            return f"export {name}={shlex.quote(value)}"
        case Shell.FISH:
            escaped = value.replace("\\", "\\\\").replace("'", "\\'")
            return f"set -gx {name} '{escaped}'"
        case Shell.POWERSHELL:
            doubled = value.replace("'", "''")
            return f"$env:{name} = '{doubled}'"
