"""The supervisor process: starting, ending, and leaving nothing behind."""

from __future__ import annotations

import errno
import os
import signal
import subprocess
import sys
import textwrap
from collections.abc import Iterator
from pathlib import Path

import pytest

from runtime.testing.nodes import guardian
from runtime.testing.nodes import process as process_module
from runtime.testing.nodes.process import Exit, NodeInUse, ProcessHost, Program, StartError, kill_leftovers
from tests.runtime.testing.nodes.nodes_support import alive, wait_for

ENV = {"PATH": os.environ["PATH"]}


def shell(script: str, **options: object) -> Program:
    return Program("/bin/sh", ["sh", "-c", script], ENV, "/", **options)  # type: ignore[arg-type]


def read_pid(path: Path) -> int:
    return int(wait_for(lambda: path.exists() and path.read_text().strip()))


@pytest.fixture
def host(tmp_path: Path) -> Iterator[ProcessHost]:
    host = ProcessHost(tmp_path)
    host.start()
    yield host
    host.stop()


def test_exit_codes_and_output(host: ProcessHost) -> None:
    assert host.run(shell("echo out; echo err >&2; exit 3", capture=100), 5) == Exit(3, 0, "out\nerr\n")
    assert host.run(shell("kill -9 $$"), 5).code == 137


def test_captured_output_is_bounded(host: ProcessHost) -> None:
    ended = host.run(shell("head -c 100000 /dev/zero | tr '\\0' x", capture=10), 5)
    assert ended.output == "x" * 10


def test_exit_is_reported_once_from_elsewhere(host: ProcessHost) -> None:
    seen: list[Exit] = []
    process = host.spawn(shell("exit 4"), seen.append)
    assert process.wait(5) == Exit(4)
    wait_for(lambda: seen == [Exit(4)])


def test_what_cannot_start_says_why(host: ProcessHost) -> None:
    with pytest.raises(StartError, match="/not/there"):
        host.spawn(Program("/not/there", ["x"], ENV, "/"))
    with pytest.raises(StartError, match="No such file or directory"):
        host.spawn(Program("/bin/sh", ["sh"], ENV, "/no/folder"))


def test_a_command_that_takes_too_long_is_killed(host: ProcessHost) -> None:
    with pytest.raises(TimeoutError, match=r"'sh' timed out after 0\.1s"):
        host.run(shell("sleep 100"), 0.1)


def test_the_environment_is_the_programs_own(host: ProcessHost) -> None:
    output = host.run(Program("/usr/bin/env", ["env"], {"ONLY": "this"}, "/", capture=1000), 5).output
    names = {line.partition("=")[0] for line in output.splitlines()}
    assert names == {"ONLY", "LOCAL_NODE_RUN"}


def test_when_the_main_process_ends_all_of_the_container_ends(host: ProcessHost, tmp_path: Path) -> None:
    script = f"""
        (setsid sh -c 'echo $$ > {tmp_path}/daemon; sleep 1000' &)
        sh -c 'echo $$ > {tmp_path}/child; sleep 1000' &
        while ! test -s {tmp_path}/daemon -a -s {tmp_path}/child; do sleep 0.01; done
    """
    process = host.spawn(shell(script))
    daemon, child = read_pid(tmp_path / "daemon"), read_pid(tmp_path / "child")
    assert process.wait(5) == Exit(0)
    wait_for(lambda: not alive(daemon) and not alive(child))


def test_a_daemon_of_a_running_container_lives(host: ProcessHost, tmp_path: Path) -> None:
    process = host.spawn(shell(f"(setsid sh -c 'echo $$ > {tmp_path}/daemon; sleep 1000' &); sleep 1000"))
    daemon = read_pid(tmp_path / "daemon")
    host.run(shell("true"), 5)  # an end, after which orphans are looked for
    assert alive(daemon)
    process.signal(signal.SIGTERM)
    assert process.wait(5) == Exit(143, 15)
    wait_for(lambda: not alive(daemon))


def test_an_exec_ends_with_its_container(host: ProcessHost) -> None:
    container = host.spawn(shell("sleep 1000"))
    inside = host.spawn(shell("sleep 1000", owner=container.id))
    container.kill()
    assert container.wait(5) == Exit(137, 9)
    assert inside.wait(5) == Exit(137, 9)


def test_nobody_in_a_container_can_signal_process_1_or_everybody(host: ProcessHost) -> None:
    # Signal 0 only asks whether one could.
    ended = host.run(shell("kill -0 1; kill -0 -1; kill -0 $$ && echo own", capture=1000), 5)
    assert ended.output.count("not permitted") == 2
    assert ended.output.endswith("own\n")


def test_stop_ends_everything(tmp_path: Path) -> None:
    host = ProcessHost(tmp_path)
    host.start()
    process = host.spawn(shell("sleep 1000"))
    host.stop()
    assert not alive(process.pid)
    with pytest.raises(StartError, match="stopping"):
        host.spawn(shell("true"))


def test_a_killed_supervisor_takes_its_processes_along_and_is_replaced(host: ProcessHost) -> None:
    process = host.spawn(shell("sleep 1000"))
    parent = int(Path(f"/proc/{process.pid}/stat").read_text().rpartition(")")[2].split()[1])
    os.kill(parent, signal.SIGKILL)
    ended = process.wait(5)
    assert ended is not None
    assert (ended.code, ended.message) == (137, "the supervisor process was killed")
    wait_for(lambda: not alive(process.pid))
    assert host.run(shell("echo again", capture=100), 5).output == "again\n"


