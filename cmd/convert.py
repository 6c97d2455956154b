"""``python -m cmd.crds convert``: manifests of earlier operators, read and written."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

import yaml

from crds.conversion import Conversion, convert, is_ours
from membership.xline.settings import XLINE_OWN_FLAGS
from runtime.types import JSONMapping, JSONObject


class Unreadable(Exception):
    """A file that cannot be read; the text names it."""


def run(files: Sequence[Path]) -> int:
    """Convert the XlineClusters in these files, and print all objects in them. Nothing is printed unless all could be
    converted.

    :param files: ``-`` is standard input.
    :returns: the exit status.
    """
    made: list[JSONObject] = []
    failed = False
    try:
        for path in files:
            for document in _documents(path):
                if not is_ours(document):
                    made.append(dict(document))
                    continue
                converted = convert(document, XLINE_OWN_FLAGS)
                _tell(path, document, converted)
                failed = failed or converted.failed
                if converted.manifest is not None:
                    made.append(converted.manifest)
    except Unreadable as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    if failed:
        print("error: nothing was converted; see above", file=sys.stderr)
        return 1
    print("---\n".join(yaml.safe_dump(each, sort_keys=False, allow_unicode=True) for each in made), end="")
    return 0


def _documents(path: Path) -> Iterator[JSONMapping]:
    try:
        text = sys.stdin.read() if str(path) == "-" else path.read_text(encoding="utf-8")
        found = [document for document in yaml.safe_load_all(text) if document is not None]
    except OSError as error:
        raise Unreadable(f"{path}: {error.strerror}") from None
    except (UnicodeDecodeError, yaml.YAMLError) as error:
        raise Unreadable(f"{path}: is no YAML: {' '.join(str(error).split())}") from None
    for document in found:
        if not isinstance(document, dict):
            raise Unreadable(f"{path}: holds something that is no Kubernetes object")
        yield from document["items"] if document.get("kind") == "List" and "items" in document else [document]


def _tell(path: Path, document: JSONMapping, converted: Conversion) -> None:
    metadata = document.get("metadata") or {}
    name = "/".join(str(metadata[key]) for key in ("namespace", "name") if metadata.get(key))
    for note in converted.notes:
        print(f"{'error' if note.fatal else 'warning'}: {path}: XlineCluster {name}: {note}", file=sys.stderr)
