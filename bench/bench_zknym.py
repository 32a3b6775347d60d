"""What e-cash costs, in multiples of one pairing check, and how little it disturbs an event loop.

The yardstick is the check of a single signature, a product of two pairings, timed again right beside each piece
of work: a busy machine changes its speed by the second. Every figure is thread CPU time. ``verify`` is given
twice, for payments as they arrive (decoding and subgroup checks included) and for decoded ones.

Below the table: by how much a loop that ticks every millisecond is late while another thread, or another
process, spends tickets without pause.

    python -m bench.bench_zknym [rounds]
"""

from __future__ import annotations

import asyncio
import sys
import time
from collections.abc import Callable
from concurrent.futures import Executor, ProcessPoolExecutor, ThreadPoolExecutor
from dataclasses import dataclass
from datetime import date
from multiprocessing import get_context
from statistics import median

from zknym import (
    BlindedSignature,
    CoinSignatureSet,
    DateSignatureSet,
    EpochKey,
    ImportableTicketBook,
    PayInfo,
    Payment,
    ReceivedPayment,
    SpendingCredential,
    TicketBook,
    TicketType,
    UserSecretKey,
    VerificationKey,
    aggregate_coin_indices,
    aggregate_expiration_date,
    aggregate_verification_keys,
    aggregate_wallet,
    blind_sign,
    default_expiration,
    encode_date,
    generate_signers,
    request_withdrawal,
    sign_coin_indices,
    sign_expiration_date,
    unblind,
    verify_coin_indices,
    verify_expiration_date,
    verify_payment,
    verify_payments,
)
from zknym.curve import pairings_cancel

ROUNDS = 15
BATCH = 32
TODAY = date(2026, 11, 23)
EXPIRATION = default_expiration(TODAY)
NOW = encode_date(TODAY)
GATEWAY = bytes(32)
TICK_SECONDS = 0.001
LOOP_SECONDS = 3.0
_ROUND_SECONDS = 0.02

Work = Callable[[], object]


@dataclass(frozen=True, slots=True)
class Row:
    """One line of the table."""

    name: str
    milliseconds: float
    checks: float
    """Multiples of one pairing check."""
    target: float | None


@dataclass(frozen=True, slots=True)
class Delay:
    """How late the ticks of an event loop were, in milliseconds."""

    name: str
    half: float
    most: float
    """99.9 % of the ticks were not later than this."""
    worst: float
    spends: int


class World:
    """Three signers of which two suffice, and one user with a fresh book."""

    def __init__(self) -> None:
        self.expiration = encode_date(EXPIRATION)
        self.signers = generate_signers(2, 3)
        self.master = aggregate_verification_keys([(s.index, s.verification) for s in self.signers])
        self.user = UserSecretKey.generate()
        self.request, self.info = request_withdrawal(self.user, self.expiration, TicketType.MIXNET_ENTRY)
        self.answers = [self.sign(number) for number in range(3)]
        self.shares = [self.unblind(number) for number in range(3)]
        self.wallet = aggregate_wallet(self.shares[:2], self.user, self.master)
        self.coin_shares = [
            (s.index, s.verification, sign_coin_indices(s.secret, self.master)) for s in self.signers[:2]
        ]
        self.date_shares = [
            (s.index, s.verification, sign_expiration_date(s.secret, self.expiration))
            for s in self.signers[:2]
        ]
        self.coins = aggregate_coin_indices(self.coin_shares, self.master)
        self.dates = aggregate_expiration_date(self.date_shares, self.expiration, self.master)
        self.file = ImportableTicketBook(
            TicketBook.issued(self.wallet, 1, self.user, EXPIRATION),
            DateSignatureSet(1, EXPIRATION, self.dates),
            CoinSignatureSet(1, self.coins),
            EpochKey(1, self.master),
        )

    def sign(self, number: int) -> BlindedSignature:
        return blind_sign(
            self.signers[number].secret,
            self.user.public_key(),
            self.request,
            self.expiration,
            TicketType.MIXNET_ENTRY,
        )

    def unblind(self, number: int) -> object:
        signer = self.signers[number]
        return unblind(self.answers[number], self.info, self.user, signer.verification, signer.index)


