"""The link against a real websocket: everything that a gateway and a network can do to it."""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

import pytest
from aiohttp import web

from nym_mixnet.errors import LinkDown, OutOfBandwidth, StoreError
from nym_mixnet.gateway_io import GatewayLink, LinkOptions, LinkState
from nym_mixnet.gateway_wire import FREE_ALLOWANCE_BYTES, ErrorResponse, SessionKey, seal_pushed
from nym_mixnet.keys import ClientKeys
from nym_mixnet.store_io import MemoryStore
from nym_mixnet.tickets import TicketSource
from nym_mixnet.topology import EntryDetails, RoutingNode
from nym_sphinx.addressing import NodeAddress
from nym_sphinx.mix_packet import MixPacket
from nym_sphinx.sizes import KeyRotation
from tests.mixnet.mini_gateway import MiniGateway

QUICK = LinkOptions(
    backoff_first_seconds=0.01,
    backoff_limit_seconds=0.05,
    duplicate_wait_seconds=0.02,
    settled_seconds=0.0,
    connect_timeout_seconds=5.0,
    answer_timeout_seconds=5.0,
    heartbeat_seconds=20.0,
    close_timeout_seconds=0.3,
    claim_timeout_seconds=5.0,
    claim_retry_first_seconds=0.02,
    claim_retry_limit_seconds=0.05,
    allowance_save_seconds=0.02,
)
PACKET = MixPacket(NodeAddress.parse("127.0.0.1:1789"), bytes(2413), KeyRotation.ODD)


def quick(**changes: Any) -> LinkOptions:
    values = {name: getattr(QUICK, name) for name in QUICK.__slots__}
    return LinkOptions(**{**values, **changes})


class Harness:
    """A link under test and what it reported."""

    def __init__(self, link: GatewayLink, store: MemoryStore, keys: ClientKeys) -> None:
        self.link = link
        self.store = store
        self.keys = keys
        self.frames: list[bytes] = []
        self.states: list[LinkState] = []

    async def until(self, condition: Callable[[], bool]) -> None:
        async with asyncio.timeout(60):
            while not condition():  # noqa: ASYNC110 - the conditions are about the other side
                await asyncio.sleep(0.005)

    async def ready(self) -> None:
        async with asyncio.timeout(60):
            await self.link.wait_ready()


@asynccontextmanager
async def linked(
    gateway: MiniGateway,
    *,
    tickets: TicketSource | None = None,
    options: LinkOptions = QUICK,
    store: MemoryStore | None = None,
    node: RoutingNode | None = None,
    **arguments: Any,
) -> AsyncIterator[Harness]:
    store = store or MemoryStore()
    await store.open()
    keys = await store.load_or_create_keys(random.Random(3))
    harness: Harness

    link = GatewayLink(
        keys=keys,
        gateway=node or gateway.node(),
        store=store,
        tickets=tickets,
        on_frame=lambda frame: harness.frames.append(frame),
        on_state=lambda state: harness.states.append(state),
        options=options,
        rng=random.Random(5),
        **arguments,
    )
    harness = Harness(link, store, keys)
    async with asyncio.TaskGroup() as group:
        group.create_task(link.run())
        try:
            yield harness
        finally:
            async with asyncio.timeout(60):
                await link.close()
    assert link.state is LinkState.CLOSED


async def test_a_new_client_registers_claims_and_sends() -> None:
    async with MiniGateway() as gateway, linked(gateway) as h:
        await h.ready()
        await h.link.send([PACKET, PACKET])
        await h.until(lambda: h.link.stats.remaining_bandwidth == FREE_ALLOWANCE_BYTES - 2 * 2413)
        assert gateway.packets == [PACKET, PACKET]
        assert gateway.registrations == 1
        assert h.link.stats.packets_sent == 2
        assert h.link.stats.bytes_charged == 2 * 2413
        assert h.link.stats.claims == 1
        assert h.link.stats.last_error is None
        assert await h.store.active_gateway() == gateway.identity.public
        registration = await h.store.get_registration(gateway.identity.public)
        assert registration is not None
        assert registration.shared_key == gateway.keys[h.keys.identity_public].raw
    assert h.states == [LinkState.OUT_OF_BANDWIDTH, LinkState.READY, LinkState.RECONNECTING, LinkState.CLOSED]


