"""The examples of docs/observing.md run as they stand, and its names exist."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from runtime.logging import reset
from runtime.manager import Manager
from runtime.testing import FakeAPIServer
from tests.support.managers import ON, eventually, http, running

PAGE = (Path(__file__).resolve().parents[3] / "docs" / "observing.md").read_text()
HEALTH, LOGS = re.findall(r"```python\n(.+?)```", PAGE, re.DOTALL)


def test_the_checks_of_the_example_are_served() -> None:
    with FakeAPIServer() as server:
        program = HEALTH.replace("http://127.0.0.1:8001", server.url)
        assert server.url in program
        program = program.replace("max_cache_age=300", f"max_cache_age=300, **{ON!r}")
        names: dict[str, Manager] = {}
        exec(compile(program, "observing.md", "exec"), names)
        with running(names["mgr"]):
            address = eventually(lambda: names["mgr"].health_address)
            text = eventually(lambda: _passed(http(address, "/readyz?verbose")))
            assert "[+]database ok\n    12 connections\n" in text
            told = set(re.findall(r"^\[\+\](\S+) ok", text, re.MULTILINE))
            documented = set(re.findall(r"`([\w-]+)`", re.search(r"^\| `/readyz` \|(.+?)\|", PAGE, re.MULTILINE)[1]))  # type: ignore[index]
            assert told - {"ping", "config", "database"} == documented - {"max_cache_age"}


def _passed(answer: tuple[int, str]) -> str:
    return answer[1] if answer[0] == 200 else ""


def test_the_example_of_logs_writes_a_line(capsys: pytest.CaptureFixture[str]) -> None:
    try:
        exec(compile(LOGS, "observing.md", "exec"), {})
    finally:
        reset()
    assert '"shard":3,"objects":17,"event":"ready"' in capsys.readouterr().err
