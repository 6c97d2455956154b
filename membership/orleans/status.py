"""In which state of the membership protocol a silo is."""

from __future__ import annotations

import enum


class SiloStatus(enum.Enum):
    """Names as in Orleans, in the order of a silo's life; the value is what the table holds."""

    NONE = "None"
    CREATED = "Created"
    JOINING = "Joining"
    ACTIVE = "Active"
    SHUTTING_DOWN = "ShuttingDown"
    STOPPING = "Stopping"
    DEAD = "Dead"

    def __str__(self) -> str:
        return self.value
