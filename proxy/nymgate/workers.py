"""Several processes that share listening sockets: what they tell each other, and when one is started again.

Pure. Each worker has a mixnet identity of its own in a folder of its own, ``<data folder>/workers/<number>``; tickets,
users' quotas and the account are everybody's. Parent and worker hold the two ends of a socket: one JSON object a line.
When the parent's end closes, whatever the reason, the worker ends.
"""

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from enum import Enum, StrEnum, auto
from pathlib import Path
from typing import Any, Final, Self

from nymgate.config import Config
from nymgate.errors import DependencyFailed, ExitCode, NymgateError
from nymgate.listener.detect import Speaks
from nymgate.reload import changed
from nymgate.wiring import Plan

FOLDER: Final = "workers"
RESTART_FIRST_SECONDS: Final = 1.0
RESTART_LIMIT_SECONDS: Final = 60.0
STEADY_SECONDS: Final = 60.0
"""A worker that lived for so long does not count as failing."""
PARENTS_KEYS: Final[Mapping[str, Any]] = {"listen.metrics": "", "listen.web": "", "workers": 1}
"""What is the parent's to do: the worker is configured without."""


def worker_folder(folder: Path, number: int) -> Path:
    """The data folder of a worker; ``folder`` is the network's."""
    return folder / FOLDER / str(number)


def worker_config(config: Config) -> Config:
    """The configuration of a worker."""
    return changed(config, dict(PARENTS_KEYS))


def worker_plan(plan: Plan, number: int, count: int) -> Plan:
    """The plan of a worker, out of that of the whole."""
    return replace(
        plan,
        folder=worker_folder(plan.folder, number),
        shared=plan.folder,
        worker=number,
        workers=count,
        config=worker_config(plan.config),
    )


class Malformed(Exception):
    """A line that the other side would not write."""


@dataclass(frozen=True, slots=True)
class Handed:
    """A listening socket by its descriptor, and what it speaks."""

    descriptor: int
    speaks: Speaks


@dataclass(frozen=True, slots=True)
class Orders:
    """Parent to worker, once: where to read the configuration, and which sockets to take connections from."""

    number: int
    count: int
    config_file: str | None
    flags: Mapping[str, Any] = field(repr=False)
    sockets: tuple[Handed, ...]

    def encode(self) -> bytes:
        """One line."""
        return _line(
            {
                "number": self.number,
                "count": self.count,
                "config_file": self.config_file,
                "flags": dict(self.flags),
                "sockets": [[handed.descriptor, handed.speaks.name] for handed in self.sockets],
            }
        )

    @classmethod
    def decode(cls, line: bytes) -> Self:
        """Raises Malformed."""
        try:
            value = json.loads(line)
            return cls(
                int(value["number"]),
                int(value["count"]),
                None if value["config_file"] is None else str(value["config_file"]),
                dict(value["flags"]),
                tuple(Handed(int(number), Speaks[name]) for number, name in value["sockets"]),
            )
        except (ValueError, KeyError, TypeError) as error:
            raise Malformed(str(error)) from error


class Kind(StrEnum):
    """What a worker has to say."""

    UP = "up"
    READY = "ready"
    FAILED = "failed"


@dataclass(frozen=True, slots=True)
class Ready:
    """Streams get through. ``tickets`` is None where nothing is paid for."""

    entry: str
    exit: str
    tickets: int | None = None
    expires: str | None = None
    unfinished: int = 0


@dataclass(frozen=True, slots=True)
class Failed:
    """What trying again cannot mend: the words of the NymgateError."""

    what: str
    todo: str
    layer: str
    code: str
    exit_code: int

    @classmethod
    def of(cls, error: NymgateError) -> Self:
        """What ended the worker."""
        return cls(error.what, error.todo, error.layer, error.code, int(error.exit_code))

    def error(self) -> NymgateError:
        """The same in the parent."""
        return DependencyFailed(
            self.what, self.todo, layer=self.layer, code=self.code, exit_code=ExitCode(self.exit_code)
        )


@dataclass(frozen=True, slots=True)
class Up:
    """Signals are understood from here on."""


News = Up | Ready | Failed
_BY_KIND: Final[Mapping[Kind, type[Up] | type[Ready] | type[Failed]]] = {
    Kind.UP: Up,
    Kind.READY: Ready,
    Kind.FAILED: Failed,
}


def encode_news(news: News) -> bytes:
    """One line."""
    [kind] = [kind for kind, of in _BY_KIND.items() if of is type(news)]
    return _line({"kind": kind.value, **asdict(news)})


def decode_news(line: bytes) -> News:
    """Raises Malformed."""
    try:
        value = json.loads(line)
        news: News = _BY_KIND[Kind(value.pop("kind"))](**value)
        if isinstance(news, Failed):
            ExitCode(news.exit_code)
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise Malformed(str(error)) from error
    return news


def _line(value: Mapping[str, Any]) -> bytes:
    return json.dumps(value, ensure_ascii=True).encode("ascii") + b"\n"


class After(Enum):
    """What follows the end of a worker."""

    RESTART = auto()
    GIVE_UP = auto()
    """It said what is wrong before any worker of that number was ever ready: the others would find the same."""
    NOTHING = auto()
    """All are to end."""


RULES: Final[Mapping[tuple[bool, bool, bool], After]] = {
    # (all are ending, was ready once, said that it is hopeless)
    (True, True, True): After.NOTHING,
    (True, True, False): After.NOTHING,
    (True, False, True): After.NOTHING,
    (True, False, False): After.NOTHING,
    (False, True, True): After.RESTART,  # it worked before: somebody may be about to mend it
    (False, True, False): After.RESTART,
    (False, False, True): After.GIVE_UP,
    (False, False, False): After.RESTART,
}


@dataclass(slots=True)
class Slot:
    """One number of worker over all its lives."""

    number: int
    was_ready: bool = False
    restarts: int = 0
    _short_lives: int = 0

    def ended(self, *, ending: bool, hopeless: bool, lived_seconds: float) -> tuple[After, float]:
        """What to do now, and the longest pause before it in seconds."""
        after = RULES[ending, self.was_ready, hopeless]
        if after is not After.RESTART:
            return after, 0.0
        self._short_lives = 0 if lived_seconds >= STEADY_SECONDS else self._short_lives + 1
        self.restarts += 1
        if self._short_lives == 0:
            return after, RESTART_FIRST_SECONDS
        return after, min(
            RESTART_LIMIT_SECONDS, RESTART_FIRST_SECONDS * 2.0 ** min(self._short_lives - 1, 10)
        )
