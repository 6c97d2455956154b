"""Watching without an informer of one's own, and waiting until something is so; what ``kubectl wait`` does.

::

    pods = client.resource(GVR("", "v1", "pods"), namespace="default")
    until(pods, has_condition("Ready"), name="web-0", timeout=60.0)

- :class:`RetryWatcher`: a watch that goes on after every break it can go on after (U5).
- :class:`InformerWatcher`: an informer's changes as a watch, which also goes on after what needs a new list (U7).
- :func:`until_without_retry`, :func:`until`, :func:`until_with_sync`: block until conditions have been met on a watch,
  one after the other (U6). They differ in what they survive: nothing, broken connections, everything.
"""

from runtime.watchtools.conditions import Condition, has_condition, is_deleted
from runtime.watchtools.informer_watcher import InformerWatcher
from runtime.watchtools.limits import WaitTimeout, WatchClosed
from runtime.watchtools.retry_watcher import RetryWatcher
from runtime.watchtools.until import EventStream, until, until_with_sync, until_without_retry

__all__ = [
    "Condition",
    "EventStream",
    "InformerWatcher",
    "RetryWatcher",
    "WaitTimeout",
    "WatchClosed",
    "has_condition",
    "is_deleted",
    "until",
    "until_with_sync",
    "until_without_retry",
]
