"""pytest fixtures: an API server of its own for each test, a client of it, and the same tests on a real control plane.

Loaded by itself where the package is installed; elsewhere ``pytest_plugins = ["runtime.testing.pytest_plugin"]`` in the
top-level conftest does it. Nothing else is imported until a test asks for a fixture.
"""

from __future__ import annotations

import contextlib
import enum
import uuid
from collections.abc import Generator, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from runtime.client import Client
    from runtime.testing.apiserver import AuditEntry, FakeAPIServer
    from runtime.testing.controlplane import ControlPlane
    from runtime.testing.interface import APIServer

_INI = "fake_api_server_manifests"
_ARGUMENTS = "fake_api_server"
_EITHER = "control_plane"
_MARKS = f"""\
{_ARGUMENTS}(manifests=PATHS, **arguments): arguments of this test's FakeAPIServer, and what to apply to it at the start
{_EITHER}: a test of the fixture api_server runs on a FakeAPIServer and, where KUBEBUILDER_ASSETS says, on a real server
"""
_REAL = {"authorization_mode": "RBAC", "tls": True}  # arguments that a real control plane has anyway
_SHOWN = 30  # requests in the report of a failed test


class _Side(enum.Enum):
    """Parameters of ``api_server``: of a type that no other plugin's or project's fixture of that name has."""

    FAKE = "fake"
    REAL = "real"


_plane_key = pytest.StashKey["ControlPlane | Exception"]()  # of the session; or why there is none
_server_key = pytest.StashKey["APIServer"]()  # of a test


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addini(_INI, "manifests, or folders of them, that every API server of a test begins with", type="paths")


def pytest_configure(config: pytest.Config) -> None:
    for mark in _MARKS.splitlines():
        config.addinivalue_line("markers", mark)


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    if "api_server" in metafunc.fixturenames and metafunc.definition.get_closest_marker(_EITHER):
        metafunc.parametrize("api_server", list(_Side), ids=[side.value for side in _Side], indirect=True)


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_setup(item: pytest.Item) -> None:
    """Start the control plane ahead of all fixtures: it stays for other tests, whatever a fixture thinks of
    leftovers."""
    if _runs_on(item) is _Side.REAL:
        _control_plane(item.config)


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_teardown(item: pytest.Item) -> None:
    """Whatever a test has done to the control plane, the next one finds it up."""
    plane = item.config.stash.get(_plane_key, None)
    if plane is not None and not isinstance(plane, Exception) and _runs_on(item) is _Side.REAL:
        plane.come_up()
        plane.resume()


def pytest_sessionfinish(session: pytest.Session) -> None:
    plane = session.config.stash.get(_plane_key, None)
    if plane is not None and not isinstance(plane, Exception):
        plane.stop()


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    report = yield
    if report.failed and report.when != "teardown":
        server = item.stash.get(_server_key, None)
        if server is not None:
            report.sections.append(("requests to the API server", _told(list(server.requests))))
    return report


# -- fixtures


@pytest.fixture
def fake_api_server(request: pytest.FixtureRequest) -> Iterator[FakeAPIServer]:
    """A fresh FakeAPIServer for this test."""
    from runtime.testing.apiserver import FakeAPIServer

    manifests, arguments = _arguments(request.node)
    with FakeAPIServer(**arguments) as server:
        for path in [*request.config.getini(_INI), *manifests]:
            server.apply_manifests(path)
        request.node.stash[_server_key] = server
        yield server


@pytest.fixture
def api_server(request: pytest.FixtureRequest) -> APIServer:
    """What the test runs on: its FakeAPIServer. With the mark ``control_plane`` the test runs twice, the second time on
    a real control plane, which all tests of a session share."""
    if _runs_on(request.node) is _Side.FAKE:
        fake: FakeAPIServer = request.getfixturevalue("fake_api_server")
        return fake
    manifests, arguments = _arguments(request.node)
    arguments = {name: value for name, value in arguments.items() if _REAL.get(name) != value}
    if arguments:
        pytest.fail(f"a real control plane does not take the arguments {', '.join(arguments)}", pytrace=False)
    plane = _control_plane(request.config)
    for path in manifests:
        plane.apply_manifests(path)
    plane.requests.clear()
    request.node.stash[_server_key] = plane
    return plane


@pytest.fixture
def kube_client(api_server: APIServer) -> Iterator[Client]:
    """A client of ``api_server``, as an administrator."""
    with api_server.client() as client:
        yield client


@pytest.fixture
def kube_namespace(request: pytest.FixtureRequest, kube_client: Client) -> Iterator[str]:
    """The name of a new namespace. On a real control plane it is deleted after the test; a fake one goes as a whole,
    perhaps with faults that the test has left."""
    from runtime import GVR
    from runtime.client import NotFound

    namespaces = kube_client.resource(GVR("", "v1", "namespaces"))
    name = f"test-{uuid.uuid4().hex[:10]}"
    namespaces.create({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name}})
    yield name
    if _runs_on(request.node) is _Side.REAL:
        with contextlib.suppress(NotFound):
            namespaces.delete(name)


# -- helpers


def _runs_on(item: pytest.Item) -> _Side:
    callspec = getattr(item, "callspec", None)
    side = None if callspec is None else callspec.params.get("api_server")
    return side if isinstance(side, _Side) else _Side.FAKE


def _control_plane(config: pytest.Config) -> ControlPlane:
    """The one of this session. Skips the test where there are no programs; one that cannot be had is tried once."""
    from runtime.testing.controlplane import BinariesMissing

    if _plane_key not in config.stash:
        try:
            config.stash[_plane_key] = _started(config)
        except Exception as error:
            config.stash[_plane_key] = error
    found = config.stash[_plane_key]
    if isinstance(found, BinariesMissing):
        pytest.skip(str(found))
    if isinstance(found, Exception):
        raise found
    return found


def _started(config: pytest.Config) -> ControlPlane:
    from runtime.testing.controlplane import ControlPlane

    plane = ControlPlane().start()
    try:
        for path in config.getini(_INI):
            plane.apply_manifests(path)
    except Exception:
        plane.stop()
        raise
    return plane


def _arguments(item: pytest.Item) -> tuple[list[Path], dict[str, Any]]:
    """Of all marks, those of the test itself last."""
    manifests: list[Path] = []
    arguments: dict[str, Any] = {}
    for mark in reversed(list(item.iter_markers(_ARGUMENTS))):
        if mark.args:
            pytest.fail(
                f"name the arguments of the mark {_ARGUMENTS}: manifests=... for {mark.args[0]!r}?", pytrace=False
            )
        given = dict(mark.kwargs)
        paths = given.pop("manifests", [])
        for path in [paths] if isinstance(paths, str | Path) else paths:
            manifests.append(item.config.rootpath / path)
        arguments.update(given)
    return manifests, arguments


def _told(entries: list[AuditEntry]) -> str:
    if not entries:
        return "none"
    left_out = [f"... {len(entries) - _SHOWN} before"] if len(entries) > _SHOWN else []
    return "\n".join([*left_out, *map(_line, entries[-_SHOWN:])])


def _line(entry: AuditEntry) -> str:
    what = "/".join(filter(None, (entry.resource, entry.namespace, entry.name, entry.subresource))) or entry.path
    code = str(entry.code or "dropped")
    fault = f", struck by {entry.fault}" if entry.fault else ""
    return f"{code:>7} {entry.verb:<16} {what}  by {entry.user or '?'} ({entry.user_agent}){fault}"
