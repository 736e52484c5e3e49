"""What erasing masks does to the classifier, and which of several settings is best by that."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float


@dataclass(frozen=True, kw_only=True)
class Gains:
    """What erasing the masks of several settings does, image by image.

    Attributes:
        gain: (image, setting), in logits.
        area: (image, setting), share of the image that is masked.
    """

    gain: Float[np.ndarray, "image setting"]
    area: Float[np.ndarray, "image setting"]

    @property
    def overlap(self) -> Float[np.ndarray, "image setting"]:
        """Gain over the root of the area, 0 for an empty mask.

        If a mask A explains in proportion to the part of the object T that it covers, this is |A
        and T| / sqrt(|A| |T|), the Ochiai coefficient, times a constant of the image. Like Dice,
        and unlike the gain, it falls when a mask grows beyond the object.
        """
        root = np.sqrt(self.area)
        return np.divide(self.gain, root, out=np.zeros_like(self.gain), where=root > 0)

    @property
    def marks(self) -> Bool[np.ndarray, " setting"]:
        """Whether a setting marks anything in any image."""
        return self.area.max(axis=0) > 0

    def best(self) -> int:
        """Return the setting of the largest mean overlap.

        Settings that mark nothing cost nothing either. They are best only where none marks
        anything.
        """
        overlap = self.overlap.mean(axis=0)
        return int(np.where(self.marks, overlap, -np.inf).argmax())

    def first_as_good(self) -> int:
        """Return the first setting that is as good as the best within one standard error.

        On a single image this is the first that marks anything: how far gains differ by chance is
        not known.
        """
        best = self.best()
        shortfall = self.overlap[:, [best]] - self.overlap
        errors = np.array([self._error(column) for column in shortfall.T])
        is_as_good = (shortfall.mean(axis=0) <= errors) & (self.marks | ~self.marks[best])
        return int(np.flatnonzero(is_as_good)[0])

    def is_above_zero(self, setting: int) -> bool:
        """Return whether masks explain more than copies elsewhere, by two standard errors.

        A single image tells nothing: its standard error is not known.
        """
        gain = self.gain[:, setting]
        return bool(gain.mean() > 2 * self._error(gain))

    def describe(self, names: Sequence[object], chosen: int) -> str:
        """Return the reason for a choice in words."""
        means = ", ".join(
            f"{name}: {overlap:.1f}"
            for name, overlap in zip(names, self.overlap.mean(axis=0), strict=True)
        )
        return (
            f"{names[chosen]}: the first that is as good as the best within one standard error, by "
            "how much further the classifier's logit falls where the mask is erased than where "
            "copies of it elsewhere are, over the root of the mask's share of the image, on "
            f"{len(self.gain)} validation images ({means}); no mask was opened."
        )

    def summary(self, setting: int = 0) -> dict[str, float | None]:
        """Return the means over the images, and the standard error of the gain's, if it is known.

        It is None for a single image.
        """
        gain = self.gain[:, setting]
        return {
            "num_images": len(gain),
            "gain": float(gain.mean()),
            "standard_error": self._error(gain) if len(gain) > 1 else None,
            "area_share": float(self.area[:, setting].mean()),
            "gain_over_root_of_area": float(self.overlap[:, setting].mean()),
        }

    def in_words(self, setting: int = 0) -> str:
        """Return the mean gain, and how far it is known."""
        gain = self.gain[:, setting]
        if len(gain) == 1:
            return f"erasure gain {gain[0]:.2f} of one image, which tells no standard error"
        return f"erasure gain {gain.mean():.2f}, standard error {self._error(gain):.2f}"

    def of(self, settings: Sequence[int]) -> "Gains":
        """Return what some of the settings do, in the order that they are named in."""
        return Gains(gain=self.gain[:, settings], area=self.area[:, settings])

    def of_images(self, images: Sequence[int]) -> "Gains":
        """Return what the settings do to some of the images."""
        return Gains(gain=self.gain[images], area=self.area[images])

    @staticmethod
    def beside(gains: Sequence["Gains"]) -> "Gains":
        """Return the settings of several comparisons on the same images as those of one."""
        return Gains(
            gain=np.concatenate([each.gain for each in gains], axis=1),
            area=np.concatenate([each.area for each in gains], axis=1),
        )

    @staticmethod
    def _error(values: Float[np.ndarray, " image"]) -> float:
        """Return the standard error of a mean; infinity for a single value."""
        return float(values.std(ddof=1) / np.sqrt(len(values))) if len(values) > 1 else np.inf
