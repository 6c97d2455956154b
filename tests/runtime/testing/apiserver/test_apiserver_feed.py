"""Feeds by themselves: what watches of one collection share of their work, and what they do not."""

from __future__ import annotations

import queue
import threading
from collections.abc import Iterator
from contextlib import ExitStack

import pytest

from runtime.testing.apiserver.feed import Block, Feed, Lost
from runtime.testing.apiserver.log import Entry, ResourceLog, Stored

_STORED = Stored("ns/a", "ns", "a", 1, {"metadata": {"name": "a"}})


class Encoder:
    """Encodes an entry as its version; remembers which it was asked for."""

    def __init__(self, size: int = 0) -> None:
        self.encoded: list[int] = []
        self._size = size

    def __call__(self, entry: Entry) -> bytes:
        self.encoded.append(entry.version)
        return f"{entry.version} ".encode() + b"x" * self._size


class Clock:
    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


def add(log: ResourceLog, *versions: int) -> None:
    for version in versions:
        log.append(Entry(version, None, _STORED))


def take(feed: Feed, index: int, encode: Encoder) -> Block:
    found = feed.take(index, encode, at_once=True)
    assert found is not None
    return found


@pytest.fixture
def log() -> ResourceLog:
    return ResourceLog(10_000, 0)


@pytest.fixture
def feed(log: ResourceLog) -> Iterator[Feed]:
    """Of two watches."""
    with log.watched("shown") as feed, log.watched("shown") as same:
        assert feed is same
        yield feed


def test_what_one_has_made_the_other_sends(log: ResourceLog, feed: Feed) -> None:
    encode = Encoder()
    add(log, 3, 4, 5)
    block = take(feed, 0, encode)
    assert block == Block(3, 5, b"3 4 5 ")
    add(log, 6)
    assert take(feed, 0, encode) is block
    assert encode.encoded == [3, 4, 5]
    assert take(feed, block.end, encode) == Block(4, 6, b"6 ")
    assert feed.take(4, encode, at_once=True) is None


def test_who_begins_within_a_block_goes_on_with_the_next(log: ResourceLog, feed: Feed) -> None:
    encode = Encoder()
    add(log, *range(10))
    first = take(feed, 0, encode)
    add(log, *range(10, 20))
    second = take(feed, first.end, encode)
    joined = take(feed, 7, encode)
    assert (joined.end, joined.data) == (10, b"7 8 9 ")
    assert take(feed, joined.end, encode) is second


def test_another_collection_or_another_form_is_another_feed(log: ResourceLog, feed: Feed) -> None:
    add(log, 1)
    take(feed, 0, Encoder())
    with log.watched("other") as other:
        assert other is not feed
        encode = Encoder()
        assert take(other, 0, encode).data == b"1 "
        assert encode.encoded == [1]
        assert log.watches == 3


def test_who_is_alone_keeps_nothing(log: ResourceLog) -> None:
    encode = Encoder()
    with log.watched("shown") as feed:
        add(log, 1)
        take(feed, 0, encode)
        take(feed, 0, encode)
    assert encode.encoded == [1, 1]
    assert log.watches == 0


def test_a_feed_goes_with_its_last_watch(log: ResourceLog) -> None:
    with log.watched("shown") as feed:
        with log.watched("shown"):
            pass
        with log.watched("shown") as again:
            assert again is feed
    with log.watched("shown") as later:
        assert later is not feed


def test_a_change_after_a_quiet_moment_is_told_at_once_and_more_of_them_are_gathered(log: ResourceLog) -> None:
    clock, encode = Clock(), Encoder()
    with ExitStack() as watches:
        for _ in range(20):
            watches.enter_context(log.watched("shown"))
        feed = Feed(log, clock)
        add(log, 1)
        assert feed.take(0, encode, at_once=False) is not None
        add(log, 2)
        assert feed.take(1, encode, at_once=False) is None
        assert feed.pause(1) == pytest.approx(0.01)
        add(log, 3)
        clock.now += 0.0101
        assert feed.pause(1) <= 0
        found = feed.take(1, encode, at_once=False)
        assert found == Block(3, 3, b"2 3 ")
        add(log, 4)
        assert feed.take(3, encode, at_once=False) is None
        assert take(feed, 3, encode).data == b"4 "


