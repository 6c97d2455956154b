"""What can be reached, and asked for, from this machine only."""

from __future__ import annotations

import ipaddress
import re

__all__ = ["is_loopback", "names_this_machine"]


def is_loopback(host: str) -> bool:
    """Whether a server that listens there is reached from this machine only. ``""`` is all addresses."""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def names_this_machine(host: str) -> bool:
    """:param host: as the header has it. An address is no name that somebody could have resolve to us."""
    name = re.sub(r":\d+$", "", host.strip().lower()).removeprefix("[").removesuffix("]")
    if name == "localhost" or name.endswith(".localhost"):
        return True
    try:
        ipaddress.ip_address(name)
    except ValueError:
        return False
    return True
