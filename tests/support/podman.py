"""Podman with all that it keeps in a folder: two of them do not meet, and nothing is left when the folder is gone."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
from pathlib import Path

import pytest

from tests.support.operators import JSONLines

# A mount namespace for each command: what it mounts ends with its last process. It hides what podman has outside of its
# folder, and the second hierarchy of cgroups, beside which crun does not run. There the folder has a short name: with a
# long one podman waits 20 s for the end of each container.
_PROGRAM = """#!/bin/sh
export CONTAINERS_CONF=/run/podman/containers.conf CONTAINERS_STORAGE_CONF=/run/podman/storage.conf
export BUILDAH_ISOLATION=chroot
exec unshare --mount sh -c '
resolv=$(readlink -f /etc/resolv.conf) && servers=$(cat "$resolv") || exit
for each in /run /dev/shm /var/lib/containers; do
  [ ! -d $each ] || mount -t tmpfs none $each || exit
done
[ -e "$resolv" ] || { mkdir -p "$(dirname "$resolv")" && echo "$servers" >"$resolv"; } || exit # it was in /run
mkdir /run/podman && mount --bind "$0" /run/podman || exit
! mountpoint -q /sys/fs/cgroup/unified || umount /sys/fs/cgroup/unified || exit
exec podman "$@"' "$(dirname "$0")" "$@"
"""
# No cgroups, which would stay, and limits that nobody needs a capability for.
_CONTAINERS = """[containers]
cgroups = "disabled"
default_ulimits = ["nofile=1024:1024", "nproc=1024:1024"]
log_driver = "none"
netns = "none"
pids_limit = 0
[engine]
cgroup_manager = "cgroupfs"
events_logger = "none"
runtime = "crun"
tmp_dir = "/run/podman/tmp"
"""
_STORAGE = """[storage]
driver = "overlay"
graphroot = "/run/podman/images"
runroot = "/run/podman/run"
"""


class Podman:
    """Skips the test where it cannot be used. Containers have no network unless they ask for one."""

    def __init__(self, folder: Path) -> None:
        missing = [name for name in ("podman", "crun", "mmdebstrap", "unshare") if shutil.which(name) is None]
        if missing:
            pytest.skip(f"not here: {' '.join(missing)}")
        if os.geteuid() != 0:
            pytest.skip("only root can build and run images with no more than podman and crun")
        folder.mkdir()
        (folder / "containers.conf").write_text(_CONTAINERS)
        (folder / "storage.conf").write_text(_STORAGE)
        self.program = folder / "podman"
        """Takes the arguments of ``podman``, and of ``docker``."""
        self.program.write_text(_PROGRAM)
        self.program.chmod(0o755)
        self._folder = folder

    def base(self, name: str) -> None:
        """Make an image with that name from Debian's packages: Python 3.13 with pip, and a shell."""
        archive = self._folder / "base.tar"
        # Unpacked only, which takes a third of the time: of what the packages' scripts do, pip misses its certificates.
        packages = "base-files,base-passwd,dash,coreutils,python3,python3-pip,python-is-python3"
        left_out = [f"--dpkgopt=path-exclude=/usr/share/{each}/*" for each in ("doc", "man", "locale")]
        trust = 'cat "$1"/usr/share/ca-certificates/mozilla/*.crt >"$1"/etc/ssl/certs/ca-certificates.crt'
        command = ["timeout", "--kill-after=10", "100", "unshare", "--mount", "mmdebstrap", "--quiet", *left_out]
        command += ["--variant=extract", f"--include={packages}", f"--extract-hook={trust}"]
        command += ["trixie", str(archive), "http://deb.debian.org/debian"]
        made = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False)
        if made.returncode != 0:
            pytest.skip(f"no Debian to build on: {made.stderr[-500:]}")
        self.run("import", str(archive), name)
        archive.unlink()
        tried = self._try("run", "--rm", name, "true")
        if tried.returncode != 0:
            pytest.skip(f"containers do not run here: {tried.stderr}")

    def run(self, *arguments: str) -> str:
        """What the command prints; it has to succeed."""
        done = self._try(*arguments)
        assert done.returncode == 0, f"podman {' '.join(arguments)}\n{done.stdout}{done.stderr}"
        return done.stdout

    def fail(self, *arguments: str) -> tuple[int, str]:
        """The status of a command that does not succeed, and what it prints."""
        done = self._try(*arguments)
        assert done.returncode != 0, f"podman {' '.join(arguments)}\n{done.stdout}{done.stderr}"
        return done.returncode, done.stdout + done.stderr

    def _try(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [str(self.program), *arguments],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=100,
            check=False,
        )


class Container(JSONLines):
    """One that runs until it is told to end; signals and status go through ``podman run``."""

    def __init__(self, podman: Podman, log: Path, *arguments: str) -> None:
        self._pid = log.with_suffix(".pid")
        command = [str(podman.program), "run", "--rm", f"--pidfile={self._pid}", *arguments]
        super().__init__(log, command, log.parent)

    @property
    def pid(self) -> int:
        """That of its first process, as it is seen outside."""
        return int(self._pid.read_text())

    def kill(self) -> None:
        """End it and its ``podman run``, whatever state they are in."""
        if self.process.poll() is None and self._pid.exists():
            os.kill(self.pid, signal.SIGKILL)
        try:
            self.process.wait(30)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
