"""Alerts and recording rules. Each alert is a *signal*, an expression that always has a value while nymgate runs, and a
bound: so a test can tell a signal that is fine from one that is missing.

The scrape interval of ``prometheus/prometheus.yaml`` is 5 s: a layer that fails is named within half a minute.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Final

import yaml  # type: ignore[import-untyped]

from grafana.money import TICKETS_PER_BOOK

RUNBOOKS: Final = "docs/how-to/runbooks.md"
_NOT_OURS: Final = "ok|E_APPLICATION_GONE|E_NO_REQUEST|E_HANDSHAKE_TIMEOUT|E_SHUTDOWN"
"""Outcomes of streams that are no failure, or the application's own."""
_ENTRY: Final = '{type="v1-mixnet-entry"}'


@dataclass(frozen=True, slots=True)
class Recording:
    """A number that panels and alerts ask for, computed once."""

    name: str
    expr: str


@dataclass(frozen=True, slots=True)
class Alert:
    """A signal beyond its bound. ``lasting`` is how long before anybody is told."""

    name: str
    signal: str
    bound: str
    severity: str
    summary: str
    lasting: str = "0s"
    more: tuple[tuple[str, str], ...] = field(default=())
    """Further signals with their bounds, all of which have to hold as well."""

    @property
    def expr(self) -> str:
        parts = [f"{signal} {bound}" for signal, bound in ((self.signal, self.bound), *self.more)]
        return parts[0] if len(parts) == 1 else " and on (instance) ".join(f"({part})" for part in parts)

    @property
    def signals(self) -> tuple[str, ...]:
        return (self.signal, *(signal for signal, _bound in self.more))

    @property
    def runbook(self) -> str:
        return f"{RUNBOOKS}#{self.name.lower()}"


def _quantile(part: float, histogram: str) -> str:
    return f"histogram_quantile({part}, sum by (instance, le) (rate({histogram}_bucket[5m])))"


RECORDINGS: Final = (
    Recording(
        "nymgate:streams_failed:ratio_rate5m",
        f'(sum by (instance) (rate(nymgate_streams_total{{outcome!~"{_NOT_OURS}"}}[5m]))'
        " or sum by (instance) (rate(nymgate_streams_total[5m])) * 0)"
        " / (sum by (instance) (rate(nymgate_streams_total[5m])) > 0)"
        " or sum by (instance) (rate(nymgate_streams_total[5m])) * 0",
    ),
    Recording("nymgate:first_byte_seconds:p95_rate5m", _quantile(0.95, "nymgate_stream_first_byte_seconds")),
    Recording("nymgate:ack_seconds:p95_rate5m", _quantile(0.95, "nymgate_ack_seconds")),
    Recording("nymgate:event_loop_lag_seconds:p99_rate5m", _quantile(0.99, "nymgate_event_loop_lag_seconds")),
    Recording(
        "nymgate:store_transaction_seconds:p95_rate5m", _quantile(0.95, "nymgate_store_transaction_seconds")
    ),
    Recording(
        "nymgate:packets_sent_again:ratio_rate5m",
        'sum by (instance) (rate(nymgate_packets_sent_total{kind="retransmitted"}[5m]))'
        ' / clamp_min(sum by (instance) (rate(nymgate_packets_sent_total{kind=~"real|retransmitted"}[5m])), 0.001)',
    ),
    Recording(
        "nymgate:exits_usable:sum",
        'sum by (instance) (nymgate_exits{state=~"in_use|open|up"})',
    ),
    Recording(
        "nymgate:cost_nym:per_day",
        f"nymgate_tickets_projected_per_day * nymgate_ticketbook_price_nym / {TICKETS_PER_BOOK}",
    ),
)

