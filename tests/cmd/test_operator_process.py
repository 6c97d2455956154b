"""The operator as a process: signals, servers, election, namespaces, credentials, and being killed at any moment."""

from __future__ import annotations

import gc
import json
import os
import random
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from cmd.controller import nothing_collected
from controllers.xline.inplace import TEMPLATE
from runtime.client import Client, Unstructured
from runtime.testing import FakeAPIServer
from runtime.testing.apiserver.audit import AuditEntry
from runtime.types import GVR, JSONObject
from tests.support.operators import (
    CHILDREN,
    CRDS,
    LEASES,
    ROOT,
    Operator,
    Operators,
    ServerProcess,
    children,
    client_of,
    create_cluster,
    eventually,
    server_process,
    wait_children,
)

AGENT = "xline-operator"
METRICS, HEALTH = "metrics_bind_address", "health_probe_bind_address"
METRICS_ON = ("--metrics-bind-address", "127.0.0.1:0")
HEALTH_ON = ("--health-probe-bind-address", "127.0.0.1:0")
NAMESPACES = GVR("", "v1", "namespaces")


@pytest.fixture
def server() -> Iterator[FakeAPIServer]:
    with FakeAPIServer() as server:
        server.apply_manifests(CRDS)
        yield server


@pytest.fixture
def config(server: FakeAPIServer, tmp_path: Path) -> Path:
    return server.kubeconfig(tmp_path / "kubeconfig")


@pytest.fixture
def client(server: FakeAPIServer) -> Iterator[Client]:
    client = server.client()
    yield client
    client.close()


@pytest.fixture
def operators(tmp_path: Path) -> Iterator[Operators]:
    operators = Operators(tmp_path)
    yield operators
    operators.kill_all()


def writes(server: FakeAPIServer) -> list[AuditEntry]:
    """Of operators; events and leases aside, which are no decisions."""
    return [
        entry
        for entry in server.requests.writes()
        if entry.user_agent.startswith(AGENT) and entry.resource not in ("events", "leases")
    ]


# -- beginning and end


def test_it_makes_the_children_and_ends_with_status_0(config: Path, client: Client, operators: Operators) -> None:
    operator = operators.start(config)
    create_cluster(client)
    wait_children(client)
    assert operator.end() == 0
    assert operator.line("stopping", signal="SIGTERM")
    assert all(line["level"] in ("debug", "info") for line in operator.lines), operator.text


def break_by_kill(server: ServerProcess) -> None:
    server.kill()


def break_by_freeze(server: ServerProcess) -> None:
    server.freeze()


@pytest.mark.parametrize("breakage", [break_by_kill, break_by_freeze])
def test_sigterm_ends_it_without_the_api_server(
    breakage: Callable[[ServerProcess], None], tmp_path: Path, operators: Operators
) -> None:
    grace = 3.0
    flags = (f"--graceful-shutdown-timeout={grace}", "--leader-elect")
    with server_process(tmp_path) as server:
        working, starting = operators.start(server.kubeconfig, *flags), None
        with client_of(server.kubeconfig) as client:
            working.wait_line("controller started")
            create_cluster(client)
        breakage(server)  # in the middle of making the children
        starting = operators.start(server.kubeconfig, *HEALTH_ON, *flags)
        starting.wait_line("serving")
        began = time.monotonic()
        for operator in (working, starting):
            operator.process.terminate()
        for operator in (working, starting):
            assert operator.wait() == 0, operator.text
            # A call that hangs would last half a minute; what is above the grace is for a busy machine.
            assert time.monotonic() - began < grace + 5.0, operator.text
            assert "Traceback" not in operator.text


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_second_signal_ends_it_at_once(
    number: signal.Signals, server: FakeAPIServer, config: Path, client: Client, operators: Operators
) -> None:
    slow = server.faults.add(lambda asked: asked.user_agent.startswith(AGENT) and asked.verb == "patch", delay=3.0)
    operator = operators.start(config, "--graceful-shutdown-timeout=60")
    create_cluster(client)
    eventually(lambda: slow.hits, "a write that takes its time")
    operator.process.terminate()
    operator.wait_line("stopping")
    assert operator.end(number, timeout=2) == 128 + number


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_before_it_runs_ends_it_too(number: signal.Signals, tmp_path: Path, operators: Operators) -> None:
    # As process 1 of a container it would otherwise not hear it at all.
    pipe = tmp_path / "kubeconfig"
    os.mkfifo(pipe)  # reading its configuration takes for ever
    operator = operators.start(pipe)
    writer = eventually(lambda: _opened(pipe), "it reads its configuration")
    try:
        assert operator.end(number, timeout=5) == 0, operator.text
    finally:
        os.close(writer)
    assert operator.text == ""


