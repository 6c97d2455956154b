"""Configuration: what is found where, and a message for everything that can be wrong with it."""

from __future__ import annotations

import base64
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import certifi
import pytest
import yaml

from runtime.client import Client, ConfigError, load_client


@pytest.fixture(autouse=True)
def nothing_configured(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for name in (
        "KUBECONFIG",
        "KUBERNETES_SERVICE_HOST",
        "KUBERNETES_SERVICE_PORT",
        "HTTP_PROXY",
        "http_proxy",
        "NO_PROXY",
    ):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HOME", str(tmp_path))


def config(
    server: str = "http://127.0.0.1:1",
    user: Any = None,
    cluster: Any = None,
    namespace: Any = None,
    name: Any = "one",
    current: Any = True,
) -> Any:
    context = {"cluster": name, "user": name} | ({"namespace": namespace} if namespace else {})
    return {
        "apiVersion": "v1",
        "kind": "Config",
        **({"current-context": name} if current else {}),
        "clusters": [{"name": name, "cluster": {"server": server, **(cluster or {})}}],
        "contexts": [{"name": name, "context": context}],
        "users": [{"name": name, "user": user or {}}],
    }


@pytest.fixture
def write(tmp_path: Path) -> Any:
    def write(content: Any, name: Any = "config") -> Any:
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(content if isinstance(content, str) else yaml.safe_dump(content))
        return str(path)

    return write


def test_a_named_file_the_environment_and_the_home_directory(
    write: Callable[..., str], monkeypatch: pytest.MonkeyPatch
) -> None:
    named = write(config("http://named:1"))
    env = write(config("http://env:1", namespace="shop"), "env")
    write(config("http://home:1"), ".kube/config")
    with load_client() as client:
        assert client.url == "http://home:1"
        assert client.namespace == "default"
    monkeypatch.setenv("KUBECONFIG", env)
    with load_client() as client:
        assert client.url == "http://env:1"
        assert client.namespace == "shop"
    with load_client(named) as client:
        assert client.url == "http://named:1"


def test_several_files_are_merged_and_the_first_wins(
    write: Callable[..., str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (tmp_path / "sub").mkdir()
    first = write(config("http://first:1"))
    second = write({**config("http://second:1", name="two"), "users": []}, "sub/config")
    monkeypatch.setenv("KUBECONFIG", f"{tmp_path}/missing:{second}:{first}:")
    with pytest.raises(ConfigError, match=r"sub/config: context 'two': user names 'two'.*among the users: one"):
        load_client()
    write(config("http://second:1", name="two"), "sub/config")
    with load_client() as client:
        assert client.url == "http://second:1"
    with load_client(context="one") as client:
        assert client.url == "http://first:1"
    clash = write(config("http://clash:1"), "clash")
    monkeypatch.setenv("KUBECONFIG", f"{clash}:{first}")
    with load_client() as client:
        assert client.url == "http://clash:1"


def test_paths_are_relative_to_their_file(write: Callable[..., str], tmp_path: Path) -> None:
    path = write(config(user={"tokenFile": "token"}), "sub/config")
    with pytest.raises(ConfigError, match=r"user 'one': tokenFile: the file .*/sub/token does not exist"):
        load_client(path)
    (tmp_path / "sub" / "token").write_text("t")
    with load_client(path):
        pass


def test_an_unknown_context_names_those_that_exist(write: Callable[..., str]) -> None:
    both = config(name="b")
    both["contexts"].append({"name": "a", "context": {"cluster": "b"}})
    path = write(both)
    with pytest.raises(ConfigError) as e:
        load_client(path, "nope")
    assert str(e.value) == f"{path}: there is no context 'nope'; the contexts that exist: a, b"


NO_CONTEXT = config(current=False)
BASE64 = base64.b64encode(b"junk").decode()
BAD = [
    ("", "is empty; give another with --kubeconfig or KUBECONFIG"),
    ("{", "is not YAML"),
    ("- a", "must be a mapping with clusters, contexts and users"),
    ("clusters: 5", "clusters must be a list"),
    ("clusters: [{}]", r"clusters\[0\] has no name"),
    ("users: [{name: a, user: 5}]", r"users\[0\].user must be a mapping"),
    (NO_CONTEXT, "current-context is not set; .*contexts that exist: one"),
    ({**NO_CONTEXT, "current-context": "x"}, "current-context names a context that does not exist, 'x'.*exist: one"),
    ({}, "contexts that exist: none"),
    ({**config(), "clusters": []}, "context 'one': cluster names 'one', which is not among the clusters: none"),
    ({**config(), "contexts": [{"name": "one"}]}, "context 'one': cluster is not set"),
    (config(""), "cluster 'one': server is not set"),
    (config("127.0.0.1:6443"), "cluster 'one': server '127.0.0.1:6443' is not a URL like https://"),
    (config(cluster={"certificate-authority": "ca.crt"}), "cluster 'one': certificate-authority: the file .*ca.crt"),
    (config(cluster={"certificate-authority-data": "%"}), "cluster 'one': certificate-authority-data is not base64"),
    (
        config("https://h:1", cluster={"certificate-authority-data": BASE64}),
        "cluster 'one': certificate-authority-data holds no PEM certificate",
    ),
    (
        config(cluster={"certificate-authority-data": BASE64, "insecure-skip-tls-verify": True}),
        "insecure-skip-tls-verify together with a certificate-authority; drop one",
    ),
    (config(user={"client-certificate-data": BASE64}), "user 'one': client-certificate is set, but client-key is not"),
    (config(user={"client-key-data": BASE64}), "user 'one': client-key is set, but client-certificate is not"),
    (
        config("https://h:1", user={"client-certificate-data": BASE64, "client-key-data": BASE64}),
        "user 'one': client-certificate and client-key are no pair of PEM files",
    ),
    (config(user={"exec": "x"}), "user 'one': exec must be a mapping"),
    (config(server="https://[::1"), r"cluster 'one': server 'https://\[::1' is not a URL"),
    (
        config(cluster={"insecure-skip-tls-verify": "false"}),
        "cluster 'one': insecure-skip-tls-verify is 'false'; it must be",
    ),
    (config(user={"as": "jane", "token": "t"}), "user 'one': as: impersonation is not supported"),
    (config(user={"as-groups": ["a"], "token": "t"}), "user 'one': as-groups: impersonation is not supported"),
    (config(user={"token": "a\nb"}), "user 'one': the token holds a line end"),
    (config(user={"token": "a\nb"}, cluster={"tls-server-name": "x"}), "user 'one': the token holds a line end"),
    (config(user={"exec": {"command": "x"}}), r"user 'one': exec.apiVersion: '' is none of client.authentication"),
]


@pytest.mark.parametrize(("content", "says"), BAD, ids=[says[:40] for _, says in BAD])
def test_a_bad_file_is_told_by_file_and_field(write: Callable[..., str], content: Any, says: str) -> None:
    path = write(content)
    with pytest.raises(ConfigError, match=f"(?s){says}") as e:
        load_client(path)
    assert path in str(e.value)


def test_files_that_are_not_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(
        ConfigError, match=r"the kubeconfig .*/no does not exist; give another with --kubeconfig or KUB"
    ):
        load_client(str(tmp_path / "no"))
    with pytest.raises(ConfigError, match=r"none of the kubeconfig files /x/a, /x/b exists"):
        load_client("/x/a:/x/b")
    with pytest.raises(ConfigError, match="cannot be read"):
        load_client(str(tmp_path))
    with pytest.raises(ConfigError, match=r"~/.kube/config does not exist, KUBECONFIG is not set, and this is no Pod"):
        load_client()


V1 = "client.authentication.k8s.io/v1"
PLUGINS = [
    ("exit 3", "failed with exit code 3"),
    ("echo oops >&2; exit 1", "failed with exit code 1: oops"),
    ("echo hello", "printed something that is not JSON"),
    (
        f'echo \'{{"kind":"ExecCredential","apiVersion":"{V1}","status":{{"token":"a b\\u00e9"}}}}\'',
        "what cannot be used: the token holds",
    ),
    ("echo '{}'", "printed something that is no ExecCredential"),
    ('echo \'{"kind":"ExecCredential","apiVersion":"x"}\'', "printed apiVersion 'x', asked was 'client.auth"),
    (f'echo \'{{"kind":"ExecCredential","apiVersion":"{V1}"}}\'', "an ExecCredential without status"),
    (f'echo \'{{"kind":"ExecCredential","apiVersion":"{V1}","status":{{}}}}\'', "neither a token nor"),
    (
        f'echo \'{{"kind":"ExecCredential","apiVersion":"{V1}","status":{{"clientKeyData":"k"}}}}\'',
        "one of clientCertificateData and clientKeyData without the other",
    ),
]


@pytest.mark.parametrize(("script", "says"), PLUGINS, ids=[says for _, says in PLUGINS])
def test_a_plugin_that_fails_is_an_error_and_not_an_anonymous_client(
    write: Callable[..., str], script: Any, says: str
) -> None:
    path = write(config(user={"exec": {"apiVersion": V1, "command": "sh", "args": ["-c", script]}}))
    with pytest.raises(ConfigError, match=f"user 'one': exec: sh {says}|user 'one': exec: sh printed.*{says}"):
        load_client(path)


@pytest.mark.parametrize(
    ("plugin", "says"),
    [
        ({"command": "no-such-plugin", "installHint": "Get it there."}, "no-such-plugin is not found. Get it there."),
        ({"command": "./no-such-plugin"}, "/no-such-plugin is not found. Install it, or correct the path."),
        ({"command": "/etc/passwd"}, "/etc/passwd may not be executed"),
        ({}, "exec.command is not set"),
        ({"command": "sh", "args": "x"}, "exec.args must be a list"),
        ({"command": "sh", "env": [{}]}, r"exec.env\[0\] has no name"),
        ({"command": "sh", "interactiveMode": "Always"}, "interactiveMode: Always needs a terminal"),
    ],
)
def test_a_plugin_section_that_is_wrong(write: Callable[..., str], plugin: dict[str, Any], says: str) -> None:
    path = write(config(user={"exec": {"apiVersion": V1, **plugin}}))
    with pytest.raises(ConfigError, match=says):
        load_client(path)


def test_a_plugin_that_is_no_program(write: Callable[..., str], tmp_path: Path) -> None:
    (tmp_path / "plugin").write_text("neither a binary nor #!")
    (tmp_path / "plugin").chmod(0o700)
    path = write(config(user={"exec": {"apiVersion": V1, "command": "./plugin"}}))
    with pytest.raises(ConfigError, match=r"user 'one': exec.command: .*/plugin cannot be run: Exec format error"):
        load_client(path)


@pytest.mark.parametrize("content", [b"a\nb", b"\xff\xfe"])
def test_a_token_file_that_holds_no_token(write: Callable[..., str], tmp_path: Path, content: bytes) -> None:
    (tmp_path / "token").write_bytes(content)
    with pytest.raises(ConfigError, match=r"user 'one': the token file .*/token: the token holds a line end"):
        load_client(write(config(user={"tokenFile": "token"})))


def test_an_authority_as_people_write_it(write: Callable[..., str]) -> None:
    """Comments in any language beside the certificates, and base64 in lines."""
    text = "# Autorité de certification\n".encode() + Path(certifi.where()).read_bytes()
    data = base64.encodebytes(text).decode()
    assert "\n" in data.strip()
    with load_client(write(config("https://h:1", cluster={"certificate-authority-data": data}))) as client:
        context = client._sender.transport.connection().pool.connection_pool_kw["ssl_context"]
        assert context.cert_store_stats()["x509_ca"] > 100


def test_an_authority_that_cannot_be_read(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=f"the CA file {tmp_path} cannot be read: Is a directory"):
        Client("https://h:1", ca_file=str(tmp_path))


def test_a_user_without_a_home(monkeypatch: pytest.MonkeyPatch) -> None:
    """As in a container that runs under a number."""
    monkeypatch.delenv("HOME")
    monkeypatch.setattr(os, "getuid", lambda: 987654)
    with pytest.raises(ConfigError, match=r"no cluster is configured: ~/.kube/config does not exist"):
        load_client()
    with pytest.raises(ConfigError, match="the kubeconfig ~/x does not exist"):
        load_client("~/x")


def test_in_a_pod(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from runtime.client import _loading

    account = tmp_path / "account"
    account.mkdir()
    monkeypatch.setattr(_loading, "SERVICE_ACCOUNT", account)
    monkeypatch.setenv("KUBERNETES_SERVICE_HOST", "fd00::1")
    monkeypatch.setenv("KUBERNETES_SERVICE_PORT", "6443")
    with pytest.raises(ConfigError, match=r"the token .*/account/token does not exist; .*automountServiceAccountToken"):
        load_client()
    (account / "token").write_text("\n")
    with pytest.raises(ConfigError, match=r"the CA certificate .*/ca.crt does not exist"):
        load_client()
    (account / "ca.crt").write_text("")
    with pytest.raises(ConfigError, match=r"the token file .*/token is empty"):
        load_client()
    (account / "token").write_text("t\n")
    with pytest.raises(ConfigError, match=r"service account: the CA file .*/ca.crt holds no PEM certificate"):
        load_client()
    shutil.copy(certifi.where(), account / "ca.crt")
    with load_client() as client:
        assert (client.url, client.namespace) == ("https://[fd00::1]:6443", "default")
    (account / "namespace").write_text("\n")
    with load_client() as client:
        assert client.namespace == "default"
    (account / "namespace").write_text("shop")
    with load_client() as client:
        assert client.namespace == "shop"


@pytest.mark.parametrize(
    ("user", "environment", "official"),
    [
        ({"token": "t"}, {}, False),
        ({"username": "u", "password": "p"}, {}, True),
        ({"token": "t"}, {"HTTP_PROXY": "http://127.0.0.1:1"}, True),
    ],
)
def test_the_official_client_is_loaded_only_where_it_is_needed(
    write: Callable[..., str], user: dict[str, str], environment: dict[str, str], official: bool
) -> None:
    """It takes longer to import than an operator needs for its first reconcile."""
    program = "import runtime.client as c, sys; c.load_client(sys.argv[1]); print('kubernetes' in sys.modules)"
    command = [sys.executable, "-c", program, write(config(user=user))]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=60, check=True)
    assert done.stdout.split() == [str(official)]
