"""The pytest plugin, in sessions of pytest of its own."""

from __future__ import annotations

import os
import re
from collections.abc import Callable
from pathlib import Path

import pytest
import yaml

# pytester forgets what its sessions import, and the compiled half of cryptography does not take classes of a second
# import of the other half.
import runtime.tls.certs  # noqa: F401
from tests.runtime.testing.apiserver.apiserver_helpers import WIDGET_CRD, widget
from tests.support.etcd_process import etcd_binary
from tests.support.standin_apiserver import assets

pytest_plugins = ["pytester"]

OFF = ("no:randomly", "no:cacheprovider", "no:xdist", "no:hypothesispytest")  # what costs these sessions time

Run = Callable[..., pytest.RunResult]

HEAD = """
import pytest
from runtime import GVR

MAPS, WIDGETS = GVR("", "v1", "configmaps"), GVR("example.com", "v1", "widgets")

"""


@pytest.fixture
def run(pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch) -> Run:
    monkeypatch.delenv("KUBEBUILDER_ASSETS", raising=False)
    monkeypatch.delenv("TEST_ASSET_ETCD", raising=False)
    monkeypatch.delenv("TEST_ASSET_KUBE_APISERVER", raising=False)

    def run(code: str, *options: str, assets: Path | None = None) -> pytest.RunResult:
        if assets is not None:
            monkeypatch.setenv("KUBEBUILDER_ASSETS", str(assets))
        pytester.makepyfile(HEAD + code)
        plugins = [f"-p{name}" for name in ("runtime.testing.pytest_plugin", *OFF)]
        return pytester.runpytest_inprocess(*plugins, "--strict-markers", "-rs", *options)

    return run


def test_each_test_has_a_server_and_a_client_of_it(run: Run) -> None:
    result = run(
        """
@pytest.mark.parametrize("_", [1, 2])
def test_alone(fake_api_server, kube_client, _):
    maps = kube_client.resource(MAPS, "default")
    maps.create({"metadata": {"name": "a"}})  # the second test would find the first one's
    assert [entry.name for entry in fake_api_server.requests.writes()] == ["a"]

def test_one_server(api_server, fake_api_server, kube_client, tmp_path):
    assert api_server is fake_api_server
    assert kube_client.url == api_server.url
    assert api_server.url in api_server.kubeconfig(tmp_path / "config").read_text()
"""
    )
    result.assert_outcomes(passed=3)


def test_servers_and_clients_end_with_their_test(run: Run) -> None:
    result = run(
        """
import threading
before = set(threading.enumerate())
seen = []

def test_server(fake_api_server, kube_client):
    kube_client.resource(MAPS, "default").list()
    seen.append(fake_api_server)
    assert fake_api_server.connections == 1

def test_after():
    assert seen[0].connections == 0
    assert not [each for each in threading.enumerate() if each not in before and "apiserver" in each.name]
"""
    )
    result.assert_outcomes(passed=2)


def test_a_namespace_of_ones_own(run: Run) -> None:
    result = run(
        """
NAMESPACES = GVR("", "v1", "namespaces")
names = []

@pytest.mark.parametrize("_", [1, 2])
def test_own(fake_api_server, kube_client, kube_namespace, _):
    assert kube_client.resource(NAMESPACES).get(kube_namespace)["status"] == {"phase": "Active"}
    names.append((fake_api_server, kube_namespace))

def test_two():
    assert len({name for _, name in names}) == 2

def test_faults_that_are_left(fake_api_server, kube_namespace):
    fake_api_server.faults.add(status=500)
    fake_api_server.pause()
"""
    )
    result.assert_outcomes(passed=4)


def test_servers_begin_with_the_manifests_of_ini_and_marks(run: Run, pytester: pytest.Pytester) -> None:
    pytester.makeini("[pytest]\nfake_api_server_manifests = crds")
    crds = pytester.mkdir("crds")
    (crds / "widget.yaml").write_text(yaml.safe_dump(WIDGET_CRD))
    (pytester.path / "one.yaml").write_text(yaml.safe_dump(widget("one")))
    (pytester.path / "two.yaml").write_text(yaml.safe_dump(widget("two")))
    result = run(
        """
def names(client):
    return [each.name for each in client.resource(WIDGETS, "default").list()]

def test_ini(kube_client):
    assert names(kube_client) == []

@pytest.mark.fake_api_server(manifests="one.yaml")
class TestMark:
    def test_one(self, kube_client):
        assert names(kube_client) == ["one"]

    @pytest.mark.fake_api_server(manifests=["two.yaml"])
    def test_both(self, kube_client):
        assert names(kube_client) == ["one", "two"]
"""
    )
    result.assert_outcomes(passed=3)


