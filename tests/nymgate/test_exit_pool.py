"""What the exit pool decides: tables, order, back-off, and what a policy says, with hypothesis."""

import random
from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nym_exit.exit_policy import ExitPolicy
from nym_sphinx import Recipient
from nymgate.exits.choice import ExitCandidate, Verdict, shuffled, verdict, weight
from nymgate.exits.pool import (
    NEXT,
    Answer,
    Event,
    ExitRecord,
    PoolLimits,
    Standing,
    answer_within,
    ask_at,
    in_turn,
    is_gone,
    on_refusal,
    state_of,
    suspect_after,
    to_try,
)
from tests.nymgate.mixnet_world import identity, recipient

LIMITS = PoolLimits()
NOW = 10_000.0
WEB_ONLY = ExitPolicy.parse("ExitPolicy reject 10.0.0.0/8:*\nExitPolicy accept *:80\nExitPolicy accept *:443")


def record(number: int = 1, **about) -> ExitRecord:
    return ExitRecord(ExitCandidate(recipient(identity(number)), **about))


def after(*events: Event, now: float = NOW) -> ExitRecord:
    subject = record()
    for event in events:
        subject.happened(event, now, random.Random(1), LIMITS)
    return subject


def test_the_table_is_whole():
    assert set(NEXT) == {(standing, event) for standing in Standing for event in Event}


@given(st.lists(st.sampled_from(Event), min_size=1))
def test_standing_follows_what_was_heard_last(events):
    subject = after(*events)
    if events[-1] is Event.OPENED:
        assert subject.standing is Standing.UP
    if events[-1] is Event.MISSED:
        assert subject.standing is Standing.DOWN
    if events[-1] is Event.HEARD:
        assert subject.standing in (Standing.UP, Standing.DOUBTFUL)
        assert subject.misses == 0
    assert subject.opened == events.count(Event.OPENED)


@given(st.integers(min_value=1, max_value=40), st.randoms(use_true_random=False))
def test_back_off_doubles_within_its_limit(misses, rng):
    subject = record()
    for _ in range(misses):
        subject.happened(Event.MISSED, NOW, rng, LIMITS)
    longest = min(LIMITS.back_off_most, LIMITS.back_off_first * 2 ** (misses - 1))
    assert longest / 2 <= subject.retry_at - NOW <= longest


@given(st.one_of(st.none(), st.floats(min_value=0.001, max_value=1000)))
def test_patience_follows_the_exit_and_has_limits(latency):
    subject = record()
    if latency is not None:
        subject.answered(latency)
    assert LIMITS.suspect_least <= suspect_after(subject, LIMITS) <= LIMITS.suspect_most
    assert LIMITS.ask_least <= answer_within(subject, LIMITS) <= LIMITS.ask_most


def test_the_well_come_first_and_those_that_are_down_only_when_due():
    rng = random.Random(3)
    up, untried, doubtful, due, later = (record(number) for number in range(1, 6))
    up.happened(Event.HEARD, NOW, rng, LIMITS)
    doubtful.happened(Event.STALLED, NOW, rng, LIMITS)
    due.happened(Event.MISSED, NOW - 100, rng, LIMITS)
    later.happened(Event.MISSED, NOW, rng, LIMITS)
    later.asked_at = NOW
    everybody = [later, due, doubtful, untried, up]
    assert in_turn(everybody, NOW, rng, LIMITS) == [up, untried, doubtful, due]
    assert in_turn(everybody, NOW, rng, LIMITS, last=[up.recipient]) == [untried, doubtful, due, up]
    assert in_turn([later], NOW, rng, LIMITS) == [], "it was asked a moment ago"
    for _ in range(9):
        later.happened(Event.MISSED, NOW, rng, LIMITS)
    in_need = NOW + LIMITS.back_off_first
    assert in_turn([later], in_need, rng, LIMITS) == [later], "there is nobody else"
    assert in_turn([later, untried], in_need, rng, LIMITS) == [untried]


def test_scores_make_a_node_likelier_and_none_certain():
    rng = random.Random(5)
    good, poor = record(1, score=100), record(2, score=50)
    first = Counter(in_turn([poor, good], NOW, rng, LIMITS)[0] for _ in range(4000))
    assert 12 < first[good] / first[poor] < 21, "a node of half the score is taken a sixteenth as often"
    assert weight(None) == weight(50)
    assert 0 < weight(0) < weight(1 + 1)


@given(st.lists(st.floats(min_value=1e-6, max_value=1)), st.randoms(use_true_random=False))
def test_shuffling_loses_nobody(weights, rng):
    items = list(range(len(weights)))
    assert sorted(shuffled(items, rng, weights)) == items
    assert sorted(shuffled(items, rng)) == items


@pytest.mark.parametrize(
    "policy, host, port, expected",
    [
        (WEB_ONLY, "example.org", 443, Verdict.PERMITTED),
        (WEB_ONLY, "example.org", 25, Verdict.DENIED),
        (WEB_ONLY, "10.1.2.3", 443, Verdict.DENIED),
        (WEB_ONLY, "9.9.9.9", 80, Verdict.PERMITTED),
        (WEB_ONLY, "[2620:fe::fe]", 443, Verdict.PERMITTED),
        (ExitPolicy.open(), "example.org", 1, Verdict.PERMITTED),
        (ExitPolicy(), "example.org", 443, Verdict.DENIED),
        (ExitPolicy.parse("ExitPolicy accept 127.0.0.0/8:*"), "localhost", 80, Verdict.UNKNOWN),
        (ExitPolicy.parse("ExitPolicy reject *4:*\nExitPolicy accept *:80"), "a.b", 80, Verdict.PERMITTED),
        (ExitPolicy.parse("ExitPolicy reject *4:*\nExitPolicy accept *4:80"), "a.b", 80, Verdict.DENIED),
        (ExitPolicy.parse("ExitPolicy reject *4:*\nExitPolicy reject *6:*"), "a.b", 80, Verdict.DENIED),
        (ExitPolicy.parse("ExitPolicy accept 1.2.3.4:80\nExitPolicy reject *:*"), "a.b", 80, Verdict.UNKNOWN),
    ],
)
def test_what_a_policy_says_beforehand(policy, host, port, expected):
    assert verdict(policy, host, port) is expected


