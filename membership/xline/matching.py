"""Which ordinal a listed member belongs to. One rule for the agents and the operator."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from urllib.parse import urlsplit

from crds.xlineplan import MAX_ORDINAL
from membership.xline.client import ListedMember


@dataclass(frozen=True, slots=True)
class Matching:
    """What a cluster's members are known by.

    :param base: what the names of its Pods begin with: ``BASE-ORDINAL``.
    :param addresses: Pod's name -> its IP, of the Pods there are.
    :param initial: name -> peer URL, of the members the cluster was bootstrapped with.
    """

    base: str
    addresses: Mapping[str, str]
    initial: Mapping[str, str]

    def ordinal_of(self, member: ListedMember) -> int | None:
        """By its name; one that has none yet, by where its peer URL leads.

        :returns: None for a foreign member: nobody of this cluster knows it.
        """
        if member.name:
            return self.ordinal(member.name)
        for url in member.peer_urls:
            for name, known in self.initial.items():
                if same_url(url, known):
                    return self.ordinal(name)
        for url in member.peer_urls:
            host = host_of(url)
            found = self.ordinal(host.partition(".")[0])
            if found is not None:
                return found
            for name, address in self.addresses.items():
                if host == address.lower():
                    return self.ordinal(name)
        return None

    def ordinal(self, name: str) -> int | None:
        """``BASE-7`` -> 7; None if it is no name of this cluster, whose members are never so many."""
        head, _, digits = name.rpartition("-")
        if head != self.base or not (digits.isascii() and digits.isdigit()) or len(digits) > 9:
            return None
        ordinal = int(digits)
        return ordinal if ordinal <= MAX_ORDINAL and str(ordinal) == digits else None


def same_url(one: str, other: str) -> bool:
    """Whether two peer URLs are the same. Xline repeats what it was given, also without a scheme."""
    return _normal(one) == _normal(other)


def host_of(url: str) -> str:
    """The host of a URL, in lower case, without brackets; also of ``host:port`` without a scheme."""
    return urlsplit(url if "://" in url else f"//{url}").hostname or ""


def _normal(url: str) -> str:
    return url.partition("://")[2].rstrip("/").lower() if "://" in url else url.rstrip("/").lower()
