"""What the server offers to tests: audit, faults, manifests, kubeconfig, logs."""

from __future__ import annotations

import http.client
import json
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from runtime.client import load_client
from runtime.testing import FakeAPIServer
from runtime.testing.apiserver import StatusError
from runtime.types import GVR
from tests.runtime.testing.apiserver.apiserver_helpers import (
    CONFIGMAPS,
    PODS,
    WIDGET_CRD,
    WIDGETS,
    Http,
    Watching,
    eventually,
    widget,
)

SPEC: dict[str, Any] = {"containers": [{"name": "main", "image": "example.com/app:1"}]}


def test_the_audit_counts_requests(server: FakeAPIServer, api: Http) -> None:
    api.made(CONFIGMAPS, "a")
    api.get(f"{CONFIGMAPS}/a")
    api.get(f"{CONFIGMAPS}?limit=1")
    api.get(f"{CONFIGMAPS}/none")
    api.delete(f"{CONFIGMAPS}/a")
    seen = [(e.verb, e.resource, e.namespace, e.name, e.code) for e in server.requests]
    assert seen == [
        ("create", "configmaps", "default", "a", 201),
        ("get", "configmaps", "default", "a", 200),
        ("list", "configmaps", "default", "", 200),
        ("get", "configmaps", "default", "none", 404),
        ("delete", "configmaps", "default", "a", 200),
    ]
    assert {e.user_agent for e in server.requests} == {"tests/1"}
    assert [e.verb for e in server.requests.writes("configmaps")] == ["create", "delete"]
    assert server.requests.writes("pods") == []
    server.requests.clear()
    assert len(server.requests) == 0


def test_a_watch_is_in_the_audit_when_it_begins(server: FakeAPIServer, watch: Any) -> None:
    watch(f"{CONFIGMAPS}?watch=1")
    assert [(e.verb, e.code) for e in server.requests] == [("watch", 200)]


def test_a_server_starts_once() -> None:
    with FakeAPIServer() as server, pytest.raises(RuntimeError, match="is running"):
        server.start()
    with pytest.raises(RuntimeError, match="was stopped"):
        server.start()


