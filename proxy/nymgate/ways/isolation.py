"""Which streams share a mixnet identity: keys from what a connection says about itself, and room for so many. Pure.

A key is a keyed hash, so that neither a folder's name nor a log line gives away the user name, password or
destination behind it. The secret lives in the data folder; two data folders give the same words different keys.

What happens when a stream asks for an identity is the table :data:`RULES`.
"""

import hashlib
import math
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass, field
from enum import Enum, StrEnum, auto
from typing import Final

from nymgate.listener.caller import Caller
from nymgate.listener.handshake import Target

SECRET_BYTES: Final = 32
KEY_BYTES: Final = 16


class Kind(StrEnum):
    """What tells streams apart, as written in ``[isolation] by``."""

    CREDENTIAL = "credential"
    TOKEN = "token"  # noqa: S105 - a word of the configuration
    USER = "user"
    LISTENER = "listener"
    DESTINATION = "destination"
    CLIENT = "client"


@dataclass(frozen=True, slots=True)
class IsolationKey:
    """Equal for streams that share an identity. 16 bytes that say nothing without the secret."""

    digest: bytes = field(repr=False)

    @property
    def folder(self) -> str:
        """The name of the folder with the identity's keys."""
        return self.digest.hex()


@dataclass(frozen=True, slots=True)
class Isolation:
    """Makes keys. ``secret``: 32 random bytes that stay on this machine."""

    kinds: frozenset[Kind]
    secret: bytes = field(repr=False)

    def key(self, caller: Caller, target: Target) -> IsolationKey | None:
        """The key of a stream, None where nothing of the configured kinds tells it apart."""
        parts = [(kind, _part(kind, caller, target)) for kind in Kind if kind in self.kinds]
        if all(part is None for _kind, part in parts):
            return None
        digest = hashlib.blake2b(key=self.secret, digest_size=KEY_BYTES, person=b"nymgate isolate")
        for kind, part in parts:
            if part is not None:
                data = part.encode("utf-8", "surrogatepass")
                # The length keeps "a" and "bc" apart from "ab" and "c".
                digest.update(b"%s %d " % (kind.value.encode("ascii"), len(data)) + data)
        return IsolationKey(digest.digest())


def _part(kind: Kind, caller: Caller, target: Target) -> str | None:
    if kind is Kind.DESTINATION:
        return target.host.lower().rstrip(".")
    values: dict[Kind, str | None] = {
        Kind.CREDENTIAL: caller.credential,
        Kind.TOKEN: caller.token,
        Kind.USER: caller.user,
        Kind.LISTENER: caller.listener or None,
        Kind.CLIENT: caller.peer,
    }
    return values[kind]


class Verdict(Enum):
    """What to do for a stream that asks for an identity."""

    USE = auto()
    """It is there, or being made."""
    MAKE = auto()
    REPLACE = auto()
    """Close the one without streams that was used longest ago, then make it."""
    REFUSE = auto()


RULES: Final[Mapping[tuple[bool, bool, bool], Verdict]] = {
    # (known, room for another, one without streams)
    (True, True, True): Verdict.USE,
    (True, True, False): Verdict.USE,
    (True, False, True): Verdict.USE,
    (True, False, False): Verdict.USE,
    (False, True, True): Verdict.MAKE,
    (False, True, False): Verdict.MAKE,
    (False, False, True): Verdict.REPLACE,
    (False, False, False): Verdict.REFUSE,
}


@dataclass(slots=True, eq=False)
class Lodger:
    """A key with an identity. Streams count from the moment they ask."""

    key: IsolationKey
    idle_since: float
    streams: int = 0

    def opened(self) -> None:
        """A stream asks."""
        self.streams += 1

    def closed(self, now: float) -> None:
        """A stream has ended, or never came up."""
        if self.streams == 0:
            raise ValueError("more streams closed than opened")
        self.streams -= 1
        self.idle_since = now


class Register:
    """Who lodges here. Times are monotonic seconds."""

    __slots__ = ("_lodgers", "keep_seconds", "most")

    def __init__(self, most: int, keep_seconds: float) -> None:
        self.most = most
        self.keep_seconds = keep_seconds
        self._lodgers: dict[IsolationKey, Lodger] = {}

    def __len__(self) -> int:
        return len(self._lodgers)

    def __iter__(self) -> Iterator[Lodger]:
        return iter(self._lodgers.values())

    def find(self, key: IsolationKey) -> Lodger | None:
        """The lodger of this key."""
        return self._lodgers.get(key)

    def ask(self, key: IsolationKey) -> tuple[Verdict, Lodger | None]:
        """The verdict, and whom it is about: the one to use, or the one to close."""
        known = self._lodgers.get(key)
        idle = self._idle()
        verdict = RULES[known is not None, len(self._lodgers) < self.most, bool(idle)]
        if verdict is Verdict.REPLACE:
            return verdict, min(idle, key=lambda lodger: lodger.idle_since)
        return verdict, known

    def admit(self, key: IsolationKey, now: float) -> Lodger:
        """Enter a new one. ValueError if there is one of that key."""
        if key in self._lodgers:
            raise ValueError("the key has an identity already")
        lodger = self._lodgers[key] = Lodger(key, now)
        return lodger

    def leave(self, lodger: Lodger) -> None:
        """Strike it out. Streams that it still has may be closed later."""
        if self._lodgers.get(lodger.key) is lodger:
            del self._lodgers[lodger.key]

    def surplus(self) -> list[Lodger]:
        """After ``most`` was lowered: those without streams that are too many, the longest idle first."""
        too_many = max(0, len(self._lodgers) - self.most)
        return sorted(self._idle(), key=lambda lodger: lodger.idle_since)[:too_many]

    def timer(self) -> float | None:
        """When to ask for :meth:`due` next."""
        idle = self._idle()
        if not idle or math.isinf(self.keep_seconds):
            return None
        return min(lodger.idle_since for lodger in idle) + self.keep_seconds

    def due(self, now: float) -> Collection[Lodger]:
        """Those whose time without streams is up."""
        return [lodger for lodger in self._idle() if lodger.idle_since + self.keep_seconds <= now]

    def _idle(self) -> list[Lodger]:
        return [lodger for lodger in self._lodgers.values() if lodger.streams == 0]
