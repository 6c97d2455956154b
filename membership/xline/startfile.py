"""How a server is started: its arguments, and the file through which a server in a container of its own gets them.

A start of kind ``restart`` is safe by construction: it names no member but the own one, and calls the cluster an
existing one, so on an empty disk the server finds nobody to ask and exits instead of making or joining a cluster.
"""

from __future__ import annotations

import contextlib
import json
import shlex
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from membership.xline import etcdconfig, files
from membership.xline.files import write_atomically
from membership.xline.model import Start

if TYPE_CHECKING:
    from membership.xline.engines import EngineProfile

# Seconds a server has for what it does on SIGINT, before it is ended without it.
INTERRUPT_SECONDS = 40


class CannotStart(Exception):
    """This engine cannot be started this way; the text says why."""


@dataclass(frozen=True, slots=True)
class Launching:
    """One member's server, as its agent knows it.

    :param name: the member's.
    :param peer_url: what it is known by to the others, byte for byte.
    :param flags: all of its flags that do not depend on the kind of start.
    :param initial: (name, peer URL) of the members the cluster is bootstrapped with.
    """

    profile: EngineProfile
    name: str
    peer_url: str
    token: str
    flags: tuple[str, ...]
    initial: tuple[tuple[str, str], ...] = ()


def arguments(server: Launching, start: Start) -> list[str]:
    """What follows the program's name on the command line.

    :raises CannotStart: if the engine has no such start.
    """
    if start.kind == "recover" and not server.profile.force_new_cluster:
        raise CannotStart(
            f"{server.profile.name} cannot go on from one member's data without the others; restore a backup"
        )
    if start.kind in ("bootstrap", "join") and not start.members:
        raise CannotStart(f"a {start.kind} needs the members of the cluster")
    return server.profile.start_flags(server, start)


def etcd_start(server: Launching, start: Start) -> list[str]:
    members = start.members if start.kind in ("bootstrap", "join") else ((server.name, server.peer_url),)
    return [
        *server.flags,
        f"--initial-cluster={member_list(members)}",
        f"--initial-cluster-state={'new' if start.kind == 'bootstrap' else 'existing'}",
        f"--initial-cluster-token={server.token}",
        *(["--force-new-cluster"] if start.kind == "recover" else []),
    ]


def xline_start(server: Launching, start: Start) -> list[str]:
    members = start.members if start.kind in ("bootstrap", "join") else ((server.name, server.peer_url),)
    state = "new" if start.kind == "bootstrap" else "existing"
    # The server's own flags last: they may end in its one positional argument.
    return [f"--members={member_list(members)}", f"--initial-cluster-state={state}", *server.flags]


def legacy_xline_start(server: Launching, start: Start) -> list[str]:
    """Xline before 0.7 does not remember its members: every start is told the frozen list."""
    if start.kind == "join":
        raise CannotStart(
            f"{server.profile.name} does not remember its members, so none can join; use Xline 0.7 or newer"
        )
    members = start.members if start.kind == "bootstrap" else server.initial
    return [f"--members={member_list(members).replace('http://', '')}", *server.flags]


def member_list(members: tuple[tuple[str, str], ...]) -> str:
    """``name=url,name=url``. A member that has not told its name yet gets one; servers go by the URLs."""
    return ",".join(f"{name or f'unnamed-{index}'}={url}" for index, (name, url) in enumerate(members))


def file_name(profile: EngineProfile) -> str:
    """Of the start file in the start folder."""
    return "etcd.yaml" if profile.reads_file else "start.sh"


def content(server: Launching, start: Start) -> str:
    """The start file's text: the same for the same start.

    :raises CannotStart: if the engine has no such start, or one of its flags cannot stand in a file.
    """
    flags = arguments(server, start)
    if not server.profile.reads_file:
        return _script([*server.profile.command, *flags])
    try:
        return json.dumps(etcdconfig.document(flags), indent=2, sort_keys=True, ensure_ascii=False) + "\n"
    except etcdconfig.FlagError as error:
        raise CannotStart(str(error)) from None


def write(folder: Path, server: Launching, start: Start) -> bool:
    """Lets the server start (again) this way: all of the file is there, or none of it.

    :returns: whether that is another start than before.
    :raises CannotStart: as :func:`content`.
    :raises DiskError: if the folder cannot be written.
    """
    path = folder / file_name(server.profile)
    text = content(server, start).encode()
    with contextlib.suppress(OSError):  # what is in the way of reading is told by writing
        if path.read_bytes() == text:
            return False
    write_atomically(path, text, mode=0o644)  # the server may run as somebody else
    return True


def remove(folder: Path, profile: EngineProfile) -> None:
    """Does not let the server start (again). One that runs goes on.

    :raises DiskError: if the file cannot be removed.
    """
    files.remove(folder / file_name(profile))


def _script(command: list[str]) -> str:
    """Runs a server that ends well on SIGINT only, where containers are ended by SIGTERM.

    A shell starts what it runs beside itself with SIGINT ignored until the program says otherwise; one that is ended
    before that never hears it. So SIGTERM follows, which ends a server that does not handle it. What counts the seconds
    until then has no trap: shells are known to wait on when a signal comes just before they begin to.
    """
    return f"""#!/bin/sh
# Written by the agent. The server runs beside this shell, which turns SIGTERM into SIGINT.
stop() {{
  stopping=1
  if [ -z "$server" ] || [ -n "$timer" ]; then return; fi
  kill -INT "$server" 2>/dev/null
  (
    left={INTERRUPT_SECONDS}
    while [ "$left" -gt 0 ]; do
      sleep 1
      left=$((left - 1))
    done
    kill -TERM "$server" 2>/dev/null
  ) &
  timer=$!
}}
trap stop TERM INT
{shlex.join(command)} &
server=$!
if [ -n "$stopping" ]; then stop; fi
wait "$server"
code=$?
# A signal ends the wait, but not the server.
while kill -0 "$server" 2>/dev/null; do
  wait "$server"
  code=$?
done
if [ -n "$timer" ]; then
  kill -TERM "$timer" 2>/dev/null
  wait "$timer"
fi
exit "$code"
"""
