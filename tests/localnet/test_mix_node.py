"""A mix node does what docs/protocol/01 §8 and 02 §2.1 say, on real sockets."""

from __future__ import annotations

import asyncio
import socket
from contextlib import AsyncExitStack
from ipaddress import IPv4Address

import pytest

from nym_localnet import peers_io
from nym_localnet.addresses import PeerFilter
from nym_localnet.counters import Faults, MixCounters
from nym_localnet.delays_io import MAX_WAITING, DelayQueue
from nym_localnet.mix_io import MixSettings
from nym_localnet.peers_io import QUEUE_BYTES, PeerPool
from nym_mixnet.tasks_io import TaskSet
from nym_sphinx import Hop, KeyRotation, NodeAddress, PacketSize, PacketType, encode_frame, prepare_packet
from tests.localnet.harness import LOOPBACK, ROTATION, Node, loopback, make_packet, node, peer_of, sink, until


async def chain(stack: AsyncExitStack, **last: object) -> list[Node]:
    mixes = [await stack.enter_async_context(node(seed=number)) for number in (1, 2, 3)]
    return [*mixes, await stack.enter_async_context(node(seed=4, final=True))]


async def test_packets_of_every_size_go_through_three_mixes_to_the_last_hop() -> None:
    async with AsyncExitStack() as stack:
        route = await chain(stack)
        peer = await stack.enter_async_context(peer_of(route[0]))
        sizes = list(PacketSize)
        for size in sizes:
            await peer.send(make_packet(route, size.name.encode(), size=size, destination=b"\x07" * 32))
        await until(lambda: len(route[-1].delivered) == len(sizes), "all packets delivered")
        assert {hop.plaintext for hop, _ in route[-1].delivered} == {size.name.encode() for size in sizes}
        assert {frame.size for _, frame in route[-1].delivered} == set(sizes)
        assert all(hop.destination == b"\x07" * 32 for hop, _ in route[-1].delivered)
        assert all(frame.rotation is KeyRotation.ODD for _, frame in route[-1].delivered)
        for each in route[:3]:
            assert each.mix.counters.forwarded == len(sizes)
            assert each.mix.counters.received_acks == 1
        assert route[-1].mix.counters.final == len(sizes)


async def test_a_packet_waits_the_delay_of_its_header_counted_from_receipt() -> None:
    async with AsyncExitStack() as stack:
        route = await chain(stack)
        peer = await stack.enter_async_context(peer_of(route[0]))
        loop = asyncio.get_running_loop()
        started = loop.time()
        await peer.send(make_packet(route, b"late", delays_ns=[100_000_000, 50_000_000, 0, 10**18]))
        await peer.send(make_packet(route, b"soon"))
        await until(lambda: len(route[-1].delivered) == 2, "both delivered")
        assert [hop.plaintext for hop, _ in route[-1].delivered] == [b"soon", b"late"]
        assert loop.time() - started >= 0.149


async def test_delays_are_clamped() -> None:
    async with sink() as collected, node(settings=MixSettings(max_delay_seconds=0.01)) as mix:
        next_hop = Hop(loopback(collected.port), mix.hop.public_key)
        packet = prepare_packet([mix.hop, next_hop], [10**18, 0], bytes(32)).seal(b"x", PacketSize.REGULAR)
        async with peer_of(mix) as peer:
            await peer.send(packet)
            await until(lambda: collected.frames, "forwarded long before its delay")


async def test_a_replayed_packet_is_dropped_by_the_first_node() -> None:
    async with AsyncExitStack() as stack:
        route = await chain(stack)
        peer = await stack.enter_async_context(peer_of(route[0]))
        packet = make_packet(route)
        for _ in range(3):
            await peer.send(packet)
        await peer.send(make_packet(route, b"other"))
        await until(lambda: len(route[-1].delivered) == 2, "one of each delivered")
        await until(lambda: route[0].mix.counters.received == 4, "all read")
        assert route[0].mix.counters.dropped_replayed == 2
        assert route[1].mix.counters.received == 2


