"""Making a payment out of a book (docs/protocol/07 §10).

The caller keeps count: it must have stored that tickets `spent` … `spent + tickets - 1` are gone *before*
the payment leaves the machine. Paying one ticket to two gateways reveals the user's public key to
anybody who sees both payments (`zknym.identify`).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from zknym.coin_signatures import CoinIndexSignature
from zknym.constants import GROUP_ORDER, TICKETS_PER_BOOK
from zknym.curve import G1, G2, invert, native
from zknym.date_signatures import ExpirationDateSignature
from zknym.dates import EncodedDate, spend_date_index, spend_dates
from zknym.errors import (
    InsufficientNumberOfExpirationSignatures,
    InsufficientNumberOfIndexSignatures,
    InvalidArgument,
    SpendExceedsAllowance,
    UnluckiestDraw,
)
from zknym.generators import BASE_G1, BASE_G2, DELTA, GAMMA
from zknym.pay_info import PayInfo
from zknym.payment import Payment, SpendProof
from zknym.prepared_key import PreparedKey
from zknym.randomness import Draw, random_scalar
from zknym.signatures import Signature
from zknym.signer_keys import VerificationKey
from zknym.spend_proof import Commitments, Statement, spend_challenge
from zknym.user_keys import UserSecretKey
from zknym.wallet import Wallet, WalletSignatures

_GAMMA = GAMMA[1]


@dataclass(frozen=True, slots=True, repr=False)
class _Coin:
    """The secrets of one ticket inside of one payment, named as in the specification."""

    index: int
    oa: int
    m: int
    om: int
    factor: int
    signature: Signature
    rk: int
    kappa_k: G2


@dataclass(frozen=True, slots=True, repr=False)
class Witness:
    """Everything that a payment's proof is about. `rks` is empty in every payment that is sent."""

    sk: int
    v: int
    expiration: EncodedDate
    r: int
    re: int
    oc: int
    coins: tuple[_Coin, ...]
    rks: tuple[int, ...] = ()


def spend(
    book: WalletSignatures,
    user: UserSecretKey,
    master: VerificationKey,
    pay_info: PayInfo,
    *,
    spent: int,
    spend_date: EncodedDate,
    date_signatures: Sequence[ExpirationDateSignature],
    coin_signatures: Sequence[CoinIndexSignature],
    tickets: int = 1,
    tickets_per_book: int = TICKETS_PER_BOOK,
    draw: Draw = random_scalar,
) -> Payment:
    """Pays `tickets` tickets, the first of them number `spent`, valid on `spend_date` only.

    The two signature sets are those of the book's expiration date and of its epoch, verified before and
    in order. Gateways take payments of one ticket.

    Raises `SpendExceedsAllowance`, `SpendDateTooEarly`, `SpendDateTooLate`, and for wrong arguments
    `InsufficientNumberOfExpirationSignatures`, `InsufficientNumberOfIndexSignatures`,
    `VerificationKeyTooShort`, `InvalidArgument`.
    """
    if tickets < 1 or spent < 0:
        raise InvalidArgument("a payment needs at least one ticket, and ticket numbers start at 0")
    if spent + tickets > tickets_per_book:
        raise SpendExceedsAllowance(tickets, max(tickets_per_book - spent, 0))
    key = master.prepared
    key.type_point(book.ticket_type)  # refuses a key that could not verify the payment
    days = spend_dates(book.expiration)
    if [(item.expiration, item.spend_date) for item in date_signatures] != [
        (book.expiration, day) for day in days
    ]:
        raise InsufficientNumberOfExpirationSignatures(
            f"spending needs the {len(days)} date signatures of the book's expiration date, in order"
        )
    if [item.index for item in coin_signatures] != list(range(tickets_per_book)):
        raise InsufficientNumberOfIndexSignatures(
            f"spending needs the {tickets_per_book} coin-index signatures of the book's epoch, in order"
        )
    day = spend_date_index(spend_date, book.expiration)

    signature, r = book.signature.randomised(draw)
    date_signature, re = date_signatures[day].signature.randomised(draw)
    oc = draw()
    coins = tuple(
        _coin(spent + k, pay_info.factor(k), book.wallet_secret, oc, coin_signatures, key, draw)
        for k in range(tickets)
    )
    witness = Witness(user.scalar, book.wallet_secret, book.expiration, r, re, oc, coins)
    statement = state(witness, key)
    return Payment(
        kappa=statement.kappa,
        kappa_e=statement.kappa_e,
        signature=signature,
        date_signature=date_signature,
        kappa_k=statement.kappa_k,
        coin_signatures=tuple(coin.signature for coin in coins),
        serial_numbers=statement.serial_numbers,
        tags=statement.tags,
        commitments_a=statement.commitments_a,
        spend_value=tickets,
        commitment_c=statement.commitment_c,
        ticket_type=book.ticket_type,
        proof=prove(witness, statement, master, pay_info, draw),
    )


def spend_from_wallet(
    wallet: Wallet,
    user: UserSecretKey,
    master: VerificationKey,
    pay_info: PayInfo,
    *,
    spend_date: EncodedDate,
    date_signatures: Sequence[ExpirationDateSignature],
    coin_signatures: Sequence[CoinIndexSignature],
    tickets: int = 1,
    tickets_per_book: int = TICKETS_PER_BOOK,
    draw: Draw = random_scalar,
) -> tuple[Payment, Wallet]:
    """`spend` of the next tickets, and the wallet without them: store it before the payment is sent."""
    payment = spend(
        wallet.signatures,
        user,
        master,
        pay_info,
        spent=wallet.tickets_spent,
        spend_date=spend_date,
        date_signatures=date_signatures,
        coin_signatures=coin_signatures,
        tickets=tickets,
        tickets_per_book=tickets_per_book,
        draw=draw,
    )
    return payment, replace(wallet, tickets_spent=wallet.tickets_spent + tickets)


