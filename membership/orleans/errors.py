"""What an operation of the membership table raises besides the errors of its API calls."""

from __future__ import annotations

from runtime.client import ClientError


class TableError(ClientError):
    """Root of what follows. The table is consistent whichever of them is raised: read it, and decide again."""


class OutcomeUnknown(TableError):
    """A change was begun, and what became of it cannot be known any more: writers who keep no journal (.NET silos), or
    many others, came between. It is in the table wholly or not at all."""

    ambiguous = True


class TableBusy(TableError):
    """The time of the operation was over before others left it a moment to take place in."""

    retryable = True
