"""Which recipient gets reply SURBs next, and how many somebody may ask for."""

from __future__ import annotations

from nym_mixnet.bank import MAX_GRANT_SURBS, SUPPLY_BATCH_SURBS, SurbBanks
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
