import json
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from diffunet.data.synthetic import SceneFamily

sys.path.insert(0, str(Path(__file__).parents[2] / "benchmarks"))

# benchmarks are scripts, no package: pyright does not find them
import known_truth  # pyright: ignore[reportMissingImports]
import known_truth_figure  # pyright: ignore[reportMissingImports]

TINY = (
    "network.image_channels=[8,8,8]",
    "network.channels=[8,8,8]",
    "training.batch_size=2",
    "training.ema_decay=0.5",
)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Data of a family, one training of two iterations, and its scores."""
    where = tmp_path_factory.mktemp("known_truth")
    family = SceneFamily(size=(32, 32), radius=(0.1, 0.18), num_labels=2, num_lesions=(1, 2))
    known_truth.prepare_data(where, family, num_training=12)
    for words in (
        ["train", "small", "--iterations", "2", "--set", *TINY],
        ["score", "small", "--draw", "ddim:2", "--num_cases", "3", "--num_samples", "4"],
    ):
        known_truth.main([str(where), *words])
    return where


def test_a_line_of_scores_stands_beside_that_of_the_truth(folder):
    (record,) = map(json.loads, (folder / "scores.jsonl").read_text().splitlines())
    assert (record["name"], record["draw"], record["num_cases"]) == ("small", "ddim:2", 3)
    assert record["model"]["ged"] > 0.3 > record["truth"]["ged"]
    assert record["model"]["D_yy"] == record["truth"]["D_yy"]


def test_processes_share_the_images_and_score_them_alike(folder, tmp_path):
    shutil.copytree(folder, tmp_path, dirs_exist_ok=True)
    script = Path(known_truth.__file__)
    words = [*["score", "small", "--draw", "ddim:2", "--num_cases", "3"], "--num_samples", "4"]
    subprocess.run([sys.executable, script, tmp_path, *words, "--jobs", "2"], check=True)
    one, two = map(json.loads, (tmp_path / "scores.jsonl").read_text().splitlines())
    assert (one["model"], one["truth"]) == (two["model"], two["truth"])


def test_samples_that_mark_anything_are_scored_apart():
    family = SceneFamily(size=(32, 32), radius=(0.1, 0.18), presence=(0.5, 0.5))
    scene = known_truth.scene_of_case("a", family, seed=0)
    shares = scene.probabilities()
    nothing, core, rim = scene.outcomes() > 0
    half = np.array([core] * 50 + [rim] * 50 + [nothing] * 300)[None]
    (apart,) = known_truth.scored_where_marked(half, scene)
    (whole,) = known_truth.scored(half, scene)
    assert apart.true_presence == apart.presence == 1
    assert apart.ged == pytest.approx(
        2 * (shares[1] / 0.5 - 0.5) ** 2 * apart.D_yy / (2 * shares[1] * shares[2] / 0.25), abs=0.01
    )
    assert whole.ged > apart.ged + 0.1
    assert known_truth.scored_where_marked(half[:, 99:], scene) == []
    assert known_truth.mean_ged([]) is None


def test_variants_are_compared_image_by_image(folder, capsys):
    scores = {"a": [0.1, 0.4, 0.1], "b": [0.2, 0.5, 0.2], "c": [0.1, 0.4, 0.4]}
    for name, geds in scores.items():
        (folder / name).mkdir()
        images = dict(zip("xyz", geds, strict=True))
        (folder / name / "images_ddim_2.json").write_text(json.dumps(images))
    known_truth.main([str(folder), "compare", "a", "b", "--draw", "ddim:2"])
    assert "b - a: +0.1000 [+0.1000, +0.1000] over 3 images" in capsys.readouterr().out
    known_truth.main([str(folder), "compare", "a,a", "b,c", "--draw", "ddim:2"])
    assert "+0.1000, +0.1000" in capsys.readouterr().out.split("each: ")[1]
    with pytest.raises(ValueError, match="small was not scored on the same images as a"):
        known_truth.main([str(folder), "compare", "a", "small", "--draw", "ddim:2"])
    with pytest.raises(ValueError, match="should be as many"):
        known_truth.main([str(folder), "compare", "a", "b,c", "--draw", "ddim:2"])


def test_the_scores_of_images_have_the_mean_of_their_line(folder):
    (record,) = map(json.loads, (folder / "scores.jsonl").read_text().splitlines())
    geds = json.loads((folder / "small" / "images_ddim_2.json").read_text())
    assert list(geds) == ["test00000", "test00001", "test00002"]
    assert sum(geds.values()) / 3 == pytest.approx(record["model"]["ged"], abs=1e-4)


@pytest.mark.parametrize("family", known_truth.FAMILIES.values(), ids=known_truth.FAMILIES)
def test_every_family_can_be_enumerated(family):
    scene = known_truth.scene_of_case("a", family, seed=0)
    assert scene.probabilities().sum() == pytest.approx(1)
    assert len(scene.outcomes()) == len(scene.probabilities())


def test_bayes_errs_less_than_the_network_and_not_at_all_without_noise(folder, capsys):
    known_truth.main([str(folder), "levels", "small", "--num_cases", "2"])
    lines = [line.split() for line in capsys.readouterr().out.splitlines() if line[:2] == "t "]
    assert len(lines) == len(known_truth.TIMES)
    bayes = [float(words[words.index("Bayes") + 1].rstrip(",")) for words in lines]
    network = [float(words[-1]) for words in lines]
    assert bayes[0] > 0.01 > bayes[-1]
    assert min(network) > 0.01


def test_stored_scores_are_drawn_by_sampler_and_training(folder, tmp_path):
    stored = Path(__file__).parents[2] / "documentation" / "results" / "known-truth.jsonl"
    for number, records in enumerate((stored, folder / "scores.jsonl")):
        lines = [json.loads(line) for line in records.read_text().splitlines()]
        if number:
            lines = [{**line, "draw": "ddpm:10"} for line in lines]
        figure = known_truth_figure.draw(lines)
        names = [label.get_text() for label in figure.axes[0].get_yticklabels()]
        assert names == list(dict.fromkeys(line["name"] for line in lines))
        drawn = len(figure.axes[0].containers)
        assert drawn == len(lines)
    picture = tmp_path / "figure.png"
    known_truth_figure.main([str(stored), str(picture)])
    assert picture.read_bytes().startswith(b"\x89PNG")
