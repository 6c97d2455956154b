"""All objects as a folder of YAML, and back."""

from __future__ import annotations

import os
import shutil
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from runtime.testing.apiserver import FakeAPIServer, StatusError, state
from runtime.testing.apiserver.state import read_state, restore
from tests.runtime.testing.apiserver.apiserver_helpers import (
    CONFIGMAPS,
    CRDS,
    PODS,
    WIDGET_CRD,
    WIDGETS,
    Http,
    Watching,
    eventually,
    widget,
)

EVENTS = "/apis/events.k8s.io/v1/namespaces/default/events"


def everything(server: FakeAPIServer) -> dict[str, bytes]:
    """Every object of the store, as stored."""
    found = {}
    for key in server.store.resources():
        for stored in server.store.snapshot(key)[0]:
            found[f"{key} {stored.key}"] = stored.body + f" {stored.version}".encode()
    return found


def filled(api: Http) -> None:
    assert api.post(CRDS, WIDGET_CRD).status == 201
    assert api.post(WIDGETS, {**widget("w", replicas=1), "status": {"replicas": 3}}).status == 201
    assert api.put(f"{WIDGETS}/w/status", {**api.get(f"{WIDGETS}/w").body, "status": {"replicas": 3}}).status == 200
    api.made(
        CONFIGMAPS, "a", data={"text": "line\nline\n", "yes": "yes", "date": "2026-01-01", "empty": "", "x": "\x85é\t"}
    )
    api.made(PODS, "p", spec={"containers": [{"name": "main", "image": "example.com/app:1"}]})
    api.made("/apis/rbac.authorization.k8s.io/v1/clusterroles", "example:reader")
    event = {
        "regarding": {"kind": "Pod", "name": "p", "namespace": "default"},
        "reason": "Why",
        "action": "Do",
        "type": "Normal",
        "reportingController": "example.com/c",
        "reportingInstance": "c-1",
        "eventTime": "2026-01-01T00:00:00.000001Z",
    }
    api.made(EVENTS, "e", **event)
    api.apply(f"{CONFIGMAPS}/applied", {"apiVersion": "v1", "kind": "ConfigMap", "data": {"k": "v"}})
    api.made(CONFIGMAPS, "kept", metadata={"finalizers": ["example.com/keep"]})
    assert api.delete(f"{CONFIGMAPS}/kept").status == 200
    api.made(CONFIGMAPS, "gone")
    api.delete(f"{CONFIGMAPS}/gone")


def test_what_is_loaded_is_what_was_saved(server: FakeAPIServer, api: Http, tmp_path: Path) -> None:
    filled(api)
    folder = tmp_path / "state"
    server.save(folder)
    with FakeAPIServer() as other:
        other.load(folder)
        assert everything(other) == everything(server)
        assert other.store.version == server.store.version
        there = Http(other)
        for path in (WIDGETS, f"{CONFIGMAPS}/kept", f"{EVENTS}/e", "/api/v1/namespaces/default/events/e"):
            assert there.get(path).data == api.get(path).data
        other.save(tmp_path / "again")
        there.close()
    assert files(tmp_path / "again") == files(folder)


def files(folder: Path) -> dict[str, str]:
    return {str(each.relative_to(folder)): each.read_text() for each in folder.rglob("*.yaml")}


def test_the_folder_is_one_file_per_object_below_its_resource(server: FakeAPIServer, api: Http, tmp_path: Path) -> None:
    filled(api)
    server.save(tmp_path / "state")
    found = set(files(tmp_path / "state"))
    assert {
        "state.yaml",
        "core/namespaces/default.yaml",
        "core/configmaps/default/a.yaml",
        "core/events/default/e.yaml",
        "example.com/widgets/default/w.yaml",
        "rbac.authorization.k8s.io/clusterroles/example:reader.yaml",
        "apiextensions.k8s.io/customresourcedefinitions/widgets.example.com.yaml",
    } <= found
    assert "core/configmaps/default/gone.yaml" not in found
    saved = yaml.safe_load((tmp_path / "state/core/configmaps/default/a.yaml").read_text())
    assert saved == api.get(f"{CONFIGMAPS}/a").body
    assert (tmp_path / "state").stat().st_mode & 0o077 == 0, "Secrets are in there"


