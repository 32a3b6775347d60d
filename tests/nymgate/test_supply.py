"""The state of what pays for traffic, in words, and what streams hear of it; and the budget as commands ask it."""

import asyncio
import random
from dataclasses import replace
from datetime import UTC, datetime
from types import SimpleNamespace
from uuid import uuid4

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nym_credentials.chain.records import Price
from nym_credentials.chain.source import Quote
from nym_credentials.money import Coin
from nym_credentials.purchase.states import PurchaseState
from nym_credentials.store.records import Spending
from nym_credentials.tickets.rules import ClockWatch
from nym_credentials.topup.control import Assessment, Decision, Need
from nym_credentials.topup.hindrances import WORDS, Hindrance, Supply
from nym_credentials.topup.settings import BudgetLimits
from nym_credentials.topup.topup_io import TopUpStatus
from nym_mixnet.tasks_io import TaskSet
from nymgate import wiring
from nymgate.config_layers import load
from nymgate.errors import Reply
from nymgate.purse import purse_io
from nymgate.purse.budget import judge_quote, payments_of
from nymgate.purse.purse_io import Purse
from nymgate.purse.sources_io import Spender
from nymgate.purse.supply import Circumstances, refusal, supply_state
from nymgate.purse.topup_runner_io import TopUpRunner
from nymgate.refusals import OWNERS, REFUSALS
from zknym import TicketType

NOW = datetime(2026, 11, 23, 15, 0, tzinfo=UTC).timestamp()
FINE = Circumstances(account=True, tops_up=True)


def status(supply, hindrance=None, *, reason="", retry=None, tickets=0):
    assessment = Assessment(Need.URGENT, "There is no ticket.", tickets, 2, NOW, 0.0)
    return TopUpStatus(
        supply=supply,
        reason=reason,
        hindrance=hindrance,
        retry_unix=retry,
        decision=Decision(True, Need.URGENT, "", NOW, assessment),
        bought=0,
        spent=None,
        signer_failures={},
        signer_errors={},
    )


def test_all_is_well():
    state = supply_state(status(Supply.OK, tickets=7), FINE, NOW)
    assert (state.state, state.code, state.what, state.tickets, state.since_unix) == (
        Supply.OK,
        "",
        "",
        7,
        NOW,
    )
    assert refusal(state) is None


@pytest.mark.parametrize("hindrance", Hindrance)
def test_every_hindrance_is_a_refusal_with_two_sentences(hindrance):
    words = WORDS[hindrance]
    state = supply_state(
        status(Supply.EXHAUSTED, hindrance, reason=f"{words.happened} {words.to_do}", retry=NOW + 60),
        FINE,
        NOW,
    )
    row = REFUSALS[state.code]
    assert row.status == (402 if hindrance in OWNERS else 503)
    assert row.reply is Reply.GENERAL_FAILURE
    assert state.owner == (hindrance in OWNERS)
    assert state.what.startswith("There is no ticket left. ")
    assert words.happened in state.what
    assert state.what.count(words.to_do) == 0
    heard = refusal(state)
    if hindrance is Hindrance.ELSEWHERE:
        assert heard is None, "a book that another process buys is worth waiting for"
        return
    assert (heard.code, heard.layer, heard.socks_reply) == (row.code, words.layer, Reply.GENERAL_FAILURE)
    assert "It goes on by itself" in heard.todo or "15:01:00 UTC" in heard.todo


def test_degraded_is_told_and_refuses_nothing():
    state = supply_state(
        status(Supply.DEGRADED, Hindrance.SIGNERS, reason="Two of three.", tickets=3), FINE, NOW
    )
    assert (state.state, state.code, state.what) == (Supply.DEGRADED, "E_SIGNERS", "Two of three.")
    assert refusal(state) is None


def test_applications_hear_neither_amounts_nor_the_account():
    address = "n1dwvxtquwu5v6zfee9xa3e86yxj2u7tjfdmkga0"
    reason = f"1 book costs 75.1 NYM, and {address} has 3 NYM: nothing was paid."
    state = supply_state(status(Supply.EXHAUSTED, Hindrance.FUNDS, reason=reason), FINE, NOW)
    assert "75.1 NYM" in state.what
    assert "the account has 3 NYM" in state.what
    heard = str(refusal(state))
    assert "The account cannot pay for a ticketbook." in heard
    for text in (address, "75.1", "3 NYM"):
        assert text not in heard
    assert address not in repr(state)


@pytest.mark.parametrize(
    "known, hindrance, code, owner",
    [
        (Circumstances(account=False, tops_up=True), Hindrance.WALLET, "E_NO_ACCOUNT", True),
        (Circumstances(account=True, tops_up=False), Hindrance.WALLET, "E_OUT_OF_TICKETS", True),
        (Circumstances(account=True, tops_up=True, through_mixnet=True), None, "E_OUT_OF_TICKETS", True),
        (
            Circumstances(account=True, tops_up=True, through_mixnet=True),
            Hindrance.CHAIN,
            "E_OUT_OF_TICKETS",
            True,
        ),
        (
            Circumstances(account=True, tops_up=True, through_mixnet=True),
            Hindrance.FUNDS,
            "E_WALLET_FUNDS",
            True,
        ),
        (FINE, None, "E_TICKETS_COMING", False),
    ],
)
def test_what_the_top_up_itself_does_not_know_comes_first(known, hindrance, code, owner):
    state = supply_state(status(Supply.EXHAUSTED, hindrance, reason="x"), known, NOW)
    assert (state.code, state.owner) == (code, owner)
    assert REFUSALS[code].status == (402 if owner else 503)
    assert (refusal(state) is None) == (code == "E_TICKETS_COMING"), "only what is coming is waited for"


# ---- the budget