def pay(file: ImportableTicketBook) -> tuple[SpendingCredential, ImportableTicketBook]:
    """One ticket of a book with all its parts, and the same with the book that is left."""
    assert file.master_key
    assert file.coin_signatures
    assert file.date_signatures
    credential, rest = file.book.pay(
        PayInfo.create(GATEWAY, NOW), TODAY, file.master_key, file.coin_signatures, file.date_signatures
    )
    return credential, ImportableTicketBook(rest, file.date_signatures, file.coin_signatures, file.master_key)


def cases(world: World) -> list[tuple[str, Work, int, float | None]]:
    """Name, work, pieces in it, and the most it may cost in pairing checks for each piece."""
    master, expiration = world.master, world.expiration
    credentials, file = [], world.file
    for _ in range(BATCH):
        credential, file = pay(file)
        credentials.append(credential)
    received = [ReceivedPayment(c.payment, c.pay_info, NOW) for c in credentials]
    encoded = [c.payment.encode() for c in credentials]
    first, data = received[0], encoded[0]
    encoded_key = master.encode()

    def first_spend() -> object:
        """With a key that has never been used, hence without tables for it."""
        key = VerificationKey.decode(encoded_key)
        return pay(
            ImportableTicketBook(
                world.file.book, world.file.date_signatures, world.file.coin_signatures, EpochKey(1, key)
            )
        )

    def batch(items: list[ReceivedPayment]) -> None:
        assert verify_payments(items, master) == [None] * len(items)

    return [
        ("withdraw: make a request", lambda: request_withdrawal(world.user, expiration, 0), 1, None),
        ("sign a request (signer)", lambda: world.sign(0), 1, None),
        ("verify a share: unblind and check", lambda: world.unblind(0), 1, None),
        (
            "aggregate two shares and check",
            lambda: aggregate_wallet(world.shares[:2], world.user, master),
            1,
            None,
        ),
        (
            "sign 50 coin indices (signer)",
            lambda: sign_coin_indices(world.signers[0].secret, master),
            1,
            None,
        ),
        ("verify 50 coin-index signatures", lambda: verify_coin_indices(world.coins, master), 1, 14.0),
        (
            "verify 7 date signatures",
            lambda: verify_expiration_date(world.dates, expiration, master),
            1,
            None,
        ),
        (
            "aggregate 50 coin-index signatures of two",
            lambda: aggregate_coin_indices(world.coin_shares, master),
            1,
            None,
        ),
        ("spend 1 ticket", lambda: pay(world.file), 1, 6.0),
        ("spend 1 ticket under a key just decoded", first_spend, 1, None),
        ("decode 1 payment", lambda: Payment.decode(data), 1, None),
        (
            "verify 1 ticket as it arrives",
            lambda: verify_payment(Payment.decode(data), first.pay_info, NOW, master),
            1,
            7.0,
        ),
        (
            "verify 1 ticket, decoded",
            lambda: verify_payment(first.payment, first.pay_info, NOW, master),
            1,
            7.0,
        ),
        (
            f"verify {BATCH} tickets as they arrive, each",
            lambda: batch(
                [
                    ReceivedPayment(Payment.decode(raw), item.pay_info, NOW)
                    for raw, item in zip(encoded, received, strict=True)
                ]
            ),
            BATCH,
            4.0,
        ),
        (f"verify {BATCH} tickets, decoded, each", lambda: batch(received), BATCH, 4.0),
    ]


