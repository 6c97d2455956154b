"""The form in which custom resources are stored, and the forms in which the versions of their CRD show them."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from runtime.testing.kinds.crds.defaulting import apply_defaults, drop_nulls, prune
from runtime.testing.kinds.crds.schema import Node
from runtime.testing.kinds.crds.webhook import ConversionWebhook
from runtime.types import JSONObject


@dataclass(frozen=True)
class Forms:
    """Conversion by a webhook, or as the strategy None does it: another apiVersion. Fields that the schema of the
    version does not know are dropped.

    :param nodes: the schemas of all versions, by name.
    :param storage: the version in which objects are stored from now on; they may have been stored in another.
    """

    group: str
    nodes: Mapping[str, Node]
    storage: str
    webhook: ConversionWebhook | None = None

    def writer(self, version: str) -> Callable[[JSONObject], JSONObject]:
        """To the stored form, from that of a version."""

        def write(obj: JSONObject) -> JSONObject:
            return obj if version == self.storage else self._convert(obj, self.storage)

        return write

    def reader(self, version: str) -> Callable[[JSONObject], JSONObject]:
        """From the stored form, in whatever version that is, to the one of a version.

        Defaults are those of the stored version.
        """

        def read(obj: JSONObject) -> JSONObject:
            stored = str(obj.get("apiVersion", "")).rpartition("/")[2]
            node = self.nodes.get(stored)
            if node is not None:
                _shape(node, obj)
                apply_defaults(node, obj)
            return obj if version == stored else self._convert(obj, version)

        return read

    def _convert(self, obj: JSONObject, version: str) -> JSONObject:
        api_version = f"{self.group}/{version}"
        if self.webhook is not None and obj.get("apiVersion") != api_version:
            obj = self.webhook.convert(obj, api_version)
        obj["apiVersion"] = api_version
        _shape(self.nodes[version], obj)
        return obj


def _shape(node: Node, obj: JSONObject) -> None:
    prune(node, obj)
    drop_nulls(node, obj)
