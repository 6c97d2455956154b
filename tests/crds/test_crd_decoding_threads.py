"""Many threads that decode a type for the first time: in a process of their own, for it may crash."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]

RACE = """
import sys, threading
import msgspec
from crds.decoding import decode

sys.setswitchinterval(1e-6)
WORKERS = 4
for turn in range(150):
    inner = msgspec.defstruct(f"Inner{turn}", [(f"f{i}", int | None, None) for i in range(8)])
    middle = msgspec.defstruct(f"Middle{turn}", [(f"m{i}", list[inner] | None, None) for i in range(8)])
    outer = msgspec.defstruct(f"Outer{turn}", [(f"o{i}", dict[str, middle] | None, None) for i in range(8)])
    start = threading.Barrier(WORKERS)
    wrong = []

    def work():
        start.wait()
        if decode(outer, {"o1": {"k": {"m1": [{"f1": 7}]}}}).o1["k"].m1[0].f1 != 7:
            wrong.append(turn)

    threads = [threading.Thread(target=work) for _ in range(WORKERS)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not wrong
"""


def test_the_first_use_of_a_type_by_many_threads_is_safe() -> None:
    done = subprocess.run([sys.executable, "-c", RACE], cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, f"ended with {done.returncode}\n{done.stderr}"
