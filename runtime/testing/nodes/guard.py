"""System calls the supervisor makes in a child between fork and exec, through ctypes.

Only the standard library is imported, and nothing of this tree: the supervisor runs this file isolated, so that
starting it costs milliseconds.
"""

from __future__ import annotations

import ctypes
import os
import platform
import struct

_PR_SET_PDEATHSIG = 1
_PR_SET_SECCOMP = 22
_PR_SET_CHILD_SUBREAPER = 36
_PR_SET_NO_NEW_PRIVS = 38
_SECCOMP_MODE_FILTER = 2

# Per machine: the audit architecture and the numbers of kill, tkill and tgkill.
_ARCHES = {
    "x86_64": (0xC000003E, (62, 200, 234)),
    "aarch64": (0xC00000B7, (129, 130, 131)),
    "riscv64": (0xC00000F3, (129, 130, 131)),
}

_libc = ctypes.CDLL(None, use_errno=True)
_libc.prctl.argtypes = (ctypes.c_int, *(ctypes.c_ulong,) * 4)  # whole registers: the kernel checks the unused ones


class _FilterProgram(ctypes.Structure):
    _fields_ = (("len", ctypes.c_ushort), ("filter", ctypes.c_void_p))


def _prctl(option: int, arg: int, arg3: int = 0) -> None:
    if _libc.prctl(option, arg, arg3, 0, 0) != 0:
        error = ctypes.get_errno()
        raise OSError(error, os.strerror(error))


def become_subreaper() -> None:
    """Orphans below this process become its children, so that it can find and end them."""
    _prctl(_PR_SET_CHILD_SUBREAPER, 1)


def die_with_parent(signal_number: int) -> None:
    """The kernel sends this signal to the calling process when the thread that forked it ends."""
    _prctl(_PR_SET_PDEATHSIG, signal_number)


def _statement(code: int, value: int) -> bytes:
    return struct.pack("=HBBI", code, 0, 0, value & 0xFFFFFFFF)


def _jump(code: int, value: int, if_true: int, if_false: int) -> bytes:
    return struct.pack("=HBBI", code, if_true, if_false, value & 0xFFFFFFFF)


def _kill_filter(arch: int, syscalls: tuple[int, ...]) -> bytes:
    """A BPF program: kill(1, ...) and kill(-1, ...) fail with EPERM, everything else is allowed."""
    load, equals, give = 0x20, 0x15, 0x06
    allow, deny = 0x7FFF0000, 0x00050001
    program = [
        _statement(load, 4),  # seccomp_data.arch
        _jump(equals, arch, 0, 1 + len(syscalls)),  # another architecture: allow
        _statement(load, 0),  # seccomp_data.nr
    ]
    for index, number in enumerate(syscalls):
        program.append(_jump(equals, number, len(syscalls) - index, 0))
    program += [
        _statement(give, allow),
        _statement(load, 16),  # low word of the first argument
        _jump(equals, 1, 2, 0),
        _jump(equals, -1, 1, 0),
        _statement(give, allow),
        _statement(give, deny),
    ]
    return b"".join(program)


def protect_init() -> bool:
    """Forbid this process, and all it starts, to signal process 1 or everything at once.

    In a container process 1 is the container's own; here it is the machine's, and a hook that runs
    ``kill -INT 1`` as root would reboot it. Returns False where the kernel or the machine's architecture has no
    such filter.
    """
    known = _ARCHES.get(platform.machine())
    if known is None:
        return False
    code = _kill_filter(*known)
    buffer = ctypes.create_string_buffer(code, len(code))
    program = _FilterProgram(len(code) // 8, ctypes.cast(buffer, ctypes.c_void_p))
    try:
        _prctl(_PR_SET_NO_NEW_PRIVS, 1)
        _prctl(_PR_SET_SECCOMP, _SECCOMP_MODE_FILTER, ctypes.addressof(program))
    except OSError:
        return False
    return True


def shortcomings() -> list[str]:
    """What this machine's kernel, or the sandbox around us, does not offer, and what follows; tried in a child."""
    tries = (
        (
            become_subreaper,
            "it cannot adopt orphans: daemons of a container may outlive it until the node's next start",
        ),
        (lambda: die_with_parent(9), "it sends no parent-death signal: containers may outlive a killed supervisor"),
        (
            _must_protect,
            "it takes no system call filter: a container that runs `kill 1` or `kill -1` hits this machine",
        ),
    )
    read, write = os.pipe2(os.O_CLOEXEC)
    pid = os.fork()
    if pid == 0:
        failed = bytearray()
        for index, (attempt, _) in enumerate(tries):
            try:
                attempt()
            except BaseException:
                failed.append(index)
        os.write(write, failed)
        os._exit(0)
    os.close(write)
    failed = bytearray(os.read(read, len(tries)))
    os.close(read)
    os.waitpid(pid, 0)
    return [tries[index][1] for index in failed]


def _must_protect() -> None:
    if not protect_init():
        raise OSError("no filter")
