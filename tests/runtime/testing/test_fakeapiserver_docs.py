"""docs/fakeapiserver.md: its examples run as they stand, and its tables name what there is."""

from __future__ import annotations

import inspect
import re
from pathlib import Path

import pytest

from runtime.testing import APIServer, ControlPlane, FakeAPIServer
from runtime.testing.apiserver import AuditEntry

ROOT = Path(__file__).resolve().parents[3]
PAGE = (ROOT / "docs" / "fakeapiserver.md").read_text()
GUIDE = (ROOT / "docs" / "testing.md").read_text()

pytest_plugins = ["pytester"]


def examples(page: str) -> list[str]:
    return re.findall(r"^```python\n(.*?)^```$", page, re.MULTILINE | re.DOTALL)


def is_test(code: str) -> bool:
    return "def test_" in code


@pytest.mark.parametrize("code", [each for each in examples(PAGE) if not is_test(each)])
def test_each_example_runs(code: str) -> None:
    exec(compile(code, "docs/fakeapiserver.md", "exec"), {})


def test_the_tests_of_both_pages_pass(pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("KUBEBUILDER_ASSETS", "TEST_ASSET_ETCD", "TEST_ASSET_KUBE_APISERVER"):
        monkeypatch.delenv(name, raising=False)
    found = [each for page in (PAGE, GUIDE) for each in examples(page) if is_test(each)]
    assert len(found) == 3
    pytester.makepyfile(**{f"test_{number}": code for number, code in enumerate(found)})
    (pytester.path / "crds").symlink_to(ROOT / "crds")
    off = ("no:randomly", "no:cacheprovider", "no:xdist", "no:hypothesispytest")
    result = pytester.runpytest_inprocess("-pruntime.testing.pytest_plugin", *(f"-p{each}" for each in off))
    result.assert_outcomes(passed=3, skipped=1)


def names(text: str) -> set[str]:
    return set(re.findall(r"`(\w+)", text))


def table(first: str) -> str:
    """The table whose head begins with this."""
    return PAGE[PAGE.index(f"| {first}") :].split("\n\n")[0]


def test_every_argument_is_told() -> None:
    given = set(inspect.signature(FakeAPIServer).parameters) - {"registry"}  # for our own tests
    rows = [row.split("|")[1] for row in table("argument").splitlines()]
    assert names(" ".join(rows)) == given


def test_what_both_servers_have_is_told() -> None:
    *_, row = table("both have").splitlines()
    _, both, fake, _ = row.split("|")
    public = {name for name in vars(APIServer) if not name.startswith("_")}
    assert names(both) == public | {"start"}
    for server in (FakeAPIServer, ControlPlane):
        assert {name for name in names(both) if not hasattr(server, name)} == set()
    assert {name for name in names(fake) if not hasattr(FakeAPIServer, name)} == set()
    assert {name for name in names(fake) if hasattr(ControlPlane, name)} == set()


def test_every_field_of_a_request_is_told() -> None:
    section = PAGE[PAGE.index("## What was asked") : PAGE.index("## Who may do what")]
    told = names(section) | set(re.findall(r"entry\.(\w+)", section))
    assert set(inspect.signature(AuditEntry).parameters) <= told


def test_links_lead_somewhere() -> None:
    anchors = {
        re.sub(r"[^\w -]", "", title).lower().replace(" ", "-")
        for title in re.findall(r"^##+ (.+)$", PAGE, re.MULTILINE)
    }
    for page in (PAGE, GUIDE):
        for target in re.findall(r"\]\(([^)#]*)(?:#[\w-]+)?\)", page):
            assert not target or (ROOT / "docs" / target).exists(), target
    assert set(re.findall(r"\]\((?:fakeapiserver\.md)?#([\w-]+)\)", PAGE + GUIDE)) <= anchors
