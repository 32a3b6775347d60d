"""What `nymgate status`, the page and the control API say of a running proxy, made from a snapshot. Pure.

One record for all three, so they cannot tell different stories. The cost is that of every profile, times the
identities that there are, for an hour awake, for a day awake, and for a day as used so far: nobody shall learn it from
the bill. Nothing here names a destination, an account or a ticket; exits are named by the first characters of their
identity.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from nym_mixnet.profiles import ENTRY_TICKET_BYTES, PROFILES
from nymgate.exits.pool import ExitState
from nymgate.watch.health import LAYERS, Health, Layer
from nymgate.watch.snapshot import Money, Snapshot
from zknym.constants import TICKETS_PER_BOOK

DAY_SECONDS: Final = 86_400.0
LEAST_SECONDS: Final = 600.0
"""What ran for less says nothing yet about a day."""
MOST_EXITS: Final = 12
MEANING: Final = {
    "wallet": "the account that pays",
    "chain": "where deposits are made",
    "signers": "who turn deposits into ticketbooks",
    "tickets": "what pays for traffic",
    "gateway": "the entry into the mixnet",
    "mixnet": "the way through the mixes and back",
    "exit": "where streams leave the mixnet",
    "target": "the destinations",
}


@dataclass(frozen=True, slots=True)
class LayerStatus:
    """How it stands with one layer."""

    layer: str
    meaning: str
    state: str
    code: str | None
    what: str
    todo: str


@dataclass(frozen=True, slots=True)
class TicketStatus:
    """What there is to pay with. None in a status: the gateway's free allowance is used."""

    remaining: int
    in_use: int
    spent: int
    given_up: int
    expired: int
    until: str | None
    """The last UTC day on which some of them can be spent."""
    hours_awake: float | None
    """That they last, with all identities of the moment awake."""
    supply: str
    """ok, degraded or exhausted."""
    why: str
    tops_up: bool
    runs_out_unix: float | None
    unfinished: int
    """Purchases that are no books yet."""


@dataclass(frozen=True, slots=True)
class PeriodStatus:
    """A cap of the budget, in unym."""

    period: str
    limit_unym: int
    spent_unym: int
    left_unym: int


@dataclass(frozen=True, slots=True)
class CostStatus:
    """What a profile costs all identities together. Prices are None while none is known."""

    profile: str
    in_use: bool
    bytes_per_hour: float
    tickets_per_hour: float
    unym_per_hour: float | None
    tickets_per_day: float
    """Awake day and night."""
    unym_per_day: float | None
    tickets_per_day_used: float | None
    """At so many hours a day awake as until now; None while that is not known, or where it does not matter."""
    unym_per_day_used: float | None
    observer: str
    """What an observer of the line learns."""


@dataclass(frozen=True, slots=True)
class ExitStatus:
    """An exit that this proxy uses or has asked."""

    exit: str
    country: str | None
    state: str
    latency_seconds: float | None
    streams: int
    opened: int
    refusals: int


@dataclass(frozen=True, slots=True)
class StreamStatus:
    """What applications asked for."""

    open: int
    waiting: int
    connections: int
    ok: int
    failed: dict[str, int]
    """By identifier."""
    bytes_up: int
    bytes_down: int
    first_byte_seconds: float | None
    """About the median."""


@dataclass(frozen=True, slots=True)
class PrivacyStatus:
    """What others can learn."""

    profile: str
    summary: str
    observer: str
    anonymous_replies: bool
    asleep: bool
    identities: int
    identities_awake: int
    cover_share: float | None
    """Of the packets sent; None before the first."""


@dataclass(frozen=True, slots=True)
class Status:
    """Everything."""

    ready: bool
    state: str
    layer: str | None
    code: str | None
    what: str
    todo: str
    asleep: bool
    version: str
    network: str
    profile: str
    uptime_seconds: float
    taken_unix: float
    workers_ready: int
    workers: int
    listening: tuple[str, ...]
    layers: tuple[LayerStatus, ...]
    tickets: TicketStatus | None
    budget: tuple[PeriodStatus, ...]
    balance_unym: int | None
    price_unym: int | None
    """Of a ticketbook, as of the last purchase."""
    paid_unym: int
    hours_awake_a_day: float | None
    """Of one identity, until now."""
    costs: tuple[CostStatus, ...]
    exits: tuple[ExitStatus, ...]
    exits_known: int
    streams: StreamStatus
    privacy: PrivacyStatus

    @property
    def sentence(self) -> str:
        """The verdict in a line."""
        if not self.layer:
            return f"{'ready' if self.ready else 'not ready'}: {self.what}"
        word = "degraded" if self.ready else "not ready"
        return f"{word}: {self.layer}: {self.what} {self.todo}".rstrip() + f" [{self.code}]"


