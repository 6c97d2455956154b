"""The parent of all container processes of one local node: a small program of its own.

Why a process and not threads of the operator:

- It has one thread, so fork is safe, and the kernel's parent-death signal (which follows the *thread* that forked)
  means what it says. It adopts orphans (child subreaper), so processes that daemonise are found as well.
- When its control socket ends, because the operator stopped or was killed with -9, it terminates everything and
  exits. When it is killed itself, the kernel kills the containers' main processes, and ``guardian``, its parent, what
  else they have started.
- It reads the containers' output and writes the log files, so a chatty container costs the operator nothing.

Started by :mod:`runtime.testing.nodes.process` with ``python -I -S``, so only the standard library may be imported
here. ``sys.argv[1]`` is the descriptor of a stream socket which carries one JSON object per line in each direction;
further arguments are descriptors (locks) to keep open until it ends.

Requests: ``{"op": "spawn", "id", "argv", "executable", "env", "cwd", "log", "capture", "owner"}`` where ``log`` is a
file for CRI-style log lines, or ``capture`` a number of output bytes to return at the end; ``owner`` names the
container whose end also ends this process. ``{"op": "signal", "id", "signal", "all"}`` signals the main process, or
with ``all`` its whole process group. Answers: ``started`` with ``pid``, ``failed`` with ``error``, ``exited`` with
``code``, ``signal`` and ``output``. Unasked, at the start: ``warning`` with ``text``, for each thing the kernel lacks.
"""

from __future__ import annotations

import contextlib
import json
import os
import selectors
import signal
import socket
import sys
import time
from pathlib import Path

from runtime.testing.nodes import guard, guardian

MARKER = "LOCAL_NODE_RUN"  # in the environment of every process: the node's root and the id of the run
_READ = 65536
_MAX_LINE = 16384  # longer lines are split and marked partial, as CRI logs are
_LOG_BYTES = 10 * 1024 * 1024  # then the log file is rotated; one older file is kept
_END_GRACE = 2.0  # seconds from SIGTERM to SIGKILL when the operator is gone
_SWEEP = 1.0  # seconds between looks for orphans


