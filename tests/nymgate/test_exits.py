"""Choosing entry and exit: never the same node, never in a fixed order."""

import random

import pytest

from nym_exit.exit_policy import ExitPolicy
from nym_mixnet.errors import TopologyUnusable
from nym_sphinx import b58encode
from nymgate.exits.choice import (
    ExitCandidate,
    Reachable,
    Wish,
    choose_entry,
    leaves_an_exit,
    listed_exits,
    no_exit_matches,
    shuffled,
    usable_exits,
    wished_exits,
)
from nymgate.exits.listing import Probed, exit_lines, exit_rows
from tests.nymgate.mixnet_world import identity, node, recipient, requester, topology

RNG = random.Random(7)
A, B, C = identity(1), identity(2), identity(3)


def test_exits_are_read_from_descriptions_and_bad_ones_left_out():
    nodes = [
        requester(1, A, str(recipient(A)), country="CH"),
        requester(2, B, "nonsense"),
        requester(3, C, None),
        requester(4, C, "a.b@c"),
    ]
    assert listed_exits(nodes) == [ExitCandidate(recipient(A), "CH")]


def test_the_entry_is_never_the_exit():
    world = topology(node(1, A), node(2, B))
    exits = [ExitCandidate(recipient(A)), ExitCandidate(recipient(B)), ExitCandidate(recipient(C))]
    assert usable_exits(exits, world, entry=A) == [exits[1]], "C is not in the topology, A is the entry"


def test_an_entry_leaves_an_exit_to_use():
    world = topology(node(1, A), node(2, B))
    assert {choose_entry(world, [A], RNG).identity for _ in range(50)} == {B}
    assert {choose_entry(world, [A, B], RNG).identity for _ in range(50)} == {A, B}
    assert {choose_entry(world, [], RNG).identity for _ in range(50)} == {A, B}
    with pytest.raises(TopologyUnusable, match="both"):
        choose_entry(topology(node(1, A)), [A], RNG)


def test_gateways_to_avoid_are_taken_only_if_there_is_nobody_else():
    world = topology(node(1, A), node(2, B))
    assert {choose_entry(world, [], RNG, avoid=[A]).identity for _ in range(50)} == {B}
    assert {choose_entry(world, [], RNG, avoid=[A, B]).identity for _ in range(50)} == {A, B}


def test_nodes_without_a_websocket_are_no_entries():
    with pytest.raises(TopologyUnusable):
        choose_entry(topology(node(1, A, entry=False)), [], RNG)


def test_leaves_an_exit():
    assert leaves_an_exit(A, [B])
    assert leaves_an_exit(A, [A, B])
    assert not leaves_an_exit(A, [A, A])


def test_the_order_is_random():
    exits = [ExitCandidate(recipient(key)) for key in (A, B, C)]
    orders = {tuple(e.recipient for e in shuffled(exits, RNG)) for _ in range(100)}
    assert len(orders) == 6


@pytest.mark.parametrize(
    "text, expected",
    [
        ("auto", Wish()),
        ("country:ch,DE", Wish(countries=("CH", "DE"))),
        ("country:CH, CH", Wish(countries=("CH",))),
        (b58encode(A), Wish(identity=A)),
        (str(recipient(A)), Wish(identity=A, recipient=recipient(A))),
    ],
)
def test_wishes_are_read(text, expected):
    assert Wish.parse(text) == expected
    assert Wish.parse(text).is_open is (text == "auto")


@pytest.mark.parametrize(
    "text", ["country:", "country:CHE", "country:C1", "country:CH,,DE", "nobody", "a.b@c"]
)
def test_wishes_that_cannot_be_read(text):
    with pytest.raises(ValueError):
        Wish.parse(text)


