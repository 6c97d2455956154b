"""Container processes as the node sees them: start, signal, wait, all through the supervisor process."""

from __future__ import annotations

import contextlib
import fcntl
import itertools
import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from runtime.logging import get_logger
from runtime.testing.nodes.supervisor import MARKER
from runtime.types import JSONObject

_log = get_logger("runtime.testing.nodes")
_START_TIMEOUT = 20.0  # seconds from a request to the kernel having started the program, or refused to
_STOP_TIMEOUT = 10.0  # seconds for the supervisor to end everything; its guardian loses patience before
_LEFTOVERS_TIMEOUT = 5.0  # seconds for killed processes to be gone; some wait for a disk
_LOCK_TIMEOUT = 15.0  # seconds to wait for the processes of a predecessor on the same folder to end


class StartError(Exception):
    """A program could not be started; the message says which and why."""


class NodeInUse(Exception):
    """Another local node, or what is left of one, still uses the folder."""


@dataclass(frozen=True, slots=True)
class Exit:
    """How a process ended: its exit code (128+n after signal n), that signal or 0, captured output."""

    code: int
    signal: int = 0
    output: str = ""
    message: str = ""  # set when the end was not seen


@dataclass(frozen=True, slots=True)
class Program:
    """What to start.

    :param executable: absolute path; ``argv[0]`` may differ.
    :param log: file for the output as CRI log lines; ``None``: keep up to ``capture`` bytes of it for :class:`Exit`.
    :param owner: id of the process whose end also ends this one (an exec in a container).
    """

    executable: str
    argv: Sequence[str]
    env: Mapping[str, str]
    cwd: str
    log: Path | None = None
    capture: int = 0
    owner: str | None = None


@dataclass(eq=False)
class Process:
    """A started process. Safe to use from any thread."""

    id: str
    pid: int
    _send: Callable[[JSONObject], None] = field(repr=False)
    _ended: threading.Event = field(default_factory=threading.Event, repr=False)
    _exit: Exit | None = None

    @property
    def exit(self) -> Exit | None:
        """How it ended; ``None`` while it runs."""
        return self._exit

    def wait(self, timeout: float | None = None) -> Exit | None:
        """The end, or ``None`` if it has not come within ``timeout`` seconds of real time."""
        self._ended.wait(timeout)
        return self._exit

    def signal(self, number: int, *, everything: bool = False) -> None:
        """Signal the main process, or with ``everything`` its whole process group. Nothing happens after its end."""
        self._send({"op": "signal", "id": self.id, "signal": int(number), "all": everything})

    def kill(self) -> None:
        self.signal(signal.SIGKILL, everything=True)


@dataclass(eq=False)
class _Pending:
    """A spawn whose answer has not come yet, and later the process with its exit callback."""

    on_exit: Callable[[Exit], None] | None
    answered: threading.Event = field(default_factory=threading.Event)
    process: Process | None = None
    error: str = ""
    abandoned: bool = False  # nobody waits for it any more: if it starts after all, it is killed


