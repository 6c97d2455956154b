"""Print, check or apply the CustomResourceDefinitions, convert manifests of earlier operators:
``python -m cmd.crds print|check|apply|convert``.
"""

from __future__ import annotations

import argparse
import os
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from crds import manifests
from runtime.types import GVR

from .flags import program

if TYPE_CHECKING:
    from crds.definition import CustomResource
    from runtime.client import Client

FIELD_MANAGER = "xline-operator"
DEFINITIONS = GVR("apiextensions.k8s.io", "v1", "customresourcedefinitions")
_POLL = 0.1  # seconds between looks at a definition that is being established

_DESCRIPTION = """\
The CustomResourceDefinitions of XlineCluster, OrleansSilo and OrleansClusterVersion.

Commands:
  print   the manifests as YAML, on standard output or as one file per resource into a folder
  check   whether the committed manifests are what the types in crds/ say; exit code 1 if not
  apply   install or update them in a cluster and wait until it serves them
  convert turn XlineClusters of earlier operators into ours; other objects pass through
"""

_EXAMPLES = """\
Examples:
  {prog} print | kubectl apply --server-side -f -
  {prog} print --output crds
  {prog} check
  {prog} apply --kubeconfig ./kubeconfig --context laptop
  {prog} convert -f old.yaml > new.yaml

Exit codes: 0 done, 1 it failed or files differ, 2 wrong usage.
"""


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line ``argv`` (default: the process's own). Returns the exit code."""
    options = build_parser().parse_args(argv)
    if options.command == "print":
        return _print(options.output)
    if options.command == "check":
        return _check(options.folder)
    if options.command == "convert":
        from . import convert  # YAML takes a while to load

        return convert.run(options.filename)
    return _apply(options.kubeconfig, options.context, options.timeout)


def build_parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog=program("crds"),
        description=_DESCRIPTION,
        epilog=_EXAMPLES.format(prog=program("crds")),
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")

    show = commands.add_parser("print", help="print the manifests, or write them into a folder")
    group = show.add_argument_group("where to")
    group.add_argument("--output", "-o", type=Path, metavar="DIR", help="write one file per resource into DIR instead")

    check = commands.add_parser("check", help="fail if the committed manifests are not up to date")
    group = check.add_argument_group("what to look at")
    group.add_argument(
        "--folder",
        type=Path,
        default=manifests.FOLDER,
        metavar="DIR",
        help="where the manifests lie (default: %(default)s)",
    )

    apply = commands.add_parser("apply", help="install or update them in a cluster")
    group = apply.add_argument_group("the cluster")
    group.add_argument(
        "--kubeconfig",
        default=os.environ.get("KUBECONFIG"),
        metavar="FILE",
        help="kubeconfig to use (default: $KUBECONFIG, then ~/.kube/config, then the Pod's own account)",
    )
    group.add_argument("--context", metavar="NAME", help="context of the kubeconfig (default: its current one)")
    group.add_argument(
        "--timeout",
        type=float,
        default=60.0,
        metavar="SECONDS",
        help="how long to wait until all are established (default: %(default)g)",
    )

    turn = commands.add_parser("convert", help="turn manifests of earlier operators into this one's")
    group = turn.add_argument_group("what to convert")
    group.add_argument(
        "--filename",
        "-f",
        type=Path,
        action="append",
        required=True,
        metavar="FILE",
        help="a file of YAML documents, or - for standard input; may be given several times",
    )
    return parser


def _print(output: Path | None) -> int:
    if output is None:
        print("---\n".join(manifests.render(resource) for resource in manifests.RESOURCES), end="")
        return 0
    try:
        written = manifests.write_all(output)
    except OSError as error:
        return _fail(f"{error.filename or output}: {error.strerror}; give --output a folder that can be written")
    for path in written:
        print(path)
    return 0


def _check(folder: Path) -> int:
    differing = manifests.differing(folder)
    for name in differing:
        print(f"{folder / name}: is not what the types in crds/ say; run `make generate`", file=sys.stderr)
    return 1 if differing else 0


def _apply(kubeconfig: str | None, context: str | None, timeout: float) -> int:
    from runtime.client import ApiError, load_client
    from runtime.client.errors import ClientError, ConfigError

    try:
        client = load_client(kubeconfig=kubeconfig, context=context)
    except ConfigError as error:
        return _fail(str(error))
    deadline = time.monotonic() + timeout
    try:
        for resource in manifests.RESOURCES:
            _install(client, resource)
        for resource in manifests.RESOURCES:
            problem = _await_established(client, resource, deadline)
            if problem:
                return _fail(problem)
    except ApiError as error:
        return _fail(f"{error}; the account needs create, get and patch on customresourcedefinitions")
    except ClientError as error:
        return _fail(f"{error}; see whether the API server of this context is up")
    finally:
        client.close()
    return 0


def _install(client: Client, resource: CustomResource) -> None:
    """Server-side apply, with force: the definition is ours, whoever wrote it last."""
    applied = client.resource(DEFINITIONS).apply(resource.manifest(), field_manager=FIELD_MANAGER, force=True)
    print(f"{resource.name}: applied (version {applied.resource_version})", flush=True)


def _await_established(client: Client, resource: CustomResource, deadline: float) -> str | None:
    """Wait until the server serves it. Returns what stands in the way when the time is up."""
    while True:
        states = conditions(client.resource(DEFINITIONS).get(resource.name).to_dict())
        if states.get("Established", ("", ""))[0] == "True":
            print(f"{resource.name}: established", flush=True)
            return None
        status, message = states.get("NamesAccepted", ("", ""))
        if status == "False":
            return f"{resource.name}: its names are taken: {message}; delete the definition that has them"
        if time.monotonic() >= deadline:
            return f"{resource.name}: not established in time; see `kubectl describe crd {resource.name}`"
        time.sleep(_POLL)


def conditions(definition: dict[str, object]) -> dict[str, tuple[str, str]]:
    """Condition type -> (status, message)."""
    status = definition.get("status")
    found = status.get("conditions") if isinstance(status, dict) else None
    return {str(item.get("type")): (str(item.get("status")), str(item.get("message", ""))) for item in found or []}


def _fail(problem: str) -> int:
    print(f"error: {problem}", file=sys.stderr)
    return 1


if __name__ == "__main__":
    sys.exit(main())
