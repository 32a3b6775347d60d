"""The mixnet client: `ClientCore` joined to a gateway link, a topology source and a store.

    async with MixnetClient(source=source, store=store, profile=PROFILES["standard"]) as client:
        client.on_message = handle
        await client.send_anonymous(recipient, b"...", surbs=3)

It keeps going for ever: a lost gateway, an unreachable directory or an empty allowance are states that show in
`link_state` and `stats`, never the end of the client.
"""

from __future__ import annotations

import asyncio
import logging
import math
import random
import time
from collections.abc import Awaitable, Callable
from functools import partial
from types import TracebackType
from typing import Self

from nym_sphinx import SYSTEM_RNG, MixPacket, Recipient, SphinxError

from .bank import SurbBank
from .client_records import ClientOptions, ClientStats, ReceivedMessage
from .core import ClientCore
from .errors import LinkDown, MixnetError, StoreError, TopologyError, TopologyUnusable
from .gateway_io import GatewayLink, LinkOptions, LinkState, LinkStats
from .lanes import Lane
from .nym_api import KeyRotationInfo
from .outgoing import Sending
from .profiles import TrafficProfile
from .reply_keys import IssuedKey
from .store_io import ClientStore, MemoryStore
from .tasks_io import TaskSet
from .tickets import TicketSource
from .topology import RoutingNode, Topology
from .topology_io import TopologySource

log = logging.getLogger(__name__)

TOPOLOGY_REFRESH_SECONDS = 300.0
TOPOLOGY_FAILURES_BEFORE_UNUSABLE = 10
DEFAULT_FRESHNESS_SECONDS = 450.0  # an eighth of a one-hour epoch
FLUSH_INTERVAL_SECONDS = 2.0
STORE_RETRY_SECONDS = 2.0  # a folder that cannot be written, such as on a full disk, is tried again so soon
LINK_FULL_SECONDS = 0.25  # a send that took so long found the link full
DRAIN_SECONDS = 5.0
TIMER_GRAIN_SECONDS = 0.001
SLOTS_ENOUGH_TO_READ_IN = 20.0  # a second; with fewer, what comes unasked would wait noticeably
ROUNDS_TO_READ = 3  # of the event loop: socket, websocket, frames


class SurbBankHandle:
    """How much one recipient should hold in reply SURBs supplied ahead of need."""

    def __init__(self, client: MixnetClient, bank: SurbBank) -> None:
        self._client = client
        self._bank = bank

    def set_target(self, surbs: int) -> None:
        """Keep the recipient at about so many SURBs; 0 supplies none unasked."""
        self._bank.target = surbs
        self._client.wake()

    def stock(self) -> int:
        """SURBs the recipient is believed to hold."""
        return self._client.core.reply_keys.stock(self._bank.recipient)

    def demand(self, active: bool) -> None:
        """Count one more (or one less) stream that waits for data: unshaped clients supply only then."""
        self._bank.wait(active)
        self._client.wake()

    def throttle(self, active: bool) -> None:
        """While a reader is behind: supply only a trickle, and what :meth:`stir` and :meth:`allow` ask for."""
        self._bank.throttle(active)
        self._client.wake()

    def stir(self) -> None:
        """A message went out on a stream whose reader keeps up: its answer will need SURBs."""
        self._bank.stir(asyncio.get_running_loop().time())
        self._client.wake()

    def allow(self, surbs: int) -> None:
        """An answer came for such a stream: so many more for the next."""
        self._bank.allow(surbs)
        self.stir()


