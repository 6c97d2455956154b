"""Telling what is wrong once, not each time that it is seen."""

from __future__ import annotations

from collections.abc import Collection


class Told:
    """The problems as they were seen last. Any thread; two at once may both tell of one."""

    def __init__(self) -> None:
        self._seen: frozenset[str] = frozenset()

    def news(self, problems: Collection[str]) -> list[str]:
        """Those of all problems there are now that were not there the last time, sorted."""
        before, self._seen = self._seen, frozenset(problems)
        return sorted(self._seen - before)
