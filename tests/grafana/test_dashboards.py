"""Dashboards and provisioning: what is committed is what the code writes, and it speaks of metrics that exist."""

from __future__ import annotations

import itertools
import json
import re
import shutil
import subprocess
from pathlib import Path

import pytest
import yaml

from grafana import build, rules
from nymgate.watch.metric_kinds import Kind
from nymgate.watch.metrics import METRICS
from tests.grafana.expressions import PAGES, named, of_panels, of_rules, panels

FOLDER = Path(build.FOLDER)
ROOT = FOLDER.parent


def known() -> dict[str, set[str]]:
    """Every series name there is, with the labels it has."""
    found: dict[str, set[str]] = {"up": {"job"}}
    for metric in METRICS:
        labels = {label.name for label in metric.labels}
        if metric.kind is Kind.HISTOGRAM:
            found |= {f"{metric.name}_{part}": labels | {"le"} for part in ("bucket", "sum", "count")}
        else:
            found[metric.full_name] = labels
    found |= {rule.name: set() for rule in rules.RECORDINGS}
    return found


def test_what_is_committed_is_what_the_code_writes():
    """After a change: make dashboards."""
    written = dict(build.files())
    for name, text in written.items():
        assert (FOLDER / name).read_text() == text, f"{name} is out of date: make dashboards"
    committed = {
        str(path.relative_to(FOLDER))
        for folder in ("dashboards", "rules")
        for path in (FOLDER / folder).iterdir()
    }
    assert committed == set(written)


@pytest.mark.parametrize(("where", "expr"), [*of_panels(), *of_rules()])
def test_expressions_name_metrics_and_labels_that_exist(where, expr):
    series = known()
    assert named(expr), where
    assert named(expr) <= series.keys()
    for name, selector in re.findall(r"\b(nymgate[a-z0-9_:]*)\{([^}]*)\}", expr):
        labels = set(re.findall(r'(\w+)(?:=~|=|!~)"', selector))
        assert labels
        assert labels <= series[name] | {"instance", "job"}


@pytest.mark.parametrize(("where", "expr"), [*of_panels()])
def test_values_that_are_asked_for_are_among_those_a_label_can_have(where, expr):
    values = {(metric.full_name, label.name): label.values for metric in METRICS for label in metric.labels}
    for name, selector in re.findall(r"\b(nymgate[a-z0-9_:]*)\{([^}]*)\}", expr):
        for label, _sign, wanted in re.findall(r'(\w+)(=~|=|!~)"([^"]*)"', selector):
            if values.get((name, label)):
                assert set(wanted.split("|")) <= set(values[name, label]), where


def test_every_metric_is_shown_somewhere():
    asked = {name for _where, expr in [*of_panels(), *of_rules()] for name in named(expr)}
    shown = {re.sub(r"_(bucket|sum|count)$", "", name) for name in asked} | asked
    assert {metric.full_name for metric in METRICS} <= shown


@pytest.mark.parametrize("page", list(PAGES))
def test_panels_have_a_place_a_title_and_a_reason(page):
    titles = [(panel.title, panel.type_val) for panel in panels(page)]
    assert len(set(titles)) == len(titles)
    ids = [panel.id_val for panel in PAGES[page]().panels]
    assert len(set(ids)) == len(ids)
    taken: set[tuple[int, int]] = set()
    for panel in panels(page):
        assert panel.description
        assert panel.datasource.uid == "${datasource}"
        spot = panel.grid_pos
        cells = set(itertools.product(range(spot.x, spot.x + spot.w), range(spot.y, spot.y + spot.h)))
        assert spot.x + spot.w <= 24
        assert not cells & taken, "panels must not lie on each other"
        taken |= cells


def test_dashboards_are_what_grafana_reads():
    uids = set()
    for page in PAGES:
        said = json.loads((FOLDER / f"dashboards/{page}.json").read_text())
        uids.add(said["uid"])
        assert [variable["name"] for variable in said["templating"]["list"]] == ["datasource", "instance"]
        assert said["schemaVersion"] >= 39
    assert len(uids) == len(PAGES)


def test_provisioning_finds_what_compose_mounts():
    compose = yaml.safe_load((ROOT / "deploy/compose/compose.yaml").read_text())["services"]
    mounts = dict(
        volume.split(":")[:2] for name in ("prometheus", "grafana") for volume in compose[name]["volumes"]
    )
    provider = yaml.safe_load((FOLDER / "provisioning/dashboards/nymgate.yaml").read_text())["providers"][0]
    assert mounts["../../grafana/dashboards"] == provider["options"]["path"]
    config = yaml.safe_load((FOLDER / "prometheus/prometheus.yaml").read_text())
    assert mounts["../../grafana/rules"] + "/*.yaml" == f"/etc/prometheus/{config['rule_files'][0]}"
    source = yaml.safe_load((FOLDER / "provisioning/datasources/prometheus.yaml").read_text())["datasources"][
        0
    ]
    assert source["url"] == "http://prometheus:9090"
    assert source["jsonData"]["timeInterval"] == config["global"]["scrape_interval"]
    assert "prometheus" in compose["nymgate"]["networks"]["outside"]["aliases"]


def test_prometheus_takes_its_configuration(tmp_path):
    assert shutil.which("promtool"), "needs Prometheus' tools"
    shutil.copy(FOLDER / "prometheus/prometheus.yaml", tmp_path)
    shutil.copytree(FOLDER / "rules", tmp_path / "rules")
    words = ["promtool", "check", "config", "prometheus.yaml"]
    said = subprocess.run(words, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert said.returncode == 0, said.stdout + said.stderr
    assert f"{len(rules.ALERTS)} rules found" in said.stdout
