"""Which objects a list, a watch or a deletecollection is about: label and field selectors."""

from __future__ import annotations

from collections.abc import Mapping

from runtime.selectors import EQUALS, FieldSelector, LabelSelector, SelectorError
from runtime.testing.apiserver.errors import bad_request, quote
from runtime.testing.apiserver.log import Stored
from runtime.testing.apiserver.selectorerrors import field_selector_error, label_selector_error
from runtime.testing.kinds.model import Kind

_NAME, _NAMESPACE = "metadata.name", "metadata.namespace"


class Selection:
    """Raises 400 for a selector that cannot be parsed or names an unknown field.

    :param name: of the one object that the path names; a field selector must name the same.
    """

    def __init__(self, kind: Kind, label_selector: str, field_selector: str, name: str = "") -> None:
        self._kind = kind
        self.texts = (label_selector, field_selector, name)  # selections of one kind with equal ones select the same
        try:
            self._labels = LabelSelector.parse(label_selector)
        except SelectorError as error:
            raise bad_request(label_selector_error(label_selector) or str(error)) from None
        try:
            self._fields = FieldSelector.parse(field_selector)
        except SelectorError:
            raise bad_request(field_selector_error(field_selector)) from None
        self._check_fields()
        if name:
            if self._fields.empty:
                self._fields = FieldSelector(((_NAME, EQUALS, name),))
            elif (_NAME, EQUALS, name) not in self._fields.requirements:
                raise bad_request("fieldSelector metadata.name doesn't match requested name")
        self.everything = self._labels.empty and self._fields.empty

    def matches(self, stored: Stored) -> bool:
        if self.everything:
            return True
        return self._labels.matches(stored.labels) and self._fields_match(stored)

    def _fields_match(self, stored: Stored) -> bool:
        if self._fields.empty:
            return True
        values: Mapping[str, str] | None = None
        for field, operator, wanted in self._fields.requirements:
            if field == _NAME:
                have = stored.name
            elif field == _NAMESPACE:
                have = stored.namespace
            else:
                if values is None:
                    values = self._kind.field_labels(stored.seen(self._kind).obj)
                have = values.get(field, "")
            if (have == wanted) != (operator == EQUALS):
                return False
        return True

    def _check_fields(self) -> None:
        common = (_NAME,) if self._kind.custom and not self._kind.namespaced else (_NAME, _NAMESPACE)
        others = [field for field in self._fields.fields if field not in common]
        if not others:
            return
        known = self._kind.field_labels({"metadata": {}})
        for field in others:
            if field in known:
                continue
            if self._kind.custom or known:
                raise bad_request(f"field label not supported: {field}")
            raise bad_request(f"{quote(field)} is not a known field selector: only {quote(_NAME)}, {quote(_NAMESPACE)}")
