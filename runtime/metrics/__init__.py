"""The library's numbers, and the Prometheus endpoint they are read at.

Components count in plain integers (:mod:`runtime.metrics.values`); a :class:`Registry` asks them for their
numbers when it is scraped. prometheus_client is imported at the first scrape, or by whoever brings a registry
of their own.
"""

from __future__ import annotations

from runtime.metrics.reconciles import ReconcileStats
from runtime.metrics.values import Counter, Histogram

__all__ = ["Counter", "Histogram", "ReconcileStats"]
