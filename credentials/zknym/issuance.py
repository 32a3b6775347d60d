"""The signer's side of a withdrawal (docs/protocol/07 §9.2)."""

from __future__ import annotations

from zknym.constants import SIGNED_ATTRIBUTES
from zknym.curve import G1, G1_IDENTITY, G2_GENERATOR, g1_sum, g2_sum, pairings_cancel
from zknym.dates import EncodedDate
from zknym.errors import IdentitySignature, IssuanceVerification, KeyTooShort, VerificationKeyTooShort
from zknym.signatures import BlindedSignature
from zknym.signer_keys import SignerSecretKey, VerificationKey
from zknym.user_keys import UserPublicKey
from zknym.withdrawal import WithdrawalRequest


def blind_sign(
    secret: SignerSecretKey,
    user: UserPublicKey,
    request: WithdrawalRequest,
    expiration: EncodedDate,
    ticket_type: int,
) -> BlindedSignature:
    """Verifies the request and signs it: the same request always gets the same answer.

    The deposit, its signature and the date limits are the caller's to check (docs/protocol/09 §3.2).
    Raises `IdentityCommitmentHash`, `WithdrawalRequestVerification`, `KeyTooShort`.
    """
    request.verify(user, expiration, ticket_type)
    if len(secret.ys) < SIGNED_ATTRIBUTES:
        raise KeyTooShort(f"signing books needs {SIGNED_ATTRIBUTES} y values, this key has {len(secret.ys)}")
    h = request.commitment_hash
    first, second = request.attribute_commitments
    public = secret.x + secret.ys[2] * expiration + secret.ys[3] * ticket_type
    return BlindedSignature(h, g1_sum([(first, secret.ys[0]), (second, secret.ys[1]), (h, public)]))


def verify_blinded_signature(
    blinded: BlindedSignature,
    attribute_commitments: tuple[G1, G1],
    expiration: EncodedDate,
    ticket_type: int,
    key: VerificationKey,
) -> None:
    """What an auditor can check without any secret: that the holder of `key` signed these commitments.

    Raises `IdentitySignature`, `IssuanceVerification`, `VerificationKeyTooShort`.
    """
    if len(key.beta_g2) < SIGNED_ATTRIBUTES:
        raise VerificationKeyTooShort(f"checking books needs a key of {SIGNED_ATTRIBUTES} y values")
    if blinded.h == G1_IDENTITY:
        raise IdentitySignature("the blinded signature is the point at infinity")
    first, second = attribute_commitments
    public = g2_sum([(key.alpha, 1), (key.beta_g2[2], expiration), (key.beta_g2[3], ticket_type)])
    if not pairings_cancel(
        [
            (-blinded.c, G2_GENERATOR),
            (blinded.h, public),
            (first, key.beta_g2[0]),
            (second, key.beta_g2[1]),
        ]
    ):
        raise IssuanceVerification("the blinded signature does not belong to this request and key")
