"""Every expression that dashboards and rules ask for, as a person's Prometheus would get it."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

from grafana import health, money, rules, traffic

PAGES = {"money": money.build, "traffic": traffic.build, "health": health.build}


def panels(page: str) -> list[Any]:
    """All panels of a dashboard that ask something."""
    return [panel for panel in PAGES[page]().panels or [] if getattr(panel, "targets", None)]


def of_panels() -> Iterator[tuple[str, str]]:
    """(dashboard / panel / letter, expression), Grafana's variables filled in as on a page that shows everything."""
    for page in PAGES:
        for panel in panels(page):
            for target in panel.targets:
                expr = target.expr.replace("$__rate_interval", "20s").replace("$instance", ".*")
                assert "$" not in expr
                yield f"{page} / {panel.title} / {target.ref_id}", expr


def of_rules() -> Iterator[tuple[str, str]]:
    """(rule, expression): what is recorded, and the signals of alerts without their bounds."""
    for rule in rules.RECORDINGS:
        yield rule.name, rule.expr
    for alert in rules.ALERTS:
        for signal in alert.signals:
            yield f"{alert.name}: {signal}", signal


def named(expr: str) -> set[str]:
    """The metrics that an expression names."""
    return set(re.findall(r"\b(nymgate[a-z0-9_:]*|up)\b(?=[{\[ )]|$)", expr))
