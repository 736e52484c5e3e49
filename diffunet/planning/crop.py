"""Where training patches are cut."""

import math
from collections.abc import Sequence

from diffunet.planning.choice import Choice
from diffunet.plans import CropPlan

_WANTED_SHARE = 0.5


def choose_crop(
    *,
    patch_size: Sequence[int],
    median_shape: Sequence[int],
    largest_shape: Sequence[int],
    num_slices: int,
    object_diameter: float | None,
    objects_per_image: float,
    is_centred: bool,
) -> Choice[CropPlan]:
    """Choose among whole images, random patches, and patches that often show foreground.

    Patches are random if at least half of them show an object anyway. Otherwise enough are cut
    around a voxel that some rater marked that half of all patches show an object. Places that
    nobody marked are then drawn too rarely. A weight per patch
    (`diffunet.data.batches.place_weight`) corrects the loss, so that each place counts as often as
    it occurs.

    Args:
        patch_size, median_shape, largest_shape: voxels per axis, at the training spacing.
        num_slices: of a volume where patches are cut from its slices, else 1.
        object_diameter: mean, in voxels; None if unknown.
        objects_per_image: mean number, over all slices together.
        is_centred: objects lie at the centre of the images.
    """
    if all(size <= edge for size, edge in zip(largest_shape, patch_size, strict=True)):
        reason = f"Every image fits into the patch of {_times(patch_size)}: nothing is cut."
        if is_centred:
            reason += (
                " Objects lie at the centre of the images, and a model may learn that place; to "
                "prevent this, set a smaller patch_size and crop.policy to 'random'."
            )
        return Choice(CropPlan(policy="whole"), reason)
    if object_diameter is None:
        return Choice(
            CropPlan(policy="random"),
            "Images are larger than the patch, and it is not known where objects are.",
        )
    seen = share_of_patches_with_object(
        patch_size=patch_size,
        median_shape=median_shape,
        num_slices=num_slices,
        object_diameter=object_diameter,
        objects_per_image=objects_per_image,
    )
    if seen >= _WANTED_SHARE:
        return Choice(
            CropPlan(policy="random"),
            f"Images are larger than the patch; about {seen:.0%} of random patches show an object "
            "of an image that has some, which is enough.",
        )
    share = round((_WANTED_SHARE - seen) / (1 - seen), 2)
    return Choice(
        CropPlan(policy="foreground", foreground_share=share),
        f"Only about {seen:.0%} of random patches show an object of an image that has some; with "
        f"{share:.0%} of them cut around a voxel that some rater marked, half do. Places that "
        "nobody marked are then drawn too rarely. Each patch's loss is weighted by uniform over "
        f"actual density of its place (at most {1 / (1 - share):.2g}), so that the model does "
        "not mark more often than raters do.",
    )


def share_of_patches_with_object(
    *,
    patch_size: Sequence[int],
    median_shape: Sequence[int],
    num_slices: int,
    object_diameter: float,
    objects_per_image: float,
) -> float:
    """Return the probability that a random patch touches one of the objects of its image.

    Patch and object touch along an axis if their centres are closer than half the sum of their
    edges; the objects are taken to lie independently, each in one slice.
    """
    touched = math.prod(
        min(1.0, (edge + object_diameter) / max(size, 1))
        for edge, size in zip(patch_size, median_shape, strict=True)
    )
    return 1 - (1 - touched / num_slices) ** max(1.0, objects_per_image)


def _times(sizes: Sequence[int]) -> str:
    return " x ".join(str(size) for size in sizes)
