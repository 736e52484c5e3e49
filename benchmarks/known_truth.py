"""Train on generated images, and score against their true distribution of masks.

    python benchmarks/known_truth.py FOLDER data --family images
    python benchmarks/known_truth.py FOLDER train NAME --set training.batch_size=16
    python benchmarks/known_truth.py FOLDER score NAME --draw ddpm:10 dpm_solver_2m:8
    python benchmarks/known_truth.py FOLDER compare FIRST SECOND --draw ddpm:10
    python benchmarks/known_truth.py FOLDER levels NAME

`data` writes a dataset and preprocesses it; `train` trains a variant of its plans, and continues
where it was stopped; `score` draws samples of test images that were never written. All goes through
the commands' own code. A score is a line of FOLDER/scores.jsonl, beside that of samples of the
truth itself; the scores of each image stand in FOLDER/NAME. `compare` pairs those of two variants
by image. Of several seeds, name them all: `compare a0,a1 b0,b1`. `levels` compares x_0_hat with
Bayes' answer at each time: where the network errs.
"""

import argparse
import dataclasses
import itertools
import json
import time
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import cast

import numpy as np
import torch

from diffunet import api
from diffunet.build import build_encoding
from diffunet.data.synthetic import Scene, SceneFamily, scene_of_case
from diffunet.data.synthetic_dataset import read_family, write_ambiguous_dataset
from diffunet.diffusion.denoiser import Denoiser, Features
from diffunet.diffusion.predictions import coefficients
from diffunet.diffusion.process import add_noise
from diffunet.evaluation.bootstrap import crossed_interval
from diffunet.evaluation.known_truth import (
    TruthScores,
    presence_calibration_error,
    presence_error,
    score_against_truth,
)
from diffunet.inference.compute import Compute
from diffunet.inference.model import TrainedModel, load_model
from diffunet.inference.options import PredictionOptions
from diffunet.inference.prepared import PreparedImage, prepare
from diffunet.jsonio import read_object, write_json
from diffunet.methods import METHODS
from diffunet.parallel import map_ordered
from diffunet.randomness import numpy_generator
from diffunet.workspace import Workspace

DATASET = "Dataset901_KnownTruth"
TIMES = (1.0, 0.95, 0.9, 0.8, 0.7, 0.6, 0.5, 0.4, 0.3, 0.2, 0.1)
NUM_DRAWS = 8
SMALL = {"radius": (0.1, 0.18), "size": (32, 32)}
FAMILIES = {
    "images": SceneFamily(**SMALL),
    "outlines": SceneFamily(**SMALL, num_outlines=7, presence=(1.0, 1.0), halo=(0.05, 0.95)),
    "mixed": SceneFamily(**SMALL, num_outlines=7),
    "several": SceneFamily(size=(48, 48), num_lesions=(0, 3), radius=(0.06, 0.12), num_labels=2),
    "styles": SceneFamily(**SMALL, num_styles=4, num_lesions=(1, 2)),
    "volumes": SceneFamily(size=(16, 24, 24), radius=(0.16, 0.26)),
}


