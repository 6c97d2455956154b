"""A real Prometheus scrapes the operator: with its rules and queries, by the way that deploy/ describes."""

from __future__ import annotations

import contextlib
import json
import shutil
import socket
import subprocess
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.deploy.deployed import DEPLOY, documents
from tests.deploy.observed import Observed, observed
from tests.deploy.promql import alerts, panels, variables
from tests.deploy.test_deploy_monitoring import EVENTFUL
from tests.support.waiting import eventually

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(shutil.which("prometheus") is None, reason="no Prometheus here (apt-get install prometheus)"),
]

JOB = "xline-operator-metrics"  # the ServiceMonitor's jobs are called after the Service
PATIENCE = 60.0


class Prometheus:
    def __init__(self, address: str) -> None:
        self.address = address

    def get(self, path: str, **query: str) -> Any:
        url = f"http://{self.address}/api/v1/{path}?{urllib.parse.urlencode(query)}"
        with urllib.request.urlopen(url, timeout=30) as reply:
            answer = json.load(reply)
        assert answer["status"] == "success", answer
        return answer["data"]

    def query(self, expression: str) -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = self.get("query", query=expression)["result"]
        return found


def configuration(here: Observed, folder: Path) -> Path:
    """As the Prometheus operator makes it of the ServiceMonitor and the PrometheusRule."""
    (endpoint,) = documents(DEPLOY / "monitoring" / "servicemonitor.yaml")[0]["spec"]["endpoints"]
    (rules,) = documents(DEPLOY / "monitoring" / "alerts.yaml")
    (folder / "alerts.yaml").write_text(yaml.safe_dump(rules["spec"], sort_keys=False))
    (folder / "token").write_text(here.token)
    scrape = {
        "job_name": JOB,
        "honor_labels": endpoint["honorLabels"],
        "metrics_path": endpoint["path"],
        "scheme": endpoint["scheme"],
        "authorization": {"credentials_file": str(folder / "token")},
        "tls_config": {"insecure_skip_verify": endpoint["tlsConfig"]["insecureSkipVerify"]},
        # What the operator adds: labels of the target, which must not hide those of the series.
        "static_configs": [{"targets": [here.address], "labels": {"namespace": "xline-system", "pod": "p"}}],
    }
    config = {
        "global": {"scrape_interval": "2s", "scrape_timeout": "2s", "evaluation_interval": "1s"},
        "rule_files": ["alerts.yaml"],
        "scrape_configs": [scrape],
    }
    (folder / "prometheus.yml").write_text(yaml.safe_dump(config))
    return folder / "prometheus.yml"


@pytest.fixture(scope="module")
def prometheus(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Prometheus]:
    folder = tmp_path_factory.mktemp("prometheus")
    with socket.create_server(("127.0.0.1", 0)) as free:
        address = f"127.0.0.1:{free.getsockname()[1]}"
    with observed(tmp_path_factory.mktemp("scraped")) as here, (folder / "log").open("wb") as log:
        command = ["prometheus", f"--config.file={configuration(here, folder)}", f"--web.listen-address={address}"]
        command += [f"--storage.tsdb.path={folder / 'data'}"]
        process = subprocess.Popen(command, stdout=log, stderr=log, cwd=folder)
        server = Prometheus(address)
        try:

            def scraped() -> bool:
                assert process.poll() is None, (folder / "log").read_text()
                with contextlib.suppress(urllib.error.URLError, ConnectionError):
                    return len(server.query(f'sum_over_time(up{{job="{JOB}"}}[1h]) > 4')) == 1
                return False

            eventually(scraped, "some scrapes", PATIENCE)
            yield server
        finally:
            process.terminate()
            process.wait()


def test_it_scrapes_the_operator(prometheus: Prometheus) -> None:
    def health() -> tuple[str, str]:
        (target,) = prometheus.get("targets")["activeTargets"]
        return target["health"], target["lastError"]

    eventually(lambda: health() == ("up", ""), "a scrape in time", PATIENCE)
    (found,) = prometheus.query("xline_cluster_replicas_wanted")
    assert found["metric"]["namespace"] == "default", "the namespace of the cluster, not of the operator"


def test_its_rules_are_evaluated_without_errors(prometheus: Prometheus) -> None:
    def rules() -> list[dict[str, Any]]:
        return [rule for group in prometheus.get("rules")["groups"] for rule in group["rules"]]

    eventually(lambda: all(rule["health"] == "ok" for rule in rules()), "all rules evaluated", PATIENCE)
    assert {rule["name"] for rule in rules()} == alerts().keys()
    assert [rule["name"] for rule in rules() if rule.get("lastError")] == []


def test_each_query_of_the_dashboard_finds_something(prometheus: Prometheus) -> None:
    def silent() -> list[str]:
        return [
            f"{title}: {expression}"
            for title, expressions in {**panels(), "variables": variables()}.items()
            for expression in expressions
            if not any(name in expression for name in EVENTFUL)
            and "== 0" not in expression
            and not prometheus.query(expression)
        ]

    eventually(lambda: not silent(), "an answer to each query", PATIENCE)
    assert silent() == []
