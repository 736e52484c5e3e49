"""`documentation/reference/outputs.md` names every file that a prediction or a training writes."""

import re
from pathlib import Path

import pytest

from diffunet.cli import evaluate
from diffunet.data.image_io import read_label_map, write_label_map
from tests.inference.models import dataset_content, small_configuration, small_plans, write_model
from tests.inference.test_predict import TWO_LABELS, run, write_images
from tests.test_end_to_end import DATASET, workspace  # noqa: F401 (a fixture)
from tests.wsss.weak_models import write_weak_model

PAGE = Path(__file__).parents[1] / "documentation" / "reference" / "outputs.md"
PREDICTIONS = "A folder of predictions"


def named_files(section: str) -> list[str]:
    """Return what the first lines of a section's items name."""
    text = PAGE.read_text(encoding="utf-8").split(f"## {section}\n")[1].split("\n## ")[0]
    items = re.findall(r"^- (.+)", text, re.MULTILINE)
    return [name for item in items for name in re.findall(r"`([^`]+)`", item)]


def unnamed(folder: Path, cases: list[str], *, section: str = PREDICTIONS) -> set[str]:
    """Return the files below a folder that the page does not name."""
    words = {
        "CASE": f"({'|'.join(cases)})",
        "_s00": r"_s\d\d",
        "_LABEL": "(_[a-z-]+)?",
        r"\.ext": r"\.png",
    }
    patterns = []
    for name in named_files(section):
        pattern = re.escape(name)
        for word, meaning in words.items():
            pattern = pattern.replace(word, meaning)
        patterns.append(pattern)
    whole = re.compile("|".join(patterns))
    found = {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()}
    return {name for name in found if not whole.fullmatch(name)}


@pytest.mark.parametrize("saves_samples", [True, "one_file"])
@pytest.mark.parametrize("labels", [None, TWO_LABELS])
def test_a_prediction_and_its_scores(tmp_path, saves_samples, labels):
    content = dataset_content(labels=labels)
    model = write_model(tmp_path / "model", small_plans(small_configuration()), content=content)
    images, output = write_images(tmp_path / "images", 2), tmp_path / "out"
    run(model, images, output, saves_samples=saves_samples)
    for case in ("case0", "case1"):
        mask, geometry = read_label_map(output / f"{case}.png")
        write_label_map(tmp_path / "references" / f"{case}.png", mask, geometry)
    assert evaluate.main([str(tmp_path / "references"), str(output), "-np", "0"]) == 0
    assert unnamed(output, ["case0", "case1"]) == set()
    (output / "new.json").touch()
    assert unnamed(output, ["case0", "case1"]) == {"new.json"}


def test_a_prediction_from_image_level_labels(tmp_path):
    model = write_weak_model(tmp_path / "model", method="classifier")
    cases = ["case0", "case1"]
    images = write_images(tmp_path / "images", len(cases))
    run(model, images, tmp_path / "out", saves_samples=False, saves_probabilities=False)
    assert list((tmp_path / "out").glob("*_saliency*"))
    assert unnamed(tmp_path / "out", cases) == set()


def test_planning_and_training(workspace):  # noqa: F811
    place = workspace / "diffunet_workspace"
    for folder in (place / "results" / DATASET).glob("*/fold_0"):
        own = {name for name in unnamed(folder, [], section="A trained model") if "/" not in name}
        assert own == set()
        cases = [path.stem for path in (folder / "validation" / "records").glob("*.json")]
        assert unnamed(folder / "validation", cases) == set()
    section = "Planning and preprocessing"
    own = unnamed(place / "preprocessed" / DATASET, [], section=section)
    assert {name for name in own if "/" not in name} == set()
