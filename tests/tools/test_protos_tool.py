"""The generated messages are those of the .proto."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]


def test_committed_messages_are_up_to_date() -> None:
    done = subprocess.run(
        [sys.executable, "tools/protos.py", "--check"], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr


def test_messages_do_not_bind_users_to_one_protobuf_release() -> None:
    text = (ROOT / "membership/xline/proto/engine_pb2.py").read_text()
    assert "ValidateProtobufRuntimeVersion" not in text
