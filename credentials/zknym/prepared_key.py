"""A verification key made ready for many spends and verifications."""

from __future__ import annotations

from typing import Final

from zknym.constants import SIGNED_ATTRIBUTES, TYPE_COIN_INDEX, TYPE_EXPIRATION
from zknym.curve import G2, g2_sum, native
from zknym.errors import VerificationKeyTooShort
from zknym.fixed_base import fixed_g2

_SHORTEST_KEY: Final = 3
_LAST_DATES: Final = 8


class PreparedKey:
    """Precomputed forms of one key's G2 points. About 1.5 MB once all its tables are filled.

    `alpha` and `betas` are α and β2[0..2]. Three y values suffice for the public signature sets.
    """

    __slots__ = ("_beta_type", "_coin_shift", "_date_shift", "_dates", "alpha", "betas")

    def __init__(self, alpha: G2, betas: tuple[G2, ...]) -> None:
        if len(betas) < _SHORTEST_KEY:
            raise VerificationKeyTooShort(f"a key of {len(betas)} y values verifies nothing of e-cash")
        self.alpha = fixed_g2(alpha)
        self.betas = tuple(fixed_g2(beta) for beta in betas[:_SHORTEST_KEY])
        self._beta_type = betas[3] if len(betas) > _SHORTEST_KEY else None
        self._coin_shift: G2 | None = None
        self._date_shift: G2 | None = None
        self._dates: dict[int, G2] = {}

    @property
    def coin_shift(self) -> G2:
        """(β2[1] + β2[2])·TYPE_IDX: the part of a coin-index signature's key point that is always the same."""
        if self._coin_shift is None:
            self._coin_shift = (self.betas[1].point + self.betas[2].point) * native(TYPE_COIN_INDEX)
        return self._coin_shift

    def type_point(self, ticket_type: int) -> G2:
        """β2[3]·T. Raises `VerificationKeyTooShort`."""
        if self._beta_type is None:
            raise VerificationKeyTooShort(f"books need keys of {SIGNED_ATTRIBUTES} y values")
        return self._beta_type * native(ticket_type)

    def spend_date_point(self, spend_date: int) -> G2:
        """β2[1]·D + β2[2]·TYPE_EXP. A verifier asks for the same day all day long, so a few are kept."""
        if self._date_shift is None:
            self._date_shift = self.betas[2].point * native(TYPE_EXPIRATION)
        point = self._dates.get(spend_date)
        if point is None:
            if len(self._dates) >= _LAST_DATES:
                self._dates.clear()
            point = self._dates[spend_date] = self.betas[1].point * native(spend_date) + self._date_shift
        return point


def key_point(alpha: G2, betas: tuple[G2, ...], attributes: tuple[int, ...]) -> G2:
    """α + Σ β2[i]·attribute[i]: what a signature over `attributes` is checked with."""
    return g2_sum([(alpha, 1), *zip(betas, attributes, strict=False)])