async def test_old_gateways_get_packets_without_a_rotation_byte() -> None:
    async with MiniGateway() as gateway:
        gateway.version = 4
        async with linked(gateway) as h:
            await h.ready()
            await h.link.send([PACKET])
            await h.until(lambda: bool(gateway.packets))
            assert gateway.packets[0].rotation is KeyRotation.UNKNOWN


async def test_a_known_client_authenticates_with_rising_timestamps() -> None:
    async with MiniGateway() as gateway:
        store = MemoryStore()
        for _ in range(3):  # within one second of the client's clock
            async with linked(gateway, store=store, unix_time=lambda: 1_767_225_600.0) as h:
                await h.ready()
        assert gateway.registrations == 1
        assert gateway.timestamps[h.keys.identity_public] == [1_767_225_600, 1_767_225_601]
        assert await store.get_last_auth_timestamp(gateway.identity.public) == 1_767_225_601


async def test_the_timestamp_is_stored_before_it_is_used() -> None:
    async with MiniGateway() as gateway:
        store = MemoryStore()
        async with linked(gateway, store=store) as h:
            await h.ready()
        gateway.refuse_authentication = ["some refusal"] * 3
        async with linked(gateway, store=store) as h:
            await h.ready()
        used = gateway.timestamps[h.keys.identity_public]
        assert used == sorted(set(used))
        assert len(used) == 4


async def test_frames_pushed_before_the_answer_are_delivered() -> None:
    async with MiniGateway() as gateway:
        store = MemoryStore()
        gateway.push_before_answer = [b"early" * 20, bytes(21)]
        async with linked(gateway, store=store) as h:
            await h.ready()
            assert h.frames == [b"early" * 20, bytes(21)]
            await gateway.push(b"later" * 20)
            await h.until(lambda: len(h.frames) == 3)
        async with linked(gateway, store=store) as h:
            await h.ready()
            assert h.frames == [b"early" * 20, bytes(21)]
            assert gateway.authentications == 1
            assert h.link.stats.frames_received == 2


async def test_a_cut_connection_is_made_again() -> None:
    async with MiniGateway() as gateway, linked(gateway) as h:
        for session in range(1, 4):
            await h.until(lambda n=session: h.link.stats.sessions == n and h.link.ready)  # type: ignore[misc]
            gateway.cut()
        await h.until(lambda: h.link.stats.sessions == 4 and h.link.ready)
        await h.link.send([PACKET])
        await h.until(lambda: len(gateway.packets) == 1)
        assert h.link.stats.reconnects == 3
        assert h.link.stats.failures == {"GatewayUnreachable": 3}
        assert gateway.registrations == 1
        assert gateway.authentications == 3


async def test_a_restarted_gateway_that_lost_its_memory_gets_a_new_registration() -> None:
    async with MiniGateway() as gateway, linked(gateway) as h:
        await h.ready()
        await gateway.stop()
        gateway.keys.clear()
        gateway.allowance = 0
        await h.until(lambda: not h.link.ready)
        with pytest.raises(LinkDown):
            await h.link.send([PACKET])
        await gateway.start()
        await h.until(lambda: gateway.registrations == 2 and h.link.ready)
        await h.link.send([PACKET])  # the remembered allowance is wrong now: dropped, then claimed anew
        await h.until(lambda: h.link.stats.claims == 2 and h.link.ready)
        await h.link.send([PACKET])
        await h.until(lambda: gateway.packets == [PACKET])
        assert "NotRegistered" in h.link.stats.failures