@pytest.mark.parametrize(
    ("argument", "message"),
    [
        ({"history": 0}, "history=0"),
        ({"bookmark_interval": 0}, "bookmark_interval=0"),
        ({"namespace_deletion_delay": -1}, "delay of -1 s"),
        ({"garbage_collection_delay": -0.5}, r"delay of -0\.5 s"),
    ],
)
def test_numbers_that_make_no_sense_are_refused(argument: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        FakeAPIServer(**argument)


def test_an_injected_error_strikes_as_often_as_asked(server: FakeAPIServer, api: Http) -> None:
    fault = server.faults.add(verb="create", resource="configmaps", status=429, retry_after=3, times=2)
    for _ in range(2):
        answer = api.post(CONFIGMAPS, {"metadata": {"name": "a"}})
        assert answer.status == 429
        assert answer.body["reason"] == "TooManyRequests"
        assert answer.headers["retry-after"] == ["3"]
    assert api.post(CONFIGMAPS, {"metadata": {"name": "a"}}).status == 201
    assert fault.hits == 2
    assert [e.code for e in server.requests] == [429, 429, 201]


@pytest.mark.parametrize(("drop", "exists"), [("before", False), ("after", True)])
def test_a_dropped_connection_before_or_after_the_effect(
    server: FakeAPIServer, api: Http, drop: Any, exists: bool
) -> None:
    server.faults.add(verb="create", drop=drop, times=1)
    with pytest.raises((http.client.RemoteDisconnected, ConnectionResetError)):
        api.post(CONFIGMAPS, {"metadata": {"name": "a"}})
    api.close()
    assert (api.get(f"{CONFIGMAPS}/a").status == 200) is exists
    assert [e.code for e in server.requests] == [0, 200 if exists else 404]


def test_faults_choose_by_predicate_and_can_be_taken_back(server: FakeAPIServer, api: Http) -> None:
    fault = server.faults.add(lambda asked: asked.name.startswith("bad"), status=500)
    assert api.get(f"{CONFIGMAPS}/bad-1").status == 500
    assert api.get(f"{CONFIGMAPS}/good").status == 404
    server.faults.remove(fault)
    assert api.get(f"{CONFIGMAPS}/bad-1").status == 404
    server.faults.add(status=503)
    server.faults.clear()
    assert api.get("/version").status == 200


def test_a_delay_ends_with_the_server(server: FakeAPIServer) -> None:
    server.faults.add(resource="configmaps", delay=3600)
    api = Http(server)
    failed = threading.Event()

    def ask() -> None:
        try:
            api.get(CONFIGMAPS)
        except (OSError, http.client.HTTPException):
            failed.set()

    thread = threading.Thread(target=ask)
    thread.start()
    eventually(lambda: server.connections == 1)
    server.stop()
    thread.join(5)
    assert not thread.is_alive()
    api.close()


def test_manifests_of_a_folder_crds_first(server: FakeAPIServer, api: Http, tmp_path: Path) -> None:
    (tmp_path / "a.yaml").write_text(
        yaml.safe_dump_all(
            [widget("w", size="s"), {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "n"}}]
        )
    )
    (tmp_path / "deep").mkdir()
    (tmp_path / "deep" / "z-crd.json").write_text(json.dumps(WIDGET_CRD))
    (tmp_path / "notes.txt").write_text("not a manifest")
    listed = {
        "apiVersion": "v1",
        "kind": "List",
        "items": [{"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "c", "namespace": "kube-system"}}],
    }
    (tmp_path / "list.yml").write_text(yaml.safe_dump(listed))
    applied = server.apply_manifests(tmp_path)
    assert [each["kind"] for each in applied] == ["CustomResourceDefinition", "Namespace", "Widget", "ConfigMap"]
    conditions = {each["type"]: each["status"] for each in applied[0]["status"]["conditions"]}
    assert conditions["Established"] == "True"
    assert api.get(f"{WIDGETS}/w").body["spec"] == {"size": "s"}
    assert api.get("/api/v1/namespaces/kube-system/configmaps/c").status == 200
    version = server.store.version
    server.apply_manifests(tmp_path)
    assert server.store.version == version, "applying again changes nothing"


def test_bad_manifests_say_which(server: FakeAPIServer, tmp_path: Path) -> None:
    file = tmp_path / "x.yaml"
    file.write_text(yaml.safe_dump(widget("w")))
    with pytest.raises(ValueError, match=r"x\.yaml.*no kind Widget in example.com/v1"):
        server.apply_manifests(file)
    file.write_text("[1, 2]")
    with pytest.raises(ValueError, match=r"x\.yaml"):
        server.apply_manifests(file)
    file.write_text(yaml.safe_dump({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "Not_OK"}}))
    with pytest.raises(StatusError, match=r"metadata\.name"):
        server.apply_manifests(file)
    with pytest.raises(FileNotFoundError):
        server.apply_manifests(tmp_path / "missing.yaml")


def test_the_kubeconfig_points_here(server: FakeAPIServer, tmp_path: Path) -> None:
    path = server.kubeconfig(tmp_path / "config", namespace="n")
    assert path.stat().st_mode & 0o077 == 0, "it may hold a token"
    assert 'namespace: "n"' in path.read_text().replace("'", '"'), "a bare n is false to kubectl"
    config = yaml.safe_load(path.read_text())
    assert config["clusters"][0]["cluster"]["server"] == server.url == f"http://127.0.0.1:{server.port}"
    assert config["contexts"][0]["context"]["namespace"] == "n"
    assert config["current-context"] == config["contexts"][0]["name"]


def test_our_own_client(server: FakeAPIServer) -> None:
    client = server.client()
    configmaps = client.resource(GVR("", "v1", "configmaps"), namespace="default")
    configmaps.create({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "a"}, "data": {"k": "v"}})
    assert configmaps.get("a")["data"] == {"k": "v"}
    client.close()


def test_tokens_say_who_asks(tmp_path: Path) -> None:
    tokens = tmp_path / "tokens.csv"
    tokens.write_text('# who may\nt1,alice,1,"dev,ops"\n\nt2,bob,2\n')
    with FakeAPIServer(token_auth_file=tokens) as server:
        api = Http(server)
        for header in ({}, {"Authorization": "Bearer wrong"}, {"Authorization": "Basic dDE6"}):
            for path in (CONFIGMAPS, "/version", "/nowhere"):
                answer = api("GET", path, headers=header)
                assert (answer.status, answer.body["reason"]) == (401, "Unauthorized")
        review = {"apiVersion": "authentication.k8s.io/v1", "kind": "SelfSubjectReview"}
        path = "/apis/authentication.k8s.io/v1/selfsubjectreviews"
        found = api("POST", path, review, headers={"Authorization": "Bearer t1"}).body["status"]["userInfo"]
        assert found["username"] == "alice"
        assert found["groups"] == ["dev", "ops", "system:authenticated"]
        assert api("GET", CONFIGMAPS, headers={"Authorization": "Bearer t2"}).status == 200
        config = yaml.safe_load(server.kubeconfig(tmp_path / "config").read_text())
        assert config["users"][0]["user"] == {"token": "t1"}
        client = server.client()
        assert client.resource(GVR("", "v1", "namespaces")).get("default").name == "default"
        client.close()
        api.close()


def test_a_bad_token_file_says_where(tmp_path: Path) -> None:
    tokens = tmp_path / "tokens.csv"
    tokens.write_text("t1,alice,1\nnonsense\n")
    with pytest.raises(ValueError, match=r"tokens\.csv:2: expected token,user,uid"):
        FakeAPIServer(token_auth_file=tokens)


