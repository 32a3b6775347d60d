"""Repeatable scalars and points."""

from __future__ import annotations

import random

from zknym.constants import GROUP_ORDER
from zknym.curve import G1, G1_GENERATOR, G2, G2_GENERATOR, native
from zknym.randomness import Draw


def seeded(seed: object) -> Draw:
    """A source of scalars that is the same in each run."""
    source = random.Random(str(seed))
    return lambda: source.randrange(GROUP_ORDER)


def some_g1(seed: object) -> G1:
    return G1_GENERATOR * native(seeded(seed)())


def some_g2(seed: object) -> G2:
    return G2_GENERATOR * native(seeded(seed)())