def _opened(pipe: Path) -> int | None:
    """A descriptor to write into the pipe, once somebody reads it; never 0."""
    try:
        return os.open(pipe, os.O_WRONLY | os.O_NONBLOCK)
    except OSError:
        return None


# -- what is seen from outside


def test_metrics_and_health_are_served(config: Path, client: Client, operators: Operators) -> None:
    operator = operators.start(config, *METRICS_ON, *HEALTH_ON)
    create_cluster(client)
    wait_children(client)
    eventually(lambda: operator.get(HEALTH, "/readyz") == (200, "ok"), "ready")
    assert operator.get(HEALTH, "/healthz") == (200, "ok")
    status, text = operator.get(METRICS, "/metrics")
    assert status == 200
    series = {line.partition(" ")[0]: float(line.rpartition(" ")[2]) for line in text.splitlines() if line[0] != "#"}
    assert series['workqueue_adds_total{controller="xlinecluster",name="xlinecluster"}'] >= 1
    assert series['controller_runtime_max_concurrent_reconciles{controller="xlinecluster"}'] == 2
    assert sum(value for name, value in series.items() if name.startswith("controller_runtime_reconcile_total{")) >= 1


def test_ready_once_the_crd_is_installed_without_a_restart(tmp_path: Path, operators: Operators) -> None:
    with FakeAPIServer() as server:
        operator = operators.start(server.kubeconfig(tmp_path / "config"), *HEALTH_ON)

        def complaint() -> bool:
            status, text = operator.get(HEALTH, "/readyz")
            return status == 500 and "xlineclusters" in text and "404" in text

        eventually(complaint, "/readyz that names the resource and why")
        assert operator.get(HEALTH, "/healthz")[0] == 200  # a restart would not help
        server.apply_manifests(CRDS)
        eventually(lambda: operator.get(HEALTH, "/readyz")[0] == 200, "ready")
        client = server.client()
        create_cluster(client)
        wait_children(client)
        client.close()
        assert operator.end() == 0


@pytest.mark.parametrize("flag", ["--metrics-bind-address", "--health-probe-bind-address"])
def test_a_taken_port_is_said_with_its_flag(flag: str, config: Path, operators: Operators) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        address = f"127.0.0.1:{taken.getsockname()[1]}"
        operator = operators.start(config, flag, address)
        assert operator.wait() == 1
    assert flag in operator.text
    assert address in operator.text
    assert "already in use" in operator.text
    assert "Traceback" not in operator.text


def test_zero_switches_both_servers_off(config: Path, operators: Operators) -> None:
    operator = operators.start(config)  # the helper's flags
    operator.wait_line("controller started")
    assert operator.line("serving") is None
    table = Path(f"/proc/{operator.process.pid}/net/tcp").read_text()
    sockets = {link for link in map(_target, Path(f"/proc/{operator.process.pid}/fd").iterdir()) if "socket:" in link}
    listening = [row.split() for row in table.splitlines()[1:] if row.split()[3] == "0A"]
    assert [row for row in listening if f"socket:[{row[9]}]" in sockets] == []


def _target(link: Path) -> str:
    try:
        return str(link.readlink())
    except OSError:
        return ""


@pytest.mark.parametrize("bad", ["localhost", "127.0.0.1:http", ":99999"])
def test_an_address_that_is_none_is_one_line(bad: str, config: Path, operators: Operators) -> None:
    operator = operators.start(config, "--metrics-bind-address", bad)
    assert operator.wait() in (1, 2)
    assert bad in operator.text
    assert "Traceback" not in operator.text


# -- two of them

QUICK = ("--leader-elect", "--lease-duration=3", "--renew-deadline=2", "--retry-period=0.3")


def holder(client: Client) -> str:
    leases = {lease.name: lease for lease in client.resource(LEASES, "default").list()}
    found = leases.get("xline-operator")
    return str(found["spec"].get("holderIdentity") or "") if found else ""


def test_when_the_leader_is_killed_the_other_takes_over(
    server: FakeAPIServer, config: Path, client: Client, operators: Operators
) -> None:
    leader = operators.start(config, *QUICK)
    first = eventually(lambda: holder(client), "a leader")
    standby = operators.start(config, *QUICK, *HEALTH_ON)
    create_cluster(client)
    wait_children(client)
    eventually(lambda: standby.get(HEALTH, "/readyz")[0] == 200, "a standby that is ready")
    standby.wait_line("leader seen", leader=first, is_us=False)
    before = _child_writes(server)
    assert len(before) == len(set(before)) == len(CHILDREN), before

    began = time.monotonic()
    leader.process.kill()
    eventually(lambda: holder(client) not in ("", first), "another leader")
    took = time.monotonic() - began
    assert took < 3 + 0.3 * 2.2 + 1.5, f"{took:.1f} s"  # the lease, a jittered try, and a busy machine
    create_cluster(client, "second")
    wait_children(client, "second")
    after = _child_writes(server)
    assert len(after) == len(set(after)) == 2 * len(CHILDREN), after
    assert standby.end() == 0


