"""The documentation as a site: every page builds, and every link leads somewhere."""

import subprocess
import sys
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote, urlsplit

import pytest

DOCUMENTATION = Path(__file__).parents[1] / "documentation"
LOADED = {("script", "src"), ("img", "src"), ("link", "href"), ("iframe", "src")}


class Page(HTMLParser):
    """Anchors, links and loaded files of a page."""

    def __init__(self, path):
        super().__init__()
        self.anchors, self.links, self.loaded = set(), [], []
        self.feed(path.read_text(encoding="utf-8"))

    def handle_starttag(self, tag, attrs):
        for name, value in attrs:
            if name == "id":
                self.anchors.add(value)
            elif (tag, name) == ("a", "href"):
                self.links.append(value)
            elif (tag, name) in LOADED:
                self.loaded.append(value)


@pytest.fixture(scope="module")
def site(tmp_path_factory):
    """Build in a process of its own, since autodoc changes the signatures of what it shows."""
    pytest.importorskip("sphinx")
    folder = tmp_path_factory.mktemp("site")
    options = ["-b", "html", "-W", "--keep-going", "-q", "-d", folder / "doctrees"]
    command = [sys.executable, "-m", "sphinx", *options, DOCUMENTATION, folder / "html"]
    built = subprocess.run(command, capture_output=True, text=True, check=False)
    assert built.returncode == 0, f"warnings are errors: {built.stderr}"
    return folder / "html"


@pytest.mark.slow
def test_every_page_is_built_and_every_link_leads_somewhere(site):
    pages = {path: Page(path) for path in site.rglob("*.html")}
    made = {path.relative_to(site).with_suffix("") for path in pages}
    assert made >= {
        path.relative_to(DOCUMENTATION).with_suffix("") for path in DOCUMENTATION.rglob("*.md")
    }
    dead = []
    for path, page in pages.items():
        for link in page.links + page.loaded:
            parts = urlsplit(link)
            if parts.scheme or link.startswith("//"):
                continue
            target = (path.parent / unquote(parts.path)).resolve() if parts.path else path
            anchors = pages[target].anchors if target in pages else None
            if not target.is_file() or (parts.fragment and parts.fragment not in (anchors or ())):
                dead.append(f"{path.relative_to(site)}: {link}")
    assert not dead


@pytest.mark.slow
def test_the_site_loads_nothing_from_a_network(site):
    for path in site.rglob("*.html"):
        outside = [each for each in Page(path).loaded if urlsplit(each).scheme or each[:2] == "//"]
        assert not outside, f"{path.relative_to(site)} loads {outside}"
    index = (site / "searchindex.js").read_text(encoding="utf-8")
    assert "Your first prediction" in index, "search knows the pages without a server"


@pytest.mark.slow
def test_the_reference_of_python_shows_what_docstrings_say(site):
    text = (site / "reference" / "python.html").read_text(encoding="utf-8")
    for name in ("plan_and_preprocess", "train", "Predictor", "from_folder", "WeakPredictor"):
        assert f'<span class="pre">{name}</span>' in text, name
