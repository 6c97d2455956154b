"""What a user sees of events, written through either API."""

from __future__ import annotations

import re
import shutil
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from runtime.record.apis import WhichAPI
from runtime.testing import FakeAPIServer
from tests.runtime.record.record_support import Bench
from tests.runtime.testing.kubectl.kubectl_helpers import Kubectl

pytestmark = pytest.mark.kubectl


@pytest.mark.parametrize("api", ["core", "events"])
def test_kubectl_shows_a_repeated_event_with_its_count(server: FakeAPIServer, tmp_path: Path, api: WhichAPI) -> None:
    binary = shutil.which("kubectl")
    if binary is None:
        pytest.skip("no kubectl on this machine")
    bench = Bench(server, api, start=datetime.now(UTC) - timedelta(minutes=5))
    for _ in range(5):
        bench.say()
    bench.say("it is new", "Changed", "Warning")
    bench.flush()
    kubectl = Kubectl(binary, tmp_path, server)

    shown = kubectl.run("events", "--for=configmap/a")
    assert re.search(r"\(x5 over .*\) +Normal +Synced +ConfigMap/a +all is well", shown)
    assert re.search(r"\w +Warning +Changed +ConfigMap/a +it is new", shown)

    described = kubectl.run("describe", "configmap", "a")
    assert re.search(r"Normal +Synced +\S+ \(x5 over \S+\) +tester +all is well", described)
    assert re.search(r"Warning +Changed +\S+ +tester +it is new", described)

    table = kubectl.run("get", "events", "-o", "wide")
    assert re.search(r"Normal +Synced +configmap/a +tester.* all is well +\S+ +5 +a\.", table)
