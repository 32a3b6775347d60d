"""Takes out of a text, or of plain data, what must not be posted: for `nymgate debug-dump`. Pure.

It takes out rather too much: every host, address, path, amount, date, long token and everything that the configuration
names. Identities of gateways keep their first characters, for they are public and tell one from another. What is no
secret by its kind (numbers, identifiers such as E_EXIT_POLICY, names of settings) stays.
"""

import re
from collections.abc import Callable, Iterable, Mapping
from typing import Any, Final

KEPT_CHARACTERS: Final = 6
LEAST_KNOWN: Final = 3
"""Known strings that are shorter are not looked for: they are in every word."""
_58: Final = "[1-9A-HJ-NP-Za-km-z]"


def _short(match: re.Match[str]) -> str:
    return f"{match[0][:KEPT_CHARACTERS]}…"


def _short_address(match: re.Match[str]) -> str:
    return f"<address at {match[1][:KEPT_CHARACTERS]}…>"


_RULES: Final[tuple[tuple[re.Pattern[str], str | Callable[[re.Match[str]], str]], ...]] = (
    (re.compile(rf"\b{_58}{{40,46}}\.{_58}{{40,46}}@({_58}{{40,46}})"), _short_address),
    (re.compile(r"\b[a-z][a-z0-9+.-]*://[^\s\"'<>]+", re.IGNORECASE), "<url>"),
    (re.compile(r"[^\s\"'<>=,;]+@[^\s\"'<>,;]+"), "<address>"),
    (re.compile(r"\b[a-z]{1,10}1[02-9ac-hj-np-z]{20,90}\b"), "<account>"),
    (re.compile(r"\b[0-9a-f]{8}-(?:[0-9a-f]{4}-){3}[0-9a-f]{12}\b", re.IGNORECASE), "<id>"),
    (re.compile(r"\b(?:0x)?[0-9a-f]{24,}\b", re.IGNORECASE), "<hex>"),
    (re.compile(rf"(?<![A-Za-z0-9]){_58}{{42,46}}(?![A-Za-z0-9])"), _short),
    (re.compile(r"\b[a-z]{3,8}(?: [a-z]{3,8}){11,}\b"), "<words>"),
    (
        re.compile(r"\b\d{4}-\d\d-\d\d(?:[T ]\d\d:\d\d(?::\d\d(?:\.\d+)?)?(?:Z| UTC|[+-]\d\d:\d\d)?)?"),
        "<date>",
    ),
    (re.compile(r"\b\d[\d.,]*\s*u?nyms?\b", re.IGNORECASE), "<amount>"),
    (re.compile(r"\b(?:\d{1,3}\.){3}\d{1,3}(?:/\d{1,2})?(?::\d{1,5})?\b"), "<ip>"),
    (
        re.compile(
            r"\[?(?<![\w:])(?:[0-9a-f]{0,4}:){2,7}[0-9a-f]{0,4}(?![\w:])\]?(?::\d{1,5})?", re.IGNORECASE
        ),
        "<ip>",
    ),
    (re.compile(r"(?:~|(?<![\w>]))(?:/[^\s/\"'<>:,;()]+){1,}/?"), "<path>"),
    (re.compile(r"\b[A-Za-z]:\\\S+"), "<path>"),
    (
        re.compile(
            r"\b[a-z0-9_-]+(?:\.[a-z0-9_-]+)*\.[a-z][a-z0-9-]+\.?(?::\d{1,5})?(?![\w…])", re.IGNORECASE
        ),
        "<host>",
    ),
    (re.compile(r"\b(?=[\w-]*[a-z])[a-z0-9_-]+:\d{2,5}\b", re.IGNORECASE), "<host>"),
    (re.compile(r"\b(?=[\w+/=-]*\d)(?=[\w+/=-]*[A-Za-z])[A-Za-z0-9_+/=-]{20,}"), "<token>"),
    (re.compile(r"[^\x00-\x7f…–’“”≤·→×]+\S*"), "<text>"),
)
_MARK: Final = re.compile(r"\0(\d+)\0")
_PLAIN_KEY: Final = re.compile(r"[A-Za-z0-9_-]{1,40}")
_EVENT: Final = re.compile(r"[a-z]+(?:[._][a-z]+)*")


