"""Where values come from: file < environment < flags, each value with its origin.

A *layer* is a flat mapping from dotted key (``mixnet.exit``) to a raw value, with a text that says where it
stood. Layers are joined by pydantic-settings; what it finds wrong is told in the words of the layer that
brought the value.

* file: ``--config FILE``, else ``$NYMGATE_CONFIG``, else ``$XDG_CONFIG_HOME/nymgate/nymgate.toml`` if it
  exists;
* environment: ``NYMGATE_NETWORK``, ``NYMGATE_MIXNET__EXIT``; lists are separated by commas; any of them with
  ``_FILE`` appended names a file to read the value from (container secrets); secrets also as credentials of
  systemd, ``nymgate.account.phrase`` and so on. Secrets in the file are refused: it is copied and shown around;
* flags of the command.
"""

import difflib
import os
import re
import tomllib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any, Final, get_origin

from pydantic import BaseModel, ValidationError
from pydantic.fields import FieldInfo
from pydantic_settings import BaseSettings, PydanticBaseSettingsSource

from nymgate.config import LAYERS, Config
from nymgate.errors import ConfigError

ENVIRONMENT_PREFIX: Final = "NYMGATE_"
NESTING: Final = "__"
CONFIG_VARIABLE: Final = "NYMGATE_CONFIG"
CREDENTIALS_VARIABLE: Final = "CREDENTIALS_DIRECTORY"
CREDENTIAL_PREFIX: Final = "nymgate."
CONFIG_FILE_NAME: Final = "nymgate.toml"
VALUE_FILE_MAX_BYTES: Final = 64 << 10
# Kubernetes sets these in every pod of a namespace that has a Service called nymgate.
_SERVICE_LINK: Final = re.compile(r"NYMGATE_(SERVICE_HOST|SERVICE_PORT(_\w+)?|PORT(_\d+_\w+)?)", re.ASCII)


@dataclass(frozen=True, slots=True)
class Layer:
    """Raw values by dotted key, and where each stood."""

    values: Mapping[str, object]
    origins: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class Effective:
    """The configuration in force, the origin of every value, and the file that was read."""

    config: Config
    origins: Mapping[str, str] = field(repr=False)
    file: Path | None

    def items(self) -> Iterator[tuple[str, FieldInfo, Any, str]]:
        """(dotted key, field, value, origin) of every setting, in the order of the documentation."""
        for key, info in settings().items():
            yield key, info, value_at(self.config, key), self.origins.get(key, "default")


def settings() -> dict[str, FieldInfo]:
    """Every key there is, dotted, in the order of the model."""
    found: dict[str, FieldInfo] = {}
    for name, info in Config.model_fields.items():
        section = section_model(info)
        if section is None:
            found[name] = info
        else:
            found.update({f"{name}.{key}": sub for key, sub in section.model_fields.items()})
    return found


def section_model(info: FieldInfo) -> type[BaseModel] | None:
    """The model behind a field that is a table of the file."""
    annotation = info.annotation
    return annotation if isinstance(annotation, type) and issubclass(annotation, BaseModel) else None


def extra(info: FieldInfo, name: str) -> Any:
    """What ``config.setting`` noted about a field: allowed, flag, secret, write."""
    notes = info.json_schema_extra
    return notes.get(name) if isinstance(notes, dict) else None


def value_at(config: Config, key: str) -> Any:
    """The value of a dotted key."""
    value: Any = config
    for part in key.split("."):
        value = getattr(value, part)
    return value


def environment_name(key: str) -> str:
    """``mixnet.exit`` → ``NYMGATE_MIXNET__EXIT``."""
    return ENVIRONMENT_PREFIX + key.upper().replace(".", NESTING)


def credential_name(key: str) -> str:
    """``account.phrase`` → ``nymgate.account.phrase``, as in ``LoadCredential=``."""
    return CREDENTIAL_PREFIX + key


def default_config_path(environ: Mapping[str, str]) -> Path:
    """Where the file is looked for when nobody names one."""
    base = environ.get("XDG_CONFIG_HOME") or os.path.join(environ.get("HOME") or "~", ".config")
    return Path(base).expanduser() / "nymgate" / CONFIG_FILE_NAME


def data_dir(config: Config, environ: Mapping[str, str]) -> Path:
    """The folder of keys and state."""
    if config.data_dir:
        return Path(config.data_dir).expanduser()
    base = environ.get("XDG_DATA_HOME") or os.path.join(environ.get("HOME") or "~", ".local", "share")
    return Path(base).expanduser() / "nymgate"


