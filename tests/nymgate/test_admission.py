"""Caps and the fair queue, by hand and by chance."""

from collections import Counter

from hypothesis import strategies as st
from hypothesis.stateful import Bundle, RuleBasedStateMachine, consumes, invariant, multiple, rule

from nymgate.access.admission import Admission, AdmissionLimits


def admission(**limits):
    return Admission(AdmissionLimits(**limits))


def test_without_caps_of_their_own_only_the_total_counts():
    gate = admission(total=3)
    assert [gate.enter("a", "x") for _ in range(4)] == [True, True, True, False]
    gate.leave("a", "x")
    assert gate.enter("b", "y")


def test_each_cap_holds():
    gate = admission(total=10, per_caller=2, per_destination=3)
    assert [gate.enter("a", "x") for _ in range(3)] == [True, True, False]
    assert [gate.enter("b", "x") for _ in range(2)] == [True, False], "three to x"
    assert gate.enter("b", "y")
    assert not gate.enter("b", "z"), "two of b"
    assert [gate.enter("c", str(i), most=4) for i in range(5)] == [True] * 4 + [False], "c has another cap"


def test_callers_take_turns_whoever_asked_for_more():
    gate, order = admission(total=1, queue_per_caller=100), []
    assert gate.enter("first", "x")
    for number in range(50):
        assert gate.wait("download", "x", lambda n=number: order.append(("download", n)))
    gate.wait("login", "x", lambda: order.append(("login", 0)))
    who = "first"
    for _ in range(4):
        gate.leave(who, "x")
        who = order[-1][0]
    assert order == [("download", 0), ("login", 0), ("download", 1), ("download", 2)]
    assert (gate.streams, gate.waiting) == (1, 47)


def test_who_is_held_by_a_destination_does_not_hold_up_others():
    gate, order = admission(total=3, per_destination=1, queue_per_caller=9), []
    assert gate.enter("a", "busy")
    assert gate.enter("b", "other")
    assert gate.enter("c", "third")
    gate.wait("a", "busy", lambda: order.append("busy"))
    gate.wait("a", "free", lambda: order.append("free"))
    gate.leave("b", "other")
    assert order == ["free"]
    gate.leave("a", "busy")
    assert order == ["free", "busy"]


def test_queues_are_bounded():
    gate = admission(total=0, queue_per_caller=2, queue_total=3)
    waiters = [gate.wait(who, "x", lambda: None) for who in ("a", "a", "a", "b", "c")]
    assert [waiter is not None for waiter in waiters] == [True, True, False, True, False]
    assert gate.withdraw(waiters[0])
    assert not gate.withdraw(waiters[0])
    assert gate.waiting == 2
    assert admission(total=0).wait("a", "x", lambda: None) is None


def test_wider_caps_let_those_in_who_wait():
    gate, order = admission(total=1, queue_per_caller=5), []
    gate.enter("a", "x")
    gate.wait("a", "x", lambda: order.append(1))
    gate.wait("b", "x", lambda: order.append(2))
    gate.change(AdmissionLimits(total=3))
    assert sorted(order) == [1, 2]
    assert gate.waiting == 0


class Queueing(RuleBasedStateMachine):
    """Whatever happens, caps hold, nobody is lost, and nobody waits who has room."""

    streams = Bundle("streams")
    waiters = Bundle("waiters")
    callers = st.sampled_from("abc")
    destinations = st.sampled_from("xyz")

    def __init__(self):
        super().__init__()
        self.gate = admission(total=5, per_caller=3, per_destination=2, queue_per_caller=3, queue_total=7)
        self.inside = Counter()
        self.queued = {}
        self.granted = []

    @rule(target=streams, who=callers, where=destinations)
    def come(self, who, where):
        if self.gate.enter(who, where):
            self.inside[who, where] += 1
            return (who, where)
        number = object()

        def granted():
            self.inside[who, where] += 1
            self.granted.append(self.queued.pop(number)[:2])

        waiter = self.gate.wait(who, where, granted)
        if waiter is not None:
            self.queued[number] = (who, where, waiter)
        return multiple()

    @rule(target=streams)
    def take_granted(self):
        granted, self.granted = self.granted, []
        return multiple(*granted)

    @rule(stream=consumes(streams))
    def go(self, stream):
        self.inside[stream] -= 1
        self.gate.leave(*stream)

    @rule(pick=st.integers(0, 99))
    def give_up(self, pick):
        if self.queued:
            number = sorted(self.queued, key=id)[pick % len(self.queued)]
            assert self.gate.withdraw(self.queued.pop(number)[2])

    @invariant()
    def caps_hold(self):
        inside = +self.inside
        assert self.gate.streams == inside.total() <= 5
        assert self.gate.waiting == len(self.queued) <= 7
        for who in "abc":
            assert sum(count for (caller, _), count in inside.items() if caller == who) <= 3
        for where in "xyz":
            assert sum(count for (_, place), count in inside.items() if place == where) <= 2

    @invariant()
    def nobody_waits_in_vain(self):
        for who, where, _waiter in self.queued.values():
            assert not self.gate._room(who, where, 0)


TestQueueing = Queueing.TestCase
