"""What the controller of Orleans clusters may do, and by which numbers."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Final

from membership.orleans.address import SiloAddress
from membership.orleans.options import LONGEST, MembershipOptions

OPERATOR: Final = SiloAddress("0.0.0.0", 0, 0)
"""The voter that stands for the operator among the suspecting silos of a row: Orleans' own address of no silo."""

SKEW: Final = 30.0  # seconds that the clocks of a silo and of the API server may differ without harm


@dataclass(frozen=True, slots=True)
class Settings:
    """:ivar protocol: the numbers that the silos have; only those of votes, alive times, joining and defunct entries
        matter here.
    :ivar dry_run: nothing is written to the table, only told: no silo declared dead, no row removed, no half-done
        change finished. The status of the version object is still written.
    :ivar evict_gone: declare silos dead whose Pod is gone.
    :ivar evict_silent: declare silos dead that give no sign of life, where the protocol's votes allow it.
    :ivar silent_alone: seconds of silence after which the operator's vote is cast although no silo suspects the silent
        one; where the protocol asks for one vote only.
    :ivar defunct_after: seconds after which the row of a dead silo is removed; None: never.
    :ivar max_defunct: rows of dead silos that are kept, the latest; None: all. None is removed for that which was not
        seen dead for an hour.
    """

    protocol: MembershipOptions = field(default_factory=MembershipOptions)
    dry_run: bool = False
    evict_gone: bool = True
    evict_silent: bool = True
    silent_alone: float = 600.0
    defunct_after: float | None = 7 * 86400.0
    max_defunct: int | None = 25

    def __post_init__(self) -> None:
        for name in ("silent_alone", "defunct_after"):
            value = getattr(self, name)
            if value is not None and not 0 < value <= LONGEST:
                raise ValueError(f"{name} {value!r}: must be above 0 and at most {LONGEST:g}, a hundred years")
        if self.max_defunct is not None and self.max_defunct < 0:
            raise ValueError(f"max_defunct {self.max_defunct!r}: must not be below 0")

    @property
    def proven_silence(self) -> float:
        """Seconds without a sign of life that even the silo of a Pod that is gone has to show: one writing of the alive
        time is missed, so whatever we think of its Pod, nobody writes for it any more."""
        return 1.5 * self.protocol.alive_period