async def test_another_live_session_is_waited_for() -> None:
    async with MiniGateway() as gateway:
        store = MemoryStore()
        async with linked(gateway, store=store) as h:
            await h.ready()
        gateway.refuse_authentication = ["There is already an open connection to this client"] * 2
        async with linked(gateway, store=store) as h:
            await h.ready()
            assert h.link.stats.failures == {"DuplicateSession": 2}
            assert h.link.stats.last_error is None


async def test_a_gateway_that_stops_reading_and_answering_is_left() -> None:
    async with MiniGateway() as gateway, linked(gateway, options=quick(heartbeat_seconds=1.0)) as h:
        await h.ready()
        gateway.pause_reading()
        # fill the socket's buffers, so that a sender waits: it must be let go with an error
        sender = asyncio.get_running_loop().create_task(send_for_ever(h.link))
        with pytest.raises(LinkDown):
            async with asyncio.timeout(60):
                await sender
        await h.until(lambda: h.link.stats.sessions == 2 and h.link.ready)
        assert h.link.stats.failures == {"GatewayUnreachable": 1}


async def send_for_ever(link: GatewayLink) -> None:
    while True:
        await link.send([PACKET] * 50)
        await asyncio.sleep(0)


async def test_a_gateway_that_never_answers_is_tried_again() -> None:
    async with MiniGateway() as gateway:
        gateway.answer_version = False
        async with linked(gateway, options=quick(answer_timeout_seconds=0.05)) as h:
            await h.until(lambda: h.link.stats.failures.get("GatewayProtocolError", 0) >= 2)
            assert h.link.stats.last_error == "the gateway gave no answer while negotiating"
            assert h.link.state is LinkState.CONNECTING
            gateway.answer_version = True
            await h.ready()


async def test_nobody_listening_is_retried_for_ever_and_named() -> None:
    gateway = MiniGateway()
    await gateway.start()
    node = gateway.node()
    await gateway.stop()
    async with linked(gateway, node=node) as h:
        await h.until(lambda: h.link.stats.failures.get("GatewayUnreachable", 0) >= 5)
        assert f"127.0.0.1:{gateway.port}" in str(h.link.stats.last_error)
        await gateway.start()
        await h.ready()
        await gateway.stop()


async def test_something_else_at_the_address_is_named() -> None:
    async with MiniGateway() as gateway:
        gateway.refuse_connections = True
        async with linked(gateway) as h:
            await h.until(lambda: h.link.stats.last_error is not None)
            assert "no websocket there (HTTP 503)" in str(h.link.stats.last_error)


async def test_each_address_is_tried() -> None:
    async with MiniGateway() as gateway:
        closed = MiniGateway()
        await closed.start()
        await closed.stop()
        entry = EntryDetails(("127.0.0.1",), gateway.port, hostname="127.0.0.1", wss_port=closed.port)
        node = gateway.node()
        node = RoutingNode(node.node_id, node.mix_host, node.identity, node.sphinx_key, node.roles, entry)
        async with linked(gateway, node=node) as h:
            await h.ready()
            assert h.link.stats.url == f"ws://127.0.0.1:{gateway.port}"
            assert h.link.stats.failures == {}