def status_of(
    snapshot: Snapshot,
    exits: Sequence[ExitState],
    *,
    anonymous_replies: bool = True,
    ticket_bytes: int = ENTRY_TICKET_BYTES,
) -> Status:
    """From what was observed. ``exits``: of all identities and workers; ``ticket_bytes``: what one ticket pays for."""
    health = snapshot.health or Health()
    money = snapshot.money
    price = snapshot.costs.price_unym
    return Status(
        ready=health.ready,
        state=health.state.value,
        layer=health.layer,
        code=health.code,
        what=health.what,
        todo=health.todo,
        asleep=health.asleep,
        version=snapshot.version,
        network=snapshot.network,
        profile=snapshot.profile,
        uptime_seconds=round(snapshot.uptime_seconds, 3),
        taken_unix=round(snapshot.taken_unix, 3),
        workers_ready=health.workers_ready,
        workers=snapshot.workers_expected,
        listening=snapshot.listening,
        layers=tuple(map(_layer, health.layers or tuple(map(Layer, LAYERS)))),
        tickets=_tickets(snapshot, money, ticket_bytes) if money is not None else None,
        budget=_budget(money) if money is not None else (),
        balance_unym=money.purse.balance_unym if money is not None else None,
        price_unym=price,
        paid_unym=money.purse.price_unym + money.purse.fees_unym if money is not None else 0,
        hours_awake_a_day=_hours_awake_a_day(snapshot),
        costs=_costs(snapshot, price if money is not None else None, ticket_bytes),
        exits=_exits(exits),
        exits_known=len({one.address for one in exits}),
        streams=_streams(snapshot),
        privacy=_privacy(snapshot, anonymous_replies),
    )


def _layer(layer: Layer) -> LayerStatus:
    return LayerStatus(
        layer.name, MEANING.get(layer.name, ""), layer.state.value, layer.code, layer.what, layer.todo
    )


def _identities(snapshot: Snapshot) -> int:
    return max(1, snapshot.workers, sum(snapshot.identities.states.values()))


def _awake(snapshot: Snapshot) -> int:
    states = snapshot.identities.states
    return states.get("awake", 0) + states.get("busy", 0)


def _tickets(snapshot: Snapshot, money: Money, ticket_bytes: int) -> TicketStatus:
    stocks = list(money.purse.tickets.values())
    # Only this kind pays entry gateways; others may have been imported.
    entry = [stock for kind, stock in money.purse.tickets.items() if kind.endswith("mixnet-entry")] or stocks
    remaining = sum(stock.remaining for stock in entry)
    an_hour = snapshot.costs.bytes_per_hour / ticket_bytes * _identities(snapshot)
    return TicketStatus(
        remaining=remaining,
        in_use=sum(stock.in_use for stock in entry),
        spent=sum(stock.accepted for stock in entry),
        given_up=sum(stock.given_up for stock in entry),
        expired=sum(stock.expired for stock in entry),
        until=money.purse.expires,
        hours_awake=remaining / an_hour if an_hour else None,
        supply=money.topup.supply,
        why=money.topup.reason,
        tops_up=money.topup.enabled,
        runs_out_unix=money.topup.runs_out_unix,
        unfinished=sum(money.purse.unfinished.values()),
    )


def _budget(money: Money) -> tuple[PeriodStatus, ...]:
    left = money.budget.left()
    return tuple(
        PeriodStatus(period, limit, money.budget.spent.get(period, 0), left[period])
        for period, limit in money.budget.limits.items()
    )


def _hours_awake_a_day(snapshot: Snapshot) -> float | None:
    """Of one identity; those that come and go make it an estimate."""
    uptime = snapshot.uptime_seconds
    if uptime < LEAST_SECONDS or not snapshot.identities.awake_seconds:
        return None
    return min(24.0, snapshot.identities.awake_seconds / _identities(snapshot) / uptime * 24)


