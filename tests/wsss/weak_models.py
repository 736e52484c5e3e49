"""Small weakly supervised models that are understood: what they show is known by their images.

Label 0 is what is bright, label 1 what is dark; intensities are not normalised.
"""

import dataclasses
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from diffunet.api.weak_predictor import WeakPredictor
from diffunet.checkpoint import save_checkpoint
from diffunet.data.image_io import ImageGeometry, write_label_map, write_signed_map
from diffunet.diffusion.denoiser import Denoiser
from diffunet.diffusion.image_model import ImageModel
from diffunet.diffusion.predictions import PREDICTIONS
from diffunet.diffusion.process import ScaledSchedule
from diffunet.diffusion.schedules import SCHEDULES
from diffunet.inference.compute import Compute
from diffunet.inference.model import TrainedModel
from diffunet.jsonio import write_json
from diffunet.labels import LabelScheme
from diffunet.methods import METHODS
from diffunet.plans import (
    CamPlan,
    ConfigurationPlan,
    EncodingPlan,
    MaskPlan,
    NormalizationPlan,
    ResolvedPlans,
    TrajectoryPlan,
    WeakPlan,
)
from diffunet.workspace import VALIDATION_SUMMARY
from tests.inference.models import dataset_content, small_configuration, small_plans

ONE_LABEL = {"background": 0, "bright": 1}
TWO_LABELS = {"background": 0, "bright": 1, "dark lesion": 2}
LEVEL = 0.5
"""Intensity beyond which (below its negative: for label 1) the classifier sees a label."""

NOT_NORMALIZED = NormalizationPlan(scheme="none")


class TagNetwork(nn.Module):
    """Predicts x_0: half of x_t, and brighter: bright voxels by label 0, dark ones by label 1.

    Args:
        gain: of what a label adds.
        interaction: what label 0 adds to the gain of label 1.
        is_skewed: the gain rises to the lower right, so that mirrored images have other maps.
    """

    def __init__(self, gain: float = 0.1, interaction: float = 0.0, *, is_skewed: bool = False):
        super().__init__()
        self.gain, self.interaction, self.is_skewed = gain, interaction, is_skewed

    def encode_image(self, image: Tensor) -> tuple[Tensor, ...]:
        return ()

    def embed_labels(self, tags: Tensor) -> Tensor:
        return tags

    def forward(self, x_t: Tensor, t: Tensor, features=None, condition=None) -> Tensor:
        tags = condition.view(*condition.shape, *(1 for _ in x_t.shape[2:]))
        bright, dark = tags[:, :1], tags[:, 1:2].sum(dim=1, keepdim=True)
        dark = dark * (1 + self.interaction * bright)
        gain = self.gain * _skew(x_t) if self.is_skewed else self.gain
        return 0.5 * x_t + gain * (bright * x_t.relu() + dark * (-x_t).relu())


def _skew(x_t: Tensor) -> Tensor:
    rows, columns = (torch.linspace(0, 1, size) for size in x_t.shape[-2:])
    return rows[:, None] + 2 * columns


class LevelClassifier(nn.Module):
    """A label is present where the most extreme voxel is beyond LEVEL; logits are 10 per unit."""

    def __init__(self, num_labels: int, shift: float = 0.0):
        super().__init__()
        self.num_labels, self.shift = num_labels, shift
        self.batch_sizes: list[int] = []
        self.times: list[Tensor | None] = []

    def forward(self, image: Tensor, t: Tensor | None = None) -> Tensor:
        self.batch_sizes.append(len(image))
        self.times.append(t)
        flat = image.flatten(1)
        extremes = torch.stack([flat.amax(dim=1), -flat.amin(dim=1)], dim=1)
        return 10 * (extremes[:, : self.num_labels] - LEVEL) + self.shift


def image_model(
    num_labels: int = 1,
    *,
    gain: float = 0.1,
    interaction: float = 0.0,
    shift: float = 0.0,
    is_skewed: bool = False,
) -> ImageModel:
    schedule = ScaledSchedule(SCHEDULES["cosine"](), input_scale=1.0, log_snr_limit=20.0)
    network = TagNetwork(gain, interaction, is_skewed=is_skewed)
    denoiser = Denoiser(network, schedule=schedule, prediction=PREDICTIONS["x_0"])
    return ImageModel(denoiser, LevelClassifier(num_labels, shift)).eval()


