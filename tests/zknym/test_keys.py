"""Keys of signers and users, and how a key is shared among signers (docs/protocol/07 §4, §5)."""

from __future__ import annotations

from dataclasses import replace
from itertools import combinations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.zknym.points import seeded, some_g1, some_g2
from zknym import (
    AggregationDuplicateIndices,
    AggregationEmptySet,
    AggregationSizeMismatch,
    EcashError,
    InvalidArgument,
    KeygenParameters,
    MalformedData,
    MalformedText,
    SignerSecretKey,
    UserPublicKey,
    UserSecretKey,
    VerificationKey,
    VerificationKeyTooShort,
    WrongLength,
    aggregate_verification_keys,
    generate_signers,
    lagrange_at_origin,
)
from zknym.bincode import Reader
from zknym.constants import GROUP_ORDER, TYPE_COIN_INDEX
from zknym.curve import native


def secret(y_values: int) -> SignerSecretKey:
    draw = seeded(y_values)
    return SignerSecretKey(draw(), tuple(draw() for _ in range(y_values)))


@pytest.mark.parametrize("y_values", [1, 3, 4, 5, 64])
def test_signer_keys_keep_their_length(y_values):
    key = secret(y_values)
    assert len(key.encode()) == 40 + 32 * y_values
    assert SignerSecretKey.decode(key.encode()) == key
    assert SignerSecretKey.from_pem(key.to_pem()) == key
    public = key.verification_key()
    assert len(public.encode()) == 104 + 144 * y_values
    assert VerificationKey.decode(public.encode()) == public
    assert VerificationKey.from_pem(public.to_pem()) == public
    assert VerificationKey.from_base58(public.to_base58()) == public
    assert VerificationKey.from_json(public.to_json()) == public
    assert hash(public) == hash(VerificationKey.decode(public.encode()))
    reader = Reader(public.field())
    assert VerificationKey.read(reader) == public
    reader.finish()


def test_sizes_on_the_network():
    assert len(secret(4).encode()) == 168
    assert len(secret(4).verification_key().encode()) == 680
    assert len(secret(5).verification_key().encode()) == 824


@pytest.mark.parametrize("key", [secret(4), secret(4).verification_key()], ids=["secret", "public"])
def test_signer_keys_of_the_wrong_length(key):
    data, decode = key.encode(), type(key).decode
    for wrong in (b"", data[:-1], data + b"\0", data[:33], data[:104]):
        with pytest.raises(WrongLength):
            decode(wrong)
    head = 32 if isinstance(key, SignerSecretKey) else 96
    for count in (0, 3, 5, 65, 2**64 - 1):
        with pytest.raises(WrongLength):
            decode(data[:head] + count.to_bytes(8, "little") + data[head + 8 :])
    with pytest.raises(MalformedData):
        decode(b"\xff" * 32 + data[32:])
    other = VerificationKey if isinstance(key, SignerSecretKey) else SignerSecretKey
    with pytest.raises(MalformedText):
        other.from_pem(key.to_pem())


def test_verification_keys_that_cannot_be():
    public = secret(4).verification_key()
    with pytest.raises(InvalidArgument):
        replace(public, beta_g1=public.beta_g1[:3])
    with pytest.raises(InvalidArgument):
        replace(public, beta_g1=(), beta_g2=())
    json = public.to_json()
    for wrong in (json | {"beta_g1": []}, json | {"beta_g2": json["beta_g2"] * 17}, {"alpha": json["alpha"]}):
        with pytest.raises(MalformedData):
            VerificationKey.from_json(wrong)
    with pytest.raises(MalformedData):
        VerificationKey.read(Reader(b"\x60" + public.encode()[:96] + b"\0\0"))


def test_tables_for_short_keys():
    with pytest.raises(VerificationKeyTooShort):
        _ = secret(2).verification_key().prepared
    key = secret(3).verification_key()
    assert key.prepared is key.prepared
    assert key.prepared.coin_shift == (key.beta_g2[1] + key.beta_g2[2]) * native(TYPE_COIN_INDEX)
    with pytest.raises(VerificationKeyTooShort):
        key.prepared.type_point(0)


def test_tables_keep_few_dates():
    prepared = secret(4).verification_key().prepared
    points = {day: prepared.spend_date_point(day) for day in range(20)}
    assert all(prepared.spend_date_point(day) == point for day, point in points.items())
    assert len(set(map(str, points.values()))) == 20


def test_user_keys():
    user = UserSecretKey.generate()
    assert user != UserSecretKey.generate()
    assert UserSecretKey.decode(user.encode()) == user == UserSecretKey.from_json(user.to_json())
    public = user.public_key()
    assert UserPublicKey.decode(public.encode()) == public == UserPublicKey.from_json(public.to_json())
    assert UserPublicKey.from_base58(public.to_base58()) == public
    assert UserSecretKey.decode_pair(user.encode_pair()) == user
    for wrong in (
        user.encode() + some_public().encode(),
        user.encode_pair()[:-1],
        user.encode_pair() + b"\0",
        b"",
    ):
        with pytest.raises(MalformedData):
            UserSecretKey.decode_pair(wrong)


def some_public() -> UserPublicKey:
    return UserPublicKey(some_g1("user"))


@pytest.mark.parametrize(
    ("threshold", "signers", "y_values"), [(0, 1, 4), (2, 1, 4), (-1, 3, 4), (1, 0, 4), (1, 1, 3)]
)
def test_impossible_sets_of_signers(threshold, signers, y_values):
    with pytest.raises(KeygenParameters):
        generate_signers(threshold, signers, y_values=y_values)


@pytest.mark.parametrize("y_values", [4, 5])
def test_every_threshold_of_signers_has_the_same_key(y_values):
    signers = generate_signers(2, 4, y_values=y_values)
    keys = {
        aggregate_verification_keys([(s.index, s.verification) for s in chosen])
        for size in (2, 3, 4)
        for chosen in combinations(signers, size)
    }
    assert len(keys) == 1
    assert keys.pop() != aggregate_verification_keys([(1, signers[0].verification)])


def test_keys_of_different_length_do_not_mix():
    with pytest.raises(AggregationSizeMismatch):
        aggregate_verification_keys([(1, secret(4).verification_key()), (2, secret(5).verification_key())])


@given(
    st.lists(st.integers(1, 2**64 - 1), min_size=1, max_size=6, unique=True),
    st.lists(st.integers(0, GROUP_ORDER - 1), min_size=6, max_size=6),
)
@settings(max_examples=50)
def test_interpolation_finds_the_constant(indices, coefficients):
    polynomial = coefficients[: len(indices)]
    values = [sum(c * i**k for k, c in enumerate(polynomial)) for i in indices]
    factors = lagrange_at_origin(indices)
    found = sum(value * factor for value, factor in zip(values, factors, strict=True)) % GROUP_ORDER
    assert found == polynomial[0]


@pytest.mark.parametrize(
    ("indices", "error"),
    [
        ([], AggregationEmptySet),
        ([1, 2, 1], AggregationDuplicateIndices),
        ([0, 1], InvalidArgument),
        ([1, 2**64], InvalidArgument),
        ([-1], InvalidArgument),
    ],
)
def test_impossible_sets_of_indices(indices, error):
    with pytest.raises(error):
        lagrange_at_origin(indices)
    assert issubclass(error, EcashError)


def test_points_of_the_tests_are_repeatable():
    assert some_g1(1) == some_g1(1) != some_g1(2)
    assert some_g2(1) == some_g2(1) != some_g2(2)
