"""Products with points that are used over and over: generators and the parts of a verification key.

A table of the multiples 0..63 of point·64^i turns one product into 43 additions, about a quarter of the
time. Filling the table costs as much as a dozen products, so it is filled only when a base has been used
that often: a program that spends a single ticket never pays for it, and one that spends or verifies many
is never more than twice as slow as with perfect foresight.
"""

from __future__ import annotations

from typing import Final, Generic, TypeVar

from zknym.constants import GROUP_ORDER
from zknym.curve import G1, G2, native

Point = TypeVar("Point", G1, G2)

_WINDOW_BITS: Final = 6
_DIGIT_MASK: Final = (1 << _WINDOW_BITS) - 1
_ROWS: Final = -(-GROUP_ORDER.bit_length() // _WINDOW_BITS)
_PLAIN_PRODUCTS: Final = 12
"""Products made without a table: their cost equals that of filling it (measured, G1 and G2 alike)."""


class FixedBase(Generic[Point]):
    """A point prepared for many products. Safe to share between threads: at worst both fill the table."""

    __slots__ = ("_rows", "_uses", "point")

    def __init__(self, point: Point) -> None:
        self.point: Point = point
        self._rows: list[list[Point]] | None = None
        self._uses = 0

    def times(self, scalar: int) -> Point:
        """point·scalar; the scalar may be any integer."""
        scalar %= GROUP_ORDER
        rows = self._rows
        if rows is None:
            if self._uses < _PLAIN_PRODUCTS:
                self._uses += 1
                return self.point * native(scalar)
            rows = self._rows = self._fill()
        result = rows[0][scalar & _DIGIT_MASK]
        for row in rows[1:]:
            scalar >>= _WINDOW_BITS
            if not scalar:
                break
            result = result + row[scalar & _DIGIT_MASK]
        return result

    def _fill(self) -> list[list[Point]]:
        rows: list[list[Point]] = []
        base = self.point
        for _ in range(_ROWS):
            row = [base - base, base]
            for _ in range(_DIGIT_MASK - 1):
                row.append(row[-1] + base)
            rows.append(row)
            base = row[-1] + base
        return rows
