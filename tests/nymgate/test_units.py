"""Durations and sizes: parsed as written, written as parsed, refused without a unit."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nymgate.units import format_duration, format_size, human_bytes, parse_duration, parse_size


@pytest.mark.parametrize(
    "text, seconds",
    [
        ("500ms", 0.5),
        ("10s", 10),
        ("10m", 600),
        ("1h30m", 5400),
        ("1d", 86400),
        ("1.5h", 5400),
        ("0s", 0),
        (" 2m ", 120),
        ("never", math.inf),
    ],
)
def test_durations_are_read(text, seconds):
    assert parse_duration(text) == seconds


@pytest.mark.parametrize(
    "text", ["", "10", "s", "10 s", "ten minutes", "-5s", "10m!", "1e3s", "9" * 400 + "d", "Never"]
)
def test_anything_else_is_no_duration(text):
    with pytest.raises(ValueError, match="not a duration"):
        parse_duration(text)


@given(st.integers(min_value=0, max_value=10**10))
def test_a_duration_survives_writing_and_reading(milliseconds):
    assert round(parse_duration(format_duration(milliseconds / 1000)) * 1000) == milliseconds


def test_never_survives_writing_and_reading():
    assert format_duration(parse_duration("never")) == "never"


@pytest.mark.parametrize(
    "text, size",
    [("0B", 0), ("512B", 512), ("64KiB", 65536), ("1kB", 1000), ("1.5MB", 1_500_000), ("2 GiB", 2 << 30)],
)
def test_sizes_are_read(text, size):
    assert parse_size(text) == size


@pytest.mark.parametrize("text", ["", "64", "KiB", "64kib", "-1B", "1 TB", "1 2B"])
def test_anything_else_is_no_size(text):
    with pytest.raises(ValueError, match="not a size"):
        parse_size(text)


@given(st.integers(min_value=0, max_value=2**50))
def test_a_size_survives_writing_and_reading(size):
    assert parse_size(format_size(size)) == size


@pytest.mark.parametrize(
    "size, text",
    [
        (0, "0 B"),
        (999, "999 B"),
        (1000, "1.0 kB"),
        (99_940, "99.9 kB"),
        (478e6, "478 MB"),
        (11.5e9, "11.5 GB"),
        (5e12, "5000 GB"),
    ],
)
def test_sizes_for_people(size, text):
    assert human_bytes(size) == text
