"""A member's Pod, field by field where a field carries a promise."""

from __future__ import annotations

import dataclasses
from typing import Any

import pytest
import yaml

from cmd import sidecar
from controllers.xline.children import Plan
from controllers.xline.pod import AGENT_IMAGE, claim_template, pod_template
from crds.xlinecluster import Bootstrap
from membership.xline.settings import SettingError
from runtime.types import JSONObject
from tests.controllers.xline.xline_plans import member_names, plan

ENGINES = pytest.mark.parametrize("engine", ["etcd", "xline"])
NON_ROOT = 65532


def pod(plan: Plan) -> JSONObject:
    found: JSONObject = pod_template(plan)["spec"]
    return found


def server(plan: Plan) -> JSONObject:
    (found,) = pod(plan)["containers"]
    assert found["name"] == "xline"
    return dict(found)


def agent(plan: Plan) -> JSONObject:
    (found,) = pod(plan)["initContainers"]
    assert found["name"] == "agent"
    return dict(found)


def flags(container: JSONObject) -> dict[str, str]:
    words = container["args"][: container["args"].index("--")]
    return dict(word.removeprefix("--").partition("=")[::2] for word in words[1:])


def server_flags(container: JSONObject) -> list[str]:
    return list(container["args"][container["args"].index("--") + 1 :])


@ENGINES
def test_the_agent_is_a_native_sidecar_whose_startup_probe_holds_the_server_back(engine: str) -> None:
    found = agent(plan(engine=engine))
    assert found["restartPolicy"] == "Always"
    assert found["image"] == AGENT_IMAGE
    assert found["command"] == ["python", "-m", "cmd.sidecar"]
    assert found["startupProbe"]["httpGet"] == {"path": "/start", "port": 2382}
    # It waits for others as long as it takes: ten years at least.
    assert found["startupProbe"]["failureThreshold"] * found["startupProbe"]["periodSeconds"] > 10 * 365 * 86400
    assert found["livenessProbe"]["httpGet"] == {"path": "/livez", "port": 2382}
    assert "readinessProbe" not in found
    assert {port["containerPort"] for port in found["ports"]} == {2382}


@ENGINES
def test_the_server_is_ready_and_drained_by_word_of_the_agent_but_alive_by_its_own_port(engine: str) -> None:
    found = server(plan(engine=engine))
    assert found["readinessProbe"]["httpGet"] == {"path": "/readyz", "port": 2382}
    assert found["lifecycle"]["preStop"]["httpGet"] == {"path": "/drain", "port": 2382}
    assert found["livenessProbe"]["tcpSocket"] == {"port": 2380}
    assert {2379, 2380} <= {port["containerPort"] for port in found["ports"]}


@pytest.mark.parametrize(
    ("engine", "command"),
    [
        ("etcd", ["etcd", "--config-file=/var/run/xline/etcd.yaml"]),
        ("xline", ["/bin/sh", "/var/run/xline/start.sh"]),
    ],
)
def test_the_server_starts_from_the_file_that_the_agent_writes(engine: str, command: list[str]) -> None:
    made = plan(engine=engine)
    assert server(made)["command"] == command
    assert "args" not in server(made)
    assert flags(agent(made))["start-dir"] == "/var/run/xline"
    (start,) = (volume for volume in pod(made)["volumes"] if volume["name"] == "start")
    assert start == {"name": "start", "emptyDir": {}}
    for container in (server(made), agent(made)):
        mounts = {mount["name"]: mount["mountPath"] for mount in container["volumeMounts"]}
        assert mounts["start"] == "/var/run/xline"
        assert flags(agent(made))["data-dir"].startswith(mounts["data"] + "/")


