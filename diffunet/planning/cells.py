"""Cells of pixels, in which a laptop's networks see images.

A cell of 2 x 2 or 4 x 4 pixels is one position with more channels, so that a step costs a part of
what it costs pixel by pixel: in the same time, a network learns from more images, or from more of
an image. What it puts out has a value for each pixel. The finest stages are left out (*folded*):
one for cells of two pixels an axis, two for cells of four.
"""

import math
from collections.abc import Mapping, Sequence

from diffunet.build import build_encoding
from diffunet.labels import LabelScheme
from diffunet.methods import METHODS
from diffunet.planning.topology import Pooling, plan_pooling
from diffunet.plans import ResolvedPlans

# Most pixels of a patch that are seen one by one, and of one in cells of two pixels an axis; larger
# ones may have cells of four (results/real-data.md, results/weak-supervision.md). Volumes lose by
# cells (log.md).
_LARGEST_PATCHES = {2: (64**2, 256**2), 3: ()}
_LARGEST_IMAGES = {2: (128**2, 192**2), 3: ()}

# Cells of four have to be small beside what raters differ by. On LIDC a cell of two is an 18th of
# that, and LIDC gains by them; one of four is a fifth, and it loses (log.md).
_FEWEST_CELLS_OF_REGION = 16

# Numbers that the network puts out for a cell. With more, cells of four make all of its stages
# wider, so that a training has fewer steps than with cells of two.
_MOST_VALUES_OF_MASKS, _MOST_VALUES_OF_IMAGES = 32, 64


def choose_num_foldings(plans: ResolvedPlans, labels: LabelScheme, *, input_scale: float) -> int:
    """Return how many of the finest stages are left out of the network that is trained.

    Args:
        plans: of the usual size.
        labels: of the dataset.
        input_scale: tells the size N = b^-2 of what raters differ by.
    """
    if METHODS[plans.method].learns_from == "image_labels":
        return _of_images(plans)
    return _of_masks(plans, labels, input_scale)


def _of_images(plans: ResolvedPlans) -> int:
    configuration = plans.configuration
    wanted = _num_wanted(plans, _LARGEST_IMAGES)
    if wanted < 2:
        return wanted
    num_values = len(configuration.preprocessing.normalization) * _num_voxels(plans, wanted)
    is_narrow = num_values <= _MOST_VALUES_OF_IMAGES
    return wanted if is_narrow and _takes_patch_of_user(plans, wanted) else 1


def _of_masks(plans: ResolvedPlans, labels: LabelScheme, input_scale: float) -> int:
    wanted = _num_wanted(plans, _LARGEST_PATCHES)
    # cells of two were not measured of methods that draw no samples
    otherwise = min(wanted, 1) if "num_samples" in METHODS[plans.method].options else 0
    if wanted < 2:
        return otherwise
    num_voxels = _num_voxels(plans, wanted)
    is_fine = input_scale**-2 >= _FEWEST_CELLS_OF_REGION * num_voxels
    num_channels = build_encoding(labels, plans.configuration.diffusion).num_channels
    is_narrow = num_channels * num_voxels <= _MOST_VALUES_OF_MASKS
    return wanted if is_fine and is_narrow and _takes_patch_of_user(plans, wanted) else otherwise


def _num_wanted(plans: ResolvedPlans, largest: Mapping[int, Sequence[int]]) -> int:
    patch = plans.configuration.patch_size
    return sum(math.prod(patch) > most for most in largest[len(patch)])


def _pooling(plans: ResolvedPlans, num: int) -> Pooling:
    configuration = plans.configuration
    spacing = configuration.preprocessing.spacing_mm
    return plan_pooling(configuration.patch_size, spacing, num_foldings=num)


def _num_voxels(plans: ResolvedPlans, num: int) -> int:
    return math.prod(_pooling(plans, num).strides[0])


def _takes_patch_of_user(plans: ResolvedPlans, num: int) -> bool:
    """Whether a patch that the user set, which is left as it is, can be seen in these cells."""
    if not plans.is_set_by_user("patch_size"):
        return True
    divisors = _pooling(plans, num).divisors
    patch = plans.configuration.patch_size
    return not any(edge % of for edge, of in zip(patch, divisors, strict=True))
