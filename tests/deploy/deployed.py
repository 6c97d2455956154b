"""The operator as ``deploy/`` has it: its flags, its account, and a server that lets that account do nothing more."""

from __future__ import annotations

import ssl
import urllib.request
from collections.abc import Iterable
from pathlib import Path

import yaml

from cmd.permissions import Permission
from runtime.client import Client
from runtime.testing import FakeAPIServer
from runtime.testing.kubeconfig import write_kubeconfig
from runtime.types import JSONObject
from tests.support.operators import ROOT, Operator, Operators

DEPLOY = ROOT / "deploy"
BASE = DEPLOY / "base"
NAMESPACE = "xline-system"
NAME = "xline-operator"
ACCOUNT = f"system:serviceaccount:{NAMESPACE}:{NAME}"


def documents(path: Path) -> list[JSONObject]:
    return [document for document in yaml.safe_load_all(path.read_text()) if document]


def deployment() -> JSONObject:
    return next(each for each in documents(BASE / "deployment.yaml") if each["kind"] == "Deployment")


def container() -> JSONObject:
    (found,) = deployment()["spec"]["template"]["spec"]["containers"]
    container: JSONObject = found
    return container


def flags(args: Iterable[str] | None = None, namespace: str = NAMESPACE) -> list[str]:
    """Those of the Deployment, with ports that are free here."""
    given = container()["args"] if args is None else args
    found = [each.replace("$(POD_NAMESPACE)", namespace) for each in given]
    return [f"{each.partition('=')[0]}=127.0.0.1:0" if "-bind-address=" in each else each for each in found]


def grant(server: FakeAPIServer) -> None:
    """Namespace, account, roles and bindings of ``deploy/base``, and nothing else."""
    server.apply_manifests(DEPLOY / "overlays" / "default" / "namespace.yaml")
    server.apply_manifests(BASE / "rbac.yaml")
    server.apply_manifests(BASE / "binding.yaml")


def account_kubeconfig(server: FakeAPIServer, path: Path, namespace: str = NAMESPACE) -> Path:
    """With a token of the operator's account, as a Pod gets one."""
    token = server.service_account_token(namespace, NAME)
    ca = server.ca_file.read_bytes() if server.ca_file is not None else None
    return write_kubeconfig(path, server.url, namespace=namespace, ca=ca, token=token)


def account_client(server: FakeAPIServer) -> Client:
    return Client(server.url, token=server.service_account_token(NAMESPACE, NAME))


def start(operators: Operators, kubeconfig: Path, *more: str) -> Operator:
    return operators.start(kubeconfig, *flags(), *more)


def scrape(address: str, token: str) -> str:
    """The metrics, by https: the operator makes a certificate at its start, which nobody can verify."""
    trust = ssl.create_default_context()
    trust.check_hostname, trust.verify_mode = False, ssl.CERT_NONE
    asked = urllib.request.Request(f"https://{address}/metrics", headers={"Authorization": f"Bearer {token}"})
    with urllib.request.urlopen(asked, context=trust, timeout=30) as reply:
        return str(reply.read().decode())


def without(roles: Iterable[JSONObject], left_out: Permission) -> list[JSONObject]:
    """The same roles, less this one permission."""
    return [{**role, "rules": [part for rule in role["rules"] for part in _parts(rule, left_out)]} for role in roles]


def _parts(rule: JSONObject, left_out: Permission) -> list[JSONObject]:
    resource = "/".join(filter(None, (left_out.resource, left_out.subresource)))
    names = rule.get("resourceNames") or [""]
    concerned = left_out.group in rule["apiGroups"] and resource in rule["resources"] and left_out.verb in rule["verbs"]
    if not concerned or left_out.name not in names:
        return [rule]
    return [
        {
            "apiGroups": [group],
            "resources": [each],
            "verbs": [
                verb for verb in rule["verbs"] if (group, each, verb) != (left_out.group, resource, left_out.verb)
            ],
            **({"resourceNames": rule["resourceNames"]} if "resourceNames" in rule else {}),
        }
        for group in rule["apiGroups"]
        for each in rule["resources"]
    ]
