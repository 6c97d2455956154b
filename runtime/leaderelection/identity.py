"""Who a candidate is."""

from __future__ import annotations

import socket
import uuid


def unique_identity() -> str:
    """Host name and a UUID: readable, and never the same for two processes (L18)."""
    return f"{socket.gethostname()}_{uuid.uuid4()}"
