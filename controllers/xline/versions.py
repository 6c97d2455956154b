"""Which other version of the server a running cluster may be rolled to.

Members of two versions run together while a rollout lasts. etcd supports that for neighbouring minor versions, the
cluster being as old as its oldest member until the last one is new; a member of a minor version below the cluster's
does not start (https://etcd.io/docs/v3.6/upgrades/). A rollout that has begun may therefore be taken back.
"""

from __future__ import annotations

import msgspec

from controllers.xline.members import EngineView
from controllers.xline.workloads import Workload
from crds.xlinecluster import XlineCluster
from membership.xline.engines import Version, parse_version, profile_for

_Minor = tuple[int, int]


def problem(cluster: XlineCluster, workload: Workload, engine: EngineView) -> str | None:
    """Why the image that the spec asks for cannot take the place of what the members run; None if it can.

    An image whose tag is no version (``latest``, a digest) is not judged; its server refuses to start if it must. Nor
    is any before the cluster has run: a first image that is wrong may be put right.

    :param workload: with the image that was applied last; asked where no member tells its version.
    :returns: a sentence that names field and versions.
    """
    bootstrap = cluster.status.bootstrap if cluster.status is not None else None
    if bootstrap is None or not bootstrap.completed:
        return None
    return _other_kind(cluster, workload) or _skew(cluster, workload, engine)


def _other_kind(cluster: XlineCluster, workload: Workload) -> str | None:
    """Members that run are not rolled to a server of another kind: halfway neither half has a majority."""
    if not workload.image:
        return None
    wanted = profile_for(cluster.spec)
    running = profile_for(msgspec.structs.replace(cluster.spec, image=workload.image))
    if running is wanted:
        return None
    return (
        f"spec.image: the members run {workload.image} ({running.name}), and {_image(cluster)} ({wanted.name}) uses "
        "other ports and does not join them; create another XlineCluster and copy the data"
    )


def _skew(cluster: XlineCluster, workload: Workload, engine: EngineView) -> str | None:
    wanted = _of_image(_image(cluster))
    oldest = _oldest(engine) or _of_image(workload.image)
    if wanted is None or oldest is None:
        return None
    name = cluster.spec.engine
    if _minor(wanted) < _minor(oldest):
        return (
            f"spec.image: {_image(cluster)} is a minor version older than {oldest}, which every member runs at "
            f"least: a cluster of {name} does not go back; restore a backup into another XlineCluster instead"
        )
    if name == "etcd" and (wanted.major != oldest.major or wanted.minor > oldest.minor + 1):
        return (
            f"spec.image: {_image(cluster)} is more than one minor version newer than {oldest}, which members "
            f"run: etcd is upgraded one minor version at a time; go to {oldest.major}.{oldest.minor + 1} first"
        )
    return None


def _oldest(engine: EngineView) -> Version | None:
    found = [version for status in engine.statuses.values() if (version := _parsed(status.version)) is not None]
    return min(found, key=_minor, default=None)


def _of_image(image: str) -> Version | None:
    """By its tag."""
    return _parsed(image.partition("@")[0].rpartition("/")[2].partition(":")[2])


def _parsed(text: str) -> Version | None:
    try:
        return parse_version(text)
    except ValueError:
        return None


def _image(cluster: XlineCluster) -> str:
    return cluster.spec.image or profile_for(cluster.spec).default_image


def _minor(version: Version) -> _Minor:
    return version.major, version.minor
