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


TOKEN, LIMITED = "golden-token", "limited-token"


@pytest.mark.parametrize("scenario", list(_scenarios()))
def test_golden(scenario: Any, tmp_path: Path) -> None:
    """As they were recorded: with RBAC, an administrator, and somebody without rights."""
    assert REPLAY is not None
    missing = REPLAY.missing_needs(scenario, TOKEN, LIMITED, ["compacted"])
    if missing:
        pytest.skip(f"needs {', '.join(missing)}")
    tokens = tmp_path / "tokens.csv"
    tokens.write_text(f"{TOKEN},admin,1,system:masters\n{LIMITED},limited,2\n")
    with FakeAPIServer(token_auth_file=tokens, authorization_mode="RBAC", future_version_wait=0.0) as server:
        if "compacted" in scenario.get("needs", []):
            server.compact()
        assert REPLAY.check(scenario, server.url, token=TOKEN, limited_token=LIMITED) == []
