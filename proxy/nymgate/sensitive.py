"""Values that a log line, an exception or a debugger must not show by accident.

``Sensitive`` wraps a value; every way of turning the wrapper into text yields a placeholder. Whoever needs
the value says so with :meth:`Sensitive.reveal`, which is easy to search for. The log set-up (``logs``) knows
two kinds: secrets (keys, tickets, phrases) are never written, destinations only when ``[log] destinations =
true``.
"""

from enum import StrEnum
from typing import Generic, TypeVar

T = TypeVar("T")


class Kind(StrEnum):
    """Why a value is not shown."""

    SECRET = "secret"  # noqa: S105 - the name of a kind, not a password
    DESTINATION = "destination"


class Sensitive(Generic[T]):
    """A value whose ``str``, ``repr`` and ``format`` are a placeholder: ``<secret>`` or ``<destination>``."""

    __slots__ = ("_value", "kind")

    def __init__(self, value: T, kind: Kind = Kind.SECRET) -> None:
        self._value = value
        self.kind = kind

    def reveal(self) -> T:
        """The value itself. Callers answer for where it goes."""
        return self._value

    def __repr__(self) -> str:
        return f"<{self.kind}>"

    __str__ = __repr__

    def __format__(self, _spec: str) -> str:
        return repr(self)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Sensitive) and bool(self._value == other._value)

    def __hash__(self) -> int:
        return hash(self._value)

    def __reduce__(self) -> tuple[type["Sensitive[str]"], tuple[str, Kind]]:
        # Pickle, copy and deepcopy would otherwise carry the value where nobody looks for it.
        return (Sensitive, (repr(self), self.kind))


def destination(value: T) -> Sensitive[T]:
    """Wrap where a stream goes to."""
    return Sensitive(value, Kind.DESTINATION)
