"""What the operator is granted where it is deployed: the rules of ``deploy/base/rbac.yaml``, one by one."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Literal, TypeAlias

import yaml

from runtime.types import JSONObject

__all__ = ["Permission", "Scope", "manifests", "permissions"]

# Where a permission holds: in the whole cluster, in each namespace that the operator looks after, or in its own.
Scope: TypeAlias = Literal["cluster", "watched", "own"]
_SCOPES: Final[dict[str, Scope]] = {
    "xline-operator": "watched",
    "xline-operator-cluster": "cluster",
    "xline-operator-election": "own",
}
_HERE: Final = Path(__file__).parent
# In the tree, and in the wheel, which has a copy of it beside this module.
_FILES: Final = (_HERE / "rbac.yaml", _HERE.parent / "deploy" / "base" / "rbac.yaml")


@dataclass(frozen=True, slots=True)
class Permission:
    """One verb on one resource.

    :ivar group: ``""`` for the core group.
    :ivar resource: its plural name.
    :ivar subresource: ``""`` for the resource itself.
    :ivar name: of the one object that it is for; ``""``: all.
    """

    scope: Scope
    group: str
    resource: str
    subresource: str
    verb: str
    name: str = ""

    @property
    def what(self) -> str:
        """The resource as kubectl and RBAC's rules name it: ``statefulsets.apps/status``."""
        kind = f"{self.resource}.{self.group}" if self.group else self.resource
        return f"{kind}/{self.subresource}" if self.subresource else kind

    def __str__(self) -> str:
        return f"{self.verb} {self.what}" + (f" {self.name}" if self.name else "")


def manifests() -> list[JSONObject]:
    """The Roles and ClusterRoles, in the order of the file."""
    path = next(path for path in _FILES if path.is_file())
    return [document for document in yaml.safe_load_all(path.read_text(encoding="utf-8")) if document]


def permissions() -> tuple[Permission, ...]:
    """Each of them, in the order of the file."""
    return tuple(each for role in manifests() for each in _of(role))


def _of(role: JSONObject) -> Iterator[Permission]:
    scope = _SCOPES[role["metadata"]["name"]]
    for rule in role["rules"]:
        for group in rule["apiGroups"]:
            for resource in rule["resources"]:
                plural, _, subresource = resource.partition("/")
                for verb in rule["verbs"]:
                    for name in rule.get("resourceNames") or [""]:
                        yield Permission(scope, group, plural, subresource, verb, name)
