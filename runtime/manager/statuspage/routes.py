"""Who is answered what: the page, its files, and the document as JSON."""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache
from importlib.resources import files
from typing import Final

from runtime.manager.exchange import TEXT, Reply, Request, Route
from runtime.manager.routes import Access, compressed
from runtime.manager.statuspage.document import Document, encode
from runtime.manager.statuspage.frame import token_page
from runtime.manager.statuspage.loopback import names_this_machine
from runtime.manager.statuspage.page import render

__all__ = ["CONTENT_SECURITY_POLICY", "status_routes"]

CONTENT_SECURITY_POLICY: Final = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; "
    "form-action 'self'; base-uri 'none'; frame-ancestors 'none'"
)
_HEADERS: Final = (
    ("Content-Security-Policy", CONTENT_SECURITY_POLICY),
    ("X-Frame-Options", "DENY"),
    ("Referrer-Policy", "no-referrer"),
    ("Cross-Origin-Opener-Policy", "same-origin"),
    ("Cross-Origin-Resource-Policy", "same-origin"),
    ("Cache-Control", "no-store"),
)
_PERMISSION: Final = "/status"  # its own: objects and their errors say more than metrics do
_HTML: Final = "text/html; charset=utf-8"
_FILES: Final = {
    "/status/page.css": "text/css; charset=utf-8",
    "/status/page.js": "text/javascript; charset=utf-8",
    "/status/icon.svg": "image/svg+xml",
}


def status_routes(
    document: Callable[[str], Document], access: Access | None = None, *, only_this_machine: bool = False
) -> Route:
    """``/``, ``/status/v1`` and the files of the page.

    The files are the same in each installation and tell nothing; all else is for whom ``access`` lets in.

    :param document: told which objects are wanted.
    :param only_this_machine: the server listens on a loopback address, which is no secret to the pages of other sites
        that a browser here has open: one that has its own name resolve to that address is refused.
    """

    def route(request: Request) -> Reply | None:
        path = request.path
        if path not in ("/", "/status/v1", *_FILES):
            return None
        if only_this_machine and not names_this_machine(request.headers.get("host", "")):
            return _plain(403, "ask for localhost or an address: this is for this machine only")
        if path in _FILES:
            return _answer(request, 200, _FILES[path], _file(path.rpartition("/")[2]))
        refusal = access.refuse(request, _PERMISSION) if access is not None else None
        if refusal is not None:
            if path == "/":
                return _answer(request, refusal.status, _HTML, token_page(refusal.body.decode()), *refusal.headers)
            return refusal._replace(headers=(*refusal.headers, *_HEADERS))
        found = document((request.query.get("object") or [""])[0])
        if path == "/":
            return _answer(request, 200, _HTML, render(found))
        return _answer(request, 200, "application/json", encode(found))

    return route


def _answer(request: Request, status: int, content_type: str, body: bytes, *headers: tuple[str, str]) -> Reply:
    return compressed(request, Reply(status, content_type, body, (*_HEADERS, *headers)))


def _plain(status: int, why: str) -> Reply:
    return Reply(status, TEXT, f"{why}\n".encode(), _HEADERS)


@lru_cache
def _file(name: str) -> bytes:
    return (files(__package__) / "static" / name).read_bytes()
