"""The connection table's bounds; its semantics are held by the vectors."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from nym_exit.codec import Send
from nym_exit.controller import MESSAGE_COST_BYTES, ConnectionTable


def table(**limits):
    return ConnectionTable[str, Send](**limits)


def test_messages_wait_for_their_connect_in_order_of_arrival():
    connections = table()
    early = [Send(1, 2, b"c"), Send(1, 0, b"a"), Send(2, 0, b"other")]
    for message in early:
        assert connections.route(message) is None
    assert connections.pending_messages == 3
    assert connections.insert(1, "one") == early[:2]
    assert connections.pending_messages == 1
    assert connections.route(Send(1, 1, b"b")) == "one"
    assert connections.get(1) == "one"
    assert 1 in connections
    assert 2 not in connections
    assert list(connections.entries()) == ["one"]
    assert dict(connections.items()) == {1: "one"}


def test_a_second_connect_replaces_the_first_and_replays_nothing():
    connections = table()
    connections.insert(1, "first")
    assert connections.insert(1, "second") == []
    assert connections.route(Send(1, 0)) == "second"


def test_stragglers_of_a_removed_connection_are_counted_and_dropped():
    connections = table()
    connections.insert(1, "one")
    assert connections.remove(1) == "one"
    assert connections.route(Send(1, 5, b"late")) is None
    assert connections.late_messages == 1
    assert connections.pending_messages == 0
    assert len(connections) == 0


def test_removing_drops_what_waits():
    connections = table()
    connections.route(Send(1, 0, b"early"))
    assert connections.remove(1) is None
    assert connections.pending_messages == 0


def test_closed_ids_are_forgotten_in_order():
    connections = table(remembered_closed=2)
    for number in (1, 2, 1, 3):
        connections.remember_closed(number)
    assert [connections.recently_closed(number) for number in (1, 2, 3)] == [True, False, True]


def test_one_id_cannot_push_its_own_beginning_out():
    connections = table(pending_bytes=4 * MESSAGE_COST_BYTES)
    for seq in range(10):
        connections.route(Send(1, seq))
    assert [message.seq for message in connections.insert(1, "one")] == [0, 1, 2, 3]
    assert connections.overflowed_messages == 6


def test_a_message_larger_than_all_room_is_dropped():
    connections = table(pending_bytes=1000)
    connections.route(Send(1, 0, b"small"))
    connections.route(Send(2, 0, bytes(2000)))
    assert connections.pending_messages == 1
    assert connections.overflowed_messages == 1


@given(
    st.lists(st.tuples(st.integers(0, 6), st.integers(0, 400), st.sampled_from(["send", "insert", "remove"])))
)
def test_what_waits_is_bounded(steps):
    connections = table(pending_connections=3, pending_bytes=1500, remembered_closed=2)
    accounted = 0
    for connection_id, size, step in steps:
        match step:
            case "send":
                connections.route(Send(connection_id, 0, bytes(size)))
            case "insert":
                accounted += len(connections.insert(connection_id, "entry"))
            case "remove":
                connections.remove(connection_id)
        waiting = connections._pending
        assert len(waiting) <= 3
        cost = sum(len(m.data) + MESSAGE_COST_BYTES for messages in waiting.values() for m in messages)
        assert cost == connections._pending_cost <= 1500
        assert all(waiting.values())
        assert len(connections._recently_closed) <= 2
