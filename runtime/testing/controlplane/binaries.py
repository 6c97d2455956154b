"""Where etcd and kube-apiserver are, by the conventions of envtest."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

DEFAULT_ASSETS = Path("/usr/local/kubebuilder/bin")
_ASSETS = "KUBEBUILDER_ASSETS"
_ALONE = "TEST_ASSET_"  # + ETCD, KUBE_APISERVER: one program from elsewhere


class BinariesMissing(Exception):
    """A program of the control plane is not there; the message says which, and how to get it."""


@dataclass(frozen=True, slots=True)
class Binaries:
    """The programs of a control plane."""

    etcd: Path
    kube_apiserver: Path


def find_binaries(assets: str | Path | None = None, environ: Mapping[str, str] | None = None) -> Binaries:
    """Find them in a folder, or where the environment says: ``TEST_ASSET_ETCD`` and ``TEST_ASSET_KUBE_APISERVER`` name
    one program each, ``KUBEBUILDER_ASSETS`` a folder with both; ``/usr/local/kubebuilder/bin`` is looked at last.

    :param assets: the folder, whatever the environment says.
    :param environ: default that of this process.
    :raises BinariesMissing: one of them is not there, or cannot be executed.
    """
    environ = os.environ if environ is None else environ
    return Binaries(_find("etcd", assets, environ), _find("kube-apiserver", assets, environ))


def _find(name: str, assets: str | Path | None, environ: Mapping[str, str]) -> Path:
    variable = _ALONE + name.upper().replace("-", "_")
    if assets is not None:
        path, why = Path(assets) / name, f"{assets} was given"
    elif environ.get(variable):
        path, why = Path(environ[variable]), f"{variable} names it"
    elif environ.get(_ASSETS):
        path, why = Path(environ[_ASSETS]) / name, f"{_ASSETS} names its folder"
    else:
        path, why = DEFAULT_ASSETS / name, f"{_ASSETS} is not set"
    if not (path.is_file() and os.access(path, os.X_OK)):
        raise BinariesMissing(
            f"no program {path} ({why}): get one with `setup-envtest use`, and let {_ASSETS} name its folder"
        )
    return path.absolute()