def _child_writes(server: FakeAPIServer) -> list[str]:
    names = {gvr.resource for gvr, _ in CHILDREN}
    return [f"{entry.resource}/{entry.name}" for entry in writes(server) if entry.resource in names]


def test_sigterm_gives_the_lease_back(config: Path, client: Client, operators: Operators) -> None:
    slow = ("--leader-elect", "--lease-duration=60", "--renew-deadline=40", "--retry-period=0.5")
    leader = operators.start(config, *slow)
    first = eventually(lambda: holder(client), "a leader")
    standby = operators.start(config, *slow)
    standby.wait_line("leader seen", leader=first)
    assert leader.end() == 0
    eventually(lambda: holder(client) not in ("", first), "the other leads", timeout=8)


# -- with few rights


def test_only_its_namespaces_and_only_namespaced_requests(
    server: FakeAPIServer, config: Path, client: Client, operators: Operators
) -> None:
    for name in ("a", "b", "c"):
        client.resource(NAMESPACES).create({"metadata": {"name": name}})
    for name in ("a", "c", "b"):
        create_cluster(client, "demo", name)
    flags = ("--namespace", "a", "--namespace", "b", "--leader-elect", "--leader-election-namespace", "a")
    operator = operators.start(config, *flags)
    wait_children(client, "demo", "a")
    wait_children(client, "demo", "b")
    assert operator.end() == 0
    assert children(client, "demo", "c") == {}
    asked = [entry for entry in server.requests if entry.user_agent.startswith(AGENT)]
    assert {entry.namespace for entry in asked if entry.resource} == {"a", "b"}
    # Discovery is open to every account (system:discovery).
    assert all(entry.path.startswith(("/api", "/version")) for entry in asked if not entry.resource)


# -- no server, no credentials


def test_it_waits_for_a_server_that_is_not_there_yet(tmp_path: Path, operators: Operators) -> None:
    with socket.socket() as reserved:
        # Bound and not listening: connections are refused, nobody else is given the port, and the server can take it.
        reserved.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        reserved.bind(("127.0.0.1", 0))
        port = reserved.getsockname()[1]
        config = tmp_path / "config"
        config.write_text(kubeconfig_of(f"http://127.0.0.1:{port}"))
        operator, impatient = operators.start(config, *HEALTH_ON), operators.start(config)

        def complaint(who: Operator) -> JSONObject | None:
            lines = [line for line in who.lines if line["level"] in ("warning", "error")]
            return next((line for line in lines if f"1:{port}" in str(line) and "xlineclusters" in str(line)), None)

        # Both: a busy machine may still be loading the second, and then there is nobody to hear the signal.
        for each in (operator, impatient):
            line = eventually(lambda each=each: complaint(each), "it names server and resource", 60)  # type: ignore[misc]
            assert "refused" in line["error"]
        status, text = operator.get(HEALTH, "/readyz")
        assert status == 500
        assert "xlineclusters" in text
        assert impatient.end() == 0, impatient.text
        with server_process(tmp_path, port) as server, client_of(server.kubeconfig) as client:
            create_cluster(client)
            # It looks twice as seldom each time: after a slow start of the server not for half a minute.
            eventually(lambda: len(children(client)) == len(CHILDREN), "all children", 90)
            again = operator.line("watching again")
            assert again is not None
            assert again["failed_for"] > 0
            assert operator.end() == 0
    assert "Traceback" not in operator.text


def kubeconfig_of(url: str) -> str:
    return (
        "apiVersion: v1\nkind: Config\ncurrent-context: blue\n"
        f"clusters: [{{name: c, cluster: {{server: '{url}'}}}}]\nusers: [{{name: u, user: {{}}}}]\n"
        "contexts: [{name: blue, context: {cluster: c, user: u}}, {name: green, context: {cluster: c, user: u}}]\n"
    )