# -- logs


def test_logs_come_from_the_provider(server: FakeAPIServer, api: Http) -> None:
    api.made(PODS, "p", spec={"containers": [*SPEC["containers"], {"name": "side", "image": "example.com/s:1"}]})
    asked: list[tuple[Any, ...]] = []

    def provider(namespace: str, pod: str, container: str | None, **options: Any) -> Iterator[bytes]:
        options.pop("stop")
        asked.append((namespace, pod, container, options))
        yield b"one\n"
        yield b"two\n"

    assert api.get(f"{PODS}/p/log?container=main").data == b""
    server.set_log_provider(provider)
    answer = api.get(f"{PODS}/p/log?container=side&follow=true&tailLines=5&previous=false&sinceSeconds=9&timestamps=1")
    assert answer.data == b"one\ntwo\n"
    assert answer.headers["content-type"] == ["text/plain"]
    ((namespace, pod, container, options),) = asked
    assert (namespace, pod, container) == ("default", "p", "side")
    assert options == {"follow": True, "tail_lines": 5, "previous": False, "since_seconds": 9.0, "timestamps": True}
    ambiguous = api.get(f"{PODS}/p/log")
    assert ambiguous.status == 400
    assert "choose one of: [main side]" in ambiguous.body["message"]
    assert api.get(f"{PODS}/p/log?container=none").status == 400
    assert api.get(f"{PODS}/none/log").status == 404


def test_a_log_that_does_not_exist_is_a_bad_request(server: FakeAPIServer, api: Http) -> None:
    api.made(PODS, "p", spec=SPEC)

    def provider(*_: Any, **__: Any) -> Iterator[bytes]:
        raise LookupError("previous terminated container not found")

    server.set_log_provider(provider)
    answer = api.get(f"{PODS}/p/log?previous=true")
    assert answer.status == 400
    assert answer.body["message"] == "previous terminated container not found"


def test_following_a_log_ends_with_the_server(server: FakeAPIServer, api: Http) -> None:
    api.made(PODS, "p", spec=SPEC)
    ended = threading.Event()

    def provider(*_: Any, stop: threading.Event, **__: Any) -> Iterator[bytes]:
        try:
            yield b'"first"\n'
            while not stop.wait(0.02):
                yield b""
        finally:
            ended.set()

    server.set_log_provider(provider)
    following = Watching(server, f"{PODS}/p/log?follow=true")
    following.wait(1)
    server.stop()
    assert ended.is_set()
    following.close()


def test_a_follower_that_leaves_ends_its_log(server: FakeAPIServer, api: Http) -> None:
    api.made(PODS, "p", spec=SPEC)
    ended = threading.Event()

    def provider(*_: Any, stop: threading.Event, **__: Any) -> Iterator[bytes]:
        try:
            yield b'"first"\n'
            while not stop.wait(0.02):
                yield b""
        finally:
            ended.set()

    server.set_log_provider(provider)
    following = Watching(server, f"{PODS}/p/log?follow=true")
    following.wait(1)
    following.close()
    assert ended.wait(5)


_FILL = """
import resource
from runtime.testing import FakeAPIServer

server = FakeAPIServer()
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
for number in range(8000):
    name = f"x{number:05}"
    obj = {"metadata": {"name": name, "namespace": "default"}, "data": {"a": "b" * 1000 + name}}
    server.store.create(("", "configmaps"), "default", name, obj)
unit = 1 if __import__("sys").platform == "darwin" else 1024
grown = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) * unit
print(grown // 8000)
server.stop()
"""


def test_an_object_takes_no_more_memory_than_its_json_and_itself() -> None:
    done = subprocess.run([sys.executable, "-c", _FILL], capture_output=True, text=True, check=True, timeout=60)
    # 1.1 KB of JSON and the decoded object; 10 KB when the buffers of orjson were kept.
    assert int(done.stdout) < 6000, done


@pytest.mark.parametrize(("host", "reached"), [("::1", "::1"), ("::", "127.0.0.1")])
def test_it_listens_on_addresses_of_either_kind(host: str, reached: str, tmp_path: Path) -> None:
    try:
        socket.create_server(("::1", 0), family=socket.AF_INET6).close()
    except OSError:
        pytest.skip("this machine has no IPv6")
    with FakeAPIServer(host=host, tls=True) as server:
        assert server.url == f"https://[{host}]:{server.port}"
        socket.create_connection((reached, server.port), timeout=30).close()
        if host == reached:
            with load_client(str(server.kubeconfig(tmp_path / "config"))) as client:
                assert client.resource(GVR("", "v1", "namespaces")).get("default").name == "default"
        server.restart()
        socket.create_connection((reached, server.port), timeout=30).close()
