"""Who may read the metrics, as the API server says."""

from __future__ import annotations

import json
import socket
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from runtime.client import Client
from runtime.manager import access
from runtime.manager.access import ReviewedAccess, _Answers
from runtime.manager.exchange import Reply, Request
from runtime.testing import FakeClock
from tests.support.waiting import eventually

YES = {"authenticated": True, "user": {"username": "prometheus"}}
SCRAPE = Request("/metrics", {"authorization": "Bearer x"})


class Reviewer:
    """Answers reviews with what no API server should answer, and proxies or webhooks might."""

    def __init__(self) -> None:
        self.token: object = YES
        self.access: object = {"allowed": True}
        self.asked: list[object] = []
        reviewer = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                reviewer.asked.append(json.loads(self.rfile.read(int(self.headers["Content-Length"])))["spec"])
                status = reviewer.token if "tokenreviews" in self.path else reviewer.access
                body = json.dumps({"kind": "Review", "status": status}).encode()
                self.send_response(201)
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, *_: object) -> None: ...

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)


@pytest.fixture
def reviewer() -> Iterator[Reviewer]:
    reviewer = Reviewer()
    thread = threading.Thread(target=reviewer.server.serve_forever, args=(0.01,), name="test-reviews")
    thread.start()
    yield reviewer
    reviewer.server.shutdown()
    thread.join()
    reviewer.server.server_close()


@pytest.fixture
def reviewed(reviewer: Reviewer) -> Iterator[ReviewedAccess]:
    with Client(f"http://127.0.0.1:{reviewer.server.server_port}") as client:
        yield ReviewedAccess(client, FakeClock())


@pytest.mark.parametrize(
    ("token", "access"),
    [
        ({"authenticated": False, "user": {"username": "prometheus"}}, {"allowed": True}),
        ({"authenticated": "true", "user": {"username": "prometheus"}}, {"allowed": True}),
        ({"authenticated": True, "user": {"username": ""}}, {"allowed": True}),
        ({"authenticated": True}, {"allowed": True}),
        ({}, {"allowed": True}),
        (None, {"allowed": True}),
        (YES, {"allowed": True, "denied": True}),
        (YES, {"allowed": "true"}),
        (YES, {"allowed": False}),
        (YES, {}),
        (YES, None),
    ],
)
def test_only_a_clear_yes_is_one(reviewer: Reviewer, reviewed: ReviewedAccess, token: object, access: object) -> None:
    reviewer.token, reviewer.access = token, access
    refusal = reviewed.refuse(SCRAPE)
    assert refusal is not None
    assert refusal.status in (401, 403)


def test_the_permission_is_asked_for_with_all_that_is_known_of_the_user(
    reviewer: Reviewer, reviewed: ReviewedAccess
) -> None:
    """Authorizers may look at any of it."""
    extra = {"authentication.kubernetes.io/pod-name": ["prometheus-0"]}
    user = {"username": "prometheus", "uid": "7", "groups": ["a", "b"], "extra": extra}
    reviewer.token = {"authenticated": True, "user": user}
    assert reviewed.refuse(SCRAPE) is None
    assert reviewer.asked == [
        {"token": "x"},
        {
            "user": "prometheus",
            "uid": "7",
            "groups": ["a", "b"],
            "extra": extra,
            "nonResourceAttributes": {"path": "/metrics", "verb": "get"},
        },
    ]


def test_an_api_server_that_says_nothing_lets_nobody_in(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(access, "_REVIEW_TIMEOUT", 0.3)
    told: list[Reply | None] = []
    silent = socket.create_server(("127.0.0.1", 0))
    with silent, Client(f"http://127.0.0.1:{silent.getsockname()[1]}") as client:
        reviewed = ReviewedAccess(client, FakeClock())
        scraper = threading.Thread(target=lambda: told.append(reviewed.refuse(SCRAPE)), name="test-scraper")
        scraper.start()
        try:
            (refusal,) = eventually(lambda: told)
        finally:
            silent.close()
            scraper.join(30)
    assert refusal is not None
    assert refusal.status == 500


def test_who_waits_for_the_reviews_of_others_waits_no_longer_than_for_one(
    reviewed: ReviewedAccess, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(access, "_REVIEW_TIMEOUT", 0.3)
    with reviewed._asking:  # one that is not answered
        refusal = reviewed.refuse(SCRAPE)
    assert refusal is not None
    assert refusal.status == 500
    monkeypatch.undo()
    assert reviewed.refuse(SCRAPE) is None


def test_many_users_are_not_remembered_for_ever() -> None:
    answers: _Answers[int, int] = _Answers(FakeClock().monotonic)
    for number in range(5000):
        answers.put(number, number, 60.0)
    kept = [number for number in range(5000) if answers.get(number)]
    assert kept == list(range(5000 - 1024, 5000))