def run(rounds: int = ROUNDS) -> list[Row]:
    """Measures everything; about fifteen seconds."""
    world = World()
    signature, master = world.wallet.signature, world.master
    pairs = [(signature.h, master.alpha), (-signature.s, master.beta_g2[0])]

    def check() -> object:
        return pairings_cancel(pairs)

    rows = []
    check_calls = calls_per_round(check)
    for name, work, pieces, target in cases(world):
        for _ in range(4):
            work()  # fills tables
        calls = calls_per_round(work)
        samples = []
        for _ in range(rounds):
            before = seconds(check, check_calls)
            taken = seconds(work, calls) / pieces
            samples.append((taken, taken / ((before + seconds(check, check_calls)) / 2)))
        rows.append(
            Row(
                name,
                median(taken for taken, _ in samples) * 1000,
                median(ratio for _, ratio in samples),
                target,
            )
        )
    unit = median(seconds(check, check_calls) for _ in range(rounds))
    return [Row("one pairing check (the yardstick)", unit * 1000, 1.0, None), *rows]


def calls_per_round(work: Work) -> int:
    """So many calls that a round is long enough for the clock and short enough to share a machine's mood."""
    return max(1, round(_ROUND_SECONDS / seconds(work, 2)))


def seconds(work: Work, calls: int) -> float:
    """Thread CPU time of one call."""
    start = time.thread_time()
    for _ in range(calls):
        work()
    return (time.thread_time() - start) / calls


_FILE: ImportableTicketBook | None = None


def prepare_worker(encoded: bytes) -> None:
    """Gives a worker process (or this one) its book."""
    global _FILE
    _FILE = ImportableTicketBook.decode(encoded)
    for _ in range(4):
        spend_in_worker()


def spend_in_worker() -> bytes:
    """Bytes out: the objects of the curve library do not cross process boundaries."""
    assert _FILE is not None
    return pay(_FILE)[0].encode()


async def loop_delay(name: str, executor: Executor | None) -> Delay:
    """Lateness of the ticks while the executor spends one ticket after the other."""
    loop = asyncio.get_running_loop()
    spends = 0
    late: list[float] = []
    ended = loop.time() + LOOP_SECONDS

    async def spend_for_ever(where: Executor) -> None:
        nonlocal spends
        while loop.time() < ended:
            await loop.run_in_executor(where, spend_in_worker)
            spends += 1

    async with asyncio.TaskGroup() as group:
        if executor is not None:
            await loop.run_in_executor(executor, spend_in_worker)  # the worker is up
            ended = loop.time() + LOOP_SECONDS
            group.create_task(spend_for_ever(executor))
        while loop.time() < ended:
            due = loop.time() + TICK_SECONDS
            await asyncio.sleep(TICK_SECONDS)
            late.append((loop.time() - due) * 1000)
    late.sort()
    return Delay(name, median(late), late[int(len(late) * 0.999)], late[-1], spends)


async def loop_delays() -> list[Delay]:
    """An idle loop, one beside a busy thread, one beside a busy process."""
    encoded = World().file.encode()
    prepare_worker(encoded)
    delays = [await loop_delay("nothing else", None)]
    with ThreadPoolExecutor(1) as thread:
        delays.append(await loop_delay("a thread spends", thread))
    with ProcessPoolExecutor(1, get_context("spawn"), prepare_worker, (encoded,)) as process:
        delays.append(await loop_delay("a process spends", process))
    return delays


def main() -> int:
    """Prints the tables; 1 when a target is missed."""
    rounds = int(sys.argv[1]) if len(sys.argv) > 1 else ROUNDS
    missed = 0
    print(f"{'':48}{'ms':>8}{'checks':>9}{'target':>9}")
    for row in run(rounds):
        target = "" if row.target is None else f"<= {row.target:g}"
        verdict = "" if row.target is None or row.checks <= row.target else "  missed"
        missed += bool(verdict)
        print(f"{row.name:48}{row.milliseconds:8.2f}{row.checks:9.2f}{target:>9}{verdict}")
    print(f"\n{'lateness of a 1 ms tick while':36}{'median':>9}{'99.9 %':>9}{'worst':>9}  ms")
    for delay in asyncio.run(loop_delays()):
        print(
            f"{delay.name:36}{delay.half:9.2f}{delay.most:9.2f}{delay.worst:9.2f}      {delay.spends} tickets"
        )
    return 1 if missed else 0


if __name__ == "__main__":
    raise SystemExit(main())
