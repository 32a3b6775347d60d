"""Reading the JSON forms: hex points and scalars inside of objects (docs/protocol/07 §13.1).

Unknown members are ignored, as the reference does; everything else that is not what it should be raises
`MalformedJson` (or the error of the value's own decoder). Values never appear in messages.
"""

from __future__ import annotations

from typing import Any, TypeAlias

from zknym.constants import MAX_U64
from zknym.curve import G1, G2, decode_g1, decode_g2, decode_scalar
from zknym.errors import MalformedJson, MalformedText

Json: TypeAlias = Any
"""What `json.loads` returns. Each value is checked before it is used."""
JsonObject: TypeAlias = dict[str, Any]

_LARGEST_BYTE = 255


def member(value: Json, name: str) -> Json:
    """The member `name` of an object."""
    if not isinstance(value, dict) or name not in value:
        raise MalformedJson(f'an object with a member "{name}" expected')
    return value[name]


def integer(value: Json, largest: int = MAX_U64) -> int:
    """An unsigned integer of at most `largest`."""
    if type(value) is not int or not 0 <= value <= largest:
        raise MalformedJson(f"an integer from 0 to {largest} expected")
    return value


def text(value: Json) -> str:
    """A string."""
    if not isinstance(value, str):
        raise MalformedJson("a string expected")
    return value


def array(value: Json, most: int) -> list[Json]:
    """A list of at most `most` elements: the bound keeps a short message from costing much work."""
    if not isinstance(value, list) or len(value) > most:
        raise MalformedJson(f"an array of at most {most} elements expected")
    return value


def byte_array(value: Json, size: int) -> bytes:
    """Bytes written as an array of numbers."""
    numbers = array(value, size)
    if len(numbers) != size:
        raise MalformedJson(f"an array of {size} bytes expected")
    return bytes(integer(number, _LARGEST_BYTE) for number in numbers)


def hex_bytes(value: Json) -> bytes:
    """Bytes written as hex digits of either case."""
    digits = text(value)
    try:
        if digits.isalnum():  # the standard decoder would skip white space
            return bytes.fromhex(digits)
    except ValueError:
        pass
    raise MalformedText("not hex digits")


def g1(value: Json) -> G1:
    """A point of G1."""
    return decode_g1(hex_bytes(value))


def g2(value: Json) -> G2:
    """A point of G2."""
    return decode_g2(hex_bytes(value))


def scalar(value: Json) -> int:
    """A scalar."""
    return decode_scalar(hex_bytes(value))
