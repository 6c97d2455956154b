"""Files that say how members are reached: renewed while the agent runs, so read for each connection."""

from __future__ import annotations

from pathlib import Path

import pytest

from membership.xline.client import TLS
from membership.xline.options import AccessFiles


def test_certificates_are_read_anew(tmp_path: Path) -> None:
    ca, certificate, key = (tmp_path / name for name in ("ca.crt", "tls.crt", "tls.key"))
    for file in (ca, certificate, key):
        file.write_bytes(file.name.encode())
    access = AccessFiles(ca, certificate, key)
    assert access.tls("demo-sts-0.demo-svc") == TLS(b"ca.crt", b"tls.crt", b"tls.key", "demo-sts-0.demo-svc")
    certificate.write_bytes(b"renewed")
    renewed = access.tls()
    assert renewed == TLS(b"ca.crt", b"renewed", b"tls.key", None)
    assert AccessFiles(ca).tls() == TLS(b"ca.crt", None, None, None)
    ca.unlink()
    with pytest.raises(OSError, match=r"ca\.crt"):
        access.tls()


def test_without_files_there_is_neither_tls_nor_a_user() -> None:
    assert AccessFiles().tls("name") is None
    assert AccessFiles().user() is None


def test_a_user_is_two_files_whose_last_line_end_does_not_count(tmp_path: Path) -> None:
    (tmp_path / "username").write_text("root\n")
    (tmp_path / "password").write_text(" with spaces \n")
    access = AccessFiles(auth_dir=tmp_path)
    assert access.user() == ("root", " with spaces ")
    (tmp_path / "password").unlink()
    with pytest.raises(OSError, match="password"):
        access.user()
