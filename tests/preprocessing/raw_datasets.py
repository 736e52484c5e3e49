"""Tiny raw datasets and plans for them."""

import json
from pathlib import Path

import numpy as np

from diffunet.data.image_io import ImageGeometry, write_label_map
from diffunet.plans import (
    AugmentationPlan,
    ConfigurationPlan,
    CropPlan,
    DiffusionPlan,
    NetworkPlan,
    NormalizationPlan,
    Plans,
    PreprocessingPlan,
    SamplingPlan,
    TrainingPlan,
)


def configuration(
    *,
    patch_size=(8, 8),
    spacing_mm=(1.0, 1.0),
    num_channels=1,
    scheme="zscore",
    data_identifier="plans_2d",
    uses_mask=False,
):
    dimensions = len(patch_size)
    network = NetworkPlan(
        channels=(4,),
        strides=((1,) * dimensions,),
        kernel_sizes=((3,) * dimensions,),
        num_blocks=(1,),
        num_decoder_blocks=(1,),
        has_attention=(False,),
        image_channels=(4,),
        num_image_blocks=(1,),
    )
    rule = NormalizationPlan(scheme=scheme, uses_mask=uses_mask)
    return ConfigurationPlan(
        dimensions=dimensions,
        data_identifier=data_identifier,
        median_shape=tuple(patch_size),
        patch_size=tuple(patch_size),
        preprocessing=PreprocessingPlan(
            spacing_mm=tuple(spacing_mm), normalization=(rule,) * num_channels
        ),
        crop=CropPlan(),
        augmentation=AugmentationPlan(),
        network=network,
        diffusion=DiffusionPlan(),
        sampling=SamplingPlan(),
        training=TrainingPlan(),
    )


def plans(configurations, *, transpose_forward=(0, 1)):
    return Plans(
        dataset_name="Dataset001_Test",
        method="diffusion",
        recommended_configuration=next(iter(configurations)),
        transpose_forward=tuple(transpose_forward),
        configurations=configurations,
    )


def write_pictures(folder: Path, num_cases: int, *, image_labels: bool = False) -> Path:
    """Write a dataset of 2D pictures with two raters each, or with tags."""
    generator = np.random.default_rng(0)
    for index in range(num_cases):
        image = generator.integers(0, 256, size=(10, 12)).astype(np.uint8)
        geometry = ImageGeometry(shape=image.shape, spacing_mm=(1.0, 1.0))
        write_label_map(folder / "imagesTr" / f"case{index:03d}_0000.png", image, geometry)
        for rater in range(1 if image_labels else 2):
            mask = (generator.random(image.shape) < 0.1 * rater).astype(np.uint8)
            suffix = "" if image_labels else f"_r{rater:02d}"
            write_label_map(folder / "labelsTr" / f"case{index:03d}{suffix}.png", mask, geometry)
    content = {
        "channel_names": {"0": "grey"},
        "labels": {"background": 0, "spot": 1},
        "numTraining": num_cases,
        "file_ending": ".png",
    }
    if image_labels:
        content["image_labels"] = "image_labels.csv"
        rows = [f"case{index:03d},{index % 2}" for index in range(num_cases)]
        (folder / "image_labels.csv").write_text("\n".join(["case,spot", *rows]) + "\n")
    else:
        content["raters"] = True
    (folder / "dataset.json").write_text(json.dumps(content))
    return folder


def write_volumes(folder: Path, num_cases: int, *, image_labels: bool = False) -> Path:
    """Write a dataset of volumes (z, y, x) with a black frame and spacing (3, 1, 1.5) mm."""
    generator = np.random.default_rng(0)
    geometry = ImageGeometry(
        shape=(7, 14, 12),
        spacing_mm=(3.0, 1.0, 1.5),
        origin=(0.0, 0.0, 0.0),
        direction=(1.0, 0.0, 0.0, 0.0, 1.0, 0.0, 0.0, 0.0, 1.0),
    )
    for index in range(num_cases):
        image = np.zeros(geometry.shape, np.int16)
        image[1:-1, 2:-1, 1:-2] = generator.integers(1, 3000, size=(5, 11, 9))
        mask = np.zeros(geometry.shape, np.uint8)
        mask[2:5, 4:9, 3:8] = 1
        mask[3:5, 5:9, 4:6] = 2
        write_label_map(folder / "imagesTr" / f"v{index}_0000.nii.gz", image.astype("u2"), geometry)
        write_label_map(folder / "labelsTr" / f"v{index}.nii.gz", mask, geometry)
    content = {
        "channel_names": {"0": "MRI"},
        "labels": {"background": 0, "shell": 1, "core": 2},
        "numTraining": num_cases,
        "file_ending": ".nii.gz",
    }
    if image_labels:
        content["image_labels"] = "image_labels.csv"
        rows = [
            f"v{index},{z},{int(2 <= z < 5)},{int(3 <= z < 5)}"
            for index in range(num_cases)
            for z in range(1, 6)
        ]
        (folder / "image_labels.csv").write_text("\n".join(["case,slice,shell,core", *rows]) + "\n")
    (folder / "dataset.json").write_text(json.dumps(content))
    return folder


def no_progress(items, total, description):
    return iter(items)
