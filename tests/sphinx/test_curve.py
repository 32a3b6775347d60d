"""The X25519 shortcut's pieces: clamped representatives and the check of node keys."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from nym_sphinx.curve import ORDER, clamped, is_on_curve, reduced, representative, x25519, x25519_base

scalars = st.binary(min_size=32, max_size=32)


@given(st.integers(0, ORDER - 1))
def test_representative_is_clamped_and_congruent(product):
    scalar = representative(product)
    assert scalar is not None or product < 2**128 or product > ORDER - 2**128
    if scalar is not None:
        value = int.from_bytes(scalar, "little")
        assert clamped(scalar) == value
        assert value % ORDER in {product, ORDER - product}


def test_products_without_a_representative_exist_at_the_rim():
    assert representative(0) is None


@given(scalars, scalars, scalars)
def test_one_call_does_what_two_do(first, second, node):
    point = x25519_base(node)
    chained = x25519(second, x25519(first, point))
    scalar = representative(clamped(first) * clamped(second) % ORDER)
    assert scalar is not None
    assert x25519(scalar, point) == chained


@given(scalars)
def test_honest_keys_are_on_the_curve(node):
    assert is_on_curve(x25519_base(node))


@given(scalars)
def test_curve_or_twist(key):
    """Multiplying by the order of the prime subgroup (times 8) kills a point of the curve, and none of the twist."""
    u = int.from_bytes(key, "little") & (2**255 - 1)
    if u % (2**255 - 19) in (0, 1, 2**255 - 20):
        return
    assert is_on_curve(key) is (ladder(8 * ORDER, u) == 0)


def ladder(scalar, u):
    """X25519 for any scalar, without clamping: a check on the check."""
    p = 2**255 - 19
    x2, z2, x3, z3 = 1, 0, u, 1
    for bit in bin(scalar)[2:]:
        if bit == "1":
            x2, z2, x3, z3 = x3, z3, x2, z2
        a, b = x2 + z2, x2 - z2
        aa, bb = a * a % p, b * b % p
        e = aa - bb
        da, cb = (x3 - z3) * a % p, (x3 + z3) * b % p
        x3, z3 = (da + cb) ** 2 % p, u * (da - cb) ** 2 % p
        x2, z2 = aa * bb % p, e * (aa + 121665 * e) % p
        if bit == "1":
            x2, z2, x3, z3 = x3, z3, x2, z2
    return x2 * pow(z2, p - 2, p) % p


@given(st.integers(1, 2**252 - 1))
def test_the_ladder_that_checks_is_right(scalar):
    value = scalar * 8 % 2**254 | 2**254
    assert ladder(value, 9) == int.from_bytes(x25519_base(value.to_bytes(32, "little")), "little")


def test_top_bit_is_ignored():
    key = x25519_base(bytes(range(32)))
    assert is_on_curve(key[:31] + bytes([key[31] | 0x80]))


@given(scalars)
def test_reduced(scalar):
    assert reduced(scalar) == int.from_bytes(scalar, "little") % ORDER
