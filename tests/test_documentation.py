import ast
import re
import shlex
from pathlib import Path

import pytest

from diffunet.cli.commands import PARSERS

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


BLOCK = re.compile(r"^```\w*\n(.*?)^```$", flags=re.MULTILINE | re.DOTALL)


def _refusal(command, capsys):
    """Return what the parser of a command says against its words; an empty text: nothing."""
    name, *words = shlex.split(command, comments=True)
    assert name in PARSERS, f"there is no command '{name}'"
    try:
        PARSERS[name]().parse_args(words)
    except SystemExit:
        return capsys.readouterr().err
    return ""


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_commands_in_blocks_of_a_page_are_understood(page, capsys):
    text = page.read_text(encoding="utf-8").replace("\\\n", " ")
    lines = [line for block in BLOCK.findall(text) for line in block.splitlines()]
    for line in (each for each in lines if re.match(r"diffunet_\w+( |$)", each)):
        if "..." not in line:
            assert not _refusal(line, capsys), line


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_options_that_sentences_name_exist(page, capsys):
    text = BLOCK.sub("", page.read_text(encoding="utf-8"))
    for command in re.findall(r"`(diffunet_[a-z_]+ -[^`]+)`", text):
        if "..." not in command:
            assert "there is no option" not in _refusal(command.replace("\n", " "), capsys), command


def _messages():
    """Return every text of the code but for docstrings, with `...` for what is filled in."""
    texts = []
    for path in (ROOT / "diffunet").rglob("*.py"):
        tree = ast.parse(path.read_text(encoding="utf-8"))
        docstrings = {id(node.value) for node in ast.walk(tree) if isinstance(node, ast.Expr)}
        for node in ast.walk(tree):
            if isinstance(node, ast.JoinedStr):
                constants = (part for part in node.values if isinstance(part, ast.Constant))
                filled = {id(part): str(part.value) for part in constants}
                texts.append("".join(filled.get(id(part), "...") for part in node.values))
            elif isinstance(node, ast.Constant) and id(node) not in docstrings:
                texts.append(str(node.value))
    return "\n".join(texts)


def test_messages_that_are_explained_are_those_of_the_code():
    page = (ROOT / "documentation" / "how-to" / "solve-a-problem.md").read_text(encoding="utf-8")
    explained = re.findall(r"^### `(.+)`$", page, flags=re.MULTILINE)
    assert len(explained) > 10
    messages = _messages()
    missing = [each for each in explained if each not in messages]
    assert not missing, "messages that the code no longer has"
