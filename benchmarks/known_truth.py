"""Train on generated images, and score against their true distribution of masks.

    python benchmarks/known_truth.py FOLDER data --family images
    python benchmarks/known_truth.py FOLDER train NAME --set training.batch_size=16
    python benchmarks/known_truth.py FOLDER score NAME --draw ddpm:10 dpm_solver_2m:8

`data` writes a dataset and preprocesses it; `train` trains a variant of its plans, and continues
where it was stopped; `score` draws samples of test images that were never written. All goes through
the commands' own code. A score is a line of FOLDER/scores.jsonl, beside that of samples of the
truth itself.
"""

import argparse
import dataclasses
import json
import time
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch

from diffunet import api
from diffunet.data.synthetic import Scene, SceneFamily, scene_of_case
from diffunet.data.synthetic_dataset import read_family, write_ambiguous_dataset
from diffunet.evaluation.known_truth import (
    TruthScores,
    presence_calibration_error,
    score_against_truth,
)
from diffunet.inference.compute import Compute
from diffunet.inference.model import TrainedModel, load_model
from diffunet.inference.options import PredictionOptions
from diffunet.inference.prepared import prepare
from diffunet.methods import METHODS
from diffunet.randomness import numpy_generator
from diffunet.workspace import Workspace

DATASET = "Dataset901_KnownTruth"
SMALL = {"radius": (0.1, 0.18), "size": (32, 32)}
FAMILIES = {
    "images": SceneFamily(**SMALL),
    "outlines": SceneFamily(**SMALL, num_outlines=7, presence=(1.0, 1.0), halo=(0.05, 0.95)),
    "mixed": SceneFamily(**SMALL, num_outlines=7),
    "several": SceneFamily(size=(48, 48), num_lesions=(0, 3), radius=(0.06, 0.12), num_labels=2),
    "styles": SceneFamily(**SMALL, num_styles=4, num_lesions=(1, 2)),
    "volumes": SceneFamily(size=(16, 32, 32), radius=(0.2, 0.3)),
}