def main(words: Sequence[str] | None = None) -> None:
    """Run one of the steps."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("folder", type=Path)
    steps = parser.add_subparsers(dest="step", required=True)
    data = steps.add_parser("data")
    data.add_argument("--family", choices=FAMILIES, default="images")
    data.add_argument("--num_training", type=int, default=3000)
    data.add_argument("--channel", default="generated image", help="CT: one normalisation for all")
    train = steps.add_parser("train")
    train.add_argument("name")
    train.add_argument("--iterations", type=int, default=6000)
    train.add_argument("--set", nargs="*", default=[])
    train.add_argument("--seed", type=int, default=0)
    train.add_argument("--start_from", metavar="NAME", help="a trained variant with its weights")
    score = steps.add_parser("score")
    score.add_argument("name")
    score.add_argument("--draw", nargs="+", default=["ddpm:10"], metavar="SAMPLER:STEPS")
    score.add_argument("--num_cases", type=int, default=500)
    score.add_argument("--num_samples", type=int, default=100)
    score.add_argument("--jobs", type=int, default=1, help="processes that share the images")
    compare = steps.add_parser("compare")
    compare.add_argument("variants", nargs=2, type=lambda names: names.split(","), metavar="NAMES")
    compare.add_argument("--draw", nargs="+", default=["ddpm:10"], metavar="SAMPLER:STEPS")
    levels = steps.add_parser("levels")
    levels.add_argument("name")
    levels.add_argument("--num_cases", type=int, default=100)
    given = parser.parse_args(words)
    if given.step == "data":
        family = FAMILIES[given.family]
        prepare_data(given.folder, family, num_training=given.num_training, channel=given.channel)
    elif given.step == "train":
        train_variant(given)
    elif given.step == "score":
        for draw in given.draw:
            score_draws(given, draw)
    elif given.step == "compare":
        for draw in given.draw:
            print(draw, comparison(given.folder, *given.variants, draw=draw))
    else:
        compare_levels(given)


def workspace_of(folder: Path, results: str) -> Workspace:
    return Workspace(
        raw=folder / "raw",
        preprocessed=folder / "preprocessed",
        results=folder / results,
        origin="the benchmark",
    )


def prepare_data(
    folder: Path, family: SceneFamily, *, num_training: int, channel: str = "generated image"
) -> None:
    workspace = workspace_of(folder, "results")
    write_ambiguous_dataset(
        workspace.raw / DATASET,
        num_training=num_training,
        num_test=1,
        family=family,
        channel=channel,
    )
    api.plan_and_preprocess(workspace.raw / DATASET, workspace=workspace, num_processes=1)


def train_variant(given: argparse.Namespace) -> None:
    workspace = workspace_of(given.folder, given.name)
    begun = time.process_time()
    settings = [f"training.num_iterations={given.iterations}", "training.num_validations=0"]
    continues = any(workspace.results.rglob("checkpoint_latest.pth"))
    start = None
    if given.start_from is not None and not continues:
        start = folder_of(given.folder / given.start_from)
    folder = api.train(
        DATASET,
        0,
        workspace=workspace,
        settings=[*settings, "training.num_final_validation_cases=1", *given.set],
        seed=given.seed,
        pretrained_weights=start,
        continues=continues,
        device="cpu",
        num_processes=0,
    )
    (folder.parent / "seconds.txt").write_text(f"{time.process_time() - begun:.0f}\n")


def score_draws(given: argparse.Namespace, draw: str) -> None:
    model_folder, _ = trained(given)
    begun = time.perf_counter()
    shares = [range(first, given.num_cases, given.jobs) for first in range(given.jobs)]
    score = partial(score_cases, given, draw)  # of one share in this process, else in workers
    parts = list(map_ordered(score, shares, num_processes=given.jobs))
    found, perfect, marked = (
        {case: scores for part in parts for case, scores in part[kind].items()} for kind in range(3)
    )
    record = {
        "name": given.name,
        "draw": draw,
        "num_cases": given.num_cases,
        "num_samples": given.num_samples,
        "training_seconds": float((model_folder / "seconds.txt").read_text()),
        "seconds": round(time.perf_counter() - begun),
        "jobs": given.jobs,
        "model": summary(list(itertools.chain(*found.values())), given.num_samples),
        "truth": summary(list(itertools.chain(*perfect.values())), given.num_samples),
        "ged_where_marked": mean_ged(list(itertools.chain(*marked.values()))),
    }
    geds = {case: np.mean([each.ged for each in scores]) for case, scores in sorted(found.items())}
    write_json(file_of_images(given.folder / given.name, draw), geds)
    with (given.folder / "scores.jsonl").open("a") as file:
        file.write(json.dumps(record) + "\n")
    print(given.name, draw, json.dumps(record["model"]), "truth", json.dumps(record["truth"]))
    print("among samples that mark anything, GED", record["ged_where_marked"])


def score_cases(
    given: argparse.Namespace, draw: str, indices: Sequence[int]
) -> tuple[dict[str, list[TruthScores]], ...]:
    """Return the scores of a model on test images, those of draws of the truth, and marked ones.

    The last are those of the model's samples that mark anything, against masks that do. Each image
    has those of its labels.
    """
    torch.set_num_threads(1)
    _, model = trained(given)
    family, seed = read_family(given.folder / "raw" / DATASET)
    sampler, num_steps = draw.split(":")
    options = PredictionOptions(
        num_samples=given.num_samples, sampler=sampler, num_steps=int(num_steps)
    )
    found: dict[str, list[TruthScores]] = {}
    perfect: dict[str, list[TruthScores]] = {}
    marked: dict[str, list[TruthScores]] = {}
    for index in indices:
        case = f"test{index:05d}"
        scene = scene_of_case(case, family, seed=seed)
        samples = drawn_samples(model, scene, case=case, options=options)
        generator = numpy_generator(seed, "truth", case)
        chosen = generator.choice(len(scene.outcomes()), given.num_samples, p=scene.probabilities())
        found[case] = scored(samples, scene)
        marked[case] = scored_where_marked(samples, scene)
        perfect[case] = scored(scene.outcomes()[chosen][None] == labels_of(family), scene)
    return found, perfect, marked


def file_of_images(results: Path, draw: str) -> Path:
    """Return where the unbiased GED of each image stands, the mean over its labels."""
    return results / f"images_{draw.replace(':', '_')}.json"


def comparison(folder: Path, first: Sequence[str], second: Sequence[str], *, draw: str) -> str:
    """Return in words how much the unbiased GED of the second variant is above that of the first.

    Images are paired, and so are trainings in the order of their names; the interval is a bootstrap
    over images, and over trainings where there are several.

    Args:
        first, second: names of trainings, such as those of several seeds; as many of each.

    Raises:
        ValueError: they are not as many, or were not scored on the same images.
    """
    if len(first) != len(second):
        raise ValueError(f"{first} and {second} should be as many, to be paired")
    scores = {name: read_object(file_of_images(folder / name, draw)) for name in (*first, *second)}
    images = list(scores[first[0]])
    for name, each in scores.items():
        if list(each) != images:
            raise ValueError(f"{name} was not scored on the same images as {first[0]}")
    differences = np.array(
        [
            [scores[b][case] - scores[a][case] for a, b in zip(first, second, strict=True)]
            for case in images
        ]
    )
    found = crossed_interval(differences, images)
    seeds = ", ".join(f"{value:+.4f}" for value in differences.mean(axis=0))
    return (
        f"{'+'.join(second)} - {'+'.join(first)}: {found.mean:+.4f} "
        f"[{found.lower:+.4f}, {found.upper:+.4f}] over {len(images)} images; each: {seeds}"
    )


def trained(given: argparse.Namespace) -> tuple[Path, TrainedModel]:
    """Return a variant's folder and its model."""
    folder = folder_of(given.folder / given.name)
    return folder, load_model(folder, folds=None, checkpoint="final", device=torch.device("cpu"))


