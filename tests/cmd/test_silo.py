"""``python -m cmd.silo``: what it takes, what it says, and how it ends."""

from __future__ import annotations

import io
import json
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import pytest

from cmd import silo, silo_run
from cmd.silo_run import Silo, SiloSettings
from membership.orleans import KubeMembershipTable, MembershipEntry, MembershipOptions, SiloAddress, SiloStatus
from membership.orleans.views import MembershipView
from runtime.client import Client
from runtime.logging import reset
from runtime.testing import FakeAPIServer
from tests.support.silo_ends import silo as free_silo
from tests.support.waiting import eventually

ROOT = Path(__file__).resolve().parents[2]
SLOW = 60.0
NEEDED = ("--cluster-id=c", "--address=10.0.0.1")
QUICK = ("--probe-timeout=0.3", "--alive-period=5", "--table-refresh=5")


def settings(*argv: str, environ: dict[str, str] | None = None) -> SiloSettings:
    parser = silo.build_parser(environ or {})
    return silo.settings_from(parser, parser.parse_args(argv))


# -- flags


def test_the_defaults_are_those_of_orleans() -> None:
    here = settings(*NEEDED)
    assert (here.address.address, here.address.port) == ("10.0.0.1", 11111)
    assert here.address.generation > 0
    assert here.options == MembershipOptions()
    assert here.silo_name == here.host_name == socket.gethostname()
    assert (here.namespace, here.listen, here.proxy_port, here.foreign, here.as_json) == (
        None,
        None,
        0,
        "failed",
        False,
    )


def test_everything_has_its_place() -> None:
    here = settings(
        *("--cluster-id=c", "--address=fd00::5", "--port=2000", "--generation=7", "--proxy-port=30000"),
        *("--silo-name=s", "--host-name=h", "--listen=[::]:2001", "--namespace=ns", "--foreign-silos=alive", "--json"),
        "--leave-timeout=5",
        *("--probe-timeout=2s", "--num-missed-probes=4", "--num-probed-silos=5", "--num-votes=3"),
        *("--vote-expiration=1m", "--alive-period=10", "--num-missed-alives=2", "--table-refresh=20"),
        *("--max-join-attempt-time=2m", "--defunct-expiration=48h", "--no-use-gossip", "--no-liveness"),
        "--no-indirect-probes",
    )
    assert here.address == SiloAddress("fd00::5", 2000, 7)
    assert here.listen == ("::", 2001)
    assert (here.silo_name, here.host_name, here.namespace, here.proxy_port) == ("s", "h", "ns", 30000)
    assert (here.foreign, here.as_json, here.leave_timeout) == ("alive", True, 5.0)
    assert here.options == MembershipOptions(
        probe_timeout=2.0,
        num_missed_probes=4,
        num_probed_silos=5,
        num_votes=3,
        vote_expiration=60.0,
        alive_period=10.0,
        num_missed_alives=2,
        table_refresh=20.0,
        max_join_attempt_time=120.0,
        defunct_expiration=172800.0,
        use_gossip=False,
        indirect_probes=False,
        liveness=False,
    )


def test_a_pod_says_who_it_is() -> None:
    pod = {"POD_IP": "10.1.2.3", "POD_NAME": "web-0", "POD_NAMESPACE": "shop", "ORLEANS_CLUSTER_ID": "c9"}
    here = settings(environ=pod)
    assert (here.address.address, here.silo_name, here.namespace, here.cluster_id) == (
        "10.1.2.3",
        "web-0",
        "shop",
        "c9",
    )
    here = settings("--namespace=mine", environ={**pod, "ORLEANS_SILO_ADDRESS": "10.9.9.9", "ORLEANS_SILO_PORT": "5"})
    assert (here.address.address, here.address.port, here.namespace) == ("10.9.9.9", 5, "mine")


def test_the_variables_of_a_service_of_that_name_are_no_flags() -> None:
    """Kubernetes sets them in every Pod of the namespace: here for orleans-silo and orleans-silo-proxy."""
    links = {
        "ORLEANS_SILO_PORT": "tcp://10.96.0.7:11111",
        "ORLEANS_SILO_PORT_11111_TCP_PORT": "11111",
        "ORLEANS_SILO_SERVICE_PORT": "11111",
        "ORLEANS_SILO_PROXY_PORT": "tcp://[fd00::7]:30000",
        "ORLEANS_SILO_PROXY_SERVICE_HOST": "fd00::7",
    }
    here = settings(*NEEDED, "--generation=1", environ=links)
    assert here == settings(*NEEDED, "--generation=1")
    with pytest.raises(SystemExit):
        settings(*NEEDED, environ={"ORLEANS_SILO_PORT": "http"})