def load(
    *,
    file: Path | None = None,
    environ: Mapping[str, str] | None = None,
    flags: Mapping[str, object] | None = None,
) -> Effective:
    """Read all layers and join them; ``flags`` by dotted key, None where not given. ConfigError if wrong."""
    environ = os.environ if environ is None else environ
    named = file or (Path(environ[CONFIG_VARIABLE]).expanduser() if environ.get(CONFIG_VARIABLE) else None)
    path = named or default_config_path(environ)
    layers = []
    if named is not None or path.exists():
        layers.append(file_layer(path))
        found: Path | None = path
    else:
        found = None
    layers += [environment_layer(environ), flag_layer(flags or {})]
    origins: dict[str, str] = {}
    raw: dict[str, object] = {}
    for layer in layers:
        origins.update(layer.origins)
        raw.update(layer.values)
    return Effective(_validate(layers, raw, origins), origins, found)


def file_layer(path: Path) -> Layer:
    """The values of a configuration file."""
    try:
        text = path.read_text(encoding="utf-8")
    except OSError as error:
        raise ConfigError(
            f"The configuration file {path} cannot be read: {error.strerror}.",
            "Check --config, or write a file with `nymgate config init`.",
        ) from error
    except UnicodeDecodeError as error:
        raise ConfigError(
            f"The configuration file {path} is not text in UTF-8.", "Give the right file."
        ) from error
    return parse_file(text, str(path))


def parse_file(text: str, where: str) -> Layer:
    """The values of a configuration text; ``where`` names it in messages."""
    try:
        table = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise ConfigError(f"{where} is not TOML: {error}.", "Correct that line.") from error
    known = settings()
    values: dict[str, object] = {}
    for name, value in table.items():
        info = Config.model_fields.get(name)
        if info is not None and section_model(info) is not None:
            if not isinstance(value, dict):
                raise ConfigError(f"{where}: {name} is a single value.", f"It has to be a table: [{name}].")
            values.update({f"{name}.{key}": entry for key, entry in value.items()})
        elif isinstance(value, dict) and info is None:
            raise _unknown(f"[{name}]", name, where, _section_names(), "table")
        else:
            values[name] = value
    for key in values:
        if key not in known:
            raise _unknown(key, key, where, list(known), "key")
        if extra(known[key], "secret"):
            raise ConfigError(
                f"{key} stands in {where}, where secrets do not belong.",
                f"Let {environment_name(key)}_FILE name a file that holds it.",
            )
    return Layer(values, dict.fromkeys(values, where))


def environment_layer(environ: Mapping[str, str]) -> Layer:
    """The values of ``NYMGATE_*`` variables, or of the files that ``NYMGATE_*_FILE`` name."""
    names = {environment_name(key): (key, info) for key, info in settings().items()}
    values: dict[str, object] = {}
    origins: dict[str, str] = {}
    for variable in sorted(environ):
        if not variable.startswith(ENVIRONMENT_PREFIX) or variable == CONFIG_VARIABLE:
            continue
        if _SERVICE_LINK.fullmatch(variable):
            continue
        name, text = variable, environ[variable]
        if name not in names and name.removesuffix("_FILE") in names:
            name = name.removesuffix("_FILE")
            if name in environ:
                raise ConfigError(f"Both {name} and {variable} are set.", "Unset one of them.")
            text = _value_file(variable, text)
        if name not in names:
            raise _unknown(variable, variable, "the environment", list(names), "variable")
        key, info = names[name]
        if extra(info, "aloud") and not text.strip():
            raise ConfigError(
                f"{variable} is empty, which leaves open what it permits.",
                f"Unset it, or give {extra(info, 'allowed')}.",
            )
        values[key], origins[key] = _from_text(text, info), variable
    for key, text in _credentials(environ):
        if key in values:
            raise ConfigError(
                f"{key} is given by {origins[key]} and as credential {credential_name(key)}.",
                "Take one of them away.",
            )
        values[key], origins[key] = text, f"credential {credential_name(key)}"
    return Layer(values, origins)


def _credentials(environ: Mapping[str, str]) -> Iterator[tuple[str, str]]:
    """Secrets that systemd hands over."""
    folder = environ.get(CREDENTIALS_VARIABLE)
    if not folder:
        return
    for key, info in settings().items():
        path = Path(folder) / credential_name(key)
        if (extra(info, "secret") or extra(info, "private")) and path.exists():
            yield key, _value_file(f"credential {credential_name(key)}", str(path))


