"""From a deposit to a book: what each side refuses (docs/protocol/07 §9)."""

from __future__ import annotations

from dataclasses import replace

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from tests.zknym.ecash_world import ENCODED_EXPIRATION, EXPIRATION, SPEND_DATE, TYPE, WORLD, World
from zknym import (
    BlindedSignature,
    DepositSignatureInvalid,
    IdentityCommitmentHash,
    IdentitySignature,
    InvalidArgument,
    IssuanceVerification,
    KeyTooShort,
    MalformedData,
    PendingTicketBook,
    RequestInfo,
    SignerSecretKey,
    SignRequest,
    TicketType,
    UserSecretKey,
    VerificationKey,
    VerificationKeyTooShort,
    WithdrawalRequestVerification,
    aggregate_wallet,
    blind_sign,
    request_withdrawal,
    sign_coin_indices,
    sign_expiration_date,
    unblind,
    verify_blinded_signature,
    verify_coin_indices,
    verify_expiration_date,
    verify_payment,
    withdrawal,
)
from zknym.curve import G1, G1_GENERATOR, G1_IDENTITY


def shortened(y_values: int) -> SignerSecretKey:
    secret = WORLD.signers[0].secret
    return replace(secret, ys=secret.ys[:y_values])


def test_keys_of_the_trusted_party_serve_as_well():
    """Five y values, of which the last is never used but always hashed."""
    world = World(y_values=5)
    payment, info = world.pay(tickets=2)
    verify_payment(payment, info, SPEND_DATE, world.master)
    first = world.signers[0].verification
    assert len(first.beta_g1) == 5
    truncated = VerificationKey(world.master.alpha, world.master.beta_g1[:4], world.master.beta_g2[:4])
    with pytest.raises(ValueError, match="proof"):
        verify_payment(payment, info, SPEND_DATE, truncated)


@pytest.mark.parametrize("size", [1, 2, 3])
def test_signing_keys_that_are_too_short(size):
    with pytest.raises(KeyTooShort):
        blind_sign(shortened(size), WORLD.user.public_key(), WORLD.request, ENCODED_EXPIRATION, TYPE)
    if size < 3:
        with pytest.raises(KeyTooShort):
            sign_coin_indices(shortened(size), WORLD.master)
        with pytest.raises(KeyTooShort):
            sign_expiration_date(shortened(size), ENCODED_EXPIRATION)


def test_three_y_values_suffice_for_the_public_sets():
    key = shortened(3).verification_key()
    coins = sign_coin_indices(shortened(3), WORLD.master)
    dates = sign_expiration_date(shortened(3), ENCODED_EXPIRATION)
    verify_coin_indices(coins, WORLD.master, key=key)
    verify_expiration_date(dates, ENCODED_EXPIRATION, key)
    for check in (
        lambda short: verify_coin_indices(coins, WORLD.master, key=short),
        lambda short: verify_expiration_date(dates, ENCODED_EXPIRATION, short),
    ):
        with pytest.raises(VerificationKeyTooShort):
            check(shortened(2).verification_key())


def test_verification_keys_that_are_too_short():
    short = shortened(3).verification_key()
    with pytest.raises(VerificationKeyTooShort):
        unblind(WORLD.blinded[1], WORLD.info, WORLD.user, short, 1)
    with pytest.raises(VerificationKeyTooShort):
        aggregate_wallet(WORLD.shares, WORLD.user, short)
    with pytest.raises(VerificationKeyTooShort):
        verify_blinded_signature(
            WORLD.blinded[1], WORLD.request.attribute_commitments, ENCODED_EXPIRATION, TYPE, short
        )


def test_signing_is_repeatable():
    again = blind_sign(
        WORLD.signers[0].secret, WORLD.user.public_key(), WORLD.request, ENCODED_EXPIRATION, TYPE
    )
    assert again == WORLD.blinded[1]


def test_requests_hide_their_user():
    one, _ = request_withdrawal(WORLD.user, ENCODED_EXPIRATION, TYPE)
    other, _ = request_withdrawal(WORLD.user, ENCODED_EXPIRATION, TYPE)
    assert one.commitment != other.commitment
    assert set(one.attribute_commitments).isdisjoint(other.attribute_commitments)


@pytest.mark.parametrize(
    ("expiration", "ticket_type", "user"),
    [
        (ENCODED_EXPIRATION + 86_400, TYPE, WORLD.user),
        (ENCODED_EXPIRATION, TicketType.MIXNET_EXIT, WORLD.user),
        (ENCODED_EXPIRATION, TYPE, UserSecretKey.from_seed(b"another")),
    ],
)
def test_requests_are_for_one_date_type_and_user(expiration, ticket_type, user):
    with pytest.raises(WithdrawalRequestVerification):
        WORLD.request.verify(user.public_key(), expiration, ticket_type)


def test_users_need_a_key():
    """A double spender with the key 0 would be revealed as nobody."""
    nobody = UserSecretKey(0)
    request, _ = request_withdrawal(nobody, ENCODED_EXPIRATION, TYPE)
    with pytest.raises(WithdrawalRequestVerification, match="infinity"):
        request.verify(nobody.public_key(), ENCODED_EXPIRATION, TYPE)


