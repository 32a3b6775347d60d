"""The costs that profiles state are the ones their numbers give."""

from __future__ import annotations

import pytest

from nym_mixnet.profiles import PROFILES


def test_the_default_profile_costs_what_the_reference_costs():
    costs = PROFILES["standard"].costs()
    assert costs.packets_per_second == pytest.approx(55)
    assert costs.bytes_per_second == pytest.approx(55 * 2413)
    assert 57 < costs.tickets_per_day < 58
    assert costs.upload_bound_bytes_per_second == pytest.approx(50 * 1604)


def test_thrifty_stays_within_three_tickets_a_day():
    assert PROFILES["thrifty"].costs().tickets_per_day == pytest.approx(3)


def test_uncovered_costs_nothing_when_idle_and_says_what_is_lost():
    costs = PROFILES["uncovered"].costs()
    assert costs.packets_per_second == 0
    assert costs.upload_bound_bytes_per_second is None
    assert not PROFILES["uncovered"].shaped


@pytest.mark.parametrize("name", PROFILES)
def test_every_profile_says_its_price_in_one_line(name):
    text = PROFILES[name].describe()
    assert text.startswith(f"{name}: ")
    assert "tickets a day" in text
    assert "observer" in text
    assert "\n" not in text
