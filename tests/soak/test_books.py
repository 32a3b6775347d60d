"""Ten minutes of paid traffic in small: tickets of some hundred kilobytes, books that roll over every two minutes.

Money moves by itself: a proxy with an account and `[tickets] top_up`, a chain, signers, gateways that take tickets.
An application talks through it all the time; what it waits for, and what the books of all sides say at the end, is
judged. SOAK_SCALE=0.1 makes it a tenth as long.
"""

import asyncio
import contextlib
import os
import statistics
import time
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from nym_credentials.chain.wallet import Wallet
from nym_credentials.topup.ledger import Ledger, TicketLine
from nym_credentials.topup.reconcile import ChainDeposit, reconcile
from nym_localnet.background_io import BackgroundLocalnet
from nym_localnet.options import LocalnetOptions, Mode
from nym_localnet.payment_options import PaymentOptions
from nymgate.purse.money_io import Money
from nymgate.sensitive import Sensitive
from tests.nymgate.paid_world import NYM, TICKET_BYTES, new_phrase, plan_for
from tests.nymgate.socks_client import through
from tests.soak.proxies import Pauses, ProxyProcess, proxy_process

pytestmark = [pytest.mark.soak, pytest.mark.timeout(1800)]

SCALE = float(os.environ.get("SOAK_SCALE", "1"))
SECONDS = max(240.0, 600.0 * SCALE)
RATE = 40_000
"""bytes per second that the application uploads; with its questions a gateway charges three times that"""
TICKET = 400_000
"""bytes: a fifth of it lasts for two thirds of a second, in which the next one is claimed"""
ENOUGH_NYM = 5_000
LONGEST_STALL_SECONDS = 1.0
FEW_LONG = 0.02
"""So many answers may take longer, where packets were sent again: each node is a process, and processors are few."""
BEAT_SECONDS = 0.05
BEAT_BYTES = 200
SAMPLE_SECONDS = 1.0
WARM_UP = 0.3
"""of the time: until then code is loaded, caches fill, the first books are bought"""
MEMORY_GROWTH = 1.15
MORE_DESCRIPTORS = 8


@pytest.fixture
def network() -> Iterator[BackgroundLocalnet]:
    payment = PaymentOptions(block_seconds=0.2, ticket_retry_seconds=0.5, ticket_scale=TICKET / TICKET_BYTES)
    with BackgroundLocalnet(LocalnetOptions(pay=True, mode=Mode.PROCESSES, payment=payment)) as background:
        yield background


@dataclass
class Sample:
    at: float
    rss: float
    descriptors: int
    told: dict[str, Any]


