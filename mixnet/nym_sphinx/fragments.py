"""Cutting a padded message into fragments that each fill one packet (docs/protocol/02 §4, §5).

Up to 255 fragments make a set; a longer message takes several sets, each linked to its neighbours.
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Final, TypeAlias

from nym_sphinx.errors import MalformedFragment, MalformedMessage
from nym_sphinx.rng import SYSTEM_RNG

FragmentId: TypeAlias = bytes
"""5 bytes: the set id and the number of the fragment in its set."""
COVER_FRAGMENT_ID: Final[FragmentId] = bytes(5)
"""What acknowledgements of cover packets hold."""

UNLINKED_HEADER_BYTES: Final = 7
LINKED_HEADER_BYTES: Final = 10
MAX_FRAGMENTS: Final = 255
"""In one set."""
_LINK_BYTES: Final = LINKED_HEADER_BYTES - UNLINKED_HEADER_BYTES
_TOP_BIT: Final = 0x8000_0000
_MARKER: Final = b"\x01"


@dataclass(frozen=True, slots=True)
class Fragment:
    """One part of a message.

    Fragment 1 may name the set before its own, fragment 255 of 255 the set after it.
    """

    set_id: int
    total: int
    current: int
    """Counts from 1."""
    payload: bytes = field(repr=False)
    previous_id: int | None = None
    next_id: int | None = None

    def __post_init__(self) -> None:
        if not 0 < self.set_id < _TOP_BIT:
            raise MalformedFragment("a fragment's set id is from 1 to 2^31-1")
        if not 1 <= self.current <= self.total <= MAX_FRAGMENTS:
            raise MalformedFragment("a fragment's number is from 1 to the size of its set, at most 255")
        for linked, allowed in (
            (self.previous_id, self.current == 1),
            (self.next_id, self.current == self.total == MAX_FRAGMENTS),
        ):
            if linked is not None and (not allowed or not 0 < linked < _TOP_BIT or linked == self.set_id):
                raise MalformedFragment("a fragment with a link that cannot be")

    @property
    def id(self) -> FragmentId:
        """5 bytes by which an acknowledgement names this fragment."""
        return self.set_id.to_bytes(4, "big") + bytes((self.current,))

    def encode(self) -> bytes:
        """A header of 7 bytes (10 with a link) and the payload."""
        linked = self.previous_id if self.previous_id is not None else self.next_id
        return b"".join(
            (
                (_TOP_BIT | self.set_id).to_bytes(4, "big"),
                bytes((self.total, self.current)),
                b"\0" if linked is None else (_TOP_BIT | linked).to_bytes(4, "big"),
                self.payload,
            )
        )

    @classmethod
    def decode(cls, data: bytes) -> Fragment:
        """The fragment that ``data`` is, to its end. Raises ``MalformedFragment``."""
        if len(data) < UNLINKED_HEADER_BYTES:
            raise MalformedFragment("too short for a fragment")
        set_id = int.from_bytes(data[:4], "big")
        total = data[4]
        current = data[5]
        if not set_id & _TOP_BIT:
            raise MalformedFragment("not a fragment: its first bit is missing")
        set_id ^= _TOP_BIT
        if not data[6]:
            return cls(set_id, total, current, data[UNLINKED_HEADER_BYTES:])
        if len(data) < LINKED_HEADER_BYTES:
            raise MalformedFragment("too short for a linked fragment")
        linked = int.from_bytes(data[6:10], "big")
        if not linked & _TOP_BIT:
            raise MalformedFragment("not a fragment: the first bit of its link is missing")
        linked ^= _TOP_BIT
        payload = data[LINKED_HEADER_BYTES:]
        if current == 1:
            return cls(set_id, total, current, payload, previous_id=linked)
        return cls(set_id, total, current, payload, next_id=linked)


def sets_needed(length: int, space: int) -> int:
    """How many sets a padded message of ``length`` bytes takes at ``space`` bytes a fragment."""
    unlinked = _unlinked_bytes(space)
    lone = MAX_FRAGMENTS * unlinked
    edge = lone - _LINK_BYTES
    middle = lone - 2 * _LINK_BYTES
    if length <= lone:
        return 1
    if length <= 2 * edge:
        return 2
    return 2 - (2 * edge - length) // middle


def layout(length: int, space: int) -> tuple[int, int]:
    """Fragments for ``length`` bytes, the padding marker included, and the bytes left over in them."""
    unlinked = _unlinked_bytes(space)
    sets = sets_needed(length, space)
    if sets == 1:
        fragments = max(1, -(-length // unlinked))
        return fragments, fragments * unlinked - length
    linked = unlinked - _LINK_BYTES
    full = MAX_FRAGMENTS * (sets - 1)
    links = 2 * sets - 3
    rest = length - links * linked - (full - links) * unlinked
    if rest <= linked:
        return full + 1, linked - rest
    more = -(-(rest - linked) // unlinked)
    return full + 1 + more, more * unlinked - (rest - linked)


def fragments_needed(message_length: int, space: int) -> int:
    """Packets that a message of so many bytes takes, its padding marker not counted."""
    return layout(message_length + 1, space)[0]


def pad(message: bytes, space: int) -> bytes:
    """Add the marker and the zeros with which ``message`` fills its fragments exactly."""
    return b"".join((message, _MARKER, bytes(layout(len(message) + 1, space)[1])))


def unpad(data: bytes) -> bytes:
    """What stands before the last marker.

    Raises ``MalformedMessage`` if there is none, or nothing before it.
    """
    end = data.rfind(_MARKER)
    if end <= 0:
        raise MalformedMessage("a message without its end marker, or empty")
    return data[:end]


def split(
    padded: bytes, space: int, *, rng: random.Random = SYSTEM_RNG, set_ids: Sequence[int] | None = None
) -> list[Fragment]:
    """Cut a padded message into fragments, in the order to send them.

    ``space``: bytes for one fragment with its header (``PacketSize.fragment_space``). ``set_ids``: in message
    order, drawn from ``rng`` when not given. Raises ``MalformedFragment``.
    """
    sets = sets_needed(len(padded), space)
    if set_ids is None:
        set_ids = _draw_set_ids(sets, rng)
    elif len(set_ids) != sets:
        raise MalformedFragment(f"a message of {sets} sets needs as many set ids, not {len(set_ids)}")
    unlinked = _unlinked_bytes(space)
    fragments: list[Fragment] = []
    at = 0
    for index, set_id in enumerate(set_ids):
        previous_id = set_ids[index - 1] if index else None
        next_id = set_ids[index + 1] if index + 1 < sets else None
        if next_id is None:
            rest = len(padded) - at + (0 if previous_id is None else _LINK_BYTES)
            total = max(1, -(-rest // unlinked))
        else:
            total = MAX_FRAGMENTS
        for current in range(1, total + 1):
            before = previous_id if current == 1 else None
            after = next_id if current == MAX_FRAGMENTS else None
            room = unlinked if before is None and after is None else unlinked - _LINK_BYTES
            fragments.append(Fragment(set_id, total, current, padded[at : at + room], before, after))
            at += room
    return fragments


def _draw_set_ids(count: int, rng: random.Random) -> list[int]:
    drawn: dict[int, None] = {}
    while len(drawn) < count:
        drawn[rng.randrange(1, _TOP_BIT)] = None
    return list(drawn)


def _unlinked_bytes(space: int) -> int:
    if space <= LINKED_HEADER_BYTES:
        raise MalformedFragment(f"fragments need more than {LINKED_HEADER_BYTES} bytes of space, not {space}")
    return space - UNLINKED_HEADER_BYTES
