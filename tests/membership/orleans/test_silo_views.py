"""What the application is told: every view once, in order, whatever it does with it."""

from __future__ import annotations

import logging
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from datetime import timedelta

import pytest

from membership.orleans import MembershipView, SiloAddress, SiloStatus
from membership.orleans.views import ViewFeed
from tests.support.silo_tables import START, entry
from tests.support.waiting import eventually


def view(version: int, *numbers: int) -> MembershipView:
    return MembershipView.of(version, [entry(number) for number in numbers])


@contextmanager
def running(feed: ViewFeed) -> Iterator[ViewFeed]:
    feed.start()
    try:
        yield feed
    finally:
        feed.close()


def test_views_come_in_order_and_once() -> None:
    seen: list[MembershipView] = []
    with running(ViewFeed(seen.append)) as feed:
        offered = [view(1, 1), view(1, 1), view(3, 1, 2), view(2, 1), view(3, 1, 2), view(3, 1, 2, 3), view(4, 1, 2, 3)]
        assert [feed.offer(one) for one in offered] == [True, False, True, False, False, True, True]
        assert feed.latest == offered[6]
    assert seen == [offered[0], offered[2], offered[5], offered[6]]
    assert not feed.offer(view(5, 1)), "it is closed"


def test_a_sign_of_life_is_no_new_view() -> None:
    feed = ViewFeed(None)
    row = entry(1)
    assert feed.offer(MembershipView.of(1, [row]))
    assert not feed.offer(MembershipView.of(1, [replace(row, i_am_alive_time=START + timedelta(hours=1))]))
    assert feed.offer(MembershipView.of(1, [replace(row, suspect_times=[(entry(2).silo_address, START)])]))


def test_a_callback_that_raises_gets_the_next_view(caplog: pytest.LogCaptureFixture) -> None:
    seen: list[int] = []

    def on_view(one: MembershipView) -> None:
        seen.append(one.version)
        raise RuntimeError("not that one")

    with caplog.at_level(logging.ERROR), running(ViewFeed(on_view)) as feed:
        feed.offer(view(1, 1))
        feed.offer(view(2, 1))
    assert seen == [1, 2]
    assert caplog.text.count("not that one") >= 2


def test_a_slow_callback_holds_nobody_up_and_gets_the_last_view() -> None:
    seen: list[int] = []
    go_on = threading.Event()

    def on_view(one: MembershipView) -> None:
        seen.append(one.version)
        assert go_on.wait(60)

    with running(ViewFeed(on_view)) as feed:
        feed.offer(view(1, 1))
        eventually(lambda: seen == [1])
        for version in range(2, 1000):
            assert feed.offer(view(version, 1))
        go_on.set()
    assert seen[0] == 1
    assert seen[1:] == list(range(900, 1000)), "only the last hundred of those that waited"


def test_a_callback_may_close_it() -> None:
    feeds: list[ViewFeed] = []
    closed = threading.Event()

    def on_view(_: MembershipView) -> None:
        feeds[0].close()
        closed.set()

    feeds.append(ViewFeed(on_view))
    with running(feeds[0]):
        feeds[0].offer(view(1, 1))
        assert closed.wait(60)


def test_a_callback_that_does_not_return_is_left(caplog: pytest.LogCaptureFixture) -> None:
    go_on = threading.Event()

    def on_view(_: MembershipView) -> None:
        assert go_on.wait(60)

    feed = ViewFeed(on_view)
    feed.start()
    feed.offer(view(1, 1))
    feed.close(timeout=0.05)
    assert "does not return" in caplog.text
    go_on.set()
    feed.close()


def test_what_a_view_tells() -> None:
    rows = [entry(2), entry(1, SiloStatus.DEAD), entry(3, SiloStatus.JOINING)]
    one = MembershipView.of(7, rows)
    assert one.members == (rows[1], rows[0], rows[2])
    assert one.active == (rows[0],)
    assert one.get(rows[0].silo_address) is rows[0]
    assert one.status_of(rows[2].silo_address) is SiloStatus.JOINING
    before = rows[0].silo_address
    assert one.status_of(SiloAddress(before.address, before.port, before.generation - 1)) is SiloStatus.DEAD
    assert one.status_of(SiloAddress(before.address, before.port, before.generation + 1)) is SiloStatus.NONE
