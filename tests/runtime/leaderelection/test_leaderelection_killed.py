"""A leader whose process is killed, in real time."""

from __future__ import annotations

import subprocess
import sys
import threading
import time
from pathlib import Path

from runtime.clock import SYSTEM
from runtime.leaderelection import LEASES
from runtime.testing import FakeAPIServer
from tests.runtime.leaderelection.leaderelection_support import Campaign

ROOT = Path(__file__).resolve().parents[3]
LEADER = """
import sys, threading
from runtime.client import Client
from runtime.leaderelection import LeaderElector, LeaseLock

def work(stop):
    print("leading", flush=True)
    stop.wait()

LeaderElector(LeaseLock(Client(sys.argv[1]), "default", "test", "victim"), lease_duration=2, renew_deadline=1,
              retry_period=0.2, on_started_leading=work, on_stopped_leading=lambda: None).run(threading.Event())
"""


def test_the_standby_leads_within_the_lease_after_a_kill(server: FakeAPIServer, campaign: Campaign) -> None:
    command = [sys.executable, "-c", LEADER, server.url]
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True) as victim:
        try:
            assert victim.stdout is not None
            assert victim.stdout.readline() == "leading\n"
            standby = campaign("standby", clock=SYSTEM, lease_duration=2, renew_deadline=1, retry_period=0.2)
            threading.Event().wait(0.5)  # some renewals
            assert not standby.elector.is_leader
        finally:
            victim.kill()
    killed_at = time.monotonic()
    standby.leads()
    # The last renewal was seen at most one retry (0.44 s) late; the rest is for a busy machine.
    assert time.monotonic() - killed_at < 2 + 0.44 + 2
    spec = server.client().resource(LEASES, namespace="default").get("test")["spec"]
    assert (spec["holderIdentity"], spec["leaseTransitions"]) == ("standby", 1)
    standby.stop.set()
    standby.ends()
