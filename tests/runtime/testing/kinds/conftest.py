"""What the tests of the kinds share."""

from __future__ import annotations

import pytest

from tests.runtime.testing.kinds.kinds_helpers import JSON, JSONMaker, Sandbox, Submit, crd, write


@pytest.fixture
def sandbox() -> Sandbox:
    return Sandbox()


@pytest.fixture
def make_crd() -> JSONMaker:
    return crd


@pytest.fixture
def widget() -> JSONMaker:
    def make(spec: JSON) -> JSON:
        return {"apiVersion": "example.com/v1", "kind": "Widget", "metadata": {"name": "w"}, "spec": spec}

    return make


@pytest.fixture
def submit() -> Submit:
    return write
