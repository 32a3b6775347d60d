"""`nymgate config init|check|show`."""

import json
import os
from pathlib import Path
from typing import Annotated

import typer

from nymgate.cli.options import (
    ConfigOption,
    DataDirOption,
    EntryOption,
    ExitOption,
    JsonOption,
    ListenOption,
    NetworkOption,
    NymApiOption,
    ProfileOption,
    QuietOption,
    TopologyFileOption,
    VerboseOption,
    begin,
    load_configuration,
)

app = typer.Typer(
    help="Write, check and show the configuration.", no_args_is_help=True, rich_markup_mode=None
)


@app.command()
def init(
    ctx: typer.Context,
    config: ConfigOption = None,
    force: Annotated[bool, typer.Option("--force", help="Replace an existing file.")] = False,
    network: NetworkOption = None,
    listen: ListenOption = None,
    entry: EntryOption = None,
    exit_: ExitOption = None,
    profile: ProfileOption = None,
    nym_api: NymApiOption = None,
    topology_file: TopologyFileOption = None,
    data_dir: DataDirOption = None,
    as_json: JsonOption = False,
    verbose: VerboseOption = 0,
    quiet: QuietOption = 0,
) -> None:
    """Write a configuration file with every setting explained; flags given are set in it.

    `nymgate run` needs no file: this is for those who want one.
    """
    begin(ctx, as_json=as_json, verbose=verbose, quiet=quiet)
    from nymgate.config_docs import example_file
    from nymgate.config_layers import default_config_path, flag_layer, load, parse_file, value_at
    from nymgate.errors import ConfigError

    layer = flag_layer(
        {
            "network": network,
            "listen.mixed": listen,
            "mixnet.entry": entry,
            "mixnet.exit": exit_,
            "mixnet.profile": profile,
            "mixnet.nym_api": nym_api,
            "mixnet.topology_file": topology_file,
            "data_dir": data_dir,
        }
    )
    effective = load(file=Path(os.devnull), environ={}, flags=layer.values)
    text = example_file({key: value_at(effective.config, key) for key in layer.values})
    parse_file(text, "the file to be written")
    path = config or default_config_path(os.environ)
    try:
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        flags = os.O_WRONLY | os.O_CREAT | (os.O_TRUNC if force else os.O_EXCL)
        with os.fdopen(os.open(path, flags, 0o600), "w", encoding="utf-8") as file:
            file.write(text)
    except FileExistsError:
        raise ConfigError(
            f"{path} exists.", "Use --force to replace it, or --config for another place."
        ) from None
    except OSError as error:
        raise ConfigError(
            f"{path} cannot be written: {error.strerror}.", "Choose another place with --config."
        ) from error
    typer.echo(json.dumps({"written": str(path)}) if as_json else f"Written: {path}")


@app.command()
def check(
    ctx: typer.Context,
    config: ConfigOption = None,
    as_json: JsonOption = False,
    verbose: VerboseOption = 0,
    quiet: QuietOption = 0,
) -> None:
    """Check the configuration: file, environment, network and topology files. Asks nobody."""
    begin(ctx, as_json=as_json, verbose=verbose, quiet=quiet)
    import asyncio

    from nymgate import wiring
    from nymgate.config_layers import data_dir

    effective = load_configuration(config, {})
    plan = wiring.make_plan(effective.config, data_dir(effective.config, os.environ))
    if effective.config.mixnet.topology_file:
        topology = asyncio.run(wiring.topology_source(plan).fetch())
        topology.ensure_usable()
    where = str(effective.file) if effective.file else "defaults, no file"
    if as_json:
        typer.echo(json.dumps({"ok": True, "file": str(effective.file) if effective.file else None}))
    else:
        typer.echo(f"The configuration is good ({where}), for network {plan.network.name}.")


@app.command()
def show(
    ctx: typer.Context,
    config: ConfigOption = None,
    as_json: JsonOption = False,
    verbose: VerboseOption = 0,
    quiet: QuietOption = 0,
) -> None:
    """Print every value in force and where it comes from; secrets are left out."""
    begin(ctx, as_json=as_json, verbose=verbose, quiet=quiet)
    from nymgate.config_docs import listing
    from nymgate.config_layers import data_dir

    effective = load_configuration(config, {})
    rows = listing(effective)
    folder = str(data_dir(effective.config, os.environ))
    if as_json:
        values = {key: {"value": value, "source": origin} for key, value, origin in rows}
        file = str(effective.file) if effective.file else None
        typer.echo(json.dumps({"file": file, "data_folder": folder, "settings": values}, ensure_ascii=False))
        return
    typer.echo(f"# file: {effective.file or 'none'}; data folder: {folder}")
    shown = [(f"{key} = {json.dumps(value, ensure_ascii=False)}", origin) for key, value, origin in rows]
    width = min(60, max(len(text) for text, _origin in shown))
    for text, origin in shown:
        typer.echo(f"{text:<{width}}  # {origin}")
