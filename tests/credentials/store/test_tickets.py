"""Taking and settling tickets: no index twice, whoever asks, whatever breaks off."""

from __future__ import annotations

import asyncio
from collections import Counter
from datetime import timedelta

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from nym_credentials.errors import OutOfTickets, PublicDataMissing, StoreError
from nym_credentials.store.gateways_io import PAUSES_SECONDS
from nym_credentials.store.records import (
    LATE_TRANSITIONS,
    SUSPECT_AFTER,
    TICKET_TRANSITIONS,
    BookState,
    GatewayAccount,
    Settlement,
    TicketState,
)
from nym_credentials.store.store_io import TicketStore
from tests.credentials.books import (
    EXPIRATION,
    GATEWAY,
    OTHER_GATEWAY,
    TODAY,
    TYPE,
    WORLD,
    book_file,
    make_book,
)
from zknym import TICKETS_PER_BOOK, Payment, TicketType, identify, verify_payment

LOST = [s for (_, s), state in TICKET_TRANSITIONS.items() if state is TicketState.GIVEN_UP]


@pytest.fixture
async def store(path):
    async with await TicketStore.open(path, clock=lambda: 1_000_000.5) as store:
        await store.import_book(book_file(), TODAY)
        yield store


def test_only_what_never_left_is_used_again():
    assert {s for (_, s), state in TICKET_TRANSITIONS.items() if state is TicketState.REVERTED} == {
        Settlement.UNSENT
    }
    assert {s for _, s in TICKET_TRANSITIONS} == set(Settlement)
    assert {s for state, s in TICKET_TRANSITIONS if state is TicketState.RESERVED} == {Settlement.UNSENT}
    assert {state for state, _ in TICKET_TRANSITIONS} == {TicketState.TAKEN, TicketState.RESERVED}
    assert set(LATE_TRANSITIONS) == set(Settlement) - {Settlement.CRASHED}


async def test_a_book_gives_each_of_its_tickets_once(store):
    indices = [(await store.take(TYPE, TODAY)).index for _ in range(TICKETS_PER_BOOK)]
    assert indices == list(range(TICKETS_PER_BOOK))
    with pytest.raises(OutOfTickets, match=r"no v1-mixnet-entry tickets left\. Buy"):
        await store.take(TYPE, TODAY)
    assert await store.remaining(TYPE, TODAY) == 0


async def test_transactions_are_timed(store):
    took: list[float] = []
    store.time_transactions(took.append)
    await store.take(TYPE, TODAY)
    assert len(took) >= 2, "a ticket is taken in two"
    assert all(0 < seconds < 60 for seconds in took)


async def test_a_ticket_pays(store):
    from zknym import PayInfo, encode_date

    taken = await store.take(TYPE, TODAY, gateway=GATEWAY)
    assert taken.book.spent_tickets == taken.index == 0
    info = PayInfo.create(GATEWAY, 0)
    credential, _ = taken.book.pay(info, TODAY, taken.master, taken.coin_signatures, taken.date_signatures)
    payment = Payment.decode(credential.payment.encode())
    verify_payment(payment, info, encode_date(TODAY), WORLD.master)
    second = await store.take(TYPE, TODAY, gateway=GATEWAY)
    other, _ = second.book.pay(
        PayInfo.create(GATEWAY, 1), TODAY, second.master, second.coin_signatures, second.date_signatures
    )
    assert type(identify(payment, info, other.payment, other.pay_info)).__name__ == "NotADuplicate"


async def test_many_at_once_get_different_tickets(store, path):
    async with await TicketStore.open(path) as other:
        taken = await asyncio.gather(*(s.take(TYPE, TODAY) for s in (store, other) * 20))
    assert len({ticket.index for ticket in taken}) == 40
    assert (await store.totals()).in_use == 40


