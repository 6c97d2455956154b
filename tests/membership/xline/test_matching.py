"""Which ordinal a listed member belongs to."""

from __future__ import annotations

import pytest

from membership.xline.client import ListedMember
from membership.xline.matching import Matching, host_of, same_url

MATCHING = Matching(
    "c-sts",
    {"c-sts-3": "10.0.0.3", "c-sts-4": "FD00::4", "stranger": "10.0.0.9"},
    {"c-sts-0": "http://127.64.0.1:2380", "c-sts-1": "http://c-sts-1.c-svc.ns.svc:2380"},
)


def listed(name: str, *urls: str) -> ListedMember:
    return ListedMember(1, name, urls, (), False)


@pytest.mark.parametrize(
    ("member", "ordinal"),
    [
        (listed("c-sts-0", "http://elsewhere:2380"), 0),
        (listed("c-sts-12", "http://c-sts-1.c-svc.ns.svc:2380"), 12),  # the name wins
        (listed("", "http://127.64.0.1:2380"), 0),
        (listed("", "127.64.0.1:2380"), 0),  # Xline repeats what it was given
        (listed("", "http://c-sts-7.c-svc.ns.svc:2380"), 7),
        (listed("", "https://C-STS-7:2380/"), 7),
        (listed("", "http://10.0.0.3:2380"), 3),
        (listed("", "http://[fd00::4]:2380"), 4),
        (listed("", "http://somewhere:2380", "http://10.0.0.3:2380"), 3),
        # Foreign: never guessed.
        (listed("other", "http://10.0.0.3:2380"), None),
        (listed("c-sts", "http://x:2380"), None),
        (listed("c-sts-", "http://x:2380"), None),
        (listed("c-sts-01", "http://x:2380"), None),
        (listed("c-sts--1", "http://x:2380"), None),
        (listed("c-sts-1a", "http://x:2380"), None),
        (listed("c-sts-²", "http://x:2380"), None),
        (listed("d-sts-1", "http://x:2380"), None),
        (listed("c-sts-98", "http://x:2380"), 98),
        (listed("c-sts-99", "http://x:2380"), None),  # there are never so many
        (listed(f"c-sts-{'9' * 5000}", "http://x:2380"), None),
        (listed("", "http://10.0.0.9:2380"), None),
        (listed("", "http://10.0.0.30:2380"), None),
        (listed("", "http://d-sts-1.c-svc.ns.svc:2380"), None),
        (listed(""), None),
    ],
)
def test_ordinals(member: ListedMember, ordinal: int | None) -> None:
    assert MATCHING.ordinal_of(member) == ordinal


@pytest.mark.parametrize(
    ("one", "other", "same"),
    [
        ("http://a:2380", "http://a:2380", True),
        ("http://a:2380/", "http://a:2380", True),
        ("a:2380", "http://A:2380", True),
        ("http://a:2380", "http://a:2381", False),
        ("http://a:2380", "http://ab:2380", False),
    ],
)
def test_urls_that_are_the_same(one: str, other: str, same: bool) -> None:
    assert same_url(one, other) is same
    assert same_url(other, one) is same


@pytest.mark.parametrize(
    ("url", "host"),
    [("http://A.b:2380", "a.b"), ("10.0.0.1:2380", "10.0.0.1"), ("http://[::1]:2380", "::1"), ("", "")],
)
def test_hosts(url: str, host: str) -> None:
    assert host_of(url) == host
