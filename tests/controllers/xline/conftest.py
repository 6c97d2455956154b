from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from runtime.testing.localcluster import LocalCluster
from runtime.testing.nodes.controllers import ADVANCED_STATEFULSET_CRD
from tests.controllers.xline.xline_local import Local
from tests.controllers.xline.xline_world import CRDS, World
from tests.controllers.xline.xline_world import world as new_world


@pytest.fixture
def world() -> Iterator[World]:
    """An API server with our CRDs, without an operator."""
    with new_world() as here:
        yield here


@contextmanager
def _local(root: Path, *manifests: Path) -> Iterator[Local]:
    with LocalCluster(root, manifests=[CRDS, *manifests]) as cluster:
        here = Local(cluster)
        try:
            yield here
        finally:
            here.stop_operators()
            here.client.close()


@pytest.fixture
def local(tmp_path: Path) -> Iterator[Local]:
    """A local node, without an operator."""
    with _local(tmp_path) as here:
        yield here


@pytest.fixture
def local_kruise(tmp_path: Path) -> Iterator[Local]:
    """The same with AdvancedStatefulSets."""
    with _local(tmp_path, ADVANCED_STATEFULSET_CRD) as here:
        yield here
