"""The replier's side: SURBs that anonymous senders gave us, and what waits for them (docs/protocol/04 §4.3–4.5).

One pool per sender tag. Numbers are the reference's; the bounds on stored SURBs, waiting packets and tags are ours.
Waiting packets of one tag take turns by lane, so a bulk reply does not keep a short one waiting. Pure.
"""

from __future__ import annotations

from collections import Counter, OrderedDict, deque
from dataclasses import dataclass, field

from nym_sphinx import KeyRotation

from .lanes import LaneQueues
from .outgoing import Outgoing, StoredSurb

MIN_STORED_SURBS = 10  # kept back for asking for more
MAX_STORED_SURBS = 200  # only stops asking; unasked ones are kept beyond it
MIN_REQUEST_SURBS = 10
MAX_REQUEST_SURBS = 50
REREQUEST_AFTER_SECONDS = 10.0
GIVE_UP_AFTER_SECONDS = 5 * 60.0
MAX_REREQUESTS = 5
IDLE_TAG_SECONDS = 5 * 60.0
CHECK_INTERVAL_SECONDS = 5.0

MAX_SURBS_PER_TAG = 20_000
MAX_WAITING_PACKETS_PER_TAG = 20_000
MAX_TAGS = 10_000


@dataclass(slots=True)
class _Pool:
    last_received_at: float
    fresh: deque[StoredSurb] = field(default_factory=deque)
    stale: deque[StoredSurb] = field(default_factory=deque)
    expected: int = 0  # asked for and not yet received
    rerequests: int = 0
    waiting: LaneQueues[Outgoing] = field(default_factory=LaneQueues)
    retransmissions: deque[Outgoing] = field(default_factory=deque)

    @property
    def available(self) -> int:
        return len(self.fresh) + len(self.stale)

    @property
    def queued(self) -> int:
        return len(self.waiting) + len(self.retransmissions)

    def take(self) -> StoredSurb | None:
        if self.fresh:
            return self.fresh.popleft()
        return self.stale.popleft() if self.stale else None