def quote(count, *, price=75, fee=0.01, balance=1000.0):
    def coin(nym):
        return Coin("unym", round(nym * 1_000_000))

    return Quote(count, Price(coin(price)), coin(fee), True, coin(balance), "n1x")


def line(state, price=75, *, begun=NOW, paid=None):
    return Spending(
        purchase_id=str(uuid4()),
        network="x",
        account="n1x",
        ticket_type=TicketType.MIXNET_ENTRY,
        state=state,
        price=price * 1_000_000,
        fee=0,
        denom="unym",
        tx_hash=None,
        height=None,
        deposit_id=None,
        begun_unix=round(begun),
        paid_unix=paid,
        changed_unix=round(begun),
    )


def test_what_may_be_paid_counts_and_what_failed_does_not():
    counted = [state for state in PurchaseState if payments_of([line(state)])]
    assert set(counted) == set(PurchaseState) - {PurchaseState.FAILED}
    yesterday = NOW - 86_400
    [open_] = payments_of([line(PurchaseState.SIGNED, begun=yesterday)])
    assert open_.open
    [paid] = payments_of([line(PurchaseState.ISSUED, begun=yesterday, paid=round(NOW))])
    assert (paid.open, paid.paid_unix) == (False, round(NOW))
    limits = replace(BudgetLimits(), per_day=100_000_000)
    for item in (open_, paid):
        assert judge_quote(limits, quote(1), [item], NOW).hindrance is Hindrance.DAY_CAP


@given(
    cap=st.integers(0, 400),
    price=st.integers(1, 99),
    count=st.integers(1, 6),
    spent=st.lists(st.integers(1, 90), max_size=3),
)
def test_so_many_books_are_permitted_as_the_cap_pays_for(cap, price, count, spent):
    limits = BudgetLimits(per_day=cap * 1_000_000, per_month=None, max_price=None, reserve=0)
    paid = payments_of([line(PurchaseState.ISSUED, each) for each in spent])
    found = judge_quote(limits, quote(count, price=price), paid, NOW)
    assert (found is None) == (sum(spent) + count * price <= cap)


def test_reserve_and_balance_are_kept_over_all_books():
    limits = BudgetLimits(per_day=None, per_month=None)
    assert judge_quote(limits, quote(2, balance=151.02), [], NOW) is None
    assert judge_quote(limits, quote(2, balance=151.01), [], NOW).hindrance is Hindrance.RESERVE
    assert judge_quote(limits, quote(3, balance=151.02), [], NOW).hindrance is Hindrance.FUNDS
    assert judge_quote(limits, quote(3, balance=151.02), [], NOW, count=2) is None


class CountingLink:
    """Counts how often it was told that tickets have come."""

    link_stats = None
    link_state = None

    def __init__(self):
        self.told = 0

    def retry_claim(self):
        self.told += 1


def spender():
    return Spender(None, watch=ClockWatch(), ticket_bytes=1_000)


async def test_tickets_that_come_while_an_attempt_to_connect_ends_are_not_waited_for():
    purse, link = spender(), CountingLink()
    purse.serves(link)
    purse.refilled()
    async with asyncio.timeout(60):
        await purse.pause(3_600)
    assert link.told == 1
    purse.refilled()
    purse.serves(link)  # this one looks for itself
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.05):
            await purse.pause(3_600)


@pytest.mark.parametrize(
    ("before", "after", "told"),
    [
        (status(Supply.EXHAUSTED), status(Supply.OK, tickets=50), True),
        (status(Supply.OK), status(Supply.OK, tickets=50), True),
        (status(Supply.DEGRADED, Hindrance.STORE, tickets=9), status(Supply.OK, tickets=9), True),
        (status(Supply.OK, tickets=9), status(Supply.OK), False),
        (status(Supply.EXHAUSTED), status(Supply.EXHAUSTED, Hindrance.FUNDS), False),
    ],
    ids=["a book comes", "one comes that was put off", "the store is back", "all are used", "still none"],
)
async def test_links_that_wait_for_tickets_hear_of_them(before, after, told):
    purse, link = spender(), CountingLink()
    purse.serves(link)
    plan = SimpleNamespace(
        tops_up=True, config=SimpleNamespace(tickets=SimpleNamespace(through_mixnet=False))
    )
    topup = SimpleNamespace(status=lambda: before)
    runner = TopUpRunner(
        SimpleNamespace(plan=plan),
        topup,
        None,
        None,
        sources=lambda: [purse],
        clock=lambda: NOW,
        rng=random.Random(1),
    )
    runner.note_change(before)
    link.told, topup.status = 0, lambda: after
    runner.note_change(after)
    assert bool(link.told) is told


async def test_no_book_is_thrown_away_by_a_clock_that_nobody_confirms(tmp_path, monkeypatch):
    monkeypatch.setattr(purse_io, "CLOCK_POLL_SECONDS", 0.01)
    plan = wiring.make_plan(load(environ={"HOME": str(tmp_path)}).config, tmp_path)
    ahead = NOW + 10 * 86_400
    clock = [ahead]
    purse = Purse(plan.money, rng=random.Random(1), clock=lambda: clock[0])
    forgotten, done = [], asyncio.Event()

    class Store:
        async def forget_expired(self, today):
            forgotten.append(today)
            done.set()

    purse.money._store = Store()
    async with TaskSet("test") as tasks:
        tasks.spawn(purse._forget_expired(), name="expired books")
        await asyncio.sleep(0.05)
        purse.watch.compared(NOW, ahead, ahead)
        await asyncio.sleep(0.05)
        assert not forgotten
        clock[0] = NOW
        purse.watch.compared(NOW, NOW, NOW)
        async with asyncio.timeout(60):
            await done.wait()
    assert forgotten == [datetime.fromtimestamp(NOW, UTC).date()]