class _LogFile:
    """One run's output in CRI log lines: ``<RFC3339 time> stdout F <text>``."""

    def __init__(self, path: str) -> None:
        self._path = path
        self._file = open(path, "ab", buffering=0)  # noqa: SIM115  (closed by close)
        self._size = self._file.tell()
        self._rest: dict[str, bytes] = {}

    def feed(self, stream: str, data: bytes) -> None:
        lines = (self._rest.pop(stream, b"") + data).split(b"\n")
        rest = lines.pop()
        out = []
        for line in lines:
            out.extend(self._entries(stream, line, b"F"))
        while len(rest) >= _MAX_LINE:
            out.extend(self._entries(stream, rest[:_MAX_LINE], b"P"))
            rest = rest[_MAX_LINE:]
        if rest:
            self._rest[stream] = rest
        self._write(b"".join(out))

    def close(self) -> None:
        for stream, rest in self._rest.items():
            self._write(b"".join(self._entries(stream, rest, b"F")))
        self._file.close()

    @staticmethod
    def _entries(stream: str, line: bytes, tag: bytes) -> list[bytes]:
        now = time.time_ns()
        stamp = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(now // 1_000_000_000))
        head = b"%s.%09dZ %s " % (stamp.encode(), now % 1_000_000_000, stream.encode())
        entries = []
        while len(line) > _MAX_LINE:
            entries.append(head + b"P " + line[:_MAX_LINE] + b"\n")
            line = line[_MAX_LINE:]
        entries.append(head + tag + b" " + line + b"\n")
        return entries

    def _write(self, data: bytes) -> None:
        if not data:
            return
        try:
            if self._size > _LOG_BYTES:
                self._file.close()
                os.replace(self._path, self._path + ".1")
                self._file = open(self._path, "ab", buffering=0)  # noqa: SIM115
                self._size = 0
            self._file.write(data)
        except OSError as error:  # a full disk must not stop the containers
            print(f"supervisor: log {self._path}: {error}", file=sys.stderr)  # noqa: T201
        self._size += len(data)


class _Run:
    """One started process."""

    def __init__(self, run_id: str, pid: int, owner: str | None, log: _LogFile | None, capture: int) -> None:
        self.id, self.pid, self.owner, self.log, self.capture = run_id, pid, owner, log, capture
        self.output = b""
        self.pipes: dict[int, str] = {}

    def feed(self, stream: str, data: bytes) -> None:
        if self.log is not None:
            self.log.feed(stream, data)
        elif len(self.output) < self.capture:
            self.output = (self.output + data)[: self.capture]


class _Supervisor:
    def __init__(self, control: socket.socket) -> None:
        self._control = control
        self._selector = selectors.DefaultSelector()
        self._runs: dict[str, _Run] = {}
        self._by_pid: dict[int, _Run] = {}
        self._inbox = b""
        self._ending = False
        self._swept_at = 0.0
        self._wake_read, self._wake_write = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)

    def serve(self) -> None:
        signal.signal(signal.SIGCHLD, lambda *_: None)
        signal.signal(signal.SIGTERM, self._on_term)
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        signal.set_wakeup_fd(self._wake_write, warn_on_full_buffer=False)
        self._selector.register(self._control, selectors.EVENT_READ, "control")
        self._selector.register(self._wake_read, selectors.EVENT_READ, "wake")
        for text in guard.shortcomings():
            self._answer(event="warning", text=text)
        while not self._ending:
            self._turn(_SWEEP)
        self._end_all()

    def _on_term(self, *_: object) -> None:
        self._ending = True

    def _turn(self, timeout: float) -> None:
        ready = self._selector.select(timeout)
        ended = time.monotonic() > self._swept_at + _SWEEP  # now and then, to be sure
        for key, _ in ready:
            if key.data == "control":
                self._read_control()
            elif key.data == "wake":
                ended = True
                with contextlib.suppress(BlockingIOError):
                    os.read(self._wake_read, 4096)
            elif key.fd in self._selector.get_map():  # not closed by an earlier event of this round
                self._read_pipe(key.fd, *key.data)
        if ended:
            self._reap()
            self._sweep()

    # -- requests

    def _read_control(self) -> None:
        try:
            data = self._control.recv(_READ)
        except OSError:
            data = b""
        if not data:
            self._ending = True
            return
        lines = (self._inbox + data).split(b"\n")
        self._inbox = lines.pop()
        for line in lines:
            request = json.loads(line)
            if request["op"] == "spawn":
                self._spawn(request)
            else:
                self._signal(request)

    def _answer(self, **answer: object) -> None:
        try:
            self._control.sendall(json.dumps(answer).encode() + b"\n")
        except OSError:
            self._ending = True

    def _signal(self, request: dict[str, object]) -> None:
        run = self._runs.get(str(request["id"]))
        if run is None:
            return  # it has just ended
        number = int(str(request["signal"]))
        with contextlib.suppress(ProcessLookupError, PermissionError):
            if request.get("all"):
                os.killpg(run.pid, number)
            else:
                os.kill(run.pid, number)

    def _spawn(self, request: dict[str, object]) -> None:
        run_id = str(request["id"])
        try:
            self._start(run_id, request)
        except OSError as error:
            self._answer(event="failed", id=run_id, error=str(error))

    def _start(self, run_id: str, request: dict[str, object]) -> None:
        log = _LogFile(str(request["log"])) if request.get("log") else None
        out_read, out_write = os.pipe2(os.O_CLOEXEC)
        # Captured output is one stream, in the order it was written; logs tell the two apart.
        err_read, err_write = os.pipe2(os.O_CLOEXEC) if log else (out_read, out_write)
        fail_read, fail_write = os.pipe2(os.O_CLOEXEC)
        parent = os.getpid()
        pid = os.fork()
        if pid == 0:
            _become(request, parent, out_write, err_write, fail_write)
        for fd in {out_write, err_write, fail_write}:
            os.close(fd)
        failure = _read_all(fail_read)
        os.close(fail_read)
        if failure:
            os.waitpid(pid, 0)
            for fd in {out_read, err_read}:
                os.close(fd)
            if log is not None:
                log.close()
            self._answer(event="failed", id=run_id, error=failure.decode(errors="replace"))
            return
        owner = request.get("owner")
        run = _Run(run_id, pid, str(owner) if owner else None, log, int(str(request.get("capture") or 0)))
        self._runs[run_id] = self._by_pid[pid] = run
        for fd, stream in {err_read: "stderr", out_read: "stdout"}.items():
            os.set_blocking(fd, False)
            run.pipes[fd] = stream
            self._selector.register(fd, selectors.EVENT_READ, (run, stream))
        self._answer(event="started", id=run_id, pid=pid)

    # -- output and ends

    def _read_pipe(self, fd: int, run: _Run, stream: str) -> bool:
        """Reads once; False when there is nothing (more) to read."""
        try:
            data = os.read(fd, _READ)
        except BlockingIOError:
            return False
        if data:
            run.feed(stream, data)
            return True
        self._close_pipe(fd, run)
        return False

    def _close_pipe(self, fd: int, run: _Run) -> None:
        if run.pipes.pop(fd, None) is not None:
            self._selector.unregister(fd)
            os.close(fd)

    def _reap(self) -> None:
        while True:
            try:
                ended = os.waitid(os.P_ALL, 0, os.WEXITED | os.WNOHANG | os.WNOWAIT)
            except ChildProcessError:
                return
            if ended is None:
                return
            run = self._by_pid.pop(ended.si_pid, None)
            if run is not None:
                # While the zombie holds its number, its group cannot be anybody else's.
                with contextlib.suppress(ProcessLookupError, PermissionError):
                    os.killpg(run.pid, signal.SIGKILL)
            _, status = os.waitpid(ended.si_pid, 0)
            if run is not None:
                self._finish(run, status)

    def _finish(self, run: _Run, status: int) -> None:
        del self._runs[run.id]
        for other in list(self._runs.values()):
            if other.owner == run.id:
                with contextlib.suppress(ProcessLookupError):
                    os.killpg(other.pid, signal.SIGKILL)
        for fd, stream in list(run.pipes.items()):
            while self._read_pipe(fd, run, stream):
                pass
            self._close_pipe(fd, run)
        if run.log is not None:
            run.log.close()
        by_signal = os.WTERMSIG(status) if os.WIFSIGNALED(status) else 0
        code = 128 + by_signal if by_signal else os.WEXITSTATUS(status)
        output = run.output.decode(errors="replace")
        self._answer(event="exited", id=run.id, code=code, signal=by_signal, output=output)

    def _sweep(self) -> None:
        """Kill adopted orphans whose container has ended; those of a live container may go on.

        An orphan that has left its container's session and thrown its environment away belongs to nobody we know.
        """
        self._swept_at = time.monotonic()
        for pid in guardian.children() - self._by_pid.keys():
            with contextlib.suppress(ProcessLookupError, PermissionError):
                if os.getsid(pid) not in self._by_pid and _run_of(pid) not in self._runs:
                    os.kill(pid, signal.SIGKILL)

    def _end_all(self) -> None:
        for run in self._runs.values():
            with contextlib.suppress(ProcessLookupError):
                os.killpg(run.pid, signal.SIGTERM)
        with contextlib.suppress(KeyError, ValueError):
            self._selector.unregister(self._control)
        deadline = time.monotonic() + _END_GRACE
        while self._by_pid and time.monotonic() < deadline:
            self._turn(0.05)
        for run in self._runs.values():
            with contextlib.suppress(ProcessLookupError):
                os.killpg(run.pid, signal.SIGKILL)
        while self._by_pid or guardian.children():
            self._turn(0.02)


