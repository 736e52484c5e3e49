"""`diffunet_demo`: all steps on a small generated dataset whose truth is known."""

import argparse
import logging
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

from diffunet.cli.command import command_of, new_parser, progress_bar
from diffunet.cli.options import add_num_processes, add_number, add_path, add_seed, number_of
from diffunet.errors import UsageError
from diffunet.locks import in_use
from diffunet.plans import TrainingPlan
from diffunet.workspace import TEST_IMAGES_FOLDER, TEST_LABELS_FOLDER, Workspace

if TYPE_CHECKING:
    from diffunet.data.synthetic import Scene

logger = logging.getLogger(__name__)

DATASET = "Dataset900_Synthetic"
WORKSPACE = "diffunet_workspace"
SIZE = (48, 48)
NUM_TRAINING, NUM_TEST, NUM_SAMPLES = 240, 60, 16
DEFAULT_ITERATIONS = 1500

# A network that a laptop's CPU trains in minutes, on the plans' own topology for these images.
SETTINGS = (
    "network.image_channels=[16,32,64]",
    "network.channels=[16,16,32]",
    "training.batch_size=16",
    "training.learning_rate=0.001",
    "training.ema_decay=0.995",
    "training.num_warmup_iterations=100",
    "training.decay_share=0.4",
    "training.num_validations=3",
)


def parser() -> argparse.ArgumentParser:
    """Return the parser of `diffunet_demo`."""
    made = new_parser(
        "Run all steps on a laptop's CPU: generate a small dataset whose experts disagree in a "
        "known way, configure, train, predict and evaluate. The results are pictures (demo.png), "
        "a table of scores, and pages (report.html) of the training and the predictions. Run it "
        "again after an interruption, and it continues."
    )
    add_path(made, "--output", "all results", default=Path("diffunet_demo"), metavar="DIR")
    add_number(
        made,
        "--iterations",
        number_of(TrainingPlan, "num_iterations"),
        "training iterations; the default is enough to beat the trivial answers; 2 only "
        "shows the steps",
        default=DEFAULT_ITERATIONS,
    )
    add_seed(made, "seed of the dataset and of all later steps")
    add_num_processes(made)
    return made


@command_of(parser)
def main(given: argparse.Namespace) -> None:
    """Run `diffunet_demo`."""
    check_output(given.output)  # before a lock lies in it
    with in_use(given.output):
        run_demo(
            given.output,
            num_iterations=given.iterations,
            seed=given.seed,
            num_processes=given.num_processes,
        )


def run_demo(output: Path, *, num_iterations: int, seed: int, num_processes: int) -> dict[str, Any]:
    """Run all steps in `output`, and return the summary of the scores."""
    from diffunet import api
    from diffunet.data.synthetic import SceneFamily
    from diffunet.data.synthetic_dataset import write_ambiguous_dataset

    start = time.monotonic()
    check_output(output)
    workspace = Workspace.resolve(
        folder=output / WORKSPACE, environment={}, current_folder=Path.cwd()
    )
    raw = workspace.raw / DATASET
    predictions = output / "predictions"
    shared: dict[str, Any] = {"workspace": workspace, "progress": progress_bar}
    _say(1, "generate a dataset: images, and masks by four raters who disagree in a known way")
    write_ambiguous_dataset(
        raw, num_training=NUM_TRAINING, num_test=NUM_TEST, family=SceneFamily(size=SIZE), seed=seed
    )
    _say(2, "check it, measure it, choose every parameter, preprocess")
    api.plan_and_preprocess(raw, num_processes=num_processes, **shared)
    _say(3, f"train a small network for {num_iterations} iterations")
    settings = [*SETTINGS, f"training.num_iterations={num_iterations}"]
    api.train(
        DATASET,
        0,
        settings=settings,
        seed=seed,
        continues=any(workspace.results.rglob("checkpoint_latest.pth")),
        device="cpu",
        num_processes=0,
        writes_report=True,
        **shared,
    )
    _say(4, f"draw {NUM_SAMPLES} segmentations for each of {NUM_TEST} unseen images")
    api.predict(
        raw / TEST_IMAGES_FOLDER,
        predictions,
        dataset=DATASET,
        num_samples=NUM_SAMPLES,
        seed=seed,
        saves_samples=True,
        saves_probabilities=True,
        device="cpu",
        **shared,
    )
    _say(5, "score them, beside the trivial answers")
    summary = api.evaluate(
        raw / TEST_LABELS_FOLDER, predictions, num_processes=num_processes, progress=progress_bar
    )
    found, perfect = scores_against_truth(raw, predictions, num_samples=NUM_SAMPLES, seed=seed)
    print(
        f"Against the known truth, the unbiased GED is {found:.3f}; 0 is perfect. {NUM_SAMPLES} "
        f"masks of the true distribution itself happen to score {perfect:.3f}."
    )
    sheet = output / "demo.png"
    draw_sheet(raw, predictions, sheet, unbiased_ged=found, seed=seed)
    page = api.report(
        predictions,
        images=raw / TEST_IMAGES_FOLDER,
        references=raw / TEST_LABELS_FOLDER,
        workspace=workspace,
    )
    minutes = (time.monotonic() - start) / 60
    print(f"\ndone in {minutes:.1f} minutes; look at '{sheet}', and at '{page}' in a browser")
    return summary