@pytest.mark.parametrize(
    ("content", "flags", "said"),
    [
        (None, (), ["does not exist", "--kubeconfig"]),
        ("apiVersion: v1\nkind: Config\n", (), ["current-context"]),
        ("just: [text", (), ["YAML"]),
        (kubeconfig_of("http://127.0.0.1:1"), ("--context", "red"), ["red", "blue", "green"]),
    ],
    ids=["no file", "no contexts", "no YAML", "unknown context"],
)
def test_wrong_credentials_are_one_line(
    content: str | None, flags: tuple[str, ...], said: list[str], tmp_path: Path, operators: Operators
) -> None:
    path = tmp_path / "config"
    if content is not None:
        path.write_text(content)
    operator = operators.start(path, *flags)
    assert operator.wait() == 1
    assert operator.text.startswith("error: ")
    assert operator.text.count("\n") == 1
    for word in (str(path), *said):
        assert word in operator.text


def test_no_configuration_at_all_is_one_line(tmp_path: Path, operators: Operators) -> None:
    operator = operators.start(None, HOME=str(tmp_path), KUBECONFIG="", KUBERNETES_SERVICE_HOST="")
    assert operator.wait() == 1
    assert operator.text.startswith("error: ")
    assert operator.text.count("\n") == 1
    assert "--kubeconfig" in operator.text


# -- killed, and started again


@pytest.mark.parametrize("seed", [1, 2, 3, 4])
def test_killed_at_any_moment_it_makes_the_same_children(
    seed: int, server: FakeAPIServer, config: Path, client: Client, operators: Operators
) -> None:
    dice = random.Random(seed)
    # Slow writes, so that the moments between them are worth hitting.
    slow = server.faults.add(lambda asked: asked.user_agent.startswith(AGENT) and asked.verb == "patch", delay=0.05)
    operator = operators.start(config)
    operator.wait_line("controller started")
    create_cluster(client)
    seen = dice.randrange(6)
    eventually(lambda: len(writes(server)) >= seen, f"{seen} writes")
    time.sleep(dice.uniform(0, 0.06))  # somewhere between two answers
    operator.process.kill()
    operator.wait()
    server.faults.remove(slow)

    operator = operators.start(config)
    found = wait_children(client)
    assert {name: each["metadata"]["ownerReferences"][0]["kind"] for name, each in found.items()} == dict.fromkeys(
        found, "XlineCluster"
    )
    settle(server, operator.process.pid)
    uids = {name: each.uid for name, each in found.items()}
    client.resource(NAMESPACES).create({"metadata": {"name": "other"}})
    create_cluster(client, namespace="other")  # one that nobody disturbs
    others = wait_children(client, namespace="other")
    mine = children(client)
    assert {name: each.uid for name, each in mine.items()} == uids  # none made twice
    assert {name: intent(each) for name, each in mine.items()} == {name: intent(each) for name, each in others.items()}


def intent(child: Unstructured) -> JSONObject:
    """What the operator has said of it: neither what the server gives each object, nor its namespace."""
    obj = child.to_dict()
    spec = {key: value for key, value in obj["spec"].items() if key not in ("clusterIP", "clusterIPs")}
    metadata = {key: obj["metadata"].get(key) for key in ("name", "labels", "finalizers")}
    text = json.dumps({"spec": spec, "metadata": metadata}, sort_keys=True)
    text = text.replace(".other.svc", ".default.svc").replace(obj["metadata"]["ownerReferences"][0]["uid"][:8], "UID")
    text = text.replace("--namespace=other", "--namespace=default")
    intended: JSONObject = json.loads(text)
    if "template" in spec:
        # Made from the rest of the template as it is, namespace and all.
        assert intended["spec"]["template"]["metadata"]["annotations"].pop(TEMPLATE)
    return intended


def settle(server: FakeAPIServer, pid: int) -> None:
    """Until the operator has written nothing for a second while it had nothing to do."""
    quiet_since, count = time.monotonic(), len(writes(server))

    def quiet() -> bool:
        nonlocal quiet_since, count
        if len(writes(server)) != count:
            quiet_since, count = time.monotonic(), len(writes(server))
        return time.monotonic() - quiet_since > 1.0

    eventually(quiet, f"process {pid} settles")


def test_a_restart_of_the_operator_costs_no_write(
    server: FakeAPIServer, config: Path, client: Client, operators: Operators
) -> None:
    create_cluster(client)
    operator = operators.start(config)
    wait_children(client)
    settle(server, operator.process.pid)
    assert operator.end() == 0
    before = len(writes(server))
    operator = operators.start(config, *METRICS_ON)

    def looked() -> bool:
        _, text = operator.get(METRICS, "/metrics")
        done = [line for line in text.splitlines() if line.startswith("controller_runtime_reconcile_total")]
        return sum(float(line.rpartition(" ")[2]) for line in done) >= 1

    eventually(looked, "a reconcile")
    settle(server, operator.process.pid)
    assert writes(server)[before:] == []


