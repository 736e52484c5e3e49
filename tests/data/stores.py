"""A store of preprocessed cases in memory, for tests of patches and batches."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from diffunet.data.store.case import CaseProperties, IntensityNormalization
from diffunet.geometry import Box
from diffunet.plans import (
    AugmentationPlan,
    ConfigurationPlan,
    CropPlan,
    DiffusionPlan,
    NetworkPlan,
    NormalizationPlan,
    PreprocessingPlan,
    SamplingPlan,
    TrainingPlan,
)


class MemoryStore:
    """Cases as dictionaries of arrays."""

    def __init__(
        self,
        cases: dict[str, dict[str, np.ndarray]],
        *,
        raters: Sequence[str] = ("r00",),
        tags: Mapping[str, Any] | None = None,
    ):
        """Take the arrays of each case, and fields of its properties with image-level labels."""
        self._cases = cases
        self._raters = tuple(raters)
        self._tags = tags or {}

    @property
    def cases(self) -> tuple[str, ...]:
        return tuple(self._cases)

    def array(self, case: str, name: str) -> np.ndarray:
        return self._cases[case][name]

    def properties(self, case: str) -> CaseProperties:
        shape = self._cases[case]["image"].shape[1:]
        return CaseProperties(
            case=case,
            patient=case,
            raters=self._raters[: len(self._cases[case].get("labels", ()))],
            original_shape=shape,
            original_spacing_mm=(1.0,) * len(shape),
            transpose_forward=tuple(range(len(shape))),
            crop_box=Box((0,) * len(shape), shape),
            shape=shape,
            spacing_mm=(1.0,) * len(shape),
            normalization=(IntensityNormalization(shift=10.0, scale=2.0),),
            is_normalized=False,
            **self._tags.get(case, {}),
        )


def case_arrays(image: np.ndarray, labels: np.ndarray) -> dict[str, np.ndarray]:
    """Return the arrays of a case, with the locations of everything that any rater marked."""
    rows = [
        (value - 1, *voxel)
        for value in range(1, labels.max(initial=0) + 1)
        for voxel in np.argwhere((labels == value).any(axis=0))
    ]
    locations = np.array(rows, np.int32).reshape(-1, labels.ndim)
    return {"image": image, "labels": labels, "locations": locations}


def configuration(
    patch_size: tuple[int, ...],
    *,
    crop: CropPlan | None = None,
    augmentation: AugmentationPlan | None = None,
) -> ConfigurationPlan:
    """Return a plan of which only patch size, crop policy and augmentation matter."""
    ones = (1,) * len(patch_size)
    return ConfigurationPlan(
        dimensions=2 if len(patch_size) == 2 else 3,
        data_identifier="test",
        median_shape=patch_size,
        patch_size=patch_size,
        preprocessing=PreprocessingPlan(
            spacing_mm=(1.0,) * len(patch_size), normalization=(NormalizationPlan(),)
        ),
        crop=crop or CropPlan(),
        augmentation=augmentation or NO_AUGMENTATION,
        network=NetworkPlan(
            channels=(4,),
            strides=(ones,),
            kernel_sizes=(ones,),
            num_blocks=(1,),
            num_decoder_blocks=(1,),
            has_attention=(False,),
            image_channels=(4,),
            num_image_blocks=(1,),
        ),
        diffusion=DiffusionPlan(),
        sampling=SamplingPlan(),
        training=TrainingPlan(),
    )


NO_AUGMENTATION = AugmentationPlan(
    rotation_probability=0,
    scaling_probability=0,
    gaussian_noise_probability=0,
    gaussian_blur_probability=0,
    brightness_probability=0,
    contrast_probability=0,
    low_resolution_probability=0,
    inverted_gamma_probability=0,
    gamma_probability=0,
)
