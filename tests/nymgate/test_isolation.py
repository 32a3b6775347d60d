"""Keys of isolation, and who may have an identity: a small model beside the table."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from nymgate.listener.caller import ANYBODY, Caller
from nymgate.listener.handshake import Target
from nymgate.ways.isolation import RULES, Isolation, IsolationKey, Kind, Register, Verdict

SECRET = bytes(range(32))
SITE = Target("site.example", 443)
words = st.none() | st.text(max_size=6)


def isolation(*kinds, secret=SECRET):
    return Isolation(frozenset(kinds), secret)


def test_who_says_nothing_has_no_key():
    everything_said = isolation(Kind.CREDENTIAL, Kind.TOKEN, Kind.USER)
    assert everything_said.key(ANYBODY, SITE) is None
    assert isolation().key(Caller("l", "::1", "u", "c", "t"), SITE) is None
    assert isolation(Kind.CLIENT).key(Caller("unix:/run/x", None), SITE) is None
    assert isolation(Kind.CREDENTIAL).key(Caller("l", token="t"), SITE) is None


@pytest.mark.parametrize("kind", list(Kind))
def test_each_kind_keeps_apart_what_differs_in_it_and_nothing_else(kind):
    base = {"listener": "l", "peer": "10.0.0.1", "user": "u", "credential": "c", "token": "t"}
    fields = {"peer": Kind.CLIENT} | {kind.value: kind for kind in Kind if kind.value in base}
    one = isolation(kind)
    first = one.key(Caller(**base), SITE)
    assert first == one.key(Caller(**base), Target("SITE.example.", 80)), (
        "a host in another spelling, another port"
    )
    for name, changes in fields.items():
        other = one.key(Caller(**base | {name: "other"}), SITE)
        assert (other != first) == (changes is kind)
    assert (one.key(Caller(**base), Target("other.example", 443)) != first) == (kind is Kind.DESTINATION)


@given(st.tuples(words, words, words), st.tuples(words, words, words))
def test_two_callers_share_a_key_only_if_they_say_the_same(one, other):
    keys = isolation(Kind.CREDENTIAL, Kind.TOKEN, Kind.USER)
    first, second = (
        keys.key(Caller("l", None, user, credential, token), SITE) for user, credential, token in (one, other)
    )
    assert (first == second) == (one == other)


@given(st.text(min_size=1))
def test_nothing_readable_is_left(secret_word):
    caller = Caller("l", credential=secret_word)
    key = isolation(Kind.CREDENTIAL).key(caller, SITE)
    assert len(key.folder) == 32
    assert key.folder not in repr(key)
    other_folder = isolation(Kind.CREDENTIAL, secret=bytes(32)).key(caller, SITE)
    assert other_folder.folder != key.folder, "another data folder has another name for the same words"
    assert SECRET.hex() not in repr(isolation(Kind.USER))


def test_the_table_knows_every_case():
    assert set(RULES) == {(a, b, c) for a in (True, False) for b in (True, False) for c in (True, False)}


def key(number):
    return IsolationKey(bytes([number]) * 16)


def test_the_longest_idle_one_gives_way_and_busy_ones_never_do():
    register = Register(2, keep_seconds=100.0)
    first, second = register.admit(key(1), 0.0), register.admit(key(2), 1.0)
    first.opened()
    assert register.ask(key(3)) == (Verdict.REPLACE, second)
    second.opened()
    assert register.ask(key(3)) == (Verdict.REFUSE, None)
    assert register.ask(key(1)) == (Verdict.USE, first)
    first.closed(5.0)
    second.closed(6.0)
    assert register.ask(key(3)) == (Verdict.REPLACE, first)
    assert register.timer() == 105.0
    assert list(register.due(104.9)) == []
    assert list(register.due(105.0)) == [first]
    register.leave(first)
    register.leave(first)
    assert register.ask(key(3)) == (Verdict.MAKE, None)
    with pytest.raises(ValueError, match="already"):
        register.admit(key(2), 7.0)
    with pytest.raises(ValueError, match="more streams"):
        second.closed(8.0)


def test_a_lower_limit_closes_only_those_without_streams():
    register = Register(4, keep_seconds=float("inf"))
    lodgers = [register.admit(key(number), float(number)) for number in range(4)]
    lodgers[0].opened()
    register.most = 1
    assert register.surplus() == lodgers[1:]
    assert register.timer() is None


class Lodging(RuleBasedStateMachine):
    """Streams come and go for few keys: never more identities than allowed, never one closed under a stream."""

    def __init__(self) -> None:
        super().__init__()
        self.now = 0.0
        self.register = Register(3, keep_seconds=10.0)
        self.streams: dict[object, int] = {}

    @rule(number=st.integers(0, 6), later=st.floats(0, 5))
    def stream(self, number, later):
        self.now += later
        verdict, lodger = self.register.ask(key(number))
        if verdict is Verdict.REFUSE:
            assert all(self.streams.values())
            assert len(self.streams) == 3
            return
        if verdict is Verdict.REPLACE:
            assert self.streams.pop(lodger) == 0
            self.register.leave(lodger)
        if verdict is not Verdict.USE:
            lodger = self.register.admit(key(number), self.now)
            self.streams[lodger] = 0
        lodger.opened()
        self.streams[lodger] += 1

    @precondition(lambda self: any(self.streams.values()))
    @rule(data=st.data(), later=st.floats(0, 5))
    def end(self, data, later):
        self.now += later
        lodger = data.draw(st.sampled_from([lodger for lodger, count in self.streams.items() if count]))
        lodger.closed(self.now)
        self.streams[lodger] -= 1

    @rule(later=st.floats(0, 30))
    def wait(self, later):
        self.now += later
        for lodger in self.register.due(self.now):
            assert self.streams.pop(lodger) == 0
            self.register.leave(lodger)

    @invariant()
    def bounded(self):
        assert len(self.register) == len(self.streams) <= 3
        assert set(self.register) == set(self.streams)


TestLodging = Lodging.TestCase
