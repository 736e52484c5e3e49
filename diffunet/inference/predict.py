"""Predict files: one case after the other, each whole or absent, so that a run can be continued."""

import contextlib
import dataclasses
import itertools
import json
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from diffunet import __version__
from diffunet.data.dataset import CaseFiles
from diffunet.data.image_io import write_label_map
from diffunet.errors import DatasetError, UsageError
from diffunet.inference.case_image import kept_problems, read_case
from diffunet.inference.compute import Compute
from diffunet.inference.model import TrainedModel
from diffunet.inference.output import OutputFolder
from diffunet.inference.place import check_output_file, check_output_folder
from diffunet.inference.predictor import OnStep, Prediction, Predictor
from diffunet.jsonio import require_writable
from diffunet.plans import SamplingPlan

__all__ = ["OutputOptions", "Prediction", "Predictor", "predict_cases", "predict_file"]

Progress = Callable[[Iterable[Any], int, str], Iterator[Any]]


@dataclass(frozen=True, kw_only=True)
class OutputOptions:
    """What is written besides the consensus, the uncertainty and the volumes.

    Attributes:
        has_probabilities: CASE_probability, one per label where there are several.
        has_samples: samples/CASE_s00, ...
    """

    has_probabilities: bool = False
    has_samples: bool = False


def predict_cases(
    predictor: Predictor,
    cases: Sequence[CaseFiles],
    *,
    output_folder: Path,
    sampling: SamplingPlan,
    seed: int,
    options: OutputOptions,
    is_continued: bool = False,
    num_parts: int = 1,
    part_id: int = 0,
    progress: Progress | None = None,
) -> Path:
    """Predict cases into a folder, and return the path of its `predictions.json`.

    A case that cannot be read does not keep the others from being predicted.

    Args:
        cases: of all parts; this run does every `num_parts`-th of them, sorted, from `part_id` on.
        sampling: what `predictor.sampling(...)` returned.
        is_continued: keep the cases that are whole; otherwise they are predicted anew.
        progress: wraps (items, total, description); an item is a sampling step of one sample.

    Raises:
        UsageError: the arguments do not fit together, or whole cases were made with other settings.
        DatasetError: all that is wrong with the cases that could not be predicted, at the end.
    """
    settings = settings_of_run(
        predictor.model,
        predictor.compute,
        seed=seed,
        sampling=dataclasses.asdict(sampling),
        output=dataclasses.asdict(options),
    )
    output = OutputFolder(output_folder, model=predictor.model, settings=settings)
    part = begin_part(
        cases, output, is_continued=is_continued, num_parts=num_parts, part_id=part_id
    )
    problems: list[str] = []
    with _ticking(progress, predictor.num_steps_of(sampling) * len(part)) as on_step:
        for files in part:
            with kept_problems(problems, case=files.case):
                _predict_case(
                    predictor,
                    files,
                    output=output,
                    sampling=sampling,
                    seed=seed,
                    options=options,
                    on_step=on_step,
                )
    path = output.gather()
    if problems:
        raise DatasetError(problems)
    return path


def predict_file(
    predictor: Predictor,
    files: CaseFiles,
    *,
    output_file: Path,
    sampling: SamplingPlan,
    seed: int,
    progress: Progress | None = None,
) -> None:
    """Predict one case, and write its consensus alone.

    Raises:
        UsageError: `output_file` is one of the input files, or there already.
        DatasetError: the case cannot be read or does not fit the model.
        WriteError: `output_file` cannot be written.
    """
    check_output_file(files, output_file)
    require_writable(output_file)
    image, geometry = read_case(files, model=predictor.model)
    with _ticking(progress, predictor.num_steps_of(sampling)) as on_step:
        result = predictor.predict_case(
            image,
            geometry.spacing_mm,
            sampling=sampling,
            seed=seed,
            case=files.case,
            on_step=on_step,
            on_sample=None,
        )
    label_map = predictor.model.labels.label_map(result.votes.consensus())
    write_label_map(output_file, label_map, geometry)


def _predict_case(
    predictor: Predictor,
    files: CaseFiles,
    *,
    output: OutputFolder,
    sampling: SamplingPlan,
    seed: int,
    options: OutputOptions,
    on_step: OnStep | None,
) -> None:
    output.begin_case(files)
    image, geometry = read_case(files, model=predictor.model)

    def write_sample(sample: int, masks: np.ndarray) -> None:
        output.write_sample(files.case, sample, masks, geometry)

    result = predictor.predict_case(
        image,
        geometry.spacing_mm,
        sampling=sampling,
        seed=seed,
        case=files.case,
        on_step=on_step,
        on_sample=write_sample if options.has_samples else None,
    )
    del image
    output.write_maps(
        files.case, result.votes, geometry, has_probabilities=options.has_probabilities
    )
    volumes = {name: dataclasses.asdict(volume) for name, volume in result.volumes.items()}
    content = {"seconds": result.seconds, "volumes": volumes}
    output.write_record(files.case, content, geometry)


def settings_of_run(
    model: TrainedModel, compute: Compute, *, seed: int, **others: Any
) -> dict[str, Any]:
    """Return all that decides what is written, as plain JSON values.

    Args:
        others: what only some methods have.
    """
    settings = {
        "dataset": model.plans.dataset_name,
        "method": model.method,
        "plans": model.plans.plans_name,
        "configuration": model.plans.configuration_name,
        "folds": model.folds,
        "checkpoint": model.checkpoint,
        "weights": model.weights,
        **others,
        "seed": seed,
        "precision": compute.precision,
        "versions": {
            "diffunet": __version__,
            "torch": str(torch.__version__),
            "numpy": np.__version__,
        },
    }
    return json.loads(json.dumps(settings))


def begin_part(
    cases: Sequence[CaseFiles],
    output: OutputFolder,
    *,
    is_continued: bool,
    num_parts: int,
    part_id: int,
) -> list[CaseFiles]:
    """Make the output folder ready, and return the cases that this part is to predict, sorted.

    Raises:
        UsageError: there is no such part, the output lies in the input or holds something else,
            files of two cases would have one name, or whole cases that are to be kept were made
            with other settings.
    """
    if not 0 <= part_id < num_parts:
        raise UsageError(f"part_id should be from 0 to {num_parts - 1}, got {part_id}")
    check_output_folder(cases, output.folder)
    output.check_names([files.case for files in cases])
    part = sorted(cases, key=lambda files: files.case)[part_id::num_parts]
    whole = output.whole_cases(part) if is_continued else set()
    part = [files for files in part if files.case not in whole]
    output.begin(is_alone=num_parts == 1)
    output.require_writable([files.case for files in part])
    output.clear([files.case for files in part])
    return part


@contextlib.contextmanager
def _ticking(progress: Progress | None, total: int) -> Iterator[OnStep | None]:
    """Yield a function that moves a progress bar on by a number of steps."""
    if progress is None:
        yield None
        return
    ticks = iter(progress(itertools.repeat(None, total), total, "sampling"))

    def move(num_steps: int) -> None:
        for _ in range(num_steps):
            next(ticks, None)

    yield move
    for _ in ticks:  # a bar closes when it is asked for more than there is
        pass
