"""Stored tickets as the client asks for them, and against the client's own claims."""

from __future__ import annotations

import asyncio
import random
from dataclasses import dataclass
from datetime import timedelta
from types import SimpleNamespace

import pytest

from nym_credentials.errors import (
    ClockSkewed,
    GatewayInDebt,
    GatewayOvercharges,
    GatewayPaused,
    OutOfTickets,
    StoreError,
    StoreUnreachable,
    StoreUnusable,
    TicketUnavailable,
)
from nym_credentials.store.records import BookState, Settlement
from nym_credentials.store.store_io import TicketStore
from nym_credentials.tickets.charges import Meter
from nym_credentials.tickets.source_io import NEVER_SENT, OUTCOMES, StoredTickets
from nym_mixnet.allowance import Allowance
from nym_mixnet.claims_io import BandwidthClaims
from nym_mixnet.errors import NoTickets
from nym_mixnet.gateway_events import ClaimAnswered
from nym_mixnet.link_state import LinkOptions, LinkStats
from nym_mixnet.tickets import PreparedTicket, TicketOutcome, TicketSource
from tests.credentials.books import (
    GATEWAY,
    NOW_UNIX,
    OTHER_GATEWAY,
    TODAY,
    TYPE,
    WORLD,
    book_file,
    make_book,
)
from zknym import PayInfoRejected, SpendDateNotToday, SpendingCredential


@dataclass
class Clock:
    now: float = float(NOW_UNIX)

    def __call__(self) -> float:
        return self.now

    async def sleep(self, seconds: float) -> None:
        self.now += seconds


@pytest.fixture
def clock():
    return Clock()


@pytest.fixture
async def store(tmp_path, clock):
    async with await TicketStore.open(tmp_path / "tickets.sqlite", clock=clock) as store:
        await store.import_book(book_file(), TODAY)
        yield store


@pytest.fixture
def tickets(store, clock):
    return StoredTickets(store, clock=clock, sleep=clock.sleep)


def index_of(ticket):
    return ticket.taken.index


async def test_it_is_a_source_for_the_client(tickets):
    source: TicketSource = tickets
    ticket: PreparedTicket = await source.prepare(GATEWAY)
    await ticket.settle(TicketOutcome.ACCEPTED, 200_000_000)
    assert set(TicketOutcome) <= set(OUTCOMES), "every outcome of the client is known"


async def test_a_gateway_accepts_it(tickets, clock):
    ticket = await tickets.prepare(GATEWAY)
    assert len(ticket.credential) == 1245
    credential = SpendingCredential.decode(ticket.credential)
    assert credential.check_at_gateway(GATEWAY, clock.now, TODAY) is TYPE
    credential.verify(WORLD.master)
    with pytest.raises(PayInfoRejected):
        credential.check_at_gateway(OTHER_GATEWAY, clock.now, TODAY)
    with pytest.raises(SpendDateNotToday):
        credential.check_at_gateway(GATEWAY, clock.now, TODAY + timedelta(days=1))
    assert ticket.credential.hex() not in repr(ticket)


async def test_payments_can_be_checked_before_they_leave(store, clock):
    tickets = StoredTickets(store, clock=clock, check_payment=True)
    credential = SpendingCredential.decode((await tickets.prepare(GATEWAY)).credential)
    credential.verify(WORLD.master)


@pytest.mark.parametrize("outcome", ["accepted", "spent", "unknown", NEVER_SENT, "something new"])
async def test_outcomes(tickets, store, outcome):
    ticket = await tickets.prepare(GATEWAY)
    await ticket.settle(outcome, 5 if outcome == "accepted" else None)
    await ticket.settle(outcome, 5)
    settlement = OUTCOMES.get(outcome, Settlement.UNKNOWN)
    assert (await store.totals()).by_settlement == {settlement: 1}
    assert (await store.gateway(GATEWAY)).allowance == (5 if outcome == "accepted" else None)


async def test_a_refusal_that_may_pass_sends_the_same_bytes_once_more(tickets, store, clock):
    ticket = await tickets.prepare(GATEWAY)
    first = ticket.credential
    for _ in range(2):
        await ticket.settle("refused_unspent", None, "the provided key share hasn't been verified")
        assert (await store.totals()).in_use == 1
        clock.now += 5
        ticket = await tickets.prepare(GATEWAY)
        assert ticket.credential == first
    await ticket.settle("accepted", 200_000_000)
    assert (await store.totals()).accepted == 1
    assert index_of(await tickets.prepare(GATEWAY)) == 1


