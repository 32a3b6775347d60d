"""Points in time as the reference writes them, kept to the nanosecond.

Two spellings: RFC 3339 (``2026-01-01T00:00:00.123456789Z``) in topology files and key-rotation bodies, and
``2026-01-01 00:00:00.123456789 +00:00:00`` in node lists (docs/protocol/04 §10.2). A time is an integer:
nanoseconds since 1970 UTC.
"""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta, timezone

NANOSECONDS = 1_000_000_000

_RFC3339 = re.compile(
    r"([0-9]{4})-([0-9]{2})-([0-9]{2})[Tt ]([0-9]{2}):([0-9]{2}):([0-9]{2})(?:\.([0-9]{1,9})[0-9]*)?"
    r"(?:[Zz]|([+-])([0-9]{2}):([0-9]{2}))"
)
_SPACED = re.compile(
    r"([0-9]{4})-([0-9]{2})-([0-9]{2}) ([0-9]{1,2}):([0-9]{2}):([0-9]{2})(?:\.([0-9]{1,9})[0-9]*)?"
    r" ([+-])([0-9]{2}):([0-9]{2})(?::[0-9]{2})?"
)
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


def _nanoseconds(match: re.Match[str]) -> int:
    year, month, day, hour, minute, second, fraction, sign, zone_hours, zone_minutes = match.groups()
    zone = timedelta(hours=int(zone_hours or 0), minutes=int(zone_minutes or 0))
    date_and_time = (int(year), int(month), int(day), int(hour), int(minute), int(second), 0)
    local = datetime(*date_and_time, tzinfo=timezone(-zone if sign == "-" else zone))
    try:
        moment = local.astimezone(UTC)
    except OverflowError:  # a zone may push the first or last day out of the calendar
        raise ValueError("not a time of the years 1 to 9999") from None
    since = moment - _EPOCH
    return (since.days * 86_400 + since.seconds) * NANOSECONDS + int((fraction or "").ljust(9, "0"))


def parse_rfc3339(text: str) -> int:
    """`ValueError` for anything else."""
    match = _RFC3339.fullmatch(text)
    if match is None:
        raise ValueError("not an RFC 3339 time")
    return _nanoseconds(match)


def parse_spaced(text: str) -> int:
    """The spelling of node lists, or RFC 3339; `ValueError` for anything else."""
    match = _SPACED.fullmatch(text) or _RFC3339.fullmatch(text)
    if match is None:
        raise ValueError("not a time")
    return _nanoseconds(match)


def time_or_epoch(text: str) -> int:
    """Like `parse_spaced`, but what cannot be read is 1970: so the reference takes it, without an error."""
    try:
        return parse_spaced(text)
    except (ValueError, OverflowError):
        return 0


def _split(moment: int, separator: str) -> tuple[str, str]:
    seconds, fraction = divmod(moment, NANOSECONDS)
    # isoformat: strftime does not pad years to four digits everywhere
    whole = (_EPOCH + timedelta(seconds=seconds)).replace(tzinfo=None).isoformat(separator)
    return whole, f"{fraction:09}".rstrip("0")


def format_rfc3339(moment: int) -> str:
    whole, fraction = _split(moment, "T")
    return f"{whole}{'.' if fraction else ''}{fraction}Z"


def format_spaced(moment: int) -> str:
    whole, fraction = _split(moment, " ")
    return f"{whole}.{fraction or '0'} +00:00:00"


def to_datetime(moment: int) -> datetime:
    """UTC, cut to microseconds."""
    return _EPOCH + timedelta(microseconds=moment // 1000)


def from_datetime(moment: datetime) -> int:
    """`moment` must know its time zone."""
    return (moment - _EPOCH) // timedelta(microseconds=1) * 1000
