import dataclasses
import inspect
import typing
from pathlib import Path

import pytest

from diffunet.cli.commands import PARSERS
from diffunet.cli.reference import PLAN_CLASSES, commands_page, plans_page, words_page
from diffunet.plans import Plans, ResolvedPlans, WeakPlan

PAGES = Path(__file__).parents[2] / "documentation" / "reference"


@pytest.mark.parametrize(
    ("page", "make"),
    [
        ("plans.md", plans_page),
        ("commands.md", lambda: commands_page(PARSERS)),
        ("nnunet-words.md", words_page),
    ],
)
def test_the_page_says_what_the_code_says(page, make):
    made = make()
    found = (PAGES / page).read_text(encoding="utf-8")
    # without line ends, which Pythons set differently in long usages
    is_same = found.split() == made.split()
    assert is_same, f"documentation/reference/{page} is stale: run `make documentation`"


def _entries_of(cls):
    """Return the text of each field of `cls` on the page, in one line, by the field's name."""
    where = next(where for where, each in PLAN_CLASSES if each is cls)
    section = plans_page().split(f"## `{where}`\n")[1].split("\n## ")[0]
    entries = [" ".join(entry.split()) for entry in section.split("\n- `")[1:]]
    return dict(entry.split("` ", 1) for entry in entries)


def _blocks_of(hint):
    """Return the plan classes in a type, and all below them."""
    if dataclasses.is_dataclass(hint):
        hints = typing.get_type_hints(hint)
        return {hint}.union(*(_blocks_of(hints[each.name]) for each in dataclasses.fields(hint)))
    return set().union(*(_blocks_of(part) for part in typing.get_args(hint)))


def test_every_block_of_the_plans_has_a_section():
    assert _blocks_of(Plans) | {ResolvedPlans} == {cls for _, cls in PLAN_CLASSES}


def test_the_default_of_a_block_is_told_by_what_differs():
    entries = _entries_of(WeakPlan)
    assert "; default as below): " in entries["cdm"]
    assert "; default as below, but `guidance_scale` `1.0`): " in entries["cg_cdm"]
    assert "; no default): " in entries["network"]
    assert "; default empty): " in entries["masks"]
    assert "Plan(" not in plans_page()


@pytest.mark.parametrize("cls", [cls for _, cls in PLAN_CLASSES])
def test_every_plan_field_has_a_meaning(cls):
    entries = _entries_of(cls)
    for field in dataclasses.fields(cls):
        meaning = entries[field.name].partition("): ")[2]
        assert meaning, f"{cls.__name__}.{field.name} is not in its docstring"


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
