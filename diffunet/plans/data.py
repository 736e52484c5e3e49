"""How cases are normalised, resampled, cropped and augmented."""

import dataclasses
from dataclasses import dataclass
from typing import Annotated, Literal

from diffunet.ranges import Length, Range, check_ranges

Intensity = Annotated[float, Range(-1e30, 1e30)]
Probability = Annotated[float, Range(0, 1)]
SPACING_MM = Range(1e-7, 1e5)
"""From an electron microscope's to more than any scan's."""


@dataclass(frozen=True, kw_only=True)
class NormalizationPlan:
    """How one channel's intensities are brought to about [-1, 1] or unit variance.

    Attributes:
        scheme: "ct": clip to [lower, upper], subtract mean, divide by std (all of the dataset's
            foreground); "zscore": mean and std of the case; "rescale_to_0_1": minimum and maximum
            of the case; "rgb_to_0_1": divide by 255; "none".
        uses_mask: with "zscore": statistics over the non-zero region, and 0 outside of it.
        lower, upper, mean, std: of the dataset's foreground (0.5 and 99.5 percentile, mean,
            standard deviation), in units of the source; for "ct" only.
    """

    scheme: Literal["ct", "zscore", "rescale_to_0_1", "rgb_to_0_1", "none"] = "zscore"
    uses_mask: bool = False
    lower: Intensity | None = None
    upper: Intensity | None = None
    mean: Intensity | None = None
    std: Annotated[float, Range(0, 1e30)] | None = None

    def __post_init__(self) -> None:
        check_ranges(self)
        if self.lower is not None and self.upper is not None and self.lower > self.upper:
            raise ValueError(f"lower should be at most upper = {self.upper}, got {self.lower}")
        missing = None in (self.lower, self.upper, self.mean, self.std)
        if self.scheme == "ct" and missing:
            raise ValueError("the scheme 'ct' needs lower, upper, mean and std")


@dataclass(frozen=True, kw_only=True)
class PreprocessingPlan:
    """What is done to a case before training.

    Attributes:
        spacing_mm: voxel size to resample to, in (transposed) array order; for a 2d configuration
            of volumes the two axes of a slice.
        normalization: one per channel.
        image_order: spline order of image resampling (3 cubic, 1 linear, 0 nearest).
        separate_axis_anisotropy: where the largest spacing is more than this times the smallest,
            the coarse axis is resampled by nearest neighbour, apart from the others.
    """

    spacing_mm: Annotated[tuple[Annotated[float, SPACING_MM], ...], Length(2, 3)]
    normalization: Annotated[tuple[NormalizationPlan, ...], Length(1, 1000)]
    image_order: Literal[0, 1, 3] = 3
    separate_axis_anisotropy: Annotated[float, Range(1, 1e6)] = 3.0

    def __post_init__(self) -> None:
        check_ranges(self)


@dataclass(frozen=True, kw_only=True)
class CropPlan:
    """How training patches are cut.

    Attributes:
        policy: "whole": images fit into the patch and are not cut; "random": anywhere;
            "foreground": `foreground_share` of the patches hold a voxel that some rater marked.
        foreground_share: never depends on the rater whose mask is drawn. Each patch's loss is
            weighted by uniform over actual density of its place, so that places that nobody marked
            count as often as they occur; exact up to a share of 0.9.
    """

    policy: Literal["whole", "random", "foreground"] = "random"
    foreground_share: Annotated[float, Range(0, 1)] = 0.0

    def __post_init__(self) -> None:
        check_ranges(self)
        if self.policy != "foreground" and self.foreground_share:
            raise ValueError(f"the policy '{self.policy}' takes no foreground_share")


@dataclass(frozen=True, kw_only=True)
class AugmentationPlan:
    """Random changes of a training patch, all raters alike; a probability of 0 switches one off.

    Attributes:
        mirror_axes: axes of the patch that may be flipped, each with probability 0.5.
        rotation_probability: for each patch, as all probabilities here.
        rotation_degrees: largest angle; in 3D the same for every axis.
        scaling_probability: zoom, the same for all axes.
        scaling_range: smallest and largest factor.
        treats_first_axis_apart: rotate and scale 3D patches in the plane only (coarse first axis).
        gaussian_noise_probability: variance up to 0.1, in units of normalised intensity.
        gaussian_blur_probability: sigma 0.5 to 1 voxel.
        brightness_probability: factor 0.75 to 1.25.
        contrast_probability: factor 0.75 to 1.25 around the patch's mean.
        low_resolution_probability: down to half the resolution and back.
        inverted_gamma_probability: gamma 0.7 to 1.5 on the negative image.
        gamma_probability: gamma 0.7 to 1.5.
    """

    mirror_axes: Annotated[tuple[Annotated[int, Range(0, 2)], ...], Length(0, 3)] = ()
    rotation_probability: Probability = 0.2
    rotation_degrees: Annotated[float, Range(0, 180)] = 30.0
    scaling_probability: Probability = 0.2
    scaling_range: tuple[
        Annotated[float, Range(0.1, 10)],
        Annotated[float, Range(0.1, 10)],
    ] = (0.7, 1.4)
    treats_first_axis_apart: bool = False
    gaussian_noise_probability: Probability = 0.1
    gaussian_blur_probability: Probability = 0.2
    brightness_probability: Probability = 0.15
    contrast_probability: Probability = 0.15
    low_resolution_probability: Probability = 0.25
    inverted_gamma_probability: Probability = 0.1
    gamma_probability: Probability = 0.3

    def __post_init__(self) -> None:
        check_ranges(self)
        smallest, largest = self.scaling_range
        if smallest > largest:
            raise ValueError(f"scaling_range should rise, got {list(self.scaling_range)}")
        if len(set(self.mirror_axes)) != len(self.mirror_axes):
            raise ValueError(f"mirror_axes should be different, got {list(self.mirror_axes)}")

    def before_batching(self) -> "AugmentationPlan":
        """Return the changes made patch by patch where `BatchAugmentation` makes the others."""
        return dataclasses.replace(self.without_intensity(), mirror_axes=())

    def without_intensity(self) -> "AugmentationPlan":
        """Return only the changes that move voxels."""
        return dataclasses.replace(
            self,
            gaussian_noise_probability=0.0,
            gaussian_blur_probability=0.0,
            brightness_probability=0.0,
            contrast_probability=0.0,
            low_resolution_probability=0.0,
            inverted_gamma_probability=0.0,
            gamma_probability=0.0,
        )