def flag_layer(flags: Mapping[str, object]) -> Layer:
    """The values of flags that were given."""
    given = {key: value for key, value in flags.items() if value is not None and value != []}
    known = settings()
    return Layer(given, {key: f"flag {_flag(key, known[key])}" for key in given})


def _flag(key: str, info: FieldInfo) -> str:
    """The flag of a setting. One that a single command has for it is called as the setting is."""
    return str(extra(info, "flag") or "--" + key.rpartition(".")[2].replace("_", "-"))


def _value_file(variable: str, text: str) -> str:
    path = Path(text).expanduser()
    try:
        if path.stat().st_size > VALUE_FILE_MAX_BYTES:
            raise ConfigError(f"The file of {variable} is larger than 64 KiB.", "Give the right file.")
        return path.read_text(encoding="utf-8").strip()
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "not text in UTF-8"
        raise ConfigError(
            f"The file {path} of {variable} cannot be read: {reason}.", "Check the path."
        ) from error


def _from_text(text: str, info: FieldInfo) -> object:
    """A variable is text; lists are split here, numbers and booleans are read by the model."""
    if get_origin(info.annotation) is list:
        return [part.strip() for part in text.split(",") if part.strip()]
    return text


def _section_names() -> list[str]:
    return [name for name, info in Config.model_fields.items() if section_model(info) is not None]


def _unknown(shown: str, key: str, where: str, known: Sequence[str], kind: str) -> ConfigError:
    last = {name.rpartition(".")[2]: name for name in known}
    near = difflib.get_close_matches(key, known, n=1, cutoff=0.5) or [
        last[name] for name in difflib.get_close_matches(key.rpartition(".")[2], last, n=1, cutoff=0.6)
    ]
    todo = (
        f"The nearest one known to this version is {near[0]}."
        if near
        else "Remove it, or see the reference page."
    )
    return ConfigError(f"Unknown {kind} {shown} in {where}.", todo)


class _LayerSource(PydanticBaseSettingsSource):
    """A layer as pydantic-settings wants it: nested, by section."""

    def __init__(self, model: type[BaseSettings], layer: Layer) -> None:
        super().__init__(model)
        self._layer = layer

    def get_field_value(self, field: FieldInfo, field_name: str) -> tuple[Any, str, bool]:
        return self().get(field_name), field_name, False

    def __call__(self) -> dict[str, Any]:
        nested: dict[str, Any] = {}
        for key, value in self._layer.values.items():
            section, _, name = key.rpartition(".")
            (nested.setdefault(section, {}) if section else nested)[name] = value
        return nested


def _validate(layers: Sequence[Layer], raw: Mapping[str, object], origins: Mapping[str, str]) -> Config:
    sources = [partial(_LayerSource, layer=layer) for layer in reversed(layers)]
    token = LAYERS.set(sources)
    try:
        return Config()
    except ValidationError as error:
        problems = {_dotted(problem["loc"]): None for problem in error.errors()}
        details = {_dotted(problem["loc"]): problem for problem in error.errors()}
        lines = [_wrong(key, raw.get(key), origins.get(key, "default"), details[key]) for key in problems]
        first = lines[0]
        if len(lines) == 1:
            raise ConfigError(*first) from None
        what = " ".join(f"{line_what} {line_todo}" for line_what, line_todo in lines)
        raise ConfigError(what, f"Correct these {len(lines)} values.") from None
    finally:
        LAYERS.reset(token)


def _dotted(location: tuple[int | str, ...]) -> str:
    names = [part for part in location if isinstance(part, str)]
    known = settings()
    return names[0] if names[0] in known else ".".join(names[:2])


def _wrong(key: str, given: object, origin: str, problem: Any) -> tuple[str, str]:
    info = settings()[key]
    covered = extra(info, "secret") or extra(info, "private")
    shown = "the value given" if covered else _shown(given)
    reason = problem["msg"].removeprefix("Value error, ") if problem["type"] == "value_error" else ""
    because = f" ({reason})" if len(reason) > 30 else ""  # short reasons only repeat what `allowed` says
    return f"{origin}: {key} cannot be {shown}{because}.", f"It has to be {extra(info, 'allowed')}."


def _shown(value: object) -> str:
    text = repr(value) if not isinstance(value, str) else f'"{value}"'
    return text if len(text) <= 120 else text[:117] + "…"