def main(words: Sequence[str] | None = None) -> None:
    """Run one of the three steps."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("folder", type=Path)
    steps = parser.add_subparsers(dest="step", required=True)
    data = steps.add_parser("data")
    data.add_argument("--family", choices=FAMILIES, default="images")
    data.add_argument("--num_training", type=int, default=3000)
    train = steps.add_parser("train")
    train.add_argument("name")
    train.add_argument("--iterations", type=int, default=6000)
    train.add_argument("--set", nargs="*", default=[])
    train.add_argument("--seed", type=int, default=0)
    score = steps.add_parser("score")
    score.add_argument("name")
    score.add_argument("--draw", nargs="+", default=["ddpm:10"], metavar="SAMPLER:STEPS")
    score.add_argument("--num_cases", type=int, default=500)
    score.add_argument("--num_samples", type=int, default=100)
    given = parser.parse_args(words)
    if given.step == "data":
        prepare_data(given.folder, FAMILIES[given.family], num_training=given.num_training)
    elif given.step == "train":
        train_variant(given)
    else:
        for draw in given.draw:
            score_draws(given, draw)


def workspace_of(folder: Path, results: str) -> Workspace:
    return Workspace(
        raw=folder / "raw",
        preprocessed=folder / "preprocessed",
        results=folder / results,
        origin="the benchmark",
    )


def prepare_data(folder: Path, family: SceneFamily, *, num_training: int) -> None:
    workspace = workspace_of(folder, "results")
    write_ambiguous_dataset(
        workspace.raw / DATASET, num_training=num_training, num_test=1, family=family
    )
    api.plan_and_preprocess(workspace.raw / DATASET, workspace=workspace, num_processes=1)


def train_variant(given: argparse.Namespace) -> None:
    workspace = workspace_of(given.folder, given.name)
    begun = time.process_time()
    settings = [f"training.num_iterations={given.iterations}", "training.num_validations=0"]
    folder = api.train(
        DATASET,
        0,
        workspace=workspace,
        settings=[*settings, "training.num_final_validation_cases=1", *given.set],
        seed=given.seed,
        continues=any(workspace.results.rglob("checkpoint_latest.pth")),
        device="cpu",
        num_processes=0,
    )
    (folder.parent / "seconds.txt").write_text(f"{time.process_time() - begun:.0f}\n")


def score_draws(given: argparse.Namespace, draw: str) -> None:
    model_folder = next((given.folder / given.name).rglob("plans.resolved.json")).parents[1]
    model = load_model(model_folder, folds=None, checkpoint="final", device=torch.device("cpu"))
    family, seed = read_family(given.folder / "raw" / DATASET)
    sampler, num_steps = draw.split(":")
    options = PredictionOptions(
        num_samples=given.num_samples, sampler=sampler, num_steps=int(num_steps)
    )
    found: list[TruthScores] = []
    perfect: list[TruthScores] = []
    begun = time.process_time()
    for index in range(given.num_cases):
        case = f"test{index:05d}"
        scene = scene_of_case(case, family, seed=seed)
        samples = drawn_samples(model, scene, case=case, options=options)
        generator = numpy_generator(seed, "truth", case)
        chosen = generator.choice(len(scene.outcomes()), given.num_samples, p=scene.probabilities())
        found += scored(samples, scene)
        perfect += scored(scene.outcomes()[chosen][None] == labels_of(family), scene)
    record = {
        "name": given.name,
        "draw": draw,
        "num_cases": given.num_cases,
        "training_seconds": float((model_folder / "seconds.txt").read_text()),
        "ms_per_sample": 1000 * (time.process_time() - begun) / given.num_cases / given.num_samples,
        "model": summary(found),
        "truth": summary(perfect),
    }
    with (given.folder / "scores.jsonl").open("a") as file:
        file.write(json.dumps(record) + "\n")
    print(given.name, draw, json.dumps(record["model"]), "truth", json.dumps(record["truth"]))


def labels_of(family: SceneFamily) -> np.ndarray:
    """Return the value of each label, (label, 1, 1, ...)."""
    return np.arange(1, 1 + family.num_labels).reshape(-1, 1, *[1] * len(family.size))


def drawn_samples(
    model: TrainedModel, scene: Scene, *, case: str, options: PredictionOptions
) -> np.ndarray:
    """Return the samples (label, sample, *size) of a test image."""
    image = scene.render(numpy_generator("test image", case))[None].astype(np.float32)
    predictor = METHODS[model.method].make_predictor(
        model, compute=Compute(device=torch.device("cpu")), options=options
    )
    samples: dict[int, np.ndarray] = {}
    predictor.predict(
        prepare(image, (1.0,) * len(scene.family.size), model=model, case=case),
        on_sample=samples.__setitem__,
    )
    return np.stack([samples[sample] for sample in sorted(samples)], axis=1)


def scored(samples: np.ndarray, scene: Scene) -> list[TruthScores]:
    """Return the scores of each label."""
    outcomes = scene.outcomes()[None] == labels_of(scene.family)
    return [
        score_against_truth(of_label, each, scene.probabilities())
        for of_label, each in zip(samples, outcomes, strict=True)
    ]


def summary(scores: Sequence[TruthScores]) -> dict[str, float]:
    """Return means over cases, the standard error of the GED, and the calibration of presence."""
    names = [field.name for field in dataclasses.fields(TruthScores)]
    means = {name: float(np.mean([getattr(each, name) for each in scores])) for name in names}
    error = float(np.std([each.ged for each in scores]) / np.sqrt(len(scores)))
    calibration = presence_calibration_error(scores)
    rounded = {**means, "ged_error": error, "presence_calibration": calibration}
    return {name: round(value, 4) for name, value in rounded.items()}


if __name__ == "__main__":
    torch.set_num_threads(1)
    main()
