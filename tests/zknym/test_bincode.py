"""The serialisation that all structures share: one value, one encoding (docs/protocol/07 §13.1)."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.zknym.points import some_g1, some_g2
from zknym import MalformedBincode
from zknym.bincode import (
    Reader,
    byte_string,
    g1_field,
    g2_field,
    option,
    scalar_field,
    signed_varint,
    varint,
    vector,
)
from zknym.constants import MAX_U32, MAX_U64

EDGES = [
    (0, "00"),
    (250, "fa"),
    (251, "fb00fb"),
    (2**16 - 1, "fbffff"),
    (2**16, "fc00010000"),
    (MAX_U32, "fcffffffff"),
    (MAX_U32 + 1, "fd0000000100000000"),
    (MAX_U64, "fdffffffffffffffff"),
]


@pytest.mark.parametrize(("value", "encoded"), EDGES)
def test_width_of_integers(value, encoded):
    assert varint(value).hex() == encoded
    reader = Reader(bytes.fromhex(encoded))
    assert reader.varint() == value
    reader.finish()


@given(st.integers(0, MAX_U64))
def test_integers_round_trip(value):
    assert Reader(varint(value)).varint() == value


@given(st.integers(-(2**31), 2**31 - 1))
def test_signed_integers_round_trip(value):
    assert Reader(signed_varint(value)).signed_varint() == value


@pytest.mark.parametrize(("value", "encoded"), [(0, 0), (-1, 1), (1, 2), (-2, 3), (2026, 4052)])
def test_signed_integers_are_zigzag(value, encoded):
    assert signed_varint(value) == varint(encoded)


@pytest.mark.parametrize(
    "encoded",
    ["fb00fa", "fb0030", "fc0000ffff", "fd00000000ffffffff", "fe" + 32 * "0", "ff00", "fb00", "fc", ""],
)
def test_over_long_unknown_and_short_integers(encoded):
    with pytest.raises(MalformedBincode):
        Reader(bytes.fromhex(encoded)).varint()


def test_integers_out_of_range():
    assert Reader(varint(9)).varint(9) == 9
    with pytest.raises(MalformedBincode):
        Reader(varint(10)).varint(9)
    with pytest.raises(MalformedBincode):
        Reader(varint(MAX_U32 + 1)).signed_varint()


@given(st.lists(st.integers(0, MAX_U64), max_size=9))
def test_lists_round_trip(values):
    reader = Reader(vector(values, varint))
    assert reader.vector(reader.varint, 9) == tuple(values)
    reader.finish()


def test_lists_are_bounded_before_they_are_read():
    read = []
    reader = Reader(varint(MAX_U64) + bytes(99))
    with pytest.raises(MalformedBincode, match="above 3"):
        reader.vector(lambda: read.append(reader.u8()), 3)
    short = Reader(vector([1], varint))
    with pytest.raises(MalformedBincode):
        short.vector(short.varint, 2, 2)
    assert not read


def test_options():
    for value in (None, 7):
        reader = Reader(option(value, varint))
        assert reader.option(reader.varint) == value
        reader.finish()
    wrong = Reader(b"\x02\x07")
    with pytest.raises(MalformedBincode):
        wrong.option(wrong.varint)


def test_texts():
    assert Reader(byte_string(b"2026-05-31")).text() == "2026-05-31"
    with pytest.raises(MalformedBincode):
        Reader(byte_string(b"\xff")).text()


@pytest.mark.parametrize(
    ("encoded", "read", "value"),
    [
        (scalar_field(5), Reader.scalar, 5),
        (g1_field(some_g1(1)), Reader.g1, some_g1(1)),
        (g2_field(some_g2(1)), Reader.g2, some_g2(1)),
    ],
    ids=["scalar", "g1", "g2"],
)
def test_points_and_scalars_carry_their_length(encoded, read, value):
    assert encoded[0] == len(encoded) - 1
    reader = Reader(encoded)
    assert read(reader) == value
    reader.finish()
    for wrong in (
        bytes([encoded[0] - 1]) + encoded[1:],
        bytes([encoded[0] + 1]) + encoded[1:] + b"\0",
        encoded[:-1],
        b"\xfb\x00" + encoded,
        bytes([encoded[0]]) + b"\xff" * encoded[0],
    ):
        with pytest.raises(MalformedBincode):
            read(Reader(wrong))


def test_nothing_may_be_left_over():
    reader = Reader(b"\x01\x02")
    assert reader.u8() == 1
    with pytest.raises(MalformedBincode, match="1 bytes left over"):
        reader.finish()
    assert reader.u8() == 2
    with pytest.raises(MalformedBincode):
        reader.u8()
    with pytest.raises(MalformedBincode):
        reader.take(1)
