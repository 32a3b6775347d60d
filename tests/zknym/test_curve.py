"""The border to the curve library, and the two ways in which products are made faster."""

from __future__ import annotations

import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.zknym.points import seeded, some_g1, some_g2
from zknym import MalformedPoint, MalformedScalar
from zknym.constants import G1_BYTES, G2_BYTES, GROUP_ORDER, WEIGHT_BITS
from zknym.curve import (
    G1,
    G1_GENERATOR,
    G1_IDENTITY,
    G2,
    G2_GENERATOR,
    G2_IDENTITY,
    decode_g1,
    decode_g2,
    decode_scalar,
    encode_g1,
    encode_g2,
    encode_scalar,
    g1_sum,
    g2_sum,
    invert,
    native,
    pairings_cancel,
)
from zknym.endomorphism import CUBE_ROOT, FIELD_PRIME, PARAMETER, SCALE_X, SCALE_Y, times_g1, times_g2
from zknym.fixed_base import fixed_g1, fixed_g2
from zknym.randomness import random_scalar, random_weight

scalars = st.integers(0, GROUP_ORDER - 1)


@given(scalars)
def test_scalars_round_trip(value):
    assert decode_scalar(encode_scalar(value)) == value
    assert int(native(value)) == value
    assert int(native(value - GROUP_ORDER)) == value


@pytest.mark.parametrize("data", [b"", bytes(31), bytes(33), encode_scalar(1) + b"\0"])
def test_scalars_have_32_bytes(data):
    with pytest.raises(MalformedScalar):
        decode_scalar(data)


@pytest.mark.parametrize("size", [0, 1, 47, 49, 96])
def test_g1_points_have_48_bytes(size):
    with pytest.raises(MalformedPoint):
        decode_g1(encode_g1(G1_GENERATOR).ljust(size, b"\0")[:size])


@pytest.mark.parametrize("size", [0, 1, 48, 95, 97])
def test_g2_points_have_96_bytes(size):
    with pytest.raises(MalformedPoint):
        decode_g2(encode_g2(G2_GENERATOR).ljust(size, b"\0")[:size])


@given(st.binary(min_size=48, max_size=48), st.sampled_from([0x40, 0xC0, 0x60, 0xE0]))
def test_infinity_has_one_encoding_in_g1(data, flags):
    odd = bytes([data[0] | flags]) + data[1:]
    if odd == encode_g1(G1_IDENTITY):
        return
    with pytest.raises(MalformedPoint):
        decode_g1(odd)


