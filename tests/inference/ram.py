"""Memory of a whole prediction of one volume: python -m tests.inference.ram 400 512 512.

A network of one convolution, two steps, tiles side by side, 16 samples of three labels with all
outputs. With --spacing_mm the planned voxels have another size than those of the file (1 mm).
Prints two lines: resident bytes before the prediction began, and at its peak.
"""

import argparse
import resource
import sys
import tempfile
from pathlib import Path

import numpy as np
import torch

from diffunet.data.image_io import ImageGeometry, write_label_map
from diffunet.inference.compute import Compute
from diffunet.inference.model import TrainedModel
from diffunet.labels import LabelScheme
from tests.inference.driving import predict_into
from tests.inference.fakes import SmoothingNetwork, denoiser_of
from tests.inference.models import dataset_content, small_configuration, small_plans

FULL_SIZE = 400 * 512 * 512


def peak_bytes() -> int:
    """Return the largest resident size of this process so far."""
    return 1024 * resource.getrusage(resource.RUSAGE_SELF).ru_maxrss


LABELS = {"background": 0, "liver": 1, "tumour": 2, "vessel": 3}


def model_of(num_voxels: int, *, spacing_mm: float) -> tuple[TrainedModel, Compute]:
    """Return a model with a memory budget that is that of a full-size volume, scaled."""
    content = dataset_content(file_ending=".nii.gz", labels=LABELS)
    configuration = small_configuration(3, patch=96, spacing_mm=(spacing_mm,) * 3)
    plans = small_plans(configuration, transpose_forward=(0, 1, 2))
    model = TrainedModel(
        folder=Path(),
        plans=plans,
        dataset_content=content,
        labels=LabelScheme.from_dataset_json(content),
        folds=("0",),
        checkpoint="final",
        networks=(denoiser_of(SmoothingNetwork(3, len(LABELS), kernel_size=1)),),
    )
    default = Compute(device=torch.device("cpu"))
    scale = num_voxels / FULL_SIZE
    compute = Compute(
        device=default.device,
        state_gib=scale * default.state_gib,
        feature_gib=scale * default.feature_gib,
    )
    return model, compute


def main(shape: tuple[int, ...], *, spacing_mm: float) -> None:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "images" / "scan_0000.nii.gz"
        geometry = ImageGeometry(
            shape=shape,
            spacing_mm=(1.0, 1.0, 1.0),
            origin=(0.0, 0.0, 0.0),
            direction=tuple(np.eye(3).ravel().tolist()),
        )
        image = np.broadcast_to(
            (np.arange(shape[0]) % 250 + 1).astype(np.uint16)[:, None, None], shape
        )
        write_label_map(path, image, geometry)
        model, compute = model_of(image.size, spacing_mm=spacing_mm)
        del image
        before = peak_bytes()
        predict_into(
            model,
            path.parent,
            Path(folder) / "out",
            compute=compute,
            num_samples=16,
            num_steps=2,
            tile_step_size=1.0,
            saves_probabilities=True,
            saves_samples=True,
        )
        sys.stdout.write(f"{before}\n{peak_bytes()}\n")


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("shape", type=int, nargs=3)
    parser.add_argument("--spacing_mm", type=float, default=1.0)
    given = parser.parse_args()
    main(tuple(given.shape), spacing_mm=given.spacing_mm)
