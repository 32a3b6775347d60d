"""The report of `nymgate debug-dump`: what helps to find a fault, without what says who or where. Pure.

Of the configuration it says which settings differ from their defaults, and shows the value of those alone whose values
are numbers, yes or no, or words of ours.
"""

import json
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any, Final, Literal, get_args, get_origin

from pydantic.fields import FieldInfo

from nymgate.config import Config
from nymgate.config_layers import extra, settings, value_at
from nymgate.networks import KNOWN_NETWORKS
from nymgate.watch.scrub import Scrubber

WORDS_OF_OURS: Final = frozenset(
    {"auto", "never", "standard", "fast", "thrifty", "uncovered", *KNOWN_NETWORKS}
)
LEAST_NAME_CHARACTERS: Final = 3
HEAD: Final = """\
# nymgate debug report
# Hosts, addresses, paths, accounts, amounts and dates have been taken out. Read it before you post it all the same.
"""


def shown_config(config: Config, origins: Mapping[str, str]) -> dict[str, Any]:
    """Settings that differ from their defaults: the value where it says nothing about anybody, else that it is set."""
    defaults = Config()
    shown: dict[str, Any] = {}
    for key, info in settings().items():
        value = value_at(config, key)
        if value != value_at(defaults, key):
            public = "<set>" if key.startswith("budget.") else _public(info, value)
            shown[key] = {"value": public, "from": _origin(origins.get(key, ""))}
    return shown


def _public(info: FieldInfo, value: Any) -> Any:
    if extra(info, "secret") or extra(info, "private"):
        return "<set>"
    if isinstance(value, (bool, int, float)):
        return "never" if value == float("inf") else value
    if isinstance(value, str) and (value in WORDS_OF_OURS or value in _choices(info.annotation)):
        return value
    if isinstance(value, str) and value.startswith("country:"):
        return "country:<set>"
    return f"<set, {len(value)} of them>" if isinstance(value, (list, tuple)) else "<set>"


def _choices(annotation: Any) -> set[str]:
    """Words that a setting can have, by its type."""
    if get_origin(annotation) is Literal:
        return {str(word) for word in get_args(annotation)}
    return {word for inner in get_args(annotation) for word in _choices(inner)}


def _origin(text: str) -> str:
    if text.startswith("NYMGATE_"):
        return "environment"
    return "flag" if text.startswith("--") else "file" if text else "default"


def known_of(config: Config) -> dict[str, str]:
    """What the configuration names, to be taken out wherever it stands."""
    known: dict[str, str] = {}
    defaults = Config()
    for key, info in settings().items():
        value = value_at(config, key)
        public = WORDS_OF_OURS | _choices(info.annotation)
        if value == value_at(defaults, key):
            continue
        for text in value if isinstance(value, (list, tuple)) else [value]:
            if isinstance(text, str) and len(text) >= LEAST_NAME_CHARACTERS and text not in public:
                known[text] = key
    return known


def report_text(parts: Mapping[str, Any]) -> str:
    """For people: a heading and JSON for each part, the log one line each."""
    lines = [HEAD]
    for name, part in parts.items():
        lines.append(f"## {name}")
        if isinstance(part, list):
            lines += [json.dumps(item, ensure_ascii=False) for item in part]
        else:
            lines.append(json.dumps(part, ensure_ascii=False, indent=1))
        lines.append("")
    return "\n".join(lines)


def scrubbed_log(
    lines: Sequence[Mapping[str, Any]], scrubber: Scrubber, now_unix: float
) -> list[dict[str, Any]]:
    """The last lines of the log."""

    def from_now(timestamp: str) -> float | None:
        try:
            return round(datetime.fromisoformat(timestamp).timestamp() - now_unix, 1)
        except ValueError:
            return None

    return [scrubber.log_line(line, from_now) for line in lines]
