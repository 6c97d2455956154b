"""Manifests of earlier operators, converted by the documented command, and accepted by a server with our definition."""

from __future__ import annotations

import copy
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

import crds
from cmd.crds import main
from crds.conversion import convert, is_ours
from crds.xlinecluster import XLINECLUSTERS
from runtime.client import Client
from runtime.testing import FakeAPIServer
from runtime.types import GVR

FILES = Path(__file__).parent / "conversion"
NAMESPACES = GVR("", "v1", "namespaces")


@pytest.fixture
def client() -> Iterator[Client]:
    with FakeAPIServer() as server:
        server.apply_manifests(Path(crds.__file__).parent)
        client = server.client()
        client.resource(NAMESPACES).create({"metadata": {"name": "prod"}})
        yield client
        client.close()


def rust(version: str = "xlineoperator.xline.cloud/v1alpha1", **spec: Any) -> dict[str, Any]:
    return {
        "apiVersion": version,
        "kind": "XlineCluster",
        "metadata": {"name": "old", "namespace": "prod"},
        "spec": {"size": 3, "container": {"name": "xline", "image": "x:v0.7.0"}, **spec},
    }


def notes(document: dict[str, Any]) -> list[str]:
    return [str(note) for note in convert(document).notes]


def test_everything_is_converted_or_named(capsys: pytest.CaptureFixture[str], client: Client) -> None:
    assert main(["convert", "-f", str(FILES / "rust.yaml")]) == 0
    printed = capsys.readouterr()
    assert printed.out == (FILES / "rust.new.yaml").read_text()
    told = [line.split("XlineCluster prod/old: ")[1] for line in printed.err.splitlines()]
    assert told == (FILES / "rust.notes.txt").read_text().splitlines()
    assert all(line.startswith(f"warning: {FILES / 'rust.yaml'}: ") for line in printed.err.splitlines())
    _, new = yaml.safe_load_all(printed.out)
    stored = client.resource(XLINECLUSTERS, namespace="prod").create(new).to_dict()
    for key, value in new["spec"].items():
        if not isinstance(value, dict):
            assert stored["spec"][key] == value, "the server keeps what is converted"
    assert stored["spec"]["storage"]["size"] == "8Gi"
    assert stored["spec"]["backup"]["destination"] == new["spec"]["backup"]["destination"]


@pytest.mark.parametrize(
    "version",
    [
        "xlineoperator.xline.cloud/v1alpha1",
        "xlineoperator.xline.cloud/v1alpha",
        "xlineoperator.datenlord.io/v1alpha",
    ],
)
def test_all_versions_of_the_rust_operator(version: str, client: Client) -> None:
    document = rust(version, data={"spec": {"resources": {"requests": {"storage": "2Gi"}}}})
    before = copy.deepcopy(document)
    made = convert(document)
    assert document == before
    assert made.notes == []
    assert made.manifest == {
        "apiVersion": "xline.io.datenlord.com/v1alpha1",
        "kind": "XlineCluster",
        "metadata": {"name": "old", "namespace": "prod"},
        "spec": {"engine": "xline", "replicas": 3, "image": "x:v0.7.0", "storage": {"size": "2Gi"}},
    }
    client.resource(XLINECLUSTERS, namespace="prod").create(made.manifest)


def test_the_go_operators_group_before_the_last() -> None:
    spec = {"replicas": 3, "image": "x:v0.6.1", "bootstrapArgs": {"log-level": "debug"}}
    made = convert({**rust("xline.kvstore.datenlord.com/v1alpha1"), "spec": spec})
    assert made.notes == []
    assert made.manifest is not None
    assert made.manifest["apiVersion"] == "xline.io.datenlord.com/v1alpha1"
    assert made.manifest["spec"] == spec


def test_scratch_space_becomes_a_volume_and_says_so() -> None:
    assert any(note.startswith("spec.data: is absent") for note in notes(rust()))


def test_backups_to_a_bucket_need_more_than_the_old_manifest_said() -> None:
    made = convert(rust(backup={"cron": "0 3 * * *", "s3": {"bucket": "backups"}}))
    assert made.manifest is not None
    assert made.manifest["spec"]["backup"] == {
        "schedule": "0 3 * * *",
        "destination": {"s3": {"bucket": "backups"}},
    }
    assert any("secretName" in str(note) for note in made.notes)


