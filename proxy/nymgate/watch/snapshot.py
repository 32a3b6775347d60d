"""All that can be known of a running proxy at one moment: what `status`, the metrics, the page and a report show.

Plain values, no I/O: ``observe_io`` fills them in, ``snapshot_json`` carries them between processes, and :func:`merge`
makes one of those of several workers. Nothing here names a destination, a user, a ticket or an identity.

Each field says how it is merged: counters are summed; what all workers read from one ticket store is taken from the
newest; for times the worst counts.
"""

import dataclasses
from bisect import bisect_left
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any, Final, TypeVar

from nymgate.watch.health import Health, merged_health

T = TypeVar("T")

SECONDS_BOUNDS: Final = (0.05, 0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 10.0, 30.0)
"""Upper bounds of the buckets for whole journeys: acks, first bytes."""
SHORT_SECONDS_BOUNDS: Final = (0.001, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 1.0, 5.0)
"""For what should take milliseconds: the store, turns of the event loop."""


class Rule(StrEnum):
    """How the values of two workers become one."""

    SUM = "sum"
    MIN = "min"
    MAX = "max"
    NEWEST = "newest"


def _sum(default: Any = 0) -> Any:
    return field(default=default, metadata={"rule": Rule.SUM})


def _table() -> Any:
    return field(default_factory=dict, metadata={"rule": Rule.SUM})


def _gauge(default: Any = 0) -> Any:
    """Summed as well, but not of processes that are gone."""
    return field(default=default, metadata={"rule": Rule.SUM, "gauge": True})


def _gauge_table() -> Any:
    return field(default_factory=dict, metadata={"rule": Rule.SUM, "gauge": True})


def _max(default: Any = 0.0) -> Any:
    return field(default=default, metadata={"rule": Rule.MAX})


def _min(default: Any = None) -> Any:
    return field(default=default, metadata={"rule": Rule.MIN})


@dataclass(frozen=True, slots=True)
class Histogram:
    """``counts[i]`` values were at most ``bounds[i]`` and above the bound before; the last count is of all beyond."""

    bounds: tuple[float, ...] = SECONDS_BOUNDS
    counts: tuple[int, ...] = (0,) * (len(SECONDS_BOUNDS) + 1)
    sum: float = 0.0

    @classmethod
    def of(cls, bounds: Sequence[float], counts: Sequence[int], total: float) -> "Histogram":
        """From what a :class:`Tally` or another package counted."""
        return cls(tuple(bounds), tuple(counts), total)

    @property
    def count(self) -> int:
        """How many values."""
        return sum(self.counts)

    def plus(self, other: "Histogram") -> "Histogram":
        """Both together. One with other bounds (another version wrote it) is left out."""
        if not other.count or other.bounds != self.bounds:
            return self if self.count or not other.count else other
        counts = tuple(mine + theirs for mine, theirs in zip(self.counts, other.counts, strict=True))
        return Histogram(self.bounds, counts, self.sum + other.sum)

    def quantile(self, share: float) -> float | None:
        """About that quantile, as the upper bound of its bucket; None without values. For people."""
        wanted, seen = share * self.count, 0
        if not self.count:
            return None
        for bound, count in zip(self.bounds, self.counts, strict=False):
            seen += count
            if seen >= wanted:
                return bound
        return self.bounds[-1]


SHORT: Final = Histogram(SHORT_SECONDS_BOUNDS, (0,) * (len(SHORT_SECONDS_BOUNDS) + 1))


class Tally:
    """A histogram that grows."""

    __slots__ = ("bounds", "counts", "sum")

    def __init__(self, bounds: Sequence[float] = SECONDS_BOUNDS) -> None:
        self.bounds = tuple(bounds)
        self.counts = [0] * (len(bounds) + 1)
        self.sum = 0.0

    def add(self, value: float) -> None:
        """One more value."""
        self.counts[bisect_left(self.bounds, value)] += 1
        self.sum += value

    def seen(self) -> Histogram:
        """As of now."""
        return Histogram.of(self.bounds, self.counts, self.sum)


# ---- money ---------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class TicketStock:
    """The tickets of one type, over the life of the store."""

    remaining: int = _sum()
    """Can be taken today."""
    in_use: int = _sum()
    accepted: int = _sum()
    """Spent: a gateway has credited them."""
    given_up: int = _sum()
    """Lost: paid for, never credited as far as we know."""
    expired: int = _sum()
    """Died unused."""
    by_days_left: Mapping[str, int] = _table()
    """The remaining ones by the UTC days that they live beyond today: "0" to "7"."""
    books: Mapping[str, int] = _table()
    """By state."""


