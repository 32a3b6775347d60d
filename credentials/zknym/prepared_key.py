"""A verification key made ready for many spends and verifications."""

from __future__ import annotations

from typing import Final

from zknym.constants import SIGNED_ATTRIBUTES, TYPE_COIN_INDEX, TYPE_EXPIRATION
from zknym.curve import G2, g2_sum, native
from zknym.errors import VerificationKeyTooShort
from zknym.fixed_base import FixedBase

_LAST_DATES: Final = 8


class PreparedKey:
    """Precomputed forms of one key's G2 points. About 3 MB once all its tables are filled.

    `alpha` and `betas` are α and β2[0..2]; `coin_shift` and `date_shift` are the constants that turn a
    blinded key point into the one a coin-index or date signature is checked with.
    """

    __slots__ = ("_beta_type", "_dates", "alpha", "betas", "coin_shift", "date_shift")

    def __init__(self, alpha: G2, betas: tuple[G2, ...]) -> None:
        if len(betas) < SIGNED_ATTRIBUTES:
            raise VerificationKeyTooShort(
                f"spending and verifying need a key of {SIGNED_ATTRIBUTES} y values, this has {len(betas)}"
            )
        self.alpha = FixedBase(alpha)
        self.betas = tuple(FixedBase(beta) for beta in betas[: SIGNED_ATTRIBUTES - 1])
        self.coin_shift = (betas[1] + betas[2]) * native(TYPE_COIN_INDEX)
        self.date_shift = betas[2] * native(TYPE_EXPIRATION)
        self._beta_type = betas[3]
        self._dates: dict[int, G2] = {}

    def type_point(self, ticket_type: int) -> G2:
        """β2[3]·T."""
        return self._beta_type * native(ticket_type)

    def spend_date_point(self, spend_date: int) -> G2:
        """β2[1]·D + β2[2]·TYPE_EXP. A verifier asks for the same day all day long, so a few are kept."""
        point = self._dates.get(spend_date)
        if point is None:
            if len(self._dates) >= _LAST_DATES:
                self._dates.clear()
            point = self._dates[spend_date] = self.betas[1].point * native(spend_date) + self.date_shift
        return point


def key_point(alpha: G2, betas: tuple[G2, ...], attributes: tuple[int, ...]) -> G2:
    """α + Σ β2[i]·attribute[i]: what a signature over `attributes` is checked with."""
    return g2_sum([(alpha, 1), *zip(betas, attributes, strict=False)])
