"""`nymgate demo`: the main job on this machine alone, watched."""

import typer

from nymgate.cli.options import JsonOption, QuietOption, VerboseOption, begin


def demo(
    ctx: typer.Context, as_json: JsonOption = False, verbose: VerboseOption = 0, quiet: QuietOption = 0
) -> None:
    """Bring up a whole Nym network on loopback and fetch a page and a file through it with curl."""
    begin(ctx, as_json=as_json, verbose=verbose, quiet=quiet)
