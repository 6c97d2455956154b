"""Which objects a list, a watch or a deletecollection is about: label and field selectors."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping

from runtime.testing.apiserver.errors import bad_request, quote
from runtime.testing.apiserver.log import Stored
from runtime.testing.kinds.model import Kind

_TOKEN = re.compile(r"\s*(==|!=|=|!|,|\(|\)|<|>|[^\s=!,()<>]+)")
_KEY = re.compile(r"([a-z0-9]([-a-z0-9.]*[a-z0-9])?/)?[A-Za-z0-9]([-A-Za-z0-9_.]*[A-Za-z0-9])?")
_VALUE = re.compile(r"([A-Za-z0-9]([-A-Za-z0-9_.]*[A-Za-z0-9])?)?")
_META_FIELDS = ("metadata.name", "metadata.namespace")

Requirement = Callable[[Mapping[str, str]], bool]


class Selection:
    """Raises 400 for a selector that cannot be parsed or names an unknown field."""

    def __init__(self, kind: Kind, label_selector: str, field_selector: str) -> None:
        self._kind = kind
        self._labels = parse_labels(label_selector)
        self._fields = _parse_fields(field_selector)
        self._check_fields()

    @property
    def everything(self) -> bool:
        return not self._labels and not self._fields

    @property
    def name(self) -> str | None:
        """The one name selected, if the field selector says ``metadata.name=NAME``."""
        return next((v for f, v, equal in self._fields if f == "metadata.name" and equal), None)

    def matches(self, stored: Stored) -> bool:
        if self._labels:
            labels = stored.labels
            if not all(requirement(labels) for requirement in self._labels):
                return False
        return not self._fields or self._fields_match(stored)

    def _fields_match(self, stored: Stored) -> bool:
        values: Mapping[str, str] = {}
        for field, wanted, equal in self._fields:
            if field == "metadata.name":
                have = stored.name
            elif field == "metadata.namespace":
                have = stored.namespace
            else:
                values = values or self._kind.field_labels(stored.seen(self._kind).obj)
                have = values.get(field, "")
            if (have == wanted) is not equal:
                return False
        return True

    def _check_fields(self) -> None:
        if all(field in _META_FIELDS for field, _, _ in self._fields):
            return
        known = self._kind.field_labels({"metadata": {}})
        for field, _, _ in self._fields:
            if field in _META_FIELDS or field in known:
                continue
            if self._kind.custom or known:
                raise bad_request(f"field label not supported: {field}")
            only = ", ".join(quote(each) for each in _META_FIELDS)
            raise bad_request(f"{quote(field)} is not a known field selector: only {only}")


def _parse_fields(text: str) -> list[tuple[str, str, bool]]:
    terms = []
    for term in re.split(r"(?<!\\),", text):
        if not term:
            continue
        match = re.fullmatch(r"(.*?)(==|!=|=)(.*)", term, re.DOTALL)
        if not match:
            raise bad_request(f"invalid selector: {quote(term)}; can't understand {quote(term)}")
        value = re.sub(r"\\([\\,=])", r"\1", match[3])
        terms.append((match[1].strip(), value, match[2] != "!="))
    return terms


def parse_labels(text: str) -> list[Requirement]:
    """The requirements of a label selector, with the real server's messages for what cannot be parsed."""
    return _LabelParser(text).parse()


class _LabelParser:
    def __init__(self, text: str) -> None:
        self._tokens = _TOKEN.findall(text)
        self._at = 0

    def _peek(self) -> str:
        return self._tokens[self._at] if self._at < len(self._tokens) else ""

    def _next(self) -> str:
        token = self._peek()
        self._at += 1
        return token

    def parse(self) -> list[Requirement]:
        requirements: list[Requirement] = []
        while self._peek():
            requirements.append(self._requirement())
            separator = self._next()
            if separator == ",":
                if not self._peek():
                    raise bad_request("found '', expected: identifier after ','")
            elif separator:
                raise bad_request(f"found '{separator}', expected: ',' or 'end of string'")
        return requirements

    def _requirement(self) -> Requirement:
        token = self._next()
        if token == "!":  # noqa: S105
            key = self._key(self._next())
            return lambda labels: key not in labels
        if token in (",", "(", ")", "=", "==", "!=", "<", ">"):
            raise bad_request(f"found '{token}', expected: !, identifier, or 'end of string'")
        key = self._key(token)
        operator = self._peek()
        if operator in ("", ","):
            return lambda labels: key in labels
        self._at += 1
        if operator in ("=", "=="):
            value = self._value(key)
            return lambda labels: labels.get(key) == value
        if operator == "!=":
            value = self._value(key)
            return lambda labels: labels.get(key) != value
        if operator in ("in", "notin"):
            values = self._values(key)
            if operator == "in":
                return lambda labels: labels.get(key) in values
            return lambda labels: labels.get(key) not in values
        if operator in ("<", ">"):
            return _comparison(key, operator, self._value(key))
        raise bad_request(f"unable to parse requirement: found '{operator}', expected: in, notin, =, ==, !=, gt, lt")

    def _key(self, token: str) -> str:
        if not _KEY.fullmatch(token):
            raise bad_request(
                f"unable to parse requirement: <nil>: Invalid value: {quote(token)}: name part must consist of "
                "alphanumeric characters, '-', '_' or '.', and must start and end with an alphanumeric character"
            )
        return token

    def _value(self, key: str) -> str:
        token = self._peek()
        if token in ("", ","):
            return ""
        self._at += 1
        return self._checked(key, token)

    def _checked(self, key: str, token: str) -> str:
        if len(token) > 63:
            raise bad_request(
                f"unable to parse requirement: values[0][{key}]: Invalid value: {quote(token)}: "
                "must be no more than 63 bytes"
            )
        if not _VALUE.fullmatch(token):
            raise bad_request(
                f"unable to parse requirement: values[0][{key}]: Invalid value: {quote(token)}: a valid label must "
                "be an empty string or consist of alphanumeric characters, '-', '_' or '.'"
            )
        return token

    def _values(self, key: str) -> frozenset[str]:
        opening = self._next()
        if opening != "(":
            raise bad_request(f"unable to parse requirement: found '{opening}' expected: '('")
        values = set()
        while True:
            token = self._next()
            if token == ")":  # noqa: S105
                return frozenset(values or {""})
            if token == ",":  # noqa: S105
                continue
            if token in ("", "(", "=", "==", "!=", "!"):
                raise bad_request(f"unable to parse requirement: found '{token}', expected: ',', ')' or identifier")
            values.add(self._checked(key, token))


def _comparison(key: str, operator: str, text: str) -> Requirement:
    try:
        bound = int(text)
    except ValueError:
        raise bad_request(
            f"unable to parse requirement: values[0][{key}]: Invalid value: {quote(text)}: "
            "for 'Gt', 'Lt' operators, the value must be an integer"
        ) from None

    def compare(labels: Mapping[str, str]) -> bool:
        try:
            value = int(labels[key])
        except (KeyError, ValueError):
            return False
        return value > bound if operator == ">" else value < bound

    return compare