class ProcessHost:
    """The processes of one local node, below ``root``.

    ``start`` takes the folder's lock and ends what a killed predecessor may have left; ``stop`` ends every process
    that still runs (SIGTERM, two seconds, SIGKILL). The same happens when this process dies, whatever kills it.
    """

    def __init__(self, root: Path, *, keep_fds: Sequence[int] = ()) -> None:
        """:param keep_fds: descriptors (locks) that the supervisor shall hold until the last process has ended."""
        self._root = root
        self._keep_fds = tuple(keep_fds)
        self._ids = (f"{os.getpid():x}-{time.time_ns():x}-{n}" for n in itertools.count(1))
        self._sending = threading.Lock()  # guards writes to _control; never taken by the reader, who must go on reading
        self._lock = threading.Lock()  # guards what follows
        self._runs: dict[str, _Pending] = {}
        self._supervisor: subprocess.Popen[bytes] | None = None
        self._control: socket.socket | None = None
        self._reader: threading.Thread | None = None
        self._lock_file: int | None = None
        self._stopped = True

    def start(self) -> None:
        """:raises NodeInUse: the folder's lock is held by another node for longer than 15 s."""
        self._root.mkdir(parents=True, exist_ok=True)
        self._lock_file = _take_lock(self._root / "lock")
        kill_leftovers(self._root)
        with self._lock:
            self._stopped = False
            self._launch()

    def stop(self) -> None:
        with self._lock:
            self._stopped = True
            control, supervisor, reader = self._control, self._supervisor, self._reader
        if control is not None:
            with contextlib.suppress(OSError):
                control.shutdown(socket.SHUT_WR)
        if supervisor is not None:
            try:
                supervisor.wait(_STOP_TIMEOUT)
            except subprocess.TimeoutExpired:
                with contextlib.suppress(ProcessLookupError):
                    os.killpg(supervisor.pid, signal.SIGKILL)  # the guardian and the supervisor
                supervisor.wait()
        if reader is not None:
            reader.join()
        if control is not None:
            control.close()
        kill_leftovers(self._root)
        if self._lock_file is not None:
            os.close(self._lock_file)
            self._lock_file = None

    @property
    def root_pid(self) -> int | None:
        """The process that all others descend from."""
        supervisor = self._supervisor
        return supervisor.pid if supervisor is not None else None

    def spawn(self, program: Program, on_exit: Callable[[Exit], None] | None = None) -> Process:
        """Start a program; returns once it runs.

        :param on_exit: called once, from the reader's thread, after its end. Must not block.
        :raises StartError: the program cannot be run, or the node is stopping.
        """
        run_id = next(self._ids)
        pending = _Pending(on_exit)
        env = {**program.env, MARKER: f"{self._root}#{run_id}"}
        request: JSONObject = {
            "op": "spawn",
            "id": run_id,
            "executable": program.executable,
            "argv": list(program.argv),
            "env": env,
            "cwd": program.cwd,
            "log": str(program.log) if program.log else None,
            "capture": program.capture,
            "owner": program.owner,
        }
        with self._lock:
            if self._stopped:
                raise StartError(f"cannot start {program.executable}: the node is stopping")
            if self._control is None:
                self._launch()
            self._runs[run_id] = pending
        self._send(request)
        if not pending.answered.wait(_START_TIMEOUT):
            pending.abandoned = True
            raise StartError(f"cannot start {program.executable}: no answer from the supervisor process")
        if pending.process is None:
            raise StartError(f"cannot start {program.executable}: {pending.error}")
        return pending.process

    def run(self, program: Program, timeout: float) -> Exit:
        """Run to the end; after ``timeout`` seconds it is killed.

        :raises StartError: it cannot be run.
        :raises TimeoutError: it was killed.
        """
        process = self.spawn(program)
        ended = process.wait(timeout)
        if ended is None:
            process.kill()
            process.wait()
            raise TimeoutError(f"command {program.argv[0]!r} timed out after {timeout:g}s")
        return ended

    def _launch(self) -> None:
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_STREAM)
        tree = Path(__file__).resolve().parents[3]
        code = f"import sys; sys.path.append({str(tree)!r}); from runtime.testing.nodes.supervisor import main; main()"
        keep = [fd for fd in (self._lock_file, *self._keep_fds) if fd is not None]
        with theirs, (self._root / "supervisor.log").open("ab") as errors:
            self._supervisor = subprocess.Popen(
                [sys.executable, "-I", "-S", "-c", code, *map(str, (theirs.fileno(), *keep))],
                stdin=subprocess.DEVNULL,
                stdout=errors,
                stderr=errors,
                pass_fds=[theirs.fileno(), *keep],
                start_new_session=True,  # Ctrl-C in the terminal is for the operator
            )
        self._control = ours
        self._reader = threading.Thread(
            target=self._read, args=(ours, self._supervisor), name="local-node-processes", daemon=True
        )
        self._reader.start()

    def _send(self, request: JSONObject) -> None:
        data = json.dumps(request).encode() + b"\n"
        with self._lock:
            control = self._control
        if control is not None:
            with self._sending, contextlib.suppress(OSError):  # the reader reports the end of the supervisor
                control.sendall(data)

    def _read(self, control: socket.socket, supervisor: subprocess.Popen[bytes]) -> None:
        rest = b""
        while True:
            try:
                data = control.recv(65536)
            except OSError:
                data = b""
            if not data:
                break
            *lines, rest = (rest + data).split(b"\n")
            for line in lines:
                self._dispatch(json.loads(line))
        self._supervisor_ended(control, supervisor)

    def _dispatch(self, answer: JSONObject) -> None:
        if answer["event"] == "warning":
            _log.warning("this machine cannot do all that local nodes need", lacks=answer["text"])
            return
        with self._lock:
            pending = self._runs.get(answer["id"])
            if answer["event"] != "started":
                self._runs.pop(answer["id"], None)
        if pending is None:
            return
        if answer["event"] == "started":
            pending.process = Process(answer["id"], answer["pid"], self._send)
            pending.answered.set()
            if pending.abandoned:
                pending.process.kill()
        elif answer["event"] == "failed":
            pending.error = answer["error"]
            pending.answered.set()
        else:
            _finish(pending, Exit(answer["code"], answer["signal"], answer["output"]))

    def _supervisor_ended(self, control: socket.socket, supervisor: subprocess.Popen[bytes]) -> None:
        """Whatever ran under it has been killed: report that, and let the next spawn start a new one."""
        supervisor.wait()
        with self._lock:
            if not self._stopped:
                kill_leftovers(self._root)  # there are some if the guardian was killed as well
            lost, self._runs = self._runs, {}
            if self._control is control:
                self._control = None
        if not self._stopped:
            control.close()
        for pending in lost.values():
            pending.error = "the supervisor process ended"
            _finish(pending, Exit(137, signal.SIGKILL, message="the supervisor process was killed"))


