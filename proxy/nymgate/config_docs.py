"""The configuration in writing: a commented file, the reference page, and the listing of what is in force.

All three come from the fields of ``config``, so they cannot tell different stories.
"""

import json
import textwrap
from collections.abc import Mapping
from typing import Any, Final
from urllib.parse import urlsplit, urlunsplit

from pydantic.fields import FieldInfo

from nymgate.config import Config
from nymgate.config_layers import (
    Effective,
    credential_name,
    environment_name,
    extra,
    section_model,
    settings,
    value_at,
)

COMMENT_COLUMNS: Final = 96
SCRUBBED: Final = "<secret>"
PAGE_HEAD: Final = """\
# Configuration

<!-- Written by `make reference`. The texts are those of the fields in proxy/nymgate/sections. -->

`nymgate run` needs no file. It reads `--config FILE`, else the file that `NYMGATE_CONFIG` names, else
`$XDG_CONFIG_HOME/nymgate/nymgate.toml` if there is one. Environment variables win over the file, flags over
both. A list in a variable is separated by commas. Any variable with `_FILE` appended names a file that holds
the value. Secrets may not stand in the file; systemd's credentials are read for them as well. Unknown keys are
errors. `nymgate config show` prints every value in force and where it came from.

Durations are written with their unit: `500ms`, `10s`, `10m`, `12h`, `1h30m`; sizes as `64KiB`, `1MB`."""


def literal(info: FieldInfo, value: Any) -> str:
    """A value as it stands in the file."""
    if extra(info, "secret"):
        return '""'
    write = extra(info, "write")
    if write is not None:
        value = write(value)
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, list):
        return "[" + ", ".join(json.dumps(item, ensure_ascii=False) for item in value) + "]"
    return json.dumps(value, ensure_ascii=False)


def example_file(given: Mapping[str, Any] | None = None) -> str:
    """A file with every setting: those in ``given`` (by dotted key) set, the others commented out."""
    given = given or {}
    defaults = Config()
    lines = [
        "# Configuration of nymgate. A line that starts with # shows the default: remove the # to change it.",
        "# Precedence: this file < NYMGATE_* environment (NYMGATE_MIXNET__EXIT=…) < flags.",
        "# Check it with `nymgate config check`, see what is in force with `nymgate config show`.",
    ]
    table = ""
    for key, info in settings().items():
        section, _, name = key.rpartition(".")
        if section != table:
            table = section
            lines += ["", "", *_comment(_section_doc(section)), f"[{section}]"]
        lines.append("")
        text = f"{info.description} Allowed: {extra(info, 'allowed')}."
        lines += _comment(text)
        if extra(info, "secret"):
            lines += _comment(f"Not in this file: {secret_ways(key)}.")
            continue
        mark = "" if key in given else "#"
        lines.append(f"{mark}{name} = {literal(info, given.get(key, value_at(defaults, key)))}")
    return "\n".join(lines) + "\n"


def reference_page() -> str:
    """The reference page, Markdown."""
    defaults = Config()
    lines = [PAGE_HEAD]
    table: str | None = None
    for key, info in settings().items():
        section = key.rpartition(".")[0]
        if section != table:
            table = section
            title = f"`[{section}]`" if section else "Top of the file"
            lines += ["", f"## {title}", "", _section_doc(section)]
        flag = extra(info, "flag")
        ways = f"- environment: `{environment_name(key)}`" + (f", flag: `{flag}`" if flag else "")
        if extra(info, "secret"):
            ways = f"- not in the file: {secret_ways(key, '`')}"
        lines += [
            "",
            f"### `{key}`",
            "",
            *textwrap.wrap(info.description or "", 110, break_on_hyphens=False),
            "",
            f"- allowed: {extra(info, 'allowed')}",
            f"- default: `{literal(info, value_at(defaults, key))}`",
            ways,
        ]
    return "\n".join(lines) + "\n"


def _comment(text: str) -> list[str]:
    return [f"# {line}" for line in textwrap.wrap(text, COMMENT_COLUMNS, break_on_hyphens=False)]


def secret_ways(key: str, quote: str = "") -> str:
    """How a secret is given."""
    name = environment_name(key)
    ways = [f"{quote}{text}{quote}" for text in (f"{name}_FILE", credential_name(key), name)]
    return f"{ways[0]} names a file, or a systemd credential {ways[1]}, or {ways[2]}"


def _section_doc(section: str) -> str:
    if not section:
        return (Config.__doc__ or "").split(".", 1)[1].strip()
    model = section_model(Config.model_fields[section])
    return " ".join((model.__doc__ or "").split()) if model else ""


def shown_value(info: FieldInfo, value: Any) -> Any:
    """A value for a listing: in its written form, secrets and passwords within URLs replaced."""
    if extra(info, "secret"):
        return SCRUBBED if value else ""
    write = extra(info, "write")
    if write is not None:
        return write(value)
    if isinstance(value, list):
        return [_without_password(item) for item in value]
    return _without_password(value) if extra(info, "private") else value


def _without_password(item: Any) -> Any:
    """Of a URL neither user nor password is shown, wherever they stand."""
    if not isinstance(item, str) or "://" not in item:
        return item
    parts = urlsplit(item)
    netloc = parts.netloc
    if "@" in netloc:
        netloc = f"{SCRUBBED}@{netloc.rpartition('@')[2]}"
    query = SCRUBBED if "pass" in parts.query.lower() else parts.query
    return f"{parts.scheme}://{netloc}{urlunsplit(('', '', parts.path, query, parts.fragment))}"


def listing(effective: Effective) -> list[tuple[str, Any, str]]:
    """(key, value as shown, origin) of every setting."""
    return [(key, shown_value(info, value), origin) for key, info, value, origin in effective.items()]
