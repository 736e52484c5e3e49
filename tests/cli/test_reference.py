import dataclasses
import inspect
from pathlib import Path

import pytest

from diffunet.cli.commands import PARSERS
from diffunet.cli.reference import PLAN_CLASSES, commands_page, plans_page

PAGES = Path(__file__).parents[2] / "documentation" / "reference"


@pytest.mark.parametrize("page", ["plans.md", "commands.md"])
def test_the_page_says_what_the_code_says(page, monkeypatch):
    made = plans_page() if page == "plans.md" else commands_page(PARSERS)
    found = (PAGES / page).read_text(encoding="utf-8")
    assert found == made, f"documentation/reference/{page} is stale: run `make documentation`"


@pytest.mark.parametrize("cls", [cls for _, cls in PLAN_CLASSES])
def test_every_plan_field_has_a_meaning(cls):
    rows = [row for row in plans_page().splitlines() if row.startswith("| `")]
    for field in dataclasses.fields(cls):
        row = next(row for row in rows if row.startswith(f"| `{field.name}` "))
        assert not row.endswith("|  |"), f"{cls.__name__}.{field.name} is not in its docstring"


def test_every_installed_command_is_in_the_table():
    setup = (PAGES.parents[1] / "setup.py").read_text(encoding="utf-8")
    for name in PARSERS:
        assert f'"{name}"' in setup
    assert setup.count('"diffunet_') == len(PARSERS)


def test_every_option_is_explained():
    for name, make in PARSERS.items():
        for action in make()._actions:
            explained = action.help or action.choices
            assert explained, f"{name} {action.option_strings} has no help"


def test_docstrings_of_plans_open_with_one_sentence():
    for _, cls in PLAN_CLASSES:
        assert (inspect.getdoc(cls) or "").splitlines()[0].endswith(".")
