"""The stages of the table at full size: their order, and the public command of each."""

import csv
import io
import re
import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

from opened_cases import scored_cases

from diffunet.data.raw.dataset import RawDataset
from diffunet.data.raw.image_labels import ImageLabels
from diffunet.errors import UsageError
from diffunet.jsonio import write_text
from diffunet.plans import ConfigurationPlan, Plans

WEAK = ("cg_cdm", "cdm", "cg_diff", "layer_cam", "grad_cam++", "grad_cam", "score_cam")
CONFIGURATION = "2d"  # the one that learns from image-level labels
FOLD = "0"
PREPARE = "prepare"

Number = TypeVar("Number", int, float)

_PLANS_NAME = "diffunet_plans"
_STUDENT_OFFSET = 500  # from the number of the dataset to that of its pseudo-masks


@dataclass(frozen=True, kw_only=True)
class Stage:
    """One public command.

    Attributes:
        command: makes the command line, once the stages before are whole. Run again it goes on.
        result: is there when the stage is whole (and maybe before).
    """

    name: str
    command: Callable[[], list[str]]
    result: Path


@dataclass(frozen=True, kw_only=True)
class Request:
    """What the table is made from.

    Attributes:
        dataset: raw folder with image-level labels, masks of the test part, and, when it is
            prepared, masks of the training part.
        iterations, batch_size, learning_rate: of every training; None for the plans' own.
        student_iterations: None for as many as `iterations`.
        spacing: None for the rule's.
        settings: PATH=VALUE, for every training.
    """

    dataset: Path
    workspace: Path
    iterations: int | None
    student_iterations: int | None
    spacing: tuple[float, ...] | None
    batch_size: int | None
    learning_rate: float | None
    settings: tuple[str, ...]
    device: str
    num_processes: int

    @property
    def fixed(self) -> dict[str, Any]:
        """What decides the results, and so must stay as it was when a workspace was begun."""
        names = ("iterations", "student_iterations", "spacing", "batch_size", "learning_rate")
        numbers = {name: getattr(self, name) for name in names}
        return {"dataset": self.dataset.name, **numbers, "set": self.settings}

    @property
    def test_tags(self) -> Path:
        return self.workspace / "test_tags.csv"

    @property
    def student(self) -> str:
        """The name of the dataset of pseudo-masks.

        Raises:
            UsageError: the folder is not called as raw datasets are.
        """
        matched = re.fullmatch(r"Dataset(\d{3})_(.+)", self.dataset.name)
        if matched is None:
            raise UsageError(f"expected a folder DatasetXXX_NAME, found '{self.dataset}'; rename")
        number = (int(matched[1]) + _STUDENT_OFFSET) % 1000
        return f"Dataset{number:03d}_{matched[2]}Pseudo"

    def plan(self) -> ConfigurationPlan:
        """Return what the stage 'prepare' planned."""
        path = self.workspace / "preprocessed" / self.dataset.name / f"{_PLANS_NAME}.json"
        return Plans.load(path).configuration(CONFIGURATION)


def stages_of(request: Request) -> list[Stage]:
    """Return all stages, in order."""
    own, student = request.dataset.name, request.student
    raw_student = request.workspace / "raw" / student
    return [
        _prepare(request, PREPARE, own, str(request.dataset), "--with_labels"),
        *(_train(request, method, own, method) for method in ("cdm", "classifier", "supervised")),
        *(_predict(request, method, own, "--saliency", method) for method in WEAK),
        _predict(request, "supervised", own, "-m", "supervised"),
        Stage(
            name="pseudo_label",
            command=partial(_pseudo_label, request),
            result=raw_student / "dataset.json",
        ),
        _prepare(request, "prepare_student", student, student),
        _train(request, "student", student, "supervised"),
        _predict(request, "student", student, "-m", "supervised"),
        *(
            _predict(
                request,
                f"{method}_tags",
                own,
                "--saliency",
                method,
                "--image_labels",
                str(request.test_tags),
            )
            for method in WEAK
        ),
        _table(request, "table", ending=""),
        _table(request, "table_tags", ending="_tags"),
    ]


def check_dataset(dataset: RawDataset, *, is_prepared: bool) -> ImageLabels:
    """Return the image-level labels, having checked that nothing is missing hours later.

    Args:
        is_prepared: masks of the training part have been preprocessed.

    Raises:
        UsageError: a test case lacks its mask or its tags, or a training case its mask.
    """
    table = dataset.image_labels
    if table is None or not dataset.test_cases:
        raise UsageError(
            f"'{dataset.folder}': expected image-level labels ('image_labels' of dataset.json) and "
            "test cases (imagesTs), found not both; add what is missing"
        )
    tagged = {case for case, _ in table.table}
    tests = {files.case for files in dataset.test_cases}
    untrained = [files.case for files in dataset.training_cases if not files.labels]
    lacking = {
        "a line in the table of image-level labels": tests - tagged,
        "a mask in labelsTs": tests - {files.case for files in scored_cases(dataset)},
        "a mask in labelsTr (for the supervised row)": set() if is_prepared else set(untrained),
    }
    problems = [
        f"expected {what} of every case, found none of {len(cases)}, such as '{min(cases)}'"
        for what, cases in lacking.items()
        if cases
    ]
    if problems:
        raise UsageError(f"'{dataset.folder}': {'; '.join(problems)}; add it or remove the case")
    return table


