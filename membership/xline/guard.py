"""Whether a change of the membership leaves a majority that works. Pure, and the same for both engines.

etcd has a guard of its own, Xline has none; this one is asked before every change, with a list that was read under the
membership lock. Each function returns why not, as a sentence for people, or None if the change is safe.
"""

from __future__ import annotations

from collections.abc import Collection

from membership.xline.client import ListedMember, MemberList


def majority(voters: int) -> int:
    """How many of so many voters have to agree."""
    return voters // 2 + 1


def may_remove(listed: MemberList, healthy: Collection[int], target: int) -> str | None:
    """Whether the member with the id ``target`` may be removed.

    :param healthy: ids of the members that answer for themselves and follow a leader, as seen just now.
    """
    member = listed.get(target)
    if member is None:
        return f"no member has the id {target:x}"
    missing = _without_majority(listed, healthy)
    if missing or member.is_learner:
        return missing
    rest = [other.id for other in _voters(listed) if other.id != target]
    if not rest:
        return "it is the only voter"
    return _too_few(rest, healthy, f"of the {len(rest)} voters that would be left")


def may_add(listed: MemberList, healthy: Collection[int]) -> str | None:
    """Whether a learner may be added: nobody else is joining, and all voters are healthy."""
    for member in listed.members:
        if member.is_learner:
            return f"{describe(member)} is a learner; one member joins at a time"
        if not member.started and member.id not in healthy:
            return f"{describe(member)} has not started yet; one member joins at a time"
    for member in listed.members:
        if member.id not in healthy:
            return f"{describe(member)} is not healthy; a cluster grows only while all its members are"
    return _without_majority(listed, healthy)


def may_promote(listed: MemberList, healthy: Collection[int], target: int) -> str | None:
    """Whether the learner with the id ``target`` may get a vote."""
    member = listed.get(target)
    if member is None:
        return f"no member has the id {target:x}"
    if not member.is_learner:
        return f"{describe(member)} is no learner"
    if target not in healthy:
        return f"{describe(member)} is not healthy"
    missing = _without_majority(listed, healthy)
    if missing:
        return missing
    grown = [*(voter.id for voter in _voters(listed)), target]
    return _too_few(grown, healthy, f"of the {len(grown)} voters that there would be")


def describe(member: ListedMember) -> str:
    """A member in messages: by its name where it has one, and by its id always."""
    return f"member {member.name or ','.join(member.peer_urls) or 'without a name'} ({member.id:x})"


def _voters(listed: MemberList) -> list[ListedMember]:
    return [member for member in listed.members if member.voter]


def _without_majority(listed: MemberList, healthy: Collection[int]) -> str | None:
    """Why no change could be agreed on now."""
    voters = [voter.id for voter in _voters(listed)]
    return _too_few(voters, healthy, f"of the {len(voters)} voters")


def _too_few(voters: Collection[int], healthy: Collection[int], of_whom: str) -> str | None:
    alive = len(set(voters) & set(healthy))
    needed = majority(len(voters))
    if alive >= needed:
        return None
    return f"{alive} {of_whom} {'is' if alive == 1 else 'are'} healthy, and {needed} have to be"