def _finish(pending: _Pending, ended: Exit) -> None:
    process = pending.process
    if process is not None:
        process._exit = ended
        process._ended.set()
    pending.answered.set()
    if process is not None and pending.on_exit is not None:
        pending.on_exit(ended)


def _take_lock(path: Path) -> int:
    fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    deadline = time.monotonic() + _LOCK_TIMEOUT
    while True:
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return fd
        except BlockingIOError:
            if time.monotonic() > deadline:
                os.close(fd)
                raise NodeInUse(
                    f"{path.parent} is in use by another local node: stop it, or give this one a folder of its own"
                ) from None
            time.sleep(0.02)


def kill_leftovers(root: Path) -> list[int]:
    """Kill processes that a node on ``root`` started and nobody supervises any more; returns their numbers.

    They are told by the marker in their environment, so a number that was given to another process since is safe.
    """
    killed: list[int] = []
    deadline = time.monotonic() + _LEFTOVERS_TIMEOUT
    while found := _kill_marked(f"{MARKER}={root}#".encode()):  # again: one may have started another meanwhile
        killed += [pid for pid in found if pid not in killed]
        if time.monotonic() > deadline:
            _log.warning("processes of an earlier local node do not end", pids=found, root=str(root))
            break
        time.sleep(0.01)
    return killed


def _kill_marked(marker: bytes) -> list[int]:
    killed = []
    for entry in Path("/proc").iterdir():
        if not entry.name.isdigit() or int(entry.name) == os.getpid():
            continue
        pid = int(entry.name)
        with contextlib.suppress(OSError), _handle(pid) as send:  # another user's, or just ended
            environ = (entry / "environ").read_bytes()  # empty for a zombie
            if environ.startswith(marker) or b"\0" + marker in environ:
                send(signal.SIGKILL)
                killed.append(pid)
    return killed


@contextlib.contextmanager
def _handle(pid: int) -> Iterator[Callable[[int], None]]:
    """A way to signal the process that has this number now, and no later one of the same number.

    Kernels before 5.3, and some sandboxes, have no pidfd: then the number has to do.
    """
    try:
        handle = os.pidfd_open(pid)
    except (OSError, AttributeError) as error:
        if isinstance(error, ProcessLookupError):
            raise
        yield lambda number: os.kill(pid, number)
        return
    try:
        yield lambda number: signal.pidfd_send_signal(handle, number)
    finally:
        os.close(handle)