def _become(request: dict[str, object], parent: int, out: int, err: int, fail: int) -> None:
    """In the forked child: turn into the requested program. Never returns."""
    try:
        os.setsid()
        with contextlib.suppress(OSError):  # told at the start
            guard.die_with_parent(signal.SIGKILL)
        if os.getppid() != parent:
            os._exit(127)
        signal.set_wakeup_fd(-1)
        for number in (signal.SIGCHLD, signal.SIGTERM, signal.SIGINT, signal.SIGPIPE, signal.SIGXFSZ):
            signal.signal(number, signal.SIG_DFL)
        null = os.open(os.devnull, os.O_RDONLY)
        os.dup2(null, 0)
        os.dup2(out, 1)
        os.dup2(err, 2)
        os.chdir(str(request["cwd"]))
        guard.protect_init()
        argv, env = request["argv"], request["env"]
        assert isinstance(argv, list)
        assert isinstance(env, dict)
        os.execve(str(request["executable"]), argv, env)  # noqa: S606  (this is what it is for)
    except BaseException as error:
        with contextlib.suppress(OSError):
            os.write(fail, str(error).encode()[:4096])
    finally:
        os._exit(127)


def _read_all(fd: int) -> bytes:
    data = b""
    while chunk := os.read(fd, 4096):
        data += chunk
    return data


def _run_of(pid: int) -> str | None:
    """The run a process belongs to, told by the marker in its environment."""
    try:
        environ = Path(f"/proc/{pid}/environ").read_bytes()
    except OSError:
        return None
    for entry in environ.split(b"\0"):
        if entry.startswith(MARKER.encode() + b"="):
            return entry.rsplit(b"#", 1)[-1].decode(errors="replace")
    return None


def main() -> None:
    for fd in sys.argv[1:]:
        os.set_inheritable(int(fd), False)  # a container that held them would outlive its supervisor unnoticed
    control = int(sys.argv[1])
    with contextlib.suppress(OSError):  # told by the supervisor
        guard.become_subreaper()
    parent = os.getpid()
    pid = os.fork()
    if pid != 0:
        guardian.watch(pid, control)
        return
    with contextlib.suppress(OSError):
        guard.become_subreaper()
        guard.die_with_parent(signal.SIGTERM)
    if os.getppid() == parent:
        _Supervisor(socket.socket(fileno=control)).serve()


if __name__ == "__main__":
    main()
