"""The flags that commands share, and what a command remembers for the one who reports its errors."""

import functools
import inspect
import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Concatenate, Final, ParamSpec

import typer

if TYPE_CHECKING:
    from nymgate.config import Config
    from nymgate.config_layers import Effective

P = ParamSpec("P")

LEVELS: Final = ("error", "warning", "info", "debug")
_INFO: Final = LEVELS.index("info")

ConfigOption = Annotated[
    Path | None,
    typer.Option("--config", metavar="FILE", help="Configuration file (TOML).", show_default=False),
]
JsonOption = Annotated[bool, typer.Option("--json", help="Output for programs: JSON.")]
VerboseOption = Annotated[
    int,
    typer.Option("--verbose", "-v", count=True, help="Say more; -vv adds tracebacks.", show_default=False),
]
QuietOption = Annotated[
    int, typer.Option("--quiet", "-q", count=True, help="Say less; -qq errors only.", show_default=False)
]
NetworkOption = Annotated[
    str | None,
    typer.Option("--network", metavar="NAME|FILE", help="mainnet, sandbox, localnet or a network file."),
]
ListenOption = Annotated[
    list[str] | None,
    typer.Option("--listen", metavar="HOST:PORT", help="Where applications connect; repeatable."),
]
EntryOption = Annotated[
    str | None,
    typer.Option(
        "--entry", metavar="auto|country:CH,DE|IDENTITY", help="Entry gateway; see `nymgate gateways`."
    ),
]
ExitOption = Annotated[
    str | None,
    typer.Option(
        "--exit",
        metavar="auto|country:CH,DE|IDENTITY|ADDRESS",
        help="Network requester that opens connections; see `nymgate exits`.",
    ),
]
ProfileOption = Annotated[
    str | None, typer.Option("--profile", metavar="NAME", help="standard, fast, thrifty or uncovered.")
]
NymApiOption = Annotated[
    list[str] | None, typer.Option("--nym-api", metavar="URL", help="Directory to ask instead; repeatable.")
]
TopologyFileOption = Annotated[
    str | None, typer.Option("--topology-file", metavar="FILE", help="A network.json instead of a directory.")
]
DataDirOption = Annotated[
    str | None, typer.Option("--data-dir", metavar="FOLDER", help="Folder of keys and state.")
]
CountryOption = Annotated[
    str | None,
    typer.Option("--country", metavar="CH,DE", help="Only those that say they are in these countries."),
]
WorkersOption = Annotated[
    int | None,
    typer.Option("--workers", metavar="N", help="Processes that share the work, each with its own identity."),
]
YesOption = Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")]


@dataclass(slots=True)
class Session:
    """How this invocation talks."""

    json: bool = False
    verbosity: int = 0


def session(ctx: typer.Context) -> Session:
    """The session of the command line as a whole."""
    root = ctx.find_root()
    if not isinstance(root.obj, Session):
        root.obj = Session()
    return root.obj


def begin(ctx: typer.Context, *, as_json: bool, verbose: int, quiet: int) -> Session:
    """Remember how to talk. First thing in every command."""
    state = session(ctx)
    state.json, state.verbosity = as_json, verbose - quiet
    return state


def level_flag(state: Session) -> str | None:
    """What -v and -q mean for ``log.level``; None without them."""
    if state.verbosity == 0:
        return None
    return LEVELS[min(max(_INFO + state.verbosity, 0), len(LEVELS) - 1)]


def countries_given(written: str | None) -> tuple[str, ...] | None:
    """The codes behind ``--country``; None without it."""
    from nymgate.sections.mixnet import COUNTRY_PREFIX, countries_of

    try:
        return None if written is None else countries_of(COUNTRY_PREFIX + written)
    except ValueError:
        raise typer.BadParameter(
            "countries are two-letter codes with commas between, such as CH,DE", param_hint="--country"
        ) from None


def load_configuration(file: Path | None, flags: Mapping[str, object]) -> "Effective":
    """The configuration in force."""
    from nymgate.config_layers import load

    return load(file=file, flags=flags)


@dataclass(frozen=True, slots=True)
class SharedFlags:
    """What was given of the flags that most commands share; see :func:`with_shared_flags`."""

    ctx: typer.Context
    config: Path | None = None
    network: str | None = None
    data_dir: str | None = None
    as_json: bool = False
    verbose: int = 0
    quiet: int = 0

    def begin(self) -> Session:
        """Remember how to talk."""
        return begin(self.ctx, as_json=self.as_json, verbose=self.verbose, quiet=self.quiet)

    def configuration(self, flags: Mapping[str, object] | None = None) -> "Effective":
        """The configuration in force. ``flags``: settings that the command has flags of its own for."""
        shared = {"network": self.network, "data_dir": self.data_dir}
        return load_configuration(self.config, shared | dict(flags or {}))


def network_folder(settings: "Config") -> Path:
    """The folder of a proxy with these settings: that of its network, within the data folder."""
    from nymgate.config_layers import data_dir
    from nymgate.networks import resolve_network

    data = data_dir(settings, os.environ)
    return data / resolve_network(settings.network, data).name


def _shared_flags(
    config: ConfigOption = None,
    network: NetworkOption = None,
    data_dir: DataDirOption = None,
    as_json: JsonOption = False,
    verbose: VerboseOption = 0,
    quiet: QuietOption = 0,
) -> None:
    """The flags of :class:`SharedFlags`, as the command line library reads them."""


def with_shared_flags(command: Callable[Concatenate[SharedFlags, P], None]) -> Callable[..., None]:
    """Give a command --config, --network, --data-dir, --json, -v and -q after its own flags.

    The command takes them as its first argument.
    """
    ours = inspect.signature(_shared_flags).parameters
    _first, *own = inspect.signature(command).parameters.values()

    @functools.wraps(command)
    def run(ctx: typer.Context, **given: Any) -> None:
        shared = SharedFlags(ctx, **{name: given.pop(name) for name in ours})
        command(shared, **given)  # type: ignore[call-arg]

    context = inspect.Parameter("ctx", inspect.Parameter.POSITIONAL_OR_KEYWORD, annotation=typer.Context)
    parameters = [context, *own, *ours.values()]
    run.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]
    run.__annotations__ = {parameter.name: parameter.annotation for parameter in parameters}
    return run
