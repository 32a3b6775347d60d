"""What a reader would type: the console blocks of a page of the manual.

A block is run as it stands unless a comment `<!-- not run: why -->` comes before it. Lines that begin with `$ ` are
commands; the lines below one are what it prints, with `…` for what differs from run to run.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
FOLDERS = ("tutorial", "how-to")

_BLOCK = re.compile(
    r"(?:^<!-- not run: (?P<reason>[^\n]+?) -->\n)?^```console\n(?P<body>.*?)^```$", re.DOTALL | re.MULTILINE
)


@dataclass(slots=True)
class Command:
    """One line that is typed, and what it prints."""

    text: str
    prints: list[str] = field(default_factory=list)

    def missing(self, output: str) -> list[str]:
        """The lines of the page that the output has no match for."""
        lines = [line.strip() for line in output.splitlines()]
        return [
            wanted
            for wanted in self.prints
            if wanted.strip(" …") and not any(_pattern(wanted).fullmatch(line) for line in lines)
        ]


@dataclass(slots=True)
class Block:
    """A console block."""

    commands: list[Command]
    reason: str | None
    """why it is not run"""


def pages() -> list[Path]:
    return sorted(path for folder in FOLDERS for path in (ROOT / "docs" / folder).glob("*.md"))


def blocks(text: str) -> list[Block]:
    found = []
    for match in _BLOCK.finditer(text):
        commands: list[Command] = []
        for line in match["body"].splitlines():
            if line.startswith("$ "):
                commands.append(Command(line[2:]))
            elif commands and commands[-1].text.endswith("\\"):
                commands[-1].text += "\n" + line
            elif commands:
                commands[-1].prints.append(line)
        found.append(Block(commands, match["reason"]))
    return found


def _pattern(line: str) -> re.Pattern[str]:
    return re.compile(".*".join(re.escape(part) for part in line.strip().split("…")))