async def test_replay_protection_can_be_switched_off() -> None:
    async with (
        node(settings=MixSettings(replay_protection=False), final=True) as last,
        peer_of(last) as peer,
    ):
        packet = make_packet([last])
        for _ in range(3):
            await peer.send(packet)
        await until(lambda: len(last.delivered) == 3, "all delivered")


async def test_lost_packets_are_counted() -> None:
    async with node(final=True, faults=Faults(loss=0.5)) as last, peer_of(last) as peer:
        for _ in range(200):
            await peer.send(make_packet([last], size=PacketSize.ACK))
        await until(lambda: last.mix.counters.received == 200, "all read")
        counters = last.mix.counters
        assert counters.final + counters.dropped_lost == 200
        assert 60 <= counters.dropped_lost <= 140
        last.mix.faults.loss = 0.0
        await peer.send(make_packet([last], size=PacketSize.ACK))
        await until(lambda: counters.received == 201, "read")
        assert counters.final + counters.dropped_lost == 201


async def test_a_stalled_node_reads_nothing_and_catches_up() -> None:
    async with node(final=True) as last, peer_of(last) as peer:
        await until(lambda: last.mix.counters.connections_in == 1, "connected")
        last.mix.set_stall(True)
        await peer.send(make_packet([last]))
        async with peer_of(last) as second:  # connections made meanwhile stand still as well
            await second.send(make_packet([last]))
            await asyncio.sleep(0.05)
            assert last.mix.counters.received == 0
            last.mix.set_stall(False)
            await until(lambda: len(last.delivered) == 2, "read after the stall")


async def test_extra_delay() -> None:
    async with sink() as collected, node(faults=Faults(extra_delay_seconds=0.1)) as mix, peer_of(mix) as peer:
        next_hop = Hop(loopback(collected.port), mix.hop.public_key)
        started = asyncio.get_running_loop().time()
        await peer.send(prepare_packet([mix.hop, next_hop], [0, 0], bytes(32)).seal(b"x", PacketSize.ACK))
        await until(lambda: collected.frames, "forwarded")
        assert asyncio.get_running_loop().time() - started >= 0.099


async def test_both_frame_versions_are_read_and_the_chosen_one_is_written() -> None:
    async with (
        sink() as collected,
        node(seed=1) as current,
        node(seed=2, settings=MixSettings(legacy_frames=True)) as legacy,
    ):
        target = loopback(collected.port)
        for mix in (current, legacy):
            for version in (7, 8):
                packet = prepare_packet([mix.hop, Hop(target, mix.hop.public_key)], [0, 0], bytes(32))
                async with peer_of(mix) as peer:
                    await peer.send(packet.seal(b"x", PacketSize.ACK), KeyRotation.ODD, version)
                    await until(lambda: mix.mix.counters.forwarded == version - 6, "forwarded")  # noqa: B023
        await until(lambda: len(collected.frames) == 4, "all collected")
        assert sorted((frame.version, frame.rotation) for frame in collected.frames) == [
            (7, KeyRotation.UNKNOWN),
            (7, KeyRotation.UNKNOWN),
            (8, KeyRotation.UNKNOWN),  # came as v7
            (8, KeyRotation.ODD),
        ]


async def test_rotation_keeps_the_previous_key_until_the_next_rotation() -> None:
    async with node(final=True) as last, peer_of(last) as peer:
        old, older = make_packet([last], b"old"), make_packet([last], b"older")
        unknown = make_packet([last], b"unknown")
        counters = last.mix.counters
        last.mix.keys.rotate(ROTATION + 1)
        await peer.send(old, KeyRotation.ODD)
        await peer.send(unknown, KeyRotation.UNKNOWN)
        await peer.send(make_packet([last], b"new"), KeyRotation.EVEN)
        await until(lambda: len(last.delivered) == 3, "both keys work")
        assert [hop.plaintext for hop, _ in last.delivered] == [b"old", b"unknown", b"new"]
        await peer.send(old, KeyRotation.ODD)
        await until(lambda: counters.dropped_replayed == 1, "replays under the previous key are noticed")
        last.mix.keys.rotate(ROTATION + 2)
        await peer.send(older, KeyRotation.ODD)  # the odd key is another one now
        await until(lambda: counters.dropped_malformed == 1, "dropped")
        last.mix.keys.rotate(ROTATION + 2)
        assert last.mix.keys.secondary is not None
        assert last.mix.keys.secondary.rotation_id == ROTATION + 1


