"""Products with points that are used over and over: generators and the parts of a verification key.

The bits of a scalar are laid out as 8 rows of 32. Each column of 8 bits picks one of 256 sums of the
point's multiples by 2^(32·row); four tables, made for every eighth column, leave 7 doublings and 31
additions of a product. That is a fifth of the time that a product takes otherwise.

Filling the tables costs as much as half a dozen products, so they are filled when a base has been used that
often: a program that does little never pays for them, and no program takes more than about twice the time
it could have taken with foresight.

Lim, Lee: More flexible exponentiation with precomputation (1994).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final, Generic, TypeVar

from zknym import endomorphism
from zknym.constants import GROUP_ORDER
from zknym.curve import G1, G2, native

Point = TypeVar("Point", G1, G2)

_ROWS: Final = 8
_COLUMNS: Final = 32
_TABLES: Final = 4
_STEPS: Final = _COLUMNS // _TABLES
_PLAIN_PRODUCTS: Final = 8
"""Products made without tables: about what filling them costs."""
_TWO: Final = native(2)
_DIGITS: Final = [f"{digit:0{_ROWS}b}" for digit in range(1 << _ROWS)]
"""Columns are looked up as the text that slicing the binary number gives."""


class FixedBase(Generic[Point]):
    """A point prepared for many products. Safe to share between threads: at worst both fill the tables."""

    __slots__ = ("_identity", "_plain", "_tables", "_uses", "point")

    def __init__(self, point: Point, plain: Callable[[Point, int], Point]) -> None:
        self.point: Point = point
        self._plain: Callable[[Point, int], Point] = plain
        self._identity: Point = point - point
        self._tables: list[dict[str, Point]] = []
        self._uses = 0

    def times(self, scalar: int) -> Point:
        """point·scalar; the scalar may be any integer."""
        scalar %= GROUP_ORDER
        if not self._tables:
            if self._uses < _PLAIN_PRODUCTS:
                self._uses += 1
                return self._plain(self.point, scalar)
            self._tables = self._fill()
        bits = f"{scalar:0{_ROWS * _COLUMNS}b}"
        result = self._identity
        for step in range(_STEPS):
            if step:
                result = result * _TWO
            for column, table in zip(range(step, _COLUMNS, _STEPS), self._tables, strict=True):
                result = result + table[bits[column::_COLUMNS]]
        return result

    def _fill(self) -> list[dict[str, Point]]:
        """The highest columns come first, as in the digits."""
        tables: list[dict[str, Point]] = []
        rows = [self.point * native(1 << (_COLUMNS * row)) for row in range(_ROWS)]
        for _ in range(_TABLES):
            sums = [self._identity]
            for multiple in rows:
                sums += [entry + multiple for entry in sums]
            tables.insert(0, dict(zip(_DIGITS, sums, strict=True)))
            rows = [multiple * native(1 << _STEPS) for multiple in rows]
        return tables


def fixed_g1(point: G1) -> FixedBase[G1]:
    """A prepared point of the prime-order subgroup of G1."""
    return FixedBase(point, endomorphism.times_g1)


def fixed_g2(point: G2) -> FixedBase[G2]:
    """A prepared point of the prime-order subgroup of G2."""
    return FixedBase(point, endomorphism.times_g2)
