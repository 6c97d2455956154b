"""Work queues: distinct items, one worker per item, delays, back-off and priorities.

Each queue is the one before and more: :class:`Queue`, :class:`DelayingQueue`, :class:`RateLimitingQueue`,
:class:`PriorityQueue`. The semantics are client-go's (rules W1 to W17, P1 to P7), with the better behaviour
wherever a docstring says QUIRK. :func:`parallelize_until` spreads a fixed number of pieces over threads.
"""

from runtime.workqueue.delaying import DelayingQueue, RateLimitingQueue
from runtime.workqueue.limiters import (
    BucketRateLimiter,
    ItemExponentialFailureRateLimiter,
    ItemFastSlowRateLimiter,
    MaxOfRateLimiter,
    RateLimiter,
    WithMaxWaitRateLimiter,
    default_controller_rate_limiter,
)
from runtime.workqueue.parallelizer import parallelize_until
from runtime.workqueue.priority import PriorityQueue
from runtime.workqueue.queue import Queue, ReadyOrder, ShutDown
from runtime.workqueue.stats import DURATION_BUCKETS, DurationStats, QueueStats

__all__ = [
    "BucketRateLimiter",
    "DURATION_BUCKETS",
    "DelayingQueue",
    "DurationStats",
    "ItemExponentialFailureRateLimiter",
    "ItemFastSlowRateLimiter",
    "MaxOfRateLimiter",
    "PriorityQueue",
    "Queue",
    "QueueStats",
    "RateLimiter",
    "RateLimitingQueue",
    "ReadyOrder",
    "ShutDown",
    "WithMaxWaitRateLimiter",
    "default_controller_rate_limiter",
    "parallelize_until",
]
