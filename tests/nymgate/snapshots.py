"""Snapshots for tests: any at all, by their types."""

import dataclasses
import types
import typing
from collections.abc import Mapping
from enum import Enum

from hypothesis import strategies as st

from nymgate.watch.snapshot import SHORT, Histogram, Snapshot

WORDS = st.sampled_from(["ok", "ready", "E_EXIT_SILENT", "127.0.0.1:1080", "v1-mixnet-entry", "day"])
NUMBERS = st.floats(0, 1e9, allow_nan=False).map(lambda value: round(value, 3))
COUNTS = st.integers(0, 1 << 40)


@st.composite
def histograms(draw):
    shape = draw(st.sampled_from([Histogram(), SHORT]))
    counts = draw(st.lists(st.integers(0, 1000), min_size=len(shape.counts), max_size=len(shape.counts)))
    return Histogram(shape.bounds, tuple(counts), float(draw(st.integers(0, 1000))))


def of(hint):
    """Values of a type of the snapshot."""
    origin, arguments = typing.get_origin(hint), typing.get_args(hint)
    if origin in (typing.Union, types.UnionType):
        return st.one_of(*(st.none() if one is type(None) else of(one) for one in arguments))
    if hint is Histogram:
        return histograms()
    if dataclasses.is_dataclass(hint):
        return records(hint)
    if origin is tuple:
        return st.lists(of(arguments[0]), max_size=3).map(tuple)
    if origin is not None and issubclass(origin, Mapping):
        return st.dictionaries(WORDS, of(arguments[1]), max_size=3)
    if issubclass(hint, Enum):
        return st.sampled_from(list(hint))
    return {int: COUNTS, float: NUMBERS, str: WORDS, bool: st.booleans()}[hint]


def records(kind):
    """Records of a class of the snapshot."""
    hints = typing.get_type_hints(kind)
    return st.builds(kind, **{item.name: of(hints[item.name]) for item in dataclasses.fields(kind)})


def snapshots():
    """Any snapshot."""
    return records(Snapshot)
