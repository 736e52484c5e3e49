"""Preprocessed folders in miniature, and plans to train on them in seconds."""

import dataclasses
from pathlib import Path
from typing import Any

import numpy as np

from diffunet.data.store.case import CaseProperties, IntensityNormalization
from diffunet.data.store.case_store import Manifest
from diffunet.data.store.shards import PackedArray, PackedCase, write_shard
from diffunet.geometry import Box
from diffunet.jsonio import write_json
from diffunet.plans import (
    AugmentationPlan,
    ConfigurationPlan,
    CropPlan,
    DiffusionPlan,
    NetworkPlan,
    NormalizationPlan,
    Plans,
    PreprocessingPlan,
    ResolvedPlans,
    SamplingPlan,
    TrainingPlan,
)
from diffunet.randomness import numpy_generator
from diffunet.training.fold import FoldOptions

SIZE = 16
RATERS = ("r00", "r01")


def write_preprocessed(
    folder: Path,
    *,
    num_cases: int = 10,
    num_held: int = 4,
    num_raters: int = 2,
    shifted_case: int | None = None,
) -> Path:
    """Write discs, bright on noise; the second rater sees a smaller one, or none in every third.

    Args:
        shifted_case: number of a case whose masks lie one pixel beside the disc.
    """
    raters = RATERS[:num_raters]
    packed: dict[str, dict[str, PackedCase]] = {"images": {}, "labels": {}}
    for number in range(num_cases):
        case = f"case_{number:02}"
        image, labels = _disc(number)
        properties = json_of(_properties(case, raters=raters, patient=f"p{number // 2}"))
        labels = np.roll(labels[:num_raters], int(number == shifted_case), axis=-1)
        rows = np.argwhere(labels.any(axis=0))
        locations = np.concatenate([np.zeros((len(rows), 1)), rows], axis=1).astype(np.int32)
        arrays = {
            "images": {"image": image},
            "labels": {"labels": labels, "locations": locations},
        }
        for store, content in arrays.items():
            packed[store][case] = PackedCase(
                source="test",
                properties=properties,
                arrays={
                    name: PackedArray.pack(array, is_picture=False)
                    for name, array in content.items()
                },
            )
    for store, cases in packed.items():
        (folder / "2d" / store).mkdir(parents=True)
        write_shard(folder / "2d" / store / "all.shard", cases)
        Manifest(source="test", cases=dict.fromkeys(cases, "all.shard")).save(folder / "2d" / store)
    names = list(packed["images"])
    held = names[-num_held:]
    write_json(
        folder / "splits_final.json",
        [{"train": [name for name in names if name not in held], "val": held}],
    )
    write_json(folder / "dataset.json", dataset_json(num_raters))
    return folder


def dataset_json(num_raters: int) -> dict[str, Any]:
    return {
        "channel_names": {"0": "grey"},
        "labels": {"background": 0, "disc": 1},
        "numTraining": 10,
        "file_ending": ".png",
        "raters": num_raters > 1,
    }


def plans(
    *, method: str = "diffusion", training: dict[str, Any] | None = None, **changes: Any
) -> ResolvedPlans:
    """Return plans of one configuration, resolved, with some fields of it changed."""
    training_plan = TrainingPlan(
        **{
            "num_iterations": 12,
            "batch_size": 4,
            "learning_rate": 2e-3,
            "num_warmup_iterations": 1,
            "ema_decay": 0.9,
            "num_validations": 2,
            "num_validation_cases": 2,
            "num_final_validation_cases": 3,
            **(training or {}),
        }
    )
    configuration = ConfigurationPlan(
        dimensions=2,
        data_identifier="2d",
        median_shape=(SIZE, SIZE),
        patch_size=(SIZE, SIZE),
        preprocessing=PreprocessingPlan(
            spacing_mm=(1.0, 1.0), normalization=(NormalizationPlan(),)
        ),
        crop=CropPlan(policy="whole"),
        augmentation=AugmentationPlan(mirror_axes=(0, 1), gaussian_blur_probability=0),
        network=NetworkPlan(
            channels=(8, 16),
            strides=((1, 1), (2, 2)),
            kernel_sizes=((3, 3), (3, 3)),
            num_blocks=(1, 1),
            num_decoder_blocks=(1, 1),
            num_middle_blocks=1,
            has_attention=(False, False),
            num_groups=4,
            image_channels=(8, 16),
            num_image_blocks=(1, 1),
        ),
        diffusion=DiffusionPlan(input_scale=0.1),
        sampling=SamplingPlan(num_steps=4, num_samples=4),
        training=training_plan,
    )
    made = Plans(
        dataset_name="Dataset001_Discs",
        method=method,
        recommended_configuration="2d",
        transpose_forward=(0, 1),
        configurations={"2d": dataclasses.replace(configuration, **changes)},
    )
    return made.resolve()


def with_settings(plans: ResolvedPlans, *settings: str) -> ResolvedPlans:
    """Return the plans that a run with these `--set` has."""
    return of_dataset(plans).resolve(settings=settings)


def of_dataset(plans: ResolvedPlans) -> Plans:
    """Return plans of a dataset whose one configuration is that of a run."""
    return Plans(
        dataset_name=plans.dataset_name,
        plans_name=plans.plans_name,
        method=plans.method,
        recommended_configuration=plans.configuration_name,
        transpose_forward=plans.transpose_forward,
        configurations={plans.configuration_name: plans.configuration},
    )


def json_of(properties: CaseProperties) -> dict[str, Any]:
    return dataclasses.asdict(properties)


def _disc(number: int) -> tuple[np.ndarray, np.ndarray]:
    generator = numpy_generator("disc", number)
    centre = generator.uniform(5, SIZE - 5, size=2)
    rows, columns = np.indices((SIZE, SIZE))
    distance = np.hypot(rows - centre[0], columns - centre[1])
    image = generator.normal(size=(1, SIZE, SIZE)) * 0.2 + 2.0 * (distance < 4)
    second = (distance < 2.5) & (number % 3 > 0)
    return image.astype(np.float32), np.stack([distance < 4, second]).astype(np.uint8)


def _properties(case: str, *, raters: tuple[str, ...], patient: str) -> CaseProperties:
    return CaseProperties(
        case=case,
        patient=patient,
        raters=raters,
        original_shape=(SIZE, SIZE),
        original_spacing_mm=(1.0, 1.0),
        transpose_forward=(0, 1),
        crop_box=Box((0, 0), (SIZE, SIZE)),
        shape=(SIZE, SIZE),
        spacing_mm=(1.0, 1.0),
        normalization=(IntensityNormalization(),),
        is_normalized=False,
    )


def with_options(**settings: Any) -> dict[str, Any]:
    """Return arguments of `train_fold`, those that are options as its `options`."""
    names = {field.name for field in dataclasses.fields(FoldOptions)}
    options = {name: settings.pop(name) for name in names & settings.keys()}
    return {**settings, "options": FoldOptions(**options)}