def test_labels_that_objects_inherit() -> None:
    document = rust()
    document["metadata"]["labels"] = {"a/x": "1", "b/y": "2", "c": "3"}
    document["metadata"]["annotations"] = {"xlineoperator.datenlord.io/inherit-label-prefix": " a/ , b/,"}
    made = convert(document).manifest
    assert made is not None
    assert made["spec"]["podTemplate"] == {"metadata": {"labels": {"a/x": "1", "b/y": "2"}}}
    assert "annotations" not in made["metadata"]
    assert made["metadata"]["labels"] == document["metadata"]["labels"]


@pytest.mark.parametrize(
    ("words", "flags"),
    [
        (["--a", "1", "--b"], ["--a=1", "--b"]),
        (["--a", "--b", "2"], ["--a", "--b=2"]),
        (["--a=1", "2"], ["--a=1"]),
        (["--name=$(XLINE_POD_NAME)"], ["--name=$(POD_NAME)"]),
        ([], None),
    ],
)
def test_arguments(words: list[str], flags: list[str] | None) -> None:
    made = convert(rust(container={"image": "x", "args": words})).manifest
    assert made is not None
    assert made["spec"].get("extraArgs") == flags


@pytest.mark.parametrize(
    ("document", "said"),
    [
        ({**rust(), "spec": None}, "spec: is missing"),
        ({**rust(), "metadata": {}}, "metadata.name: is missing"),
        ({**rust(), "apiVersion": "xlineoperator.xline.cloud/v2"}, "is no XlineCluster of an earlier operator"),
        (rust(container=None), "spec.container: is missing"),
        (rust(container="xline"), "spec.container: is missing"),
        (rust(size="three"), "spec.replicas"),
        (rust(size=0), "spec.replicas"),
        (rust(data="8Gi"), "spec.data: is '8Gi'"),
        (rust(data={"spec": {}}), "spec.data.spec.resources.requests.storage: is missing"),
        (rust(data={"spec": {"resources": {"requests": {"storage": "much"}}}}), "spec.storage.size"),
        (rust(backup={"cron": "1 2 3 4 5"}), "spec.backup: has neither s3 nor pvc"),
        (rust(backup={"s3": {"bucket": "b-b"}}), "spec.backup.cron: is missing"),
        (rust(backup={"cron": "soon", "s3": {"bucket": "b-b"}}), "spec.backup.schedule"),
        (rust(backup={"cron": "1 2 3 4 5", "s3": {}, "pvc": 3}), "spec.backup.pvc: is 3"),
    ],
)
def test_what_cannot_be_converted_is_an_error_naming_the_field(document: dict[str, Any], said: str) -> None:
    made = convert(document)
    assert made.manifest is None
    assert said in " | ".join(str(note) for note in made.notes if note.fatal)


def test_other_objects_are_none_of_our_business() -> None:
    assert not is_ours({"apiVersion": "v1", "kind": "Secret"})
    assert not is_ours({"apiVersion": "other.example/v1", "kind": "XlineCluster"})
    assert is_ours(rust())


# -- the command


def test_nothing_is_printed_unless_all_could_be_converted(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "two.yaml"
    path.write_text(yaml.safe_dump_all([rust(), rust(size=0)]))
    assert main(["convert", "-f", str(path)]) == 1
    printed = capsys.readouterr()
    assert printed.out == ""
    assert f"error: {path}: XlineCluster prod/old: spec.replicas" in printed.err


def test_lists_as_kubectl_prints_them(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    import io

    content = yaml.safe_dump({"apiVersion": "v1", "kind": "List", "items": [rust(), rust(size=5)]})
    monkeypatch.setattr("sys.stdin", io.StringIO(content))
    assert main(["convert", "-f", "-"]) == 0
    printed = list(yaml.safe_load_all(capsys.readouterr().out))
    assert [each["spec"]["replicas"] for each in printed] == [3, 5]


@pytest.mark.parametrize(
    ("content", "said"),
    [(None, "No such file"), (b"a: [", "no YAML"), (b"\xff\xfe\xff", "no YAML"), (b"- 1", "no Kubernetes object")],
)
def test_unreadable_files_are_named(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], content: bytes | None, said: str
) -> None:
    path = tmp_path / "old.yaml"
    if content is not None:
        path.write_bytes(content)
    assert main(["convert", "-f", str(path)]) == 1
    error = capsys.readouterr().err
    assert error.startswith(f"error: {path}")
    assert said in error
