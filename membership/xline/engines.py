"""What the operator and the agents have to know of each server: image, flags, ports, probes, starts, and its end.

One :class:`EngineProfile` each for etcd, for Xline 0.7 and newer, and for Xline 0.6 and older, which had one port for
everything and none of the listen flags.
"""

from __future__ import annotations

import re
import signal
from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple

from crds.bootstrapargs import BootstrapArgs
from crds.xlinecluster import XlineClusterSpec
from crds.xlinemaintenance import AutoCompaction
from membership.xline import security, settings
from membership.xline.model import Start
from membership.xline.security import PLAIN, Security
from membership.xline.startfile import Launching, etcd_start, legacy_xline_start, xline_start
from runtime.types import JSONObject

CLIENT_PORT = 2379
PEER_PORT = 2380

# Filled in by the kubelet from the container's environment.
POD_NAME = "$(POD_NAME)"


@dataclass(frozen=True, slots=True)
class Launch:
    """How the members of one cluster start. All get the same, and find themselves in it by their Pod's name.

    :param members: names of the members the cluster is bootstrapped with, in ordinal order; never changed later.
    :param domain: what follows a member's name in DNS: ``SERVICE.NAMESPACE.svc.CLUSTER-DOMAIN``.
    :param token: tells this cluster from another of the same name.
    :param data_dir: a folder on the member's volume, below its mount point.
    :param compaction: which old values of keys the members forget by themselves.
    :param security: certificates and keys; they decide whether URLs say http or https.
    """

    members: tuple[str, ...]
    domain: str
    token: str
    data_dir: str
    args: BootstrapArgs
    extra: tuple[str, ...] = ()
    security: Security = PLAIN
    compaction: AutoCompaction | None = None

    def url(self, member: str, port: int) -> str:
        return f"{self.security.scheme}://{member}.{self.domain}:{port}"

    def members_at(self, port: int) -> str:
        """``name=url,name=url``, the same text for every member."""
        return ",".join(f"{member}={self.url(member, port)}" for member in self.members)


@dataclass(frozen=True, slots=True)
class EngineProfile:
    """One kind of server, and in what it differs from the others where that has to be known.

    Where one is only stricter than the other, both are treated the strict way. So leadership is asked for at the
    leader, only ids that are listed as learners are promoted, learners are not asked for lists, one member joins at a
    time, and an addition is never repeated blindly: Xline would make another member of it, and die of a voter's
    promotion.

    :param ports: name -> number, of those the container listens on.
    :param mount_path: where the member's volume is mounted. The data lies in a folder below: the volume's root may
        hold ``lost+found``, and is not the server's to remove.
    :param startup: how the kubelet sees that the server is up.
    :param liveness: how the kubelet sees that it hangs. Never depends on other members: a cluster that has lost its
        majority must not be restarted on top.
    :param key: the one word for it in flags of the agent.
    :param server_flags: the server's arguments but those that say who the other members are: these depend on how it is
        started, and its agent knows (:mod:`membership.xline.startfile`). Raises SettingError.
    :param start_flags: all arguments for one start, from ``server_flags`` on. Raises CannotStart.
    :param reads_file: it is started from a configuration file; the others by a shell script.
    :param stop_signal: what ends it well. Xline heeds no other; a second one forces it.
    :param changes_membership: it remembers its members, so they can change. Xline before 0.7 trusts its arguments.
    :param orders_changes: it refuses a change of the membership while another is under way.
    :param joins_together: several servers may be started to join at a time. etcd's ask all others first, without a
        limit of time, and answer nobody before they have been answered. First members that come late, of which there
        may be several, begin with the frozen list instead: their log begins as that of the others has, and they refuse
        if they are listed as started.
    :param force_new_cluster: it can go on from one member's data without the others.
    :param moves_leader: it hands leadership over when asked to.
    :param hollow_when_removed: after its own removal, or when the others know it no more, its process lives on with all
        its ports closed.
    :param quota_flag: the flag that says how many bytes its database may have; ``default_quota`` without it.
    :param defragments: it can give back what its database holds without need.
    :param publishes: a member tells its name and addresses until that has worked, so that one whose entry lacks them
        has never run. Xline's tells once, and only logs that it failed.
    :param identity: what is in its data folder (a pattern) once it belongs to a cluster.
    """

    key: str
    name: str
    default_image: str
    command: tuple[str, ...]
    ports: dict[str, int]
    mount_path: str
    startup: JSONObject
    liveness: JSONObject
    server_flags: Callable[[Launch], list[str]]
    start_flags: Callable[[Launching, Start], list[str]]
    reads_file: bool
    stop_signal: signal.Signals
    changes_membership: bool
    orders_changes: bool
    joins_together: bool
    force_new_cluster: bool
    moves_leader: bool
    hollow_when_removed: bool
    quota_flag: str
    default_quota: int
    defragments: bool
    publishes: bool
    identity: str

    @property
    def data_dir(self) -> str:
        return f"{self.mount_path}/data"


