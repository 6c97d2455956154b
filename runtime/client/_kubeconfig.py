"""Reading kubeconfig files: merge them, pick the context, and say exactly what is wrong with them.

What comes out is one cluster, one user and a namespace, with every path absolute. Rules are kubectl's: several files
are merged, the first that sets a name or the current context wins, a path is relative to the file that holds it.
"""

from __future__ import annotations

import base64
import binascii
import os
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import yaml

from runtime.client.errors import ConfigError
from runtime.types import JSONObject

_HOW = "give another with --kubeconfig or KUBECONFIG"
_SECTIONS = {"clusters": "cluster", "contexts": "context", "users": "user"}
_PATHS = {
    "cluster": ("certificate-authority",),
    "user": ("client-certificate", "client-key", "tokenFile"),
}
_DATA = {
    "cluster": ("certificate-authority-data",),
    "user": ("client-certificate-data", "client-key-data"),
}


@dataclass(frozen=True, slots=True)
class KubeConfig:
    """One context, resolved. ``where`` says for messages where it stands; ``user_where`` where its user does."""

    context: str
    namespace: str
    cluster: JSONObject
    user: JSONObject
    where: str
    user_where: str
    directory: str


@dataclass(slots=True)
class _Merged:
    files: list[Path] = field(default_factory=list)
    current: str = ""
    # section -> name -> (body, the file it stands in)
    sections: dict[str, dict[str, tuple[JSONObject, Path]]] = field(
        default_factory=lambda: {section: {} for section in _SECTIONS}
    )

    @property
    def names(self) -> str:
        return ", ".join(str(f) for f in self.files)


def load(paths: list[str], context: str | None) -> KubeConfig:
    """The ``context`` (None: the current one) of these files, merged.

    Of several files, those that do not exist are skipped; one alone must exist.

    :raises ConfigError: naming file and field.
    """
    merged = _Merged()
    for path in paths:
        file = Path(os.path.expanduser(path))  # Path raises where there is no home
        if len(paths) > 1 and not file.exists():
            continue
        _merge(merged, file)
    if not merged.files:
        raise ConfigError(f"none of the kubeconfig files {', '.join(paths)} exists; {_HOW}")
    return _resolve(merged, context)


def _merge(merged: _Merged, file: Path) -> None:
    content = _read(file)
    merged.files.append(file)
    current = content.get("current-context")
    if not merged.current and isinstance(current, str):
        merged.current = current
    for section, singular in _SECTIONS.items():
        entries = content.get(section) or []
        if not isinstance(entries, list):
            raise ConfigError(f"{file}: {section} must be a list")
        for i, entry in enumerate(entries):
            where = f"{section}[{i}]"
            if not isinstance(entry, dict) or not isinstance(entry.get("name"), str):
                raise ConfigError(f"{file}: {where} has no name")
            body = entry.get(singular) or {}
            if not isinstance(body, dict):
                raise ConfigError(f"{file}: {where}.{singular} must be a mapping")
            merged.sections[section].setdefault(entry["name"], (body, file))


def _read(file: Path) -> JSONObject:
    try:
        text = file.read_text(encoding="utf-8")
    except FileNotFoundError:
        raise ConfigError(f"the kubeconfig {file} does not exist; {_HOW}") from None
    except (OSError, UnicodeDecodeError) as e:
        raise ConfigError(f"the kubeconfig {file} cannot be read: {e}") from None
    try:
        content = yaml.safe_load(text)
    except yaml.YAMLError as e:
        raise ConfigError(f"the kubeconfig {file} is not YAML: {' '.join(str(e).split())}") from None
    if content is None:
        raise ConfigError(f"the kubeconfig {file} is empty; {_HOW}")
    if not isinstance(content, dict):
        raise ConfigError(f"the kubeconfig {file} must be a mapping with clusters, contexts and users")
    return content