def test_the_loaded_server_goes_on_where_the_saved_one_was(server: FakeAPIServer, api: Http, tmp_path: Path) -> None:
    filled(api)
    server.save(tmp_path / "state")
    last = server.store.version
    with FakeAPIServer() as other:
        other.load(tmp_path / "state")
        there = Http(other)
        # The same optimistic lock, the same uids, and a deletion that was under way ends when its finalizer goes.
        present = there.get(f"{CONFIGMAPS}/a").body
        changed = there.put(f"{CONFIGMAPS}/a", {**present, "data": {"k": "new"}}).body
        assert changed["metadata"]["resourceVersion"] == str(last + 1)
        assert there.put(f"{CONFIGMAPS}/a", {**present, "data": {"k": "newer"}}).status == 409
        assert there.merge(f"{CONFIGMAPS}/kept", {"metadata": {"finalizers": None}}).status == 200
        assert there.get(f"{CONFIGMAPS}/kept").status == 404
        # The kind is served, checked and pruned.
        assert there.post(WIDGETS, widget("v", replicas="three")).status == 422
        # A watch goes on from the saved version, not from before it.
        watch = Watching(other, f"{CONFIGMAPS}?watch=1&resourceVersion={last}")
        assert [event["object"]["metadata"]["name"] for event in watch.wait(2)] == ["a", "kept"]
        watch.close()
        old = Watching(other, f"{CONFIGMAPS}?watch=1&resourceVersion={last - 1}")
        assert old.wait_end()[0]["object"]["code"] == 410
        old.close()
        there.close()


def test_loading_replaces_what_is_there(server: FakeAPIServer, api: Http, watch: Any, tmp_path: Path) -> None:
    api.made(CONFIGMAPS, "a")
    server.save(tmp_path / "state")
    saved = everything(server)
    api.made(CONFIGMAPS, "b")
    assert api.post(CRDS, WIDGET_CRD).status == 201
    api.merge(f"{CONFIGMAPS}/a", {"data": {"k": "v"}})
    following = watch(f"{CONFIGMAPS}?watch=1")
    following.wait(2)
    server.load(tmp_path / "state")
    assert everything(server) == saved
    assert [event["object"]["metadata"]["name"] for event in following.wait_end()[:2]] == ["a", "b"]
    assert following.events[-1]["object"]["code"] == 410
    assert api.get(f"{CONFIGMAPS}/b").status == 404
    assert api.get(WIDGETS).status == 404


def test_a_namespace_that_was_terminating_goes(server: FakeAPIServer, api: Http, tmp_path: Path) -> None:
    api.made("/api/v1/namespaces", "n")
    api.made("/api/v1/namespaces/n/configmaps", "kept", metadata={"finalizers": ["example.com/keep"]})
    assert api.delete("/api/v1/namespaces/n").status == 200
    server.save(tmp_path / "state")
    with FakeAPIServer(namespace_deletion_delay=0.0) as other:
        other.load(tmp_path / "state")
        there = Http(other)
        assert there.get("/api/v1/namespaces/n").body["status"]["phase"] == "Terminating"
        there.merge("/api/v1/namespaces/n/configmaps/kept", {"metadata": {"finalizers": None}})
        eventually(lambda: there.get("/api/v1/namespaces/n").status == 404)
        there.close()


def test_files_that_were_added_are_created(server: FakeAPIServer, api: Http, tmp_path: Path) -> None:
    folder = tmp_path / "state"
    server.save(folder)
    namespace = {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "n"}}
    mine = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "mine", "namespace": "n"}}
    (folder / "a.yaml").write_text(yaml.safe_dump_all([widget("w", size="s"), mine, namespace, WIDGET_CRD]))
    server.load(folder)
    assert api.get(f"{WIDGETS}/w").body["spec"] == {"size": "s"}
    assert api.get("/api/v1/namespaces/n/configmaps/mine").status == 200


def test_what_kubectl_got_from_another_server_is_loaded(server: FakeAPIServer, api: Http, tmp_path: Path) -> None:
    """A List of objects with uids, the CRD from its repository without."""
    assert api.post(CRDS, WIDGET_CRD).status == 201
    assert api.post(WIDGETS, widget("w", size="s")).status == 201
    listed = {"apiVersion": "v1", "kind": "List", "items": [api.get(f"{WIDGETS}/w").body]}
    (tmp_path / "got.json").write_text(yaml.safe_dump(listed))
    (tmp_path / "crd.yaml").write_text(yaml.safe_dump(WIDGET_CRD))
    with FakeAPIServer() as other:
        other.load(tmp_path)
        there = Http(other)
        assert there.get(f"{WIDGETS}/w").body == api.get(f"{WIDGETS}/w").body
        assert {each["metadata"]["name"] for each in there.get("/api/v1/namespaces").body["items"]} >= {"default"}
        there.close()


def test_objects_that_are_stored_in_another_version_are_loaded(server: FakeAPIServer, tmp_path: Path) -> None:
    metadata = {"name": "e", "namespace": "default", "uid": "u", "resourceVersion": "5"}
    about = {"kind": "Pod", "name": "p", "namespace": "default"}
    event = {"apiVersion": "events.k8s.io/v1", "kind": "Event", "metadata": metadata, "regarding": about, "note": "n"}
    (tmp_path / "event.yaml").write_text(yaml.safe_dump(event))
    server.load(tmp_path)
    there = Http(server)
    assert there.get("/api/v1/namespaces/default/events/e").body["involvedObject"] == about
    assert there.get(f"{EVENTS}/e").body["regarding"] == about
    there.close()


