import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
LINE_LENGTH = 120
FOLDERS = ("documentation", "raw_data_template")
PAGES = sorted(
    [*ROOT.glob("*.md"), *(page for each in FOLDERS for page in ROOT.glob(f"{each}/**/*.md"))]
)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_no_line_of_a_page_is_longer_than_the_limit(page):
    lines = page.read_text(encoding="utf-8").splitlines()
    long = [number for number, line in enumerate(lines, start=1) if len(line) > LINE_LENGTH]
    assert not long, (
        f"lines {long} of {page.relative_to(ROOT)} are longer than {LINE_LENGTH} characters: wrap "
        "prose, make lists of wide tables, continue commands with backslashes"
    )


def _anchors_of(page):
    headings = re.findall(r"^#+ (.+)$", page.read_text(encoding="utf-8"), flags=re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading).lower().replace(" ", "-") for heading in headings}


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_every_link_within_the_project_leads_somewhere(page):
    links = re.findall(r"\]\(([^)\s]+)\)", page.read_text(encoding="utf-8"))
    for link in (each for each in links if not each.startswith("http")):
        path, _, anchor = link.partition("#")
        target = page.parent / path if path else page
        assert target.exists(), f"{page.relative_to(ROOT)}: '{link}' leads nowhere"
        assert not anchor or anchor in _anchors_of(target), f"no heading for '{link}'"