async def test_an_address_that_only_takes_and_drops_connections_is_left_for_the_next(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    taken = 0

    async def take_and_drop(request: web.Request) -> web.StreamResponse:
        nonlocal taken
        taken += 1
        socket = web.WebSocketResponse()
        await socket.prepare(request)
        await socket.close()
        return socket

    app = web.Application()
    app.router.add_get("/", take_and_drop)
    runner = web.AppRunner(app)
    await runner.setup()
    try:
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        elsewhere = f"ws://127.0.0.1:{runner.addresses[0][1]}"
        async with MiniGateway() as gateway:
            good = f"ws://127.0.0.1:{gateway.port}"
            monkeypatch.setattr(RoutingNode, "gateway_urls", lambda _: [elsewhere, good])
            async with linked(gateway) as h:
                await h.ready()
                assert h.link.stats.url == good
                assert h.link.stats.failures == {"GatewayUnreachable": taken}
    finally:
        await runner.cleanup()


async def test_a_wrong_identity_at_the_address_is_not_accepted() -> None:
    async with MiniGateway() as gateway:
        node = gateway.node()
        other = RoutingNode(
            node.node_id,
            node.mix_host,
            MiniGateway(seed=99).identity.public,
            node.sphinx_key,
            node.roles,
            node.entry,
        )
        async with linked(gateway, node=other) as h:
            await h.until(lambda: h.link.stats.failures.get("HandshakeFailed", 0) >= 1)
            assert "received invalid signature" in str(h.link.stats.last_error)


@pytest.mark.parametrize("version", [0, 3])
async def test_gateways_that_are_too_old_are_named(version: int) -> None:
    async with MiniGateway() as gateway:
        gateway.version = version
        async with linked(gateway) as h:
            await h.until(lambda: h.link.stats.failures.get("IncompatibleVersion", 0) >= 2)
            assert "choose another gateway" in str(h.link.stats.last_error)


async def test_newer_gateways_are_spoken_to_in_our_version() -> None:
    async with MiniGateway() as gateway:
        gateway.version = 200
        async with linked(gateway) as h:
            await h.ready()
            await h.link.send([PACKET])
            await h.until(lambda: gateway.packets == [PACKET])


async def test_garbage_is_counted_and_the_session_lives() -> None:
    async with MiniGateway() as gateway, linked(gateway) as h:
        await h.ready()
        socket = gateway.sockets[-1]
        for text in ("", "{", '{"type":"unknownThing"}', "[]", '{"type":"send","remaining_bandwidth":"x"}'):
            await socket.send_str(text)
        await socket.send_str('{"type":"register","status":true}')
        await socket.send_str(ErrorResponse("something about a packet").encode())
        for frame in (b"", b"\x01", b"\x01\x02" + bytes(40), b"\x09\x01" + bytes(40), b"\x01\x00\x00\x00"):
            await socket.send_bytes(frame)
        await socket.send_bytes(b"\x01\x01" + bytes(60))
        stranger = SessionKey(bytes(32))
        await socket.send_bytes(seal_pushed(b"x" * 100, stranger, bytes(12)))
        await gateway.push(b"good" * 20)
        await h.until(lambda: h.frames == [b"good" * 20])
        assert h.link.stats.garbage == {
            "text": 5,
            "unexpected": 1,
            "refused": 1,
            "binary": 5,
            "undecryptable": 2,
        }
        assert h.link.stats.sessions == 1
        assert h.link.ready


async def test_a_frame_handler_that_fails_does_not_end_the_session() -> None:
    async with MiniGateway() as gateway, linked(gateway) as h:
        await h.ready()

        def fail(frame: bytes) -> None:
            raise RuntimeError("handler")

        h.link._on_frame = fail
        await gateway.push(bytes(100))
        await h.until(lambda: h.link.stats.garbage.get("handler") == 1)
        assert h.link.ready


async def test_an_empty_allowance_is_a_state_and_ends() -> None:
    async with MiniGateway() as gateway, linked(gateway) as h:
        await h.ready()
        gateway.allowance = 100
        gateway.free = False
        await h.link.send([PACKET])
        await h.until(lambda: h.link.state is LinkState.OUT_OF_BANDWIDTH)
        with pytest.raises(OutOfBandwidth):
            await h.link.send([PACKET])
        await h.until(lambda: h.link.stats.claims_failed >= 2)
        assert h.link.stats.last_error == (
            "the gateway gives no free bandwidth: it has to be paid with tickets"
        )
        gateway.free = True
        await h.ready()
        assert h.link.stats.last_error is None
        assert h.link.stats.sessions == 1


async def test_below_the_mark_more_is_claimed_while_packets_flow() -> None:
    async with MiniGateway() as gateway, linked(gateway) as h:
        await h.ready()
        gateway.allowance = 39_999_999 + 2413
        answer = asyncio.Event()

        async def slowly(socket: Any) -> None:
            await answer.wait()

        gateway.on_claim = slowly
        await h.link.send([PACKET])
        await h.until(lambda: h.link._claims._answer is not None)
        assert h.link.ready
        await h.link.send([PACKET] * 3)  # written although the claim is not answered yet
        assert h.link.stats.packets_sent == 4
        answer.set()
        gateway.on_claim = None
        await h.until(lambda: len(gateway.packets) == 4)


async def test_an_unanswered_claim_ends_the_session() -> None:
    async with MiniGateway() as gateway:
        gateway.answer_claims = False
        async with linked(gateway, options=quick(claim_timeout_seconds=0.05)) as h:
            await h.until(lambda: h.link.stats.failures.get("GatewayProtocolError", 0) >= 1)
            gateway.answer_claims = True
            await h.ready()
            assert h.link.stats.sessions >= 2


async def test_in_upgrade_mode_nothing_is_claimed() -> None:
    async with MiniGateway() as gateway, linked(gateway) as h:
        await h.ready()
        gateway.free = False
        await gateway.sockets[-1].send_str('{"type":"send","remaining_bandwidth":0,"upgrade_mode":true}')
        await h.until(lambda: h.link.stats.upgrade_mode)
        assert h.link.ready
        assert h.link.stats.remaining_bandwidth == 0
        assert h.link.stats.claims_failed == 0


async def test_the_allowance_is_remembered() -> None:
    async with MiniGateway() as gateway:
        store = MemoryStore()
        async with linked(gateway, store=store) as h:
            await h.ready()
            await h.link.send([PACKET])
            await h.until(lambda: bool(gateway.packets))
            await h.until(lambda: h.link.stats.remaining_bandwidth == gateway.allowance)
        assert await store.get_allowance(gateway.identity.public) == gateway.allowance


async def test_closing_before_running_and_running_twice() -> None:
    async with MiniGateway() as gateway:
        async with linked(gateway) as h:
            await h.ready()
            with pytest.raises(LinkDown):
                await h.link.run()
        await h.link.run()  # returns at once
        assert gateway.connections == 1
        with pytest.raises(LinkDown):
            await h.link.wait_ready()
        with pytest.raises(LinkDown):
            await h.link.send([PACKET])
        await h.link.close()


async def test_cancelling_run_closes_the_websocket_in_good_order() -> None:
    async with MiniGateway() as gateway, linked(gateway) as h:
        await h.ready()
        socket = gateway.sockets[-1]
        async with asyncio.timeout(60):
            await h.link.close()
        await h.until(lambda: socket.closed)
        assert socket.close_code == 1000


async def test_fresher_addresses_are_used_for_the_next_connection() -> None:
    async with MiniGateway() as gateway, linked(gateway) as h:
        await h.ready()
        await gateway.stop()
        gateway.port = 0
        await gateway.start()
        h.link.update_gateway(gateway.node())
        await h.until(lambda: h.link.stats.sessions == 2)
        with pytest.raises(ValueError, match="stays with its gateway"):
            h.link.update_gateway(MiniGateway(seed=8).node())


async def test_a_websocket_that_breaks_the_rules_is_left() -> None:
    async with MiniGateway() as gateway, linked(gateway) as h:
        await h.ready()
        transport = gateway.transports[-1]
        transport.write(b"\xf7\x7f" + bytes(20))  # reserved bits, an unknown kind, an absurd length
        await h.until(lambda: h.link.stats.sessions == 2 and h.link.ready)
        assert h.link.stats.failures == {"GatewayProtocolError": 1}


async def test_a_websocket_that_is_closed_in_good_order_is_made_again() -> None:
    async with MiniGateway() as gateway, linked(gateway) as h:
        await h.ready()
        await gateway.sockets[-1].close()
        await h.until(lambda: h.link.stats.sessions == 2 and h.link.ready)
        assert h.link.stats.failures == {"GatewayUnreachable": 1}


class FailingStore(MemoryStore):
    """A store whose calls fail by name, as often as told."""

    def __init__(self, **failures: Exception) -> None:
        super().__init__()
        self.failures = failures

    def fail(self, name: str) -> None:
        error = self.failures.get(name)
        if error is not None:
            raise error

    async def put_last_auth_timestamp(self, identity: bytes, timestamp: int) -> None:
        self.fail("timestamp")
        await super().put_last_auth_timestamp(identity, timestamp)

    async def put_allowance(self, identity: bytes, remaining: int | None) -> None:
        self.fail("allowance")
        await super().put_allowance(identity, remaining)

    async def delete_registration(self, identity: bytes) -> None:
        self.fail("delete")
        await super().delete_registration(identity)


@pytest.mark.parametrize(
    ("error", "said"),
    [
        (StoreError("the disk is full"), "the disk is full"),
        (RuntimeError("secret"), "internal error (RuntimeError)"),
    ],
)
async def test_a_failing_store_is_a_state_and_no_timestamp_is_used_unstored(
    error: Exception, said: str
) -> None:
    async with MiniGateway() as gateway:
        store = FailingStore()
        async with linked(gateway, store=store) as h:
            await h.ready()
        store.failures = {"timestamp": error}
        async with linked(gateway, store=store) as h:
            await h.until(lambda: sum(h.link.stats.failures.values()) >= 2)
            assert h.link.stats.last_error == said
            assert gateway.timestamps == {}
            store.failures = {}
            await h.ready()


async def test_an_allowance_that_cannot_be_stored_does_not_end_the_session() -> None:
    async with MiniGateway() as gateway:
        store = FailingStore(allowance=StoreError("the disk is full"))
        async with linked(gateway, store=store) as h:
            await h.ready()
            await h.link.send([PACKET])
            await h.until(lambda: h.link.stats.remaining_bandwidth == gateway.allowance)
            assert h.link.stats.sessions == 1


async def test_a_registration_that_cannot_be_removed_is_tried_again() -> None:
    async with MiniGateway() as gateway:
        store = FailingStore(delete=StoreError("the disk is full"))
        async with linked(gateway, store=store) as h:
            await h.ready()
        gateway.keys.clear()
        async with linked(gateway, store=store) as h:
            await h.until(lambda: h.link.stats.failures.get("NotRegistered", 0) >= 2)
            store.failures = {}
            await h.ready()
            assert gateway.registrations == 2


async def test_an_observer_of_states_that_fails_does_no_harm() -> None:
    def fail(state: LinkState) -> None:
        raise RuntimeError("observer")

    async with MiniGateway() as gateway:
        store = MemoryStore()
        await store.open()
        link = GatewayLink(
            keys=await store.load_or_create_keys(),
            gateway=gateway.node(),
            store=store,
            tickets=None,
            on_frame=lambda frame: None,
            on_state=fail,
            options=QUICK,
        )
        assert link.gateway == gateway.node()
        async with asyncio.TaskGroup() as group:
            group.create_task(link.run())
            await link.wait_ready()
            await link.close()


async def test_a_node_that_takes_no_clients() -> None:
    async with MiniGateway() as gateway:
        node = gateway.node()
        closed = RoutingNode(node.node_id, node.mix_host, node.identity, node.sphinx_key)
        async with linked(gateway, node=closed) as h:
            await h.until(lambda: h.link.stats.last_error is not None)
            assert h.link.stats.last_error == "the gateway names no address for clients"


async def test_garbage_does_not_buy_a_silent_gateway_time() -> None:
    async with MiniGateway() as gateway:
        gateway.answer_version = False
        async with linked(gateway, options=quick(answer_timeout_seconds=0.2)) as h:

            async def chatter() -> None:
                while True:
                    for socket in gateway.sockets:
                        if not socket.closed:
                            await socket.send_str("garbage")
                    await asyncio.sleep(0.02)

            talking = asyncio.get_running_loop().create_task(chatter())
            await h.until(lambda: h.link.stats.failures.get("GatewayProtocolError", 0) >= 1)
            talking.cancel()
            assert h.link.stats.garbage["text"] >= 1