def write_test_tags(path: Path, dataset: RawDataset, table: ImageLabels) -> None:
    """Write what the dataset says about its test cases, for `--image_labels`."""
    tests = {files.case for files in dataset.test_cases}
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(["case", "slice", *table.names])
    for (case, index), tags in table.table.items():
        if case in tests:
            writer.writerow([case, "" if index is None else index, *tags])
    write_text(path, text.getvalue())


def _prepare(request: Request, name: str, dataset: str, where: str, *more: str) -> Stage:
    spacing = ()
    if request.spacing is not None:
        spacing = ("-overwrite_target_spacing", *(f"{size:g}" for size in request.spacing))
    command = [
        *_module("plan_and_preprocess", request),
        *("-d", where, "-c", CONFIGURATION, *more, *spacing, "-np", str(request.num_processes)),
    ]
    plans = request.workspace / "preprocessed" / dataset / f"{_PLANS_NAME}.json"
    return Stage(name=name, command=lambda: command, result=plans)


def _train(request: Request, name: str, dataset: str, method: str) -> Stage:
    folder = f"{method}__{_PLANS_NAME}__{CONFIGURATION}"
    path = request.workspace / "results" / dataset / folder / f"fold_{FOLD}"
    return Stage(
        name=f"train_{name}",
        command=lambda: _training(request, name, dataset, method),
        result=path / "checkpoint_final.pth",
    )


def _training(request: Request, name: str, dataset: str, method: str) -> list[str]:
    """Return a training with the numbers of the tagged dataset, whatever `dataset` planned."""
    planned = request.plan()
    training = planned.training
    iterations = _given(request.iterations, training.num_iterations)
    if name == "student":
        iterations = _given(request.student_iterations, iterations)
    settings = list(_settings(request, planned, method=method, has_weak_plan=name != "student"))
    return [
        *_module("train", request),
        *(dataset, FOLD, "-m", method, "-c", CONFIGURATION, "--c", "-device", request.device),
        *("--iterations", str(iterations)),
        *("--batch_size", str(_given(request.batch_size, training.batch_size))),
        *("--lr", f"{_given(request.learning_rate, training.learning_rate):g}"),
        *("-np", str(request.num_processes)),
        *(["--set", *settings] if settings else []),
    ]


def _settings(
    request: Request, planned: ConfigurationPlan, *, method: str, has_weak_plan: bool
) -> Iterator[str]:
    """Yield what the comparison needs, then what the user set.

    A supervised network gets the widths of the image model, which sees each image in as many
    mirrorings as the weak methods' maps.
    """
    if method == "supervised":
        network = (planned.weak or planned).network
        yield f"network.image_channels={_listed(network.channels)}"
        yield f"network.num_image_blocks={_listed(network.num_blocks)}"
        if planned.augmentation.mirror_axes and planned.weak and planned.weak.is_mirrored:
            yield "sampling.is_mirrored=true"
    yield from (text for text in request.settings if has_weak_plan or not text.startswith("weak."))


def _given(value: Number | None, planned: Number) -> Number:
    return planned if value is None else value


def _listed(numbers: Sequence[int]) -> str:
    return f"[{','.join(str(number) for number in numbers)}]"


def _predict(request: Request, name: str, dataset: str, *more: str) -> Stage:
    output = _predictions(request, name)
    command = [
        *_module("predict", request),
        *("-i", str(request.dataset / "imagesTs"), "-o", str(output), "-d", dataset, *more),
        *("-c", CONFIGURATION, "-f", FOLD, "--continue_prediction", "-device", request.device),
    ]
    result = output / "predictions.json"
    return Stage(name=f"predict_{name}", command=lambda: command, result=result)


def _pseudo_label(request: Request) -> list[str]:
    return [
        *_module("pseudo_label", request),
        *("-d", str(request.dataset), "-o", request.student, "--saliency", "cg_cdm"),
        *("-c", CONFIGURATION, "-f", FOLD, "--continue", "-device", request.device),
    ]


def _table(request: Request, name: str, *, ending: str) -> Stage:
    """Return a table; rows that learned from masks decide about presence by themselves in both."""
    folders = {method: _predictions(request, f"{method}{ending}") for method in WEAK}
    folders |= {method: _predictions(request, method) for method in ("student", "supervised")}
    output = request.workspace / name
    command = [
        *(sys.executable, str(Path(__file__).with_name("weak_supervision.py"))),
        *(str(request.dataset), str(output), "-np", str(request.num_processes)),
        *("--compare", "cg_cdm", "--methods"),
        *(f"{method}={folder}" for method, folder in folders.items()),
    ]
    return Stage(name=name, command=lambda: command, result=Path(f"{output}.json"))


def _predictions(request: Request, name: str) -> Path:
    return request.workspace / "predictions" / name


def _module(name: str, request: Request) -> list[str]:
    return [sys.executable, "-m", f"diffunet.cli.{name}", "--workspace", str(request.workspace)]
