"""/docs: one page from here alone, that runs nothing and names everything."""

from __future__ import annotations

import re
from html.parser import HTMLParser

import httpx2

from tests.gateway import Gateway


class Page(HTMLParser):
    """The tags and attributes of a page, and whether they close in order."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.attributes: list[tuple[str, str | None]] = []
        self.open: list[str] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.attributes += attrs
        if tag != "meta":
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag


def test_the_page_runs_nothing_and_loads_nothing(sandbox: Gateway) -> None:
    """No script, no frame, no font, no address of another server; the policy forbids them besides."""
    answer = httpx2.get(f"{sandbox.url}/docs")
    page = Page(answer.text)

    assert answer.status_code == 200
    assert not {"script", "iframe", "img", "link", "object", "form"} & set(page.tags)
    assert not [value for name, value in page.attributes if name in {"src", "href"} and value != "/openapi.json"]
    assert not [name for name, _ in page.attributes if name.startswith("on")]
    assert answer.headers["content-security-policy"].startswith("default-src 'none'")
    assert answer.headers["x-content-type-options"] == "nosniff"
    assert page.open == []


def test_the_page_names_every_operation_and_parameter(sandbox: Gateway) -> None:
    """What the machine-readable description has, the page has."""
    text = httpx2.get(f"{sandbox.url}/docs").text
    document = httpx2.get(f"{sandbox.url}/openapi.json").json()

    for path, item in document["paths"].items():
        assert f"<code>{path}</code>" in text
        for operation in item.values():
            for body in operation.get("requestBody", {}).get("content", {}).values():
                for name in body["schema"]["properties"]:
                    assert f"<code>{name}</code>" in text


def test_the_page_is_readable_html(sandbox: Gateway) -> None:
    """Words of the description are escaped, and no placeholder or Python value is left in it."""
    text = httpx2.get(f"{sandbox.url}/docs").text

    assert text.startswith("<!doctype html>")
    assert not re.search(r"\{[a-z_]+\}</?p>|None|&lt;class", text)
    assert "list of" in text


def test_other_documentation_pages_are_off(sandbox: Gateway) -> None:
    """The framework's own pages would load scripts from elsewhere."""
    for path in ("/redoc", "/docs/oauth2-redirect"):
        assert httpx2.get(sandbox.url + path).status_code == 404