@dataclass(slots=True)
class ReplyPools:
    """SURBs by sender tag. `ready` lists packets that just got their SURB; drain it after every call."""

    max_tags: int = MAX_TAGS
    ready: list[Outgoing] = field(default_factory=list)
    requests_due: OrderedDict[bytes, int] = field(default_factory=OrderedDict)
    dropped: list[Outgoing] = field(default_factory=list)
    _pools: OrderedDict[bytes, _Pool] = field(default_factory=OrderedDict)
    _lanes: Counter[int] = field(default_factory=Counter)  # packets that wait for a SURB, by lane

    def __contains__(self, tag: bytes) -> bool:
        return tag in self._pools

    def stored(self, tag: bytes) -> int:
        pool = self._pools.get(tag)
        return pool.available if pool else 0

    def waiting(self, tag: bytes) -> int:
        """Packets of this tag that wait for a SURB."""
        pool = self._pools.get(tag)
        return pool.queued if pool else 0

    def lane_waiting(self, lane: int) -> int:
        """Packets of one lane that wait for a SURB, whoever they are for."""
        return self._lanes[lane]

    def room(self, tag: bytes) -> int:
        """How many more packets may wait for this tag."""
        return MAX_WAITING_PACKETS_PER_TAG - self.waiting(tag)

    def received(self, tag: bytes, surbs: list[StoredSurb], now: float, *, requested: bool) -> None:
        """Store SURBs of a repliable message and serve what waited for them."""
        pool = self._pools.get(tag)
        if pool is None:
            pool = self._pools[tag] = _Pool(now)
            while len(self._pools) > self.max_tags:
                _, oldest = self._pools.popitem(last=False)
                self._drop_waiting(oldest)
        else:
            self._pools.move_to_end(tag)
        if requested:
            pool.expected = max(0, pool.expected - len(surbs))
        if not surbs:
            return
        pool.last_received_at = now
        pool.rerequests = 0
        pool.fresh.extend(surbs)
        while len(pool.fresh) > MAX_SURBS_PER_TAG:
            pool.fresh.popleft()
        replaceable = max(0, len(pool.fresh) - MIN_STORED_SURBS)
        for _ in range(min(replaceable, len(pool.stale))):
            pool.stale.popleft()
        self._serve(tag, pool)

    def queue(self, tag: bytes, items: list[Outgoing]) -> bool:
        """Queue reply packets; False when nobody of that tag is known (or too much waits already)."""
        pool = self._pools.get(tag)
        if pool is None or pool.queued + len(items) > MAX_WAITING_PACKETS_PER_TAG:
            return False
        for item in items:
            pool.waiting.push(item.lane, item)
            self._lanes[item.lane] += 1
        self._serve(tag, pool)
        return True

    def retransmit(self, item: Outgoing) -> bool:
        """A reply packet was not acknowledged: it needs another SURB. False when the tag is gone."""
        pool = self._pools.get(item.sender_tag or b"")
        if pool is None:
            return False
        item.surb = None
        if item.surb_request:
            surb = pool.take()
            if surb is not None:
                item.surb = surb
                self.ready.append(item)
            return surb is not None
        pool.retransmissions.append(item)
        self._lanes[item.lane] += 1
        self._serve(item.sender_tag or b"", pool)
        return True

    def take_for_request(self, tag: bytes) -> StoredSurb | None:
        """A SURB to ask for more with; may dig below the reserve."""
        pool = self._pools.get(tag)
        return pool.take() if pool else None

    def give_back(self, item: Outgoing) -> None:
        """Return the unused SURB of a packet that will not be sent."""
        pool = self._pools.get(item.sender_tag or b"")
        if pool is not None and item.surb is not None:
            pool.fresh.appendleft(item.surb)
            item.surb = None

    def drop_lane(self, lane: int) -> list[Outgoing]:
        """Forget what waits on one lane, whoever it is for."""
        gone: list[Outgoing] = []
        for pool in self._pools.values():
            pool.waiting.drop(lane, gone.append)
            if any(item.lane == lane for item in pool.retransmissions):
                gone.extend(item for item in pool.retransmissions if item.lane == lane)
                pool.retransmissions = deque(item for item in pool.retransmissions if item.lane != lane)
        del self._lanes[lane]
        return gone

    def tick(self, now: float) -> None:
        """Every 5 s: ask again for SURBs that did not come, give up on senders that went silent."""
        for tag, pool in list(self._pools.items()):
            if pool.queued:
                silent = now - pool.last_received_at
                if pool.rerequests > MAX_REREQUESTS or silent > GIVE_UP_AFTER_SECONDS:
                    self._drop_waiting(pool)
                elif silent > REREQUEST_AFTER_SECONDS:
                    pool.rerequests += 1
                    pool.expected = 0
                    self._request(tag, pool)
            elif not pool.available and not pool.expected and now - pool.last_received_at > IDLE_TAG_SECONDS:
                del self._pools[tag]

    def rotated(self) -> None:
        """The network settled on new keys: what we hold may be dying, so ask for as many new ones."""
        for tag, pool in self._pools.items():
            count = len(pool.fresh)
            pool.stale.extend(pool.fresh)
            pool.fresh.clear()
            if count:
                amount = min(max(count, MIN_REQUEST_SURBS), MAX_REQUEST_SURBS)
                self.requests_due[tag] = amount
                pool.expected += amount

    def purge(self, *, received_before: float, expected_rotation: KeyRotation) -> None:
        """Drop SURBs that cannot work any more: too old, or of the other key parity."""
        for pool in self._pools.values():
            for name in ("fresh", "stale"):
                kept = deque(
                    surb
                    for surb in getattr(pool, name)
                    if surb.received_at >= received_before
                    and (
                        KeyRotation.UNKNOWN in (surb.rotation, expected_rotation)
                        or surb.rotation == expected_rotation
                    )
                )
                setattr(pool, name, kept)

    def drop_stale(self) -> None:
        """The old rotation's keys are gone for good."""
        for pool in self._pools.values():
            pool.stale.clear()

    def _serve(self, tag: bytes, pool: _Pool) -> None:
        while pool.queued and pool.available > MIN_STORED_SURBS:
            if pool.retransmissions:
                item = pool.retransmissions.popleft()
            else:
                picked = pool.waiting.pop()
                if picked is None:
                    break
                item = picked[1]
            self._no_longer_waits(item)
            item.surb = pool.take()
            self.ready.append(item)
        have = len(pool.fresh) + pool.expected
        if have < MAX_STORED_SURBS and have < pool.queued + MIN_STORED_SURBS:
            self._request(tag, pool)

    def _request(self, tag: bytes, pool: _Pool) -> None:
        amount = min(max(pool.queued, MIN_REQUEST_SURBS), MAX_REQUEST_SURBS)
        pool.expected += amount
        self.requests_due[tag] = self.requests_due.get(tag, 0) + amount

    def _drop_waiting(self, pool: _Pool) -> None:
        gone = list(pool.retransmissions)
        pool.retransmissions.clear()
        while (picked := pool.waiting.pop()) is not None:
            gone.append(picked[1])
        for item in gone:
            self._no_longer_waits(item)
        self.dropped.extend(gone)

    def _no_longer_waits(self, item: Outgoing) -> None:
        self._lanes[item.lane] -= 1
        if not self._lanes[item.lane]:
            del self._lanes[item.lane]
