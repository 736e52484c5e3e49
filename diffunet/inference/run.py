"""The one driver of prediction: read, prepare, predict, write; for a folder, a file or an array.

One case comes after the other, each whole or absent, so that a run can be continued. What is
predicted, and how it is written, is the predictor's (`diffunet.inference.case_predictor`).
"""

import json
import logging
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch

from diffunet import __version__
from diffunet.data.image_io import write_label_map
from diffunet.data.raw.case_files import CaseFiles
from diffunet.data.raw.input_cases import find_input_cases
from diffunet.errors import DatasetError, UsageError
from diffunet.inference.beside import WritingBeside
from diffunet.inference.case_predictor import CasePredictor, OnStep, Result
from diffunet.inference.compute import Compute
from diffunet.inference.model import TrainedModel, data_of_fold
from diffunet.inference.options import ONE_FILE, FolderRun, PredictionOptions
from diffunet.inference.output import OutputFolder
from diffunet.inference.place import check_output_file, check_output_folder, is_output_file
from diffunet.inference.prepared import read_case
from diffunet.inference.problems import kept_problems
from diffunet.inference.ticking import ticking
from diffunet.jsonio import require_writable
from diffunet.locks import in_use
from diffunet.methods import METHODS
from diffunet.parallel import Progress, without_progress
from diffunet.workspace import IMAGES_FOLDER

logger = logging.getLogger(__name__)


def predict_path(
    model: TrainedModel,
    *,
    input: Path,
    output: Path,
    compute: Compute,
    options: PredictionOptions,
    run: FolderRun,
    progress: Progress = without_progress,
) -> None:
    """Predict what a path names, a folder or one image, into a folder or a file.

    Raises:
        UsageError: options, model, input and output do not fit together.
        DatasetError: there are no images, or all that is wrong with those not predicted.
        InUseError: another command predicts into the folder.
        WriteError: the output cannot be written.
    """
    is_file = is_output_file(input, output, file_ending=model.file_ending)
    predictor = METHODS[model.method].make_predictor(model, compute=compute, options=options)
    cases = find_input_cases(input, model.file_ending, model.num_channels)
    _warn_of_known_cases(model, cases, input=input)
    if is_file:
        with _alone_at(output):
            predict_file(predictor, model, cases[0], output_file=output, progress=progress)
        return
    with _alone_in(output, cases, run):
        predict_folder(predictor, model, cases, output_folder=output, run=run, progress=progress)


def _warn_of_known_cases(model: TrainedModel, cases: Sequence[CaseFiles], *, input: Path) -> None:
    """Warn of the images that the model was trained with, by the names of folder and cases."""
    if IMAGES_FOLDER not in (input.name, input.parent.name):
        return
    data = {
        name: set(data_of_fold(model.folder, name, checkpoint=model.checkpoint))
        for name in model.folds
    }
    known = [files.case for files in cases if any(files.case in names for names in data.values())]
    if known:
        logger.warning(
            "%d of %d cases, such as '%s', have the names of cases that the model was trained or "
            "validated with: if they are these, scores on them say nothing about new images; the "
            "folder validation of each fold has predictions of cases that it has not learned from",
            *(len(known), len(cases), known[0]),
        )


def predict_folder(
    predictor: CasePredictor[Any],
    model: TrainedModel,
    cases: Sequence[CaseFiles],
    *,
    output_folder: Path,
    run: FolderRun,
    progress: Progress = without_progress,
) -> Path:
    """Predict cases into a folder, and return the path of its `predictions.json`.

    If a case cannot be read, the others are predicted all the same.

    Args:
        cases: of all parts of a division.
        progress: wraps (items, total, description); an item is a step of a case.

    Raises:
        UsageError: there is no such part, the output lies in the input or holds other files, files
            of two cases would share a name, or finished cases to be kept were made with other
            settings.
        DatasetError: all that is wrong with the cases that could not be predicted, at the end.
    """
    predictor.begin(model, cases)
    settings = settings_of(predictor, model)
    output = OutputFolder(
        output_folder,
        model=model,
        settings=settings,
        stacks_samples=predictor.options.saves_samples == ONE_FILE,
    )
    part = _begin(cases, output, run=run)
    logger.info("predicting %d of %d cases %s", len(part), len(cases), _how(settings))
    problems: list[str] = []
    written: list[str] = []

    def end_case(case: str, finish: Callable[[], None]) -> None:
        with kept_problems(problems, case=case):
            finish()
            written.append(case)

    with (
        _ticking(predictor, settings, progress, num_cases=len(part)) as on_step,
        WritingBeside() as beside,
    ):
        for files in part:
            with kept_problems(problems, case=files.case):
                finish = _predict_case(
                    predictor, model, files, output=output, on_step=on_step, beside=beside
                )
                beside(partial(end_case, files.case, finish))
                del finish  # with all that it will write
    predictor.finish(cases, run=run, output=output)
    path = output.gather()
    predictor.draw(cases, run=run, output=output)
    saved = ", samples" if predictor.options.saves_samples else ""
    logger.info(
        "wrote %d of %d cases to '%s': masks, maps%s and %s, %s",
        *(len(written), len(part), output_folder, saved, path.name, _how(settings)),
    )
    if problems:
        raise DatasetError(problems)
    return path