async def test_a_parity_without_a_key_is_dropped() -> None:
    async with node(final=True) as last, peer_of(last) as peer:
        await peer.send(make_packet([last]), KeyRotation.EVEN)
        await until(lambda: last.mix.counters.dropped_expired_key == 1, "dropped")
        assert not last.delivered


async def test_malformed_packets_are_dropped_and_the_connection_lives() -> None:
    async with node(final=True) as last, peer_of(last) as peer:
        packet = bytearray(make_packet([last]))
        packet[100] ^= 1  # routing information: the header does not authenticate any more
        await peer.send(bytes(packet))
        payload = bytearray(make_packet([last]))
        payload[-1] ^= 1  # the payload is noise
        await peer.send(bytes(payload))
        await peer.send(make_packet([last], b"fine"))
        await until(lambda: len(last.delivered) == 1, "the good one arrives")
        assert last.mix.counters.dropped_malformed == 2


async def test_broken_framing_ends_the_connection() -> None:
    async with node(final=True) as last, peer_of(last) as peer:
        await peer.send(make_packet([last], b"fine"))
        peer.writer.write(b"\x09\x01\x00")
        assert await peer.ended()
        assert len(last.delivered) == 1
        assert last.mix.counters.connections_corrupted == 1


async def test_next_hops_outside_the_network_are_refused() -> None:
    async with node() as mix, peer_of(mix) as peer:
        public = NodeAddress(IPv4Address("192.0.2.1"), 1789)
        for address in (public, loopback(0)):
            hops = [mix.hop, Hop(address, mix.hop.public_key)]
            await peer.send(prepare_packet(hops, [0, 0], bytes(32)).seal(b"x", PacketSize.ACK))
        await until(lambda: mix.mix.counters.dropped_no_route == 2, "dropped")
        assert PeerFilter([IPv4Address("192.0.2.1")]).allows(public)


async def test_a_packet_that_ends_at_a_mix_node_is_dropped() -> None:
    async with node() as mix, peer_of(mix) as peer:
        await peer.send(make_packet([mix]))
        await until(lambda: mix.mix.counters.dropped_no_route == 1, "dropped")


