"""The library's numbers, and the Prometheus endpoint they are read at.

Components count in plain integers (:mod:`runtime.metrics.values`); a ``Registry`` asks them for their
numbers when it is scraped. prometheus_client is imported at the first scrape, or by whoever brings a registry
of their own.

A program without a manager publishes what it uses by one line::

    prometheus_client.REGISTRY.register(Collector(factory.metrics, queue.metrics, client.metrics))
"""

from __future__ import annotations

from runtime.metrics.reconciles import ReconcileStats
from runtime.metrics.registry import Collector, MetricSource
from runtime.metrics.requests import RequestDetails, RequestStats
from runtime.metrics.values import Counter, Histogram

__all__ = ["Collector", "Counter", "Histogram", "MetricSource", "ReconcileStats", "RequestDetails", "RequestStats"]