def predict_file(
    predictor: CasePredictor[Any],
    model: TrainedModel,
    files: CaseFiles,
    *,
    output_file: Path,
    progress: Progress = without_progress,
) -> None:
    """Predict one case, and write its label map alone.

    Raises:
        UsageError: `output_file` is one of the input files, or there already; or samples or
            probabilities are to be saved.
        DatasetError: the case cannot be read or does not fit the model.
        WriteError: `output_file` cannot be written.
    """
    if predictor.options.saves_samples or predictor.options.saves_probabilities:
        raise UsageError(
            f"-o '{output_file}' is a file and takes the consensus alone; give a folder to save "
            "samples or probabilities"
        )
    check_output_file(files, output_file)
    require_writable(output_file)
    predictor.begin(model, [files])
    settings = settings_of(predictor, model)
    logger.info("predicting one image %s", _how(settings))
    prepared, geometry = read_case(files, model=model)
    with _ticking(predictor, settings, progress, num_cases=1) as on_step:
        result = predictor.predict(prepared, on_step=on_step)
    write_label_map(output_file, predictor.label_map(result), geometry)
    logger.info("wrote '%s'", output_file)


def settings_of(predictor: CasePredictor[Any], model: TrainedModel) -> dict[str, Any]:
    """Return all settings that decide about the output, as plain JSON values."""
    settings = {
        "dataset": model.plans.dataset_name,
        "method": model.method,
        "plans": model.plans.plans_name,
        "configuration": model.plans.configuration_name,
        "folds": model.folds,
        "checkpoint": model.checkpoint,
        "weights": model.weights,
        **predictor.settings(),
        "seed": predictor.options.seed,
        "precision": predictor.compute.precision,
        "versions": {
            "diffunet": __version__,
            "torch": str(torch.__version__),
            "numpy": np.__version__,
        },
    }
    return json.loads(json.dumps(settings))


def _how(settings: Mapping[str, Any]) -> str:
    """Return in words which weights answer, and what they are asked for."""
    if "saliency" in settings:
        answer = f"masks from {settings['saliency']}"
    elif "num_samples" in METHODS[settings["method"]].options:
        sampling = settings["sampling"]
        answer = (
            f"{sampling['num_samples']} samples each, {sampling['num_steps']} steps of "
            f"{sampling['sampler']}"
        )
        if "rater" in settings:
            answer += f", as {settings['rater']}"
        if "rel_area" in settings:
            answer += f", those of at most {settings['rel_area']:g} of the largest area emptied"
    else:
        answer = "one answer each"
    return (
        f"with {settings['method']} {settings['plans']} {settings['configuration']}, fold "
        f"{', '.join(settings['folds'])} ({settings['checkpoint']} weights, seed "
        f"{settings['seed']}): {answer}"
    )


def _predict_case(
    predictor: CasePredictor[Result],
    model: TrainedModel,
    files: CaseFiles,
    *,
    output: OutputFolder,
    on_step: OnStep | None,
    beside: WritingBeside,
) -> Callable[[], None]:
    """Predict a case, and return what writes its maps and its record; samples are on their way."""
    output.begin_case(files)
    image, geometry = read_case(files, model=model)
    prepared = [image]
    del image

    def write_sample(sample: int, masks: np.ndarray) -> None:
        beside(partial(output.write_sample, files.case, sample, masks, geometry))

    result = predictor.predict(
        prepared.pop(),  # given away: its memory is needed
        on_step=on_step,
        on_sample=write_sample if predictor.options.saves_samples else None,
    )

    def finish() -> None:
        content = predictor.write(result, case=files.case, geometry=geometry, output=output)
        output.write_record(files.case, content, geometry)

    return finish


def _begin(cases: Sequence[CaseFiles], output: OutputFolder, *, run: FolderRun) -> list[CaseFiles]:
    """Prepare the output folder, and return the cases that this part predicts, sorted."""
    check_output_folder(cases, output.folder)
    output.check_names([files.case for files in cases])
    part = run.part.of(sorted(cases, key=lambda files: files.case))
    whole = output.whole_cases(part) if run.continues else set()
    part = [files for files in part if files.case not in whole]
    output.begin(is_alone=run.part.is_all)
    output.require_writable([files.case for files in part])
    output.clear([files.case for files in part])
    return part


def _alone_in(
    output: Path, cases: Sequence[CaseFiles], run: FolderRun
) -> AbstractContextManager[None]:
    """Hold a folder: meanwhile only other parts of the same division may predict into it."""
    check_output_folder(cases, output)  # before a lock lies in it
    return run.part.holding(output)


def _alone_at(output_file: Path) -> AbstractContextManager[None]:
    """Hold a file: meanwhile nothing else may predict into it or into its folder."""
    return in_use(output_file.parent, part=output_file.name, goes_with=bool)


def _advice(settings: Mapping[str, Any], *, num_cases: int) -> str:
    """Return what is to be said after how long a prediction takes: how it would be shorter."""
    alike = ", if the images are as large as those so far" if num_cases > 1 else ""
    if "num_samples" not in METHODS[settings["method"]].options:
        return alike
    sampling = settings["sampling"]
    return (
        f"{alike}; {sampling['num_samples']} samples of {sampling['num_steps']} steps are drawn, "
        "and half of either (--num_samples, --num_steps) takes half the time"
    )


def _ticking(
    predictor: CasePredictor[Any],
    settings: Mapping[str, Any],
    progress: Progress,
    *,
    num_cases: int,
) -> AbstractContextManager[OnStep]:
    return ticking(
        progress,
        predictor.num_steps * num_cases,
        "predicting",
        what="the prediction",
        device=predictor.compute.device,
        advice=_advice(settings, num_cases=num_cases),
    )
