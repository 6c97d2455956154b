"""Health and readiness: named checks, and the text that ``/healthz`` and ``/readyz`` answer (H7)."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Mapping
from typing import NamedTuple, TypeAlias

__all__ = ["Check", "CheckResult", "CheckResults", "HealthChecks"]

Check: TypeAlias = Callable[[], object]


class CheckResult(NamedTuple):
    """What a check said.

    :ivar failure: why it fails; None: it passes.
    :ivar details: lines for people, of a check that passes.
    """

    failure: str | None
    details: tuple[str, ...] = ()


CheckResults: TypeAlias = Mapping[str, CheckResult]
"""By the name of the check."""


class HealthChecks:
    """Named checks. A check fails by raising, or by returning False; its text is the exception's.

    A check that returns text passes, and the text is shown with its name, indented, where checks are listed.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()  # guards _checks
        self._checks: dict[str, Check] = {"ping": lambda: True}

    def add(self, name: str, check: Check) -> None:
        """:raises ValueError: the name is taken or cannot be a path segment."""
        if not name or "/" in name:
            raise ValueError(f"health check {name!r}: a name must not be empty or hold a slash")
        with self._lock:
            if name in self._checks:
                raise ValueError(f"health check {name!r} exists already: names are unique")
            self._checks[name] = check

    def names(self) -> list[str]:
        with self._lock:
            return list(self._checks)

    def run(self, only: str | None = None, exclude: Iterable[str] = ()) -> CheckResults:
        """Run the checks, in the order they were added.

        :raises KeyError: there is no check ``only``.
        """
        with self._lock:
            checks = dict(self._checks)
        if only is not None:
            checks = {only: checks[only]}
        left_out = set(exclude)
        return {name: _result(check) for name, check in checks.items() if name not in left_out}


def _result(check: Check) -> CheckResult:
    try:
        said = check()
    except Exception as error:
        return CheckResult(str(error) or repr(error))
    if said is False:
        return CheckResult("check returned False")
    return CheckResult(None, tuple(said.splitlines()) if isinstance(said, str) else ())


def render(kind: str, results: CheckResults, *, verbose: bool) -> tuple[int, str]:
    """HTTP status and text: ``ok``, or a line per check if one fails or ``verbose`` is asked for.

    QUIRK (H7): controller-runtime withholds the reasons; whoever has to act on a failing check needs them.
    """
    failed = [name for name, result in results.items() if result.failure is not None]
    if not failed and not verbose:
        return 200, "ok"
    lines: list[str] = []
    for name, result in results.items():
        lines.append(f"[+]{name} ok" if result.failure is None else f"[-]{name} failed: {result.failure}")
        lines += [f"    {line}" for line in result.details]
    lines.append(f"{kind} check {'failed' if failed else 'passed'}")
    return (500 if failed else 200), "\n".join(lines) + "\n"
