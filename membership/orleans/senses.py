"""What an agent perceives of itself and of the others, for all of its parts."""

from __future__ import annotations

from membership.orleans.entry import MembershipEntry
from membership.orleans.health import Contacts, LocalHealth
from membership.orleans.options import MembershipOptions
from membership.orleans.staleness import Observations
from runtime.clock import Clock


class Senses:
    """Any thread.

    :ivar health: of this process. :ivar contacts: with other silos. :ivar reached: silos that were, by probes of this
        one or on its behalf. :ivar observations: of the table.
    """

    def __init__(self, options: MembershipOptions, clock: Clock) -> None:
        self.options = options
        self.clock = clock
        self.health = LocalHealth(options, clock)
        self.contacts = Contacts(clock)
        self.reached = Contacts(clock)
        self.observations = Observations(clock)

    def is_stale(self, member: MembershipEntry) -> bool:
        """It has stopped writing its alive time, as far as this process has seen."""
        return self.observations.silent(member.silo_address) > self.options.allowed_silence