def test_the_mark_has_the_arguments_of_the_server(run: Run, pytester: pytest.Pytester) -> None:
    (pytester.path / "tokens").write_text("t1,alice,1\n")
    result = run(
        """
from runtime.testing import FakeClock
CLOCK = FakeClock()

@pytest.mark.fake_api_server(clock=CLOCK, token_auth_file="tokens")
def test_arguments(fake_api_server, kube_client):
    created = kube_client.resource(MAPS, "default").create({"metadata": {"name": "a"}})
    assert created.creation_timestamp == CLOCK.now().replace(microsecond=0)
    assert fake_api_server.requests[-1].user == "alice"

@pytest.mark.fake_api_server(authorization_mode="AlwaysDeny", history=5)
class TestNearest:
    @pytest.mark.fake_api_server(authorization_mode="AlwaysAllow")
    def test_counts(self, fake_api_server):
        with fake_api_server.client("somebody") as client:
            client.resource(MAPS, "default").list()
"""
    )
    result.assert_outcomes(passed=2)


def test_wrong_arguments_of_the_mark_are_named(run: Run) -> None:
    result = run(
        """
@pytest.mark.fake_api_server("crds/")
def test_position(fake_api_server):
    pass

@pytest.mark.fake_api_server(manifest="crds/")
def test_name(fake_api_server):
    pass

@pytest.mark.fake_api_server(manifests="none.yaml")
def test_path(fake_api_server):
    pass
"""
    )
    result.assert_outcomes(errors=3)
    for text in ("*manifests=... for 'crds/'*", "*unexpected keyword argument 'manifest'*", "*No such file*none.yaml*"):
        result.stdout.fnmatch_lines([text])


def test_a_failed_test_tells_what_was_asked(run: Run) -> None:
    result = run(
        """
def test_fails(kube_client):
    maps = kube_client.resource(MAPS, "default")
    for number in range(40):
        maps.create({"metadata": {"name": f"a{number}"}})
    maps.delete("a7")
    assert False

def test_fails_without(fake_api_server):
    assert False

@pytest.fixture
def broken(fake_api_server, kube_client):
    fake_api_server.faults.add(id="gone", verb="get", drop="before")
    kube_client.request("GET", "/version", timeout=5)

def test_never_runs(broken):
    pass

def test_passes(kube_client):
    kube_client.resource(MAPS, "kube-system").list()
"""
    )
    result.assert_outcomes(passed=1, failed=2, errors=1)
    result.stdout.fnmatch_lines(
        [
            "*requests to the API server*",
            "... 11 before",
            "*201 create*configmaps/default/a39*by system:admin*",
            "*200 delete*configmaps/default/a7*by system:admin*",
        ]
    )
    result.stdout.fnmatch_lines(["*dropped get * /version  by system:admin*, struck by gone"])
    result.stdout.no_fnmatch_line("*kube-system*")


EITHER = """
@pytest.mark.control_plane
def test_either(api_server, kube_client, kube_namespace):
    kube_client.resource(MAPS, kube_namespace).create({"metadata": {"name": "a"}})

def test_fake(api_server):
    assert type(api_server).__name__ == "FakeAPIServer"
"""


def test_without_programs_the_real_half_is_skipped_and_says_why(run: Run) -> None:
    result = run(EITHER, "-v")
    result.assert_outcomes(passed=2, skipped=1)
    result.stdout.fnmatch_lines(["*test_either?fake?*PASSED*", "*test_either?real?*SKIPPED*", "*KUBEBUILDER_ASSETS*"])