def test_the_more_changes_there_are_the_longer_they_are_gathered(log: ResourceLog) -> None:
    clock, encode = Clock(), Encoder()
    with ExitStack() as watches:
        for _ in range(10):
            watches.enter_context(log.watched("shown"))
        feed = Feed(log, clock)
        pauses = []
        for count in (64, 128, 512, 1):
            add(log, *range(log.end, log.end + count))
            take(feed, log.end - count, encode)
            pauses.append(feed.pause(log.end))
    assert pauses == pytest.approx([0.005, 0.01, 0.04, 0.005])
    with ExitStack() as watches:
        for _ in range(1000):
            watches.enter_context(log.watched("shown"))
        add(log, log.end)
        take(feed, log.end - 1, encode)
        assert feed.pause(log.end) == pytest.approx(0.05)


def test_many_changes_are_not_gathered_any_longer(log: ResourceLog) -> None:
    clock, encode = Clock(), Encoder()
    with log.watched("shown"):
        feed = Feed(log, clock)
        add(log, *range(1, 2000))
        index = 0
        while (found := feed.take(index, encode, at_once=False)) is not None:
            assert found.end - index == 512
            index = found.end
        assert index == 3 * 512


def test_who_comes_behind_neither_waits_nor_delays_the_others(log: ResourceLog) -> None:
    clock, encode = Clock(), Encoder()
    with ExitStack() as watches:
        for _ in range(100):
            watches.enter_context(log.watched("shown"))
        feed = Feed(log, clock)
        feed.watches = 1  # so that nothing is kept
        add(log, *range(1000))
        assert take(feed, 900, encode).end == 1000
        for index in (0, 512, 950, 0):
            behind = feed.take(index, encode, at_once=False)
            assert behind is not None
            assert behind.end == min(index + 512, 1000)
            clock.now += 0.015
        add(log, 1000)
        newest = feed.take(1000, encode, at_once=False)
        assert newest == Block(1001, 1000, b"1000 ")


def test_who_begins_within_what_has_been_told_falls_into_step(log: ResourceLog) -> None:
    """Two watches that overtake each other would never gather, and never share a block."""
    clock, encode = Clock(), Encoder()
    with log.watched("shown"):
        feed = Feed(log, clock)
        feed.watches = 1
        add(log, *range(10))
        assert take(feed, 0, encode).end == 10
        feed.watches = 2
        add(log, *range(10, 20))
        behind = feed.take(7, encode, at_once=False)
        assert behind == Block(10, 9, b"7 8 9 ")
        assert feed.take(10, encode, at_once=False) is None, "it waits as the other does"
        clock.now += 1
        both = feed.take(10, encode, at_once=False)
        assert both == Block(20, 19, b" ".join(b"%d" % each for each in range(10, 20)) + b" ")
        assert feed.take(10, encode, at_once=False) is both


def test_what_was_made_waits_for_nobody(log: ResourceLog) -> None:
    """The time to gather is over for a block that is there."""
    clock, encode = Clock(), Encoder()
    feed = Feed(log, clock)
    feed.watches = 2
    add(log, 1)
    with log.watched("shown"):
        made = feed.take(0, encode, at_once=False)
        assert made is not None
        assert feed.take(0, encode, at_once=False) is made


def test_a_block_of_large_objects_ends_early(log: ResourceLog, feed: Feed) -> None:
    encode = Encoder(200 * 1024)
    add(log, *range(1, 10))
    assert [take(feed, index, encode).end for index in (0, 3, 6)] == [3, 6, 9]


def test_who_lags_behind_encodes_for_himself(log: ResourceLog, feed: Feed) -> None:
    """Memory is bounded: blocks of many bytes, and many blocks, are forgotten."""
    encode = Encoder(600 * 1024)
    add(log, *range(10))
    for index in range(10):
        take(feed, index, encode)
    encode.encoded.clear()
    take(feed, 9, encode)
    take(feed, 4, encode)
    assert encode.encoded == []
    take(feed, 2, encode)
    assert encode.encoded == [2]
    few = Encoder()
    for index in range(10, 100):
        add(log, index)
        take(feed, index, few)
    few.encoded.clear()
    take(feed, 99, few)
    take(feed, 36, few)
    assert few.encoded == []
    take(feed, 35, few)
    assert few.encoded == [35], "neither more than that one, for the next begins a block"


