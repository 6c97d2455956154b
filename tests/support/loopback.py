"""Addresses for real servers on fixed ports: nobody else's, though tests run in parallel."""

from __future__ import annotations

import itertools
import os

_hosts = itertools.count()


def own_address() -> str:
    """One of 127.100.0.1 to 127.199.255.254: by the process, then by counting. After 254 the first ones come again: the
    tests that had them have long ended."""
    pid = os.getpid()
    return f"127.{100 + pid % 100}.{pid // 100 % 256}.{next(_hosts) % 254 + 1}"
