"""JSON objects of contracts as dataclasses, both directions and byte for byte (docs/protocol/08 §5, §6).

Members are declared with `member(kind)` and written in the order of declaration, compact, as serde does. Reading an
answer ignores unknown members and takes an absent optional one as null; reading a contract message refuses unknown
members, as contracts do. What is wrong raises `MalformedChainData` with the path of the member.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import MISSING, dataclass, field, fields
from typing import Any, ClassVar, Final, Self, TypeVar

from nym_credentials.errors import InvalidAmount, MalformedChainData
from nym_credentials.money import Coin

T = TypeVar("T")

MAX_U32: Final = 2**32 - 1
MAX_U64: Final = 2**64 - 1
MOST_ITEMS: Final = 10_000
"""Of any list in an answer: far above every page size, low enough to be harmless."""
_MAX_AMOUNT_DIGITS: Final = 39


@dataclass(frozen=True, slots=True)
class Kind:
    """How one member is read from and written to what `json` makes of it."""

    read: Callable[[Any], Any]
    write: Callable[[Any], Any]
    optional: bool = False


def _same(value: Any) -> Any:
    return value


def _text(value: Any) -> str:
    if not isinstance(value, str):
        raise MalformedChainData("", "a text")
    return value


def _flag(value: Any) -> bool:
    if not isinstance(value, bool):
        raise MalformedChainData("", "true or false")
    return value


def unsigned(largest: int) -> Kind:
    """A whole number from 0 to ``largest``."""

    def read(value: Any) -> int:
        if type(value) is not int or not 0 <= value <= largest:
            raise MalformedChainData("", f"a whole number from 0 to {largest}")
        return value

    return Kind(read, _same)


def decimal_text(largest: int) -> Kind:
    """A whole number written as a text, as contracts write what may exceed 53 bits."""

    def read(value: Any) -> int:
        digits = (
            isinstance(value, str)
            and value.isascii()
            and value.isdigit()
            and len(value) <= _MAX_AMOUNT_DIGITS
        )
        if not digits or int(value) > largest:
            raise MalformedChainData("", f"a text of digits, at most {largest}")
        return int(value)

    return Kind(read, str)


def _read_coin(value: Any) -> Coin:
    if not isinstance(value, dict):
        raise MalformedChainData("", "a coin with denom and amount")
    try:
        return Coin(at("denom", _text, value.get("denom")), at("amount", AMOUNT.read, value.get("amount")))
    except InvalidAmount:
        raise MalformedChainData("", "a coin with denom and amount") from None


def write_coin(coin: Coin) -> dict[str, str]:
    """As `json` takes it."""
    return {"denom": coin.denom, "amount": str(coin.amount)}


def at(name: str, read: Callable[[Any], T], value: Any) -> T:
    """``read(value)``, with errors that name the member."""
    try:
        return read(value)
    except MalformedChainData as error:
        raise error.under(name) from None


TEXT: Final = Kind(_text, _same)
FLAG: Final = Kind(_flag, _same)
U16: Final = unsigned(2**16 - 1)
U32: Final = unsigned(MAX_U32)
U64: Final = unsigned(MAX_U64)
AMOUNT: Final = decimal_text(2**128 - 1)
COIN: Final = Kind(_read_coin, write_coin)


def optional(kind: Kind) -> Kind:
    """That kind or null; absent means null."""
    return Kind(
        lambda value: None if value is None else kind.read(value),
        lambda value: None if value is None else kind.write(value),
        optional=True,
    )


def listed(kind: Kind, most: int = MOST_ITEMS) -> Kind:
    """An array of that kind; a tuple here."""

    def read(value: Any) -> tuple[Any, ...]:
        if not isinstance(value, list) or len(value) > most:
            raise MalformedChainData("", f"an array of at most {most} elements")
        return tuple(at(str(i), kind.read, item) for i, item in enumerate(value))

    return Kind(read, lambda items: [kind.write(item) for item in items])


def mapped(kind: Kind) -> Kind:
    """An object with arbitrary keys."""

    def read(value: Any) -> dict[str, Any]:
        if not isinstance(value, dict) or len(value) > MOST_ITEMS:
            raise MalformedChainData("", "an object")
        return {key: at(key, kind.read, item) for key, item in value.items()}

    return Kind(read, lambda items: {key: kind.write(item) for key, item in items.items()})


def nested(record: type[JsonRecord]) -> Kind:
    """An object that is itself a record."""
    return Kind(record.from_object, lambda value: value.to_object())


def member(kind: Kind, *, default: Any = MISSING, also: Sequence[str] = ()) -> Any:
    """Declares a member. ``also`` are older names that are read as well."""
    metadata = {"kind": kind, "also": tuple(also)}
    if default is MISSING:
        return field(metadata=metadata)
    return field(default=default, metadata=metadata)


class JsonRecord:
    """A dataclass whose members were declared with `member`."""

    __slots__ = ()

    def to_object(self) -> dict[str, Any]:
        """As `json` takes it, members in the order of declaration."""
        return {f.name: f.metadata["kind"].write(getattr(self, f.name)) for f in fields(self)}  # type: ignore[arg-type]

    @classmethod
    def from_object(cls, value: Any) -> Self:
        """The inverse of `to_object`. Raises `MalformedChainData`."""
        return cls._read(value, strict=False)

    @classmethod
    def _read(cls, value: Any, *, strict: bool) -> Self:
        if not isinstance(value, dict):
            raise MalformedChainData("", "an object")
        declared = fields(cls)  # type: ignore[arg-type]
        known = {name for f in declared for name in (f.name, *f.metadata["also"])}
        if strict and value.keys() - known:
            raise MalformedChainData(sorted(value.keys() - known)[0], "absent: no such member")
        read = {}
        for f in declared:
            kind: Kind = f.metadata["kind"]
            name = next((n for n in (f.name, *f.metadata["also"]) if n in value), f.name)
            if name not in value and not kind.optional:
                raise MalformedChainData(f.name, "present")
            read[f.name] = at(name, kind.read, value.get(name))
        return cls(**read)

    def to_json(self) -> bytes:
        """The compact text, byte for byte as serde writes it."""
        return dump_json(self.to_object())

    @classmethod
    def from_json(cls, text: bytes | str) -> Self:
        """The inverse of `to_json`. Raises `MalformedChainData`."""
        return cls.from_object(load_json(text))


class ContractMessage(JsonRecord):
    """A query or execute message: ``{"<name>": {members}}``."""

    __slots__ = ()
    NAME: ClassVar[str]

    def to_json(self) -> bytes:
        return dump_json({self.NAME: self.to_object()})

    @classmethod
    def from_json(cls, text: bytes | str) -> Self:
        found = parse_message(text, {cls.NAME: cls})
        assert isinstance(found, cls)
        return found


def parse_message(text: bytes | str, known: Mapping[str, type[ContractMessage]]) -> ContractMessage:
    """The message of a contract's interface that ``text`` is. Raises `MalformedChainData` for any other."""
    value = load_json(text)
    if not isinstance(value, dict) or len(value) != 1:
        raise MalformedChainData("message", "an object with one member")
    name, inner = next(iter(value.items()))
    message = known.get(name)
    if message is None:
        raise MalformedChainData("message", f"one of {', '.join(sorted(known))}")
    return at(name, lambda inside: message._read(inside, strict=True), inner)


def dump_json(value: Any) -> bytes:
    """Compact and with characters as they are, as serde writes."""
    return json.dumps(value, separators=(",", ":"), ensure_ascii=False).encode()


def load_json(text: bytes | str) -> Any:
    """What `json` makes of it. Raises `MalformedChainData`."""
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        raise MalformedChainData("", "JSON") from None
