"""The table of metrics keeps to the conventions, says everything that is in a snapshot, and no more than it may."""

import shutil
import subprocess

import pytest
from hypothesis import given, settings
from prometheus_client.openmetrics.parser import text_string_to_metric_families as open_metrics
from prometheus_client.parser import text_string_to_metric_families as plain_text

from nym_credentials.purchase.states import UNFINISHED
from nym_credentials.store.records import BookState, Settlement
from nym_credentials.topup.hindrances import Hindrance, Supply
from nym_mixnet.link_state import LinkState
from nymgate.purse.supply import COMING, NO_ACCOUNT, OUT_OF_TICKETS
from nymgate.watch import metrics
from nymgate.watch.exposition import exposition, metrics_page
from nymgate.watch.health import Facts, Layer, judge
from nymgate.watch.metric_kinds import OTHER, TICKET_TYPES, Kind
from nymgate.watch.metrics import METRICS, OUTCOMES
from nymgate.watch.snapshot import (
    SHORT_SECONDS_BOUNDS,
    Budget,
    Costs,
    Histogram,
    Links,
    Money,
    Packets,
    Probes,
    Process,
    Purse,
    Snapshot,
    Streams,
    TicketStock,
    TopUp,
    merge,
)
from tests.nymgate.snapshots import snapshots
from zknym import TicketType

OPEN_METRICS = "application/openmetrics-text; version=1.0.0"
LISTENER = "127.0.0.1:1080"


def paying(**more):
    """A snapshot in which every metric has something to say."""
    return Snapshot(
        taken_unix=1_000.0,
        started_unix=400.0,
        version="1.2.3",
        python="3.11.9",
        network="localnet",
        profile="standard",
        listening=(LISTENER,),
        health=judge(Facts(1_000.0, link="ready", pays=True)),
        costs=Costs(2.4, 478e6 / 24, 75_000_000),
        money=Money(
            purse=Purse(
                tickets={
                    "v1-mixnet-entry": TicketStock(
                        40, 1, 8, 2, 3, by_days_left={"6": 40}, books={"active": 1, "expired": 1}
                    )
                },
                settled={"accepted": 8, "refused": 2},
                deposits=2,
                price_unym=150_000_000,
                fees_unym=12_345,
                unfinished={"requesting": 1},
                balance_unym=77_500_000,
                balance_unix=990.0,
            ),
            budget=Budget(
                {"day": 150_000_000, "month": 1_500_000_000}, {"day": 75_000_000, "month": 150_000_000}
            ),
            topup=TopUp(
                enabled=True,
                supply="degraded",
                hindrance="E_SIGNERS",
                runs_out_unix=4_600.0,
                tickets_per_day=57.6,
                bought=2,
                signer_failures={"https://signer.example:8080/api": 3},
                signer_errors={"https://signer.example:8080/api": 5},
            ),
            clock_skew_seconds=-1.5,
        ),
        links=Links({"ready": 1}, 150_000_000, 150_000_000, 50_000_000, 200_000_000, claims=1),
        packets=Packets(sent_first=10, sent_again=2, sent_cover=30, received_acks=9),
        streams=Streams(
            open=1,
            accepted={LISTENER: 7},
            ended={LISTENER: {"ok": 5, "E_EXIT_POLICY": 1, "E_NEVER_HEARD_OF": 1}},
            first_byte_seconds=Histogram(counts=(0, 1, 2, 0, 0, 0, 0, 0, 0, 1), sum=31.0),
        ),
        probes=Probes({"loop": 4, "exit": 3}, {"exit": 1}, 0.4, 0.9),
        process=Process(Histogram(SHORT_SECONDS_BOUNDS, (9,) + (0,) * 9, 0.001), 12.5, 80 << 20, 33),
        **more,
    )


def samples(snapshot, accept="", parse=plain_text):
    """(name, labels) → value, of everything that would be scraped."""
    text = exposition(snapshot, accept)[0].decode()
    return {
        (sample.name, frozenset(sample.labels.items())): sample.value
        for family in parse(text)
        for sample in family.samples
    }


def value(found, name, **labels):
    return found[name, frozenset(labels.items())]


@pytest.mark.parametrize("snapshot", [Snapshot(), paying(), merge([paying(), paying()])])
def test_promtool_finds_nothing_to_say(snapshot):
    promtool = shutil.which("promtool")
    if promtool is None:
        pytest.skip("promtool (Debian: prometheus) is not installed")
    text, content_type = exposition(snapshot)
    assert content_type.startswith("text/plain")
    done = subprocess.run([promtool, "check", "metrics"], input=text, capture_output=True, timeout=60)
    assert (done.returncode, done.stdout, done.stderr) == (0, b"", b"")


def test_every_metric_of_the_table_has_something_to_say_of_a_paying_proxy():
    found = {name for name, _ in samples(paying())}
    for metric in METRICS:
        ends = ("_bucket", "_sum", "_count") if metric.kind is Kind.HISTOGRAM else ("",)
        assert {metric.full_name + end for end in ends} <= found
    known = {metric.full_name for metric in METRICS}
    assert {name for name in found if not name.endswith(("_bucket", "_sum", "_count"))} <= known


def test_names_are_one_of_a_kind_and_as_they_should_be():
    names = [metric.full_name for metric in METRICS]
    assert len(names) == len(set(names))
    for metric in METRICS:
        assert metric.name.startswith("nymgate_")
        assert not metric.name.endswith("_total"), "that is added"
        assert metric.help.endswith(".")
        for label in metric.labels:
            assert bool(label.values) != bool(label.what), "its values are known, or it is said what they are"


