"""The example of docs/metrics.md, as it stands there."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

from runtime.testing import FakeAPIServer
from tests.support.scraping import Scrape

ROOT = Path(__file__).resolve().parents[3]

_THEN = """
import urllib.request
factory.wait_for_cache_sync(15)
queue.add("ns/a")
print(urllib.request.urlopen(f"http://127.0.0.1:{server.server_port}/metrics").read().decode())
factory.shutdown()
server.shutdown()
"""


def test_the_example_publishes_all_three() -> None:
    (example,) = re.findall(r"```python\n(.+?)```", (ROOT / "docs" / "metrics.md").read_text(), re.DOTALL)
    with FakeAPIServer() as server:
        program = example.replace("http://127.0.0.1:8001", server.url).replace(
            "prometheus_client.start_http_server(9100)", "server, _ = prometheus_client.start_http_server(0)"
        )
        assert program.count(server.url) == 1
        assert "server, _" in program
        done = subprocess.run(
            [sys.executable, "-c", program + _THEN], cwd=ROOT, capture_output=True, text=True, timeout=60, check=False
        )
    assert done.returncode == 0, done.stderr
    seen = Scrape(done.stdout)
    assert seen.value("runtime_informer_synced", name="my-program", resource="pods") == 1
    assert seen.value("workqueue_adds_total", name="pods", controller="pods") == 1
    assert seen.value("workqueue_depth", name="pods", controller="pods", priority="") == 1
    assert sum(seen.values("rest_client_requests_total", code="200", method="GET")) >= 1
    assert seen.families["python_info"].samples  # it is the program's own registry, with what is in it