async def test_links_wait_for_a_peer_that_is_not_up_yet() -> None:
    with socket.socket() as reserved:
        reserved.bind((LOOPBACK, 0))
        port = reserved.getsockname()[1]
    async with TaskSet("test") as tasks:
        counters = MixCounters()
        pool = PeerPool(PeerFilter(), counters, tasks)
        link = pool.by_address(loopback(port))
        assert link is not None
        assert pool.by_wire(loopback(port).encode_padded(32)) is link
        assert link.send(b"one")
        await asyncio.sleep(0.03)
        assert link.send(b"two")
        got = bytearray()

        async def collect(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            got.extend(await reader.readexactly(6))
            writer.close()

        server = await asyncio.start_server(collect, LOOPBACK, port)
        await until(lambda: bytes(got) == b"onetwo", "queued frames arrive in order")
        pool.close()
        server.close()


async def test_a_full_link_drops_and_counts() -> None:
    async with TaskSet("test") as tasks:
        counters = MixCounters()
        pool = PeerPool(PeerFilter(), counters, tasks)
        link = pool.by_address(loopback(1))
        assert link is not None
        assert link.send(bytes(QUEUE_BYTES))
        assert not link.send(b"x")
        assert counters.dropped_queue_full == 1
        pool.close()
        assert counters.dropped_unreachable == 1
        assert not link.send(b"x")


async def test_the_number_of_waiting_packets_is_bounded() -> None:
    async with TaskSet("test") as tasks:
        link = PeerPool(PeerFilter(), MixCounters(), tasks).by_address(loopback(1))
        assert link is not None
        waiting = DelayQueue()
        far = asyncio.get_running_loop().time() + 1000
        assert all(waiting.push(far, b"", link) for _ in range(MAX_WAITING))
        assert not waiting.push(far, b"", link)
        waiting.close()
        assert len(waiting) == 0


async def test_other_packet_types_and_unknown_first_hops_are_dropped() -> None:
    async with node(final=True) as last, peer_of(last) as peer:
        frame = encode_frame(make_packet([last]), packet_type=PacketType.OUTFOX, version=8)
        peer.writer.write(frame)
        await until(lambda: last.mix.counters.dropped_unsupported == 1, "dropped")
        assert not last.mix.forward(loopback(0), b"", KeyRotation.ODD)
        assert last.mix.counters.dropped_no_route == 1


async def test_an_unreadable_next_address_is_dropped() -> None:
    async with node() as mix:
        pool = PeerPool(PeerFilter(), mix.mix.counters, TaskSet("test"))
        assert pool.by_wire(bytes(32)) is None


async def test_a_peer_that_stays_away_loses_what_waited(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(peers_io, "GIVE_UP_SECONDS", 0.05)
    with socket.socket() as closed:
        closed.bind((LOOPBACK, 0))
        async with TaskSet("test") as tasks:
            counters = MixCounters()
            link = PeerPool(PeerFilter(), counters, tasks).by_address(loopback(closed.getsockname()[1]))
            assert link is not None
            assert link.send(b"lost")
            await until(lambda: counters.dropped_unreachable == 1, "given up")
            assert link.idle


async def test_a_link_is_made_again_when_it_broke() -> None:
    got: list[bytes] = []

    async def one_frame(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        got.append(await reader.readexactly(3))
        writer.write(b"nobody listens to this")
        writer.close()

    server = await asyncio.start_server(one_frame, LOOPBACK, 0)
    async with TaskSet("test") as tasks:
        pool = PeerPool(PeerFilter(), MixCounters(), tasks)
        link = pool.by_address(loopback(server.sockets[0].getsockname()[1]))
        assert link is not None
        for number in range(3):
            link.send(b"%03d" % number)
            await until(lambda: len(got) == number + 1, "received")  # noqa: B023
            await until(lambda: link._transport is None, "closed by the peer")
        pool.close()
    server.close()
    assert got == [b"000", b"001", b"002"]


async def test_a_peer_that_does_not_read_fills_its_queue_only(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(peers_io, "QUEUE_BYTES", 1_000_000)
    resume = asyncio.Event()
    got = 0

    async def late_reader(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal got
        await resume.wait()
        while data := await reader.read(1 << 20):
            got += len(data)
        writer.close()

    server = await asyncio.start_server(late_reader, LOOPBACK, 0, limit=1 << 16)
    async with TaskSet("test") as tasks:
        counters = MixCounters()
        pool = PeerPool(PeerFilter(), counters, tasks)
        link = pool.by_address(loopback(server.sockets[0].getsockname()[1]))
        assert link is not None
        sent = 0
        while not counters.dropped_queue_full:
            sent += 100_000 if link.send(bytes(100_000)) else 0
            await asyncio.sleep(0)
        resume.set()
        await until(lambda: got == sent, "everything that was taken arrives")
        pool.close()
        await asyncio.sleep(0.01)
    server.close()


async def test_the_number_of_links_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(peers_io, "MAX_LINKS", 2)
    async with TaskSet("test") as tasks:
        pool = PeerPool(PeerFilter(), MixCounters(), tasks)
        first, second = pool.by_wire(loopback(1).encode_padded(32)), pool.by_address(loopback(2))
        assert first is not None
        assert second is not None
        second.send(b"waits")
        third = pool.by_address(loopback(3))  # takes the place of the idle one
        assert third is not None
        third.send(b"waits")
        assert pool.by_wire(loopback(1).encode_padded(32)) is None
        assert pool.by_address(loopback(4)) is None
        for padding in range(6):
            pool.by_wire(loopback(2).encode() + bytes([padding]) * 25)
        assert pool.by_address(loopback(2)) is second
        pool.close()
