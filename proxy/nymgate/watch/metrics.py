"""The metrics: one table. Pure.

``docs/reference/metrics.md`` is this table, tests of the dashboards read it, and ``exposition`` writes what it says.
Names follow the conventions that `promtool check metrics` knows: base units, ``_total`` for counters. A label has few
values, all of them known beforehand or set by the operator; none names a destination, a user, a ticket or an identity.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Final

from nymgate.refusals import REFUSALS
from nymgate.watch.health import LAYERS, State
from nymgate.watch.metric_kinds import (
    OTHER,
    TICKET_TYPES,
    Kind,
    Label,
    Metric,
    Row,
    by_listener,
    by_signer,
    by_type,
    by_type_and,
    money,
    money_table,
    one,
    states,
    table,
)
from nymgate.watch.snapshot import Money, Snapshot

UNYM: Final = 1_000_000

BOOK_STATES: Final = ("active", "suspect", "exhausted", "exported", "expired")
SETTLEMENTS: Final = ("accepted", "spent", "refused", "unknown", "crashed", "unsent")
PURCHASE_STATES: Final = ("planned", "signed", "broadcast", "deposited", "requesting")
DAYS_LEFT: Final = ("0", "1", "2", "3", "4", "5", "6", "7")
SUPPLY_STATES: Final = ("ok", "degraded", "exhausted")
HINDRANCES: Final = (
    "E_BUDGET_DAY",
    "E_BUDGET_MONTH",
    "E_BUDGET_DEPOSIT",
    "E_BUDGET_PRICE",
    "E_BUDGET_RESERVE",
    "E_WALLET_FUNDS",
    "E_WALLET",
    "E_CHAIN",
    "E_PAYMENT_UNCONFIRMED",
    "E_SIGNERS",
    "E_STORE",
    "E_BOUGHT_ELSEWHERE",
    "E_INTERNAL",
    "E_NO_ACCOUNT",
    "E_OUT_OF_TICKETS",
    "E_TICKETS_COMING",
)
PERIODS: Final = ("day", "month")
LINK_STATES: Final = ("connecting", "ready", "out_of_bandwidth", "reconnecting", "closed")
REST_STATES: Final = ("connecting", "awake", "busy", "asleep")
EXIT_STATES: Final = ("in_use", "open", "up", "untried", "doubtful", "down")
OUTCOMES: Final = (
    "ok",
    *REFUSALS,
    "E_APPLICATION_GONE",
    "E_NO_REQUEST",
    "E_HANDSHAKE_TIMEOUT",
    "E_SHUTDOWN",
)


def _ended(snapshot: Snapshot) -> Iterator[Row]:
    nothing: dict[str, int] = {}
    ended = dict.fromkeys(snapshot.listening, nothing) | dict(snapshot.streams.ended)
    for listener, outcomes in ended.items():
        counts: dict[str, float] = {"ok": 0}
        for outcome, value in outcomes.items():
            name = outcome if outcome in OUTCOMES else OTHER
            counts[name] = counts.get(name, 0) + value
        yield from (((listener, outcome), value) for outcome, value in counts.items())


def _layers(snapshot: Snapshot) -> Iterator[Row]:
    if snapshot.health is None:
        return
    found = {layer.name: layer.state for layer in snapshot.health.layers}
    for layer in LAYERS:
        yield from (((layer, state.value), float(found.get(layer) is state)) for state in State)


# ---- the table -----------------------------------------------------------------------------------------------------

_C, _G, _H = Kind.COUNTER, Kind.GAUGE, Kind.HISTOGRAM
_TYPE: Final = Label("type", TICKET_TYPES)
_SIGNER: Final = Label("signer", what="host and port of the signer, as the chain tells everybody")
_LISTENER: Final = Label("listener", what="the listening address, as configured")


def _set(name: str, known: Iterable[str]) -> tuple[Label, ...]:
    return (Label(name, tuple(known)),)


GENERAL: Final = (
    Metric(
        "nymgate_build_info",
        _G,
        "Always 1; the labels say which version runs, and on what.",
        lambda s: [((s.version, s.python, s.network, s.profile), 1.0)],
        (
            Label("version", what="of nymgate"),
            Label("python", what="version of Python"),
            Label("network", what="name of the network, as configured"),
            Label("profile", what="the traffic profile, as configured"),
        ),
    ),
    Metric("nymgate_start_time_seconds", _G, "Unix time of the start.", one(lambda s: s.started_unix)),
    Metric("nymgate_workers", _G, "Worker processes that answer.", one(lambda s: s.workers)),
    Metric(
        "nymgate_workers_expected",
        _G,
        "Worker processes that there should be.",
        one(lambda s: s.workers_expected),
    ),
    Metric(
        "nymgate_process_cpu_seconds",
        _C,
        "Processor time used, of all workers.",
        one(lambda s: s.process.cpu_seconds),
    ),
    Metric(
        "nymgate_process_resident_memory_bytes",
        _G,
        "Memory in use, of all workers.",
        one(lambda s: s.process.resident_bytes),
    ),
    Metric(
        "nymgate_process_open_fds",
        _G,
        "Open files and sockets, of all workers.",
        one(lambda s: s.process.open_files),
    ),
    Metric(
        "nymgate_event_loop_lag_seconds",
        _H,
        "How late the event loop woke a timer: above 0.1 s, streams stutter.",
        one(lambda s: s.process.loop_lag_seconds),
    ),
)

HEALTH: Final = (
    Metric(
        "nymgate_ready",
        _G,
        "1 if a new stream gets through now, as /readyz says.",
        one(lambda s: None if s.health is None else float(s.health.ready)),
    ),
    Metric(
        "nymgate_asleep",
        _G,
        "1 while no packets are sent for want of streams: mixnet and exit are not looked at.",
        one(lambda s: None if s.health is None else float(s.health.asleep)),
    ),
    Metric(
        "nymgate_layer_state",
        _G,
        "1 for the state that each layer is in.",
        _layers,
        (Label("layer", LAYERS), Label("state", tuple(State))),
    ),
    Metric(
        "nymgate_probes",
        _C,
        "Questions asked to see whether the way works.",
        table(("loop", "exit"), lambda s: s.probes.asked),
        _set("probe", ("loop", "exit")),
    ),
    Metric(
        "nymgate_probes_unanswered",
        _C,
        "Those that got no answer in time.",
        table(("loop", "exit"), lambda s: s.probes.unanswered),
        _set("probe", ("loop", "exit")),
    ),
    Metric(
        "nymgate_probe_loop_seconds",
        _G,
        "How long our own last message took through the mixnet and back.",
        one(lambda s: s.probes.loop_seconds),
    ),
    Metric(
        "nymgate_probe_exit_seconds",
        _G,
        "How long the exit took to answer the last question.",
        one(lambda s: s.probes.exit_seconds),
    ),
)

MONEY: Final = (
    Metric(
        "nymgate_tickets_remaining",
        _G,
        "Tickets that can be spent today.",
        by_type(lambda t: t.remaining),
        (_TYPE,),
    ),
    Metric(
        "nymgate_tickets_in_use",
        _G,
        "Tickets handed out whose fate is open.",
        by_type(lambda t: t.in_use),
        (_TYPE,),
    ),
    Metric(
        "nymgate_tickets_spent",
        _C,
        "Tickets that gateways have credited, over the life of the store.",
        by_type(lambda t: t.accepted),
        (_TYPE,),
    ),
    Metric(
        "nymgate_tickets_given_up",
        _C,
        "Tickets lost: paid for, never credited as far as is known.",
        by_type(lambda t: t.given_up),
        (_TYPE,),
    ),
    Metric(
        "nymgate_tickets_expired", _C, "Tickets that died unused.", by_type(lambda t: t.expired), (_TYPE,)
    ),
    Metric(
        "nymgate_tickets_settled",
        _C,
        "Tickets by what became of them, over the life of the store.",
        money_table(SETTLEMENTS, lambda m: m.purse.settled),
        _set("settlement", SETTLEMENTS),
    ),
    Metric(
        "nymgate_tickets_by_expiry",
        _G,
        "Remaining tickets by how many UTC days they live beyond today.",
        by_type_and(DAYS_LEFT, lambda t: t.by_days_left),
        (_TYPE, Label("days_left", DAYS_LEFT)),
    ),
    Metric(
        "nymgate_books",
        _G,
        "Ticketbooks by state.",
        by_type_and(BOOK_STATES, lambda t: t.books),
        (_TYPE, Label("state", BOOK_STATES)),
    ),
    Metric(
        "nymgate_tickets_projected_seconds",
        _G,
        "How long the remaining tickets last, as projected from use.",
        one(lambda s: _left(s)),
    ),
    Metric(
        "nymgate_tickets_projected_per_day",
        _G,
        "Tickets that a day takes, as projected from use.",
        money(lambda m: m.topup.tickets_per_day),
    ),
    Metric(
        "nymgate_profile_tickets_per_hour",
        _G,
        "Tickets that an hour awake costs each identity, by its profile.",
        one(lambda s: s.costs.tickets_per_hour),
    ),
    Metric(
        "nymgate_ticketbook_price_nym",
        _G,
        "What the last ticketbook cost, in NYM.",
        one(lambda s: _nym(s.costs.price_unym)),
    ),
    Metric("nymgate_deposits", _C, "Ticketbooks paid for.", money(lambda m: m.purse.deposits)),
    Metric(
        "nymgate_deposits_open",
        _G,
        "Payments sent whose fate is open.",
        money(lambda m: m.purse.deposits_open),
    ),
    Metric(
        "nymgate_purchases_unfinished",
        _G,
        "Purchases that are no ticketbooks yet, by state.",
        money_table(PURCHASE_STATES, lambda m: m.purse.unfinished),
        _set("state", PURCHASE_STATES),
    ),
    Metric(
        "nymgate_spent_nym",
        _C,
        "NYM spent on ticketbooks, by what for.",
        money_table(
            ("price", "fee"),
            lambda m: {"price": m.purse.price_unym / UNYM, "fee": m.purse.fees_unym / UNYM},
        ),
        _set("on", ("price", "fee")),
    ),
    Metric(
        "nymgate_account_balance_nym",
        _G,
        "NYM in the account when it was asked last.",
        money(lambda m: _nym(m.purse.balance_unym)),
    ),
    Metric(
        "nymgate_account_balance_timestamp_seconds",
        _G,
        "Unix time at which the account was asked last.",
        money(lambda m: m.purse.balance_unix),
    ),
    Metric(
        "nymgate_budget_limit_nym",
        _G,
        "What may be spent in a UTC day and month; absent without a limit.",
        lambda s: _budget(s, lambda m: m.budget.limits),
        _set("period", PERIODS),
    ),
    Metric(
        "nymgate_budget_left_nym",
        _G,
        "What may still be spent in this UTC day and month; absent without a limit.",
        lambda s: _budget(s, lambda m: m.budget.left()),
        _set("period", PERIODS),
    ),
    Metric(
        "nymgate_topup_enabled",
        _G,
        "1 if ticketbooks are bought by themselves.",
        money(lambda m: float(m.topup.enabled)),
    ),
    Metric(
        "nymgate_supply_state",
        _G,
        "1 for the state that the supply of tickets is in.",
        states(SUPPLY_STATES, lambda s: None if s.money is None else s.money.topup.supply),
        _set("state", SUPPLY_STATES),
    ),
    Metric(
        "nymgate_topup_hindrance",
        _G,
        "1 for what keeps a ticketbook from being bought.",
        states(HINDRANCES, lambda s: None if s.money is None else s.money.topup.hindrance or ""),
        _set("code", HINDRANCES),
    ),
    Metric(
        "nymgate_topup_books_bought",
        _C,
        "Ticketbooks bought by themselves since the start.",
        money(lambda m: m.topup.bought),
    ),
    Metric(
        "nymgate_signer_errors",
        _C,
        "Purchases that a signer kept from getting on, since the start.",
        by_signer(lambda m: m.topup.signer_errors),
        (_SIGNER,),
    ),
    Metric(
        "nymgate_signer_failures_in_a_row",
        _G,
        "The same since its last good answer.",
        by_signer(lambda m: m.topup.signer_failures),
        (_SIGNER,),
    ),
    Metric(
        "nymgate_store_transaction_seconds",
        _H,
        "How long transactions of the ticket store took.",
        money(lambda m: m.store_seconds),
    ),
    Metric(
        "nymgate_clock_skew_seconds",
        _G,
        "This machine's clock minus the network's, as far as proven; beyond 20 s tickets are not risked.",
        money(lambda m: m.clock_skew_seconds),
    ),
)

TRAFFIC: Final = (
    Metric(
        "nymgate_identities",
        _G,
        "Mixnet identities by what they are doing.",
        table(REST_STATES, lambda s: s.identities.states),
        _set("state", REST_STATES),
    ),
    Metric(
        "nymgate_gateway_links",
        _G,
        "Links to entry gateways by state.",
        table(LINK_STATES, lambda s: s.links.states),
        _set("state", LINK_STATES),
    ),
    Metric(
        "nymgate_gateway_allowance_bytes",
        _G,
        "What entry gateways still forward for us, all links together.",
        one(lambda s: s.links.allowance_bytes),
    ),
    Metric(
        "nymgate_gateway_allowance_lowest_bytes",
        _G,
        "The same of the link that has least.",
        one(lambda s: s.links.allowance_lowest_bytes),
    ),
    Metric(
        "nymgate_gateway_bought_bytes",
        _C,
        "Allowance that tickets and claims have brought.",
        one(lambda s: s.links.bytes_bought),
    ),
    Metric(
        "nymgate_gateway_used_bytes", _C, "Allowance used by packets.", one(lambda s: s.links.bytes_charged)
    ),
    Metric(
        "nymgate_gateway_claims",
        _C,
        "Tickets and claims shown to gateways, by outcome.",
        table(
            ("accepted", "failed"), lambda s: {"accepted": s.links.claims, "failed": s.links.claims_failed}
        ),
        _set("outcome", ("accepted", "failed")),
    ),
    Metric(
        "nymgate_gateway_sessions",
        _C,
        "Sessions with gateways that came up.",
        one(lambda s: s.links.sessions),
    ),
    Metric(
        "nymgate_gateway_reconnects",
        _C,
        "Sessions that had to be made anew.",
        one(lambda s: s.links.reconnects),
    ),
    Metric(
        "nymgate_gateway_packets_refused",
        _C,
        "Packets that gateways did not forward.",
        one(lambda s: s.links.packets_refused),
    ),
    Metric(
        "nymgate_packets_sent",
        _C,
        "Packets sent: with data for the first time, again for want of an ack, or cover.",
        table(
            ("real", "retransmitted", "cover"),
            lambda s: {
                "real": s.packets.sent_first,
                "retransmitted": s.packets.sent_again,
                "cover": s.packets.sent_cover,
            },
        ),
        _set("kind", ("real", "retransmitted", "cover")),
    ),
    Metric(
        "nymgate_packets_received",
        _C,
        "What the gateway handed over: acks, our own cover, replies over our SURBs, other messages, and noise.",
        table(
            ("ack", "cover", "reply", "other", "noise"),
            lambda s: {
                "ack": s.packets.received_acks,
                "cover": s.packets.received_cover,
                "reply": s.packets.received_replies,
                "other": s.packets.received_other,
                "noise": s.packets.undecodable,
            },
        ),
        _set("kind", ("ack", "cover", "reply", "other", "noise")),
    ),
    Metric("nymgate_packets_lost", _C, "Packets given up.", one(lambda s: s.packets.lost)),
    Metric(
        "nymgate_packets_empty_slots",
        _C,
        "Slots of the traffic profile in which nothing could be sent.",
        one(lambda s: s.packets.empty_slots),
    ),
    Metric("nymgate_packets_queued", _G, "Packets that wait for a slot.", one(lambda s: s.packets.queued)),
    Metric(
        "nymgate_packets_in_flight",
        _G,
        "Packets sent and not acknowledged yet.",
        one(lambda s: s.packets.in_flight),
    ),
    Metric(
        "nymgate_ack_seconds",
        _H,
        "From sending a packet with data until its ack.",
        one(lambda s: s.packets.ack_seconds),
    ),
    Metric("nymgate_surbs_made", _C, "Reply SURBs made for exits.", one(lambda s: s.packets.surbs_made)),
    Metric(
        "nymgate_surb_supply_packets",
        _C,
        "Packets that carried nothing but reply SURBs.",
        one(lambda s: s.packets.sent_surb_supply),
    ),
    Metric(
        "nymgate_surbs_supplied",
        _G,
        "Reply SURBs that exits are believed to hold.",
        one(lambda s: s.packets.surbs_supplied),
    ),
    Metric(
        "nymgate_surbs_wanted",
        _G,
        "Reply SURBs that exits should hold.",
        one(lambda s: s.packets.surbs_wanted),
    ),
    Metric("nymgate_streams_open", _G, "Streams that are open.", one(lambda s: s.streams.open)),
    Metric(
        "nymgate_streams_waiting",
        _G,
        "Streams held back because a limit is reached.",
        one(lambda s: s.streams.waiting),
    ),
    Metric(
        "nymgate_connections_open",
        _G,
        "Applications connected, in any phase.",
        one(lambda s: s.streams.connections),
    ),
    Metric(
        "nymgate_connections_accepted",
        _C,
        "Connections of applications.",
        by_listener(lambda s: s.streams.accepted),
        (_LISTENER,),
    ),
    Metric(
        "nymgate_streams",
        _C,
        "Connections of applications that have ended, by outcome: ok, or why not.",
        _ended,
        (_LISTENER, Label("outcome", OUTCOMES)),
    ),
    Metric(
        "nymgate_stream_bytes",
        _C,
        "Bytes of applications carried.",
        table(("up", "down"), lambda s: {"up": s.streams.bytes_up, "down": s.streams.bytes_down}),
        _set("direction", ("up", "down")),
    ),
    Metric(
        "nymgate_stream_first_byte_seconds",
        _H,
        "From asking for a stream until its first byte came back.",
        one(lambda s: s.streams.first_byte_seconds),
    ),
    Metric(
        "nymgate_exits",
        _G,
        "Exits that may be used, by what is known of them.",
        table(EXIT_STATES, lambda s: s.exits.states),
        _set("state", EXIT_STATES),
    ),
    Metric(
        "nymgate_exit_failovers", _C, "How often another exit took over.", one(lambda s: s.exits.failovers)
    ),
)

METRICS: Final = (*GENERAL, *HEALTH, *MONEY, *TRAFFIC)
"""All of them."""


def _nym(unym: int | None) -> float | None:
    return None if unym is None else unym / UNYM


def _left(snapshot: Snapshot) -> float | None:
    money = snapshot.money
    if money is None or money.topup.runs_out_unix is None:
        return None
    return max(0.0, money.topup.runs_out_unix - snapshot.taken_unix)


def _budget(snapshot: Snapshot, get: Callable[[Money], Mapping[str, int]]) -> Iterator[Row]:
    if snapshot.money is not None:
        found = get(snapshot.money)
        yield from (((period,), found[period] / UNYM) for period in PERIODS if period in found)