async def test_the_same_bytes_are_not_sent_for_ever(tickets, store, clock):
    ticket = await tickets.prepare(GATEWAY)
    for _ in range(2):
        await ticket.settle("refused_unspent", None)
        ticket = await tickets.prepare(GATEWAY)
        assert index_of(ticket) == 0
    await ticket.settle("refused_unspent", None)
    with pytest.raises(GatewayPaused):
        await tickets.prepare(GATEWAY)
    assert (await store.totals()).by_settlement == {Settlement.REFUSED: 1}


@pytest.mark.parametrize("seconds", [21, 40])
async def test_stale_bytes_are_given_up(tickets, store, clock, seconds):
    ticket = await tickets.prepare(GATEWAY)
    await ticket.settle("refused_unspent", None)
    clock.now += seconds
    with pytest.raises(GatewayPaused):
        await tickets.prepare(GATEWAY)
    assert (await store.totals()).by_settlement == {Settlement.REFUSED: 1}
    clock.now += 31
    assert index_of(await tickets.prepare(GATEWAY)) == 1, "the index is never made out again"


async def test_another_gateway_never_sees_the_refused_ticket(tickets, store):
    refused = await tickets.prepare(GATEWAY)
    await refused.settle("refused_unspent", None)
    other = await tickets.prepare(OTHER_GATEWAY)
    assert index_of(other) == 1
    again = await tickets.prepare(GATEWAY)
    assert again is refused
    await tickets.close()
    assert (await store.totals()).in_use == 2


async def test_closing_gives_up_what_waits(tickets, store):
    ticket = await tickets.prepare(GATEWAY)
    await ticket.settle("refused_unspent", None)
    await tickets.close()
    await tickets.close()
    assert (await store.totals()).by_settlement == {Settlement.REFUSED: 1}


@pytest.mark.parametrize(
    "reason",
    [
        "provided payinfo's timestamp is invalid",
        "the provided credential has an invalid spending date. got 2026-11-23 but expected 2026-11-22",
        "the provided ticket failed to get verified",
    ],
)
async def test_a_final_refusal_costs_the_ticket_and_pauses_the_gateway(tickets, store, clock, reason):
    ticket = await tickets.prepare(GATEWAY)
    await ticket.settle("refused_unspent", None, reason)
    assert tickets.last_refusal
    if "payinfo" in reason or "date" in reason:
        with pytest.raises(ClockSkewed):
            await tickets.prepare(OTHER_GATEWAY)
        tickets.watch.compared(clock.now, clock.now, clock.now)
    with pytest.raises(GatewayPaused):
        await tickets.prepare(GATEWAY)
    assert index_of(await tickets.prepare(OTHER_GATEWAY)) == 1


async def test_spent_after_a_second_sending_means_that_the_first_was_accepted(tickets, store):
    ticket = await tickets.prepare(GATEWAY)
    await ticket.settle("refused_unspent", None)
    ticket = await tickets.prepare(GATEWAY)
    await ticket.settle("spent", None, "the provided bandwidth credential has already been spent before")
    assert (await store.totals()).by_settlement == {Settlement.UNKNOWN: 1}


async def test_never_sent_after_a_first_sending_is_a_refusal(tickets, store, clock):
    ticket = await tickets.prepare(GATEWAY)
    await ticket.settle("refused_unspent", None)
    ticket = await tickets.prepare(GATEWAY)
    await ticket.settle(NEVER_SENT, None)
    assert (await store.totals()).by_settlement == {Settlement.REFUSED: 1}


async def test_midnight_is_waited_for(tickets, store, clock):
    await store.import_book(make_book(TODAY + timedelta(days=4)).encode(), TODAY)
    clock.now = NOW_UNIX + 23 * 3600 - 20.0
    ticket = await tickets.prepare(GATEWAY)
    assert clock.now == NOW_UNIX + 23 * 3600 + 30
    credential = SpendingCredential.decode(ticket.credential)
    assert credential.spend_date == TODAY + timedelta(days=1)
    credential.check_at_gateway(GATEWAY, clock.now, TODAY + timedelta(days=1))