@dataclass(frozen=True, slots=True)
class Purse:
    """What the ticket store and the account hold; the same for all workers. Amounts in unym."""

    tickets: Mapping[str, TicketStock] = field(default_factory=dict)
    """By ticket type."""
    settled: Mapping[str, int] = field(default_factory=dict)
    """Tickets by what became of them."""
    expires: str | None = None
    """The last UTC day on which some ticket for entry gateways can be spent."""
    deposits: int = 0
    """Paid for certain."""
    deposits_open: int = 0
    """May have been paid."""
    price_unym: int = 0
    fees_unym: int = 0
    unfinished: Mapping[str, int] = field(default_factory=dict)
    """Purchases that are no books yet, by state."""
    balance_unym: int | None = None
    """Of the account; None until it was asked for."""
    balance_unix: float | None = None


@dataclass(frozen=True, slots=True)
class Budget:
    """Caps and what is spent of them, in unym, by period: ``day``, ``month``."""

    limits: Mapping[str, int] = field(default_factory=dict)
    spent: Mapping[str, int] = field(default_factory=dict)

    def left(self) -> dict[str, int]:
        """What may still be spent."""
        return {period: max(0, limit - self.spent.get(period, 0)) for period, limit in self.limits.items()}


@dataclass(frozen=True, slots=True)
class TopUp:
    """How it stands with buying."""

    enabled: bool = False
    supply: str = "ok"
    """ok, degraded or exhausted."""
    reason: str = ""
    hindrance: str | None = None
    """Why no book is bought: an identifier such as E_SIGNERS."""
    layer: str | None = None
    """Of the hindrance."""
    retry_unix: float | None = None
    runs_out_unix: float | None = None
    """When no ticket will be left, as projected."""
    tickets_per_day: float | None = None
    """As projected."""
    bought: int = _sum()
    signer_failures: Mapping[str, int] = _gauge_table()
    """In a row, by address of the signer."""
    signer_errors: Mapping[str, int] = _table()
    """Since the start."""


@dataclass(frozen=True, slots=True)
class Money:
    """Everything about paying; None in a snapshot of a proxy that does not pay."""

    purse: Purse = field(default_factory=Purse)
    budget: Budget = field(default_factory=Budget)
    topup: TopUp = field(default_factory=TopUp)
    store_seconds: Histogram = field(default=SHORT, metadata={"rule": Rule.SUM})
    """Transactions of the ticket store."""
    clock_skew_seconds: float | None = _max(None)
    """Ours minus the network's, as far as it is proven; None before the first comparison."""


# ---- traffic -------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Links:
    """The gateway links of all identities together. Counters also count those that are gone."""

    states: Mapping[str, int] = _gauge_table()
    """Links by state."""
    allowance_bytes: int = _gauge()
    allowance_lowest_bytes: int | None = field(default=None, metadata={"rule": Rule.MIN, "gauge": True})
    bytes_charged: int = _sum()
    bytes_bought: int = _sum()
    claims: int = _sum()
    claims_failed: int = _sum()
    sessions: int = _sum()
    reconnects: int = _sum()
    packets_refused: int = _sum()
    failures: Mapping[str, int] = _table()
    """Sessions that ended or could not be had, by kind of error."""


@dataclass(frozen=True, slots=True)
class Packets:
    """Counters of packets since the start, and what is under way now."""

    sent_first: int = _sum()
    """With data, for the first time."""
    sent_again: int = _sum()
    sent_cover: int = _sum()
    sent_surb_supply: int = _sum()
    """Those of the packets with data that carried nothing but reply SURBs."""
    empty_slots: int = _sum()
    """Slots in which nothing could be sent."""
    lost: int = _sum()
    """Given up."""
    received_acks: int = _sum()
    received_cover: int = _sum()
    received_replies: int = _sum()
    received_other: int = _sum()
    undecodable: int = _sum()
    queued: int = _gauge()
    in_flight: int = _gauge()
    ack_seconds: Histogram = field(default=Histogram(), metadata={"rule": Rule.SUM})
    surbs_made: int = _sum()
    surbs_supplied: int = _gauge()
    """That exits are believed to hold."""
    surbs_wanted: int = _gauge()
    """That they should hold."""


@dataclass(frozen=True, slots=True)
class Streams:
    """What applications asked for."""

    open: int = _gauge()
    waiting: int = _gauge()
    """Held back because a limit is reached."""
    connections: int = _gauge()
    """Connected at the moment, in any phase."""
    accepted: Mapping[str, int] = _table()
    """Connections by listening address."""
    ended: Mapping[str, Mapping[str, int]] = _table()
    """Connections by listening address and outcome: "ok" or the identifier of the error."""
    bytes_up: int = _sum()
    bytes_down: int = _sum()
    first_byte_seconds: Histogram = field(default=Histogram(), metadata={"rule": Rule.SUM})
    """From asking for a stream until its first byte came back."""


@dataclass(frozen=True, slots=True)
class Exits:
    """Exits as this proxy knows them."""

    states: Mapping[str, int] = _gauge_table()
    """Exits by health."""
    failovers: int = _sum()


@dataclass(frozen=True, slots=True)
class Identities:
    """Mixnet clients, one for each isolation key in use."""

    states: Mapping[str, int] = _gauge_table()
    """busy, awake, asleep or connecting."""
    awake_seconds: float = _sum(0.0)
    """That identities were awake, added up: what cover traffic was paid for."""
    made: int = _sum()
    """For keys of isolation, since the start."""