def _resolve(merged: _Merged, context: str | None) -> KubeConfig:
    contexts = merged.sections["contexts"]
    exist = f"the contexts that exist: {', '.join(sorted(contexts)) or 'none'}"
    name = context or merged.current
    if not name:
        raise ConfigError(f"{merged.names}: current-context is not set; set it or name a context; {exist}")
    if name not in contexts:
        asked = "there is no context" if context else "current-context names a context that does not exist,"
        raise ConfigError(f"{merged.names}: {asked} {name!r}; {exist}")
    body, file = contexts[name]
    where = f"{file}: context {name!r}"
    cluster, cluster_file = _named(merged, "clusters", body.get("cluster"), f"{where}: cluster")
    user: JSONObject = {}
    user_file = file
    if body.get("user"):
        user, user_file = _named(merged, "users", body["user"], f"{where}: user")
    cluster_where = f"{cluster_file}: cluster {body.get('cluster')!r}"
    user_where = f"{user_file}: user {body.get('user')!r}"
    cluster = _checked("cluster", cluster, cluster_where, cluster_file)
    _check_server(cluster, cluster_where)
    namespace = body.get("namespace")
    return KubeConfig(
        context=name,
        namespace=namespace if isinstance(namespace, str) and namespace else "default",
        cluster=cluster,
        user=_checked("user", user, user_where, user_file),
        where=cluster_where,
        user_where=user_where,
        directory=str(user_file.resolve().parent),
    )


def _named(merged: _Merged, section: str, name: Any, where: str) -> tuple[JSONObject, Path]:
    entries = merged.sections[section]
    if not isinstance(name, str) or not name:
        raise ConfigError(f"{where} is not set")
    if name not in entries:
        exist = ", ".join(sorted(entries)) or "none"
        raise ConfigError(f"{where} names {name!r}, which is not among the {section}: {exist}")
    return entries[name]


def _checked(what: str, body: JSONObject, where: str, file: Path) -> JSONObject:
    """``body`` with absolute paths, after a look at all files and data it names."""
    checked = dict(body)
    for key in _DATA[what]:
        data = checked.get(key)
        if not data:
            checked.pop(key, None)
            continue
        if isinstance(data, str):
            data = checked[key] = data.replace("\n", "").replace("\r", "")  # which kubectl skips, too
        try:
            base64.b64decode(data, validate=True)
        except (binascii.Error, TypeError, ValueError):
            raise ConfigError(f"{where}: {key} is not base64") from None
    for key in _PATHS[what]:
        path = checked.get(key)
        if not path:
            checked.pop(key, None)
            continue
        if f"{key}-data" in checked:
            del checked[key]  # the data wins
            continue
        full = file.resolve().parent / Path(str(path)).expanduser()
        if not os.access(full, os.R_OK) or full.is_dir():
            reason = "cannot be read" if full.exists() else "does not exist"
            raise ConfigError(f"{where}: {key}: the file {full} {reason}")
        checked[key] = str(full)
    if what == "user":
        _check_pair(checked, where)
    return checked


def _check_pair(user: JSONObject, where: str) -> None:
    certificate = any(key in user for key in ("client-certificate", "client-certificate-data"))
    key = any(key in user for key in ("client-key", "client-key-data"))
    if certificate != key:
        present, missing = ("client-certificate", "client-key") if certificate else ("client-key", "client-certificate")
        raise ConfigError(f"{where}: {present} is set, but {missing} is not")


def _check_server(cluster: JSONObject, where: str) -> None:
    server = cluster.get("server")
    if not isinstance(server, str) or not server:
        raise ConfigError(f"{where}: server is not set")
    try:
        parts = urlsplit(server)
        usable = parts.scheme in ("http", "https") and bool(parts.hostname)
    except ValueError:  # brackets that do not match
        usable = False
    if not usable:
        raise ConfigError(f"{where}: server {server!r} is not a URL like https://127.0.0.1:6443")
    insecure = cluster.get("insecure-skip-tls-verify")
    if not isinstance(insecure, bool | None):  # "false" in quotes is true
        raise ConfigError(f"{where}: insecure-skip-tls-verify is {insecure!r}; it must be true or false")
    if insecure and any(key in cluster for key in ("certificate-authority", "certificate-authority-data")):
        raise ConfigError(f"{where}: insecure-skip-tls-verify together with a certificate-authority; drop one of both")
