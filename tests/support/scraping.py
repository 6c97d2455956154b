"""Metrics as Prometheus sees them: rendered as text, and read again by the official parser."""

from __future__ import annotations

from collections.abc import Mapping

from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.core import Metric
from prometheus_client.parser import text_string_to_metric_families

from runtime.metrics import Collector, MetricSource


class Scrape:
    """One scrape.

    :ivar families: by name, that of counters without ``_total``.
    """

    def __init__(self, text: str) -> None:
        self.families: Mapping[str, Metric] = {family.name: family for family in text_string_to_metric_families(text)}

    def value(self, name: str, /, **labels: str) -> float:
        """Of the one series with that name and these labels, and any others."""
        found = self.values(name, **labels)
        assert len(found) == 1, f"{len(found)} series {name} with {labels}: {found}"
        return found[0]

    def values(self, name: str, /, **labels: str) -> list[float]:
        return [
            sample.value
            for family in self.families.values()
            for sample in family.samples
            if sample.name == name and labels.items() <= sample.labels.items()
        ]


def scrape(*sources: MetricSource) -> Scrape:
    """Scrape components as a program without a manager would publish them."""
    registry = CollectorRegistry()
    registry.register(Collector(*sources))
    return Scrape(generate_latest(registry).decode())
