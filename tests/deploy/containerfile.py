"""Reads a Containerfile: as much of the language as ours uses, and an error for the rest."""

from __future__ import annotations

import json
import re
import shlex
from dataclasses import dataclass, field
from pathlib import Path

KNOWN = {"ARG", "FROM", "WORKDIR", "COPY", "RUN", "LABEL", "ENV", "USER", "VOLUME", "EXPOSE", "STOPSIGNAL"}
KNOWN |= {"HEALTHCHECK", "ENTRYPOINT", "CMD"}


@dataclass(frozen=True, slots=True)
class Step:
    """One instruction."""

    word: str
    rest: str


@dataclass(frozen=True, slots=True)
class Stage:
    """From one FROM to the next."""

    base: str
    name: str
    steps: tuple[Step, ...]

    def last(self, word: str) -> str:
        """What the last instruction of that kind says."""
        return [step.rest for step in self.steps if step.word == word][-1]

    def words(self, word: str) -> list[str]:
        """The same for those that hold a JSON list."""
        return json.loads(self.last(word))

    def environment(self) -> dict[str, str]:
        found: dict[str, str] = {}
        for step in self.steps:
            if step.word == "ENV":
                found.update(pair.split("=", 1) for pair in shlex.split(step.rest))
        return found


@dataclass(slots=True)
class _Open:
    base: str
    name: str
    steps: list[Step] = field(default_factory=list)


def read(path: Path) -> list[Stage]:
    """The stages, in their order; the last one is the image."""
    arguments: dict[str, str] = {}
    stages: list[_Open] = []
    for step in _steps(path.read_text()):
        if step.word == "ARG":
            assert not stages, "arguments stand before the first stage here"
            name, _, value = step.rest.partition("=")
            arguments[name] = value
        elif step.word == "FROM":
            base, _, name = step.rest.partition(" AS ")
            stages.append(_Open(re.sub(r"\$\{(\w+)\}", lambda m: arguments[m[1]], base), name))
        else:
            stages[-1].steps.append(step)
    return [Stage(stage.base, stage.name, tuple(stage.steps)) for stage in stages]


def _steps(text: str) -> list[Step]:
    lines = [line for line in text.splitlines() if line.strip() and not line.lstrip().startswith("#")]
    joined = re.sub(r"\\\n\s*", "", "\n".join(lines))
    steps = []
    for line in joined.splitlines():
        word, _, rest = line.partition(" ")
        assert word in KNOWN, f"the reader does not know {word}"
        steps.append(Step(word, rest.strip()))
    return steps