@pytest.mark.parametrize(
    ("argv", "why"),
    [
        (["--address=10.0.0.1"], "--cluster-id is missing"),
        (["--cluster-id=c"], "--address is missing (or the environment variable ORLEANS_SILO_ADDRESS)"),
        ([*NEEDED, "--address=web-0"], "--address: 'web-0' is no IP address"),
        ([*NEEDED, "--address=0.0.0.0"], "--address 0.0.0.0: nobody can reach that"),
        ([*NEEDED, "--port=0"], "--port 0"),
        ([*NEEDED, "--port=70000"], "argument --port"),
        ([*NEEDED, "--generation=0"], "argument --generation"),
        ([*NEEDED, "--generation=4294967296"], "--generation: generation 4294967296"),
        ([*NEEDED, "--listen=here"], "--listen 'here': must be HOST:PORT"),
        ([*NEEDED, "--probe-timeout=0"], "--probe-timeout 0.0: must be above 0"),
        ([*NEEDED, "--defunct-expiration=9999999h"], "--defunct-expiration: '9999999h' is more than a hundred years"),
        ([*NEEDED, "--cluster-id=" + "c" * 2000], "--cluster-id: a cluster id of 2002 bytes"),
        ([*NEEDED, "--cluster-id=\udc80"], "--cluster-id: "),
        ([*NEEDED, "--num-votes=11"], "--num-votes 11: must be at most --num-probed-silos 10"),
        ([*NEEDED, "--namespace=a/b"], "--namespace 'a/b': is no name of a namespace"),
        ([*NEEDED, "--silo-name=\udc80"], "--silo-name '\\udc80': is not UTF-8"),
        ([*NEEDED, "--foreign-silos=dead"], "argument --foreign-silos"),
    ],
)
def test_what_is_wrong_is_named(argv: list[str], why: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        settings(*argv)
    assert ended.value.code == silo_run.BAD_FLAGS
    assert why in capsys.readouterr().err


def test_help_tells_all_exit_codes(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        silo.main(["--help"])
    assert ended.value.code == 0
    said = capsys.readouterr().out
    assert all(f"  {code}  {text}" in said for code, text in silo_run.EXIT_CODES.items())


# -- what a view looks like

START = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)
ONE, TWO, THREE = (SiloAddress("10.0.0.1", 11111, generation) for generation in (1, 2, 3))
VIEW = MembershipView.of(
    9,
    [
        MembershipEntry(ONE, SiloStatus.ACTIVE, [(TWO, START)], 30000, "h", "s", START, START),
        MembershipEntry(TWO, SiloStatus.ACTIVE, [], 0, "h", "s", START, START),
        MembershipEntry(THREE, SiloStatus.DEAD, [(ONE, START), (TWO, START)], 0, "h", "s", START, START),
    ],
)


def test_a_view_for_people() -> None:
    assert silo_run.as_text(VIEW) == (
        "view 9  2 Active: 10.0.0.1:11111@1 (suspected by 1) 10.0.0.1:11111@2; 1 Dead: 10.0.0.1:11111@3"
    )
    assert silo_run.as_text(MembershipView.of(0, [])) == "view 0  no silos"


def test_a_view_for_programs_has_nothing_that_silos_see_differently() -> None:
    line = silo_run.as_json_line(VIEW)
    assert "\n" not in line
    assert json.loads(line)["version"] == 9
    assert json.loads(line)["members"][0] == {
        "silo": "10.0.0.1:11111@1",
        "status": "Active",
        "proxyPort": 30000,
        "siloName": "s",
        "hostName": "h",
        "startTime": "2026-01-02T03:04:05+00:00",
        "suspectedBy": [{"silo": "10.0.0.1:11111@2", "time": "2026-01-02T03:04:05+00:00"}],
    }
    later = replace(VIEW, members=tuple(replace(m, i_am_alive_time=datetime.now(UTC)) for m in VIEW.members))
    assert silo_run.as_json_line(later) == line


# -- its life


@pytest.fixture(scope="module")
def server() -> Iterator[FakeAPIServer]:
    with FakeAPIServer() as server:
        server.apply_manifests(ROOT / "crds")
        yield server


@pytest.fixture
def client(server: FakeAPIServer) -> Iterator[Client]:
    with server.client() as client:
        yield client


class Run:
    """A silo in a thread; ``code`` once it has ended."""

    def __init__(self, here: SiloSettings, client: Client, out: io.StringIO | None = None) -> None:
        self.out = out or io.StringIO()
        self.stop = threading.Event()
        self.code: int | None = None
        self._thread = threading.Thread(target=self._run, args=(Silo(here, client, self.out),), name="cmd-silo")
        self._thread.start()

    def _run(self, silo: Silo) -> None:
        self.code = silo.run(self.stop)

    def sees(self, silo: SiloAddress, status: SiloStatus) -> None:
        eventually(lambda: f" {status.value}: {silo}" in self.out.getvalue().split("\n")[-2:][0], str(silo), SLOW)

    def ended(self) -> int | None:
        self._thread.join(SLOW)
        return self.code


@pytest.fixture
def run(client: Client) -> Iterator[Callable[..., Run]]:
    runs: list[Run] = []

    def start(here: SiloSettings, client: Client = client, out: io.StringIO | None = None) -> Run:
        runs.append(Run(here, client, out))
        return runs[-1]

    yield start
    for each in runs:
        each.stop.set()
        assert each.ended() is not None


def one(cluster: str, *argv: str, address: SiloAddress | None = None) -> SiloSettings:
    own = address or free_silo()
    where = (f"--address={own.address}", f"--port={own.port}", f"--generation={own.generation}")
    return settings(f"--cluster-id={cluster}", *where, *QUICK, *argv)


def status_in_table(client: Client, here: SiloSettings) -> SiloStatus | None:
    found = KubeMembershipTable(client, here.cluster_id).read_all().get(here.address)
    return found and found[0].status


def declare_dead(client: Client, here: SiloSettings) -> None:
    """As somebody who does not follow the protocol."""
    table = KubeMembershipTable(client, here.cluster_id)

    def written() -> bool:
        data = table.read_all()
        found = data.get(here.address)
        assert found is not None
        entry, etag = found
        return table.update_row(replace(entry, status=SiloStatus.DEAD), etag, data.version.next())

    eventually(written, "declared dead", SLOW)


def test_it_joins_prints_and_leaves(run: Callable[..., Run], client: Client, caplog: pytest.LogCaptureFixture) -> None:
    here = one("lives", "--proxy-port=30000", "--silo-name=web-0")
    started = run(here)
    started.sees(here.address, SiloStatus.ACTIVE)
    assert "there is no such cluster yet" in caplog.text
    assert status_in_table(client, here) is SiloStatus.ACTIVE
    started.stop.set()
    assert started.ended() == silo_run.LEFT
    assert status_in_table(client, here) is SiloStatus.DEAD
    assert started.out.getvalue().endswith(f"1 Dead: {here.address}\n")
    versions = [int(line.split()[1]) for line in started.out.getvalue().splitlines()]
    assert versions == sorted(set(versions))


def test_a_table_that_cannot_be_told(
    run: Callable[..., Run], server: FakeAPIServer, client: Client, caplog: pytest.LogCaptureFixture
) -> None:
    here = one("untold", "--leave-timeout=0.5")
    started = run(here)
    started.sees(here.address, SiloStatus.ACTIVE)
    away = server.faults.add(resource="clusterversions", name="untold", status=503)
    try:
        started.stop.set()
        assert started.ended() == silo_run.FAILED
    finally:
        server.faults.remove(away)
    assert "the others are not told that this silo ends" in caplog.text
    assert status_in_table(client, here) is SiloStatus.ACTIVE


def test_declared_dead(run: Callable[..., Run], client: Client, caplog: pytest.LogCaptureFixture) -> None:
    here = one("dies")
    started = run(here)
    started.sees(here.address, SiloStatus.ACTIVE)
    declare_dead(client, here)
    assert started.ended() == silo_run.DECLARED_DEAD
    assert f"{here.address} was declared dead" in caplog.text


def test_started_a_second_time(run: Callable[..., Run], client: Client) -> None:
    here = one("twice")
    started = run(here)
    started.sees(here.address, SiloStatus.ACTIVE)
    successor = MembershipEntry(
        SiloAddress(here.address.address, here.address.port, here.address.generation + 1), SiloStatus.JOINING
    )
    successor.start_time = successor.i_am_alive_time = datetime.now(UTC)
    table = KubeMembershipTable(client, "twice")
    eventually(lambda: table.insert_row(successor, table.read_all().version.next()), "its successor", SLOW)
    assert started.ended() == silo_run.SUCCEEDED


def test_an_active_silo_that_cannot_be_reached(
    run: Callable[..., Run], client: Client, caplog: pytest.LogCaptureFixture
) -> None:
    table = KubeMembershipTable(client, "apart")
    table.initialize_membership_table(True)
    other = MembershipEntry(free_silo(), SiloStatus.ACTIVE, start_time=datetime.now(UTC))
    other.i_am_alive_time = other.start_time
    assert table.insert_row(other, table.read_all().version.next())
    here = one("apart", "--max-join-attempt-time=1")
    assert run(here).ended() == silo_run.NOT_JOINED
    assert f"cannot reach all active silos: {other.silo_address} did not answer" in caplog.text
    assert status_in_table(client, here) is SiloStatus.DEAD


def test_it_waits_for_the_api_server(
    run: Callable[..., Run], server: FakeAPIServer, caplog: pytest.LogCaptureFixture
) -> None:
    here = one("waits")
    away = server.faults.add(resource="clusterversions", verb="list", status=503)
    try:
        started = run(here)
        eventually(lambda: "this silo waits for it" in caplog.text, "it says so", SLOW)
    finally:
        server.faults.remove(away)
    started.sees(here.address, SiloStatus.ACTIVE)


def test_it_can_be_stopped_while_it_waits(run: Callable[..., Run], caplog: pytest.LogCaptureFixture) -> None:
    with Client(f"http://127.0.0.1:{free_silo().port}") as nobody:
        started = run(one("never"), nobody)
        eventually(lambda: "this silo waits for it" in caplog.text, "it says so", SLOW)
        started.stop.set()
        assert started.ended() == silo_run.LEFT


def test_crds_that_are_missing(run: Callable[..., Run], caplog: pytest.LogCaptureFixture) -> None:
    with FakeAPIServer() as bare, bare.client() as client:
        assert run(one("c"), client).ended() == silo_run.FAILED
    assert "install the CRDs of orleans.dot.net (python -m cmd.crds apply)" in caplog.text


def test_a_namespace_that_is_missing(run: Callable[..., Run], caplog: pytest.LogCaptureFixture) -> None:
    assert run(one("c", "--namespace=nowhere")).ended() == silo_run.FAILED
    assert 'namespaces "nowhere" not found (404 NotFound); make it, or give another with --namespace' in caplog.text


def test_rights_that_are_missing(run: Callable[..., Run], tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    tokens = tmp_path / "tokens.csv"
    tokens.write_text("secret,somebody,1\n")
    with FakeAPIServer(authorization_mode="RBAC", token_auth_file=tokens) as strict:
        strict.apply_manifests(ROOT / "crds")
        with Client(strict.url, "secret") as client:
            assert run(one("c"), client).ended() == silo_run.FAILED
    assert "needed are get, list, create, update and delete on silos, and get, create" in caplog.text


def test_an_address_of_another_machine(run: Callable[..., Run], caplog: pytest.LogCaptureFixture) -> None:
    address = SiloAddress("192.0.2.1", 11111, 1)  # for documentation: nobody's
    assert run(one("elsewhere", address=address)).ended() == silo_run.FAILED
    assert "cannot listen at 192.0.2.1:11111" in caplog.text
    assert "--listen says where" in caplog.text


def test_an_address_that_is_taken(run: Callable[..., Run], caplog: pytest.LogCaptureFixture) -> None:
    with socket.create_server(("127.0.0.1", 0)) as other:
        address = SiloAddress("127.0.0.1", other.getsockname()[1], 1)
        assert run(one("taken", address=address)).ended() == silo_run.FAILED
    assert "Address already in use; another process listens there: end it, or take another --port" in caplog.text


class _Gone(io.StringIO):
    def flush(self) -> None:
        raise BrokenPipeError(32, "Broken pipe")


def test_it_leaves_when_nobody_reads_what_it_prints(
    run: Callable[..., Run], client: Client, caplog: pytest.LogCaptureFixture
) -> None:
    here = one("unread")
    assert run(here, client, _Gone()).ended() == silo_run.FAILED
    assert "views cannot be printed; this silo leaves" in caplog.text
    assert status_in_table(client, here) is not SiloStatus.ACTIVE


def test_a_kubeconfig_that_is_missing(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    try:
        assert silo.main([*NEEDED, f"--kubeconfig={tmp_path / 'none'}"]) == silo_run.FAILED
    finally:
        reset()
    assert str(tmp_path / "none") in capsys.readouterr().err


def test_the_process_leaves_at_sigterm(server: FakeAPIServer, tmp_path: Path, client: Client) -> None:
    config = server.kubeconfig(tmp_path / "kubeconfig")
    address = free_silo()
    argv = (f"--cluster-id=process --address={address.address} --port={address.port}").split()
    command = [sys.executable, "-m", "cmd.silo", *argv, "--generation=1", "--json", f"--kubeconfig={config}"]
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True) as process:
        assert process.stdout is not None
        for line in process.stdout:
            if [member["status"] for member in json.loads(line)["members"]] == ["Active"]:
                process.send_signal(signal.SIGTERM)
        assert process.wait(SLOW) == silo_run.LEFT
    assert [member["status"] for member in json.loads(line)["members"]] == ["Dead"]
