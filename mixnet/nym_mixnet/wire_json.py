"""Reading JSON of other programs with the strictness of the reference's parser.

The reference reads every message into typed fields: an integer outside its type, a string where a number
belongs, a field given twice or a lone surrogate refuses the whole message, while unknown fields are ignored.
Python's ``json`` is laxer, so the checks are made here, once for the gateway protocol (docs/protocol/03),
the directory and the topology file (docs/protocol/04 §10). Errors name the path of the field.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Sequence
from typing import Any, NoReturn

from nym_sphinx.base58 import b58decode

U8_MAX = (1 << 8) - 1
U16_MAX = (1 << 16) - 1
U32_MAX = (1 << 32) - 1
U64_MAX = (1 << 64) - 1
I64_MIN = -(1 << 63)
I64_MAX = (1 << 63) - 1
_BASE58_KEY_CHARACTERS = 64


class JsonFaultError(ValueError):
    """What is wrong, and at which field (empty path: the text as a whole)."""

    def __init__(self, path: str, problem: str) -> None:
        super().__init__(f"{path}: {problem}" if path else problem)
        self.path = path
        self.problem = problem


class _Twice(dict[str, Any]):
    """An object in which some fields appear more than once."""

    def __init__(self, pairs: Sequence[tuple[str, Any]]) -> None:
        super().__init__(pairs)
        times = Counter(name for name, _ in pairs)  # one pass: a peer decides how many there are
        self.repeated = frozenset(name for name, count in times.items() if count > 1)


def _pairs(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    fields = dict(pairs)
    return fields if len(fields) == len(pairs) else _Twice(pairs)


def _no_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is not JSON")


def load_json(text: str | bytes) -> Any:
    """Parse `text`; raises `JsonFaultError` with an empty path for anything that is not JSON."""
    try:
        if isinstance(text, bytes):
            text = text.decode("utf-8")
        value = json.loads(text, object_pairs_hook=_pairs, parse_constant=_no_constant)
        if "\\u" in text:  # escapes may hide half of a surrogate pair, which no UTF-8 string can hold
            json.dumps(value, ensure_ascii=False).encode("utf-8")
    except (ValueError, RecursionError) as error:
        raise JsonFaultError("", f"not valid JSON ({type(error).__name__})") from None
    return value


def _describe(value: Any) -> str:
    if value is None:
        return "null"
    if isinstance(value, bool):
        return "a boolean"
    if isinstance(value, int | float):
        return "a number"
    if isinstance(value, str):
        return "a string"
    return "a list" if isinstance(value, list) else "an object"


class Fields:
    """One JSON object with typed getters. `path` is where it stands in the whole document."""

    __slots__ = ("path", "values")

    def __init__(self, value: Any, path: str = "") -> None:
        if not isinstance(value, dict):
            raise JsonFaultError(path, f"expected an object, found {_describe(value)}")
        self.values: dict[str, Any] = value
        self.path = path

    def at(self, name: str) -> str:
        """The path of the field `name`."""
        return f"{self.path}.{name}" if self.path else name

    def raw(self, name: str) -> Any:
        """The field's value, whatever it is. Missing or repeated fields are faults."""
        values = self.values
        if isinstance(values, _Twice) and name in values.repeated:
            raise JsonFaultError(self.at(name), "given more than once")
        if name not in values:
            raise JsonFaultError(self.at(name), "missing")
        return values[name]

    def has(self, name: str) -> bool:
        return name in self.values

    def given(self, name: str) -> bool:
        """True if the field is there and not null."""
        return self.values.get(name) is not None

    def integer(self, name: str, low: int, high: int, default: int | None = None) -> int:
        if default is not None and name not in self.values:
            return default
        value = self.raw(name)
        if not isinstance(value, int) or isinstance(value, bool):
            raise JsonFaultError(self.at(name), f"expected an integer, found {_describe(value)}")
        if not low <= value <= high:
            raise JsonFaultError(self.at(name), f"{low} to {high} expected")
        return value

    def u8(self, name: str, default: int | None = None) -> int:
        return self.integer(name, 0, U8_MAX, default)

    def u16(self, name: str, default: int | None = None) -> int:
        return self.integer(name, 0, U16_MAX, default)

    def u32(self, name: str, default: int | None = None) -> int:
        return self.integer(name, 0, U32_MAX, default)

    def u64(self, name: str, default: int | None = None) -> int:
        return self.integer(name, 0, U64_MAX, default)

    def i64(self, name: str) -> int:
        return self.integer(name, I64_MIN, I64_MAX)

    def optional_u16(self, name: str) -> int | None:
        return self.u16(name) if self.given(name) else None

    def flag(self, name: str, default: bool | None = None) -> bool:
        if default is not None and name not in self.values:
            return default
        value = self.raw(name)
        if not isinstance(value, bool):
            raise JsonFaultError(self.at(name), f"expected true or false, found {_describe(value)}")
        return value

    def text(self, name: str) -> str:
        value = self.raw(name)
        if not isinstance(value, str):
            raise JsonFaultError(self.at(name), f"expected a string, found {_describe(value)}")
        return value

    def optional_text(self, name: str) -> str | None:
        return self.text(name) if self.given(name) else None

    def items(self, name: str) -> list[Any]:
        value = self.raw(name)
        if not isinstance(value, list):
            raise JsonFaultError(self.at(name), f"expected a list, found {_describe(value)}")
        return value

    def integers(self, name: str, low: int, high: int) -> tuple[int, ...]:
        values = self.items(name)
        for index, value in enumerate(values):
            if not isinstance(value, int) or isinstance(value, bool) or not low <= value <= high:
                raise JsonFaultError(f"{self.at(name)}[{index}]", f"an integer from {low} to {high} expected")
        return tuple(values)

    def byte_array(self, name: str, length: int | None = None) -> bytes:
        """Bytes written as a list of integers, as the reference writes them."""
        values = self.items(name)
        try:
            # bytes() takes booleans for integers and nothing else that is wrong
            data = bytes(values)
            if any(isinstance(value, bool) for value in values):
                raise TypeError
        except (TypeError, ValueError):
            raise JsonFaultError(self.at(name), "a list of integers from 0 to 255 expected") from None
        if length is not None and len(data) != length:
            raise JsonFaultError(self.at(name), f"{length} bytes expected, found {len(data)}")
        return data

    def base58_key(self, name: str) -> bytes:
        """A 32-byte key in base58."""
        text = self.text(name)
        try:
            if len(text) > _BASE58_KEY_CHARACTERS:  # decoding takes quadratic time
                raise ValueError
            key = b58decode(text)
        except ValueError:
            raise JsonFaultError(self.at(name), "not base58") from None
        if len(key) != 32:
            raise JsonFaultError(self.at(name), f"a key of 32 bytes expected, found {len(key)}")
        return key

    def object(self, name: str) -> Fields:
        return Fields(self.raw(name), self.at(name))

    def optional_object(self, name: str) -> Fields | None:
        return self.object(name) if self.given(name) else None

    def objects(self, name: str) -> list[Fields]:
        return [Fields(value, f"{self.at(name)}[{i}]") for i, value in enumerate(self.items(name))]


def compact(value: Any) -> str:
    """JSON as the reference writes it: no spaces, UTF-8 as it is."""
    return json.dumps(value, ensure_ascii=False, separators=(",", ":"))