class Version(NamedTuple):
    """A server's version; they compare as they should."""

    major: int
    minor: int
    patch: int

    def __str__(self) -> str:
        return f"{self.major}.{self.minor}.{self.patch}"


_VERSION = re.compile(r"^v?(\d+)\.(\d+)(?:\.(\d+))?(?:[-+].*)?$")


def parse_version(text: str) -> Version:
    """Of what a member reports, or of an image's tag: ``3.5.17``, ``v0.7.0``, ``v3.6``, ``3.6.0-rc.1``.

    :raises ValueError: if it is no version.
    """
    match = _VERSION.match(text.strip())
    if match is None:
        raise ValueError(f"{text!r} is no version such as 3.5.17")
    return Version(int(match[1]), int(match[2]), int(match[3] or 0))


def profile_for(spec: XlineClusterSpec) -> EngineProfile:
    """The profile of the server that ``spec`` asks for."""
    if spec.engine == "etcd":
        return ETCD
    return XLINE_LEGACY if spec.image and _is_legacy_xline(spec.image) else XLINE


def profile_by_key(key: str) -> EngineProfile:
    """The profile with that :attr:`EngineProfile.key`.

    :raises ValueError: if there is none.
    """
    for profile in (ETCD, XLINE, XLINE_LEGACY):
        if profile.key == key:
            return profile
    raise ValueError(f"{key!r} is no engine; use etcd, xline or xline-legacy")


_LEGACY_TAG = re.compile(r"^v?0\.[0-6](\.|-|$)")


def _is_legacy_xline(image: str) -> bool:
    """By its tag. An image without one, or one that tells no version, is taken for a present one."""
    last = image.partition("@")[0].rpartition("/")[2]
    return bool(_LEGACY_TAG.match(last.partition(":")[2]))


def _etcd_server(launch: Launch) -> list[str]:
    scheme = launch.security.scheme
    return [
        f"--name={POD_NAME}",
        f"--data-dir={launch.data_dir}",
        f"--listen-peer-urls={scheme}://0.0.0.0:{PEER_PORT}",
        f"--listen-client-urls={scheme}://0.0.0.0:{CLIENT_PORT}",
        f"--listen-metrics-urls=http://0.0.0.0:{ETCD_METRICS_PORT}",
        f"--initial-advertise-peer-urls={launch.url(POD_NAME, PEER_PORT)}",
        f"--advertise-client-urls={launch.url(POD_NAME, CLIENT_PORT)}",
        *security.etcd_flags(launch.security),
        *settings.etcd_flags(launch.args),
        *settings.etcd_compaction(launch.compaction),
        *settings.extra_flags(launch.extra, settings.ETCD_OWN_FLAGS),
    ]


def _xline_server(launch: Launch) -> list[str]:
    # A member finds itself in the list by its advertised peer URL, compared as text.
    settings.check_consensus_folder(launch.args, launch.data_dir)
    scheme = launch.security.scheme
    return [
        f"--name={POD_NAME}",
        "--storage-engine=rocksdb",
        f"--data-dir={launch.data_dir}",
        f"--peer-listen-urls={scheme}://0.0.0.0:{PEER_PORT}",
        f"--peer-advertise-urls={launch.url(POD_NAME, PEER_PORT)}",
        f"--client-listen-urls={scheme}://0.0.0.0:{CLIENT_PORT}",
        f"--client-advertise-urls={launch.url(POD_NAME, CLIENT_PORT)}",
        *security.xline_flags(launch.security),
        *settings.xline_compaction(launch.compaction),
        *settings.extra_flags(launch.extra, settings.XLINE_OWN_FLAGS),
        *settings.xline_flags(launch.args),  # last: it may end in the positional argument
    ]


