"""Writes the reference pages from the code: ``python -m nymgate.reference docs/reference``.

A test compares what stands there with what would be written.
"""

import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

from nymgate.config_docs import reference_page
from nymgate.errors import ExitCode
from nymgate.profile_docs import profiles_page
from nymgate.refusals import refusals_page
from nymgate.watch.control_api import control_page
from nymgate.watch.exposition import metrics_page

CLI_HEAD: Final = """\
# Commands

<!-- Written by `make reference`. The texts are those of the commands in proxy/nymgate/cli. -->

Every command takes `--json` (output for programs, errors as one JSON object on standard error), `-v`/`-vv` (say more;
`-vv` adds tracebacks) and `-q`/`-qq` (say less). Where a command reads the configuration, `--config FILE` names it;
see [configuration](configuration.md)."""

EXIT_CODES: Final = {
    ExitCode.DONE: "done",
    ExitCode.FAILED: "failed",
    ExitCode.USAGE: "wrong usage or configuration",
    ExitCode.REFUSED: "refused, by budget or policy",
    ExitCode.NETWORK: "the network is out of reach",
    ExitCode.EXHAUSTED: "not enough funds or tickets",
    ExitCode.BUSY: "another instance holds the data folder or the ticket store",
}


def pages() -> dict[str, str]:
    """File name to text, of all generated pages."""
    return {
        "configuration.md": reference_page(),
        "profiles.md": profiles_page(),
        "cli.md": cli_page(),
        "refusals.md": refusals_page(),
        "metrics.md": metrics_page(),
        "control-api.md": control_page(),
    }


def commands(command: Any, before: str = "") -> Iterator[str]:
    """The words of every command below this one, in the order of its help."""
    for name, below in getattr(command, "commands", {}).items():
        words = f"{before} {name}".strip()
        if hasattr(below, "commands"):
            yield from commands(below, words)
        else:
            yield words


def cli_page() -> str:
    """The page about commands: their help texts."""
    import typer
    from typer.testing import CliRunner

    from nymgate.cli import app

    runner = CliRunner(env={"COLUMNS": "100", "NO_COLOR": "1", "TERM": "dumb"})
    lines = [CLI_HEAD]
    for words in commands(typer.main.get_command(app)):
        text = runner.invoke(app, [*words.split(), "--help"], prog_name="nymgate").output.strip()
        text = "\n".join(line.rstrip() for line in text.splitlines())
        lines += ["", f"## `nymgate {words}`", "", "```text", text, "```"]
    lines += ["", "## Exit codes", "", "| code | means |", "|---|---|"]
    lines += [f"| {code.value} | {text} |" for code, text in EXIT_CODES.items()]
    return "\n".join(lines) + "\n"


def main(folder: str) -> None:
    """Write all pages."""
    target = Path(folder)
    target.mkdir(parents=True, exist_ok=True)
    for name, text in pages().items():
        (target / name).write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main(*sys.argv[1:])