class MixnetClient:
    """One identity at one gateway. Use as an async context manager; not thread-safe."""

    def __init__(
        self,
        *,
        source: TopologySource,
        store: ClientStore | MemoryStore,
        profile: TrafficProfile,
        entry: Callable[[Topology, random.Random], RoutingNode] | bytes | None = None,
        tickets: TicketSource | None = None,
        options: ClientOptions | None = None,
        link_options: LinkOptions | None = None,
        rng: random.Random = SYSTEM_RNG,
    ) -> None:
        self._source = source
        self._store = store
        self._profile = profile
        self._entry = entry
        self._tickets = tickets
        self._options = options or ClientOptions()
        self._link_options = link_options
        self._rng = rng
        self._core: ClientCore | None = None
        self._link: GatewayLink | None = None
        self._rotation_info: KeyRotationInfo | None = None
        self._wake = asyncio.Event()
        self._supply_wanted = asyncio.Event()
        self._lane_waiters: dict[int, list[asyncio.Future[None]]] = {}
        self._tasks = TaskSet("mixnet client")
        self._topology_failures = 0
        self._tags_to_store: set[Recipient] = set()
        self._reads_in_slots = profile.costs().packets_per_second >= SLOTS_ENOUGH_TO_READ_IN
        self.on_message: Callable[[ReceivedMessage], None] = _nobody_listens

    # ---- life --------------------------------------------------------------------------------------------------

    async def __aenter__(self) -> Self:
        await self.start()
        return self

    async def __aexit__(
        self, exc_type: type[BaseException] | None, exc: BaseException | None, tb: TracebackType | None
    ) -> None:
        await self.close()

    async def start(self) -> None:
        """Load keys, learn the topology, register or authenticate at the gateway; returns when ready to send."""
        loop = asyncio.get_running_loop()
        await self._store.open()
        try:
            keys = await self._store.load_or_create_keys(self._rng)
            topology = await self._source.fetch()
            topology.ensure_usable()
            gateway = await self._choose_gateway(topology)
            await self._forget_other_gateway(gateway)
            core = ClientCore(
                keys=keys,
                gateway=gateway.identity,
                profile=self._profile,
                options=self._options,
                rng=self._rng,
                now=loop.time(),
            )
            core.on_progress = self._lane_progress
            core.set_topology(topology)
            self._core = core
            await self._restore(topology)
            self._link = GatewayLink(
                keys=keys,
                gateway=gateway,
                store=self._store,
                tickets=self._tickets,
                on_frame=self._frame,
                on_state=self._link_state,
                options=self._link_options,
            )
            self._tasks.spawn(self._link.run(), name="gateway link")
            await self._link.wait_ready()
            await self._store.put_active_gateway(gateway.identity)
            core.link_up(loop.time())
            self._tasks.spawn(self._pump(), name="send loop")
            self._tasks.spawn(self._supply(), name="surb supply")
            self._tasks.spawn(self._refresh(), name="topology refresh")
            self._tasks.spawn(self._freshen(), name="surb freshness")
            self._tasks.spawn(self._flush(), name="reply key store")
        except BaseException:
            await self._stop()
            raise

    async def close(self) -> None:
        """Send what is queued and wait for its acks, a few seconds at most, then leave the gateway."""
        if self._core is not None and self._link is not None and self._link.ready:
            await self.drain(DRAIN_SECONDS)
        await self._stop()

    async def drain(self, timeout_seconds: float) -> bool:
        """Wait until nothing is queued or unacknowledged; False when the time ran out."""
        deadline = asyncio.get_running_loop().time() + timeout_seconds
        while self.core.queued or self.core.in_flight:
            if asyncio.get_running_loop().time() > deadline or self.core.paused:
                return False
            await asyncio.sleep(0.02)
        return True

    async def pause(self) -> None:
        """Go to sleep: no packets, no cover, no cost; the gateway link stays up and receiving goes on."""
        self.core.pause()
        self._require_link().resume_reading()

    async def resume(self) -> None:
        """Wake up again."""
        self.core.resume(asyncio.get_running_loop().time())
        self.wake()

    # ---- sending -----------------------------------------------------------------------------------------------

    async def send_plain(self, recipient: Recipient, data: bytes, *, lane: int = Lane.GENERAL) -> Sending:
        """Send `data` to a known recipient; it learns nothing about us but what `data` says."""
        sending = self.core.queue_plain(recipient, data, lane)
        self.wake()
        return sending

    async def send_anonymous(
        self, recipient: Recipient, data: bytes, *, surbs: int, lane: int = Lane.GENERAL
    ) -> Sending:
        """Send `data` with reply SURBs: the recipient can answer without learning our address."""
        await self._ensure_tag(recipient)
        made, issued = self.core.make_surbs(recipient, surbs, time.time())
        if issued:
            # Durable before they leave: after a crash a reply must still find its key.
            await self._persist(issued)
        sending = self.core.queue_anonymous(recipient, data, made, lane)
        self.wake()
        return sending

    async def reply(self, sender_tag: bytes, data: bytes, *, lane: int = Lane.GENERAL) -> Sending:
        """Answer an anonymous sender over its SURBs. Raises NoReplySurbs when none were received."""
        sending = self.core.queue_reply(sender_tag, data, lane)
        self.wake()
        return sending

    def bank(self, recipient: Recipient) -> SurbBankHandle:
        """The SURB bank kept at `recipient` (docs/protocol/04 §4.4a)."""
        return SurbBankHandle(self, self.core.banks.get(recipient))

    def close_lane(self, lane: int) -> None:
        """Drop what a lane has queued and forget its unacknowledged packets."""
        self.core.close_lane(lane)
        for waiter in self._lane_waiters.pop(lane, []):
            if not waiter.done():
                waiter.set_result(None)

    def lane_queued(self, lane: int) -> int:
        """Packets of a lane that wait, for a slot or for a reply SURB."""
        return self.core.lane_queued(lane) + self.core.reply_pools.lane_waiting(lane)

    def lane_unacked(self, lane: int) -> int:
        return self.core.lane_unacked(lane)

    async def wait_lane(
        self, lane: int, *, queued_below: int | None = None, unacked_below: int | None = None
    ) -> None:
        """Back-pressure: return once the lane has fewer packets queued / unacknowledged than given."""
        while (queued_below is not None and self.lane_queued(lane) >= queued_below) or (
            unacked_below is not None and self.core.lane_unacked(lane) >= unacked_below
        ):
            waiter: asyncio.Future[None] = asyncio.get_running_loop().create_future()
            self._lane_waiters.setdefault(lane, []).append(waiter)
            await waiter

    # ---- state -------------------------------------------------------------------------------------------------

    @property
    def core(self) -> ClientCore:
        """The state machine; None of it exists before `start`."""
        if self._core is None:
            raise LinkDown("the mixnet client has not been started")
        return self._core

    @property
    def address(self) -> Recipient:
        """Our own address."""
        return self.core.address

    @property
    def topology(self) -> Topology:
        topology = self.core.topology
        if topology is None:
            raise TopologyUnusable("the last known topology is too old to be used")
        return topology

    @property
    def stats(self) -> ClientStats:
        return self.core.stats

    @property
    def link_stats(self) -> LinkStats | None:
        return self._link.stats if self._link is not None else None

    def retry_claim(self) -> None:
        """Tickets have come: a claim that failed for want of one is made again at once."""
        if self._link is not None:
            self._link.retry_claim()

    @property
    def link_state(self) -> LinkState:
        return self._link.state if self._link is not None else LinkState.CLOSED

    @property
    def profile(self) -> TrafficProfile:
        return self._profile

    def wake(self) -> None:
        """Something was queued: look at once (matters only where no schedule does it)."""
        self._wake.set()
        self._supply_wanted.set()

    # ---- tasks -------------------------------------------------------------------------------------------------

    async def _pump(self) -> None:
        loop = asyncio.get_running_loop()
        core, link = self.core, self._require_link()
        while True:
            if not link.ready:
                await link.wait_ready()
                core.link_up(loop.time())
            now = loop.time()
            timer = core.next_timer(now)
            if timer is None or timer > now:
                await self._sleep_until(timer)
            packets = core.poll(loop.time())
            if core.supply_wanted():
                self._supply_wanted.set()
            if packets:
                link.resume_reading()
                await self._send(link, packets, loop)
                # Yield even when the socket took everything: an unshaped client would starve its readers.
                await asyncio.sleep(0)
                if self._reads_in_slots and core.quiet:
                    # Being woken costs an idle client more than what it is woken for: read in the next slot.
                    for _ in range(ROUNDS_TO_READ):
                        await asyncio.sleep(0)
                    if not core.paused:  # there is no next slot for one that has gone to sleep meanwhile
                        link.hold_reading()
            else:
                link.resume_reading()

    async def _send(
        self, link: GatewayLink, packets: list[MixPacket], loop: asyncio.AbstractEventLoop
    ) -> None:
        started = loop.time()
        try:
            await link.send(packets)
        except LinkDown:
            return  # these packets are retransmitted once the link is back
        took = loop.time() - started
        self.core.note_link(
            loop.time(), congested=took > LINK_FULL_SECONDS / 4, full=took > LINK_FULL_SECONDS
        )

    async def _sleep_until(self, timer: float | None) -> None:
        loop = asyncio.get_running_loop()
        if not self._wake.is_set():
            # Event loops round timers to milliseconds; one that fires early would spin until its deadline.
            handle = loop.call_at(timer + TIMER_GRAIN_SECONDS, self._wake.set) if timer is not None else None
            try:
                await self._wake.wait()
            finally:
                if handle is not None:
                    handle.cancel()
        self._wake.clear()

    async def _supply(self) -> None:
        """Make SURBs for recipients that asked for them and for banks below their target."""
        loop = asyncio.get_running_loop()
        banks = self.core.banks
        while True:
            again = banks.next_tick()
            timer = loop.call_at(again, self._supply_wanted.set) if again is not None else None
            await self._supply_wanted.wait()
            if timer is not None:
                timer.cancel()
            self._supply_wanted.clear()
            banks.tick(loop.time())
            while (supply := self.core.next_supply()) is not None:
                try:
                    surbs, issued = self.core.make_surbs(supply.recipient, supply.count, time.time())
                except (TopologyError, SphinxError) as error:
                    log.warning("no reply SURBs can be made: %s", error)
                    break
                await self._patiently(partial(self._prepare, supply.recipient, issued))
                self.core.queue_supply(supply, surbs)
                self._wake.set()
                await asyncio.sleep(0)

    async def _refresh(self) -> None:
        while True:
            await asyncio.sleep(TOPOLOGY_REFRESH_SECONDS)
            await self.refresh_topology()

    async def refresh_topology(self) -> bool:
        """Ask for the topology once; a failure keeps the old one, ten in a row make it unusable."""
        try:
            topology = await self._source.fetch()
            topology.ensure_usable()
        except MixnetError as error:
            self._topology_failures += 1
            log.warning("topology refresh failed (%d in a row): %s", self._topology_failures, error)
            if self._topology_failures > TOPOLOGY_FAILURES_BEFORE_UNUSABLE:
                self.core.set_topology(None)
            return False
        self._topology_failures = 0
        self.core.set_topology(topology)
        self._note_entry(topology)
        self.wake()
        return True

    def _note_entry(self, topology: Topology) -> None:
        """Our gateway may have moved: the next connection goes where it is now."""
        link = self._require_link()
        try:
            gateway = topology.gateway(link.gateway.identity)
        except TopologyError:
            log.warning("our gateway is not in the topology any more; it is used as long as it answers")
            return
        if gateway.entry is not None and gateway.entry != link.gateway.entry:
            log.info("our gateway has other addresses now; the next connection uses them")
            link.update_gateway(gateway)

    async def _freshen(self) -> None:
        while True:
            epoch = self._rotation_info.epoch_seconds if self._rotation_info is not None else None
            await asyncio.sleep(epoch / 8 if epoch else DEFAULT_FRESHNESS_SECONDS)
            self.core.rotation_settled()
            self.core.purge_reply_surbs(asyncio.get_running_loop().time(), time.time(), self._rotation_info)
            expired = self.core.reply_keys.expire(time.time())
            if expired:
                await self._patiently(partial(self._store.remove_reply_keys, expired))

    async def _flush(self) -> None:
        while True:
            await asyncio.sleep(FLUSH_INTERVAL_SECONDS)
            await self._patiently(self._flush_used_keys)

    async def _patiently(self, work: Callable[[], Awaitable[None]]) -> None:
        """Do this, if need be when the data folder can be written again: what everybody needs must not end."""
        said = False
        while True:
            try:
                return await work()
            except StoreError as error:
                if not said:
                    log.warning("%s; tried again until it can", error)
                said = True
                await asyncio.sleep(STORE_RETRY_SECONDS)

    async def _prepare(self, recipient: Recipient, issued: list[IssuedKey]) -> None:
        await self._ensure_tag(recipient)
        await self._persist(issued)

    # ---- helpers -----------------------------------------------------------------------------------------------

    def _require_link(self) -> GatewayLink:
        assert self._link is not None
        return self._link

    async def _choose_gateway(self, topology: Topology) -> RoutingNode:
        if isinstance(self._entry, bytes):
            return topology.gateway(self._entry)
        active = await self._store.active_gateway()
        if active is not None:
            try:
                known = topology.gateway(active)
            except TopologyError:
                log.warning("the gateway used so far is not in the topology any more; choosing another one")
            else:
                if known.entry is not None:
                    return known
        if self._entry is not None:
            return self._entry(topology, self._rng)
        candidates = topology.entry_gateways()
        if not candidates:
            raise TopologyUnusable("the topology lists no entry gateway that clients can connect to")
        return self._rng.choice(candidates)

    async def _forget_other_gateway(self, gateway: RoutingNode) -> None:
        """Begin anew with every exit when the gateway changes: the SURBs they hold lead to the one used before.

        A replier takes the oldest SURBs of a sender tag first, so under the old tag a bank's worth of answers would
        go where nobody fetches them.
        """
        active = await self._store.active_gateway()
        if active is not None and active != gateway.identity:
            await self._store.drop_sender_tags()
            await self._store.purge_reply_keys(math.inf)

    async def _restore(self, topology: Topology) -> None:
        try:
            self._rotation_info = await self._source.key_rotation_info()
        except MixnetError as error:
            log.warning("no key rotation times: %s; stale reply SURBs go by age only", error)
        # Keys and tag belong together (docs/protocol/04 §4.4a). A process crash loses neither; after a crash of
        # the whole machine the newest keys may be missing, so the exit must see a new tag.
        intact = not self._store.unclean_os_crash
        records = await self._store.load_reply_keys()
        keys = [
            IssuedKey(r.digest, r.key, Recipient.decode(r.recipient), r.created_unix, r.rotation_id, 0)
            for r in records
        ]
        self.core.reply_keys.restore(keys, stock_known=intact, rotation_id=topology.rotation_id)
        if intact:
            for recipient, tag in (await self._store.load_sender_tags()).items():
                self.core.restore_sender_tag(Recipient.decode(recipient), tag)
        else:
            await self._store.drop_sender_tags()

    async def _ensure_tag(self, recipient: Recipient) -> None:
        tag, new = self.core.sender_tag(recipient)
        if new or recipient in self._tags_to_store:
            self._tags_to_store.add(recipient)
            await self._store.put_sender_tag(recipient.encode(), tag)
            self._tags_to_store.discard(recipient)

    async def _persist(self, issued: list[IssuedKey]) -> None:
        await self._store.add_reply_keys(
            [(k.digest, k.key, k.issued_unix, k.recipient.encode(), k.rotation_id) for k in issued]
        )

    async def _flush_used_keys(self) -> None:
        used, self.core.used_digests = self.core.used_digests, []
        if used:
            try:
                await self._store.remove_reply_keys(used)
            except StoreError:
                self.core.used_digests += used
                raise

    async def _stop(self) -> None:
        await self._tasks.close()
        if self._link is not None:
            await self._link.close()
        try:
            if self._core is not None:
                await self._flush_used_keys()
        except StoreError as error:
            log.warning("%s; reply keys that were used stay in it", error)
        finally:
            await self._store.close()

    def _frame(self, frame: bytes) -> None:
        for message in self.core.receive(frame, asyncio.get_running_loop().time()):
            self.on_message(message)
        if not self._profile.shaped:
            self._wake.set()  # an ack may have opened the window; a schedule looks by itself
        if self.core.banks.owed:
            self._supply_wanted.set()

    def _link_state(self, state: LinkState) -> None:
        log.info("gateway link is %s", state)
        self._wake.set()

    def _lane_progress(self, lane: int) -> None:
        for waiter in self._lane_waiters.pop(lane, ()):
            if not waiter.done():
                waiter.set_result(None)


def _nobody_listens(message: ReceivedMessage) -> None:
    log.debug("a message arrived before anybody listened")