@dataclass
class Watched:
    """What was seen while it ran."""

    samples: list[Sample] = field(default_factory=list)
    gaps: list[tuple[float, float]] = field(default_factory=list)
    """(when it ended, seconds) between two answers to the application."""
    proxy_pauses: float = 0.0
    """The longest of the proxy's event loop."""
    our_pauses: float = 0.0
    """Of this process, where chain and signers work too."""
    answers: int = 0
    uploaded: int = 0

    def again(self, end: float, length: float) -> int:
        """Packets that were sent again around a gap: then the mixnet was late, and nobody waited for money."""
        before = [one for one in self.samples if one.at <= end - length] or self.samples[:1]
        after = [one for one in self.samples if one.at >= end] or self.samples[-1:]
        return int(after[0].told["sent_retransmissions"] - before[-1].told["sent_retransmissions"])

    @property
    def pauses(self) -> float:
        """What a busy machine takes from everybody."""
        return max(self.proxy_pauses, self.our_pauses)

    def part(self, begin: float, end: float) -> list[Sample]:
        first, last = self.samples[0].at, self.samples[-1].at
        return [one for one in self.samples if begin <= (one.at - first) / (last - first) <= end]

    @property
    def longest(self) -> float:
        return max(gap for _, gap in self.gaps)

    @property
    def long(self) -> list[tuple[float, float]]:
        return [(at, gap) for at, gap in self.gaps if gap > LONGEST_STALL_SECONDS]

    @property
    def halves(self) -> tuple[list[Sample], list[Sample]]:
        """Of what came after the warm-up."""
        middle = (1 + WARM_UP) / 2
        return self.part(WARM_UP, middle), self.part(middle, 1)

    def told(self) -> list[str]:
        """For people."""
        last, halves = self.samples[-1].told, self.halves
        memory = [f"{statistics.median(one.rss for one in half):.1f} MB" for half in halves]
        descriptors = [str(max(one.descriptors for one in half)) for half in halves]
        waited = f"for a ticket {last['unpaid'] * 1000:.0f} ms, for an answer {self.longest * 1000:.0f} ms"
        return [
            (
                f"books: {SECONDS:.0f} s, {self.uploaded / 1e6:.1f} MB up, {self.answers / BEAT_BYTES:.0f} answers; "
                f"{last['claims']} claims, {last['claims_failed']} failed"
            ),
            (
                f"longest wait {waited}; {len(self.long)} of {len(self.gaps)} answers took over a second; longest "
                f"pauses: proxy {self.proxy_pauses * 1000:.0f} ms, chain and signers {self.our_pauses * 1000:.0f} ms"
            ),
            f"median RSS {', then '.join(memory)}; descriptors {', then '.join(descriptors)}",
        ]

    def check(self) -> None:
        last, (early, late) = self.samples[-1].told, self.halves
        assert self.answers >= 0.5 * SECONDS / BEAT_SECONDS * BEAT_BYTES
        longest = LONGEST_STALL_SECONDS + 2 * self.pauses
        assert last["unpaid"] <= longest
        for at, gap in self.long:
            assert self.again(at, gap) or gap <= longest, f"{gap:.1f} s for no reason"
        assert len(self.long) <= FEW_LONG * len(self.gaps)
        medians = [statistics.median(one.rss for one in half) for half in (early, late)]
        assert medians[1] <= MEMORY_GROWTH * medians[0]
        most = [max(one.descriptors for one in half) for half in (early, late)]
        assert most[1] <= most[0] + MORE_DESCRIPTORS
        assert {one.told["supply"] for one in late} == {"ok"}


@contextlib.asynccontextmanager
async def server() -> AsyncIterator[int]:
    """Answers each byte with itself; what begins with 0xff is only swallowed."""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(ConnectionError, asyncio.IncompleteReadError):
            kind = await reader.readexactly(1)
            while data := await reader.read(1 << 16):
                if kind != b"\xff":
                    writer.write(data)
                    await writer.drain()
        writer.close()

    listening = await asyncio.start_server(serve, "127.0.0.1", 0)
    async with listening:
        yield listening.sockets[0].getsockname()[1]


async def talk(proxy: int, target: int, until: float, seen: Watched) -> None:
    """Twenty questions a second on one stream; how far apart the answers are is what a person would notice."""
    async with through(proxy, "127.0.0.1", target) as (reader, writer, code):
        assert code == 0
        writer.write(b"\x00")

        async def ask() -> None:
            while time.monotonic() < until:
                writer.write(bytes(BEAT_BYTES))
                await writer.drain()
                await asyncio.sleep(BEAT_SECONDS)
            writer.write_eof()

        async def hear() -> None:
            last = time.monotonic()
            while True:
                data = await reader.read(1 << 16)
                now = time.monotonic()
                if not data:
                    return
                seen.answers += len(data)
                seen.gaps.append((now, now - last))
                last = now

        async with asyncio.TaskGroup() as both:
            both.create_task(ask())
            both.create_task(hear())


async def upload(proxy: int, target: int, until: float, seen: Watched) -> None:
    """At an even rate, so that tickets go all the time."""
    async with through(proxy, "127.0.0.1", target) as (_reader, writer, code):
        assert code == 0
        writer.write(b"\xff")
        began = time.monotonic()
        while (now := time.monotonic()) < until:
            owed = int((now - began) * RATE) - seen.uploaded
            if owed > 0:
                writer.write(bytes(min(owed, RATE)))
                await writer.drain()
                seen.uploaded += min(owed, RATE)
            await asyncio.sleep(BEAT_SECONDS)


async def watch(proxy: ProxyProcess, seen: Watched) -> None:
    while True:
        told = await proxy.stats()
        seen.proxy_pauses = max(seen.proxy_pauses, told["pause"])
        seen.samples.append(Sample(time.monotonic(), proxy.rss, int(told["descriptors"]), told))
        await asyncio.sleep(SAMPLE_SECONDS)