@ENGINES
@pytest.mark.parametrize("mode", ["Sidecar", "Supervisor"])
def test_the_agent_takes_the_flags(engine: str, mode: str) -> None:
    """Its own parser, not a copy."""
    spec: dict[str, Any] = {
        "image": "me/both:1",
        "agent": {"mode": mode},
        "tls": {"server": {"secretName": "certs"}},
        "auth": {"rootSecretName": "root"},
    }
    made = plan(engine=engine, **spec)
    container = agent(made) if mode == "Sidecar" else server(made)
    words = [word.replace("$(POD_NAME)", "demo-sts-1").replace("$(POD_UID)", "u-1") for word in container["args"]]
    values = sidecar.build_parser().parse_args(words[: words.index("--")])
    assert (values.engine, values.mode) == (engine, mode)
    assert (values.namespace, values.cluster, values.pod, values.pod_uid) == ("ns", "demo", "demo-sts-1", "u-1")
    assert values.token == "demo-12345678"
    assert values.peer_url == "https://demo-sts-1.demo-svc.ns.svc.cluster.local:2380"
    assert values.client_url == "https://demo-sts-1.demo-svc.ns.svc.cluster.local:2379"
    assert f"demo-sts-1={values.peer_url}" in values.initial.split(",")
    assert f"demo-sts-1={values.client_url}" in values.clients.split(",")
    assert str(values.ca_file) == "/etc/xline/tls/ca.crt"
    assert str(values.auth_dir) == "/etc/xline/root"
    assert values.grace == pod(made)["terminationGracePeriodSeconds"] == 60


@ENGINES
def test_the_agent_knows_its_pod(engine: str) -> None:
    for container in (agent(plan(engine=engine)), server(plan(engine=engine))):
        paths = {entry["name"]: entry["valueFrom"]["fieldRef"]["fieldPath"] for entry in container["env"]}
        assert paths == {"POD_NAME": "metadata.name", "POD_UID": "metadata.uid", "POD_IP": "status.podIP"}


def test_the_servers_flags_say_nothing_of_its_members() -> None:
    for engine in ("etcd", "xline"):
        found = server_flags(agent(plan(engine=engine)))
        assert not [flag for flag in found if flag.startswith(("--initial-cluster", "--members"))]
        assert "--name=$(POD_NAME)" in found


@ENGINES
def test_nothing_changes_with_the_number_of_members(engine: str) -> None:
    """Or each step of a scaling would restart them all."""
    supervisor: dict[str, Any] = {"agent": {"mode": "Supervisor"}, "image": "me/both:1"}
    for spec in ({}, supervisor):
        three = dataclasses.replace(plan(3, engine=engine, **spec), ordinals=(0, 1, 2))
        five = dataclasses.replace(plan(3, engine=engine, **{**spec, "replicas": 5}), ordinals=(0, 1, 2, 5, 7))
        assert pod_template(three) == pod_template(five)
        assert claim_template(three) == claim_template(five)


def test_supervisor_is_one_container_in_which_the_agent_starts_the_server() -> None:
    made = plan(engine="etcd", image="me/both:1", agent={"mode": "Supervisor"}, resources={"limits": {"cpu": "1"}})
    assert "initContainers" not in pod(made)
    found = server(made)
    assert found["command"] == ["python", "-m", "cmd.sidecar"]
    assert found["image"] == "me/both:1"
    assert flags(found)["mode"] == "Supervisor"
    assert server_flags(found)[:2] == ["etcd", "--name=$(POD_NAME)"]
    assert found["livenessProbe"]["httpGet"]["path"] == "/livez"
    assert found["readinessProbe"]["httpGet"]["path"] == "/readyz"
    assert "startupProbe" not in found  # it may wait for others for ever
    assert "lifecycle" not in found  # the signal does it
    assert {2379, 2380, 2382} <= {port["containerPort"] for port in found["ports"]}
    assert found["resources"] == {"limits": {"cpu": "1"}}


def test_the_agents_image_and_resources() -> None:
    made = dataclasses.replace(
        plan(engine="etcd"), agent_image="mirror/operator:2", agent_module="xline_operator.sidecar"
    )
    assert agent(made)["image"] == "mirror/operator:2"
    assert agent(made)["command"] == ["python", "-m", "xline_operator.sidecar"]
    own = {"image": "me/agent:1", "resources": {"requests": {"memory": "64Mi"}}}
    found = agent(dataclasses.replace(plan(engine="etcd", agent=own), agent_image="mirror/operator:2"))
    assert found["image"] == "me/agent:1"
    assert found["resources"] == {"requests": {"memory": "64Mi"}}
    assert "resources" not in agent(plan())
    assert "resources" not in server(plan(agent=own))


# -- where, and as whom


