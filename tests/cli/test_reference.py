import dataclasses
import inspect
import typing
from pathlib import Path

import pytest

from diffunet.cli.commands import PARSERS
from diffunet.cli.reference import PLAN_CLASSES, commands_page, plans_page
from diffunet.plans import Plans, ResolvedPlans, WeakPlan

PAGES = Path(__file__).parents[2] / "documentation" / "reference"


@pytest.mark.parametrize("page", ["plans.md", "commands.md"])
def test_the_page_says_what_the_code_says(page, monkeypatch):
    made = plans_page() if page == "plans.md" else commands_page(PARSERS)
    found = (PAGES / page).read_text(encoding="utf-8")
    assert found == made, f"documentation/reference/{page} is stale: run `make documentation`"


def _rows_of(cls):
    where = next(where for where, each in PLAN_CLASSES if each is cls)
    section = plans_page().split(f"## `{where}`\n")[1].split("\n## ")[0]
    return [row for row in section.splitlines() if row.startswith("| `")]


def _blocks_of(hint):
    """Return the plan classes in a type, and all below them."""
    if dataclasses.is_dataclass(hint):
        hints = typing.get_type_hints(hint)
        return {hint}.union(*(_blocks_of(hints[each.name]) for each in dataclasses.fields(hint)))
    return set().union(*(_blocks_of(part) for part in typing.get_args(hint)))


def test_every_block_of_the_plans_has_a_section():
    assert _blocks_of(Plans) | {ResolvedPlans} == {cls for _, cls in PLAN_CLASSES}


def test_the_default_of_a_block_is_told_by_what_differs():
    cells = {row.split(" | ")[0]: row.split(" | ")[3] for row in _rows_of(WeakPlan)}
    assert cells["| `cdm`"] == "as below"
    assert cells["| `cg_cdm`"] == "as below, but `guidance_scale` `1.0`"
    assert cells["| `network`"] == "none"
    assert cells["| `masks`"] == "empty"
    assert not [row for row in plans_page().splitlines() if "Plan(" in row]


@pytest.mark.parametrize("cls", [cls for _, cls in PLAN_CLASSES])
def test_every_plan_field_has_a_meaning(cls):
    rows = _rows_of(cls)
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
