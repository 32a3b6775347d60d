"""The query language of `tx_search`, as far as clients of this network use it (docs/protocol/08 §3, §4.2).

`wasm-deposited-funds.deposit-id='7' AND tx.height>100`: conditions joined by AND, each a key with =, <, <=, >, >=,
CONTAINS or EXISTS. A key is the type of an event and one of its attributes, or `tx.height` or `tx.hash`.
"""

from __future__ import annotations

import operator
import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any, Final

from nym_localnet.chain.chain import TxResult

_CONDITION: Final = re.compile(
    r"\s*(?P<key>[\w.\-/]+)\s*(?:(?P<exists>EXISTS)|(?P<op><=|>=|=|<|>|CONTAINS)\s*"
    r"(?:'(?P<text>[^']*)'|(?P<number>\d+)))\s*"
)
_AND: Final = re.compile(r"AND\b")
_NUMERIC: Final[dict[str, Callable[[Any, Any], bool]]] = {
    "=": operator.eq,
    "<": operator.lt,
    "<=": operator.le,
    ">": operator.gt,
    ">=": operator.ge,
}


class BadQuery(ValueError):
    """A query that cannot be parsed."""


@dataclass(frozen=True, slots=True)
class Condition:
    """One condition. `value` None: the key has to exist."""

    key: str
    op: str
    value: str | int | None

    def holds(self, result: TxResult) -> bool:
        """Whether a transaction meets it."""
        return any(self._accepts(found) for found in _values(result, self.key))

    def _accepts(self, found: str) -> bool:
        match self.value:
            case None:
                return True
            case int(wanted):
                return found.isdigit() and _NUMERIC[self.op](int(found), wanted)
            case str(wanted) if self.op == "CONTAINS":
                return wanted in found
            case str(wanted):
                return _NUMERIC[self.op](found, wanted)


def parse_query(text: str) -> list[Condition]:
    """Raises `BadQuery`."""
    conditions: list[Condition] = []
    position = 0
    while True:
        found = _CONDITION.match(text, position)
        if found is None:
            raise BadQuery(f"at {position}: a condition is expected")
        number, literal = found["number"], found["text"]
        value = None if found["exists"] else int(number) if number is not None else literal
        if isinstance(value, int) and found["op"] == "CONTAINS":
            raise BadQuery("CONTAINS wants a text")
        conditions.append(Condition(found["key"], found["op"] or "EXISTS", value))
        position = found.end()
        if position == len(text):
            return conditions
        joined = _AND.match(text, position)
        if joined is None:
            raise BadQuery(f"at {position}: AND is expected")
        position = joined.end()


def search(results: Iterable[TxResult], query: str) -> list[TxResult]:
    """The transactions that meet all conditions, oldest first. Raises `BadQuery`."""
    conditions = parse_query(query)
    return [result for result in results if all(condition.holds(result) for condition in conditions)]


def _values(result: TxResult, key: str) -> list[str]:
    if key == "tx.height":
        return [str(result.height)]
    if key == "tx.hash":
        return [result.hash]
    kind, _, attribute = key.rpartition(".")
    return [
        value
        for event in result.events
        if event.type == kind
        for name, value in event.attributes
        if name == attribute
    ]
