from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from runtime.testing.localcluster import LocalCluster
from tests.controllers.xline.xline_local import Local
from tests.controllers.xline.xline_world import CRDS, World
from tests.controllers.xline.xline_world import world as new_world


@pytest.fixture
def world() -> Iterator[World]:
    """An API server with our CRDs, without an operator."""
    with new_world() as here:
        yield here


@pytest.fixture
def local(tmp_path: Path) -> Iterator[Local]:
    """A local node, without an operator."""
    with LocalCluster(tmp_path, manifests=[CRDS]) as cluster:
        here = Local(cluster)
        try:
            yield here
        finally:
            here.stop_operators()
            here.client.close()
