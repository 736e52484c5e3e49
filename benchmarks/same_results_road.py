"""The commands that `same_results.py` runs, from raw data to scores, for each kind of dataset."""

import contextlib
import importlib
import io
import shutil
import sys
import time
import traceback
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from same_results_data import (
    PSEUDO,
    RATERS,
    SLICES,
    SPACING_MM,
    TAGGED_SIZE,
    TAGS,
    VOLUMES,
    array_of,
)
from same_results_digests import Results, flat, results_of_folder

INTERRUPTED = 130
"""Exit code of a command that was stopped: so is the road."""

KINDS = ("raters", "volumes", "tags", "slices")
SAMPLERS = ("ddpm", "ddim", "dpm_solver_2m")
SALIENCIES = {
    "cdm": ("cdm", "cg_cdm", "cg_diff"),
    "classifier": ("grad_cam", "grad_cam++", "score_cam", "layer_cam"),
}
VARIANTS = (
    (
        *("network.conditioning=concatenated", "diffusion.prediction=v"),
        *("network.image_channels=[]", "network.num_image_blocks=[]", "diffusion.schedule=linear"),
    ),
    ("diffusion.prediction=noise", "diffusion.schedule=parabola", "sampling.is_mirrored=true"),
    (
        *("diffusion.schedule=linear_gamma", "diffusion.loss_weighting=snr_truncated"),
        *("diffusion.is_weighting_decoupled=true", "sampling.step_spacing=log_snr"),
        *("sampling.variance=small", "crop.policy=random", "patch_size=[16,16]"),
    ),
)
"""Settings of short trainings, one a fold."""


def small(dimensions: int, place: str = "") -> list[str]:
    """Return `--set` of a network of two stages; `place` is "weak." for that of images."""
    ones, twos, threes = ([size] * dimensions for size in (1, 2, 3))
    values: dict[str, Any] = {
        "channels": [8, 8],
        "strides": [ones, twos],
        "kernel_sizes": [threes, threes],
        "num_blocks": [1, 1],
        "num_decoder_blocks": [1, 1],
        "has_attention": ["false", "true"],
    }
    if not place:
        values |= {"image_channels": [8, 16], "num_image_blocks": [1, 1]}
    texts = {name: str(value).replace(" ", "").replace("'", "") for name, value in values.items()}
    return [f"{place}network.{name}={text}" for name, text in texts.items()]


KEPT_ELSEWHERE = ("plans.resolved.json", "records")
"""In a folder of predictions: what training left, and what predictions.json gathers."""

FEW = ["training.num_validations=1", "training.num_validation_cases=1"]
"""With more cases their number would depend on the clock."""

SAMPLES = [*FEW, "training.num_final_validation_cases=2", "sampling.num_samples=3"]
WEAK = [
    *("training.num_validations=0", "training.num_final_validation_cases=2"),
    *small(2, "weak."),
    *("weak.cdm.num_steps=2", "weak.cdm.num_draws=2", "weak.cg_cdm.num_draws=2"),
    *("weak.cg_diff.num_steps=2",),
]


