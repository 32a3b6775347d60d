"""Alerts fire when they should, are silent before, and clear by themselves: promtool's unit tests, a case for each."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

import pytest
import yaml

from grafana import build, rules

FINE_MINUTES, BAD_MINUTES = 30, 120
AFTER_MINUTES, AFTER_A_DAY_MINUTES = 200, 1600
INSTANCE = 'instance="a:9470",job="nymgate"'
ENTRY = INSTANCE + ',type="v1-mixnet-entry"'


def gauge(name, fine, bad, labels=INSTANCE):
    """A value that goes from fine to bad and back."""
    return {
        "series": f"{name}{{{labels}}}",
        "values": f"{fine}x{FINE_MINUTES} {bad}x{BAD_MINUTES} {fine}xAFTER",
    }


def counter(name, fine, bad, labels=INSTANCE):
    """A counter that grows by so much a minute."""
    first, second = fine * FINE_MINUTES, bad * BAD_MINUTES
    values = [
        f"0+{fine}x{FINE_MINUTES}",
        f"{first}+{bad}x{BAD_MINUTES}",
        f"{first + second}+{fine}xAFTER",
    ]
    return {"series": f"{name}{{{labels}}}", "values": " ".join(values)}


def histogram(name, fine, bad):
    """Ten observations a minute, all of them below the bucket `fine`, or only below `bad`."""
    quick = counter(f"{name}_bucket", 10, 0, f'{INSTANCE},le="{fine}"')
    return [quick, *(counter(f"{name}_bucket", 10, 10, f'{INSTANCE},le="{le}"') for le in (bad, "+Inf"))]


def with_label(label, value):
    return f'{INSTANCE},{label}="{value}"'


PRICE = gauge("nymgate_ticketbook_price_nym", 75, 75)

# Alert: its series, and the labels it has beside the instance and severity.
CASES = {
    "NymgateGone": ([gauge("up", 1, 0)], {}),
    "NymgateNotReady": ([gauge("nymgate_ready", 1, 0)], {}),
    "NymgateLayerFailing": (
        [gauge("nymgate_layer_state", 0, 1, with_label("state", "failing") + ',layer="gateway"')],
        {"layer": "gateway", "state": "failing"},
    ),
    "NymgateLayerDegraded": (
        [gauge("nymgate_layer_state", 0, 1, with_label("state", "degraded") + ',layer="signers"')],
        {"layer": "signers", "state": "degraded"},
    ),
    "NymgateOutOfTickets": (
        [gauge("nymgate_supply_state", 0, 1, with_label("state", "exhausted"))],
        {"state": "exhausted"},
    ),
    "NymgateTicketsRunOut": ([gauge("nymgate_tickets_projected_seconds", 90000, 3600)], {}),
    "NymgateCannotBuy": (
        [gauge("nymgate_topup_hindrance", 0, 1, with_label("code", "E_WALLET_FUNDS"))],
        {"code": "E_WALLET_FUNDS"},
    ),
    "NymgateBalanceLow": ([gauge("nymgate_account_balance_nym", 200, 100), PRICE], {}),
    "NymgateBudgetUsedUp": (
        [gauge("nymgate_budget_left_nym", 150, 74, with_label("period", "day")), PRICE],
        {"period": "day"},
    ),
    "NymgateCostAboveBudget": (
        [
            gauge("nymgate_tickets_projected_per_day", 50, 200),
            PRICE,
            gauge("nymgate_budget_limit_nym", 150, 150, with_label("period", "day")),
        ],
        {},
    ),
    "NymgateTicketsLost": (
        [counter("nymgate_tickets_given_up_total", 0, 1, ENTRY)],
        {"type": "v1-mixnet-entry"},
    ),
    "NymgateTicketsExpired": (
        [counter("nymgate_tickets_expired_total", 0, 1, ENTRY)],
        {"type": "v1-mixnet-entry"},
    ),
    "NymgatePurchaseStuck": (
        [gauge("nymgate_purchases_unfinished", 0, 1, with_label("state", "deposited"))],
        {},
    ),
    "NymgateClockWrong": ([gauge("nymgate_clock_skew_seconds", 1, -40)], {}),
    "NymgateStreamsFail": (
        [
            counter("nymgate_streams_total", 9, 1, INSTANCE + ',listener="l",outcome="ok"'),
            counter("nymgate_streams_total", 0, 9, INSTANCE + ',listener="l",outcome="E_EXIT_STALLED"'),
        ],
        {},
    ),
    "NymgateNoSpareExit": (
        [gauge("nymgate_exits", 2, 0, with_label("state", "up")), gauge("nymgate_asleep", 0, 0)],
        {},
    ),
    "NymgateAcksSlow": (histogram("nymgate_ack_seconds", 1, 30), {}),
    "NymgatePacketsLost": (
        [
            counter("nymgate_packets_sent_total", 100, 100, with_label("kind", "real")),
            counter("nymgate_packets_sent_total", 1, 60, with_label("kind", "retransmitted")),
        ],
        {},
    ),
    "NymgatePatternBroken": ([counter("nymgate_packets_empty_slots_total", 0, 600)], {}),
    "NymgateEventLoopLate": (histogram("nymgate_event_loop_lag_seconds", 0.01, 1), {}),
    "NymgateStoreSlow": (histogram("nymgate_store_transaction_seconds", 0.1, 5), {}),
    "NymgateWorkersMissing": ([gauge("nymgate_workers_expected", 4, 4), gauge("nymgate_workers", 4, 3)], {}),
}


OFTEN = ("NymgateNotReady", "NymgateLayerFailing")
"""Always tried; the others in `make check`."""


def promtool(tmp_path, series, expectations):
    """Run one unit test; what it has to say if it fails."""
    files = [str(build.FOLDER / "rules" / name) for name in ("recording.yaml", "alerts.yaml")]
    test = {
        "rule_files": files,
        "evaluation_interval": "1m",
        "tests": [{"interval": "1m", "input_series": series, "alert_rule_test": expectations}],
    }
    path = tmp_path / "test.yaml"
    path.write_text(yaml.safe_dump(test))
    said = subprocess.run(
        ["promtool", "test", "rules", str(path)], capture_output=True, text=True, check=False
    )
    return said.stdout + said.stderr if said.returncode else ""


def test_every_alert_has_its_case():
    assert {alert.name for alert in rules.ALERTS} == CASES.keys()


@pytest.mark.parametrize(
    "alert",
    [
        pytest.param(alert, id=alert.name, marks=() if alert.name in OFTEN else pytest.mark.slow)
        for alert in rules.ALERTS
    ],
)
def test_an_alert_fires_when_it_should_and_clears_by_itself(alert, tmp_path):
    series, labels = CASES[alert.name]
    after = AFTER_A_DAY_MINUTES if "[1d]" in alert.expr else AFTER_MINUTES
    series = [entry | {"values": entry["values"].replace("xAFTER", f"x{after}")} for entry in series]
    once = {"exp_labels": {"instance": "a:9470", "severity": alert.severity} | labels}
    kept = "job" if keeps_job(alert) else None
    if kept:
        once["exp_labels"]["job"] = "nymgate"
    # Annotations are compared as well: filled in here by running without them first.
    fires = {"eval_time": f"{FINE_MINUTES + BAD_MINUTES - 1}m", "alertname": alert.name, "exp_alerts": [once]}
    said = promtool(tmp_path, series, [fires])
    got = re.search(r"got:\[(.*?)\n\s*\]", said, re.DOTALL)
    assert got, said
    summary = re.search(r'summary="([^"]*)"', got[1])
    assert summary, f"it does not fire: {said}"
    assert "<no value>" not in summary[1]
    once["exp_annotations"] = {"summary": summary[1], "runbook": alert.runbook}
    silent = [
        {"eval_time": f"{minute}m", "alertname": alert.name, "exp_alerts": []}
        for minute in (FINE_MINUTES - 1, FINE_MINUTES + BAD_MINUTES + after - 5)
    ]
    assert promtool(tmp_path, series, [silent[0], fires, silent[1]]) == ""


def keeps_job(alert):
    """Whether the job's label is still there after the aggregations of the signal."""
    return "sum by" not in alert.signal and not re.search("nymgate:(?!cost_nym)", alert.signal)


def test_a_layer_that_fails_is_told_of_within_half_a_minute():
    """Scraped and judged every five seconds, and no wait before."""
    config = yaml.safe_load((build.FOLDER / "prometheus/prometheus.yaml").read_text())["global"]
    seconds = sum(int(config[name].removesuffix("s")) for name in ("scrape_interval", "evaluation_interval"))
    (alert,) = [alert for alert in rules.ALERTS if alert.name == "NymgateLayerFailing"]
    assert seconds + int(alert.lasting.removesuffix("s")) <= 15


def test_every_alert_has_a_page_that_says_what_to_do():
    page = Path(build.FOLDER.parent / rules.RUNBOOKS).read_text()
    headings = re.findall(r"^## (.+)$", page, re.MULTILINE)
    assert [alert.name for alert in rules.ALERTS] == headings
    for section in page.split("\n## ")[1:]:
        assert len(section.split()) > 25, "a few sentences: what it means, what to look at, what to do"
