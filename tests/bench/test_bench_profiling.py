"""A profile names what was running."""

from __future__ import annotations

import threading
from collections import Counter
from pathlib import Path

from bench.profiling import profiled, report


def test_a_profile_names_lines_and_functions() -> None:
    stacks = Counter({("a.py main:1", "b.py work:7"): 300_000, ("a.py main:2",): 100_000})
    text = report(stacks)
    assert text.startswith("0.40 s of CPU time")
    lines, functions = text.split("functions, with what they call")
    assert "  75.0%  b.py work:7\n" in lines
    assert "  25.0%  a.py main:2\n" in lines
    assert " 100.0%  a.py main\n" in functions
    assert "  75.0%  b.py work\n" in functions


def test_all_threads_are_sampled_but_those_that_wait(tmp_path: Path) -> None:
    seen, done = threading.Event(), threading.Event()
    path = tmp_path / "profiles" / "busy.txt"

    def spin_here() -> None:
        while not done.is_set():
            sum(range(100))
            seen.set()

    def wait_here() -> None:
        done.wait()

    def profile_until_sampled() -> None:
        with profiled(path):
            threading.Event().wait(0.05)

    threads = [threading.Thread(target=spin_here), threading.Thread(target=wait_here)]
    for thread in threads:
        thread.start()
    seen.wait()
    for _ in range(100):  # a starved sampler may have seen nothing
        profile_until_sampled()
        if "spin_here" in path.read_text():
            break
    done.set()
    for thread in threads:
        thread.join()
    text = path.read_text()
    assert "spin_here" in text
    assert "wait_here" not in text
    assert "spin_here" in path.with_suffix(".folded").read_text()
