"""Where the threads of this process spend their time: samples of their stacks, as py-spy takes them from outside.

cProfile would slow down calls more than what they do, and sees one thread (up to Python 3.11) or mixes them up (after
it). A C function shows as the line that calls it.
"""

from __future__ import annotations

import sys
import threading
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType

_INTERVAL = 0.001  # seconds
_LINES = 45
_IDLE = ("threading.py", "selectors.py")  # innermost frames of threads that wait


@contextmanager
def profiled(path: Path) -> Iterator[None]:
    """Sample all threads but the sampler, and write to ``path`` which lines and functions were met how often; beside
    it (``.folded``) the stacks, for flame graphs."""
    stacks: Counter[tuple[str, ...]] = Counter()
    stop = threading.Event()
    sampler = threading.Thread(target=_sample, args=(stacks, stop), name="sampler", daemon=True)
    interval = sys.getswitchinterval()
    sys.setswitchinterval(_INTERVAL / 4)  # else the sampler waits for the interpreter longer than its interval
    sampler.start()
    try:
        yield
    finally:
        stop.set()
        sampler.join()
        sys.setswitchinterval(interval)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(report(stacks))
        path.with_suffix(".folded").write_text("".join(f"{';'.join(s)} {n}\n" for s, n in sorted(stacks.items())))


def report(stacks: Counter[tuple[str, ...]]) -> str:
    """Tables of the lines met innermost, and of the functions met anywhere."""
    total = max(1, stacks.total())
    lines: Counter[str] = Counter()
    functions: Counter[str] = Counter()
    for stack, times in stacks.items():
        lines[stack[-1]] += times
        for function in {entry.rpartition(":")[0] for entry in stack}:
            functions[function] += times
    return (
        f"{stacks.total()} samples of running threads, {_INTERVAL * 1e3:g} ms apart\n\n"
        f"innermost lines\n{_ranking(lines, total)}\nfunctions, with what they call\n{_ranking(functions, total)}"
    )


def _ranking(counts: Counter[str], total: int) -> str:
    return "".join(f"{times / total:7.1%}  {what}\n" for what, times in counts.most_common(_LINES))


def _sample(stacks: Counter[tuple[str, ...]], stop: threading.Event) -> None:
    me = threading.get_ident()
    while not stop.is_set():
        for thread, frame in sys._current_frames().items():
            if thread != me and not _waits(frame):
                stacks[_stack(frame)] += 1
        time.sleep(_INTERVAL)


def _waits(frame: FrameType) -> bool:
    return frame.f_code.co_filename.endswith(_IDLE)


def _stack(frame: FrameType | None) -> tuple[str, ...]:
    """``package/module.py function:line``, outermost first."""
    entries = []
    while frame is not None:
        code = frame.f_code
        module = "/".join(Path(code.co_filename).parts[-2:])
        entries.append(f"{module} {code.co_name}:{frame.f_lineno}")
        frame = frame.f_back
    return tuple(reversed(entries))
