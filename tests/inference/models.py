"""Small trained-model folders, as training leaves them, with random weights."""

from collections.abc import Sequence
from pathlib import Path

import torch

from diffunet.checkpoint import save_checkpoint
from diffunet.jsonio import write_json
from diffunet.labels import LabelScheme
from diffunet.methods import METHODS
from diffunet.plans import (
    AugmentationPlan,
    ConfigurationPlan,
    CropPlan,
    DiffusionPlan,
    NetworkPlan,
    NormalizationPlan,
    PreprocessingPlan,
    ResolvedPlans,
    SamplingPlan,
    TrainingPlan,
)


def small_configuration(
    dimensions: int = 2,
    *,
    spacing_mm: tuple[float, ...] | None = None,
    num_channels: int = 1,
    patch: int = 16,
    conditioning: str = "encoded",
    **sampling: object,
) -> ConfigurationPlan:
    ones, twos = (1,) * dimensions, (2,) * dimensions
    return ConfigurationPlan(
        dimensions=dimensions,
        data_identifier="small",
        median_shape=(patch,) * dimensions,
        patch_size=(patch,) * dimensions,
        preprocessing=PreprocessingPlan(
            spacing_mm=spacing_mm or (1.0,) * dimensions,
            normalization=(NormalizationPlan(),) * num_channels,
        ),
        crop=CropPlan(),
        augmentation=AugmentationPlan(mirror_axes=tuple(range(dimensions))),
        network=NetworkPlan(
            conditioning=conditioning,
            channels=(8, 16),
            strides=(ones, twos),
            kernel_sizes=((3,) * dimensions,) * 2,
            num_blocks=(1, 1),
            num_decoder_blocks=(1, 1),
            num_middle_blocks=1,
            has_attention=(False, False),
            image_channels=(8, 16) if conditioning == "encoded" else (),
            num_image_blocks=(1, 1) if conditioning == "encoded" else (),
        ),
        diffusion=DiffusionPlan(),
        sampling=SamplingPlan(**{"num_steps": 2, "num_samples": 3, **sampling}),
        training=TrainingPlan(),
    )


def small_plans(
    configuration: ConfigurationPlan,
    *,
    method: str = "diffusion",
    transpose_forward: tuple[int, ...] = (0, 1),
) -> ResolvedPlans:
    return ResolvedPlans(
        dataset_name="Dataset999_Small",
        method=method,
        plans_name="diffunet_plans",
        configuration_name="small",
        transpose_forward=transpose_forward,
        configuration=configuration,
    )


def dataset_content(
    *, file_ending: str = ".png", num_channels: int = 1, labels: dict | None = None
) -> dict:
    return {
        "channel_names": {str(index): f"channel {index}" for index in range(num_channels)},
        "labels": labels or {"background": 0, "nodule": 1},
        "numTraining": 1,
        "file_ending": file_ending,
    }


def write_model(
    folder: Path,
    plans: ResolvedPlans,
    *,
    content: dict,
    folds: Sequence[str] = ("0",),
    checkpoint: str = "final",
) -> Path:
    write_json(folder / "dataset.json", content)
    labels = LabelScheme.from_dataset_json(content)
    configuration = plans.configuration
    for fold in folds:
        network = METHODS[plans.method].build_model(
            configuration,
            num_image_channels=len(configuration.preprocessing.normalization),
            labels=labels,
        )
        generator = torch.Generator().manual_seed(len(fold) + ord(fold[0]))
        for parameter in network.parameters():
            torch.nn.init.normal_(parameter, std=0.2, generator=generator)
        path = folder / f"fold_{fold}"
        plans.save(path / "plans.resolved.json")
        save_checkpoint(path / f"checkpoint_{checkpoint}.pth", {"weights": network.state_dict()})
    return folder