@pytest.mark.parametrize("settlement", list(Settlement))
async def test_settling(store, settlement):
    taken = await store.take(TYPE, TODAY, gateway=GATEWAY)
    await store.settle(taken, settlement, available_total=7)
    await store.settle(taken, settlement, available_total=9)
    state = TICKET_TRANSITIONS[TicketState.TAKEN, settlement]
    totals = await store.totals()
    assert totals.by_state == {state: 1}
    assert totals.by_settlement == {settlement: 1}
    assert (totals.in_use, totals.accepted, totals.given_up) == (
        0,
        int(state is TicketState.ACCEPTED),
        int(state is TicketState.GIVEN_UP),
    )
    for other in set(Settlement) - {settlement} if settlement is not Settlement.CRASHED else ():
        with pytest.raises(StoreError, match="already"):
            await store.settle(taken, other)
    again = await store.take(TYPE, TODAY)
    assert again.index == (0 if state is TicketState.REVERTED else 1)
    [book] = await store.books()
    assert book.remaining == TICKETS_PER_BOOK - again.index - 1


@pytest.mark.parametrize("settlement", LATE_TRANSITIONS)
async def test_who_was_taken_for_dead_settles_late(store, settlement):
    taken = await store.take(TYPE, TODAY)
    await store.settle(taken, Settlement.CRASHED)
    await store.settle(taken, settlement)
    await store.settle(taken, settlement)
    assert (await store.totals()).by_state == {LATE_TRANSITIONS[settlement]: 1}


async def test_only_the_call_that_took_a_ticket_settles_it(store):
    first = await store.take(TYPE, TODAY)
    await store.settle(first, Settlement.UNSENT)
    second = await store.take(TYPE, TODAY)
    assert (second.index, second.claim == first.claim) == (first.index, False)
    await store.settle(first, Settlement.UNSENT)
    with pytest.raises(StoreError, match="another call"):
        await store.settle(first, Settlement.ACCEPTED)
    assert (await store.totals()).in_use == 1
    [entry] = await store.ledger()
    assert (entry.state, entry.attempts) == (TicketState.TAKEN, 2)


async def test_what_was_never_taken_cannot_be_settled(store):
    from dataclasses import replace

    taken = await store.take(TYPE, TODAY)
    with pytest.raises(StoreError, match="never taken"):
        await store.settle(replace(taken, index=9), Settlement.ACCEPTED)


async def test_tickets_put_back_are_taken_first(store):
    taken = [await store.take(TYPE, TODAY) for _ in range(5)]
    for index in (3, 1):
        await store.settle(taken[index], Settlement.UNSENT)
    [book] = await store.books()
    assert (book.reverted, book.taken, book.remaining) == (2, 3, 47)
    assert [(await store.take(TYPE, TODAY)).index for _ in range(3)] == [1, 3, 5]


async def test_a_full_book_gives_what_was_put_back(store):
    taken = [await store.take(TYPE, TODAY) for _ in range(TICKETS_PER_BOOK)]
    await store.settle(taken[-1], Settlement.UNSENT)
    assert (await store.take(TYPE, TODAY)).index == TICKETS_PER_BOOK - 1


async def test_a_cancelled_take_puts_its_ticket_back(store):
    for delay in (0, 1, 2, 4, 8, 16, 32, 64):
        task = asyncio.get_running_loop().create_task(store.take(TYPE, TODAY))
        for _ in range(delay):
            await asyncio.sleep(0)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
    await store._core.tasks.settled()
    assert (await store.totals()).in_use == 0
    assert (await store.take(TYPE, TODAY)).index == 0


async def test_a_failing_witness_hands_out_nothing(store, monkeypatch):
    def full(*_args, **_kwargs):
        raise StoreError("the disk is full")

    monkeypatch.setattr(store._core.files, "write_witness", full)
    with pytest.raises(StoreError, match="full"):
        await store.take(TYPE, TODAY)
    monkeypatch.undo()
    assert (await store.take(TYPE, TODAY)).index == 0


async def test_the_book_that_expires_first_is_spent_first(store):
    early, late = make_book(TODAY + timedelta(days=1)), make_book(TODAY + timedelta(days=3))
    for content in (late, early):
        await store.import_book(content.encode(), TODAY)
    for day, expiration in (
        (TODAY, early.book.expiration),
        (TODAY + timedelta(days=1), early.book.expiration),
        (TODAY + timedelta(days=2), late.book.expiration),
        (TODAY + timedelta(days=4), EXPIRATION),
    ):
        assert (await store.take(TYPE, day)).expiration == expiration
    with pytest.raises(OutOfTickets):
        await store.take(TYPE, EXPIRATION + timedelta(days=1))
    with pytest.raises(OutOfTickets):
        await store.take(TYPE, TODAY - timedelta(days=6))