ALERTS: Final = (
    Alert(
        "NymgateGone",
        'up{job="nymgate"}',
        "== 0",
        "critical",
        "{{ $labels.instance }} does not answer.",
        lasting="1m",
    ),
    Alert(
        "NymgateNotReady",
        "nymgate_ready",
        "== 0",
        "critical",
        "No stream gets through {{ $labels.instance }}; NymgateLayerFailing names the layer.",
        lasting="1m",
    ),
    Alert(
        "NymgateLayerFailing",
        'nymgate_layer_state{state="failing"}',
        "== 1",
        "critical",
        "The layer {{ $labels.layer }} of {{ $labels.instance }} fails.",
    ),
    Alert(
        "NymgateLayerDegraded",
        'nymgate_layer_state{state="degraded"}',
        "== 1",
        "warning",
        "The layer {{ $labels.layer }} of {{ $labels.instance }} works, but not for long or not as it should.",
    ),
    Alert(
        "NymgateOutOfTickets",
        'nymgate_supply_state{state="exhausted"}',
        "== 1",
        "critical",
        "{{ $labels.instance }} has no tickets left and cannot get any.",
    ),
    Alert(
        "NymgateTicketsRunOut",
        "nymgate_tickets_projected_seconds",
        "< 6 * 3600",
        "warning",
        "The tickets of {{ $labels.instance }} last for {{ $value | humanizeDuration }}.",
        lasting="10m",
    ),
    Alert(
        "NymgateCannotBuy",
        "nymgate_topup_hindrance",
        "== 1",
        "warning",
        "{{ $labels.instance }} cannot buy ticketbooks: {{ $labels.code }}.",
        lasting="5m",
    ),
    Alert(
        "NymgateBalanceLow",
        "nymgate_account_balance_nym - 2 * nymgate_ticketbook_price_nym",
        "< 0",
        "warning",
        "The account of {{ $labels.instance }} does not pay for two more ticketbooks.",
        lasting="5m",
    ),
    Alert(
        "NymgateBudgetUsedUp",
        "nymgate_budget_left_nym - on (instance, job) group_left () nymgate_ticketbook_price_nym",
        "< 0",
        "warning",
        "The budget of the {{ $labels.period }} does not buy another ticketbook for {{ $labels.instance }}.",
        lasting="5m",
    ),
    Alert(
        "NymgateCostAboveBudget",
        'nymgate:cost_nym:per_day - on (instance) group_left () nymgate_budget_limit_nym{period="day"}',
        "> 0",
        "warning",
        "{{ $labels.instance }} uses {{ $value | humanize }} NYM a day more than its budget of a day.",
        lasting="1h",
    ),
    Alert(
        "NymgateTicketsLost",
        "increase(nymgate_tickets_given_up_total[1h])",
        "> 0",
        "warning",
        "{{ $labels.instance }} paid for tickets that no gateway credited.",
    ),
    Alert(
        "NymgateTicketsExpired",
        "increase(nymgate_tickets_expired_total[1d])",
        f"> {TICKETS_PER_BOOK // 2}",
        "info",
        "Tickets of {{ $labels.instance }} died unused.",
    ),
    Alert(
        "NymgatePurchaseStuck",
        "sum by (instance) (nymgate_purchases_unfinished)",
        "> 0",
        "warning",
        "{{ $labels.instance }} has paid for a ticketbook that it does not get.",
        lasting="30m",
    ),
    Alert(
        "NymgateClockWrong",
        "abs(nymgate_clock_skew_seconds)",
        "> 15",
        "critical",
        "The clock of {{ $labels.instance }} is off by {{ $value | humanizeDuration }}.",
    ),
    Alert(
        "NymgateStreamsFail",
        "nymgate:streams_failed:ratio_rate5m",
        "> 0.2",
        "warning",
        "{{ $value | humanizePercentage }} of the streams of {{ $labels.instance }} fail.",
        lasting="5m",
    ),
    Alert(
        "NymgateNoSpareExit",
        "nymgate:exits_usable:sum",
        "< 1",
        "warning",
        "No exit is known to work for {{ $labels.instance }}.",
        lasting="5m",
        more=(("nymgate_asleep", "== 0"),),
    ),
    Alert(
        "NymgateAcksSlow",
        "nymgate:ack_seconds:p95_rate5m",
        "> 10",
        "warning",
        "Acks for {{ $labels.instance }} take {{ $value | humanizeDuration }}.",
        lasting="10m",
    ),
    Alert(
        "NymgatePacketsLost",
        "nymgate:packets_sent_again:ratio_rate5m",
        "> 0.2",
        "warning",
        "{{ $labels.instance }} sends {{ $value | humanizePercentage }} of its packets with data again.",
        lasting="10m",
    ),
    Alert(
        "NymgatePatternBroken",
        "rate(nymgate_packets_empty_slots_total[5m])",
        "> 1",
        "warning",
        "{{ $labels.instance }} cannot fill its slots: an observer sees more than the profile promises to hide.",
        lasting="5m",
    ),
    Alert(
        "NymgateEventLoopLate",
        "nymgate:event_loop_lag_seconds:p99_rate5m",
        "> 0.25",
        "warning",
        "The event loop of {{ $labels.instance }} is late by {{ $value | humanizeDuration }}: too little processor.",
        lasting="10m",
    ),
    Alert(
        "NymgateStoreSlow",
        "nymgate:store_transaction_seconds:p95_rate5m",
        "> 1",
        "warning",
        "The ticket store of {{ $labels.instance }} takes {{ $value | humanizeDuration }} for a transaction.",
        lasting="10m",
    ),
    Alert(
        "NymgateWorkersMissing",
        "nymgate_workers_expected - nymgate_workers",
        "> 0",
        "warning",
        "{{ $value }} worker processes of {{ $labels.instance }} do not answer.",
        lasting="1m",
    ),
)


def recording_yaml() -> str:
    rules = [{"record": rule.name, "expr": rule.expr} for rule in RECORDINGS]
    return _written("nymgate-recording", rules)


def alerts_yaml() -> str:
    return _written("nymgate-alerts", [_alert(alert) for alert in ALERTS])


def _alert(alert: Alert) -> dict[str, Any]:
    return {
        "alert": alert.name,
        "expr": alert.expr,
        "for": alert.lasting,
        "labels": {"severity": alert.severity},
        "annotations": {"summary": alert.summary, "runbook": alert.runbook},
    }


def _written(name: str, rules: list[dict[str, Any]]) -> str:
    head = "# Written by `make dashboards` from grafana/rules.py.\n"
    groups = {"groups": [{"name": name, "rules": rules}]}
    return head + str(yaml.safe_dump(groups, sort_keys=False, width=120, allow_unicode=True))
