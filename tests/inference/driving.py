"""Prediction of files with a model, as the command does it."""

from pathlib import Path
from typing import Any

import torch

from diffunet.data.raw.input_cases import find_input_cases
from diffunet.inference.compute import Compute
from diffunet.inference.model import TrainedModel
from diffunet.inference.options import FolderRun, PredictionOptions
from diffunet.inference.run import predict_file, predict_folder
from diffunet.methods import METHODS
from diffunet.parallel import Progress, without_progress
from diffunet.parts import Part

CPU = Compute(device=torch.device("cpu"))


def predict_into(
    model: TrainedModel,
    images: Path,
    output: Path,
    *,
    compute: Compute = CPU,
    continues: bool = False,
    num_parts: int = 1,
    part_id: int = 0,
    progress: Progress = without_progress,
    **options: Any,
) -> Path:
    """Predict a folder, or one file, into a folder."""
    predictor = METHODS[model.method].make_predictor(
        model, compute=compute, options=PredictionOptions(**options)
    )
    return predict_folder(
        predictor,
        model,
        find_input_cases(images, model.file_ending, model.num_channels),
        output_folder=output,
        run=FolderRun(continues=continues, part=Part(num_parts=num_parts, part_id=part_id)),
        progress=progress,
    )


def predict_one(
    model: TrainedModel, image: Path, output: Path, *, compute: Compute = CPU, **options: Any
) -> None:
    """Predict one file into one file."""
    predictor = METHODS[model.method].make_predictor(
        model, compute=compute, options=PredictionOptions(**options)
    )
    (files,) = find_input_cases(image, model.file_ending, model.num_channels)
    predict_file(predictor, model, files, output_file=output)