def folder_of(results: Path) -> Path:
    """Return the folder of the one model that a variant's results hold."""
    return next(results.rglob("plans.resolved.json")).parents[1]


def compare_levels(given: argparse.Namespace) -> None:
    """Print, for each time, how far x_0_hat is from E[x_0 | x_t] of one who knows the scene.

    Bayes' own error is the mean squared distance of that from x_0: what no network removes. What a
    network cannot see in a noisy image, p and the outlines, counts as its error.
    """
    _, model = trained(given)
    denoiser = cast(Denoiser, model.networks[0])
    encoding = build_encoding(model.labels, model.configuration.diffusion)
    family, seed = read_family(given.folder / "raw" / DATASET)
    generator = torch.Generator().manual_seed(0)
    errors: dict[float, list[tuple[float, float]]] = {t: [] for t in TIMES}
    for index in range(given.num_cases):
        case = f"test{index:05d}"
        scene = scene_of_case(case, family, seed=seed)
        features = denoiser.encode_image(prepared(scene, case=case, model=model).image[None])
        masks = torch.from_numpy((scene.outcomes()[None] == labels_of(family)).swapaxes(0, 1))
        everything = encoding.encode(masks, None)
        for t in TIMES:
            errors[t].append(
                level_errors(denoiser, features, everything, scene, t=t, generator=generator)
            )
    for t, found in errors.items():
        (log_snr,) = denoiser.schedule.log_snr(torch.tensor([t], dtype=torch.float64)).tolist()
        bayes, network = np.mean(found, axis=0)
        print(
            f"t {t:.2f}  log SNR {log_snr:6.2f}  Bayes {bayes:.5f}  x_0_hat to Bayes {network:.5f}"
        )


