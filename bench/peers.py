"""What is measured against each other: one module each, so that a process loads one of them and what that needs."""

from __future__ import annotations

import importlib
from dataclasses import dataclass
from typing import Generic, TypeVar

A = TypeVar("A")


@dataclass(frozen=True)
class Peer(Generic[A]):
    """:ivar title: in the tables of results. :ivar module: has the class to measure. :ivar adapter: its name there."""

    title: str
    module: str
    adapter: str

    def load(self) -> type[A]:
        """The class; everything it imports is imported now."""
        found: type[A] = getattr(importlib.import_module(self.module), self.adapter)
        return found
