"""Snapshots as JSON, and back: between workers, for `status --json` and the control API.

Reading is lenient, for the writer may be of another version: unknown keys are passed over, missing ones get their
defaults. What has the wrong type raises ValueError.
"""

import dataclasses
import json
import math
import types
import typing
from collections.abc import Mapping
from enum import Enum
from typing import Any, Union

from nymgate.watch.snapshot import Snapshot


def to_json(snapshot: Snapshot) -> str:
    """One line."""
    return json.dumps(plain(snapshot), ensure_ascii=False, allow_nan=False, separators=(",", ":"))


def from_json(text: str | bytes) -> Snapshot:
    """Inverse of :func:`to_json`. Raises ValueError."""
    result = record(Snapshot, json.loads(text))
    assert isinstance(result, Snapshot)
    return result


def plain(value: Any) -> Any:
    """A record as dicts, lists and scalars. Infinite numbers become null: JSON has none."""
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {item.name: plain(getattr(value, item.name)) for item in dataclasses.fields(value)}
    if isinstance(value, Mapping):
        return {str(key): plain(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [plain(item) for item in value]
    if isinstance(value, Enum):
        return value.value
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return value


def record(kind: type[Any], data: Any) -> Any:
    """A dataclass from what :func:`plain` made of it. Raises ValueError."""
    if not isinstance(data, Mapping):
        raise ValueError(f"{kind.__name__} is not an object")
    hints = typing.get_type_hints(kind)
    values = {
        item.name: _value(hints[item.name], data[item.name])
        for item in dataclasses.fields(kind)
        if item.name in data
    }
    return kind(**values)


def _value(hint: Any, data: Any) -> Any:
    origin, arguments = typing.get_origin(hint), typing.get_args(hint)
    if origin in (Union, types.UnionType):
        if data is None and type(None) in arguments:
            return None
        (hint,) = [one for one in arguments if one is not type(None)]
        return _value(hint, data)
    if dataclasses.is_dataclass(hint):
        return record(typing.cast("type[Any]", hint), data)
    if origin is tuple:
        if not isinstance(data, list):
            raise ValueError("not a list")
        return tuple(_value(arguments[0], item) for item in data)
    if origin is not None and issubclass(origin, Mapping):
        if not isinstance(data, Mapping):
            raise ValueError("not an object")
        return {str(key): _value(arguments[1], item) for key, item in data.items()}
    return _scalar(hint, data)


def _scalar(kind: Any, data: Any) -> Any:
    if isinstance(kind, type) and issubclass(kind, Enum):
        return kind(data)
    if kind is float and data is None:
        return math.inf
    if kind is float and isinstance(data, (int, float)) and not isinstance(data, bool):
        return float(data)
    if not isinstance(data, kind) or (kind is int and isinstance(data, bool)):
        raise ValueError(f"not {kind.__name__}")
    return data