def weak_configuration(
    *,
    num_channels: int = 1,
    spacing_mm: tuple[float, float] = (1.0, 1.0),
    normalization: NormalizationPlan = NOT_NORMALIZED,
    **weak: object,
) -> ConfigurationPlan:
    base = small_configuration(spacing_mm=spacing_mm, num_channels=num_channels)
    network = dataclasses.replace(base.network, image_channels=(), num_image_blocks=())
    short = {"log_snr": 8.0, "num_steps": 2, "num_draws": 2}
    plan = WeakPlan(
        **{
            "network": network,
            "cdm": TrajectoryPlan(**short),
            "cg_cdm": TrajectoryPlan(**short, guidance_scale=0.01),
            "cg_diff": EncodingPlan(num_steps=2),
            "cam": CamPlan(is_smoothed=False),
            "default_saliency": "cdm",
            "is_mirrored": False,
            "masks": {"cdm": MaskPlan(smoothing_voxels=0.0)},
            **weak,
        }
    )
    preprocessing = dataclasses.replace(
        base.preprocessing, normalization=(normalization,) * num_channels
    )
    return dataclasses.replace(base, preprocessing=preprocessing, weak=plan)


def weak_plans(
    configuration: ConfigurationPlan, *, method: str = "cdm", dimensions: int = 2
) -> ResolvedPlans:
    axes = tuple(range(dimensions))
    return small_plans(configuration, method=method, transpose_forward=axes)


def known_model(
    configuration: ConfigurationPlan,
    *,
    labels: dict | None = None,
    file_ending: str = ".png",
    dimensions: int = 2,
    networks: tuple[nn.Module, ...] | None = None,
) -> TrainedModel:
    """Return a model of "cdm" that sees what is bright and what is dark."""
    content = dataset_content(file_ending=file_ending, labels=labels or ONE_LABEL)
    scheme = LabelScheme.from_dataset_json(content)
    return TrainedModel(
        folder=Path("known"),
        plans=weak_plans(configuration, dimensions=dimensions),
        dataset_content=content,
        labels=scheme,
        folds=("0",),
        checkpoint="final",
        networks=networks or (image_model(len(scheme.names)),),
    )


def known_predictor(
    configuration: ConfigurationPlan | None = None, *, batch_voxels: int | None = None, **model
) -> WeakPredictor:
    compute = Compute(device=torch.device("cpu"), batch_voxels=batch_voxels)
    return WeakPredictor(
        known_model(configuration or weak_configuration(), **model), compute=compute
    )


def write_weak_model(
    folder: Path,
    *,
    method: str,
    labels: dict | None = None,
    folds: tuple[str, ...] = ("0",),
    **weak,
) -> Path:
    """Write a model folder with random weights, as training leaves it."""
    content = dataset_content(labels=labels or ONE_LABEL)
    write_json(folder / "dataset.json", content)
    plans = weak_plans(weak_configuration(**weak), method=method)
    scheme = LabelScheme.from_dataset_json(content)
    for fold in folds:
        network = METHODS[method].build_model(
            plans.configuration, num_image_channels=1, labels=scheme
        )
        generator = torch.Generator().manual_seed(ord(fold[0]))
        for parameter in network.parameters():
            torch.nn.init.normal_(parameter, std=0.2, generator=generator)
        path = folder / f"fold_{fold}"
        plans.save(path / "plans.resolved.json")
        save_checkpoint(path / "checkpoint_final.pth", {"weights": network.state_dict()})
        write_json(path / VALIDATION_SUMMARY, {})
    return folder


def blob(shape: tuple[int, ...], *slices: slice, value: float = 1.0) -> np.ndarray:
    """Return zeros (*shape) with one box of `value`."""
    image = np.zeros(shape, np.float32)
    image[slices] = value
    return image


def write_pictures(folder: Path, cases: dict[str, np.ndarray]) -> Path:
    """Write one-channel pictures of integers (y, x)."""
    for case, image in cases.items():
        geometry = ImageGeometry(shape=image.shape, spacing_mm=(1.0, 1.0), has_spacing=False)
        write_label_map(folder / f"{case}_0000.png", image, geometry)
    return folder


def write_volume(path: Path, image: np.ndarray, spacing_mm: tuple[float, ...]) -> None:
    geometry = ImageGeometry(shape=image.shape, spacing_mm=spacing_mm)
    write_signed_map(path, image, geometry)
