"""Health and readiness: named checks, and the text that ``/healthz`` and ``/readyz`` answer (H7)."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Collection, Mapping
from typing import Final, NamedTuple, TypeAlias

from runtime.logging import get_logger

__all__ = ["DEFAULT_TIMEOUT", "Check", "CheckResult", "CheckResults", "HealthChecks", "NamedCheck"]

DEFAULT_TIMEOUT: Final = 5.0  # seconds; kubelet waits 1 unless told otherwise, and reads no answer that comes later

Check: TypeAlias = Callable[[], object]

_log = get_logger("runtime.manager")
_now = time.monotonic  # real time: a check that hangs does so in a real thread


class CheckResult(NamedTuple):
    """What a check said.

    :ivar failure: why it fails; None: it passes.
    :ivar details: lines for people, of a check that passes.
    """

    failure: str | None
    details: tuple[str, ...] = ()


CheckResults: TypeAlias = Mapping[str, CheckResult | None]
"""By the name of the check; None: it was left out."""


class NamedCheck:
    """A check that is run in a thread of its own, at most once at a time, and waited for so long and no longer.

    A check fails by raising, or by returning False; its text is the exception's. One that returns text passes, and the
    text is shown with its name, indented, where checks are listed. One that does not return fails, and is not begun
    again until it has; who asks meanwhile is told at once.

    :param timeout: seconds that its answer is waited for.
    :raises ValueError: the name cannot be a path segment, or the timeout is no time.
    """

    def __init__(self, name: str, check: Check, timeout: float = DEFAULT_TIMEOUT) -> None:
        if not name or "/" in name:
            raise ValueError(f"health check {name!r}: a name must not be empty or hold a slash")
        if timeout <= 0:
            raise ValueError(f"health check {name!r}: the timeout must be above 0 seconds, not {timeout}")
        self.name = name
        self.timeout = timeout
        self._check = check
        self._lock = threading.Lock()  # guards _run
        self._run: _Run | None = None

    def begin(self) -> Callable[[], CheckResult]:
        """Run it, or join who runs it already; returns what waits for the result."""
        with self._lock:
            run = self._run
            if run is None or run.ended.is_set():
                run = self._run = _Run(self._check, self.name)
        return lambda: self._result(run)

    def _result(self, run: _Run) -> CheckResult:
        if run.ended.wait(max(0.0, run.began + self.timeout - _now())):
            return run.result
        with self._lock:
            told, run.told = run.told, True
        if not told:
            _log.warning("health check does not answer", check=self.name, timeout=self.timeout)
        return CheckResult(f"did not answer in {self.timeout:g} s")


class _Run:
    """One run of a check."""

    def __init__(self, check: Check, name: str) -> None:
        self.began = _now()
        self.ended = threading.Event()
        self.result = CheckResult("did not end")
        self.told = False
        threading.Thread(target=self._run, args=(check,), name=f"health-check-{name}", daemon=True).start()

    def _run(self, check: Check) -> None:
        try:
            self.result = _result(check)
        finally:  # also after SystemExit
            self.ended.set()


class HealthChecks:
    """Checks under their names. Without any of the user's there is ``ping``, which passes."""

    def __init__(self) -> None:
        self._lock = threading.Lock()  # guards _checks
        self._checks = {"ping": NamedCheck("ping", lambda: True)}

    def add(self, check: NamedCheck) -> None:
        """:raises ValueError: the name is taken."""
        with self._lock:
            if check.name in self._checks:
                raise ValueError(f"health check {check.name!r} exists already: names are unique")
            self._checks[check.name] = check

    def names(self) -> list[str]:
        with self._lock:
            return list(self._checks)

    def run(self, only: str | None = None, exclude: Collection[str] = ()) -> CheckResults:
        """Run the checks, all at the same time; the results are in the order they were added.

        :raises KeyError: there is no check ``only``.
        """
        with self._lock:
            checks = dict(self._checks)
        if only is not None:
            checks = {only: checks[only]}
        begun = {name: None if name in exclude else check.begin() for name, check in checks.items()}
        return {name: None if result is None else result() for name, result in begun.items()}


def _result(check: Check) -> CheckResult:
    try:
        said = check()
    except Exception as error:
        return CheckResult(str(error) or repr(error))
    if said is False:
        return CheckResult("check returned False")
    return CheckResult(None, tuple(said.splitlines()) if isinstance(said, str) else ())


def render(kind: str, results: CheckResults, *, verbose: bool, exclude: Collection[str] = ()) -> tuple[int, str]:
    """HTTP status and text: ``ok``, or a line per check if one fails or ``verbose`` is asked for.

    QUIRK (H7): controller-runtime withholds the reasons; whoever has to act on a failing check needs them.

    :param exclude: what was asked to be left out; what there is none of is told.
    """
    failed = False
    lines: list[str] = []
    for name, result in results.items():
        if result is None:
            lines.append(f"[+]{name} excluded: ok")
            continue
        failed = failed or result.failure is not None
        lines.append(f"[+]{name} ok" if result.failure is None else f"[-]{name} failed: {result.failure}")
        lines += [f"    {line}" for line in result.details]
    if not failed and not verbose:
        return 200, "ok"
    unknown = ", ".join(f'"{name}"' for name in exclude if name not in results)
    if unknown:
        lines.append(f"warn: some health checks cannot be excluded: no matches for {unknown}")
    lines.append(f"{kind} check {'failed' if failed else 'passed'}")
    return (500 if failed else 200), "\n".join(lines) + "\n"
