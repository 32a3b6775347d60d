"""Feeds handshake machines as a server does: whole, byte by byte, in pieces."""

import itertools
from collections.abc import Iterable

from nymgate.listener.handshake import Action, Connect, Forward, Handshake, Refuse


def feed_pieces(machine: Handshake, pieces: Iterable[bytes]) -> tuple[list[Action], bytes]:
    """What the machine said, and what belongs to the stream after it."""
    actions: list[Action] = []
    after = b""
    final = False
    for piece in pieces:
        if final:
            after += piece
            continue
        actions += machine.feed(piece)
        final = bool(actions) and isinstance(actions[-1], Connect | Forward | Refuse)
    return actions, machine.rest + after


def single_bytes(data: bytes) -> list[bytes]:
    return [data[index : index + 1] for index in range(len(data))]


def cut(data: bytes, places: Iterable[int]) -> list[bytes]:
    """The data in pieces, cut at these places (modulo its length)."""
    edges = sorted({0, len(data), *(place % (len(data) + 1) for place in places)})
    return [data[start:end] for start, end in itertools.pairwise(edges)]