def test_commitments_at_infinity_are_drawn_again(monkeypatch):
    """It never happens; so the hash is made to."""
    hashes: list[G1] = []
    genuine = withdrawal.hash_to_g1

    def unlucky(message: bytes) -> G1:
        hashes.append(G1_IDENTITY if not hashes else genuine(message))
        return hashes[-1]

    monkeypatch.setattr(withdrawal, "hash_to_g1", unlucky)
    request, _ = request_withdrawal(WORLD.user, ENCODED_EXPIRATION, TYPE)
    monkeypatch.undo()
    assert len(hashes) == 2
    request.verify(WORLD.user.public_key(), ENCODED_EXPIRATION, TYPE)


def test_points_at_infinity():
    with pytest.raises(IdentityCommitmentHash):
        replace(WORLD.request, commitment_hash=G1_IDENTITY).verify(
            WORLD.user.public_key(), ENCODED_EXPIRATION, TYPE
        )
    nothing = BlindedSignature(G1_IDENTITY, G1_IDENTITY)
    with pytest.raises(IdentitySignature):
        unblind(
            nothing,
            replace(WORLD.info, commitment_hash=G1_IDENTITY),
            WORLD.user,
            WORLD.signers[0].verification,
            1,
        )
    with pytest.raises(IdentitySignature):
        verify_blinded_signature(
            nothing, (G1_IDENTITY, G1_IDENTITY), ENCODED_EXPIRATION, TYPE, WORLD.signers[0].verification
        )
    for component in ("h", "s"):
        share = WORLD.shares[0]
        broken = replace(share, signature=replace(share.signature, **{component: G1_IDENTITY}))
        with pytest.raises(IdentitySignature):
            aggregate_wallet([WORLD.shares[1], broken], WORLD.user, WORLD.master)
        book = replace(
            WORLD.book,
            wallet=replace(
                WORLD.wallet, signature=replace(WORLD.wallet.signature, **{component: G1_IDENTITY})
            ),
        )
        with pytest.raises(IdentitySignature):
            book.verify(WORLD.master)


def test_an_answer_to_another_request():
    """What a signer gives who was asked for the same deposit before."""
    _, other = request_withdrawal(WORLD.user, ENCODED_EXPIRATION, TYPE)
    with pytest.raises(IssuanceVerification, match="another request"):
        unblind(WORLD.blinded[1], other, WORLD.user, WORLD.signers[0].verification, 1)


def test_shares_of_different_books():
    request, info = request_withdrawal(WORLD.user, ENCODED_EXPIRATION, TYPE)
    signer = WORLD.signers[1]
    answer = blind_sign(signer.secret, WORLD.user.public_key(), request, ENCODED_EXPIRATION, TYPE)
    foreign = unblind(answer, info, WORLD.user, signer.verification, signer.index)
    with pytest.raises(InvalidArgument, match="different books"):
        aggregate_wallet([WORLD.shares[0], foreign], WORLD.user, WORLD.master)


def test_commitments_belong_to_the_answer():
    first, second = WORLD.request.attribute_commitments
    key = WORLD.signers[0].verification
    for commitments in ((second, first), (first + G1_GENERATOR, second), (first, second + G1_GENERATOR)):
        with pytest.raises(IssuanceVerification):
            verify_blinded_signature(WORLD.blinded[1], commitments, ENCODED_EXPIRATION, TYPE, key)


def signed() -> tuple[SignRequest, bytes]:
    pending = PendingTicketBook(77, bytes(range(32)), WORLD.user, TYPE, EXPIRATION)
    public = Ed25519PrivateKey.from_private_bytes(pending.signing_key).public_key()
    return pending.sign(WORLD.request), public.public_bytes_raw()


def test_signing_request():
    body, deposit_key = signed()
    body.verify(deposit_key)
    assert SignRequest.from_json(body.to_json()) == body == SignRequest.from_bincode(body.to_bincode())


@pytest.mark.parametrize(
    "change",
    [
        {"deposit_id": 78},
        {"signature": bytes(64)},
        {"request": request_withdrawal(WORLD.user, ENCODED_EXPIRATION, TYPE)[0]},
    ],
    ids=lambda change: next(iter(change)),
)
def test_signing_request_not_signed_by_its_deposit(change):
    body, deposit_key = signed()
    with pytest.raises(DepositSignatureInvalid):
        replace(body, **change).verify(deposit_key)
    with pytest.raises(DepositSignatureInvalid):
        body.verify(bytes(31))


@pytest.mark.parametrize(
    "change",
    [
        {"expiration": EXPIRATION.replace(day=1)},
        {"expiration": EXPIRATION.replace(year=1900)},
        {"ticket_type": TicketType.WIREGUARD_EXIT},
        {"user": UserSecretKey.from_seed(b"another").public_key()},
    ],
    ids=lambda change: " ".join(map(str, next(iter(change.items())))),
)
def test_signing_request_for_something_else(change):
    """Not signed, but bound by the proof inside."""
    body, deposit_key = signed()
    with pytest.raises(WithdrawalRequestVerification):
        replace(body, **change).verify(deposit_key)


def test_signing_request_with_a_signature_of_another_length():
    body, _ = signed()
    with pytest.raises(MalformedData):
        SignRequest.from_json(body.to_json() | {"signature": [0] * 63})
    with pytest.raises(MalformedData):
        SignRequest.from_bincode(replace(body, signature=bytes(63)).to_bincode())


@pytest.mark.parametrize(
    "info",
    [replace(WORLD.info, expiration=2**32), replace(WORLD.info, ticket_type=256)],
    ids=["date", "type"],
)
def test_secrets_of_an_impossible_request(info):
    with pytest.raises(MalformedData):
        RequestInfo.decode(info.encode())
    with pytest.raises(MalformedData):
        RequestInfo.from_json(info.to_json())
