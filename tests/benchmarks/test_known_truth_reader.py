import json
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from scipy.ndimage import gaussian_filter
from scipy.stats import multivariate_normal

from diffunet.data.synthetic import SceneFamily, scene_of_case
from diffunet.evaluation.known_truth import score_against_truth

sys.path.insert(0, str(Path(__file__).parents[2] / "benchmarks"))

# benchmarks are scripts, no package: pyright does not find them
import known_truth  # pyright: ignore[reportMissingImports]
import known_truth_reader  # pyright: ignore[reportMissingImports]

FAMILY = SceneFamily(size=(18, 20), radius=(0.12, 0.2))
VOLUMES = SceneFamily(size=(10, 12, 11), radius=(0.1, 0.2))


@pytest.mark.parametrize("family", [FAMILY, VOLUMES], ids=["images", "volumes"])
def test_the_likelihood_is_that_of_a_gaussian_with_the_dense_covariance(family):
    unit = np.eye(np.prod(family.size)).reshape(-1, *family.size)
    smooth = np.array([gaussian_filter(each, 2.5) for each in unit]).reshape(len(unit), -1)
    covariance = smooth.T @ smooth
    variance = np.trace(covariance) / len(unit) - covariance.mean()
    covariance = 100 / variance * covariance + (36 + 1 / 12) * np.eye(len(unit))
    scenes = [scene_of_case(case, family, seed=0) for case in "abc"]
    image = scenes[0].render(np.random.default_rng(0)).astype(float)
    likelihood = known_truth_reader.Likelihood(family)
    dense = [
        multivariate_normal.logpdf(
            image.ravel(), 70 + scene.lesions[0].brightness(family.size).ravel(), covariance
        )
        for scene in scenes
    ]
    fast = [likelihood(image, scene.lesions[0]) for scene in scenes]
    assert np.diff(fast) == pytest.approx(np.diff(dense), rel=1e-6)


def test_images_vary_as_the_likelihood_says():
    scene = scene_of_case("a", FAMILY, seed=0)
    likelihood = known_truth_reader.Likelihood(FAMILY)
    squares = [
        -2 * likelihood(scene.render(np.random.default_rng(seed)).astype(float), scene.lesions[0])
        for seed in range(200)
    ]
    assert np.mean(squares) == pytest.approx(np.prod(FAMILY.size), rel=0.02)


def test_a_reader_who_knows_the_scene_has_no_distance_and_one_who_guesses_as_his_samples_do():
    scene, other = (scene_of_case(case, FAMILY, seed=0) for case in "ab")
    assert known_truth_reader.ged_of_mixture([scene] * 3, scene) == pytest.approx(0, abs=1e-9)
    guesses = [replace(other.lesions[0], presence=share) for share in (0.3, 0.6, 0.9)]
    scenes = [replace(scene, lesions=(each,)) for each in guesses]
    generator = np.random.default_rng(0)
    samples = np.array(
        [
            each.outcomes()[each.draw(0, generator)] > 0
            for each in (scenes[number % 3] for number in generator.integers(3, size=3000))
        ]
    )
    sampled = score_against_truth(samples, scene.outcomes() > 0, scene.probabilities()).ged
    # samples of one scene are compared with each other too, those of the mixture are not
    assert known_truth_reader.ged_of_mixture(scenes * 10, scene) == pytest.approx(sampled, abs=0.03)


def test_the_prior_holds_what_a_family_draws_and_nothing_outside():
    for index in range(30):
        (lesion,) = scene_of_case(f"c{index}", VOLUMES, seed=0).lesions
        assert np.isfinite(known_truth_reader.log_prior(lesion, VOLUMES))
        vector = known_truth_reader.as_vector(lesion)
        assert known_truth_reader.as_lesion(vector) == lesion
        for place in range(len(vector)):
            moved = known_truth_reader.as_lesion(vector + 30 * np.eye(len(vector))[place])
            assert known_truth_reader.log_prior(moved, VOLUMES) == -np.inf


def test_the_reader_finds_presence_as_surely_as_he_says(tmp_path, monkeypatch, capsys):
    known_truth.prepare_data(tmp_path, FAMILY, num_training=6)
    monkeypatch.setattr(known_truth_reader, "NUM_STEPS", 800)
    known_truth_reader.main([str(tmp_path), "--num_cases", "12"])
    records = [json.loads(line) for line in (tmp_path / "reader.jsonl").read_text().splitlines()]
    assert len(records) == 12
    errors = np.array([each["presence"] - each["true_presence"] for each in records])
    claimed = np.array([each["presence_std"] for each in records])
    assert (claimed > 0.005).all()
    assert 0.4 < np.sqrt(np.mean((errors / claimed) ** 2)) < 1.7
    assert 0 < np.mean([each["ged"] for each in records]) < 0.02
    assert capsys.readouterr().out.startswith("12 images: GED 0.0")


def test_the_reader_goes_on_after_the_images_that_he_read(tmp_path, monkeypatch):
    known_truth.prepare_data(tmp_path, FAMILY, num_training=6)
    monkeypatch.setattr(known_truth_reader, "NUM_STEPS", 200)
    path = tmp_path / "reader.jsonl"
    with monkeypatch.context() as patched:
        patched.setattr(known_truth_reader, "ged_of_mixture", once(known_truth_reader))
        with pytest.raises(RuntimeError, match="test00001: IndexError"):
            known_truth_reader.main([str(tmp_path), "--num_cases", "2"])
    kept = path.read_text()
    path.write_text(kept + kept[:20])  # killed within a line
    known_truth_reader.main([str(tmp_path), "--num_cases", "3"])
    lines = path.read_text().splitlines()
    assert lines[0] + "\n" == kept
    assert [json.loads(line)["case"] for line in lines] == [f"test{n:05d}" for n in range(3)]


def once(module):
    """Return `ged_of_mixture` as it works the first time alone."""
    left = [module.ged_of_mixture]
    return lambda *given: left.pop()(*given)


def test_the_reader_refuses_families_of_several_lesions(tmp_path):
    known_truth.prepare_data(
        tmp_path, SceneFamily(size=(32, 32), num_lesions=(1, 2), radius=(0.1, 0.18)), num_training=6
    )
    with pytest.raises(ValueError, match="one lesion"):
        known_truth_reader.main([str(tmp_path), "--num_cases", "1"])
