"""The mixnet client without its sockets: what to send when, and what arrives (docs/protocol/04).

Sans-IO: time is an argument (monotonic seconds `now`, unix seconds `now_unix` where dates matter), randomness is
injected, packets come out of `poll`, frames go into `receive`. `client_io.MixnetClient` is the shell around it.
"""

from __future__ import annotations

import random
from collections import deque
from collections.abc import Callable

from nym_sphinx import (
    ACK_CONTENT_BYTES,
    COVER_FRAGMENT_ID,
    DIGEST_BYTES,
    V259,
    WIRE_V1,
    WIRE_V2,
    AdditionalSurbs,
    Fragment,
    Heartbeat,
    KeyRotation,
    MixPacket,
    PlainMessage,
    Recipient,
    RepliableData,
    RepliableMessage,
    ReplyData,
    ReplyMessage,
    ReplySurb,
    SphinxError,
    SurbRequest,
    decode_message,
    is_cover,
    open_ack,
    open_reply,
    open_sealed,
    pad,
    split,
)

from .bank import Supply, SurbBanks
from .client_records import ClientOptions, ClientStats, ReceivedMessage
from .congestion import CongestionWindow
from .cover_stock import CoverStock
from .errors import NoReplySurbs, TopologyError
from .keys import ClientKeys
from .lanes import Lane, LaneQueues
from .nym_api import KeyRotationInfo
from .outgoing import Outgoing, Sending, StoredSurb
from .packets import PACKET_SIZE, PacketBuilder
from .pending import Pending, PendingAcks
from .poisson import PoissonSchedule
from .profiles import TrafficProfile
from .reconstruction import Reconstructor
from .reply_keys import IssuedKey, ReplyKeys
from .reply_pool import CHECK_INTERVAL_SECONDS, ReplyPools
from .topology import Topology

FRAGMENT_SPACE = PACKET_SIZE.fragment_space
MAX_MESSAGE_BYTES = 16 * 1024 * 1024
OUTFOX_ACK_LIMIT_BYTES = 48
BURST_PACKETS = 8  # per poll without a schedule: bounds how long one poll may take
IDLE_QUEUE_LOW_PACKETS = 4
SURB_REQUEST_RETRANSMISSIONS = 10


def _ignore_lane(lane: int) -> None:
    """Default of the progress and loss callbacks: nobody listens."""


