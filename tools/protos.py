"""Generate the Python modules of our ``.proto`` files, or check that the committed ones are up to date.

    python tools/protos.py            writes them
    python tools/protos.py --check    exit code 1, naming the files, if they differ

Only messages are generated: the methods are few and called by name, and generated stubs would tie the package to
the grpcio version they were made with.
"""

from __future__ import annotations

import argparse
import re
import sys
import tempfile
from importlib import resources
from pathlib import Path

from grpc_tools import protoc  # type: ignore[import-untyped]  # has no types

ROOT = Path(__file__).resolve().parent.parent
SOURCES = sorted([*ROOT.glob("membership/**/*.proto"), *ROOT.glob("tests/support/*.proto")])
SUFFIXES = ("_pb2.py", "_pb2.pyi")

# protoc makes its output refuse any runtime older than itself, which would force the newest protobuf on everyone who
# installs us. What remains without it is a serialised descriptor and calls that protobuf has had since 3.20.
_RUNTIME_CHECK = re.compile(
    r"from google\.protobuf import runtime_version as _runtime_version\n|"
    r"_runtime_version\.ValidateProtobufRuntimeVersion\(.*?\n\)\n",
    re.DOTALL,
)


def main(argv: list[str] | None = None) -> int:
    """Returns the exit code."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--check", action="store_true", help="only compare; exit code 1 if files differ")
    check = parser.parse_args(argv).check
    with tempfile.TemporaryDirectory() as folder:
        generated = _generate(Path(folder))
    stale = [path for path, text in generated.items() if not path.is_file() or path.read_text() != text]
    if check:
        for path in stale:
            sys.stderr.write(f"{path.relative_to(ROOT)}: is not what its .proto says; run `make generate`\n")
        return 1 if stale else 0
    for path in stale:
        path.write_text(generated[path])
        sys.stdout.write(f"{path.relative_to(ROOT)}\n")
    return 0


def _generate(folder: Path) -> dict[Path, str]:
    """Path in the tree -> the text it should have."""
    names = [str(source.relative_to(ROOT)) for source in SOURCES]
    include = str(resources.files("grpc_tools") / "_proto")
    code = protoc.main(["protoc", f"-I{ROOT}", f"-I{include}", f"--python_out={folder}", f"--pyi_out={folder}", *names])
    if code:
        raise SystemExit(f"protoc failed with exit code {code}; its message stands above")
    stems = [name.removesuffix(".proto") for name in names]
    files = [Path(stem + end) for stem in stems for end in SUFFIXES]
    return {ROOT / file: _tidy((folder / file).read_text()) for file in files}


def _tidy(text: str) -> str:
    typed = text.replace("_Mapping]", "_Mapping[str, object]]")  # mypy --strict wants to know of what
    return _RUNTIME_CHECK.sub("", typed)


if __name__ == "__main__":
    sys.exit(main())
