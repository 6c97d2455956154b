"""A custom resource as the API server has to know it: names, schema, columns, subresources."""

from __future__ import annotations

from dataclasses import dataclass

import msgspec

from crds.schema import rules, structural_schema
from runtime.types import GVR, JSONObject


@dataclass(frozen=True, slots=True)
class Column:
    """A column of ``kubectl get``.

    :param priority: 0 is always shown, 1 only with ``-o wide``.
    """

    name: str
    type: str
    json_path: str
    description: str
    priority: int = 0

    def manifest(self) -> JSONObject:
        shown: JSONObject = {"name": self.name, "type": self.type, "jsonPath": self.json_path}
        shown["description"] = self.description
        if self.priority:
            shown["priority"] = self.priority
        return shown


AGE = Column("Age", "date", ".metadata.creationTimestamp", "How long ago it was created.")


@dataclass(frozen=True, slots=True)
class Scale:
    """Where the scale subresource finds its numbers; ``kubectl scale`` and HPA go through it."""

    spec_replicas: str
    status_replicas: str
    label_selector: str

    def manifest(self) -> JSONObject:
        return {
            "specReplicasPath": self.spec_replicas,
            "statusReplicasPath": self.status_replicas,
            "labelSelectorPath": self.label_selector,
        }


@dataclass(frozen=True, slots=True)
class CustomResource:
    """One resource in one version: the one that is served and stored.

    :param keeps_unknown: fields of the object that the type does not have are stored, not dropped: for what others
        write, too, who may know more.
    :param rules: CEL rules about the object as a whole, its name included, each with its message.
    :param selectable_fields: JSON paths (``.clusterId``) by which field selectors may choose. Kubernetes knows them
        from 1.30 on and has them on from 1.31 on; before, the server answers 400 to such a selector.
    """

    type: type[msgspec.Struct]
    group: str
    version: str
    kind: str
    plural: str
    singular: str
    short_names: tuple[str, ...]
    categories: tuple[str, ...]
    columns: tuple[Column, ...]
    status: bool = False
    scale: Scale | None = None
    keeps_unknown: bool = False
    rules: tuple[tuple[str, str], ...] = ()
    selectable_fields: tuple[str, ...] = ()

    @property
    def gvr(self) -> GVR:
        return GVR(self.group, self.version, self.plural)

    @property
    def name(self) -> str:
        """The name of its CustomResourceDefinition object."""
        return f"{self.plural}.{self.group}"

    def manifest(self) -> JSONObject:
        """Its CustomResourceDefinition."""
        return {
            "apiVersion": "apiextensions.k8s.io/v1",
            "kind": "CustomResourceDefinition",
            "metadata": {"name": self.name},
            "spec": {
                "group": self.group,
                "scope": "Namespaced",
                "names": {
                    "plural": self.plural,
                    "singular": self.singular,
                    "kind": self.kind,
                    "listKind": f"{self.kind}List",
                    "shortNames": list(self.short_names),
                    "categories": list(self.categories),
                },
                "versions": [self._served()],
            },
        }

    def _served(self) -> JSONObject:
        served: JSONObject = {
            "name": self.version,
            "served": True,
            "storage": True,
            "additionalPrinterColumns": [column.manifest() for column in self.columns],
        }
        if self.selectable_fields:
            served["selectableFields"] = [{"jsonPath": path} for path in self.selectable_fields]
        subresources: JSONObject = {}
        if self.status:
            subresources["status"] = {}
        if self.scale:
            subresources["scale"] = self.scale.manifest()
        if subresources:
            served["subresources"] = subresources
        schema = structural_schema(self.type)
        if self.keeps_unknown:
            schema |= {"x-kubernetes-preserve-unknown-fields": True}
        if self.rules:
            schema |= rules(*self.rules)
        served["schema"] = {"openAPIV3Schema": schema}
        return served
