from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from membership.xline.backup.s3 import S3Options, S3Store
from membership.xline.backup.stores import Store, VolumeStore
from tests.support.s3_server import BUCKET, CREDENTIALS, FaultyProxy, S3Process

NewStore = Callable[[], Store]


@pytest.fixture(scope="module")
def s3_process() -> Iterator[S3Process]:
    with S3Process() as process:
        yield process


@pytest.fixture
def s3(s3_process: S3Process, monkeypatch: pytest.MonkeyPatch) -> S3Process:
    """The server, and credentials for it in the environment as a Pod has them. The bucket keeps what earlier tests of
    the module have put into it: use a prefix of your own."""
    for name, value in CREDENTIALS.items():
        monkeypatch.setenv(name, value)
    return s3_process


@pytest.fixture
def proxy(s3: S3Process) -> Iterator[FaultyProxy]:
    proxy = FaultyProxy(s3)
    yield proxy
    proxy.close()


@pytest.fixture(params=["volume", "s3"])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> Store:
    """Each kind of store, empty."""
    if request.param == "volume":
        folder = tmp_path / "volume"
        folder.mkdir()
        return VolumeStore(folder)
    server: S3Process = request.getfixturevalue("s3")
    return S3Store(S3Options(BUCKET, prefix=tmp_path.name, endpoint=server.url, path_style=True, retries=2))