async def test_a_payment_that_midnight_overtakes_is_made_anew(tickets, store, clock, monkeypatch):
    """The machine slept while the payment was made."""
    make = tickets._make
    calls = []

    async def slow(*args):
        ticket = await make(*args)
        calls.append(ticket)
        if len(calls) == 1:
            clock.now = NOW_UNIX + 23 * 3600 + 60.0
        return ticket

    monkeypatch.setattr(tickets, "_make", slow)
    ticket = await tickets.prepare(GATEWAY)
    assert SpendingCredential.decode(ticket.credential).spend_date == TODAY + timedelta(days=1)
    assert [index_of(made) for made in calls] == [0, 0], "the first was never sent"


async def test_a_wrong_clock_costs_nothing(tickets, store, clock):
    tickets.watch.compared(clock.now - 100, clock.now, clock.now)
    with pytest.raises(ClockSkewed):
        await tickets.prepare(GATEWAY)
    assert (await store.totals()).by_state == {}


async def test_no_ticket_is_fed_to_a_debt(tickets, store):
    await tickets.stated(GATEWAY, -1_800_000_000)
    with pytest.raises(GatewayInDebt):
        await tickets.prepare(GATEWAY)
    ticket = await tickets.prepare(OTHER_GATEWAY)
    await ticket.settle("accepted", -5)
    with pytest.raises(GatewayInDebt):
        await tickets.prepare(OTHER_GATEWAY)
    await tickets.stated(GATEWAY, 10)
    await tickets.prepare(GATEWAY)


async def test_clients_of_several_identities_have_accounts_of_their_own(store, clock):
    one, two = (StoredTickets(store, clock=clock, client_identity=bytes([number]) * 32) for number in (1, 2))
    await one.stated(GATEWAY, -1)
    with pytest.raises(GatewayInDebt):
        await one.prepare(GATEWAY)
    ticket = await two.prepare(GATEWAY)
    SpendingCredential.decode(ticket.credential).check_at_gateway(GATEWAY, clock.now, TODAY)
    await ticket.settle("unknown", None)
    assert (await store.gateway(GATEWAY + bytes([2]) * 32)).refusals == 1


async def test_a_gateway_that_gives_nothing_gets_no_second_ticket(store, clock):
    meter = Meter(0, 0)
    tickets = StoredTickets(store, clock=clock, meter=lambda: meter, ticket_bytes=100_000_000)
    ticket = await tickets.prepare(GATEWAY)
    await ticket.settle("accepted", 100_000_000)
    with pytest.raises(GatewayOvercharges):
        await tickets.prepare(GATEWAY)
    assert tickets.charges(GATEWAY).missing == 100_000_000
    ticket = await tickets.prepare(OTHER_GATEWAY)
    await ticket.settle("accepted", 40_000_000)
    with pytest.raises(GatewayOvercharges):
        await tickets.prepare(OTHER_GATEWAY)
    totals = await store.totals()
    assert (totals.accepted, totals.in_use) == (2, 0), "both tickets are gone, and accounted for"


async def test_errors_in_the_clients_words(store, clock):
    await store.give_up_book(1)
    with pytest.raises(OutOfTickets):
        await StoredTickets(store, clock=clock).prepare(GATEWAY)
    tickets = StoredTickets(store, clock=clock, unavailable=lambda error: NoTickets(str(error)))
    with pytest.raises(NoTickets, match="Buy a ticketbook"):
        await tickets.prepare(GATEWAY)


async def test_a_book_that_cannot_pay_is_set_aside(tickets, store, monkeypatch):
    await store.import_book(make_book(TODAY + timedelta(days=1)).encode(), TODAY)
    swapped = WORLD.coin_set.signatures[:3]
    monkeypatch.setitem(store.purchases._coins, WORLD.coin_set.epoch_id, type(WORLD.coin_set)(12, swapped))
    for _ in range(3):
        await store.take(TYPE, TODAY)
    with pytest.raises(TicketUnavailable, match="set aside"):
        await tickets.prepare(GATEWAY)
    assert sorted(info.state for info in await store.books()) == [BookState.ACTIVE, BookState.EXHAUSTED]
    monkeypatch.undo()
    assert index_of(await tickets.prepare(GATEWAY)) == 0


async def test_cancelled_claims_lose_nothing(tickets, store):
    for delay in (0, 0.001, 0.005, 0.02, 0.05):
        task = asyncio.get_running_loop().create_task(tickets.prepare(GATEWAY))
        await asyncio.sleep(delay)
        task.cancel()
        try:
            await (await task).settle(NEVER_SENT, None)
        except asyncio.CancelledError:
            continue
    await store._core.tasks.settled()
    assert (await store.totals()).in_use == 0
    assert index_of(await tickets.prepare(GATEWAY)) == 0


