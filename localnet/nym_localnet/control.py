"""What the orchestration and a worker process say to each other: one JSON object a line.

Parent to worker: first the settings, then `{"id": 1, "do": "restart", "args": {...}}`; without an id no
answer is wanted. Worker to parent: `{"id": 1, "result": ...}` or `{"id": 1, "error": "..."}`. End of input
ends the worker.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from typing import Any, Final

MAX_LINE_BYTES: Final = 1024 * 1024


@dataclass(frozen=True, slots=True)
class Command:
    """Something for a worker to do. `id` None: nobody waits for the answer."""

    do: str
    args: dict[str, Any] = field(default_factory=dict)
    id: int | None = None

    def encode(self) -> bytes:
        """One line."""
        return _line({"id": self.id, "do": self.do, "args": self.args})

    @classmethod
    def decode(cls, line: bytes) -> Command:
        """`ValueError` for anything else."""
        value = json.loads(line)
        if not isinstance(value, dict) or not isinstance(value.get("do"), str):
            raise ValueError("not a command")
        return cls(value["do"], value.get("args") or {}, value.get("id"))


@dataclass(frozen=True, slots=True)
class Answer:
    """What came of a command."""

    id: int
    result: Any = None
    error: str | None = None

    def encode(self) -> bytes:
        """One line."""
        return _line({"id": self.id, "result": self.result, "error": self.error})

    @classmethod
    def decode(cls, line: bytes) -> Answer:
        """`ValueError` for anything else."""
        value = json.loads(line)
        if not isinstance(value, dict) or not isinstance(value.get("id"), int):
            raise ValueError("not an answer")
        return cls(value["id"], value.get("result"), value.get("error"))


def _line(value: dict[str, Any]) -> bytes:
    return json.dumps(value, separators=(",", ":")).encode() + b"\n"
