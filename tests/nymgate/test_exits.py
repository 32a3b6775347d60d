"""Choosing entry and exit: never the same node, never in a fixed order."""

import random

import pytest

from nym_mixnet.errors import TopologyUnusable
from nymgate.exits import ExitCandidate, choose_entry, leaves_an_exit, listed_exits, shuffled, usable_exits
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
