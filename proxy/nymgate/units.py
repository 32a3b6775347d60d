"""Durations, sizes and addresses as people write them: ``"10m"``, ``"1h30m"``, ``"never"``, ``"256KiB"``,
``"[::1]:1080"``.

A bare number is refused: whether ``60`` meant seconds or minutes is the kind of thing found out much later.
"""

import math
import re
from typing import Final

NEVER: Final = math.inf
_DURATION_UNITS_SECONDS: Final = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0}
_SIZE_UNITS_BYTES: Final = {
    "B": 1,
    "kB": 1000,
    "KiB": 1024,
    "MB": 1000**2,
    "MiB": 1024**2,
    "GB": 1000**3,
    "GiB": 1024**3,
}
_DURATION_PART: Final = re.compile(r"(\d+(?:\.\d+)?)(ms|s|m|h|d)", re.ASCII)
_SIZE: Final = re.compile(r"(\d+(?:\.\d+)?) ?([A-Za-z]+)", re.ASCII)


def parse_duration(text: str) -> float:
    """Seconds of ``"500ms"``, ``"10s"``, ``"1h30m"``; infinity for ``"never"``. ValueError otherwise."""
    text = text.strip()
    if text == "never":
        return NEVER
    seconds, position = 0.0, 0
    while position < len(text):
        part = _DURATION_PART.match(text, position)
        if part is None:
            break
        seconds += float(part[1]) * _DURATION_UNITS_SECONDS[part[2]]
        position = part.end()
    if not text or position < len(text) or not math.isfinite(seconds):
        raise ValueError("not a duration")
    return seconds


def format_duration(seconds: float) -> str:
    """The shortest way to write a duration that :func:`parse_duration` reads back to the millisecond."""
    if math.isinf(seconds):
        return "never"
    rest = round(seconds * 1000)
    if rest == 0:
        return "0s"
    parts: list[str] = []
    for unit, length in (("d", 86_400_000), ("h", 3_600_000), ("m", 60_000), ("s", 1000), ("ms", 1)):
        count, rest = divmod(rest, length)
        if count:
            parts.append(f"{count}{unit}")
    return "".join(parts)


def parse_size(text: str) -> int:
    """Bytes of ``"64KiB"``, ``"1.5MB"``, ``"512B"``. ValueError on anything else."""
    match = _SIZE.fullmatch(text.strip())
    if match is None or match[2] not in _SIZE_UNITS_BYTES:
        raise ValueError("not a size")
    return round(float(match[1]) * _SIZE_UNITS_BYTES[match[2]])


def format_size(size_bytes: int) -> str:
    """The biggest unit that divides the size, as :func:`parse_size` reads it back."""
    for unit in ("GiB", "GB", "MiB", "MB", "KiB", "kB"):
        if size_bytes and size_bytes % _SIZE_UNITS_BYTES[unit] == 0:
            return f"{size_bytes // _SIZE_UNITS_BYTES[unit]}{unit}"
    return f"{size_bytes}B"


def human_bytes(size_bytes: float) -> str:
    """A size for reading, three digits: ``11.5 GB``."""
    for unit in ("B", "kB", "MB", "GB"):
        if size_bytes < 999.5 or unit == "GB":
            digits = 0 if unit == "B" or size_bytes >= 99.95 else 1
            return f"{size_bytes:.{digits}f} {unit}"
        size_bytes /= 1000
    raise AssertionError("the loop ends at GB")


def join_address(host: str, port: int) -> str:
    """``host:port``, IPv6 in brackets."""
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def split_host_port(text: str, *, least_port: int = 1) -> tuple[str, int]:
    """``example.org:53``, ``192.0.2.7:53``, ``[::1]:53`` → host and port. ValueError otherwise."""
    host, _, port = text.rpartition(":")
    bracketed = host.startswith("[") and host.endswith("]")
    bare = host[1:-1] if bracketed else host
    if not bare or (":" in bare) != bracketed:
        raise ValueError("not host:port")
    if not (port.isascii() and port.isdigit()) or not least_port <= int(port) <= 65535:
        raise ValueError("not host:port")
    return bare, int(port)