class Road:
    """Runs commands in a workspace, and keeps the results of each.

    Args:
        folder: empty but for `ws/raw` with the datasets.
        used_models: trained before, by dataset and folder; None: they are trained now.
    """

    def __init__(self, folder: Path, *, used_models: Path | None):
        self.folder, self.used_models = folder, used_models
        self.workspace = folder / "ws"
        self.results: Results = {}
        self.seconds: dict[str, float] = {}
        self.kind = ""

    def go(self, kind: str) -> None:
        """Do all that is to be done with one kind of dataset."""
        self.kind = kind
        getattr(self, f"_{kind}")()

    def _raters(self) -> None:
        self.plan(RATERS)
        self.train("diffusion", RATERS, "0", *small(2), *SAMPLES)
        self.train("diffusion", RATERS, "1", *small(2), *SAMPLES, seed=3)
        self.train("supervised", RATERS, "0", *small(2), *SAMPLES)
        self.plan(RATERS, "-overwrite_plans_name", "variants", name="plan_variants")
        for fold, changes in enumerate(VARIANTS):
            words = [*small(2), *SAMPLES, *changes]
            self.train("diffusion", RATERS, str(fold), *words, plans="variants", iterations=4)
            self.predict(
                f"variant_{fold}", RATERS, "-p", "variants", "-f", str(fold), "-m", "diffusion"
            )
        few = ["--num_samples", "3", "--num_steps", "3", "--save_samples", "--save_probabilities"]
        for sampler in SAMPLERS:
            self.predict(sampler, RATERS, "-f", "0", "--sampler", sampler, *few)
        self.predict("seed", RATERS, "-f", "1", "--seed", "7", "--num_steps", "4", "-chk", "best")
        self.predict("folds", RATERS, "--num_samples", "5", *few[2:])
        self.predict("half", RATERS, "-f", "0", "--precision", "bfloat16", *few)
        self.predict("part", RATERS, "-f", "0", "-num_parts", "2", "-part_id", "1", *few)
        self.predict("supervised", RATERS, "-m", "supervised", "--save_probabilities")
        self.predict_file("one_file", RATERS, "case12_0000.png", "-m", "supervised")
        self.evaluate("ddpm", RATERS)
        self.evaluate("folds", RATERS)
        self.evaluate("supervised", RATERS)
        self.draw("array", RATERS, "diffusion__diffunet_plans__2d", (2, 30, 17), (1.0, 1.0))
        self.draw(
            "array_supervised", RATERS, "supervised__diffunet_plans__2d", (2, 30, 17), (1.0, 1.0)
        )
        self.train_on("pretrained", RATERS, "diffusion__diffunet_plans__2d", *small(2), *SAMPLES)

    def _volumes(self) -> None:
        self.plan(VOLUMES)
        tiled = [*small(3), *SAMPLES, "patch_size=[4,16,16]", "crop.policy=random"]
        full, plane = ["-c", "3d_fullres"], ["-c", "2d"]
        self.train("diffusion", VOLUMES, "0", *tiled, options=full)
        self.train("supervised", VOLUMES, "0", *tiled, options=full)
        bits = "diffusion.encoding=analog_bits"
        self.train(
            "diffusion", VOLUMES, "0", *small(2), *SAMPLES, bits, options=plane, iterations=8
        )
        self.train("supervised", VOLUMES, "0", *small(2), *SAMPLES, options=plane, iterations=8)
        few = ["--num_samples", "2", "--num_steps", "2", "--save_samples", "--save_probabilities"]
        for name, options in (("full", full), ("plane", plane)):
            for sampler in SAMPLERS:
                words = [*options, "--sampler", sampler, *few, "-m", "diffusion"]
                self.predict(f"{name}_{sampler}", VOLUMES, *words)
            self.predict(f"{name}_supervised", VOLUMES, *options, "-m", "supervised", few[-1])
            self.evaluate(f"{name}_ddpm", VOLUMES)
            self.evaluate(f"{name}_supervised", VOLUMES, "--by_slice")
        self.predict("full_steps", VOLUMES, *full, *few, "-step_size", "0.9", "-m", "diffusion")
        model = "diffusion__diffunet_plans__3d_fullres"
        self.draw("array", VOLUMES, model, (1, 6, 20, 15), SPACING_MM)

    def _tags(self) -> None:
        self.plan(TAGS)
        self.train("cdm", TAGS, "0", *WEAK)
        self.train("cdm", TAGS, "1", *WEAK, "training.num_validations=1")  # of one image
        self.train("classifier", TAGS, "0", *WEAK)
        known = ["--image_labels", str(self.workspace / "raw" / TAGS / "known.csv")]
        for method, saliencies in SALIENCIES.items():
            for saliency in saliencies:
                words = ["-m", method, "--saliency", saliency, "-f", "0", *known]
                self.predict(saliency, TAGS, *words)
            self.predict(f"{method}_decides", TAGS, "-m", method)
            self.draw_map(
                f"array_{method}", TAGS, f"{method}__diffunet_plans__2d", (1, *TAGGED_SIZE)
            )
        self.evaluate("cg_cdm", TAGS)
        self.evaluate("layer_cam", TAGS, "--by_slice")
        words = ["-d", TAGS, "-o", PSEUDO, "-m", "classifier", "-device", "cpu", *self._place]
        self.command("pseudo_label", "pseudo_label", words)
        self.keep("pseudo_label/dataset", self.workspace / "raw" / PSEUDO)
        self.plan(PSEUDO, name="plan_student")
        self.train("supervised", PSEUDO, "0", *small(2), *SAMPLES)
        images = self.workspace / "raw" / TAGS / "imagesTs"
        self.predict("student", PSEUDO, "-m", "supervised", "--save_probabilities", images=images)
        self.evaluate("student", TAGS)

    def _slices(self) -> None:
        self.plan(SLICES, "--with_labels", "-c", "2d")
        for method, saliencies in SALIENCIES.items():
            self.train(method, SLICES, "0", *WEAK, iterations=8, options=["-c", "2d"])
            self.predict(f"{method}_decides", SLICES, "-m", method, "-c", "2d")
            model = f"{method}__diffunet_plans__2d"
            self.draw_map(f"array_{method}", SLICES, model, (1, 2, *TAGGED_SIZE))
            for saliency in saliencies[-2:]:
                self.predict(saliency, SLICES, "-m", method, "--saliency", saliency, "-c", "2d")
        self.evaluate("layer_cam", SLICES, "--by_slice")
        words = [*small(2), *SAMPLES]
        self.train("supervised", SLICES, "0", *words, iterations=4, options=["-c", "2d"])

    @property
    def _place(self) -> list[str]:
        return ["--workspace", str(self.workspace)]

    def plan(self, dataset: str, *words: str, name: str = "plan") -> None:
        """Plan and preprocess, and keep plans, fingerprint, splits and arrays."""
        self.command(name, "plan_and_preprocess", ["-d", dataset, "-np", "0", *words, *self._place])
        self.keep(name, self.workspace / "preprocessed" / dataset)

    def train(
        self,
        method: str,
        dataset: str,
        fold: str,
        *settings: str,
        plans: str = "diffunet_plans",
        iterations: int = 20,
        seed: int = 0,
        options: Sequence[str] = (),
    ) -> None:
        """Train, or take the model trained before and validate it anew."""
        words = [dataset, fold, "-m", method, "-p", plans, *options, "--seed", str(seed)]
        words += ["--iterations", str(iterations), "--batch_size", "2", "-np", "0"]
        words += ["-device", "cpu", *self._place, "--set", *settings]
        configuration = options[1] if options else "2d"
        model = f"{method}__{plans}__{configuration}"
        place = self.workspace / "results" / dataset / model
        name = f"train/{dataset}/{model}/fold_{fold}"
        if self.used_models is not None:
            shutil.copytree(self.used_models / dataset / model, place, dirs_exist_ok=True)
            shutil.rmtree(place / f"fold_{fold}" / "validation", ignore_errors=True)
            self.command(name, "train", [*words[:2], "--val", *words[2:]])
            self.keep(f"{name}/validation", place / f"fold_{fold}" / "validation")
            return
        self.command(name, "train", words)
        self.keep(name, place / f"fold_{fold}")

    def train_on(self, name: str, dataset: str, model: str, *settings: str) -> None:
        """Train a few iterations from the weights of fold 0."""
        results = self.workspace / "results" / dataset / model
        words = [dataset, "4", "-pretrained_weights", str(results / "fold_0/checkpoint_final.pth")]
        words += ["--iterations", "3", "--batch_size", "2", "-np", "0", "-device", "cpu"]
        self.command(name, "train", [*words, *self._place, "--set", *settings])
        self.keep(name, results / "fold_4")
        shutil.rmtree(results / "fold_4", ignore_errors=True)  # no part of the models that are kept

    def predict(self, name: str, dataset: str, *words: str, images: Path | None = None) -> None:
        """Predict the test images, and keep every file."""
        source = images or self.workspace / "raw" / dataset / "imagesTs"
        out = self.folder / self.kind / name
        given = ["-i", str(source), "-o", str(out), "-d", dataset, "-device", "cpu"]
        self.command(f"predict/{name}", "predict", [*given, *words, *self._place])
        self.keep(f"predict/{name}", out, without=KEPT_ELSEWHERE)

    def predict_file(self, name: str, dataset: str, image: str, *words: str) -> None:
        """Predict one file."""
        source = self.workspace / "raw" / dataset / "imagesTs" / image
        out = self.folder / self.kind / name / "mask.png"
        out.parent.mkdir(parents=True)
        given = ["-i", str(source), "-o", str(out), "-d", dataset, "-device", "cpu"]
        self.command(f"predict/{name}", "predict", [*given, *words, *self._place])
        self.keep(f"predict/{name}", out.parent)

    def evaluate(self, name: str, dataset: str, *words: str) -> None:
        """Score predictions, and keep the summary."""
        masks = self.workspace / "raw" / dataset / "labelsTs"
        out = self.folder / self.kind / f"scores_of_{name}" / "summary.json"
        out.parent.mkdir(parents=True)
        given = [str(masks), str(self.folder / self.kind / name), "-o", str(out), "-np", "0"]
        self.command(f"evaluate/{name}", "evaluate", [*given, *words])
        self.keep(f"evaluate/{name}", out.parent)

    def draw(
        self, name: str, dataset: str, model: str, shape: tuple[int, ...], spacing: Sequence[float]
    ) -> None:
        """Predict an array with `diffunet.Predictor`."""
        with self._kept_failure(name):
            import diffunet

            place = self.workspace / "results" / dataset / model
            few: dict[str, Any] = (
                {} if model.startswith("supervised") else {"num_samples": 3, "num_steps": 2}
            )
            made = diffunet.Predictor.from_folder(place, ["0"]).predict(
                array_of(0, *shape), spacing, seed=2, case="drawn", **few
            )
            self._keep_fields(name, made, ("mask", "probability", "uncertainty", "samples"))

    def draw_map(self, name: str, dataset: str, model: str, shape: tuple[int, ...]) -> None:
        """Predict an array with `diffunet.WeakPredictor`."""
        with self._kept_failure(name):
            import diffunet

            place = self.workspace / "results" / dataset / model
            predictor = diffunet.WeakPredictor.from_folder(place, ["0"])
            spacing = SPACING_MM[: len(shape) - 1] if len(shape) > 3 else (1.0, 1.0)
            tags = [1] * (2 if dataset == SLICES else 1)
            fields = ("mask", "saliency", "probability", "is_present", "thresholds")
            for end, given in (("", None), ("_tags", tags)):
                made = predictor.predict(array_of(1, *shape), spacing, tags=given, seed=2)
                self._keep_fields(f"{name}{end}", made, fields)

    def command(self, name: str, command: str, words: Sequence[str]) -> None:
        """Run a command in this process; its exit code is a result too."""
        print(f"  {self.kind} {name}", flush=True)
        said, start = io.StringIO(), time.perf_counter()
        with self._kept_failure(name):
            main = importlib.import_module(f"diffunet.cli.{command}").main
            with contextlib.redirect_stdout(said), contextlib.redirect_stderr(said):
                code = main(list(words))
            self.results[f"{self.kind}/{name}/exit code"] = code
            if code == INTERRUPTED:
                raise KeyboardInterrupt
            if code:
                print("\n".join(said.getvalue().splitlines()[-6:]), file=sys.stderr)
        self.seconds[f"{self.kind}/{name}"] = round(time.perf_counter() - start, 2)

    def keep(self, name: str, folder: Path, *, without: Sequence[str] = ()) -> None:
        """Keep the results of a folder."""
        found = results_of_folder(folder, root=self.folder, without=without)
        for path, value in found.items():
            self.results[f"{self.kind}/{name}/{path}"] = value

    def _keep_fields(self, name: str, made: Any, fields: Sequence[str]) -> None:
        values = {field: getattr(made, field) for field in fields}
        for path, value in flat(values):
            self.results[f"{self.kind}/python/{name}{path}"] = value

    @contextlib.contextmanager
    def _kept_failure(self, name: str) -> Iterator[None]:
        """Let the road go on after a failure, which is a result."""
        try:
            yield
        except (Exception, SystemExit) as error:
            traceback.print_exc()
            self.results[f"{self.kind}/{name}/failure"] = repr(error)