def test_members_keep_apart_as_far_as_they_can() -> None:
    found = pod(plan())
    selector = {"matchLabels": {"app.kubernetes.io/instance": "demo", "app.kubernetes.io/name": "xlinecluster"}}
    (spread,) = found["topologySpreadConstraints"]
    assert spread == {
        "maxSkew": 1,
        "topologyKey": "kubernetes.io/hostname",
        "whenUnsatisfiable": "ScheduleAnyway",
        "labelSelector": selector,
    }
    terms = found["affinity"]["podAntiAffinity"]["preferredDuringSchedulingIgnoredDuringExecution"]
    assert [term["podAffinityTerm"]["topologyKey"] for term in terms] == [
        "kubernetes.io/hostname",
        "topology.kubernetes.io/zone",
    ]
    assert all(term["podAffinityTerm"]["labelSelector"] == selector for term in terms)
    assert set(found["affinity"]["podAntiAffinity"]) == {"preferredDuringSchedulingIgnoredDuringExecution"}


def test_what_the_user_says_about_placement_counts_alone() -> None:
    mine = {"affinity": {"nodeAffinity": {}}, "topologySpreadConstraints": [{"maxSkew": 2}]}
    found = pod(plan(podTemplate={"spec": mine}))
    assert {field: found[field] for field in mine} == mine
    found = pod(plan(podTemplate={"spec": {"affinity": {}}}))  # none at all
    assert found["affinity"] == {}
    assert len(found["topologySpreadConstraints"]) == 1


def test_new_clusters_run_as_a_user_of_their_own() -> None:
    made = plan()
    assert pod(made)["securityContext"] == {
        "runAsNonRoot": True,
        "runAsUser": NON_ROOT,
        "runAsGroup": NON_ROOT,
        "fsGroup": NON_ROOT,
        "seccompProfile": {"type": "RuntimeDefault"},
    }
    for container in (agent(made), server(made)):
        assert container["securityContext"] == {"allowPrivilegeEscalation": False, "capabilities": {"drop": ["ALL"]}}
    assert claim_template(made)["metadata"]["annotations"]["xline.io.datenlord.com/run-as"] == str(NON_ROOT)


def test_clusters_whose_files_are_roots_stay_roots() -> None:
    """Their volumes' folders may not be handed over to a group: not every kind of volume can that."""
    made = plan(run_as=0)
    assert pod(made)["securityContext"] == {"runAsUser": 0}
    assert "securityContext" not in server(made)
    assert "xline.io.datenlord.com/run-as" not in claim_template(made)["metadata"]["annotations"]


@pytest.mark.parametrize("run_as", [0, NON_ROOT])
def test_a_security_context_of_the_users_own_counts_alone(run_as: int) -> None:
    found = pod(plan(run_as=run_as, podTemplate={"spec": {"securityContext": {"fsGroup": 5}}}))
    assert found["securityContext"] == {"fsGroup": 5}


def test_the_agents_account() -> None:
    assert pod(plan())["serviceAccountName"] == "demo-agent"
    assert pod(plan())["automountServiceAccountToken"] is True
    assert pod(plan(podTemplate={"spec": {"serviceAccountName": "mine"}}))["serviceAccountName"] == "mine"


# -- certificates and keys

TLS = {"server": {"secretName": "certs"}, "peer": {"certificate": {"issuerRef": {"name": "ca"}}}}
AUTH = {"keysSecretName": "keys", "rootSecretName": "root"}


def mounts(container: JSONObject) -> dict[str, str]:
    return {mount["name"]: mount["mountPath"] for mount in container["volumeMounts"]}


@pytest.mark.parametrize("mode", ["Sidecar", "Supervisor"])
def test_secrets_are_mounted_where_the_flags_look_for_them(mode: str) -> None:
    made = plan(engine="etcd", image="i", tls=TLS, auth=AUTH, agent={"mode": mode})
    secrets = {volume["name"]: volume["secret"]["secretName"] for volume in pod(made)["volumes"] if "secret" in volume}
    assert secrets == {"tls": "certs", "peer-tls": "demo-peer-tls", "token-keys": "keys", "root": "root"}
    assert len({volume["name"] for volume in pod(made)["volumes"]}) == len(pod(made)["volumes"])
    own = server(made) if mode == "Supervisor" else agent(made)
    for flag in ("ca-file", "cert-file", "key-file"):
        assert flags(own)[flag].startswith(mounts(own)["tls"] + "/")
    assert flags(own)["auth-dir"] == mounts(own)["root"]
    told = " ".join(server_flags(own))
    for volume, name in (("tls", "tls.crt"), ("tls", "ca.crt"), ("peer-tls", "tls.key"), ("token-keys", "private.pem")):
        assert f"{mounts(server(made))[volume]}/{name}" in told
    assert len(server(made)["volumeMounts"]) == len(mounts(server(made)))