# -- settings and logs


def test_environment_variables_start_it_too(server: FakeAPIServer, tmp_path: Path, client: Client) -> None:
    config = server.kubeconfig(tmp_path / "config")
    # Those that Kubernetes sets for a Service named xline-operator are nobody's typing mistake.
    links = {"XLINE_OPERATOR_SERVICE_HOST": "10.0.0.1", "XLINE_OPERATOR_SERVICE_PORT": "8080"}
    links |= {"XLINE_OPERATOR_SERVICE_PORT_METRICS": "8080", "XLINE_OPERATOR_PORT": "tcp://10.0.0.1:8080"}
    links |= {"XLINE_OPERATOR_PORT_8080_TCP_ADDR": "10.0.0.1", "XLINE_OPERATOR_METRICS_SERVICE_HOST": "10.0.0.2"}
    own = {"XLINE_OPERATOR_KUBECONFIG": str(config), "XLINE_OPERATOR_NAMESPACE": "default,kube-public"}
    own |= {"XLINE_OPERATOR_METRICS_BIND_ADDRESS": "0", "XLINE_OPERATOR_HEALTH_PROBE_BIND_ADDRESS": "0"}
    own |= {"XLINE_OPERATOR_LOG_FORMAT": "console", "XLINE_OPERATOR_LEADER_ELECT": "true"}
    log = tmp_path / "log"
    with (
        log.open("w") as output,
        subprocess.Popen(
            [sys.executable, "-m", "cmd.controller"], cwd=ROOT, env={**links, **own}, stdout=output, stderr=output
        ) as process,
    ):
        try:
            create_cluster(client)
            wait_children(client)
            assert holder(client)
            process.terminate()
            assert process.wait(20) == 0
        finally:
            process.kill()
    assert not log.read_text().startswith("{")
    assert {entry.namespace for entry in server.requests if entry.user_agent.startswith(AGENT) and entry.resource} <= {
        "default",
        "kube-public",
    }


def test_log_level_error_is_quiet(config: Path, client: Client, operators: Operators) -> None:
    operator = operators.start(config, "--log-level", "error")
    create_cluster(client)
    wait_children(client)
    assert operator.end() == 0
    assert operator.text == ""


def test_a_reader_of_its_log_that_goes_away_does_not_end_it(config: Path, client: Client) -> None:
    command = [sys.executable, "-m", "cmd.controller", "--kubeconfig", str(config), "--log-level=debug"]
    command += ["--metrics-bind-address=0", "--health-probe-bind-address=0"]
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        try:
            assert process.stdout is not None
            assert process.stderr is not None
            assert process.stderr.readline()
            process.stderr.close()
            process.stdout.close()
            create_cluster(client)
            wait_children(client)
            process.terminate()
            assert process.wait(20) == 0
        finally:
            process.kill()


def test_help_loads_no_library() -> None:
    look = (
        "import sys\nfrom cmd.controller import main\n"
        "try:\n    main(['--help'])\nexcept SystemExit as end:\n    assert end.code == 0\n"
        "heavy = {'kubernetes', 'urllib3', 'orjson', 'msgspec', 'structlog', 'grpc', 'prometheus_client', 'yaml'}\n"
        "print(sorted(heavy & set(sys.modules)), file=sys.stderr)\n"
    )
    done = subprocess.run([sys.executable, "-c", look], cwd=ROOT, capture_output=True, text=True, check=True)
    assert "--leader-elect" in done.stdout
    assert done.stderr.strip() == "[]"


def test_an_operator_loads_what_it_needs(config: Path, client: Client, operators: Operators) -> None:
    """Each of these costs a start that is fast a good part of its time."""
    rare = {"structlog", "prometheus_client", "opentelemetry", "kubernetes", "cryptography", "asyncio"}
    rare |= {"runtime.leaderelection", "runtime.manager.access", "runtime.manager.certificates", "runtime.tls"}
    operator = operators.start(config, *METRICS_ON, *HEALTH_ON, PYTHONPROFILEIMPORTTIME="1")
    create_cluster(client)
    wait_children(client)
    assert operator.end() == 0
    loaded = {line.rpartition("|")[2].strip() for line in operator.text.splitlines() if line.startswith("import time:")}
    assert "runtime.manager" in loaded
    assert not rare & loaded


def test_garbage_is_collected_once_all_is_loaded() -> None:
    def load() -> None:
        with nothing_collected():
            assert not gc.isenabled()
            raise ImportError("a dependency is missing")

    with pytest.raises(ImportError):
        load()
    assert gc.isenabled()
