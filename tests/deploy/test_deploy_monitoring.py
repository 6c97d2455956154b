"""Alerts and dashboard speak of series that the operator really has."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from collections.abc import Iterator, Mapping
from pathlib import Path

import pytest
import yaml
from prometheus_client.parser import text_string_to_metric_families

from tests.deploy.deployed import DEPLOY, documents
from tests.deploy.observed import Observed, observed
from tests.deploy.promql import TARGET, alerts, panels, uses, variables

EXPRESSIONS = {
    **{f"alert {name}": [rule["expr"]] for name, rule in alerts().items()},
    **{f"panel {title}": found for title, found in panels().items()},
    "variables": variables(),
}
# They have series once something has happened that no test of a few seconds brings about, or where servers really run:
# test_deploy_rights.py sees the latter.
EVENTFUL = {
    "xline_cluster_voters": {"namespace", "xlinecluster"},
    "orleans_operator_silos_declared_dead_total": {"namespace", "orleans_cluster", "reason"},
    "orleans_operator_changes_finished_total": {"namespace", "orleans_cluster"},
}
FROM_PROMETHEUS = {"up": {"job", "instance"}}


@pytest.fixture(scope="module")
def operator(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Observed]:
    with observed(tmp_path_factory.mktemp("observed")) as here:
        yield here


@pytest.fixture(scope="module")
def series(operator: Observed) -> Mapping[str, set[str]]:
    """The labels of each metric in one scrape, and the names of metrics without series."""
    text = operator.metrics()
    found: dict[str, set[str]] = {}
    for family in text_string_to_metric_families(text):
        names = {sample.name for sample in family.samples} or {family.name, f"{family.name}_total"}
        for name in names:
            labels = (set(sample.labels) for sample in family.samples if sample.name == name)
            found[name] = set().union(*labels) if family.samples else EVENTFUL.get(name, set())
    return {**found, **FROM_PROMETHEUS}


def test_every_metric_and_label_is_in_a_real_scrape(series: Mapping[str, set[str]]) -> None:
    unknown = []
    for where, expressions in EXPRESSIONS.items():
        for expression in expressions:
            used = uses(expression)
            assert used.selected, f"{where} asks for nothing: {expression}"
            unknown += [f"{where}: {name}" for name in used.selected if name not in series]
            known = {name: series.get(name, set()) | TARGET for name in used.selected}
            for name, labels in used.selected.items():
                unknown += [f"{where}: {name}{{{label}}}" for label in labels - known[name]]
            everything = set().union(*known.values())
            unknown += [f"{where}: by {label}" for label in used.grouped - everything]
    assert unknown == []


def test_alerts_tell_only_of_labels_that_their_results_have() -> None:
    """``by`` leaves no others; without it those of the series are left."""
    for name, rule in alerts().items():
        assert rule["annotations"].keys() == {"summary", "description"}, name
        assert rule["labels"]["severity"] in ("critical", "warning"), name
        told = set(re.findall(r"\$labels\.(\w+)", " ".join(rule["annotations"].values())))
        by = uses(rule["expr"]).grouped
        assert told <= (by or {"resource", "group"}), f"{name} tells of {told}, and has {by}"


def test_the_dashboard_is_whole() -> None:
    dashboard = json.loads((DEPLOY / "monitoring" / "dashboard.json").read_text())
    ids = [panel["id"] for panel in dashboard["panels"]]
    assert len(set(ids)) == len(ids)
    titles = [panel["title"] for panel in dashboard["panels"]]
    assert len(set(titles)) == len(titles)
    taken: set[tuple[int, int]] = set()
    for panel in dashboard["panels"]:
        place = panel["gridPos"]
        cells = {
            (x, y)
            for x in range(place["x"], place["x"] + place["w"])
            for y in range(place["y"], place["y"] + place["h"])
        }
        assert max(x for x, _ in cells) < 24, panel["title"]
        assert not cells & taken, f"{panel['title']} lies over another"
        taken |= cells


@pytest.fixture(scope="module")
def rules(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The rules as Prometheus itself reads them."""
    (document,) = documents(DEPLOY / "monitoring" / "alerts.yaml")
    path = tmp_path_factory.mktemp("rules") / "alerts.yaml"
    path.write_text(yaml.safe_dump(document["spec"], sort_keys=False))
    return path


def promtool(*arguments: str, cwd: Path) -> str:
    if shutil.which("promtool") is None:
        pytest.skip("no promtool on this machine (apt-get install prometheus)")
    done = subprocess.run(["promtool", *arguments], cwd=cwd, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def test_prometheus_takes_the_rules(rules: Path) -> None:
    assert f"SUCCESS: {len(alerts())} rules found" in promtool("check", "rules", rules.name, cwd=rules.parent)


def test_alerts_fire_when_they_should_and_not_before(rules: Path) -> None:
    tests = Path(__file__).with_name("alerts_test.yaml")
    shutil.copy(tests, rules.parent)
    promtool("test", "rules", tests.name, cwd=rules.parent)
    played = {
        case["alertname"] for group in yaml.safe_load(tests.read_text())["tests"] for case in group["alert_rule_test"]
    }
    assert played == alerts().keys()


def test_expressions_are_read_as_prometheus_reads_them() -> None:
    used = uses('sum by (a, b) (rate(m_total{x="y{z}", v=~"[a-z]+"}[5m])) / on (c) group_left (d) max(n) > bool 0.5')
    assert used.selected == {"m_total": {"x", "v"}, "n": frozenset()}
    assert used.grouped == {"a", "b", "c", "d"}
    with pytest.raises(ValueError, match="no PromQL"):
        uses("a ? b")
