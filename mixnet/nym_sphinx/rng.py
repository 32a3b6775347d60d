"""The production source of randomness.

Every function that draws takes ``rng: random.Random``; tests hand in a seeded one. ``SystemRandom.randbytes``
is ``os.urandom``, so key material from ``SYSTEM_RNG`` comes straight from the operating system.
"""

from __future__ import annotations

import random
from typing import Final

SYSTEM_RNG: Final[random.Random] = random.SystemRandom()
