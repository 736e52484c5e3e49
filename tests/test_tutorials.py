"""The commands of the tutorials, run as they are printed.

Trainings are of two iterations and predictions of two samples, unless DIFFUNET_TUTORIALS=whole.
"""

import os
import re
import shlex
from importlib.metadata import entry_points
from pathlib import Path

import pytest

from tests.wsss.weak_folds import offer_few_settings

PAGES = Path(__file__).parents[1] / "documentation" / "tutorials"
LITTLE = {
    "diffunet_plan_and_preprocess": ["-np", "0"],
    "diffunet_evaluate": ["-np", "0"],
    "diffunet_train": [
        *("-np", "0"),
        *("--iterations", "2"),
        *("--set", "training.num_final_validation_cases=2", "sampling.num_samples=2"),
    ],
    "diffunet_predict": ["--num_samples", "2", "--num_steps", "2"],
}
IS_WHOLE = os.environ.get("DIFFUNET_TUTORIALS") == "whole"


def blocks_of(page):
    """Return (language, text) of each block that a reader runs, in their order."""
    text = (PAGES / f"{page}.md").read_text(encoding="utf-8")
    return re.findall(r"^```(bash|python)\n(.*?)^```$", text, flags=re.MULTILINE | re.DOTALL)


def run_commands(block, *, is_weak):
    for line in block.replace("\\\n", " ").splitlines():
        name, *arguments = shlex.split(line)
        draws = not is_weak and "supervised" not in arguments
        if not IS_WHOLE and (draws or name != "diffunet_predict"):
            arguments += LITTLE.get(name, [])
        (command,) = entry_points(group="console_scripts", name=name)
        assert command.load()(arguments) == 0, line


@pytest.mark.slow
@pytest.mark.parametrize("page", ["first-prediction", "several-raters", "image-level-labels"])
def test_a_tutorial_works_as_printed(tmp_path, monkeypatch, page):
    monkeypatch.chdir(tmp_path)
    for name in ("raw", "preprocessed", "results"):
        monkeypatch.delenv(f"diffunet_{name}", raising=False)
    if not IS_WHOLE:
        offer_few_settings(monkeypatch)
    blocks = blocks_of(page)
    assert len(blocks) > 3
    for language, block in blocks:
        if language == "bash":
            run_commands(block, is_weak=page == "image-level-labels")
        else:
            exec(compile(block, page, "exec"), {})  # noqa: S102 - of our own page
