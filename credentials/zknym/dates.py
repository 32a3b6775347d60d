"""Dates as the scheme, the files and the wire write them (docs/protocol/07 §1.1, §13.3).

The cryptography knows an *encoded date*: the unix time, in seconds, of 00:00 UTC of the day. Everything
around it uses `datetime.date`. A book of expiration date E can be spent on E-6d … E, both included.
"""

from __future__ import annotations

import re
from datetime import UTC, date, datetime, timedelta
from typing import Final, TypeAlias

from zknym.bincode import Reader, signed_varint, varint
from zknym.constants import MAX_U32, SECONDS_PER_DAY, VALIDITY_DAYS
from zknym.errors import InvalidArgument, MalformedData, SpendDateTooEarly, SpendDateTooLate

EncodedDate: TypeAlias = int
"""Unix seconds of a midnight in UTC, 0 … 2^32-1."""

_EPOCH: Final = date(1970, 1, 1)
_EPOCH_JULIAN_DAY: Final = 2_440_588
_LONGEST_YEAR_DAYS: Final = 366
_ISO_DATE: Final = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}")


def midnight(day: date) -> int:
    """Unix seconds of 00:00 UTC of any day: an encoded date, where there is one for that day."""
    return (day - _EPOCH).days * SECONDS_PER_DAY


def encode_date(day: date) -> EncodedDate:
    """The encoded form of a day. Raises `InvalidArgument` outside of 1970-01-01 … 2106-02-07."""
    seconds = midnight(day)
    if not 0 <= seconds <= MAX_U32:
        raise InvalidArgument(f"{day} cannot be an e-cash date: it does not fit 32 bits of unix time")
    return seconds


def decode_date(encoded: EncodedDate) -> date:
    """The UTC day in which an encoded date (or any 32-bit unix time) lies."""
    return datetime.fromtimestamp(encoded, UTC).date()


def default_expiration(today: date) -> date:
    """The expiration date of a book issued `today` (UTC): the last of seven days."""
    return today + timedelta(days=VALIDITY_DAYS - 1)


def is_expired(expiration: date, today: date) -> bool:
    """Whether a book is worth nothing any more; on its expiration date it still is."""
    return expiration < today


def spend_dates(expiration: EncodedDate) -> tuple[EncodedDate, ...]:
    """The seven days on which a book can be spent, oldest first.

    Raises `InvalidArgument` when one of them is no encoded date.
    """
    days = tuple(expiration - (VALIDITY_DAYS - 1 - i) * SECONDS_PER_DAY for i in range(VALIDITY_DAYS))
    if days[0] < 0 or expiration > MAX_U32:
        raise InvalidArgument("an expiration date is a 32-bit unix time, a week or more after 1970-01-01")
    return days


def spend_date_index(spend_date: EncodedDate, expiration: EncodedDate) -> int:
    """Which of the seven date signatures serves `spend_date`.

    A time of day is tolerated here, yet the resulting payment verifies for the midnight only.
    Raises `SpendDateTooEarly` or `SpendDateTooLate`.
    """
    index = (spend_date - spend_dates(expiration)[0]) // SECONDS_PER_DAY
    if index < 0:
        raise SpendDateTooEarly("the book cannot be spent yet: its first day lies behind the spend date")
    if index >= VALIDITY_DAYS:
        raise SpendDateTooLate("the book has expired: use another one")
    return index


def julian_day(day: date) -> int:
    """The Julian day number, e.g. 2440588 for 1970-01-01."""
    return (day - _EPOCH).days + _EPOCH_JULIAN_DAY


def from_julian_day(number: int) -> date:
    """The inverse of `julian_day`. Raises `MalformedData` outside of the years 1 … 9999."""
    try:
        return _EPOCH + timedelta(days=number - _EPOCH_JULIAN_DAY)
    except OverflowError as error:
        raise MalformedData("a Julian day outside of the years 1 … 9999") from error


def date_field(day: date) -> bytes:
    """bincode of a date: year, then day of the year."""
    return signed_varint(day.year) + varint(day.timetuple().tm_yday)


def read_date(reader: Reader) -> date:
    """The inverse of `date_field`. Raises `MalformedData`."""
    year = reader.signed_varint()
    return _from_ordinal(year, reader.varint(_LONGEST_YEAR_DAYS))


def date_from_text(text: str) -> date:
    """A date written YYYY-MM-DD. Raises `MalformedData`."""
    try:
        if _ISO_DATE.fullmatch(text):
            return date.fromisoformat(text)
    except ValueError:
        pass
    raise MalformedData("not a date of the form YYYY-MM-DD")


def date_to_json(day: date) -> list[int]:
    """The JSON form that gateways send: [year, day of the year]."""
    return [day.year, day.timetuple().tm_yday]


def date_from_json(value: object) -> date:
    """Either JSON form: [year, day of the year] or "YYYY-MM-DD". Raises `MalformedData`."""
    match value:
        case str():
            return date_from_text(value)
        case [int(year), int(ordinal)] if not isinstance(year, bool) and not isinstance(ordinal, bool):
            return _from_ordinal(year, ordinal)
        case _:
            raise MalformedData("not a date: [year, day of the year] or YYYY-MM-DD expected")


def _from_ordinal(year: int, ordinal: int) -> date:
    try:
        day = date(year, 1, 1) + timedelta(days=ordinal - 1)
    except (OverflowError, ValueError) as error:
        raise MalformedData("a date outside of the years 1 … 9999") from error
    if day.year != year:
        raise MalformedData("a day of the year that the year does not have")
    return day