async def test_types_are_kept_apart(store):
    with pytest.raises(OutOfTickets, match="wireguard-exit"):
        await store.take(TicketType.WIREGUARD_EXIT, TODAY)
    await store.import_book(make_book(ticket_type=TicketType.WIREGUARD_EXIT).encode(), TODAY)
    taken = await store.take(TicketType.WIREGUARD_EXIT, TODAY)
    assert taken.ticket_type is taken.book.ticket_type is TicketType.WIREGUARD_EXIT
    assert await store.remaining(TYPE, TODAY) == 50


async def test_missing_public_data_costs_no_ticket(store, path):
    async with store._core.database.transaction() as connection:
        await connection.exec_driver_sql("DELETE FROM coin_signatures")
    async with await TicketStore.open(path) as other:
        with pytest.raises(PublicDataMissing, match="the coin-index signatures"):
            await other.take(TYPE, TODAY)
        await other.purchases.put_coin_signatures(WORLD.coin_set)
        assert (await other.take(TYPE, TODAY)).index == 0


async def test_a_book_that_others_spend_becomes_suspect(store):
    for _ in range(SUSPECT_AFTER):
        assert (await store.books())[0].state is BookState.ACTIVE
        await store.settle(await store.take(TYPE, TODAY, gateway=GATEWAY), Settlement.SPENT)
    assert (await store.books())[0].state is BookState.SUSPECT
    with pytest.raises(OutOfTickets, match="held back"):
        await store.take(TYPE, TODAY)
    await store.trust_book(1)
    assert (await store.take(TYPE, TODAY)).index == SUSPECT_AFTER


async def test_gateways_are_remembered(store):
    now = 1_000_000
    assert (await store.gateway(GATEWAY)).accepted == 0
    for count, settlement in enumerate([Settlement.UNKNOWN, Settlement.REFUSED, Settlement.SPENT], 1):
        await store.settle(await store.take(TYPE, TODAY, gateway=GATEWAY), settlement)
        account = await store.gateway(GATEWAY)
        pause = PAUSES_SECONDS[settlement][count - 1]
        assert (account.refusals, account.paused_until_unix) == (count, now + pause)
    await store.settle(await store.take(TYPE, TODAY, gateway=GATEWAY), Settlement.UNSENT)
    assert (await store.gateway(GATEWAY)).refusals == 3
    taken = await store.take(TYPE, TODAY, gateway=GATEWAY)
    await store.settle(taken, Settlement.ACCEPTED, available_total=200_000_000)
    account = await store.gateway(GATEWAY)
    assert (account.allowance, account.accepted, account.refusals, account.paused_until_unix) == (
        200_000_000,
        1,
        0,
        0,
    )
    await store.note_allowance(GATEWAY, -5)
    assert (await store.gateway(GATEWAY)).allowance == -5
    assert (await store.gateway(OTHER_GATEWAY)).allowance is None
    await store.forget_gateway(GATEWAY)
    assert await store.gateway(GATEWAY) == GatewayAccount()


@settings(max_examples=30)
@given(st.lists(st.sampled_from([None, *Settlement]), max_size=55))
def test_any_history_spends_every_index_once(history):
    """Against a model: indices leave for good unless they were never sent."""

    async def run(path):
        gone: Counter[int] = Counter()
        async with await TicketStore.open(path) as store:
            await store.import_book(book_file(), TODAY)
            back: set[int] = set()
            fresh = 0
            for settlement in history:
                try:
                    taken = await store.take(TYPE, TODAY)
                except OutOfTickets:
                    states = {book.state for book in await store.books()}
                    assert states == {BookState.SUSPECT} or (fresh == TICKETS_PER_BOOK and not back)
                    return
                assert taken.index == (min(back) if back else fresh)
                fresh += taken.index == fresh
                back.discard(taken.index)
                if settlement is not None:
                    await store.settle(taken, settlement)
                if settlement is Settlement.UNSENT:
                    back.add(taken.index)
                else:
                    gone[taken.index] += 1
            assert max(gone.values(), default=1) == 1
            assert (await store.totals()).given_up == sum(s in LOST for s in history)

    import tempfile
    from pathlib import Path

    with tempfile.TemporaryDirectory() as folder:
        asyncio.run(run(Path(folder) / "tickets.sqlite"))
