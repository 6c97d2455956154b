"""Where an item of a queue is, for people who wonder what becomes of it."""

from __future__ import annotations

from typing import Literal, NamedTuple, TypeAlias

__all__ = ["Place", "Whereabouts"]

Whereabouts: TypeAlias = Literal["queued", "running", "parked", "delayed"]


class Place(NamedTuple):
    """One item at one moment.

    :ivar seconds: since when: ``queued`` it became ready, ``running`` it was handed out, ``parked`` it was handed out
        for the last time; of ``delayed`` the seconds until it is ready.
    :ivar priority: with which it waits, or is being processed.
    """

    where: Whereabouts
    seconds: float
    priority: int
