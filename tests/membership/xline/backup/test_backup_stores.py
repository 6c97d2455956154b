"""What both kinds of store promise, and what they say when they cannot keep it."""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from membership.xline.backup.s3 import S3Options, S3Store
from membership.xline.backup.stores import Store, StoreError, VolumeStore
from runtime.tls.certs import Authority
from tests.support.loopback import own_address
from tests.support.s3_server import BUCKET, FaultyProxy, S3Process

pytestmark = pytest.mark.usefixtures("s3_process")

KEY = "ns/demo/uid/one.db"


def whole(store: Store, key: str) -> bytes:
    return b"".join(store.read(key))


def pieces(count: int, size: int = 1 << 20) -> Iterator[bytes]:
    for number in range(count):
        yield bytes([number % 256]) * size


def test_what_was_written_is_read_back(store: Store) -> None:
    store.write(KEY, pieces(20))
    assert whole(store, KEY) == b"".join(pieces(20))
    (stored,) = store.list("ns/demo/")
    assert (stored.key, stored.size) == (KEY, 20 << 20)
    assert abs(stored.modified - datetime.now(UTC)) < timedelta(minutes=10)
    store.write(KEY, [b"another"])
    assert whole(store, KEY) == b"another"


def test_nothing_is_stored_of_what_breaks_off(store: Store) -> None:
    def broken() -> Iterator[bytes]:
        yield from pieces(20)
        raise RuntimeError("the member is gone")

    with pytest.raises(RuntimeError, match="the member is gone"):
        store.write(KEY, broken())
    assert store.list("ns/") == []
    with pytest.raises(StoreError) as caught:
        whole(store, KEY)
    assert caught.value.trouble == "Missing"


def test_what_breaks_off_leaves_what_was_there(store: Store) -> None:
    store.write(KEY, [b"good"])

    def broken() -> Iterator[bytes]:
        yield b"bad"
        raise RuntimeError("no")

    with pytest.raises(RuntimeError):
        store.write(KEY, broken())
    assert whole(store, KEY) == b"good"


def test_a_folder_is_not_the_beginning_of_another(store: Store) -> None:
    store.write("ns/demo/uid/one.db", [b"1"])
    store.write("ns/demo-two/uid/one.db", [b"2"])
    assert [each.key for each in store.list("ns/demo/")] == ["ns/demo/uid/one.db"]
    assert store.list("nobody/") == []


def test_what_is_deleted_is_gone_and_need_not_have_been_there(store: Store) -> None:
    store.write(KEY, [b"1"])
    store.delete(KEY)
    store.delete(KEY)
    store.delete("never/was/there.db")
    assert store.list("ns/") == []


# -- volumes


def test_a_full_disk_is_called_so(tmp_path: Path) -> None:
    store = VolumeStore(tmp_path)
    partial = tmp_path / "ns/demo/uid/.one.db.partial"
    partial.parent.mkdir(parents=True)
    partial.symlink_to("/dev/full")
    with pytest.raises(StoreError, match=r"one\.db: No space left on device") as caught:
        store.write(KEY, pieces(1))
    assert caught.value.trouble == "Full"
    assert list(partial.parent.iterdir()) == []


def test_a_volume_that_is_not_mounted_is_called_so(tmp_path: Path) -> None:
    with pytest.raises(StoreError, match="is the volume mounted"):
        VolumeStore(tmp_path / "nowhere")


def test_who_waits_for_another_backup_goes_on_when_that_is_done(tmp_path: Path) -> None:
    store, begun, over = VolumeStore(tmp_path), threading.Event(), []

    def second() -> None:
        begun.set()
        with store.exclusive("ns/demo/uid/", 60.0):
            over.append("second")

    with store.exclusive("ns/demo/uid/", 60.0):
        thread = threading.Thread(target=second)
        thread.start()
        assert begun.wait(30)
        with pytest.raises(StoreError, match="another backup") as caught, store.exclusive("ns/demo/uid/", 0.0):
            raise AssertionError("two at once")
        assert caught.value.trouble == "Busy"
        with store.exclusive("ns/other/uid/", 0.0):
            pass  # another cluster's is nobody's business
        over.append("first")
    thread.join(60)
    assert over == ["first", "second"]


def test_a_half_written_file_goes_with_the_next_backup(tmp_path: Path) -> None:
    store = VolumeStore(tmp_path)
    folder = tmp_path / "ns/demo/uid"
    folder.mkdir(parents=True)
    (folder / ".old.db.partial").write_bytes(b"half")
    assert store.list("ns/") == []
    with store.exclusive("ns/demo/uid/", 0.0):
        assert not (folder / ".old.db.partial").exists()


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_a_volume_that_may_not_be_written_is_called_so(tmp_path: Path) -> None:
    tmp_path.chmod(0o500)
    with pytest.raises(StoreError) as caught:
        VolumeStore(tmp_path).write(KEY, [b"1"])
    assert caught.value.trouble == "Denied"


# -- S3