def _xline_legacy_server(launch: Launch) -> list[str]:
    # One port serves clients and peers, bound to the own address in the list.
    settings.check_consensus_folder(launch.args, launch.data_dir)
    return [
        f"--name={POD_NAME}",
        "--storage-engine=rocksdb",
        f"--data-dir={launch.data_dir}",
        *security.legacy_xline_flags(launch.security),
        *settings.xline_compaction(launch.compaction),
        *settings.extra_flags(launch.extra, settings.XLINE_OWN_FLAGS),
        *settings.legacy_xline_flags(launch.args),
    ]


ETCD_METRICS_PORT = 2381
XLINE_METRICS_PORT = 9100


def _every(seconds: int, *, timeout: int, failures: int) -> JSONObject:
    return {"periodSeconds": seconds, "timeoutSeconds": timeout, "failureThreshold": failures}


def _startup(port: int) -> JSONObject:
    """Five minutes: a large log is read again at start."""
    return {"tcpSocket": {"port": port}, **_every(1, timeout=1, failures=300)}


def _liveness(port: int) -> JSONObject:
    return {"tcpSocket": {"port": port}, **_every(10, timeout=5, failures=6)}


ETCD = EngineProfile(
    key="etcd",
    name="etcd",
    default_image="quay.io/coreos/etcd:v3.5.17",
    command=("etcd",),
    ports={"client": CLIENT_PORT, "peer": PEER_PORT, "metrics": ETCD_METRICS_PORT},
    mount_path="/var/lib/etcd",
    startup=_startup(PEER_PORT),
    liveness=_liveness(PEER_PORT),
    server_flags=_etcd_server,
    start_flags=etcd_start,
    reads_file=True,
    stop_signal=signal.SIGTERM,
    changes_membership=True,
    orders_changes=True,
    joins_together=False,
    force_new_cluster=True,
    moves_leader=True,
    hollow_when_removed=False,
    quota_flag="quota-backend-bytes",
    default_quota=2 << 30,
    defragments=True,
    publishes=True,
    identity="member/wal/*.wal",
)

XLINE = EngineProfile(
    key="xline",
    name="xline",
    default_image="ghcr.io/xline-kv/xline:v0.7.0",
    command=("xline",),
    ports={"client": CLIENT_PORT, "peer": PEER_PORT, "metrics": XLINE_METRICS_PORT},
    mount_path="/var/lib/xline",
    startup=_startup(PEER_PORT),
    liveness=_liveness(PEER_PORT),
    server_flags=_xline_server,
    start_flags=xline_start,
    reads_file=False,
    stop_signal=signal.SIGINT,
    changes_membership=True,
    orders_changes=False,
    joins_together=True,
    force_new_cluster=False,
    moves_leader=True,
    hollow_when_removed=True,
    quota_flag="quota",
    default_quota=8 << 30,
    defragments=False,
    publishes=False,
    identity="curp/CURRENT",
)

XLINE_LEGACY = EngineProfile(
    key="xline-legacy",
    name="xline (0.6 or older)",
    default_image="ghcr.io/xline-kv/xline:v0.6.1",
    command=("xline",),
    ports={"client": CLIENT_PORT},
    mount_path="/var/lib/xline",
    startup=_startup(CLIENT_PORT),
    liveness=_liveness(CLIENT_PORT),
    server_flags=_xline_legacy_server,
    start_flags=legacy_xline_start,
    reads_file=False,
    stop_signal=signal.SIGINT,
    changes_membership=False,
    orders_changes=False,
    joins_together=True,
    force_new_cluster=False,
    moves_leader=False,
    hollow_when_removed=False,
    quota_flag="quota",
    default_quota=8 << 30,
    defragments=False,
    publishes=False,
    identity="curp/CURRENT",
)
