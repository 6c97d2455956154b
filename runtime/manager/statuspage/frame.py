"""What is around the content, of the page and of the one that asks for a token; and the little there is in both."""

from __future__ import annotations

from runtime.manager.statuspage.markup import Html, element, join

__all__ = ["framed", "pill", "token_page"]


def pill(text: str, kind: str) -> Html:
    """A word on its color. The color alone says nothing."""
    return element("span", text, class_=f"pill {kind}")


def framed(title: str, header: Html, main: Html) -> bytes:
    head = element(
        "head",
        element("meta", charset="utf-8"),
        element("meta", name="viewport", content="width=device-width, initial-scale=1"),
        element("meta", name="color-scheme", content="light dark"),
        element("meta", name="robots", content="noindex"),
        element("title", title),
        element("link", rel="stylesheet", href="./status/page.css"),
        element("link", rel="icon", href="./status/icon.svg", type="image/svg+xml"),
        element("script", src="./status/page.js", defer=True),
        element("noscript", element("meta", http_equiv="refresh", content="10")),
    )
    body = element(
        "body",
        element("a", "Skip to the content", href="#main", class_="skip"),
        header,
        # What the script says; it is the script's, and not exchanged.
        element(
            "div",
            element("button", "Pause", id="pause", type="button", aria_pressed="false"),
            element("span", id="connection", role="status"),
            id="live",
            hidden=True,
            data_own=True,
        ),
        main,
        element(
            "footer",
            element("a", "the same as JSON", href="./status/v1"),
            element("a", "metrics", href="./metrics"),
        ),
    )
    return join(Html("<!doctype html>\n"), element("html", head, body, lang="en")).encode()


def token_page(why: str) -> bytes:
    """For who has shown no token that may read the status: says so, and lets the script ask for one."""
    header = element("header", element("h1", "Status"), class_="top")
    main = element(
        "main",
        element(
            "section",
            element("h2", "Who are you?"),
            element("p", why),
            element(
                "p",
                "The token is sent with each request of this tab, and kept nowhere. Without JavaScript: ",
                element("code", "curl -H 'Authorization: Bearer TOKEN'"),
            ),
            element(
                "form",
                element("label", "Bearer token", for_="token"),
                element("input", id="token", type="password", autocomplete="off", required=True),
                element("button", "Show", type="submit"),
                id="token-form",
                class_="find",
            ),
        ),
        id="main",
    )
    return framed("Status", header, main)
