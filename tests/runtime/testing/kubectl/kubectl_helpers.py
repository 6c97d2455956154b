"""A custom kind, and kubectl with a home of its own."""

from __future__ import annotations

import json
import os
import subprocess
from pathlib import Path
from typing import Any

import yaml

from runtime.testing import FakeAPIServer

CRD = {
    "apiVersion": "apiextensions.k8s.io/v1",
    "kind": "CustomResourceDefinition",
    "metadata": {"name": "boats.harbor.example.com"},
    "spec": {
        "group": "harbor.example.com",
        "scope": "Namespaced",
        "names": {"plural": "boats", "kind": "Boat", "shortNames": ["bo"], "categories": ["fleet"]},
        "versions": [
            {
                "name": "v1",
                "served": True,
                "storage": True,
                "subresources": {
                    "status": {},
                    "scale": {"specReplicasPath": ".spec.sails", "statusReplicasPath": ".status.sails"},
                },
                "additionalPrinterColumns": [
                    {"name": "Sails", "type": "integer", "jsonPath": ".spec.sails"},
                    {"name": "Color", "type": "string", "jsonPath": ".spec.color", "priority": 1},
                    {"name": "Age", "type": "date", "jsonPath": ".metadata.creationTimestamp"},
                ],
                "schema": {
                    "openAPIV3Schema": {
                        "type": "object",
                        "properties": {
                            "spec": {
                                "type": "object",
                                "description": "What the boat should be.",
                                "required": ["sails"],
                                "properties": {
                                    "sails": {"type": "integer", "minimum": 0, "description": "How many sails."},
                                    "color": {"type": "string", "default": "white"},
                                    "crew": {
                                        "type": "array",
                                        "x-kubernetes-list-type": "map",
                                        "x-kubernetes-list-map-keys": ["name"],
                                        "items": {
                                            "type": "object",
                                            "required": ["name"],
                                            "properties": {"name": {"type": "string"}, "rank": {"type": "string"}},
                                        },
                                    },
                                },
                            },
                            "status": {"type": "object", "x-kubernetes-preserve-unknown-fields": True},
                        },
                    }
                },
            }
        ],
    },
}


JSON = dict[str, Any]


class Kubectl:
    """Runs kubectl; every call has the server, and nothing of the machine's own configuration."""

    def __init__(
        self, binary: str, home: Path, server: FakeAPIServer, *, namespace: str = "default", **environment: str
    ) -> None:
        self._binary = binary
        self._config = server.kubeconfig(home / "config", namespace=namespace)
        self._home = home
        self._environment = {
            "HOME": str(home),
            "TMPDIR": str(home),  # what edit and diff leave behind
            "KUBECONFIG": str(self._config),
            "PATH": os.environ.get("PATH", ""),
            **environment,
        }

    def arguments(self, *arguments: str) -> list[str]:
        return [self._binary, f"--cache-dir={self._home / 'cache'}", *arguments]

    def start(self, *arguments: str) -> subprocess.Popen[str]:
        return subprocess.Popen(
            self.arguments(*arguments),
            env=self._environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    def run(self, *arguments: str, manifest: Any = None, code: int = 0, stderr: bool = False) -> str:
        """The output of a call that has to end with that code; with standard error if asked, or when it is not 0."""
        result = subprocess.run(
            self.arguments(*arguments),
            env=self._environment,
            input=yaml.safe_dump(manifest) if manifest is not None else None,
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
        assert result.returncode == code, f"kubectl {' '.join(arguments)}: {result.stderr}{result.stdout}"
        return result.stderr + result.stdout if code or stderr else result.stdout

    def json(self, *arguments: str) -> Any:
        return json.loads(self.run(*arguments, "-o", "json"))


def end(process: subprocess.Popen[str]) -> None:
    """Kill a kubectl that would go on."""
    process.kill()
    process.wait()
    for stream in (process.stdout, process.stderr):
        if stream is not None:
            stream.close()
