"""Preprocessed images with image-level labels and no mask at all, and plans to train on them."""

import dataclasses
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from diffunet.data.store.case import CaseProperties, IntensityNormalization
from diffunet.data.store.case_store import Manifest
from diffunet.data.store.shards import PackedArray, PackedCase, write_shard
from diffunet.geometry import Box
from diffunet.jsonio import write_json
from diffunet.plans import (
    EncodingPlan,
    ImageDiffusionPlan,
    NetworkPlan,
    Plans,
    TrajectoryPlan,
    WeakPlan,
)
from diffunet.randomness import numpy_generator
from diffunet.wsss.choice import candidates, choose, tagged_images
from tests.training.folds import SIZE, plans

NUM_CASES, NUM_HELD = 16, 6


def weak_plans(*, method: str = "cdm", weak: dict[str, Any] | None = None, **changes: Any) -> Plans:
    """Return the plans of `tests.training.folds` with a small plan of weak supervision."""
    plan = WeakPlan(
        **{
            "network": NetworkPlan(
                channels=(8, 8),
                strides=((1, 1), (2, 2)),
                kernel_sizes=((3, 3), (3, 3)),
                num_blocks=(1, 1),
                num_decoder_blocks=(1, 1),
                num_middle_blocks=1,
                has_attention=(False, False),
                num_groups=4,
                has_final_tanh=False,
            ),
            "diffusion": ImageDiffusionPlan(),
            "cdm": TrajectoryPlan(num_steps=1, num_draws=1),
            "cg_cdm": TrajectoryPlan(num_steps=1, num_draws=1, guidance_scale=1.0),
            "cg_diff": EncodingPlan(num_steps=2),
            **(weak or {}),
        }
    )
    return plans(method=method, weak=plan, **changes)


def offer_few_settings(patch: pytest.MonkeyPatch) -> None:
    """Leave little to choose among at the end of a training: two noise levels, a rule or two."""
    patch.setattr(tagged_images, "NUM_COMPARED", 2)
    patch.setattr(choose, "LOG_SNRS", (0.0, 1.0))
    for name in ("TAUS", "GUIDANCE_SCALES", "CG_DIFF_LOG_SNRS", "CG_DIFF_SCALES", "CAM_STAGES"):
        patch.setattr(choose, name, getattr(choose, name)[:1])
    patch.setattr(candidates, "SMOOTHINGS_VOXELS", (1.0,))
    patch.setattr(candidates, "THRESHOLDS", candidates.THRESHOLDS[:1])


def write_tagged(
    folder: Path, *, num_slices: int = 0, num_labels: int = 1, has_slice_labels: bool = True
) -> Path:
    """Write images of which every other one shows a bright disc, one patient for each two.

    Args:
        num_slices: of each volume; 0 for two-dimensional images. Every other slice shows a disc.
        num_labels: the second is a stripe, in every third image.
        has_slice_labels: the slices of volumes have labels of their own, the cases none.
    """
    packed = {}
    for number in range(NUM_CASES):
        case = f"case_{number:02}"
        count = max(1, num_slices)
        tags = [_tags(number + index)[:num_labels] for index in range(count)]
        slices = np.stack([_image(number * count + i, each) for i, each in enumerate(tags)], axis=1)
        is_sliced = num_slices > 0 and has_slice_labels
        properties = tagged_properties(
            case,
            patient=f"p{number // 2}",
            shape=slices.shape[1:] if num_slices else (SIZE, SIZE),
            image_labels=None if is_sliced else tags[0],
            slice_image_labels=tuple(tags) if is_sliced else (),
        )
        image = slices if num_slices else slices[:, 0]
        packed[case] = PackedCase(
            source="test",
            properties=dataclasses.asdict(properties),
            arrays={"image": PackedArray.pack(image, is_picture=False)},
        )
    store = folder / "2d" / "images"
    store.mkdir(parents=True)
    write_shard(store / "all.shard", packed)
    Manifest(source="test", cases=dict.fromkeys(packed, "all.shard")).save(store)
    names = list(packed)
    split = {"train": names[:-NUM_HELD], "val": names[-NUM_HELD:]}
    write_json(folder / "splits_final.json", [split])
    write_json(folder / "dataset.json", tagged_dataset_json(num_labels))
    return folder


def tagged_dataset_json(num_labels: int = 1) -> dict[str, Any]:
    labels = {name: value for value, name in enumerate(("background", "disc", "stripe"))}
    return {
        "channel_names": {"0": "grey"},
        "labels": dict(list(labels.items())[: num_labels + 1]),
        "numTraining": NUM_CASES,
        "file_ending": ".png",
        "image_labels": "image_labels.csv",
    }


def tagged_properties(case: str, *, shape: tuple[int, ...], **more: Any) -> CaseProperties:
    return CaseProperties(
        **{
            "case": case,
            "patient": case,
            "original_shape": shape,
            "original_spacing_mm": (1.0,) * len(shape),
            "transpose_forward": tuple(range(len(shape))),
            "crop_box": Box((0,) * len(shape), shape),
            "shape": shape,
            "spacing_mm": (1.0,) * len(shape),
            "normalization": (IntensityNormalization(),),
            "is_normalized": False,
            **more,
        }
    )


def _tags(number: int) -> tuple[int, int]:
    return (number % 2, int(number % 3 == 0))


def _image(number: int, tags: tuple[int, ...]) -> np.ndarray:
    generator = numpy_generator("tagged image", number)
    rows, columns = np.indices((SIZE, SIZE))
    centre = generator.uniform(5, SIZE - 5, size=2)
    disc = np.hypot(rows - centre[0], columns - centre[1]) < 4
    image = generator.normal(size=(1, SIZE, SIZE)) * 0.2 + 2.0 * (disc & bool(tags[0]))
    if len(tags) > 1 and tags[1]:
        image = image - 2.0 * (rows == int(centre[0]))
    return image.astype(np.float32)
