"""What a reader would type: the console blocks of a page of the manual.

A block is run as it stands. Lines that begin with `$ ` are commands; the lines below one are what it prints, with `…`
for what differs from run to run; a command with `# refused: E_CODE` beside it has to fail with that. Comments before a
block say what a reader does not see: `<!-- not run: why -->`, `<!-- typed: what is typed when asked -->`, and
`<!-- set up: commands -->` for what the page takes for granted.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
FOLDERS = ("tutorial", "how-to")

_PART = re.compile(
    r"^<!-- (?P<word>not run|typed|set up): (?P<said>.+?) -->$|^```console\n(?P<body>.*?)^```$",
    re.DOTALL | re.MULTILINE,
)
_REFUSED = re.compile(r"# refused: (E_\w+)")


@dataclass(slots=True)
class Command:
    """One line that is typed, and what it prints."""

    text: str
    prints: list[str] = field(default_factory=list)

    @property
    def refused(self) -> str | None:
        """With which identifier it is to fail."""
        found = _REFUSED.search(self.text)
        return found[1] if found else None

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
    before: list[Command]
    reason: str | None
    """why it is not run"""
    typed: str


def pages() -> list[Path]:
    return sorted(path for folder in FOLDERS for path in (ROOT / "docs" / folder).glob("*.md"))


def blocks(text: str) -> list[Block]:
    found: list[Block] = []
    said: dict[str, str] = {}
    for part in _PART.finditer(text):
        if part["word"]:
            said[part["word"]] = part["said"]
            continue
        before = [Command(line) for line in said.get("set up", "").splitlines() if line.strip()]
        found.append(Block(_commands(part["body"]), before, said.get("not run"), said.get("typed", "")))
        said = {}
    return found


def _commands(body: str) -> list[Command]:
    commands: list[Command] = []
    for line in body.splitlines():
        if line.startswith("$ "):
            commands.append(Command(line[2:]))
        elif commands and commands[-1].text.endswith("\\"):
            commands[-1].text += "\n" + line
        elif commands:
            commands[-1].prints.append(line)
    return commands


def _pattern(line: str) -> re.Pattern[str]:
    return re.compile(".*".join(re.escape(part) for part in line.strip().split("…")))
