"""Conversations with a real kube-apiserver, played against ours."""

from __future__ import annotations

import importlib.util
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from runtime.testing.apiserver import FakeAPIServer

_PLACES = (Path(__file__).resolve().parents[5] / "shared" / "golden", Path("/work/shared/golden"))
GOLDEN = next((place for place in _PLACES if (place / "replay.py").is_file()), None)

# Scenario -> why it cannot pass yet. A scenario that begins to pass must leave this list.
NOT_YET: dict[str, str] = {}


def _replay() -> ModuleType:
    assert GOLDEN is not None
    spec = importlib.util.spec_from_file_location("golden_replay", GOLDEN / "replay.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules["golden_replay"] = module
    spec.loader.exec_module(module)
    return module


REPLAY = _replay() if GOLDEN is not None else None


def _scenarios() -> Iterator[Any]:
    if REPLAY is None or GOLDEN is None:
        return
    for scenario in REPLAY.scenarios(str(GOLDEN / "scenarios")):
        name = scenario["name"]
        marks = [pytest.mark.xfail(reason=NOT_YET[name], strict=True)] if name in NOT_YET else []
        yield pytest.param(scenario, id=name, marks=marks)


pytestmark = pytest.mark.skipif(REPLAY is None, reason="the golden recordings are not here")


@pytest.fixture
def base_url(request: pytest.FixtureRequest) -> Iterator[str]:
    with FakeAPIServer() as server:
        if "compacted" in request.node.callspec.params["scenario"].get("needs", []):
            server.compact()
        yield server.url


@pytest.mark.parametrize("scenario", list(_scenarios()))
def test_golden(scenario: Any, base_url: str) -> None:
    assert REPLAY is not None
    missing = REPLAY.missing_needs(scenario, None, None, ["compacted"])
    if missing:
        pytest.skip(f"needs {', '.join(missing)}")
    assert REPLAY.check(scenario, base_url) == []
