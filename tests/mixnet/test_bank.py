"""Which recipient gets reply SURBs next, and how many somebody may ask for."""

from __future__ import annotations

import pytest

from nym_mixnet.bank import FIRST_LEVEL_SURBS, MAX_GRANT_SURBS, SUPPLY_BATCH_SURBS, TRICKLE_SURBS, SurbBanks
from tests.mixnet.simnet import make_recipient

ONE = make_recipient(1)
TWO = make_recipient(2)


def test_the_emptiest_bank_relative_to_its_target_is_supplied_first():
    banks = SurbBanks()
    banks.get(ONE).target = 1000
    banks.get(TWO).target = 100
    supply = banks.next_idle({ONE: 300, TWO: 50}, shaped=True)
    assert supply is not None
    assert (supply.recipient, supply.count, supply.urgent) == (ONE, SUPPLY_BATCH_SURBS, False)
    assert banks.next_idle({ONE: 1000, TWO: 100}, shaped=True) is None


def test_without_a_schedule_only_waiting_streams_are_worth_paid_packets():
    banks = SurbBanks()
    bank = banks.get(ONE)
    bank.target = 100
    assert banks.next_idle({ONE: 0}, shaped=False) is None
    bank.demand = 1
    assert banks.next_idle({ONE: 0}, shaped=False) is not None


def test_without_a_schedule_the_level_follows_use():
    banks = SurbBanks()
    bank = banks.get(ONE)
    bank.target = 1000
    bank.wait(True)

    def fill(stock):
        while banks.next_idle({ONE: stock}, shaped=False) is not None:
            stock += SUPPLY_BATCH_SURBS
        return stock

    first = fill(0)
    assert first == FIRST_LEVEL_SURBS
    assert fill(first // 2) < first + SUPPLY_BATCH_SURBS, "slow use: filled up again, no more"
    levels = [fill(FIRST_LEVEL_SURBS // 2 - 1)]
    while levels[-1] < 1000:
        levels.append(fill(levels[-1] // 2 - SUPPLY_BATCH_SURBS))
        assert levels[-1] > levels[-2], "fast use raises the level"
    assert fill(0) < 1000 + SUPPLY_BATCH_SURBS
    bank.wait(False)
    assert fill(0) == 0
    bank.wait(True)
    assert fill(0) == first, "the next stream starts small again"


def test_requests_are_honoured_up_to_a_limit_in_small_batches():
    banks = SurbBanks()
    bank = banks.get(ONE)
    assert bank.grant(60) == 60
    assert bank.grant(10**9) == MAX_GRANT_SURBS - 60
    assert bank.grant(5) == 0
    made = 0
    while (supply := banks.next_urgent()) is not None:
        assert supply.urgent
        assert supply.count <= SUPPLY_BATCH_SURBS
        made += supply.count
    assert made == MAX_GRANT_SURBS
    assert banks.owed == 0


def supplied(banks, begin, end, step=0.01):
    """SURBs supplied while time runs from `begin` to `end`."""
    count, now = 0, begin
    while now < end:
        banks.tick(now)
        while (supply := banks.next_urgent()) is not None:
            count += supply.count
        now += step
    return count


def throttled():
    banks = SurbBanks()
    bank = banks.get(ONE)
    bank.target, bank.demand = 1000, 1
    bank.throttle(True)
    bank.grant(MAX_GRANT_SURBS)
    return banks, bank


def test_while_a_reader_is_behind_only_a_trickle_is_supplied():
    banks, _ = throttled()
    assert supplied(banks, 100.0, 700.0) == 600 / 15 * TRICKLE_SURBS
    assert banks.next_idle({ONE: 0}, shaped=True) is None


def test_the_trickle_never_pauses_for_as_long_as_an_exit_waits_before_it_gives_up():
    banks, bank = throttled()
    now, last = 0.0, 0.0
    while now < 600.0:
        if supplied(banks, now, now + 0.5, step=0.5):
            assert now - last <= 15.5  # docs/protocol/04 §4.5: five times 10 s
            last = now
        bank.grant(MAX_GRANT_SURBS)
        now += 0.5
    assert last > 580.0


def test_messages_of_other_streams_stir_the_trickle_and_answers_earn_more():
    banks, bank = throttled()
    banks.tick(100.0)
    banks.next_urgent()
    assert banks.next_tick() == 115.0
    bank.stir(101.0)
    assert banks.next_tick() == 101.0
    assert supplied(banks, 101.0, 101.5) == pytest.approx(30, abs=3)
    assert supplied(banks, 101.5, 110.0) == pytest.approx(85, abs=10)
    now = banks.next_tick() - 0.1
    assert supplied(banks, now, now + 0.01) == 0
    bank.allow(9)
    assert supplied(banks, now, now + 0.01) == 9


def test_the_whole_debt_is_served_when_the_reader_is_back():
    banks, bank = throttled()
    given = supplied(banks, 0.0, 20.0)
    bank.throttle(False)
    assert supplied(banks, 20.0, 20.01) == MAX_GRANT_SURBS - given
    assert banks.next_tick() is None


def test_a_bank_that_is_not_throttled_saves_nothing_up():
    banks, bank = throttled()
    bank.throttle(False)
    bank.allow(100)
    bank.stir(5.0)
    banks.tick(6.0)
    bank.throttle(True)
    assert bank.allowance == 0