def through(proxy: FaultyProxy, name: str, **options: object) -> S3Store:
    values = {"retries": 3, "retry_timeout": 30.0, **options}
    return S3Store(S3Options(BUCKET, prefix=name, endpoint=proxy.url, path_style=True, **values))  # type: ignore[arg-type]


def test_a_store_that_stumbles_is_asked_again(proxy: FaultyProxy, tmp_path: Path) -> None:
    stumbles = iter([500, 503])
    proxy.fault = lambda method, path: next(stumbles, None)
    store = through(proxy, tmp_path.name)
    store.write(KEY, pieces(2))
    assert whole(store, KEY) == b"".join(pieces(2))
    assert next(stumbles, "over") == "over"


def test_a_store_that_stays_broken_is_given_up(proxy: FaultyProxy, s3: S3Process, tmp_path: Path) -> None:
    proxy.fault = lambda method, path: 500 if method in ("PUT", "POST") else None
    with pytest.raises(StoreError, match="Broken: as the test asks") as caught:
        through(proxy, tmp_path.name, retries=1).write(KEY, pieces(2))
    assert caught.value.trouble == "Unreachable"
    assert not [key for key in s3.stored() if key.startswith(tmp_path.name)]


def test_a_part_that_fails_takes_the_upload_with_it(proxy: FaultyProxy, s3: S3Process, tmp_path: Path) -> None:
    """The second part: the first is with the store by then."""
    proxy.fault = lambda method, path: 403 if "partNumber=2" in path else None
    with pytest.raises(StoreError) as caught:
        through(proxy, tmp_path.name).write(KEY, pieces(40))
    assert caught.value.trouble == "Denied"
    assert not [key for key in s3.stored() if key.startswith(tmp_path.name)]
    assert any(method == "DELETE" and "uploadId" in path for method, path in proxy.seen)


def test_who_may_not_is_told_at_once(proxy: FaultyProxy, tmp_path: Path) -> None:
    proxy.fault = lambda method, path: 403
    with pytest.raises(StoreError) as caught:
        through(proxy, tmp_path.name).list("ns/")
    assert caught.value.trouble == "Denied"
    assert len(proxy.seen) == 1


def test_nobody_there_is_called_unreachable(s3: S3Process) -> None:
    store = S3Store(S3Options(BUCKET, endpoint="http://127.0.0.1:9", path_style=True, retries=1, retry_timeout=5.0))
    with pytest.raises(StoreError, match=r"127\.0\.0\.1:9") as caught:
        store.list("ns/")
    assert caught.value.trouble == "Unreachable"


def test_a_bucket_that_is_not_there_is_called_missing(s3: S3Process) -> None:
    store = S3Store(S3Options("nobody-has-it", endpoint=s3.url, path_style=True))
    with pytest.raises(StoreError, match="NoSuchBucket") as caught:
        store.write(KEY, [b"1"])
    assert caught.value.trouble == "Missing"


@pytest.fixture
def authority() -> Authority:
    return Authority.create("the store's own")


@pytest.fixture
def encrypted(authority: Authority, s3: S3Process, tmp_path: Path) -> Iterator[S3Process]:
    host = own_address()
    pair = authority.serving([host])
    certificate, key = tmp_path / "tls.crt", tmp_path / "tls.key"
    certificate.write_bytes(pair.certificate)
    key.write_bytes(pair.key)
    with S3Process(host=host, certificate=certificate, key=key) as process:
        yield process


def test_a_store_with_a_certificate_of_its_own_is_trusted_by_its_authority_alone(
    encrypted: S3Process, authority: Authority, tmp_path: Path
) -> None:
    ca = tmp_path / "ca.crt"
    ca.write_bytes(authority.certificate)
    options = S3Options(BUCKET, endpoint=encrypted.url, path_style=True, retries=0, ca=ca)
    store = S3Store(options)
    store.write(KEY, pieces(2))
    assert whole(store, KEY) == b"".join(pieces(2))
    with pytest.raises(StoreError) as caught:
        S3Store(replace(options, ca=None)).list("ns/")
    assert caught.value.trouble == "Unreachable"
    ca.write_bytes(Authority.create("the store's own").certificate)
    with pytest.raises(StoreError):
        S3Store(options).list("ns/")
    ca.write_text("no certificate")
    with pytest.raises(StoreError) as caught:
        S3Store(options).list("ns/")


def test_the_bucket_goes_into_the_host_where_it_should() -> None:
    named = S3Store(S3Options(BUCKET, endpoint="https://s3.example:9000"))
    assert named._endpoint() == "https://backups.s3.example:9000"
    assert str(named) == "s3://backups at https://s3.example:9000"


@pytest.mark.parametrize(
    "endpoint", ["minio:9000", "s3.example", "ftp://s3.example", "https://s3.example/path", "https://"]
)
def test_an_endpoint_that_is_no_url_is_said_before_anybody_is_asked(endpoint: str) -> None:
    with pytest.raises(StoreError, match="no URL such as"):
        S3Store(S3Options(BUCKET, endpoint=endpoint))


def test_a_certificate_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(StoreError, match=r"ca\.crt: No such file"):
        S3Store(S3Options(BUCKET, endpoint="https://s3.example", ca=tmp_path / "ca.crt"))