@dataclass(frozen=True, slots=True)
class Probes:
    """What was asked to see whether the way works."""

    asked: Mapping[str, int] = _table()
    """Questions by probe: ``loop`` (our own messages) and ``exit``."""
    unanswered: Mapping[str, int] = _table()
    loop_seconds: float | None = _max(None)
    """How long the last one took, through the mixnet and back."""
    exit_seconds: float | None = _max(None)


@dataclass(frozen=True, slots=True)
class Costs:
    """What the profile costs one identity that is awake."""

    tickets_per_hour: float = 0.0
    bytes_per_hour: float = 0.0
    price_unym: int | None = None
    """Of a ticketbook, as of the last purchase."""


@dataclass(frozen=True, slots=True)
class Process:
    """The process itself."""

    loop_lag_seconds: Histogram = field(default=SHORT, metadata={"rule": Rule.SUM})
    """How much later than asked for the event loop woke a timer."""
    cpu_seconds: float = _sum(0.0)
    resident_bytes: int = _gauge()
    open_files: int = _gauge()


@dataclass(frozen=True, slots=True)
class Snapshot:
    """One proxy, or all workers together."""

    taken_unix: float = _max()
    started_unix: float = _min(0.0)
    version: str = ""
    python: str = ""
    network: str = ""
    profile: str = ""
    workers: int = _gauge(1)
    workers_expected: int = _max(1)
    listening: tuple[str, ...] = ()
    health: Health | None = None
    costs: Costs = field(default_factory=Costs)
    money: Money | None = None
    links: Links = field(default_factory=Links)
    packets: Packets = field(default_factory=Packets)
    streams: Streams = field(default_factory=Streams)
    exits: Exits = field(default_factory=Exits)
    identities: Identities = field(default_factory=Identities)
    probes: Probes = field(default_factory=Probes)
    process: Process = field(default_factory=Process)

    @property
    def uptime_seconds(self) -> float:
        """Since the first worker started."""
        return max(0.0, self.taken_unix - self.started_unix)


# ---- several workers -----------------------------------------------------------------------------------------------


def merge(snapshots: Sequence[Snapshot], *, expected: int | None = None) -> Snapshot:
    """One snapshot of several workers. ``expected``: how many there should be. ValueError without any."""
    if not snapshots:
        raise ValueError("no snapshots to merge")
    in_order = sorted(snapshots, key=lambda one: one.taken_unix)
    result = in_order[0]
    for newer in in_order[1:]:
        result = _merged(result, newer)
    expected = expected or max(result.workers_expected, result.workers)
    healths = [one.health for one in in_order if one.health is not None]
    health = merged_health(healths, expected) if healths else None
    return dataclasses.replace(result, workers_expected=expected, health=health)


def gone(snapshot: T) -> T:
    """What is left of a snapshot, or of a part of one, when its process is gone: what it has counted."""
    return _gone(snapshot)  # type: ignore[no-any-return]


def _gone(record: Any) -> Any:
    values: dict[str, Any] = {}
    for item in dataclasses.fields(record):
        value = getattr(record, item.name)
        if item.metadata.get("gauge"):
            values[item.name] = {} if isinstance(value, Mapping) else None if item.default is None else 0
        elif item.name in _MERGED_INSIDE and value is not None:
            values[item.name] = _gone(value)
        else:
            values[item.name] = None if item.name == "health" else value
    return type(record)(**values)


def plus(older: T, newer: T) -> T:
    """Two records of one kind together, by the rules of their fields; ``newer`` was taken later."""
    return _merged(older, newer)  # type: ignore[no-any-return]


def _merged(older: Any, newer: Any) -> Any:
    """Two dataclasses of one kind, the second taken later."""
    values: dict[str, Any] = {}
    for item in dataclasses.fields(newer):
        before, after = getattr(older, item.name), getattr(newer, item.name)
        rule = item.metadata.get("rule", Rule.NEWEST)
        if before is None or after is None:
            values[item.name] = after if before is None else before
        elif rule is Rule.NEWEST and item.name in _MERGED_INSIDE:
            values[item.name] = _merged(before, after)
        else:
            values[item.name] = _by_rule(rule, before, after)
    return type(newer)(**values)


_MERGED_INSIDE: Final = frozenset(
    {"money", "topup", "links", "packets", "streams", "exits", "identities", "probes", "process"}
)
"""Records whose fields have rules of their own."""


def _by_rule(rule: Rule, before: Any, after: Any) -> Any:
    match rule:
        case Rule.SUM:
            return _added(before, after)
        case Rule.MIN:
            return min(before, after)
        case Rule.MAX:
            return max(before, after, key=abs)
    return after


def _added(one: Any, other: Any) -> Any:
    if isinstance(one, Histogram):
        return one.plus(other)
    if isinstance(one, Mapping):
        both = {**one, **other}
        return {
            key: _added(one[key], other[key]) if key in one and key in other else value
            for key, value in both.items()
        }
    return one + other
