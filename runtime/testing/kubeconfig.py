"""Kubeconfig files for servers that tests start."""

from __future__ import annotations

import base64
import os
from pathlib import Path

from runtime.testing.apiserver.kubeyaml import dump_yaml
from runtime.types import JSONObject


def write_kubeconfig(
    path: str | Path,
    url: str,
    *,
    name: str = "fake",
    namespace: str = "default",
    ca: bytes | None = None,
    token: str | None = None,
    certificate: bytes | None = None,
    key: bytes | None = None,
) -> Path:
    """Write a kubeconfig whose one context leads to a server; returns its path. Only its owner can read it.

    :param name: of cluster, user and context.
    :param namespace: where kubectl looks for objects if nothing else is said.
    :param ca: PEM; whom to trust as the server's authority.
    :param token: bearer token.
    :param certificate: PEM; of the client, with its ``key``.
    :raises OSError: the file cannot be written.
    """
    cluster: JSONObject = {"server": url}
    if ca is not None:
        cluster["certificate-authority-data"] = _data(ca)
    user: JSONObject = {}
    if token is not None:
        user["token"] = token
    if certificate is not None and key is not None:
        user["client-certificate-data"] = _data(certificate)
        user["client-key-data"] = _data(key)
    config = {
        "apiVersion": "v1",
        "kind": "Config",
        "clusters": [{"name": name, "cluster": cluster}],
        "users": [{"name": name, "user": user}],
        "contexts": [{"name": name, "context": {"cluster": name, "user": name, "namespace": namespace}}],
        "current-context": name,
    }
    path = Path(path)
    temporary = path.with_name(f"{path.name}.{os.getpid()}.tmp")  # nobody reads half a file
    with open(os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "wb") as out:
        out.write(dump_yaml(config, sort_keys=False))  # a namespace may be called n
    temporary.replace(path)
    return path


def _data(pem: bytes) -> str:
    return base64.b64encode(pem).decode()