def test_the_server_does_not_see_the_root_users_password() -> None:
    made = plan(engine="etcd", tls=TLS, auth=AUTH)
    assert mounts(server(made)).keys() == {"data", "start", "tls", "peer-tls", "token-keys"}
    assert mounts(agent(made)).keys() == {"data", "start", "tls", "peer-tls", "token-keys", "root"}
    for container in (agent(made), server(made)):
        written = [mount["name"] for mount in container["volumeMounts"] if not mount.get("readOnly")]
        assert written == ["data", "start"]
        assert all(mounts(server(made)).get(name, path) == path for name, path in mounts(container).items())


def test_clients_may_come_without_a_certificate_if_so_said() -> None:
    tls = {"server": {"secretName": "certs"}}
    assert "--client-cert-auth=true" in server_flags(agent(plan(engine="etcd", tls=tls)))
    open_to_all = {**tls, "clientCertAuth": False}
    assert "--client-cert-auth=true" not in server_flags(agent(plan(engine="etcd", tls=open_to_all)))


def test_a_service_called_etcd_does_not_set_the_servers_flags() -> None:
    assert pod(plan())["enableServiceLinks"] is False


def test_plain_clusters_mount_no_secrets() -> None:
    assert [volume["name"] for volume in pod(plan(engine="etcd"))["volumes"]] == ["start"]
    assert "https" not in yaml.safe_dump(pod(plan(engine="etcd")))


@pytest.mark.parametrize(
    ("spec", "field"),
    [
        ({"extraArgs": ["--auth-token=simple"]}, "spec.extraArgs[0]"),
        ({"engine": "xline", "bootstrapArgs": {"auth-private-key": "/k", "auth-public-key": "/p"}}, "auth-public-key"),
    ],
)
def test_keys_are_given_once(spec: dict[str, Any], field: str) -> None:
    with pytest.raises(SettingError) as refused:
        pod_template(plan(**{"engine": "etcd", "auth": AUTH, **spec}))
    assert field in refused.value.field
    assert "keysSecretName" in refused.value.problem


def test_etcd_takes_no_notice_of_what_its_file_cannot_say() -> None:
    with pytest.raises(SettingError, match=r"spec\.extraArgs\[1\].*--no-such-flag"):
        pod_template(plan(engine="etcd", extraArgs=["--max-txn-ops=1", "--no-such-flag=1"]))
    pod_template(plan(engine="etcd", extraArgs=["--no-such-flag=1"], image="i", agent={"mode": "Supervisor"}))
    pod_template(plan(engine="xline", extraArgs=["--no-such-flag=1"]))


def test_the_default_image_of_the_agent_is_this_release() -> None:
    import tomllib
    from pathlib import Path

    root = Path(__file__).resolve().parents[3]
    version = tomllib.loads((root / "pyproject.toml").read_text())["project"]["version"]
    assert AGENT_IMAGE.endswith(f"/xline-operator:v{version}")


def test_members_of_the_frozen_list() -> None:
    made = dataclasses.replace(plan(), bootstrap=Bootstrap(members=member_names(2), token="t"))
    assert flags(agent(made))["initial"].count("=http://") == 2


def test_the_old_xline_has_one_port_for_all() -> None:
    made = plan(engine="xline", image="phoenix500526/xline:v0.6.1")
    found = flags(agent(made))
    assert found["engine"] == "xline-legacy"
    assert found["peer-url"] == found["client-url"] == "http://$(POD_NAME).demo-svc.ns.svc.cluster.local:2379"
    assert found["initial"] == found["clients"]
    assert server(made)["livenessProbe"]["tcpSocket"] == {"port": 2379}