def _costs(snapshot: Snapshot, price_unym: int | None, ticket_bytes: int) -> tuple[CostStatus, ...]:
    identities, hours = _identities(snapshot), _hours_awake_a_day(snapshot)
    each = price_unym / TICKETS_PER_BOOK if price_unym is not None else None
    rows = []
    for profile in PROFILES.values():
        costs, in_use = profile.costs(), profile.name == snapshot.profile
        an_hour = costs.bytes_per_second * 3600 / ticket_bytes * identities
        a_day = 24 * an_hour
        used = an_hour * hours if hours is not None and an_hour else None
        if in_use and snapshot.uptime_seconds >= LEAST_SECONDS:
            # Real traffic beyond the profile's slots is charged as well: what was used is known better than computed.
            charged = snapshot.links.bytes_charged / ticket_bytes
            used = charged / snapshot.uptime_seconds * DAY_SECONDS
        rows.append(
            CostStatus(
                profile=profile.name,
                in_use=in_use,
                bytes_per_hour=costs.bytes_per_second * 3600 * identities,
                tickets_per_hour=an_hour,
                unym_per_hour=None if each is None else an_hour * each,
                tickets_per_day=a_day,
                unym_per_day=None if each is None else a_day * each,
                tickets_per_day_used=used,
                unym_per_day_used=None if each is None or used is None else used * each,
                observer=profile.observer,
            )
        )
    return tuple(sorted(rows, key=lambda row: not row.in_use))


_EXITS_FIRST: Final = ("in use", "open", "up", "doubtful", "down", "untried")


def _exits(exits: Sequence[ExitState]) -> tuple[ExitStatus, ...]:
    def rank(one: ExitState) -> int:
        return _EXITS_FIRST.index(one.state) if one.state in _EXITS_FIRST else len(_EXITS_FIRST)

    seen: dict[str, ExitState] = {}
    for one in sorted(exits, key=rank):
        seen.setdefault(one.address, one)
    return tuple(
        ExitStatus(
            exit=one.exit,
            country=one.country,
            state=one.state,
            latency_seconds=None if one.latency_seconds is None else round(one.latency_seconds, 3),
            streams=one.streams,
            opened=one.opened,
            refusals=one.refusals,
        )
        for one in list(seen.values())[:MOST_EXITS]
    )


def _streams(snapshot: Snapshot) -> StreamStatus:
    streams = snapshot.streams
    ended: dict[str, int] = {}
    for outcomes in streams.ended.values():
        for outcome, count in outcomes.items():
            ended[outcome] = ended.get(outcome, 0) + count
    ok = ended.pop("ok", 0)
    return StreamStatus(
        open=streams.open,
        waiting=streams.waiting,
        connections=streams.connections,
        ok=ok,
        failed=dict(sorted(ended.items(), key=lambda item: -item[1])),
        bytes_up=streams.bytes_up,
        bytes_down=streams.bytes_down,
        first_byte_seconds=streams.first_byte_seconds.quantile(0.5),
    )


def _privacy(snapshot: Snapshot, anonymous_replies: bool) -> PrivacyStatus:
    profile = PROFILES.get(snapshot.profile)
    packets = snapshot.packets
    sent = packets.sent_first + packets.sent_again + packets.sent_cover
    return PrivacyStatus(
        profile=snapshot.profile,
        summary=profile.summary if profile is not None else "",
        observer=profile.observer if profile is not None else "",
        anonymous_replies=anonymous_replies,
        asleep=bool(snapshot.health is not None and snapshot.health.asleep),
        identities=_identities(snapshot),
        identities_awake=_awake(snapshot),
        cover_share=packets.sent_cover / sent if sent else None,
    )


def cost_sentence(status: Status) -> str:
    """What the costs are multiplied with."""
    found = status.privacy.identities
    clients = "one identity" if found == 1 else f"{found} identities"
    workers = f" in {status.workers} workers" if status.workers > 1 else ""
    text = f"for {clients}{workers}"
    if status.price_unym is None:
        return f"{text}; the price of a book is known after the first purchase"
    return f"{text}, at {status.price_unym / 1e6:g} NYM a book of {TICKETS_PER_BOOK}"
