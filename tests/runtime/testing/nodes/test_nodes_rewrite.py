"""Names, addresses and paths in a container's strings."""

from __future__ import annotations

import pytest

from runtime.testing.nodes.rewrite import Mount, Names, Rewriter, signal_own_process

OWN = "127.64.0.9"


def rewriter(*mounts: Mount) -> Rewriter:
    names = Names(
        own=OWN,
        namespace="shop",
        pod=lambda namespace, host, subdomain: f"<pod {host}.{subdomain} in {namespace}>",
        service=lambda namespace, name: f"<svc {name} in {namespace}>",
        exists=lambda namespace, name: (namespace, name) in {("shop", "db"), ("other", "web")},
    )
    return Rewriter(names, mounts)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        # fully qualified names, whether the Service exists or not
        ("http://db-0.db.shop.svc.cluster.local:2380", "http://<pod db-0.db in shop>:2380"),
        ("db-0.db.shop.svc.cluster.local.", "<pod db-0.db in shop>"),
        ("a=http://a.x.ns.svc:1,b=http://b.x.ns.svc:1", "a=http://<pod a.x in ns>:1,b=http://<pod b.x in ns>:1"),
        ("--endpoints=new.ns.svc:80", "--endpoints=<svc new in ns>:80"),
        ("http://new.ns.svc.cluster.local/path", "http://<svc new in ns>/path"),
        # shorter names only of Services that exist
        ("web.other:80", "<svc web in other>:80"),
        ("web.shop:80", "web.shop:80"),
        ("db-1.db", "<pod db-1.db in shop>"),
        ("db-1.db.shop", "<pod db-1.db in shop>"),
        ("db-1.web", "db-1.web"),
        ("db:5432", "<svc db in shop>:5432"),
        ("postgres://user@db:5432/db", "postgres://user@<svc db in shop>:5432/db"),
        ("http://db/x", "http://<svc db in shop>/x"),
        ("db", "db"),
        ("--name=db", "--name=db"),
        ("index.html", "index.html"),
        ("v1.2.3", "v1.2.3"),
        ("a.b.c.d.svc", "a.b.c.d.svc"),
        # the Pod itself
        ("http://0.0.0.0:2379", f"http://{OWN}:2379"),
        ("[::]:80", f"{OWN}:80"),
        ("http://[::1]:80", f"http://{OWN}:80"),
        ("localhost", OWN),
        ("http://localhost:2379,http://127.0.0.1:1", f"http://{OWN}:2379,http://{OWN}:1"),
        (":8080", f"{OWN}:8080"),
        ("--listen=:8080", f"--listen={OWN}:8080"),
        ("--a=b:8080", "--a=b:8080"),
        ("12:30:45", "12:30:45"),
        ("10.127.0.0.1", "10.127.0.0.1"),
        ("127.0.0.11", "127.0.0.11"),
        ("/etc/localhost/x", "/etc/localhost/x"),
        ("localhosts", "localhosts"),
        ("my.localhost", "my.localhost"),
        ("--bind-address=::", f"--bind-address={OWN}"),
        ("::1", OWN),
        ("std::move a::b", "std::move a::b"),
        # what only looks like a host
        ('{"replicas":3,"port":8080}', '{"replicas":3,"port":8080}'),
        ('{"listen":":8080","addr":"0.0.0.0:80"}', f'{{"listen":"{OWN}:8080","addr":"{OWN}:80"}}'),
        ("{'db':1}", "{'db':1}"),
        ("1.2.3.4:8080", "1.2.3.4:8080"),
        ("0.0.0.0/0,127.0.0.1/32", "0.0.0.0/0,127.0.0.1/32"),
        ("http://0.0.0.0/0", f"http://{OWN}/0"),
        ("db:3.5.1", "db:3.5.1"),
        ("registry.io/db:80", "registry.io/db:80"),
        ("/etc/a.b.svc", "/etc/a.b.svc"),
        ("conf/a.b.ns.svc", "conf/a.b.ns.svc"),
        ("app.db", "app.db"),
        ("app.db:80", "<pod app.db in shop>:80"),
        ("root@localhost", "root@localhost"),
        ("me@web.other", "me@web.other"),
        # user information
        ("http://user:secret@db/x", "http://user:secret@<svc db in shop>/x"),
        ("http://db:1@db:2/", "http://db:1@<svc db in shop>:2/"),
        ("redis://u@localhost:1", f"redis://u@{OWN}:1"),
    ],
)
def test_hosts(text: str, expected: str) -> None:
    assert rewriter().text(text) == expected


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("/data", "/real/1"),
        ("/data/", "/real/1/"),
        ("--dir=/data/sub/x", "--dir=/real/1/sub/x"),
        ("/data/deep/x", "/real/deep/x"),
        ("/database", "/database"),
        ("/data-2", "/data-2"),
        ("/data.old", "/data.old"),
        ("/var/data", "/var/data"),
        ("./data", "./data"),
        ("/data:/data/deep:/usr/bin", "/real/1:/real/deep:/usr/bin"),
        ("cat '/data/x' > \"/data/y\"", "cat '/real/1/x' > \"/real/1/y\""),
        ("file:///data/x", "file:///real/1/x"),
        ("/data/localhost", "/real/1/localhost"),
        ("/data db:80", "/real/1 <svc db in shop>:80"),
        ("~/data ${HOME}/data $(pwd)/data */data", "~/data ${HOME}/data $(pwd)/data */data"),
        ("${DIR:-/data}", "${DIR:-/real/1}"),
        ('{"dir":"/data","x":["/data/a"]}', '{"dir":"/real/1","x":["/real/1/a"]}'),
    ],
)
def test_mount_paths(text: str, expected: str) -> None:
    assert rewriter(Mount("/data/", "/real/1"), Mount("/data/deep", "/real/deep")).text(text) == expected


def test_a_folder_which_is_named_like_a_host_is_not_rewritten_again() -> None:
    assert rewriter(Mount("/data", "/root/localhost/db.shop.svc")).text("/data/x") == "/root/localhost/db.shop.svc/x"


@pytest.mark.parametrize("host", ["", "localhost", "127.0.0.1", "0.0.0.0", "::1", "[::]"])
def test_a_host_that_is_the_pod_itself(host: str) -> None:
    assert rewriter().host(host) == OWN


def test_other_hosts() -> None:
    assert rewriter().host("db") == "<svc db in shop>"
    assert rewriter().host("example.com") == "example.com"


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (["kill", "-INT", "1"], ["kill", "-INT", "77"]),
        (["/bin/kill", "-s", "1", "1"], ["/bin/kill", "-s", "1", "77"]),
        (["sh", "-c", "kill 1"], ["sh", "-c", "kill 77"]),
        (["sh", "-c", "kill -INT 1; sleep 1"], ["sh", "-c", "kill -INT 77; sleep 1"]),
        (["sh", "-c", "kill -s TERM 1"], ["sh", "-c", "kill -s TERM 77"]),
        (["sh", "-c", "kill -9 12; kill 100"], ["sh", "-c", "kill -9 12; kill 100"]),
        (["sh", "-c", 'kill -INT "${CONTAINER_PID:-1}"'], ["sh", "-c", 'kill -INT "${CONTAINER_PID:-1}"']),
        (["echo", "1"], ["echo", "1"]),
    ],
)
def test_kill_1_means_the_container(words: list[str], expected: list[str]) -> None:
    assert signal_own_process(words, 77) == expected