_RULES = st.lists(
    st.builds(
        lambda action, pattern, ports: f"ExitPolicy {action} {pattern}:{ports}",
        st.sampled_from(["accept", "reject"]),
        st.sampled_from(["*", "*4", "*6", "1.0.0.0/8", "2.0.0.0/8", "[2600::]/16"]),
        st.sampled_from(["*", "80", "1-100", "443"]),
    ),
    max_size=6,
)


@given(_RULES, st.sampled_from([80, 443, 7]))
def test_a_name_is_denied_only_if_no_address_could_pass(rules, port):
    policy = ExitPolicy.parse("\n".join(rules))
    addresses = ["1.1.1.1", "2.2.2.2", "3.3.3.3", "2600::1", "2a00::1"]
    verdicts = {verdict(policy, address, port) for address in addresses}
    match verdict(policy, "example.org", port):
        case Verdict.DENIED:
            assert verdicts == {Verdict.DENIED}
        case Verdict.PERMITTED:
            assert Verdict.PERMITTED in verdicts
        case Verdict.UNKNOWN:
            assert Verdict.DENIED in verdicts


def test_a_refusal_is_told_apart_by_policy_and_experience():
    subject = record()
    assert on_refusal(subject, "a.b", 443, NOW, LIMITS) is Answer.SECOND_LOOK
    subject.policy = WEB_ONLY
    assert on_refusal(subject, "a.b", 25, NOW, LIMITS) is Answer.ANOTHER
    assert on_refusal(subject, "a.b", 443, NOW, LIMITS) is Answer.SECOND_LOOK
    subject.second_looks[443] = NOW
    assert on_refusal(subject, "a.b", 443, NOW + 1, LIMITS) is Answer.TELL
    assert on_refusal(subject, "a.b", 443, NOW + LIMITS.second_look + 1, LIMITS) is Answer.SECOND_LOOK
    subject.opened_ports[80] = NOW
    assert on_refusal(subject, "a.b", 80, NOW + 1, LIMITS) is Answer.TELL, "it opens others there"
    assert on_refusal(subject, "a.b", 80, NOW + LIMITS.remember + 1, LIMITS) is Answer.SECOND_LOOK


def test_a_port_that_was_refused_is_remembered_for_a_while():
    one, other = record(1), record(2)
    one.refused_ports[25] = NOW
    assert to_try([one, other], "a.b", 25, NOW, LIMITS) == [other]
    assert to_try([one, other], "a.b", 80, NOW, LIMITS) == [one, other]
    assert to_try([one, other], "a.b", 25, NOW + LIMITS.remember, LIMITS) == [one, other]


def test_nobody_is_asked_without_need():
    subject = after(Event.HEARD)
    asleep = {"in_use": True, "streams": 3, "awake": False}
    assert ask_at(subject, NOW, LIMITS, **asleep) is None
    assert ask_at(subject, NOW, LIMITS, in_use=False, streams=0, awake=True) is None
    assert ask_at(subject, NOW, LIMITS, in_use=True, streams=0, awake=True) == NOW + LIMITS.fresh
    assert ask_at(subject, NOW, LIMITS, in_use=False, streams=1, awake=True) == NOW + LIMITS.quiet
    assert ask_at(record(), NOW, LIMITS, in_use=True, streams=0, awake=True) == NOW


@given(st.integers(min_value=1, max_value=30))
def test_a_silent_exit_with_streams_is_asked_until_they_are_given_up(misses):
    subject, now, rng = record(), NOW, random.Random(1)
    for _ in range(misses):
        subject.asked_at = now
        now += 5
        subject.happened(Event.MISSED, now, rng, LIMITS)
        due = ask_at(subject, now, LIMITS, in_use=False, streams=1, awake=True)
        assert due is not None
        assert due - now <= 4 * LIMITS.back_off_first
        now = max(now, due)
    gone = misses >= LIMITS.gone_misses and now - NOW - 5 >= LIMITS.gone
    assert is_gone(subject, now, LIMITS) is gone
    subject.happened(Event.HEARD, now, rng, LIMITS)
    assert not is_gone(subject, now + 1000, LIMITS)


def test_what_others_see():
    subject = after(Event.OPENED)
    subject.asked_at = NOW - 3
    subject.answered(0.4)
    state = state_of(subject, NOW + 5, in_use=True, is_open=True, streams=2)
    assert (state.state, state.heard_seconds, state.probed_seconds) == ("in use", 5.0, 8.0)
    assert (state.latency_seconds, state.streams, state.opened) == (0.4, 2, 1)
    assert Recipient.parse(state.address) == subject.recipient
    subject.happened(Event.MISSED, NOW, random.Random(1), LIMITS)
    assert state_of(subject, NOW, in_use=True, is_open=True, streams=2).state == "down"