def start_operator(root: Path) -> subprocess.Popen[str]:
    """Another Python program that runs containers on ``root``, among them one that resists SIGTERM."""
    program = f"""
        import sys, time
        from pathlib import Path
        from runtime.testing.nodes.process import ProcessHost, Program
        host = ProcessHost(Path({str(root)!r}))
        host.start()
        one = host.spawn(Program("/bin/sh", ["sh", "-c", "sleep 1000"], {{}}, "/"))
        stubborn = "trap '' TERM; while :; do sleep 0.1; done"
        two = host.spawn(Program("/bin/sh", ["sh", "-c", stubborn], {{"PATH": "/bin:/usr/bin"}}, "/"))
        print(one.pid, two.pid, flush=True)
        time.sleep(1000)
    """
    tree = str(Path(__file__).resolve().parents[4])
    return subprocess.Popen(
        [sys.executable, "-c", textwrap.dedent(program)],
        stdout=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONPATH": tree},
    )


def test_kill_9_of_the_operator_leaves_no_process(tmp_path: Path) -> None:
    with start_operator(tmp_path) as operator:
        assert operator.stdout is not None
        pids = [int(pid) for pid in operator.stdout.readline().split()]
        assert all(alive(pid) for pid in pids)
        operator.kill()
        operator.wait()
    wait_for(lambda: not any(alive(pid) for pid in pids))
    # The next one waits for the folder to be free, and finds it clean.
    host = ProcessHost(tmp_path)
    host.start()
    assert kill_leftovers(tmp_path) == []
    host.stop()


def test_a_folder_in_use_is_refused(host: ProcessHost, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(process_module, "_LOCK_TIMEOUT", 0.05)
    with pytest.raises(NodeInUse, match="in use by another local node"):
        ProcessHost(tmp_path).start()


def test_leftovers_are_told_by_their_mark_only(tmp_path: Path) -> None:
    mark = {"LOCAL_NODE_RUN": f"{tmp_path}#1"}
    other = {"LOCAL_NODE_RUN": f"{tmp_path}-other#1"}
    with (
        subprocess.Popen(["sleep", "1000"], env=mark) as ours,
        subprocess.Popen(["sleep", "1000"], env=other) as others,
    ):
        wait_for(lambda: Path(f"/proc/{ours.pid}/environ").read_bytes().startswith(b"LOCAL"))
        assert kill_leftovers(tmp_path) == [ours.pid]
        assert ours.wait(5) == -9
        assert others.poll() is None
        others.kill()


@pytest.mark.parametrize(
    "error", [OSError(errno.ENOSYS, "no such system call"), OSError(errno.EPERM, "a sandbox"), None]
)
def test_leftovers_are_killed_without_pidfd_too(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, error: OSError | None
) -> None:
    if error is None:
        monkeypatch.delattr(os, "pidfd_open")
    else:

        def refuse(pid: int) -> int:
            raise error

        monkeypatch.setattr(os, "pidfd_open", refuse)
    with subprocess.Popen(["sleep", "1000"], env={"LOCAL_NODE_RUN": f"{tmp_path}#1"}) as ours:
        wait_for(lambda: Path(f"/proc/{ours.pid}/environ").read_bytes().startswith(b"LOCAL"))
        try:
            assert kill_leftovers(tmp_path) == [ours.pid]
        finally:
            ours.kill()


def test_children_are_found_without_the_kernels_list() -> None:
    with subprocess.Popen(["sleep", "1000"]) as child:
        assert child.pid in guardian.children()
        assert child.pid in guardian._children_by_parent(os.getpid())
        child.kill()


def test_what_the_machine_lacks_is_told_and_does_not_stop_anybody(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A sandbox that refuses every prctl: containers run, without the protection, and the log says so."""
    tool = tmp_path / "python"
    tool.write_text(f'#!/bin/sh\nexec {sys.executable} {tmp_path / "refuse.py"} "$@"\n')
    tool.chmod(0o755)
    (tmp_path / "refuse.py").write_text(
        textwrap.dedent(
            """
            import sys
            code, arguments = sys.argv[4], sys.argv[5:]  # python -I -S -c CODE ...
            assert sys.argv[1:4] == ["-I", "-S", "-c"]
            sys.argv = ["-c", *arguments]
            exec(code.removesuffix("main()"))
            from runtime.testing.nodes import guard
            def refuse(*_):
                raise OSError(1, "Operation not permitted")
            guard._prctl = refuse
            main()
            """
        )
    )
    monkeypatch.setattr(sys, "executable", str(tool))
    warnings: list[str] = []
    monkeypatch.setattr(process_module, "_log", Log(warnings))
    host = ProcessHost(tmp_path / "root")
    host.start()
    try:
        assert host.run(shell("echo works", capture=100), 10).output == "works\n"
    finally:
        host.stop()
    assert [text.partition(":")[0] for text in warnings] == [
        "it cannot adopt orphans",
        "it sends no parent-death signal",
        "it takes no system call filter",
    ]


class Log:
    def __init__(self, warnings: list[str]) -> None:
        self._warnings = warnings

    def warning(self, _: str, *, lacks: str) -> None:
        self._warnings.append(lacks)
