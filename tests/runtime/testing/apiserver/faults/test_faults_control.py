"""Faults of a server that runs, over HTTP."""

from __future__ import annotations

import contextlib
import http.client
from pathlib import Path
from typing import Any

import yaml

from runtime.testing import FakeAPIServer
from tests.runtime.testing.apiserver.apiserver_helpers import CONFIGMAPS, Http, Watching
from tests.support.waiting import eventually

YAML = b"""\
# What a file says, too.
seed: 3
faults:
- id: busy
  verb: [create, update]
  status: 429
  retry_after: 1
- verb: watch
  lose: true
"""


def test_faults_come_and_go(server: FakeAPIServer, api: Http) -> None:
    assert api.get("/_fake/faults").body == {"faults": []}
    added = api("POST", "/_fake/faults", YAML, content_type="application/yaml")
    assert added.status == 201
    assert [each["id"] for each in added.body["faults"]] == ["busy", "fault-2"]
    assert api.post(CONFIGMAPS, {"metadata": {"name": "a"}}).status == 429
    busy = {"id": "busy", "verb": ["create", "update"], "status": 429, "retry_after": 1, "hits": 1, "events": 0}
    assert api.get("/_fake/faults/busy").body == busy
    assert api.get("/_fake/faults").body["faults"][0] == busy
    left = api.delete("/_fake/faults/busy").body["faults"]
    assert [each["id"] for each in left] == ["fault-2"]
    assert api.post(CONFIGMAPS, {"metadata": {"name": "a"}}).status == 201
    replaced = api.put("/_fake/faults", [{"status": 503, "verb": "get"}])
    assert (replaced.status, [each["status"] for each in replaced.body["faults"]]) == (200, [503])
    assert api.get(f"{CONFIGMAPS}/a").status == 503
    assert api.delete("/_fake/faults").body == {"faults": []}
    assert api.get(f"{CONFIGMAPS}/a").status == 200


def test_what_is_wrong_changes_nothing_and_is_told(server: FakeAPIServer, api: Http) -> None:
    server.faults.add(id="mine", verb="get", resource="pods", status=500)
    for method in ("POST", "PUT"):
        answer = api(method, "/_fake/faults", [{"status": 503}, {"statuz": 5}])
        assert (answer.status, answer.body["reason"]) == (400, "BadRequest")
        assert answer.body["message"] == "faults[1].statuz: there is no such word: did you mean status?"
    assert [fault.id for fault in server.faults] == ["mine"]
    for method, path, status in [
        ("GET", "/_fake/faults/none", 404),
        ("DELETE", "/_fake/faults/none", 404),
        ("PATCH", "/_fake/faults", 405),
        ("PUT", "/_fake/faults/mine", 405),
        ("GET", "/_fake/pause", 405),
        ("POST", "/_fake", 405),
        ("POST", "/_fake/none", 404),
        ("POST", "/_fake/pause/more", 404),
        ("POST", "/_fake/pause?seconds=x", 400),
        ("POST", "/_fake/pause?seconds=-1", 400),
        ("POST", "/_fake/restart?seconds=nan", 400),
        ("POST", "/_fake/skew?seconds=inf", 400),
        ("POST", "/_fake/skew?seconds=-1e12", 400),
        ("POST", "/_fake/skew?seconds=1e12", 400),
    ]:
        answer = api(method, path)
        assert (answer.status, answer.body["kind"]) == (status, "Status"), path
    assert api.get("/_fakes").status == 404
    assert api.get("/_fake").body["paused"] is False


def test_control_is_beyond_faults_and_pauses_and_in_no_audit(server: FakeAPIServer, api: Http) -> None:
    server.faults.add(drop="before")
    server.pause()
    assert api.get("/_fake").body["paused"] is True
    assert api("POST", "/_fake/resume").body["paused"] is False
    assert api.delete("/_fake/faults").status == 200
    assert api.get(CONFIGMAPS).status == 200
    assert [entry.path for entry in server.requests] == [CONFIGMAPS]


def test_the_whole_server_is_told(server: FakeAPIServer, api: Http) -> None:
    api.made(CONFIGMAPS, "a")
    version = int(api.get("/_fake").body["resourceVersion"])
    assert api("POST", "/_fake/compact").body["resourceVersion"] == str(version + 1)
    assert api.get(f"{CONFIGMAPS}?resourceVersion={version}&resourceVersionMatch=Exact").status == 410
    assert api("POST", "/_fake/skew?seconds=-86400").body["skew"] == -86400
    assert server.skew == -86400
    assert api("POST", "/_fake/skew").body["skew"] == 0
    api("POST", "/_fake/pause?seconds=0")
    assert api.get(CONFIGMAPS).status == 200
    watching = Watching(server, f"{CONFIGMAPS}?watch=1")
    with contextlib.suppress(OSError, http.client.HTTPException):  # it cuts itself, too
        api("POST", "/_fake/cut")
    watching.wait_end(30)
    watching.close()
    api.close()


def test_a_restart_over_http(server: FakeAPIServer, api: Http) -> None:
    api.made(CONFIGMAPS, "a")

    def told(method: str, path: str) -> dict[str, Any]:
        try:
            found: dict[str, Any] = api(method, path).body
            return found
        except (OSError, http.client.HTTPException):
            api.close()
            return {}

    told("POST", "/_fake/restart?seconds=0.01")
    assert eventually(lambda: told("GET", "/_fake").get("restarts")) == 1
    assert eventually(lambda: told("GET", f"{CONFIGMAPS}/a").get("kind")) == "ConfigMap"


def test_only_those_who_may_ask_may_control(tmp_path: Path) -> None:
    tokens = tmp_path / "tokens.csv"
    tokens.write_text('t1,alice,1,"system:masters"\nt2,bob,2\nt3,carol,3\n')
    with FakeAPIServer(token_auth_file=tokens, authorization_mode="RBAC") as server:
        api = Http(server)

        def status(method: str, token: str) -> int:
            return api(method, "/_fake/faults", headers={"Authorization": f"Bearer {token}"}).status

        rules: Any = [{"nonResourceURLs": ["/_fake/*"], "verbs": ["get"]}]
        subjects: Any = [{"kind": "User", "name": "carol", "apiGroup": "rbac.authorization.k8s.io"}]
        role: Any = {"kind": "ClusterRole", "name": "faults", "apiGroup": "rbac.authorization.k8s.io"}
        manifests = tmp_path / "rbac.yaml"
        manifests.write_text(
            yaml.safe_dump_all(
                {"apiVersion": "rbac.authorization.k8s.io/v1", "kind": kind, "metadata": {"name": "faults"}, **rest}
                for kind, rest in [
                    ("ClusterRole", {"rules": rules}),
                    ("ClusterRoleBinding", {"subjects": subjects, "roleRef": role}),
                ]
            )
        )
        server.apply_manifests(manifests)
        server.faults.add(id="mine", verb="delete", status=500)
        assert [status("GET", token) for token in ("t1", "t2", "t3", "wrong")] == [200, 403, 200, 401]
        assert [status("DELETE", token) for token in ("t2", "t3", "wrong")] == [403, 403, 401]
        assert [fault.id for fault in server.faults] == ["mine"]
        assert status("DELETE", "t1") == 200
        assert len(server.faults) == 0
        api.close()
