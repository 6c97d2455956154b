from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.controllers.xline.xline_world import World
from tests.controllers.xline.xline_world import world as new_world


@pytest.fixture
def world() -> Iterator[World]:
    """An API server with our CRDs, without an operator."""
    with new_world() as here:
        yield here