class ClientCore:
    """State machine of one client at one gateway."""

    def __init__(
        self,
        *,
        keys: ClientKeys,
        gateway: bytes,
        profile: TrafficProfile,
        options: ClientOptions,
        rng: random.Random,
        now: float,
    ) -> None:
        self.address = Recipient(keys.identity_public, keys.encryption_public, gateway)
        self.profile = profile
        self.options = options
        self.stats = ClientStats()
        self.reply_keys = ReplyKeys()
        self.reply_pools = ReplyPools()
        self.reconstructor = Reconstructor()
        self.banks = SurbBanks()
        self.used_digests: list[bytes] = []
        self.on_progress: Callable[[int], None] = _ignore_lane
        self._keys = keys
        self._rng = rng
        self._wire_version = WIRE_V2 if options.version == V259 else WIRE_V1
        self._builder = PacketBuilder(keys, self.address, profile, rng, options.version)
        self._lanes: LaneQueues[Outgoing] = LaneQueues()
        self._idle: deque[Outgoing] = deque()
        self._pending = PendingAcks(options.ack_wait_multiplier, options.ack_wait_addition_seconds)
        self._unacked: dict[int, set[Outgoing]] = {}
        self._window = CongestionWindow(now)
        self._cover_stock = CoverStock(self._builder)
        self._sender_tags: dict[Recipient, bytes] = {}
        self._main: PoissonSchedule | None = None
        self._cover: PoissonSchedule | None = None
        self._rotation_settling = False
        self._next_check = now + CHECK_INTERVAL_SECONDS
        self._paused = False
        self._restart_schedules(now)

    # ---- topology and life -------------------------------------------------------------------------------------

    @property
    def topology(self) -> Topology | None:
        return self._builder.topology

    def set_topology(self, topology: Topology | None) -> None:
        """Use another view of the network; None when it is too old to be trusted (nothing is sent then)."""
        before = self._builder.topology
        self._builder.topology = topology
        self._cover_stock.discard()
        if topology is not None and before is not None and before.rotation_id != topology.rotation_id:
            self._builder.previous = before
            self.reply_keys.note_rotation()
            self._rotation_settling = True

    def rotation_settled(self) -> None:
        """Some time after a key rotation: replace SURBs that are about to die (docs/protocol/04 §4.5)."""
        if self._rotation_settling:
            self._rotation_settling = False
            self.reply_pools.rotated()
            self._drain_pools()

    def purge_reply_surbs(self, now: float, now_unix: float, info: KeyRotationInfo | None) -> None:
        """Drop SURBs others gave us that died with their rotation (docs/protocol/04 §4.5)."""
        if info is None:
            return
        rotation = info.expected_rotation(now_unix)
        age_of_rotation = now_unix - info.rotation_start_unix(rotation)
        epoch = info.epoch_seconds
        self.reply_pools.purge(
            received_before=now - age_of_rotation - epoch,
            expected_rotation=KeyRotation.from_id(rotation),
        )
        if age_of_rotation > epoch:
            self.reply_pools.drop_stale()

    def pause(self) -> None:
        """Send nothing at all from now on; receiving goes on."""
        self._paused = True

    def resume(self, now: float) -> None:
        if self._paused:
            self._paused = False
            self._restart_schedules(now)

    @property
    def paused(self) -> bool:
        return self._paused

    def link_up(self, now: float) -> None:
        """The gateway link is back: nothing could be acknowledged meanwhile, so give every packet its time."""
        self._pending.restart_timers(now, spread_seconds=1.0)
        self._restart_schedules(now)

    def note_link(self, now: float, *, congested: bool, full: bool) -> None:
        """How the gateway link takes our packets (docs/protocol/04 §2.3, multiplier)."""
        if self._main is not None:
            self._main.note_link(now, congested=congested, full=full)

    # ---- sending -----------------------------------------------------------------------------------------------

    def sender_tag(self, recipient: Recipient) -> tuple[bytes, bool]:
        """The tag under which we write to `recipient` anonymously, and whether it is new (persist it then)."""
        tag = self._sender_tags.get(recipient)
        if tag is not None:
            return tag, False
        tag = self._sender_tags[recipient] = self._rng.randbytes(16)
        return tag, True

    def restore_sender_tag(self, recipient: Recipient, tag: bytes) -> None:
        self._sender_tags[recipient] = tag

    def make_surbs(
        self, recipient: Recipient, count: int, now_unix: float
    ) -> tuple[list[ReplySurb], list[IssuedKey]]:
        """SURBs for `recipient` and the key records to persist before they are sent."""
        surbs = self._builder.reply_surbs(count)
        self.stats.surbs_made += len(surbs)
        topology = self._builder.topology
        rotation_id = topology.rotation_id if topology is not None else 0
        return surbs, self.reply_keys.issue(recipient, surbs, now_unix, rotation_id)

    def queue_plain(self, recipient: Recipient, data: bytes, lane: int) -> Sending:
        """Queue a message that carries nothing about its sender but what `data` says."""
        return self._queue(PlainMessage(data).encode(), lane, recipient=recipient)

    def queue_anonymous(
        self, recipient: Recipient, data: bytes, surbs: list[ReplySurb], lane: int
    ) -> Sending:
        """Queue a message that can be answered over `surbs` (and those sent before)."""
        content = RepliableData(data, tuple(surbs), self._surb_rotation(), self._wire_version)
        message = RepliableMessage(self.sender_tag(recipient)[0], content)
        return self._queue(message.encode(), lane, recipient=recipient)

    def queue_supply(self, supply: Supply, surbs: list[ReplySurb]) -> Sending:
        """Queue SURBs on their own: asked for on a lane of its own, unasked in slots nobody else wants."""
        content = AdditionalSurbs(tuple(surbs), self._surb_rotation(), self._wire_version)
        message = RepliableMessage(self.sender_tag(supply.recipient)[0], content)
        return self._queue(
            message.encode(),
            Lane.ADDITIONAL_SURBS,
            recipient=supply.recipient,
            idle=not supply.urgent,
        )

    def queue_reply(self, sender_tag: bytes, data: bytes, lane: int) -> Sending:
        """Answer whoever sent us `sender_tag`, over the SURBs received from there.

        Raises NoReplySurbs when none of its SURBs are known, or when too much waits for them already.
        """
        items, sending = self._fragments(ReplyMessage(ReplyData(data)).encode(), lane)
        for item in items:
            item.sender_tag = sender_tag
        if not self.reply_pools.queue(sender_tag, items):
            for item in items:
                self._settle(item)
            raise NoReplySurbs("the sender gave us no reply SURBs, or too much waits for them already")
        self._drain_pools()
        return sending

    def close_lane(self, lane: int) -> None:
        """Drop what is queued on a lane and stop caring for what is under way."""
        for item in self._unacked.pop(lane, ()):
            item.cancelled = True
        self._lanes.drop(lane, self.reply_pools.give_back)
        self.reply_pools.drop_lane(lane)
        self._pending.drop_lane(lane)

    def lane_queued(self, lane: int) -> int:
        """Packets of a lane waiting for a slot."""
        return self._lanes.queued(lane)

    def lane_unacked(self, lane: int) -> int:
        """Packets of a lane not yet acknowledged, those still queued or waiting for SURBs included."""
        return len(self._unacked.get(lane, ()))

    @property
    def in_flight(self) -> int:
        """Packets sent and not yet acknowledged, of all lanes."""
        return len(self._pending)

    @property
    def queued(self) -> int:
        return len(self._lanes) + len(self._idle)

    @property
    def quiet(self) -> bool:
        """Nothing but cover is under way and nobody waits for anything."""
        return not (self._pending or self._lanes or self._idle or self.banks.owed or self.banks.demanded)

    @property
    def window_packets(self) -> float:
        return self._window.window_packets

    # ---- the send loop -----------------------------------------------------------------------------------------

    def poll(self, now: float) -> list[MixPacket]:
        """Packets that leave now. Call at `next_timer`, and after queueing when there is no schedule."""
        if now >= self._next_check:
            self._next_check = now + CHECK_INTERVAL_SECONDS
            self.reply_pools.tick(now)
            self._drain_pools()
        if self._paused or self._builder.topology is None:
            return []
        self._retransmit_expired(now)
        out: list[MixPacket] = []
        if self._main is None:
            while len(out) < BURST_PACKETS and self._window.allows(len(self._pending)):
                packet = self._real_packet(now)
                if packet is None:
                    break
                out.append(packet)
        else:
            while self._main.take_due(now):
                self._add(out, self._real_packet(now) or self._cover_packet())
        if self._cover is not None:
            while self._cover.take_due(now):
                data = self._real_packet(now) if self.options.use_cover_slots_for_data else None
                self._add(out, data or self._cover_packet())
        return out

    def next_timer(self, now: float) -> float | None:
        """When `poll` wants to be called next; `now` itself while unscheduled packets wait."""
        if self._paused or self._builder.topology is None:
            return self._next_check
        times = [self._next_check]
        if self._main is not None:
            times.append(self._main.deadline)
        elif (self._lanes or self._idle) and self._window.allows(len(self._pending)):
            return now
        if self._cover is not None:
            times.append(self._cover.deadline)
        deadline = self._pending.next_deadline()
        if deadline is not None:
            times.append(deadline)
        return min(times)

    def next_supply(self) -> Supply | None:
        """SURBs to make now: those a recipient asked for, else some for a bank when slots are free."""
        if self._paused or self._builder.topology is None:
            return None
        if self._lanes.queued(Lane.ADDITIONAL_SURBS) < 2 * IDLE_QUEUE_LOW_PACKETS:
            urgent = self.banks.next_urgent()
            if urgent is not None:
                return urgent
        if len(self._idle) >= IDLE_QUEUE_LOW_PACKETS:
            return None
        if self._main is None and (self._lanes or not self._window.allows(len(self._pending))):
            return None
        stock = {r: self.reply_keys.stock(r) for r in self.banks.recipients()}
        return self.banks.next_idle(stock, shaped=self._main is not None)

    def supply_wanted(self) -> bool:
        """Whether `next_supply` may have something to do; cheap enough to ask after every packet."""
        return self.banks.owed > 0 or (self.banks.wanted and len(self._idle) < IDLE_QUEUE_LOW_PACKETS)

    # ---- receiving ---------------------------------------------------------------------------------------------

    def receive(self, frame: bytes, now: float) -> list[ReceivedMessage]:
        """Take one pushed frame (docs/protocol/03 §7.2); returns the messages it completed. Never raises."""
        self.stats.frames_received += 1
        if len(frame) <= OUTFOX_ACK_LIMIT_BYTES:
            self._receive_ack(frame, now)
            return []
        if self._cover_stock.is_ours(frame):
            self.stats.cover_received += 1
            return []
        via: Recipient | None = None
        try:
            key = self.reply_keys.take(frame[:DIGEST_BYTES])
            if key is not None:
                via = key.recipient
                self.used_digests.append(key.digest)
                self.stats.replies_received += 1
                content = open_reply(key.key, frame[DIGEST_BYTES:])
            else:
                content = open_sealed(self._keys.encryption_private, frame)
                if is_cover(content):  # nobody but another program with our keys makes such
                    self.stats.cover_received += 1
                    return []
            message = self.reconstructor.insert(Fragment.decode(content), now)
            if message is None:
                return []
            return self._dispatch(message, via, now)
        except SphinxError:
            # Noise is normal: replies whose keys are gone decrypt to it (docs/protocol/02 §9).
            self.stats.undecodable += 1
            return []

    # ---- inside ------------------------------------------------------------------------------------------------

    def _dispatch(self, data: bytes, via: Recipient | None, now: float) -> list[ReceivedMessage]:
        message = decode_message(data)
        self.stats.messages_received += 1
        match message:
            case PlainMessage():
                return [ReceivedMessage(message.data)]
            case RepliableMessage(sender_tag=tag, content=content):
                stored = [StoredSurb(surb, content.rotation, now) for surb in content.surbs]
                self.stats.surbs_received += len(stored)
                requested = isinstance(content, AdditionalSurbs)
                self.reply_pools.received(tag, stored, now, requested=requested)
                self._drain_pools()
                if isinstance(content, AdditionalSurbs | Heartbeat):
                    return []
                return [ReceivedMessage(content.data, sender_tag=tag)]
            case ReplyMessage(content=reply):
                # Whoever knows our address could write a "reply"; one that came over no SURB of ours is no reply.
                if via is None:
                    self.stats.undecodable += 1
                    return []
                if isinstance(reply, SurbRequest):
                    self._surb_request(via, reply.amount)
                    return []
                return [ReceivedMessage(reply.data, via=via)]

    def _surb_request(self, recipient: Recipient, amount: int) -> None:
        if recipient not in self._sender_tags:
            return
        bank = self.banks.get(recipient)
        if bank.owed == 0:
            # An exit with a full bank does not ask, so our idea of its stock is wrong.
            self.reply_keys.note_short(recipient)
        bank.grant(amount)

    def _receive_ack(self, frame: bytes, now: float) -> None:
        if len(frame) != ACK_CONTENT_BYTES:
            self.stats.unknown_lengths += 1
            return
        try:
            fragment_id = open_ack(self._keys.ack_key, frame)
        except SphinxError:
            self.stats.undecodable += 1
            return
        self.stats.acks_received += 1
        if fragment_id == COVER_FRAGMENT_ID:
            self.stats.cover_acks_received += 1
            return
        pending = self._pending.acked(fragment_id)
        if pending is None:
            return
        seconds = now - pending.sent_at
        self._window.on_ack(now, seconds - pending.expected_seconds)
        self.stats.acked_after(seconds)
        pending.item.sending.packet_acked()
        self._settle(pending.item)

    def _queue(self, message: bytes, lane: int, *, recipient: Recipient, idle: bool = False) -> Sending:
        items, sending = self._fragments(message, lane)
        for item in items:
            item.recipient = recipient
            if idle:
                self._idle.append(item)
            else:
                self._lanes.push(lane, item)
        return sending

    def _fragments(self, message: bytes, lane: int) -> tuple[list[Outgoing], Sending]:
        if len(message) > MAX_MESSAGE_BYTES:
            raise ValueError(f"a message is at most {MAX_MESSAGE_BYTES} bytes: send it in parts")
        fragments = split(pad(message, FRAGMENT_SPACE), FRAGMENT_SPACE, rng=self._rng)
        sending = Sending(len(fragments))
        items = [Outgoing(fragment.id, fragment.encode(), lane, sending) for fragment in fragments]
        self._unacked.setdefault(lane, set()).update(items)
        return items, sending

    def _drain_pools(self) -> None:
        """Act on what the reply pools decided: packets that got a SURB, requests to make, packets given up."""
        pools = self.reply_pools
        while pools.requests_due:
            tag, amount = pools.requests_due.popitem(last=False)
            surb = pools.take_for_request(tag)
            if surb is None:
                continue
            request = ReplyMessage(SurbRequest(self.address, amount)).encode()
            items, _ = self._fragments(request, Lane.SURB_REQUEST)
            for item in items:  # exactly one: a request is 102 bytes
                item.sender_tag = tag
                item.surb = surb
                item.surb_request = True
                item.max_retransmissions = SURB_REQUEST_RETRANSMISSIONS
                self._lanes.push(Lane.SURB_REQUEST, item)
        ready, pools.ready = pools.ready, []
        for item in ready:
            if item.cancelled:
                pools.give_back(item)
            else:
                self._lanes.push(Lane.RETRANSMISSION if item.retransmissions else item.lane, item)
        dropped, pools.dropped = pools.dropped, []
        for item in dropped:
            self._lose(item)

    def _retransmit_expired(self, now: float) -> None:
        expired = self._pending.expired(now)
        for pending in expired:
            self._retransmit(pending, now)
        if expired:
            self._drain_pools()

    def _retransmit(self, pending: Pending, now: float) -> None:
        item = pending.item
        self._window.on_timeout(now)
        limit = self.options.retransmission_limit
        if item.max_retransmissions is not None:
            limit = min(limit, item.max_retransmissions)
        if item.retransmissions >= limit:
            self._lose(item)
            return
        item.retransmissions += 1
        if item.recipient is not None:
            self._lanes.push(Lane.RETRANSMISSION, item)
        elif not self.reply_pools.retransmit(item):
            self._lose(item)

    def _lose(self, item: Outgoing) -> None:
        """Give a packet up and say so: a message with a hole never arrives."""
        if item.cancelled:
            return
        self.stats.packets_lost += 1
        item.sending.packet_lost()
        self._settle(item)

    def _settle(self, item: Outgoing) -> None:
        lane = self._unacked.get(item.lane)
        if lane is not None:
            lane.discard(item)
            if not lane:
                del self._unacked[item.lane]
        self.on_progress(item.lane)

    def _next_item(self) -> Outgoing | None:
        while (picked := self._lanes.pop()) is not None:
            if not picked[1].cancelled:
                return picked[1]
            self.reply_pools.give_back(picked[1])
        while self._idle:
            item = self._idle.popleft()
            if not item.cancelled:
                return item
        return None

    def _real_packet(self, now: float) -> MixPacket | None:
        while (item := self._next_item()) is not None:
            try:
                packet, expected_seconds = self._builder.data(item)
            except (TopologyError, SphinxError):
                # No route to this recipient any more: later tries would fail alike.
                self._lose(item)
                continue
            self._pending.sent(item, expected_seconds, now)
            self.stats.sent_real += 1
            if item.retransmissions:
                self.stats.sent_retransmissions += 1
            if item.lane == Lane.ADDITIONAL_SURBS:
                self.stats.sent_surb_supply += 1
            self.on_progress(item.lane)
            return packet
        return None

    def _cover_packet(self) -> MixPacket | None:
        try:
            packet = self._cover_stock.take()
        except (TopologyError, SphinxError):
            self.stats.empty_slots += 1
            return None
        self.stats.sent_cover += 1
        return packet

    @staticmethod
    def _add(out: list[MixPacket], packet: MixPacket | None) -> None:
        if packet is not None:
            out.append(packet)

    def _restart_schedules(self, now: float) -> None:
        interval, cover = self.profile.message_interval_seconds, self.profile.cover_interval_seconds
        self._main = PoissonSchedule(interval, self._rng, now) if interval else None
        self._cover = PoissonSchedule(cover, self._rng, now) if cover else None

    def _surb_rotation(self) -> KeyRotation:
        topology = self._builder.topology
        return topology.key_rotation if topology is not None else KeyRotation.UNKNOWN
