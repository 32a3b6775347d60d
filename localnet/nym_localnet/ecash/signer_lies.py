"""What a signer answers that has gone bad: shares and signatures that look right and are not.

Pure. For tests of clients, which have to find out each of them by verifying.
"""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta

from nym_localnet.ecash.signer_faults import SignerFaults
from zknym import (
    BlindedSignature,
    CoinIndexSignature,
    CoinSignatureSet,
    DateSignatureSet,
    ExpirationDateSignature,
    Signature,
    SignerKeys,
    SignRequest,
    UserSecretKey,
    VerificationKey,
    blind_sign,
    encode_date,
    generate_signers,
    request_withdrawal,
)
from zknym.curve import G1
from zknym.generators import BASE_G1
from zknym.randomness import random_scalar


def bad_share(
    honest: BlindedSignature, request: SignRequest, keys: SignerKeys, faults: SignerFaults
) -> BlindedSignature:
    """The share as the faults want it; the honest one without any."""
    if faults.garbage_share:
        return BlindedSignature(honest.h, random_point())
    expiration = encode_date(request.expiration)
    if faults.other_share:
        stranger = UserSecretKey.generate()
        other, _ = request_withdrawal(stranger, expiration, request.ticket_type)
        return blind_sign(keys.secret, stranger.public_key(), other, expiration, request.ticket_type)
    if faults.wrong_key_share:
        (wrong,) = generate_signers(1, 1)
        return blind_sign(wrong.secret, request.user, request.request, expiration, request.ticket_type)
    return honest


def bad_master_key() -> VerificationKey:
    """The key of nobody."""
    return generate_signers(1, 1)[0].verification


def bad_coins(honest: CoinSignatureSet, faults: SignerFaults) -> CoinSignatureSet:
    """The coin-index signatures as the faults want them."""
    if faults.lie_coins:
        first, *rest = honest.signatures
        honest = replace(
            honest, signatures=(CoinIndexSignature(_spoiled(first.signature), first.index), *rest)
        )
    return replace(honest, epoch_id=honest.epoch_id + 1) if faults.lie_epoch else honest


def bad_dates(honest: DateSignatureSet, faults: SignerFaults) -> DateSignatureSet:
    """The date signatures as the faults want them."""
    if faults.lie_dates:
        first, *rest = honest.signatures
        spoiled = ExpirationDateSignature(_spoiled(first.signature), first.expiration, first.spend_date)
        honest = replace(honest, signatures=(spoiled, *rest))
    if faults.lie_date:
        honest = replace(honest, expiration=honest.expiration - timedelta(days=1))
    return replace(honest, epoch_id=honest.epoch_id + 1) if faults.lie_epoch else honest


def random_point() -> G1:
    """A point that belongs to nothing."""
    return BASE_G1.times(random_scalar())


def _spoiled(signature: Signature) -> Signature:
    return Signature(signature.h, random_point())
