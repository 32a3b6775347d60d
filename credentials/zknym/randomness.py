"""Where random scalars come from (docs/protocol/07 §3).

Every function of this package that draws scalars takes a keyword `draw`. Leave it alone: the default is
the operating system's generator. The parameter exists so that tests can replay the draws of the
reference implementation and compare results byte for byte.
"""

from __future__ import annotations

import secrets
from collections.abc import Callable
from typing import TypeAlias

from zknym.constants import GROUP_ORDER, WEIGHT_BITS

Draw: TypeAlias = Callable[[], int]
"""Returns a new scalar, uniform modulo the group order, at each call."""

_WIDE_BYTES = 64


def random_scalar() -> int:
    """A uniform scalar: 512 random bits reduced modulo the group order, a bias of less than 2^-256."""
    return int.from_bytes(secrets.token_bytes(_WIDE_BYTES), "little") % GROUP_ORDER


def random_weight() -> int:
    """A weight of a batch check. It must be drawn after the data it weighs is known, never before."""
    return secrets.randbits(WEIGHT_BITS)