class Scrubber:
    """Scrubs with what is known of this machine and its configuration."""

    def __init__(self, known: Mapping[str, str], keep: Iterable[str] = ()) -> None:
        """``known``: text to what it is (a path, a user), taken out wherever it stands, upper or lower case.
        ``keep``: words with dots that are none of a host, such as names of settings."""
        words = sorted((word for word in known if len(word) >= LEAST_KNOWN), key=len, reverse=True)
        self._known = {word.lower(): kind for word, kind in known.items()}
        self._pattern = re.compile("|".join(map(re.escape, words)), re.IGNORECASE) if words else None
        kept = sorted(keep, key=len, reverse=True)
        self._keep = (
            re.compile(rf"(?<![\w.@/:-])(?:{'|'.join(map(re.escape, kept))})(?![\w@/:-]|\.\w)")
            if kept
            else None
        )

    def text(self, text: str) -> str:
        """The text without what must not be posted."""
        held: list[str] = []

        def hold(match: re.Match[str]) -> str:
            held.append(match[0])
            return f"\0{len(held) - 1}\0"

        text = text.replace("\0", "")
        if self._pattern is not None:
            text = self._pattern.sub(lambda match: f"<{self._known[match[0].lower()]}>", text)
        if self._keep is not None:
            text = self._keep.sub(hold, text)
        for pattern, replacement in _RULES:
            text = pattern.sub(replacement, text)
        return _MARK.sub(lambda match: held[int(match[1])], text)

    def data(self, value: Any, now_unix: float | None = None) -> Any:
        """The same for plain data. Times, ``…_unix``, become seconds from ``now_unix``, or go."""
        if isinstance(value, Mapping):
            return self._mapping(value, now_unix)
        if isinstance(value, (list, tuple)):
            return [self.data(item, now_unix) for item in value]
        if isinstance(value, str):
            return self.text(value)
        return value if value is None or isinstance(value, (bool, int, float)) else "<value>"

    def _mapping(self, value: Mapping[Any, Any], now_unix: float | None) -> dict[str, Any]:
        result: dict[str, Any] = {}
        for key, item in value.items():
            name = str(key)
            if name.endswith("_unix"):
                known = isinstance(item, (int, float)) and now_unix is not None
                name = f"{name.removesuffix('_unix')}_seconds_from_now"
                item = round(item - now_unix) if known and now_unix is not None else None
            elif _is_amount(name) and not isinstance(item, (Mapping, list, tuple)):
                item = None if item is None else "<amount>"
            else:
                item = self.data(item, now_unix)
            shown = self._key(name)
            number = 2
            while shown in result:
                shown, number = f"{self._key(name)} {number}", number + 1
            result[shown] = item
        return result

    def _key(self, name: str) -> str:
        if _PLAIN_KEY.fullmatch(name) and not (self._pattern is not None and self._pattern.search(name)):
            return name if len(name) < 20 or "_" in name or "-" in name else self.text(name)
        return self.text(name)

    def log_line(self, line: Mapping[str, Any], now: Callable[[str], float | None]) -> dict[str, Any]:
        """A line of the log. ``now``: a timestamp as seconds from now."""
        shown: dict[str, Any] = {}
        for key, value in line.items():
            if key == "timestamp":
                shown["seconds_from_now"] = now(str(value))
            elif key == "event" and "logger" not in line and _EVENT.fullmatch(str(value)):
                shown[key] = value  # ours, and a name from the code
            elif key in ("level", "logger", "exception"):
                shown[key] = value
            elif _is_amount(key):
                shown[key] = "<amount>"
            else:
                shown[self._key(key)] = self.data(value)
        return shown


def _is_amount(key: str) -> bool:
    return key.endswith("_unym") or key in ("balance", "price", "fee", "fees")