def check_output(output: Path) -> None:
    """Check that a folder can take the demo: it is absent, empty, or from an earlier demo.

    Raises:
        UsageError: it holds something else.
    """
    from diffunet.data.raw.case_files import listing

    if output.exists() and not output.is_dir():
        raise UsageError(f"--output '{output}': expected a folder, found a file")
    names = [path.name for path in output.iterdir()] if output.is_dir() else []
    names = [name for name in names if not name.startswith(".")]
    if names and not (output / WORKSPACE / "raw" / DATASET).is_dir():
        raise UsageError(
            f"--output '{output}' holds files that the demo did not write: {listing(names)}; "
            "choose an empty folder, or a new one"
        )


def scores_against_truth(
    raw: Path, predictions: Path, *, num_samples: int, seed: int
) -> tuple[float, float]:
    """Return the mean unbiased GED of the drawn masks against the true distribution of each scene.

    The second value is that of as many masks from the true distributions themselves.
    """
    import numpy as np

    from diffunet.data.image_io import read_label_map
    from diffunet.evaluation.known_truth import score_against_truth
    from diffunet.randomness import numpy_generator

    found: list[float] = []
    perfect: list[float] = []
    for case in _test_cases(raw):
        scene = _scene(case, seed=seed)
        outcomes, probabilities = scene.outcomes() > 0, scene.probabilities()
        paths = sorted((predictions / "samples").glob(f"{case}_s*.png"))
        samples = np.stack([read_label_map(path)[0] > 0 for path in paths])
        generator = numpy_generator(seed, "truth", case)
        drawn = outcomes[generator.choice(len(outcomes), num_samples, p=probabilities)]
        found.append(score_against_truth(samples, outcomes, probabilities).ged)
        perfect.append(score_against_truth(drawn, outcomes, probabilities).ged)
    return float(np.mean(found)), float(np.mean(perfect))


def draw_sheet(
    raw: Path, predictions: Path, sheet: Path, *, unbiased_ged: float, seed: int
) -> None:
    """Draw some test cases, from lesions that few raters see to lesions that all see."""
    import numpy as np

    from diffunet.data.image_io import read_image, read_label_map, read_map
    from diffunet.figures.masks import PicturedCase, plot_cases

    images = raw / TEST_IMAGES_FOLDER
    presences = {case: _presence(case, seed=seed) for case in _test_cases(raw)}
    by_presence = sorted(presences, key=presences.__getitem__)
    last = len(by_presence) - 1
    chosen = [by_presence[int(share * last)] for share in (0.1, 0.3, 0.5, 0.7, 0.9)]
    pictured = []
    for case in chosen:
        raters = sorted((raw / TEST_LABELS_FOLDER).glob(f"{case}_r*.png"))
        samples = sorted((predictions / "samples").glob(f"{case}_s*.png"))
        pictured.append(
            PicturedCase(
                title=f"{presences[case]:.0%} of experts\nwould see it",
                image=read_image([images / f"{case}_0000.png"], num_channels=1)[0],
                raters=np.stack([read_label_map(path)[0] > 0 for path in raters]),
                samples=np.stack([read_label_map(path)[0] > 0 for path in samples]),
                uncertainty=read_map(predictions / f"{case}_uncertainty.png")[0],
            )
        )
    plot_cases(
        pictured,
        sheet,
        title=f"unbiased GED {unbiased_ged:.3f} (0 is perfect): generated images, the masks of "
        "four experts, and masks that diffunet draws",
    )


def _test_cases(raw: Path) -> list[str]:
    images = (raw / TEST_IMAGES_FOLDER).glob("*_0000.png")
    return sorted(path.name.removesuffix("_0000.png") for path in images)


def _scene(case: str, *, seed: int) -> "Scene":
    from diffunet.data.synthetic import SceneFamily, scene_of_case

    return scene_of_case(case, SceneFamily(size=SIZE), seed=seed)


def _presence(case: str, *, seed: int) -> float:
    """Return the share of experts who would see the lesion of a case."""
    return 1 - float(_scene(case, seed=seed).probabilities()[0])


def _say(step: int, text: str) -> None:
    print(f"\n[{step}/5] {text}", flush=True)
