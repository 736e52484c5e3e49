"""Prediction of files with a trained model, of whichever kind it is."""

from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from diffunet.errors import UsageError
from diffunet.locks import in_use
from diffunet.plans import SaliencyMethod

if TYPE_CHECKING:
    from diffunet.data.case_files import CaseFiles
    from diffunet.inference.compute import Compute
    from diffunet.inference.model import TrainedModel
    from diffunet.inference.predict import OutputOptions


def _alone_in(
    output: Path, cases: "Sequence[CaseFiles]", run: Mapping[str, Any]
) -> AbstractContextManager[None]:
    """Let nothing else predict into a folder meanwhile but the other parts of the same division."""
    from diffunet.inference.place import check_output_folder

    check_output_folder(cases, output)  # before a lock lies in it
    num_parts = run["num_parts"]
    if num_parts == 1:
        return in_use(output)
    of_division = f"_of_{num_parts}"
    return in_use(
        output,
        part=f"part_{run['part_id']}{of_division}",
        goes_with=lambda part: part.endswith(of_division),
    )


def _alone_at(output_file: Path) -> AbstractContextManager[None]:
    """Let nothing else predict into a file meanwhile, nor into the folder that it lies in."""
    return in_use(output_file.parent, part=output_file.name, goes_with=bool)


def predict_by_samples(
    trained: "TrainedModel",
    compute: "Compute",
    *,
    input: Path,
    output: Path,
    sampling: Mapping[str, Any],
    options: "OutputOptions",
    run: Mapping[str, Any],
) -> None:
    """Predict with a model that draws samples, or with a supervised one."""
    from diffunet.data.dataset import find_input_cases
    from diffunet.inference.place import is_output_file
    from diffunet.inference.predict import predict_cases, predict_file
    from diffunet.inference.predictor import Predictor

    is_file = is_output_file(input, output, file_ending=trained.file_ending)
    predictor = Predictor(trained, compute=compute)
    cases = find_input_cases(input, trained.file_ending, trained.num_channels)
    plan = predictor.sampling(**sampling)
    if not is_file:
        with _alone_in(output, cases, run):
            predict_cases(
                predictor, cases, output_folder=output, sampling=plan, options=options, **run
            )
        return
    if options.has_samples or options.has_probabilities:
        raise UsageError(
            f"-o '{output}' is a file and takes the consensus alone; give a folder to save "
            "samples or probabilities"
        )
    with _alone_at(output):
        predict_file(
            predictor,
            cases[0],
            output_file=output,
            sampling=plan,
            seed=run["seed"],
            progress=run["progress"],
        )


def predict_by_saliency(
    trained: "TrainedModel",
    compute: "Compute",
    *,
    input: Path,
    output: Path,
    saliency: SaliencyMethod | None,
    image_labels: Path | None,
    run: Mapping[str, Any],
) -> None:
    """Predict with a model that was trained from image-level labels."""
    from diffunet.data.dataset import find_input_cases
    from diffunet.inference.place import is_output_file
    from diffunet.wsss.predict import predict_weak_cases, predict_weak_file
    from diffunet.wsss.predictor import WeakPredictor

    is_file = is_output_file(input, output, file_ending=trained.file_ending)
    predictor = WeakPredictor(trained, compute=compute)
    chosen = predictor.saliency_method(saliency)
    cases = find_input_cases(input, trained.file_ending, trained.num_channels)
    what = {"saliency": chosen, "image_labels": image_labels}
    if is_file:
        with _alone_at(output):
            predict_weak_file(predictor, cases[0], output_file=output, seed=run["seed"], **what)
    else:
        with _alone_in(output, cases, run):
            predict_weak_cases(predictor, cases, output_folder=output, **what, **run)
