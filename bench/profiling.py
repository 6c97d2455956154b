"""Where the threads of this process spend CPU time: samples of their stacks, as py-spy takes them from outside.

Each sample weighs what the kernel says its thread has run since the one before, so waiting costs nothing. cProfile
would slow down calls more than what they do, and sees one thread (up to Python 3.11) or mixes them up (after it). A C
function shows as the line that calls it.
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


@contextmanager
def profiled(path: Path) -> Iterator[None]:
    """Sample all threads but the sampler, and write to ``path`` which lines and functions took how much; beside it
    (``.folded``) the stacks with their microseconds, for flame graphs."""
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
    """Tables of the innermost lines, and of the functions with what they call.

    :param stacks: what was running -> microseconds.
    """
    total = max(1, stacks.total())
    lines: Counter[str] = Counter()
    functions: Counter[str] = Counter()
    for stack, spent in stacks.items():
        lines[stack[-1]] += spent
        for function in {entry.rpartition(":")[0] for entry in stack}:
            functions[function] += spent
    return (
        f"{stacks.total() / 1e6:.2f} s of CPU time, sampled every {_INTERVAL * 1e3:g} ms\n\n"
        f"innermost lines\n{_ranking(lines, total)}\nfunctions, with what they call\n{_ranking(functions, total)}"
    )


def _ranking(counts: Counter[str], total: int) -> str:
    return "".join(f"{spent / total:7.1%}  {what}\n" for what, spent in counts.most_common(_LINES))


def _sample(stacks: Counter[tuple[str, ...]], stop: threading.Event) -> None:
    ran: dict[int, int] = {}
    while not stop.is_set():
        natives = {thread.ident: thread.native_id for thread in threading.enumerate()}
        for thread, frame in sys._current_frames().items():
            native = natives.get(thread)
            if native is None or thread == threading.get_ident():
                continue
            now = _on_cpu(native)
            spent = now - ran.get(native, now)
            ran[native] = now
            if spent > 0:
                stacks[_stack(frame)] += spent
        time.sleep(_INTERVAL)


def _on_cpu(thread: int) -> int:
    """Microseconds that it has run; 0 if it has ended."""
    try:
        return int(Path(f"/proc/self/task/{thread}/schedstat").read_text().split()[0]) // 1000
    except FileNotFoundError:
        return 0


def _stack(frame: FrameType | None) -> tuple[str, ...]:
    """``package/module.py function:line``, outermost first."""
    entries = []
    while frame is not None:
        code = frame.f_code
        module = "/".join(Path(code.co_filename).parts[-2:])
        entries.append(f"{module} {code.co_name}:{frame.f_lineno}")
        frame = frame.f_back
    return tuple(reversed(entries))
