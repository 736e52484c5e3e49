"""Which random changes keep a training patch plausible."""

import re
from collections.abc import Sequence

from diffunet.planning.choice import Choice
from diffunet.planning.spacing import ANISOTROPY
from diffunet.plans import AugmentationPlan

_DIRECTIONS = frozenset(
    [
        *("left", "right", "l", "r", "lh", "rh"),
        *("anterior", "posterior", "dorsal", "ventral"),
        *("superior", "inferior", "upper", "lower", "cranial", "caudal"),
        *("medial", "lateral", "proximal", "distal"),
    ]
)
_ELONGATED = 1.5  # nnU-Net: ratio of patch edges above which turning far leaves little in view
_ALL_AROUND, _FAR, _LITTLE = 180.0, 30.0, 15.0


def choose_augmentation(
    *, label_names: Sequence[str], patch_size: Sequence[int], spacing_mm: Sequence[float]
) -> tuple[AugmentationPlan, dict[str, str]]:
    """Choose what depends on the data, and give the reason of each such field.

    Args:
        patch_size, spacing_mm: per axis, in training order.
    """
    apart = choose_first_axis_apart(patch_size=patch_size, spacing_mm=spacing_mm)
    mirrors = choose_mirror_axes(label_names, dimensions=len(patch_size))
    degrees = choose_rotation_degrees(
        patch_size=patch_size, turns_in_plane_only=apart.value, has_mirrors=bool(mirrors.value)
    )
    plan = AugmentationPlan(
        mirror_axes=mirrors.value,
        rotation_degrees=degrees.value,
        treats_first_axis_apart=apart.value,
    )
    return plan, {
        "mirror_axes": mirrors.reason,
        "rotation_degrees": degrees.reason,
        "treats_first_axis_apart": apart.reason,
    }


def choose_mirror_axes(label_names: Sequence[str], *, dimensions: int) -> Choice[tuple[int, ...]]:
    """Choose all axes, as nnU-Net does, unless labels are named by direction."""
    named = [name for name in label_names if _DIRECTIONS & set(_words(name))]
    if named:
        return Choice(
            (),
            f"None: labels are named by direction ({', '.join(named)}), and a mirror image would "
            "show the other one. If some axes do no harm, list them here.",
        )
    return Choice(tuple(range(dimensions)), "All axes: no label is named by direction.")


def choose_rotation_degrees(
    *, patch_size: Sequence[int], turns_in_plane_only: bool, has_mirrors: bool
) -> Choice[float]:
    """Choose the largest angle: any in a plane; a small one in 3D and where directions count."""
    in_plane = list(patch_size[1:] if turns_in_plane_only else patch_size)
    if len(in_plane) == 3:
        return Choice(_FAR, "nnU-Net's for 3D.")
    if max(in_plane) > _ELONGATED * min(in_plane):
        return Choice(
            _LITTLE,
            "The patch is much longer than wide: a large rotation would leave it half empty.",
        )
    if not has_mirrors:
        return Choice(_FAR, "Labels are named by direction: patches are not rotated far.")
    return Choice(_ALL_AROUND, "nnU-Net's rule for planes: any angle.")


def choose_first_axis_apart(
    *, patch_size: Sequence[int], spacing_mm: Sequence[float]
) -> Choice[bool]:
    """Choose whether 3D patches are rotated and scaled in the plane only."""
    if len(patch_size) == 2:
        return Choice(False, "Patches are planes.")
    thick = spacing_mm[0] > ANISOTROPY * min(spacing_mm[1:])
    few = patch_size[0] * ANISOTROPY < max(patch_size[1:])
    if thick or few:
        return Choice(
            True, "Slices are thick or few: rotating out of their plane would only blur them."
        )
    return Choice(False, "Voxels are close enough to cubes to rotate patches about every axis.")


def _words(name: str) -> list[str]:
    return re.findall(r"[a-z]+", name.casefold())
