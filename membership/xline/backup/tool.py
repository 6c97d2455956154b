"""The engine's own program that makes a data directory of a snapshot."""

from __future__ import annotations

import re

from membership.xline.backup.restore import Place
from membership.xline.engines import CLIENT_PORT, EngineProfile, Launch

_OLD_ETCD = re.compile(r"^v?3\.[0-4](\.|-|$)")


def restore_command(profile: EngineProfile, image: str, launch: Launch, member: str, place: Place) -> list[str]:
    """What makes ``place.restored`` of ``place.snapshot``, in the server's image.

    An etcd member finds a cluster of itself alone in its data, under the name and the URL that it will have: other
    members join as any member does. Xline has no member list in a snapshot; its server starts with the list that it is
    given.
    """
    if profile.reads_file:
        # etcdutl came with 3.5, and etcdctl forgot how to restore with 3.6.
        program = "etcdctl" if _is_old_etcd(image) else "etcdutl"
        url = launch.url(member, profile.ports.get("peer", CLIENT_PORT))
        return [
            program,
            "snapshot",
            "restore",
            str(place.snapshot),
            f"--data-dir={place.restored}",
            f"--name={member}",
            f"--initial-cluster={member}={url}",
            f"--initial-cluster-token={launch.token}",
            f"--initial-advertise-peer-urls={url}",
        ]
    return ["xlineutl", "snapshot", "restore", str(place.snapshot), f"--data-dir={place.restored}"]


def _is_old_etcd(image: str) -> bool:
    last = image.partition("@")[0].rpartition("/")[2]
    return bool(_OLD_ETCD.match(last.partition(":")[2]))