def test_who_had_the_name_of_a_kind_still_has_it(server: FakeAPIServer, api: Http, tmp_path: Path) -> None:
    """Whatever their files are called."""
    rival = {**WIDGET_CRD, "metadata": {"name": "aaa.example.com"}}
    rival["spec"] = {**WIDGET_CRD["spec"], "names": {"plural": "aaa", "kind": "Widget"}}
    assert api.post(CRDS, WIDGET_CRD).status == 201
    assert api.post(CRDS, rival).status == 201
    eventually(lambda: _accepted(api, "widgets") == "True" and _accepted(api, "aaa") == "False")
    server.save(tmp_path / "state")
    with FakeAPIServer() as other:
        other.load(tmp_path / "state")
        there = Http(other)
        assert there.post(WIDGETS, widget("w")).status == 201
        assert there.get("/apis/example.com/v1/namespaces/default/aaa").status == 404
        there.close()


def _accepted(api: Http, plural: str) -> str:
    conditions = (api.get(f"{CRDS}/{plural}.example.com").body.get("status") or {}).get("conditions") or []
    return next((each["status"] for each in conditions if each["type"] == "NamesAccepted"), "")


SAVED = {"name": "a", "namespace": "default", "uid": "u", "resourceVersion": "5"}


@pytest.mark.parametrize(
    ("obj", "message"),
    [
        ({"apiVersion": "v1", "kind": "Nothing", "metadata": SAVED}, "no kind Nothing in v1"),
        ({"apiVersion": "a.b/v1", "kind": "Added", "metadata": {"name": "a"}}, "no kind Added in a.b/v1; add its CRD"),
        ({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {**SAVED, "namespace": ""}}, "needs a namespace"),
        ({"apiVersion": "v1", "kind": "Namespace", "metadata": SAVED}, "is in no namespace"),
        ({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {**SAVED, "resourceVersion": "x"}}, "'x' is no number"),
        ({"apiVersion": "v1", "kind": "ConfigMap", "metadata": SAVED, "data": 1}, "data"),
        ({"apiVersion": "v1", "kind": "ConfigMap"}, "without metadata.name"),
        ({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {**SAVED, "name": 5}}, "without metadata.name"),
        ({**WIDGET_CRD, "metadata": {**SAVED, "namespace": ""}, "spec": []}, "spec"),
        ([], "not an object"),
    ],
)
def test_a_folder_that_cannot_be_loaded_changes_nothing(
    server: FakeAPIServer, api: Http, tmp_path: Path, obj: Any, message: str
) -> None:
    api.made(CONFIGMAPS, "a")
    before = everything(server)
    (tmp_path / "x.yaml").write_text(yaml.safe_dump(obj))
    with pytest.raises(ValueError, match=rf"x\.yaml.*{message}"):
        server.load(tmp_path)
    assert everything(server) == before


def test_an_object_that_is_there_twice_is_named(server: FakeAPIServer, api: Http, tmp_path: Path) -> None:
    """Somebody has copied a file and forgotten to change the name."""
    folder = tmp_path / "state"
    api.made(CONFIGMAPS, "a")
    server.save(folder)
    saved = (folder / "core/configmaps/default/a.yaml").read_text()
    (folder / "copy.yaml").write_text(saved)
    with pytest.raises(ValueError, match=r"default/a\.yaml: ConfigMap a is in .*copy\.yaml, too"):
        server.load(folder)
    (folder / "copy.yaml").write_text(f"{saved}---\n{saved}".replace("name: a", "name: b"))
    with pytest.raises(ValueError, match=r"copy\.yaml: ConfigMap b is in .*copy\.yaml, too"):
        server.load(folder)


def test_every_name_is_saved(server: FakeAPIServer, api: Http, tmp_path: Path) -> None:
    """Names may be longer than those of files, and hold what these rarely do."""
    api.made(CONFIGMAPS, "x" * 253)
    for name in ("y" * 400, "y" * 399 + "z", "é" * 200, "...", " ", "a\nb", "\\"):
        api.made("/apis/rbac.authorization.k8s.io/v1/clusterroles", name)
    server.save(tmp_path / "state")
    with FakeAPIServer() as other:
        other.load(tmp_path / "state")
        assert everything(other) == everything(server)


def test_a_state_without_a_version_says_so(server: FakeAPIServer, tmp_path: Path) -> None:
    server.save(tmp_path / "state")
    (tmp_path / "state" / "state.yaml").write_text("resourceVersion: soon")
    with pytest.raises(ValueError, match=r"state\.yaml: expected resourceVersion"):
        server.load(tmp_path / "state")
    with pytest.raises(FileNotFoundError, match="nowhere"):
        server.load(tmp_path / "nowhere")


