"""Where the ticket store is: a file of SQLite, or a database of PostgreSQL that several replicas share. Pure.

A URL may hold a password, so it is shown by its name only: database, host and port.
"""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Final
from urllib.parse import parse_qs, urlsplit

_POSTGRES: Final = ("postgresql+asyncpg", "postgresql", "postgres")
_SQLITE_PREFIXES: Final = ("sqlite+aiosqlite:///", "sqlite:///")


@dataclass(frozen=True, slots=True)
class StorePlace:
    """``str`` names it for people."""

    where: str | Path = field(repr=False)
    """A path, or the URL of a PostgreSQL database."""
    folder: Path
    """Where this machine may keep files that belong to it: a key, a witness."""

    @classmethod
    def of(cls, text: str, folder: Path) -> "StorePlace":
        """From a path or a URL as in ``store.url``. ValueError if it cannot be read."""
        if is_postgres(text):
            return cls(text, folder)
        for prefix in _SQLITE_PREFIXES:
            text = text.removeprefix(prefix)
        path = Path(text).expanduser().absolute()
        return cls(path, path.parent)

    @property
    def shared(self) -> bool:
        """Whether several machines may use it."""
        return not isinstance(self.where, Path)

    @property
    def path(self) -> Path | None:
        """The file of SQLite; None for PostgreSQL."""
        return self.where if isinstance(self.where, Path) else None

    @property
    def has_password(self) -> bool:
        """Whether whoever sees the URL can open the database."""
        if isinstance(self.where, Path):
            return False
        parts = urlsplit(self.where)
        return parts.password is not None or "pass" in parts.query.lower()

    def __str__(self) -> str:
        if isinstance(self.where, Path):
            return str(self.where)
        parts = urlsplit(self.where)
        host = parts.hostname or (parse_qs(parts.query).get("host") or ["localhost"])[0]
        port = f":{parts.port}" if parts.port else ""
        return f"{parts.path.lstrip('/')} on {host}{port}"


def is_postgres(text: str) -> bool:
    """Whether a text is the URL of a PostgreSQL database."""
    scheme, separator, _rest = text.partition("://")
    return bool(separator) and scheme in _POSTGRES
