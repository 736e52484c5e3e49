"""What a browser would find in a page."""

import re
from dataclasses import dataclass, field
from html.parser import HTMLParser
from pathlib import Path

VOID = {"meta", "link", "input", "img", "br"}


@dataclass
class Page:
    """A parsed page: its tags with attributes, and its text."""

    tags: list[tuple[str, dict[str, str]]] = field(default_factory=list)
    text: str = ""
    unclosed: list[str] = field(default_factory=list)

    def attributes(self, tag: str) -> list[dict[str, str]]:
        return [attributes for name, attributes in self.tags if name == tag]


class _Parser(HTMLParser):
    def __init__(self):
        super().__init__()
        self.page = Page()
        self.open: list[str] = []

    def handle_starttag(self, tag, attrs):
        self.page.tags.append((tag, {name: value or "" for name, value in attrs}))
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag, attrs):
        self.page.tags.append((tag, {name: value or "" for name, value in attrs}))

    def handle_endtag(self, tag):
        assert self.open, f"</{tag}> closes nothing"
        assert self.open[-1] == tag, f"</{tag}> closes <{self.open[-1]}>"
        self.open.pop()

    def handle_data(self, data):
        if not self.open or self.open[-1] not in ("script", "style"):
            self.page.text += data


def read_page(path: Path) -> Page:
    """Parse a page, whose tags must be closed in order."""
    parser = _Parser()
    parser.feed(path.read_text(encoding="utf-8"))
    parser.close()
    assert not parser.open
    parser.page.text = re.sub(r"\s+", " ", parser.page.text)
    return parser.page


def addresses(page: Page) -> list[str]:
    """Return every address that a page refers to, without data URIs and places in itself."""
    found = [
        attributes[name]
        for _, attributes in page.tags
        for name in ("href", "src", "action")
        if name in attributes
    ]
    return [each for each in found if not each.startswith(("data:", "#"))]