async def test_the_loop_goes_on_while_a_payment_is_made(tickets):
    ticks = 0

    async def tick():
        nonlocal ticks
        while True:
            await asyncio.sleep(0)
            ticks += 1

    task = asyncio.get_running_loop().create_task(tick())
    await tickets.prepare(GATEWAY)
    task.cancel()
    assert ticks > 20


class Session:
    """A gateway's side of a claim, as far as the client's claims know it."""

    def __init__(self, answers):
        self.claims = SimpleNamespace()
        self.answers = answers
        self.credentials: list[bytes] = []

    def claim_ticket(self, credential):
        self.credentials.append(credential)

    async def send(self):
        self.claims.answered(self.answers.pop(0))


async def test_the_client_claims_until_the_allowance_is_high_enough(tickets, store, clock):
    """The real claims of the client, from an empty allowance: refused once, then credited in two steps."""
    allowance, stats = Allowance(40_000_000), LinkStats()
    session = Session(
        [
            ClaimAnswered(
                TicketOutcome.REFUSED_UNSPENT, reason="the provided key share hasn't been verified"
            ),
            ClaimAnswered(TicketOutcome.ACCEPTED, available_total=20_000_000),
            ClaimAnswered(TicketOutcome.ACCEPTED, available_total=220_000_000),
        ]
    )
    claims = BandwidthClaims(
        tickets=tickets,
        gateway_identity=GATEWAY,
        allowance=allowance,
        stats=stats,
        options=LinkOptions(claim_retry_first_seconds=0.01, claim_retry_limit_seconds=0.01),
        rng=random.Random(1),
        on_change=lambda: None,
    )
    answered, enough = claims.answered, asyncio.Event()

    def stated_and_answered(event):
        if event.available_total is not None:
            allowance.stated(event.available_total, upgrade_mode=False)
        answered(event)

    def changed():
        if not allowance.wants_claim:
            enough.set()

    session.claims = SimpleNamespace(answered=stated_and_answered)
    settled = tickets.settled

    async def settled_and_looked(*args):
        await settled(*args)
        changed()

    tickets.settled = settled_and_looked
    allowance.session_started(0, upgrade_mode=False)
    running = asyncio.get_running_loop().create_task(claims.run(session, session.send))
    await enough.wait()
    running.cancel()
    with pytest.raises(asyncio.CancelledError):
        await running
    await claims.finish()
    first, second, third = session.credentials
    assert first == second != third
    totals = await store.totals()
    assert (totals.accepted, totals.in_use, totals.given_up) == (2, 0, 0)


@pytest.mark.parametrize("trouble", [StoreUnreachable, StoreUnusable])
@pytest.mark.parametrize("outcome", ["accepted", NEVER_SENT])
@pytest.mark.parametrize("then", ["paid again", "closed"])
async def test_an_outcome_that_cannot_be_stored_is_stored_later(
    tickets, store, monkeypatch, trouble, outcome, then
):
    settle, down = store.settle, True

    async def failing(*what, **more):
        if down:
            raise trouble("not now")
        await settle(*what, **more)

    monkeypatch.setattr(store, "settle", failing)
    ticket = await tickets.prepare(GATEWAY)
    await ticket.settle(outcome, 5 if outcome == "accepted" else None)
    assert (await store.totals()).in_use == 1
    with pytest.raises(trouble):
        await tickets.prepare(GATEWAY)
    down = False
    if then == "closed":
        await tickets.close()
    else:
        await tickets.prepare(GATEWAY)
    totals = await store.totals()
    assert (totals.accepted, totals.given_up) == (int(outcome == "accepted"), 0)
    assert totals.in_use == int(then != "closed")


async def test_an_outcome_that_can_never_be_stored_holds_up_no_other_ticket(tickets, store, monkeypatch):
    settle, answers = store.settle, [StoreUnreachable("not now"), StoreError("it is something else already")]

    async def failing(*what, **more):
        if answers:
            raise answers.pop(0)
        await settle(*what, **more)

    monkeypatch.setattr(store, "settle", failing)
    await (await tickets.prepare(GATEWAY)).settle("accepted", 5)
    await (await tickets.prepare(GATEWAY)).settle("accepted", 5)
    assert (await store.totals()).accepted == 1
