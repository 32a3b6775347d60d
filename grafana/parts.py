"""What the three dashboards are made of: panels that look alike, and the frame around them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from grafana_foundation_sdk.builders import common as common_builders
from grafana_foundation_sdk.builders import dashboard as builders
from grafana_foundation_sdk.builders import stat, statetimeline, timeseries
from grafana_foundation_sdk.builders.prometheus import Dataquery
from grafana_foundation_sdk.models import common
from grafana_foundation_sdk.models import dashboard as models

TAG: Final = "nymgate"
CHOSEN: Final = '{instance=~"$instance"}'
"""All metrics of the instances chosen at the top of the page."""
HEIGHT: Final = 8
STAT_HEIGHT: Final = 4

GREEN: Final = "green"
YELLOW: Final = "yellow"
RED: Final = "red"

Panel = stat.Panel | timeseries.Panel | statetimeline.Panel


def chosen(**labels: str) -> str:
    """The same, and these labels as well; a value that begins with ``~`` is a pattern."""
    parts = ['instance=~"$instance"']
    for name, value in labels.items():
        parts.append(f'{name}=~"{value[1:]}"' if value.startswith("~") else f'{name}="{value}"')
    return "{" + ",".join(parts) + "}"


@dataclass(frozen=True, slots=True)
class Query:
    """An expression, and how its series are named."""

    expr: str
    legend: str = "{{instance}}"


def numbers(
    title: str,
    unit: str,
    about: str,
    *queries: Query,
    width: int = 4,
    steps: Sequence[tuple[float | None, str]] = (),
) -> stat.Panel:
    """The newest value, large. ``steps``: from which value on it has which colour."""
    panel = (
        stat.Panel()
        .title(title)
        .description(about)
        .unit(unit)
        .datasource(_source())
        .span(width)
        .height(STAT_HEIGHT)
        .reduce_options(common_builders.ReduceDataOptions().calcs(["lastNotNull"]))
        .graph_mode(common.BigValueGraphMode.AREA)
        .thresholds(_thresholds(steps or ((None, GREEN),)))
    )
    for panel_query in _targets(queries):
        panel = panel.with_target(panel_query)
    return panel


def lines(
    title: str, unit: str, about: str, *queries: Query, width: int = 8, stacked: bool = False
) -> timeseries.Panel:
    """Values over time."""
    panel = (
        timeseries.Panel()
        .title(title)
        .description(about)
        .unit(unit)
        .datasource(_source())
        .span(width)
        .height(HEIGHT)
        .min(0)
        .fill_opacity(60 if stacked else 8)
        .show_points(common.VisibilityMode.NEVER)
        .legend(
            common_builders.VizLegendOptions()
            .show_legend(True)
            .display_mode(common.LegendDisplayMode.LIST)
            .placement(common.LegendPlacement.BOTTOM)
        )
        .tooltip(common_builders.VizTooltipOptions().mode(common.TooltipDisplayMode.MULTI))
    )
    if stacked:
        panel = panel.stacking(common_builders.StackingConfig().mode(common.StackingMode.NORMAL))
    for panel_query in _targets(queries):
        panel = panel.with_target(panel_query)
    return panel


def states(title: str, about: str, *queries: Query, width: int = 12, bad: bool = True) -> statetimeline.Panel:
    """What is 1 and when: red where that is bad."""
    no, yes = (GREEN, RED) if bad else ("transparent", GREEN)
    words = ("no", "yes")
    mapping = models.ValueMap(
        {
            str(value): models.ValueMappingResult(text=words[value], color=color, index=value)
            for value, color in ((0, no), (1, yes))
        }
    )
    panel = (
        statetimeline.Panel()
        .title(title)
        .description(about)
        .datasource(_source())
        .span(width)
        .height(HEIGHT)
        .mappings([mapping])
        .thresholds(_thresholds(((None, no), (1, yes))))
        .show_value(common.VisibilityMode.NEVER)
        .row_height(0.8)
    )
    for panel_query in _targets(queries):
        panel = panel.with_target(panel_query)
    return panel


def frame(uid: str, title: str, about: str, *rows: tuple[str, Sequence[Panel]]) -> models.Dashboard:
    """A dashboard of titled rows. Data source and instances are chosen at the top."""
    page = (
        builders.Dashboard(title)
        .uid(uid)
        .description(about)
        .tags([TAG])
        .timezone("utc")  # as the days of tickets and budgets
        .time("now-24h", "now")
        .refresh("30s")
        .tooltip(models.DashboardCursorSync.CROSSHAIR)
        .editable()
        .with_variable(builders.DatasourceVariable("datasource").label("Data source").type("prometheus"))
        .with_variable(
            builders.QueryVariable("instance")
            .label("Instance")
            .datasource(_source())
            .query("label_values(nymgate_build_info, instance)")
            .refresh(models.VariableRefresh.ON_TIME_RANGE_CHANGED)
            .multi(True)
            .include_all(True)
            .all_value(".*")
            .current(models.VariableOption(selected=True, text=["All"], value=["$__all"]))
        )
        .link(
            builders.DashboardLink("nymgate")
            .type(models.DashboardLinkType.DASHBOARDS)
            .tags([TAG])
            .as_dropdown(True)
            .include_vars(True)
            .keep_time(True)
        )
    )
    for name, panels in rows:
        page = page.with_row(builders.Row(name))
        for panel in panels:
            page = page.with_panel(panel)
    made = page.build()
    for number, built in enumerate(made.panels or [], start=1):
        built.id_val = number
    return made


def quantile(part: float, histogram: str) -> str:
    """A quantile of a histogram over the instances chosen."""
    return f"histogram_quantile({part}, sum by (instance, le) (rate({histogram}_bucket{CHOSEN}[$__rate_interval])))"


def _targets(queries: Sequence[Query]) -> list[Dataquery]:
    return [
        Dataquery()
        .expr(query.expr)
        .legend_format(query.legend)
        .ref_id(chr(ord("A") + number))
        .datasource(_source())
        for number, query in enumerate(queries)
    ]


def _source() -> models.DataSourceRef:
    return models.DataSourceRef("prometheus", "${datasource}")


def _thresholds(steps: Sequence[tuple[float | None, str]]) -> builders.ThresholdsConfig:
    return (
        builders.ThresholdsConfig()
        .mode(models.ThresholdsMode.ABSOLUTE)
        .steps([models.Threshold(value, color) for value, color in steps])
    )
