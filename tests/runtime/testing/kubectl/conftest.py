"""A server with a custom kind, and kubectl that talks to it."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml

from runtime.testing import FakeAPIServer
from tests.runtime.testing.kubectl.kubectl_helpers import CRD, Kubectl


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[FakeAPIServer]:
    with FakeAPIServer() as running:
        path = tmp_path_factory.mktemp("crds") / "boats.yaml"
        path.write_text(yaml.safe_dump(CRD))
        running.apply_manifests(path)
        yield running


@pytest.fixture(scope="module")
def kubectl(server: FakeAPIServer, tmp_path_factory: pytest.TempPathFactory) -> Kubectl:
    binary = shutil.which("kubectl")
    if binary is None:
        pytest.skip("no kubectl on this machine")
    home = tmp_path_factory.mktemp("kubectl")
    editor = home / "editor"
    editor.write_text('#!/bin/sh\nsed -i "s/sails: .*/sails: 7/" "$1"\n')
    editor.chmod(0o700)
    return Kubectl(binary, home, server, KUBE_EDITOR=str(editor))


_namespaces = iter(range(1000))


@pytest.fixture
def namespace(server: FakeAPIServer, tmp_path: Path) -> str:
    """A namespace of its own for each test: the server is shared."""
    name = f"test-{next(_namespaces)}"
    path = tmp_path / "namespace.json"
    path.write_text(json.dumps({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name}}))
    server.apply_manifests(path)
    return name
