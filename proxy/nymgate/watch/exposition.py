"""A snapshot as the text that Prometheus reads, and the reference page of the metrics. Pure."""

from collections.abc import Iterator
from itertools import accumulate
from typing import TYPE_CHECKING, Any, Final

from nymgate.refusals import REFUSALS
from nymgate.watch.metric_kinds import OTHER, Kind, Label
from nymgate.watch.metrics import GENERAL, HEALTH, METRICS, MONEY, OUTCOMES, TRAFFIC
from nymgate.watch.snapshot import Histogram, Snapshot

if TYPE_CHECKING:
    from prometheus_client import CollectorRegistry
    from prometheus_client.metrics_core import Metric as Family


def families(snapshot: Snapshot) -> "Iterator[Family]":
    """Every metric that has something to say, as ``prometheus_client`` wants it."""
    from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily

    for metric in METRICS:
        labels = [label.name for label in metric.labels]
        rows = list(metric.read(snapshot))
        if not rows:
            continue
        family: Any
        if metric.kind is Kind.HISTOGRAM:
            family = HistogramMetricFamily(metric.name, metric.help, labels=labels, unit=metric.unit)
            for values, histogram in rows:
                assert isinstance(histogram, Histogram)
                family.add_metric(list(values), buckets(histogram), histogram.sum)
        else:
            kind = CounterMetricFamily if metric.kind is Kind.COUNTER else GaugeMetricFamily
            family = kind(metric.name, metric.help, labels=labels, unit=metric.unit)
            for values, number in rows:
                assert not isinstance(number, Histogram)
                family.add_metric(list(values), float(number))
        yield family


def buckets(histogram: Histogram) -> list[tuple[str, float]]:
    """Cumulative, with their bounds as text, as Prometheus has them."""
    bounds = [*(str(bound) for bound in histogram.bounds), "+Inf"]
    return list(zip(bounds, map(float, accumulate(histogram.counts)), strict=True))


def registry(snapshot: Snapshot) -> "CollectorRegistry":
    """A registry with this snapshot and nothing else."""
    from prometheus_client import CollectorRegistry
    from prometheus_client.registry import Collector

    class OneSnapshot(Collector):
        def collect(self) -> "Iterator[Family]":
            return families(snapshot)

    result = CollectorRegistry(auto_describe=False)
    result.register(OneSnapshot())
    return result


def exposition(snapshot: Snapshot, accept: str = "") -> tuple[bytes, str]:
    """The text of `/metrics` and its content type, as the ``Accept`` header asks: OpenMetrics or the older text."""
    from prometheus_client.exposition import choose_encoder

    encode, content_type = choose_encoder(accept)
    return encode(registry(snapshot)), content_type


# ---- the reference page --------------------------------------------------------------------------------------------

_HEAD: Final = """\
# Metrics

<!-- Written by `make reference` from the table in proxy/nymgate/watch/metrics.py. -->

`nymgate run` serves them at `http://127.0.0.1:9470/metrics` (`listen.metrics`), as OpenMetrics or as text, whichever is
asked for. With several workers the numbers are those of all of them together. Histograms have the usual `_bucket`,
`_sum` and `_count`. No label names a destination, a user, a ticket or an identity.
"""
_SECTIONS: Final = (
    ("The process", GENERAL),
    ("Health", HEALTH),
    ("Tickets and money", MONEY),
    ("Traffic", TRAFFIC),
)


def metrics_page() -> str:
    """The reference page of the table."""
    lines = [_HEAD]
    for title, metrics in _SECTIONS:
        lines += [f"## {title}", ""]
        if metrics is MONEY:
            lines += ["Absent where nothing is paid for (`tickets.enabled = false`).", ""]
        lines += ["| metric | type | labels | what |", "|---|---|---|---|"]
        lines += [
            f"| `{metric.full_name}` | {metric.kind.value} | {_labels(metric.labels)} | {metric.help} |"
            for metric in metrics
        ]
        lines.append("")
    return "\n".join(lines)


def _labels(labels: tuple[Label, ...]) -> str:
    return "; ".join(map(_written, labels)) or "-"


def _written(label: Label) -> str:
    if label.values == OUTCOMES:
        return (
            f"`{label.name}`: `ok`, an identifier of [refusals](refusals.md), "
            + ", ".join(f"`{value}`" for value in OUTCOMES[1 + len(REFUSALS) :])
            + f", `{OTHER}`"
        )
    return f"`{label.name}`: {label.what or ', '.join(f'`{value}`' for value in label.values)}"
