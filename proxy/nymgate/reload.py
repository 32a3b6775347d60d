"""What a reread configuration changes in a running proxy, and what has to wait for a restart. Pure.

A key is in :data:`LIVE` if the part of the proxy that uses it takes a new value with its ``reload``. All others keep
the value that they had at the start, and are named in the log.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, Final

from nymgate.config import Config
from nymgate.config_layers import settings, value_at

LIVE: Final = frozenset(
    {
        # the log
        "log.level",
        "log.format",
        "log.destinations",
        # the listener, for connections from now on
        "streams.early_success",
        "streams.handshake_timeout",
        "streams.keep_alive",
        "access.users_file",
        "access.allow",
        "streams.limit",
        "streams.buffer",
        # identities, for streams from now on
        "streams.connect_timeout",
        "mixnet.sleep_after",
        "isolation.by",
        "isolation.max_identities",
        "isolation.keep",
        "isolation.forget",
        # the purse
        "tickets.low_water",
        "tickets.high_water",
        "tickets.standby",
        # the end
        "streams.drain",
    }
)
LIVE_TABLES: Final = ("budget", "rules", "admission")


@dataclass(frozen=True, slots=True)
class Changes:
    """Dotted keys whose value differs. Their values may be secrets and are not here."""

    applied: tuple[str, ...]
    waiting: tuple[str, ...]
    """For a restart."""

    def __bool__(self) -> bool:
        return bool(self.applied or self.waiting)


def is_live(key: str) -> bool:
    """Whether a new value of this key has an effect without a restart."""
    return key in LIVE or key.partition(".")[0] in LIVE_TABLES


def compare(old: Config, new: Config) -> Changes:
    """What is different."""
    changed = [key for key in settings() if value_at(old, key) != value_at(new, key)]
    return Changes(
        tuple(key for key in changed if is_live(key)), tuple(key for key in changed if not is_live(key))
    )


def merge(old: Config, new: Config) -> Config:
    """The configuration in force after a reload: the new one's live values, the old one's others."""
    return changed(old, {key: value_at(new, key) for key in compare(old, new).applied})


def changed(config: Config, values: dict[str, Any]) -> Config:
    """The configuration with these values, by dotted key."""
    tables: dict[str, dict[str, Any]] = {}
    for key, value in values.items():
        table, _, name = key.rpartition(".")
        tables.setdefault(table, {})[name] = value
    updates: dict[str, Any] = tables.pop("", {})
    for table, entries in tables.items():
        updates[table] = getattr(config, table).model_copy(update=entries)
    return config.model_copy(update=updates)


def named(keys: Iterable[str]) -> str:
    """For a log line."""
    return ", ".join(keys)