async def ledger_of(money: Money) -> Ledger:
    store = money.store
    lines = [
        TicketLine(one.book_id, one.index, one.state, one.settlement, one.taken_unix, one.settled_unix)
        for one in await store.ledger()
    ]
    return Ledger.of(await store.purchases.purchases(limit=10_000), await store.books(), lines)


async def check_books(network: BackgroundLocalnet, money: Money, wallet: Wallet) -> Ledger:
    """Our books against each other, against the chain's and against the signers'."""
    ledger = await ledger_of(money)
    assert ledger.problems() == []
    totals = ledger.totals()
    payments = network.net.payments
    theirs = await asyncio.to_thread(network.do, payments.books())
    assert theirs.deposits == totals.deposits
    assert theirs.deposited == totals.paid_unym
    assert payments.balance(wallet.address) == ENOUGH_NYM * NYM - totals.paid_unym - totals.fees_unym
    on_chain = [ChainDeposit(number, "") for number in range(theirs.deposits)]
    result = reconcile(ledger, on_chain, account=wallet.address)
    assert result.balanced, result.lines()
    assert result.matched == totals.deposits
    assert max(theirs.issued) <= totals.deposits
    assert sum(theirs.issued) >= totals.books * payments.options.threshold
    return ledger


async def signers_agree(network: BackgroundLocalnet, ledger: Ledger) -> list[int]:
    """Every ticket that a gateway credited was found good once, by every signer, and none besides.

    Gateways ask signers in their own time; so it may take a while. Returns how many each signer counted.
    """
    accepted, given_up = ledger.totals().accepted, ledger.totals().given_up
    async with asyncio.timeout(120):
        while True:
            theirs = await asyncio.to_thread(network.do, network.net.payments.books())
            counts = [sum(by_gateway.values()) for by_gateway in theirs.tickets]
            if min(counts) >= accepted:
                break
            await asyncio.sleep(0.5)
    assert all(accepted <= count <= accepted + given_up for count in counts), (counts, accepted, given_up)
    return counts


async def test_books_roll_over_under_traffic(network: BackgroundLocalnet, tmp_path: Path) -> None:
    settings = {
        "tickets.ticket_size": f"{TICKET}B",
        "budget.per_day": "",
        "budget.per_month": "",
    }
    plan = plan_for(network.net, tmp_path, **settings)
    async with Money(plan.money) as money:
        wallet = await money.keep_phrase(Sensitive(new_phrase()))
        await asyncio.to_thread(network.do, network.net.payments.fund(wallet.address, ENOUGH_NYM * NYM))

    seen, pauses = Watched(), Pauses()
    where = network.net.data_dir / "localnet.toml"
    async with server() as target, proxy_process(where, tmp_path, **settings) as proxy:
        until = time.monotonic() + SECONDS
        async with asyncio.TaskGroup() as group:
            watching = [group.create_task(watch(proxy, seen)), group.create_task(pauses.watch())]
            async with asyncio.TaskGroup() as traffic:
                traffic.create_task(talk(proxy.port, target, until, seen))
                traffic.create_task(upload(proxy.port, target, until, seen))
            for task in watching:
                task.cancel()
    seen.our_pauses = pauses.longest

    async with Money(plan.money) as money:
        ledger = await check_books(network, money, wallet)
        counted = await signers_agree(network, ledger)
    print(
        "\n" + "\n    ".join([*seen.told(), *totals_text(ledger), f"signers counted {counted} tickets"]),
        flush=True,
    )
    seen.check()
    begun = [book for book in ledger.books if book.accepted]
    assert len(begun) >= 2, "no book was used up: nothing rolled over"


def totals_text(ledger: Ledger) -> list[str]:
    totals = ledger.totals()
    begun = sum(book.accepted > 0 for book in ledger.books)
    return [
        (
            f"{totals.books} books bought, {begun} begun; {totals.accepted} tickets accepted, "
            f"{totals.given_up} given up"
        ),
        f"{totals.deposits} deposits, {totals.paid_unym / NYM:g} NYM and {totals.fees_unym / NYM:g} NYM in fees",
    ]
