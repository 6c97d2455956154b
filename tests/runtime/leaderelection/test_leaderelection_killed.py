"""Leaders whose process is killed, told to stop, or stopped and continued; in real time."""

from __future__ import annotations

import signal
import subprocess
import sys
from itertools import groupby
from pathlib import Path

import pytest

from runtime.client import Client
from runtime.clock import SYSTEM
from runtime.testing import FakeAPIServer
from tests.runtime.leaderelection.contender import BLANK, CONFIGMAPS, NAMESPACE, WORK
from tests.runtime.leaderelection.failover import Contest, rounds
from tests.runtime.leaderelection.leaderelection_support import Campaign, eventually

ROOT = Path(__file__).resolve().parents[3]

# It does not look at its stop event: it is the fence that ends it.
WRITER = """
import sys, threading
from runtime.client import Client, ClientError, NotLeading
from runtime.leaderelection import LeaderElector, LeaseLock
from tests.runtime.leaderelection.contender import CONFIGMAPS, NAMESPACE, WORK, written_by

client = Client(sys.argv[1], user_agent="writer")
refused = threading.Event()

def work(stop):
    works = client.fenced(elector.fence).resource(CONFIGMAPS, NAMESPACE)
    while True:
        try:
            works.update(written_by(works.get(WORK).to_dict(), "writer"))
        except NotLeading as error:
            print(error, flush=True)
            refused.set()
            return
        except ClientError:  # a conflict; or a write that was under way when we were stopped, cut off by the fence
            pass

elector = LeaderElector(LeaseLock(client, NAMESPACE, "test", "writer"), lease_duration=1, renew_deadline=0.6,
                        retry_period=0.1, on_started_leading=work, on_stopped_leading=lambda: None)
elector.run(threading.Event())
refused.wait(60)
"""


def writers(server: FakeAPIServer) -> list[str]:
    return [e.user_agent for e in server.requests.writes("configmaps") if e.name == WORK and e.code == 200]


def test_a_leader_that_was_stopped_for_longer_than_its_lease_writes_nothing_when_it_goes_on(
    server: FakeAPIServer, campaign: Campaign
) -> None:
    works = Client(server.url, user_agent="standby").resource(CONFIGMAPS, NAMESPACE)
    works.create(BLANK)
    with subprocess.Popen([sys.executable, "-c", WRITER, server.url], cwd=ROOT, stdout=subprocess.PIPE) as writer:
        try:
            eventually(lambda: writers(server).count("writer") > 3)
            standby = campaign("standby", clock=SYSTEM, lease_duration=1, renew_deadline=0.6, retry_period=0.1)
            writer.send_signal(signal.SIGSTOP)
            standby.leads()
            works.patch(WORK, {"data": {"by": "standby"}})
            writer.send_signal(signal.SIGCONT)
            assert writer.stdout is not None
            assert b"not sent, because leadership has ended" in writer.stdout.readline()
            assert writer.wait(30) == 0
        finally:
            writer.kill()
    assert [agent for agent, _ in groupby(writers(server))] == ["writer", "standby"]


def test_the_standby_works_once_the_lease_of_a_killed_leader_is_over() -> None:
    """And no write is made twice, or by both."""
    with FakeAPIServer() as server, Contest(server, lease_duration=1.0) as contest:
        (taken,) = rounds(contest, 1, signal.SIGKILL, seed=0)
        assert taken.since_lease >= 1.0  # not before the lease was over
        assert contest.check_at_the_end() > 0


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM])
def test_one_leader_after_the_other_ends(number: signal.Signals) -> None:
    """``make failover`` does it a hundred times, and prints the figures."""
    with FakeAPIServer() as server, Contest(server) as contest:
        taken = rounds(contest, 10, number, seed=1)
        assert len(contest.check()) == 11
        contest.check_at_the_end()
    released = [one.since_lease for one in taken]
    if number is signal.SIGTERM:
        assert min(released) < 1  # the lease of two seconds was given away
    else:
        assert min(released) >= 1.9  # and here waited out


@pytest.mark.slow
def test_a_manager_that_was_stopped_for_longer_than_its_lease_ends_with_an_error() -> None:
    with FakeAPIServer() as server, Contest(server, lease_duration=1.0) as contest:
        stopped = contest.join()
        contest.leads(stopped)
        standby = contest.join()
        contest.stands_by(standby)
        contest.signal(stopped, signal.SIGSTOP)
        contest.leads(standby)
        contest.signal(stopped, signal.SIGCONT)
        assert contest.wait(stopped) == 1  # for whoever runs it to start it anew
        contest.signal(standby, signal.SIGTERM)
        assert contest.wait(standby) == 0
        assert contest.check() == [stopped, standby]
        contest.check_at_the_end()