def level_errors(
    denoiser: Denoiser,
    features: Features,
    everything: torch.Tensor,
    scene: Scene,
    *,
    t: float,
    generator: torch.Generator,
) -> tuple[float, float]:
    """Return Bayes' mean squared error at a time, and the network's distance from his answer.

    Args:
        everything: x_0 of each outcome of the scene, (outcome, channel, *size).
    """
    prior = torch.from_numpy(scene.probabilities())
    drawn = torch.multinomial(prior, NUM_DRAWS, replacement=True, generator=generator)
    x_0 = everything[drawn]
    noise = torch.randn(x_0.shape, generator=generator)
    log_snr = denoiser.schedule.log_snr(torch.full((NUM_DRAWS,), t, dtype=torch.float64))
    x_t = add_noise(x_0, noise, log_snr=log_snr)
    alpha, sigma = coefficients(log_snr, like=x_t.double())
    squares = ((x_t - alpha * everything[:, None]) / sigma).square().flatten(2).sum(dim=2)
    shares = (prior.log()[:, None] - squares / 2).softmax(dim=0).float()
    answer = torch.einsum("od,oc...->dc...", shares, everything)
    with torch.no_grad():
        x_0_hat = denoiser.predict_x_0(x_t, t, features=features)
    return float((answer - x_0).square().mean()), float((x_0_hat - answer).square().mean())


def labels_of(family: SceneFamily) -> np.ndarray:
    """Return the value of each label, (label, 1, 1, ...)."""
    return np.arange(1, 1 + family.num_labels).reshape(-1, 1, *[1] * len(family.size))


def drawn_samples(
    model: TrainedModel, scene: Scene, *, case: str, options: PredictionOptions
) -> np.ndarray:
    """Return the samples (label, sample, *size) of a test image."""
    predictor = METHODS[model.method].make_predictor(
        model, compute=Compute(device=torch.device("cpu")), options=options
    )
    samples: dict[int, np.ndarray] = {}
    predictor.predict(
        prepared(scene, case=case, model=model),
        on_sample=samples.__setitem__,
    )
    return np.stack([samples[sample] for sample in sorted(samples)], axis=1)


def prepared(scene: Scene, *, case: str, model: TrainedModel) -> PreparedImage:
    """Return a test image as the network sees it."""
    image = scene.render(numpy_generator("test image", case))[None].astype(np.float32)
    return prepare(image, (1.0,) * len(scene.family.size), model=model, case=case)


def scored(samples: np.ndarray, scene: Scene) -> list[TruthScores]:
    """Return the scores of each label."""
    outcomes = scene.outcomes()[None] == labels_of(scene.family)
    return [
        score_against_truth(of_label, each, scene.probabilities())
        for of_label, each in zip(samples, outcomes, strict=True)
    ]


def scored_where_marked(samples: np.ndarray, scene: Scene) -> list[TruthScores]:
    """Return the scores of samples that mark anything, against outcomes that do.

    Labels of which fewer than two samples mark anything are left out, which are those with little
    presence.
    """
    found: list[TruthScores] = []
    for of_label, outcomes in zip(
        samples, scene.outcomes()[None] == labels_of(scene.family), strict=True
    ):
        drawn = of_label[of_label.reshape(len(of_label), -1).any(axis=1)]
        is_marked = outcomes.reshape(len(outcomes), -1).any(axis=1)
        shares = scene.probabilities()[is_marked]
        if len(drawn) > 1 and shares.sum() > 0:
            found.append(score_against_truth(drawn, outcomes[is_marked], shares / shares.sum()))
    return found


def mean_ged(scores: Sequence[TruthScores]) -> float | None:
    return round(float(np.mean([each.ged for each in scores])), 4) if scores else None


def summary(scores: Sequence[TruthScores], num_samples: int) -> dict[str, float]:
    """Return means over cases, the standard error of the GED, and how far presence is off."""
    names = [field.name for field in dataclasses.fields(TruthScores)]
    means = {name: float(np.mean([getattr(each, name) for each in scores])) for name in names}
    error = float(np.std([each.ged for each in scores]) / np.sqrt(len(scores)))
    calibration = presence_calibration_error(scores)
    rounded = {
        **means,
        "ged_error": error,
        "presence_calibration": calibration,
        "presence_error": presence_error(scores, num_samples),
    }
    return {name: round(value, 4) for name, value in rounded.items()}


if __name__ == "__main__":
    import known_truth  # pyright: ignore[reportMissingImports]  # as workers know it

    torch.set_num_threads(1)
    known_truth.main()
