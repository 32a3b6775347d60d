"""Replay protection: the exact set of packets that a node has seen under one of its keys.

docs/protocol/01 §8: the tag of a packet is looked up after its header was authenticated and before any work
on its payload. Upstream keeps a bloom filter, which drops a few good packets; a test network can afford to
be exact.
"""

from __future__ import annotations

from typing import Final

# Two generations of this many tags: about 100 bytes each, so a busy node stays under some 30 MB per key.
DEFAULT_GENERATION_TAGS: Final = 150_000


class ReplayFilter:
    """Remembers the newest tags, at least `generation_tags` and at most twice as many.

    When the current generation is full the older one is forgotten as a whole: bounded memory, no per-tag
    clock.
    """

    __slots__ = ("_current", "_limit", "_previous")

    def __init__(self, generation_tags: int = DEFAULT_GENERATION_TAGS) -> None:
        if generation_tags < 1:
            raise ValueError("a replay filter needs room for at least one tag")
        self._limit = generation_tags
        self._current: set[bytes] = set()
        self._previous: set[bytes] = set()

    def __len__(self) -> int:
        return len(self._current) + len(self._previous)

    def seen(self, tag: bytes) -> bool:
        """True when `tag` was shown before; otherwise remembers it. Meant as the `seen` argument of
        `unwrap`.
        """
        current = self._current
        if tag in current or tag in self._previous:
            return True
        if len(current) >= self._limit:
            self._previous = current
            current = self._current = set()
        current.add(tag)
        return False