def _coin(
    index: int,
    factor: int,
    v: int,
    oc: int,
    coin_signatures: Sequence[CoinIndexSignature],
    key: PreparedKey,
    draw: Draw,
) -> _Coin:
    denominator = (v + index + 1) % GROUP_ORDER
    if not denominator:
        raise UnluckiestDraw("this ticket has no serial number: skip it and spend the next one")
    oa = draw()
    m = invert(denominator)
    signature, rk = coin_signatures[index].signature.randomised(draw)
    kappa_k = BASE_G2.times(rk) + key.alpha.point + key.betas[0].point * native(index)
    return _Coin(index, oa, m, -(oa + oc) * m % GROUP_ORDER, factor, signature, rk, kappa_k)


def state(witness: Witness, key: PreparedKey) -> Statement:
    """The points that the proof will be about."""
    alpha, betas = key.alpha.point, key.betas
    dated = alpha + betas[2].point * native(witness.expiration)
    return Statement(
        kappa=BASE_G2.times(witness.r) + dated + betas[0].times(witness.sk) + betas[1].times(witness.v),
        kappa_e=BASE_G2.times(witness.re) + alpha + betas[0].point * native(witness.expiration),
        kappa_k=tuple(coin.kappa_k for coin in witness.coins),
        serial_numbers=tuple(DELTA.times(coin.m) for coin in witness.coins),
        tags=tuple(BASE_G1.times(witness.sk + coin.m * coin.factor) for coin in witness.coins),
        commitments_a=tuple(BASE_G1.times(coin.oa) + _GAMMA.times(coin.index) for coin in witness.coins),
        commitment_c=BASE_G1.times(witness.oc) + _GAMMA.times(witness.v),
    )


def prove(
    witness: Witness, statement: Statement, master: VerificationKey, pay_info: PayInfo, draw: Draw
) -> SpendProof:
    """The proof that `statement` was formed from a witness as it should be.

    The verifier multiplies points that it got; the prover knows what they are made of and multiplies
    fixed bases only, which is much faster.
    """
    key, coins = master.prepared, witness.coins

    def one_each(items: Sequence[object]) -> list[int]:
        return [draw() for _ in items]

    n_sk, n_v, n_date = draw(), draw(), draw()
    n_r, n_re, n_oc = draw(), draw(), draw()
    n_rk = one_each(witness.rks)
    n_l, n_oa, n_m, n_om = one_each(coins), one_each(coins), one_each(coins), one_each(coins)
    alpha, betas = key.alpha.point, key.betas

    def gamma_relation(coin: _Coin, nonce_m: int, nonce_om: int) -> G1:
        """(A + C + γ)·nonce_m + g1·nonce_om, from A + C + γ = g1·(oa + oc) + γ·(l + v + 1)."""
        on_base = (coin.oa + witness.oc) * nonce_m + nonce_om
        return BASE_G1.times(on_base) + _GAMMA.times((coin.index + witness.v + 1) * nonce_m)

    commitments = Commitments(
        kappa=BASE_G2.times(n_r)
        + alpha
        + betas[0].times(n_sk)
        + betas[1].times(n_v)
        + betas[2].times(n_date),
        kappa_e=BASE_G2.times(n_re) + alpha + betas[0].times(n_date),
        c=BASE_G1.times(n_oc) + _GAMMA.times(n_v),
        a=tuple(BASE_G1.times(oa) + _GAMMA.times(index) for oa, index in zip(n_oa, n_l, strict=True)),
        serial=tuple(DELTA.times(m) for m in n_m),
        kappa_k=tuple(
            alpha + betas[0].times(index) + BASE_G2.times(rk) for index, rk in zip(n_l, n_rk, strict=False)
        ),
        gamma=tuple(gamma_relation(coin, m, om) for coin, m, om in zip(coins, n_m, n_om, strict=True)),
        tags=tuple(BASE_G1.times(n_sk + coin.factor * m) for coin, m in zip(coins, n_m, strict=True)),
    )
    c = spend_challenge(master, statement, commitments, pay_info)

    def answer(nonce: int, secret: int) -> int:
        return (nonce - c * secret) % GROUP_ORDER

    def answers(nonces: Sequence[int], secrets: Sequence[int]) -> tuple[int, ...]:
        return tuple(answer(nonce, secret) for nonce, secret in zip(nonces, secrets, strict=True))

    return SpendProof(
        challenge=c,
        response_r=answer(n_r, witness.r),
        response_re=answer(n_re, witness.re),
        responses_rk=answers(n_rk, witness.rks),
        responses_l=answers(n_l, [coin.index for coin in coins]),
        responses_oa=answers(n_oa, [coin.oa for coin in coins]),
        response_oc=answer(n_oc, witness.oc),
        responses_m=answers(n_m, [coin.m for coin in coins]),
        responses_om=answers(n_om, [coin.om for coin in coins]),
        responses_attributes=answers([n_sk, n_v, n_date], [witness.sk, witness.v, witness.expiration]),
    )