def test_a_wish_leaves_those_that_fit():
    exits = [
        ExitCandidate(recipient(A), "CH"),
        ExitCandidate(recipient(B), "DE"),
        ExitCandidate(recipient(C), None),
    ]
    assert wished_exits(exits, Wish()) == exits
    assert wished_exits(exits, Wish(countries=("DE", "FR"))) == [exits[1]]
    assert wished_exits(exits, Wish(identity=C)) == [exits[2]]
    assert wished_exits(exits, Wish.parse(str(recipient(A)))) == [exits[0]]
    unlisted = recipient(identity(9))
    assert wished_exits(exits, Wish.parse(str(unlisted))) == [ExitCandidate(unlisted)]
    assert wished_exits(exits, Wish(countries=("FR",))) == []
    told = no_exit_matches(exits, Wish(countries=("FR",)))
    assert "no exit in FR; there are some in CH, DE" in told.what
    assert "no network requester" in no_exit_matches([], Wish(countries=("FR",))).what
    assert b58encode(A) in no_exit_matches(exits, Wish(identity=A)).what


def test_scores_come_from_the_directory():
    nodes = [requester(1, A, str(recipient(A))), requester(2, B, str(recipient(B)))]
    assert [each.score for each in listed_exits(nodes, {A: 93})] == [93, None]


def test_an_entry_is_taken_where_it_may_be_and_by_score():
    world = topology(node(1, A), node(2, B), node(3, C))
    assert {choose_entry(world, [], RNG, allowed=[A, B], scores={A: 100}).identity for _ in range(200)} == {
        A,
        B,
    }
    chosen = [choose_entry(world, [], RNG, scores={A: 100, B: 10, C: 10}).identity for _ in range(500)]
    assert chosen.count(A) > 450
    with pytest.raises(TopologyUnusable, match=r"mixnet\.entry allows"):
        choose_entry(world, [], RNG, allowed=[])


def test_what_can_be_reached_follows_the_topology_and_outlives_it():
    newest = [topology(node(1, A))]

    def current():
        if newest[0] is None:
            raise TopologyUnusable("too old")
        return newest[0]

    reachable = Reachable(current)
    assert A in reachable()
    assert B not in reachable()
    newest[0] = topology(node(2, B))
    assert B in reachable()
    assert A not in reachable()
    newest[0] = None
    assert B in reachable()


def test_rows_say_whether_an_exit_may_be_used_and_why_not():
    exits = [
        ExitCandidate(recipient(A), "CH", score=80),
        ExitCandidate(recipient(B), "CH", score=90),
        ExitCandidate(recipient(C), None, uses_exit_policy=False),
    ]
    rows = exit_rows(exits, {A, B}, Wish(countries=("CH",)), entry=A)
    assert [(row["identity"], row["usable"], row["why_not"]) for row in rows] == [
        (b58encode(B), True, None),
        (b58encode(A), False, "at the entry gateway"),
        (b58encode(C), False, "not in the topology"),
    ]
    assert [row["policy"] for row in rows] == ["exit policy", "exit policy", "open"]
    assert (
        exit_rows(exits[:1], {A}, Wish(countries=("DE",)), None)[0]["why_not"]
        == "not in a country of mixnet.exit"
    )
    assert exit_rows(exits[:1], {A}, Wish(identity=B), None)[0]["why_not"] == "not the one of mixnet.exit"
    text = "\n".join(exit_lines(rows, probed=False))
    assert all(row["identity"] in text for row in rows)
    assert "no, at the entry gateway" in text
    assert "90 %" in text
    assert exit_lines([], probed=True) == ["The network lists no exits here."]


def test_rows_of_probed_exits():
    policy = ExitPolicy.parse(
        "ExitPolicy accept 1.0.0.0/8:25\nExitPolicy reject *:1-79\nExitPolicy accept *:*"
    )
    exits = [ExitCandidate(recipient(key)) for key in (A, B, C)]
    probed = {recipient(A): Probed(True, 0.31, policy), recipient(B): Probed(False)}
    rows = {row["identity"]: row for row in exit_rows(exits, {A, B, C}, Wish(), None, probed)}
    a, b, c = (rows[b58encode(key)] for key in (A, B, C))
    assert (a["answers"], a["latency_seconds"]) == (True, 0.31)
    assert (a["ports"]["denied"], a["ports"]["unknown"]) == ([21, 22, 53], [25])
    assert 443 in a["ports"]["permitted"]
    assert (b["answers"], b["ports"]) == (False, None)
    assert "answers" not in c, "it was not asked"
    lines = exit_lines([a, b, c], probed=True)
    assert "0.31 s" in lines[1]
    assert "21, 22, 53, 25 but for some addresses" in lines[1]
