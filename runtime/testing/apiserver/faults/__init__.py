"""Failures on demand: what a client must survive. Where client-go's fake has reactors (T1), this has a small language.

A fault says which requests (``rules``, in the words of ``language``), how often (``frequency``: by number, or by chance
from a seed), and what becomes of them. ``ruleset`` holds the faults of a server; ``injector`` answers a request as they
have it, ``streams`` strikes what a watch sends, ``replica``, ``skew``, ``freeze`` and ``outages`` are a cache that lags
behind, a wall clock that is wrong, a server that stands still, and one that goes down and comes up; ``control`` takes
orders over HTTP.
"""

from runtime.testing.apiserver.faults.language import BadFault
from runtime.testing.apiserver.faults.rules import Asked, Fault
from runtime.testing.apiserver.faults.ruleset import Faults

__all__ = ["Asked", "BadFault", "Fault", "Faults"]