@given(st.integers(0, 8 * 96 - 1), st.sampled_from([0x40, 0xC0, 0x60, 0xE0]))
def test_infinity_has_one_encoding_in_g2(bit, flags):
    odd = bytearray(96)
    odd[bit // 8] |= 1 << bit % 8
    odd[0] |= flags
    if bytes(odd) == encode_g2(G2_IDENTITY):
        return
    with pytest.raises(MalformedPoint):
        decode_g2(bytes(odd))


def test_infinity_itself_is_read():
    assert decode_g1(b"\xc0" + bytes(G1_BYTES - 1)) == G1_IDENTITY
    assert decode_g2(b"\xc0" + bytes(G2_BYTES - 1)) == G2_IDENTITY


def test_points_outside_of_the_subgroup_are_refused():
    """Most x with a point on the curve have one outside of the prime-order subgroup."""
    found = 0
    for x in range(60):
        data = bytes([0x80]) + x.to_bytes(47, "big")
        try:
            point = G1.from_compressed_bytes_unchecked(data)
        except ValueError:
            continue
        if not point.is_in_subgroup():
            found += 1
            with pytest.raises(MalformedPoint):
                decode_g1(data)
    assert found > 5


@given(st.data())
@settings(max_examples=40)
def test_any_accepted_point_encodes_to_the_same_bytes(data):
    original = encode_g1(some_g1(data.draw(st.integers(0, 9))))
    position = data.draw(st.integers(0, 47))
    changed = bytearray(original)
    changed[position] ^= data.draw(st.integers(1, 255))
    try:
        point = decode_g1(bytes(changed))
    except MalformedPoint:
        return
    assert encode_g1(point) == bytes(changed)


def test_sums():
    assert g1_sum([]) == G1_IDENTITY
    assert g2_sum([]) == G2_IDENTITY
    assert g1_sum([(some_g1(1), 3), (some_g1(2), -1)]) == some_g1(1) * native(3) - some_g1(2)
    assert g2_sum([(some_g2(1), 3), (some_g2(2), -1)]) == some_g2(1) * native(3) - some_g2(2)


def test_pairings():
    a, b = seeded("a")(), seeded("b")()
    left, right = G1_GENERATOR * native(a), G2_GENERATOR * native(b)
    assert pairings_cancel([(left, right), (-G1_GENERATOR * native(a * b), G2_GENERATOR)])
    assert not pairings_cancel([(left, right), (-G1_GENERATOR * native(a * b + 1), G2_GENERATOR)])


@given(st.integers(1, GROUP_ORDER - 1))
def test_inverse(value):
    assert value * invert(value) % GROUP_ORDER == 1


@given(scalars, st.integers(0, 9))
@settings(max_examples=30)
def test_endomorphisms_multiply(scalar, seed):
    one, two = some_g1(seed), some_g2(seed)
    assert times_g1(one, scalar) == one * native(scalar)
    assert times_g1(-one, scalar - GROUP_ORDER) == -one * native(scalar)
    assert times_g2(two, scalar) == two * native(scalar)
    assert times_g2(-two, scalar - GROUP_ORDER) == -two * native(scalar)


@pytest.mark.parametrize(
    "scalar", [0, 1, 2, PARAMETER - 1, PARAMETER, PARAMETER**2, PARAMETER**3, GROUP_ORDER - 1, GROUP_ORDER]
)
def test_endomorphisms_at_the_edges(scalar):
    assert times_g1(G1_GENERATOR, scalar) == G1_GENERATOR * native(scalar)
    assert times_g1(G1_IDENTITY, scalar) == G1_IDENTITY
    assert times_g2(G2_GENERATOR, scalar) == G2_GENERATOR * native(scalar)
    assert times_g2(G2_IDENTITY, scalar) == G2_IDENTITY


def test_constants_of_the_endomorphism():
    """They follow from the curve: powers of 1 + u in the quadratic extension with u² = -1."""

    def power(exponent: int) -> tuple[int, int]:
        result, base = (1, 0), (1, 1)
        while exponent:
            if exponent & 1:
                result = product(result, base)
            base = product(base, base)
            exponent >>= 1
        return result

    def product(a: tuple[int, int], b: tuple[int, int]) -> tuple[int, int]:
        return (a[0] * b[0] - a[1] * b[1]) % FIELD_PRIME, (a[0] * b[1] + a[1] * b[0]) % FIELD_PRIME

    x = -PARAMETER
    assert x**4 - x**2 + 1 == GROUP_ORDER
    assert (x - 1) ** 2 * GROUP_ORDER // 3 + x == FIELD_PRIME
    assert CUBE_ROOT != 1 == pow(CUBE_ROOT, 3, FIELD_PRIME)
    assert product(power((FIELD_PRIME - 1) // 3), (0, SCALE_X)) == (1, 0)
    assert product(power((FIELD_PRIME - 1) // 2), (SCALE_Y, FIELD_PRIME - SCALE_Y)) == (1, 0)


@pytest.mark.parametrize(
    ("point", "fixed"), [(some_g1("base"), fixed_g1), (some_g2("base"), fixed_g2)], ids=["g1", "g2"]
)
def test_fixed_bases_multiply_with_and_without_tables(point, fixed):
    base = fixed(point)
    source = random.Random(5)
    edges = [0, 1, 2, GROUP_ORDER - 1, GROUP_ORDER, -1, 2**32, 2**31, 2**255, 255 << 248]
    chosen = [*edges, *(source.randrange(GROUP_ORDER) for _ in range(30)), *edges]
    for scalar in chosen:
        assert base.times(scalar) == point * native(scalar)
    assert base.point == point


def test_random_values_are_wide_enough():
    assert WEIGHT_BITS >= 128
    scalars_drawn = [random_scalar() for _ in range(64)]
    assert len(set(scalars_drawn)) == 64
    assert all(0 <= scalar < GROUP_ORDER for scalar in scalars_drawn)
    assert max(scalars_drawn).bit_length() > 250
    weights = [random_weight() for _ in range(64)]
    assert len(set(weights)) == 64
    assert 120 < max(weights).bit_length() <= WEIGHT_BITS


def test_types_of_the_library():
    assert isinstance(some_g1(0), G1)
    assert isinstance(some_g2(0), G2)
