"""Which built-in kind behaves how."""

from __future__ import annotations

from runtime.testing.kinds.behaviour import BuiltinBehaviour
from runtime.testing.kinds.builtin import Row
from runtime.testing.kinds.crds import definition
from runtime.testing.kinds.services import ServiceAddresses


def behaviour_of(row: Row, addresses: ServiceAddresses) -> BuiltinBehaviour:
    """The behaviour of one built-in kind."""
    if row.kind == "CustomResourceDefinition":
        return BuiltinBehaviour(
            has_status=True,
            defaults=definition.default_crd,
            on_create=definition.initial_status,
            checks=(definition.validate_crd,),
        )
    return BuiltinBehaviour(has_status="status" in row.subs)
