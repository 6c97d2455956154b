"""What the operator would do next: ``python -m cmd.controller plan``. Reads, and writes nothing."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from .flags import program

if TYPE_CHECKING:
    from controllers.xline.preview import Step
    from runtime.client import Client
    from runtime.types import JSONObject

_DESCRIPTION = """\
Prints what the operator would do next with an XlineCluster, step by step and why, and writes nothing: for a cluster as
it is, or as if a manifest had been applied. For one that does not exist yet, what would be made.

The members are asked about themselves at the addresses of their Pods, so that this tells most where Pods can be
reached; elsewhere it is not known who leads, and no member comes or goes in what is told.

Not told are backups, and what the API server itself would refuse of a manifest, such as smaller volumes: for that see
kubectl apply --dry-run=server.
"""

_EXAMPLES = f"""\
Examples:
  {program("controller")} plan -f cluster.yaml
  {program("controller")} plan -n production my-cluster

Exit status: 0, also if there is nothing to do; 1 when something failed; 2 when the command line is wrong.
"""

AGENT = f"{__package__}.sidecar"  # installed from the wheel this package has another name
_MARKS = {"do": "now ", "then": "then", "wait": "wait", "problem": "!   "}


class _PlanError(Exception):
    """Why nothing can be told, and what to do about it."""


def main(argv: Sequence[str]) -> int:
    """Run ``plan`` with its arguments; the exit status."""
    options = build_parser().parse_args(argv)
    from crds.decoding import InvalidObject
    from runtime.client import ClientError, ConfigError, load_client

    try:
        manifests = [None] if options.file is None else _manifests(options.file)
        client = load_client(options.kubeconfig, options.context, user_agent="xline-operator-plan")
        with client:
            for manifest in manifests:
                _tell(client, options, manifest)
    except (_PlanError, InvalidObject, ClientError, ConfigError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    return 0


def _tell(client: Client, options: argparse.Namespace, manifest: JSONObject | None) -> None:
    from controllers.xline.pod import AGENT_IMAGE
    from controllers.xline.preview import preview
    from controllers.xline.survey import Settings

    metadata = (manifest or {}).get("metadata") or {}
    name = metadata.get("name") or options.name
    namespace = options.namespace or metadata.get("namespace") or "default"
    settings = Settings(options.cluster_domain, options.agent_image or AGENT_IMAGE, AGENT)
    steps = preview(client, settings, namespace, name, manifest)
    print(f"XlineCluster {namespace}/{name}")
    for line in _lines(steps):
        print(line)


def _lines(steps: Sequence[Step]) -> list[str]:
    if not steps:
        return ["  nothing: all is as it should be"]
    return [f"  {_MARKS[step.kind]}  {step.text}" for step in steps]


def _manifests(path: Path) -> list[JSONObject]:
    import yaml

    from crds.xlinecluster import RESOURCE, XLINECLUSTERS

    try:
        text = sys.stdin.read() if str(path) == "-" else path.read_text()
        documents = [document for document in yaml.safe_load_all(text) if document]
    except OSError as error:
        raise _PlanError(f"{path}: cannot be read: {error.strerror or error}") from error
    except UnicodeDecodeError as error:
        raise _PlanError(f"{path}: cannot be read: {error}") from error
    except yaml.YAMLError as error:
        raise _PlanError(f"{path}: not YAML: {error}") from error
    found = [
        document
        for document in documents
        if isinstance(document, dict)
        and (document.get("apiVersion"), document.get("kind")) == (XLINECLUSTERS.api_version, RESOURCE.kind)
    ]
    if not found:
        raise _PlanError(f"{path}: there is no {RESOURCE.kind} of {XLINECLUSTERS.api_version} in it")
    for document in found:
        if not (document.get("metadata") or {}).get("name"):
            raise _PlanError(f"{path}: metadata.name is missing")
    return found


def build_parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog=f"{program('controller')} plan",
        description=_DESCRIPTION,
        epilog=_EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    group = parser.add_argument_group("what to look at")
    which = group.add_mutually_exclusive_group(required=True)
    which.add_argument("--file", "-f", type=Path, metavar="FILE", help='manifest of the XlineCluster; "-": from stdin')
    which.add_argument("name", nargs="?", metavar="NAME", help="an XlineCluster that exists, as it is")
    group.add_argument("--namespace", "-n", metavar="NAME", help="its namespace (default: the manifest's, or default)")
    group = parser.add_argument_group("the cluster")
    group.add_argument(
        "--kubeconfig",
        default=os.environ.get("KUBECONFIG"),
        metavar="FILE",
        help="kubeconfig to use (default: $KUBECONFIG, then the Pod's own account, then ~/.kube/config)",
    )
    group.add_argument("--context", metavar="NAME", help="context of the kubeconfig (default: its current one)")
    group = parser.add_argument_group("the operator, as it has them")
    group.add_argument(
        "--cluster-domain",
        metavar="DOMAIN",
        default="cluster.local",
        help="DNS domain of the cluster (default: %(default)s)",
    )
    group.add_argument("--agent-image", metavar="IMAGE", help="image of the agents (default: this release's)")
    return parser