@pytest.mark.etcd
@pytest.mark.skipif(etcd_binary() is None, reason="no etcd on this machine")
def test_all_tests_share_one_control_plane(run: Run, pytester: pytest.Pytester) -> None:
    """With a stand-in for kube-apiserver. No test takes it for its own, and it ends with the session."""
    (pytester.path / "widget.yaml").write_text(yaml.safe_dump(WIDGET_CRD))
    tried = run(
        """
from pathlib import Path

pytestmark = pytest.mark.control_plane
seen = []

@pytest.fixture(autouse=True)
def watchful():
    before = children()
    yield
    assert children() == before

def children():
    return {pid for each in Path("/proc/self/task").glob("*/children") for pid in each.read_text().split()}

@pytest.mark.parametrize("_", [1, 2])
def test_shared(api_server, kube_client, kube_namespace, _):
    assert not api_server.requests.writes("configmaps")  # of the other test
    kube_client.resource(MAPS, kube_namespace).create({"metadata": {"name": "a"}})
    seen.append(api_server)

@pytest.mark.fake_api_server(manifests="widget.yaml", authorization_mode="RBAC", tls=True)
def test_what_a_real_one_has_anyway(api_server, kube_client):
    assert not kube_client.resource(WIDGETS, "default").list().items

@pytest.mark.fake_api_server(history=5)
def test_what_a_real_one_cannot_have(api_server):
    pass

def test_leaves_it_down(api_server, kube_namespace):
    api_server.go_down()

def test_leaves_it_standing_still(api_server, kube_namespace):
    api_server.pause()

def test_last(api_server, kube_client):
    kube_client.request("GET", "/version", timeout=10)
    if type(api_server).__name__ == "ControlPlane":
        assert {id(each) for each in seen if type(each) is type(api_server)} == {id(api_server)}
        print("folder", api_server.folder)
""",
        "-s",
        "-rfE",
        assets=assets(pytester.path / "bin"),
    )
    tried.assert_outcomes(passed=13, errors=1)
    tried.stdout.fnmatch_lines(["*cannot_have?real?*does not take the arguments history*"])
    (folder,) = re.findall(r"folder (\S+)", str(tried.stdout))
    assert not Path(folder).exists()


def test_a_control_plane_that_does_not_start_is_tried_once(run: Run, pytester: pytest.Pytester) -> None:
    folder = pytester.mkdir("bin")
    for name in ("etcd", "kube-apiserver"):
        (folder / name).write_text(f"#!/bin/sh\necho $0 >> {folder}/started; exit 1\n")
        (folder / name).chmod(0o755)
    result = run(
        """
@pytest.mark.control_plane
@pytest.mark.parametrize("_", [1, 2, 3])
def test_either(api_server, _):
    pass
""",
        assets=folder,
    )
    result.assert_outcomes(passed=3, errors=3)
    result.stdout.fnmatch_lines(["*etcd ended with code 1 before it was ready*"])
    started = (folder / "started").read_text().splitlines()
    assert len(started) == 2, "once for its --help, once to start"


def test_a_fixture_of_the_same_name_is_its_projects(run: Run) -> None:
    """No test of theirs runs on anything of ours, whatever the fixture's parameters are called."""
    result = run(
        """
@pytest.mark.parametrize("api_server", ["fake", "real"])
def test_parameter(api_server):
    assert api_server in ("fake", "real")

class TestTheirs:
    @pytest.fixture(params=["real"])
    def api_server(self, request):
        return request.param

    def test_fixture(self, api_server):
        assert api_server == "real"
"""
    )
    result.assert_outcomes(passed=3)


def test_the_mark_selects(run: Run) -> None:
    run(EITHER, "-m", "control_plane").assert_outcomes(passed=1, skipped=1, deselected=1)


def test_marks_and_settings_are_explained(run: Run) -> None:
    shown = run("", "--markers")
    shown.stdout.fnmatch_lines(["*pytest.mark.fake_api_server(manifests=PATHS*", "*pytest.mark.control_plane:*"])


def test_nothing_is_loaded_that_no_test_asks_for(pytester: pytest.Pytester) -> None:
    """Whoever has the package installed pays nothing in tests of other things."""
    pytester.makepyfile("def test_it():\n    import sys; assert 'runtime.testing.apiserver' not in sys.modules")
    root = Path(__file__).resolve().parents[3]
    path = f"{root}{os.pathsep}{os.environ.get('PYTHONPATH', '')}"
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PYTHONPATH", path)
        result = pytester.runpytest_subprocess("-p", "runtime.testing.pytest_plugin", "-p", "no:cacheprovider")
    result.assert_outcomes(passed=1)