def test_an_added_object_is_checked_as_any_other(server: FakeAPIServer, tmp_path: Path) -> None:
    (tmp_path / "x.yaml").write_text("{apiVersion: v1, kind: ConfigMap, metadata: {name: Not_OK}}")
    with pytest.raises(StatusError, match=r"metadata\.name"):
        server.load(tmp_path)


def test_a_folder_with_something_else_is_never_replaced(server: FakeAPIServer, tmp_path: Path) -> None:
    folder = tmp_path / "precious"
    folder.mkdir()
    (folder / "thesis.txt").write_text("years of work")
    with pytest.raises(ValueError, match="precious: holds something else"):
        server.save(folder)
    (tmp_path / "file").write_text("x")
    with pytest.raises(ValueError, match="file: holds something else"):
        server.save(tmp_path / "file")
    assert sorted(each.name for each in tmp_path.iterdir()) == ["file", "precious"]
    (folder / "thesis.txt").unlink()
    server.save(folder)  # an empty folder is nobody's
    server.save(folder)
    assert sorted(each.name for each in tmp_path.iterdir()) == ["file", "precious"], "nothing else is left"


TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=20)


def test_every_text_comes_back(server: FakeAPIServer, tmp_path: Path) -> None:
    metadata = {"name": "a", "namespace": "default", "uid": "u", "resourceVersion": "9"}
    head = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": metadata}

    @settings(max_examples=50, deadline=None)
    @given(st.dictionaries(st.text("abc.-_", min_size=1, max_size=5), TEXT, max_size=5))
    def check(data: dict[str, str]) -> None:
        server.store.restore([(("", "configmaps"), {**head, "data": data})], 9)
        before = everything(server)
        server.save(tmp_path / "state")
        restore(server._context, read_state(server._context, tmp_path / "state"))
        assert everything(server) == before

    check()


def test_a_save_that_fails_leaves_what_was_saved(
    server: FakeAPIServer, api: Http, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    server.save(tmp_path / "state")
    before = files(tmp_path / "state")
    api.made(CONFIGMAPS, "a")

    def full(*_: Any) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(state, "_write_objects", full)
    with pytest.raises(OSError, match="No space left"):
        server.save(tmp_path / "state")
    assert files(tmp_path / "state") == before
    assert [each.name for each in tmp_path.iterdir()] == ["state"], "nothing is left of the attempt"


def test_a_save_that_is_killed_loses_nothing(
    server: FakeAPIServer, api: Http, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """At each step at which the folder is changed, in the order in which the file system sees them."""
    folder = tmp_path / "state"
    api.made(CONFIGMAPS, "first")
    server.save(folder)
    api.made(CONFIGMAPS, "second")

    class Killed(BaseException):
        pass

    steps = 0
    for module, name in ((os, "rename"), (shutil, "rmtree")):
        real = getattr(module, name)
        for dies_at in range(2):
            calls = iter(range(10))

            def dies(*arguments: Any, real: Any = real, calls: Any = calls, at: int = dies_at, **options: Any) -> None:
                if next(calls) == at:
                    raise Killed
                real(*arguments, **options)

            with monkeypatch.context() as patch:
                patch.setattr(module, name, dies)
                try:
                    server.save(folder)
                except Killed:
                    steps += 1
            with FakeAPIServer() as other:
                other.load(folder)
                there = Http(other)
                assert there.get(f"{CONFIGMAPS}/first").status == 200
                there.close()
            server.save(folder)
            with FakeAPIServer() as other:
                other.load(folder)
                there = Http(other)
                assert there.get(f"{CONFIGMAPS}/second").status == 200
                there.close()
    assert steps >= 3
    assert ".state.fake-apiserver-old" not in [each.name for each in tmp_path.iterdir()]


def test_a_folder_that_cannot_be_replaced_is_named(server: FakeAPIServer, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="/proc: is a mount point"):
        server.save("/proc")
    (tmp_path / "real").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "real")
    for _ in range(2):
        server.save(tmp_path / "link")
    assert (tmp_path / "link").is_symlink()
    assert (tmp_path / "real" / "state.yaml").is_file()
    assert sorted(each.name for each in tmp_path.iterdir()) == ["link", "real"]


def test_an_empty_folder_is_no_state(server: FakeAPIServer, api: Http, tmp_path: Path) -> None:
    api.made(CONFIGMAPS, "a")
    (tmp_path / "notes.txt").write_text("x")
    with pytest.raises(ValueError, match="neither a saved state nor a manifest"):
        server.load(tmp_path)
    assert api.get(f"{CONFIGMAPS}/a").status == 200