def test_history_that_is_lost_is_lost_though_its_blocks_are_there() -> None:
    log, encode = ResourceLog(10, 0), Encoder()
    with log.watched("shown") as feed, log.watched("shown"):
        add(log, *range(1, 11))
        take(feed, 0, encode)
        add(log, *range(11, 21))
        with pytest.raises(Lost):
            feed.take(0, encode, at_once=True)
        block = take(feed, 10, encode)
        assert block.end == 20
        log.reset(20)
        for index in (10, 20):
            with pytest.raises(Lost):
                feed.take(index, encode, at_once=True)


def test_who_waits_for_a_change_is_woken_by_it(log: ResourceLog) -> None:
    """Whether it comes before, while, or after he begins to wait."""
    seen: queue.SimpleQueue[int] = queue.SimpleQueue()
    count = 300

    def wait() -> None:
        stop = threading.Event()
        for index in range(count):
            log.wait(index, 60, stop)
            seen.put(log.end)
            log.wait(index, 60, stop)  # no longer
        stop.set()
        log.wait(count, 60, stop)

    waiting = threading.Thread(target=wait, daemon=True)
    waiting.start()
    for number in range(count):
        add(log, number)
        assert seen.get(timeout=30) == number + 1
    waiting.join(30)
    assert not waiting.is_alive()


def test_what_is_not_shown_is_passed_over(log: ResourceLog, feed: Feed) -> None:
    add(log, 1, 2)
    assert feed.take(0, lambda _: b"", at_once=True) == Block(2, 2, b"")


def test_an_event_that_cannot_be_encoded_holds_up_nobody(log: ResourceLog, feed: Feed) -> None:
    def broken(entry: Entry) -> bytes:
        raise ZeroDivisionError(entry.version)

    add(log, 1)
    with pytest.raises(ZeroDivisionError):
        feed.take(0, broken, at_once=True)
    assert take(feed, 0, Encoder()).data == b"1 "


def test_what_comes_before_an_event_that_cannot_be_encoded_is_told(log: ResourceLog, feed: Feed) -> None:
    encode = Encoder()

    def third_broken(entry: Entry) -> bytes:
        return encode(entry) if entry.version != 3 else broken(entry)

    def broken(entry: Entry) -> bytes:
        raise ZeroDivisionError(entry.version)

    add(log, 1, 2, 3, 4)
    block = feed.take(0, third_broken, at_once=True)
    assert block == Block(2, 2, b"1 2 ")
    with pytest.raises(ZeroDivisionError):
        feed.take(2, third_broken, at_once=True)


def test_who_waited_for_what_cannot_be_encoded_does_not_try_it_again(log: ResourceLog) -> None:
    """A webhook that never answers costs half a minute, and not that for each of twenty watches in turn."""
    asked, asking = threading.Event(), queue.SimpleQueue[None]()
    errors: queue.SimpleQueue[Exception | None] = queue.SimpleQueue()
    encoded: list[int] = []

    class Ticking(Clock):
        def __call__(self) -> float:
            self.now += 1
            asking.put(None)
            return self.now

    def broken(entry: Entry) -> bytes:
        encoded.append(entry.version)
        assert asked.wait(30)
        raise ZeroDivisionError(entry.version)

    def wait() -> None:
        try:
            shared.take(0, broken, at_once=True)
        except ZeroDivisionError as error:
            errors.put(error)
        else:
            errors.put(None)

    shared = Feed(log, Ticking())
    add(log, 1)
    waiting = [threading.Thread(target=wait, daemon=True) for _ in range(5)]
    for each in waiting:
        each.start()
    for _ in waiting:  # each has begun
        asking.get(timeout=30)
    asked.set()
    for each in waiting:
        each.join(30)
        assert errors.get(timeout=30) is not None
    assert encoded == [1]
    with pytest.raises(ZeroDivisionError):
        shared.take(0, broken, at_once=True)
    assert encoded == [1, 1], "who comes later tries again"
    assert take(shared, 0, Encoder()).data == b"1 "