def test_both_formats_say_the_same():
    text, content_type = exposition(paying(), OPEN_METRICS)
    assert content_type.startswith("application/openmetrics-text")
    assert text.endswith(b"# EOF\n")
    assert samples(paying(), OPEN_METRICS, open_metrics) == samples(paying())


def test_the_numbers_are_those_of_the_snapshot():
    found = samples(paying())
    entry = {"type": "v1-mixnet-entry"}
    assert value(found, "nymgate_tickets_remaining", **entry) == 40
    assert value(found, "nymgate_tickets_spent_total", **entry) == 8
    assert value(found, "nymgate_tickets_given_up_total", **entry) == 2
    assert value(found, "nymgate_tickets_by_expiry", days_left="6", **entry) == 40
    assert value(found, "nymgate_books", state="active", **entry) == 1
    assert value(found, "nymgate_spent_nym_total", on="price") == 150
    assert value(found, "nymgate_spent_nym_total", on="fee") == pytest.approx(0.012345)
    assert value(found, "nymgate_account_balance_nym") == 77.5
    assert value(found, "nymgate_budget_left_nym", period="day") == 75
    assert value(found, "nymgate_tickets_projected_seconds") == 3600
    assert value(found, "nymgate_supply_state", state="degraded") == 1
    assert value(found, "nymgate_supply_state", state="ok") == 0
    assert value(found, "nymgate_topup_hindrance", code="E_SIGNERS") == 1
    assert value(found, "nymgate_signer_errors_total", signer="signer.example:8080") == 5
    assert value(found, "nymgate_packets_sent_total", kind="cover") == 30
    assert value(found, "nymgate_streams_total", listener=LISTENER, outcome="ok") == 5
    assert value(found, "nymgate_streams_total", listener=LISTENER, outcome=OTHER) == 1
    assert value(found, "nymgate_stream_first_byte_seconds_bucket", le="0.2") == 3
    assert value(found, "nymgate_stream_first_byte_seconds_bucket", le="+Inf") == 4
    assert value(found, "nymgate_stream_first_byte_seconds_sum") == 31
    assert (
        value(
            found,
            "nymgate_build_info",
            version="1.2.3",
            python="3.11.9",
            network="localnet",
            profile="standard",
        )
        == 1
    )
    assert value(found, "nymgate_layer_state", layer="signers", state="ok") == 1


def test_two_workers_are_counted_together_and_their_store_once():
    found = samples(merge([paying(), paying()]))
    assert value(found, "nymgate_workers") == 2
    assert value(found, "nymgate_streams_total", listener=LISTENER, outcome="ok") == 10
    assert value(found, "nymgate_tickets_remaining", type="v1-mixnet-entry") == 40
    assert value(found, "nymgate_stream_first_byte_seconds_count") == 8


@given(snapshots())
@settings(deadline=None, max_examples=40)
def test_labels_have_the_values_that_the_table_says(snapshot):
    known = {metric.full_name: {label.name: label for label in metric.labels} for metric in METRICS}
    for name, labels in samples(snapshot, OPEN_METRICS, open_metrics):
        for label, found in labels:
            if label != "le" and known[name][label].values:
                assert found in (*known[name][label].values, OTHER)


def test_signers_beyond_all_reason_are_not_named():
    many = {f"http://signer-{number:03}:80": 1 for number in range(200)} | {"E_CHAIN": 4, "http://u:p@s:1": 1}
    snapshot = Snapshot(money=Money(topup=TopUp(signer_errors=many)))
    found = {
        dict(labels)["signer"]: number
        for (name, labels), number in samples(snapshot).items()
        if name == "nymgate_signer_errors_total"
    }
    assert len(found) <= 65
    assert sum(found.values()) == sum(many.values())
    assert not any("@" in name for name in found)


def test_what_is_known_elsewhere_is_known_here():
    assert tuple(item.label for item in TicketType) == TICKET_TYPES
    assert tuple(BookState) == metrics.BOOK_STATES
    assert tuple(Settlement) == metrics.SETTLEMENTS
    assert metrics.PURCHASE_STATES == UNFINISHED
    assert tuple(Supply) == metrics.SUPPLY_STATES
    assert (*Hindrance, NO_ACCOUNT, OUT_OF_TICKETS, COMING) == metrics.HINDRANCES
    assert tuple(LinkState) == metrics.LINK_STATES
    assert OUTCOMES[0] == "ok"


def test_a_proxy_that_does_not_pay_says_nothing_of_money():
    names = {name for name, _ in samples(Snapshot(health=judge(Facts(0.0))))}
    assert "nymgate_ready" in names
    assert not any("ticket" in name and "profile" not in name for name in names)


def test_health_shows_in_all_its_layers():
    health = judge(Facts(1.0, link="reconnecting"))
    found = samples(Snapshot(health=health))
    assert value(found, "nymgate_ready") == 0
    assert value(found, "nymgate_layer_state", layer="gateway", state="failing") == 1
    assert sum(number for (name, _), number in found.items() if name == "nymgate_layer_state") == 8
    assert {layer.name for layer in health.layers if isinstance(layer, Layer)} == set(metrics.LAYERS)


def test_the_page_names_every_metric():
    page = metrics_page()
    for metric in METRICS:
        assert f"| `{metric.full_name}` |" in page
