import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from diffunet.cli import evaluate

SIZE = 16


def write_masks(folder: Path, areas: dict[str, int]) -> Path:
    """Write square masks of 1, by the length of their edge."""
    folder.mkdir()
    for case, edge in areas.items():
        mask = np.zeros((SIZE, SIZE), np.uint8)
        mask[:edge, :edge] = 1
        Image.fromarray(mask).save(folder / f"{case}.png")
    return folder


@pytest.fixture
def folders(tmp_path) -> list[str]:
    content = {
        "channel_names": {"0": "T1"},
        "labels": {"background": 0, "lesion": 1},
        "file_ending": ".png",
        "numTraining": 3,
    }
    (tmp_path / "dataset.json").write_text(json.dumps(content))
    reference = write_masks(tmp_path / "labelsTs", {"found": 4, "missed": 8, "healthy": 0})
    prediction = write_masks(tmp_path / "weak", {"found": 4, "missed": 0, "healthy": 3})
    return [str(reference), str(prediction)]


def test_slices_that_show_a_label_and_healthy_ones_are_scored_apart(folders, capsys):
    assert evaluate.main([*folders, "--by_slice", "-np", "0"]) == 0
    printed = "".join(capsys.readouterr())
    assert "2 slices of 2 patients; means over slices" in printed
    assert "lesion: positive slices" in printed
    assert "lesion: healthy slices" in printed
    summary = json.loads((Path(folders[1]) / "summary.json").read_text())
    positive, healthy = (summary["slices"]["lesion"][kind] for kind in ("positive", "healthy"))
    assert (positive["num_slices"], healthy["num_slices"]) == (2, 1)
    assert positive["scores"]["Dice"]["mean"] == 0.5
    assert positive["scores"]["misses_all"]["mean"] == 0.5
    assert healthy["scores"]["false_positive_pixels"]["mean"] == 9
    assert summary["distribution"]["num_cases"] == 3


def test_slices_are_scored_only_where_that_is_asked_for(folders):
    assert evaluate.main([*folders, "-np", "0"]) == 0
    assert "slices" not in json.loads((Path(folders[1]) / "summary.json").read_text())
