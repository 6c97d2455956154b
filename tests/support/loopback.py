"""Addresses for real servers on fixed ports: nobody else's, though tests run in parallel."""

from __future__ import annotations

import itertools
import os

_hosts = itertools.count(1)


def own_address() -> str:
    """One of 127.100.0.0 to 127.199.255.255 that no test has used before: by the process, then by counting."""
    pid = os.getpid()
    return f"127.{100 + pid % 100}.{pid // 100 % 256}.{next(_hosts)}"
