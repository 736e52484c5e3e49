import pytest

from diffunet.planning.augmentation import choose_augmentation


def _choose(names=("lesion",), patch_size=(64, 64), spacing_mm=None):
    return choose_augmentation(
        label_names=names,
        patch_size=patch_size,
        spacing_mm=spacing_mm or (1.0,) * len(patch_size),
    )


@pytest.mark.parametrize(
    ("names", "patch_size", "expected"),
    [
        (("lesion",), (64, 64), (0, 1)),
        (("lesion",), (64, 64, 64), (0, 1, 2)),
        (("kidney_left", "kidney_right"), (64, 64), ()),
        (("Left Kidney",), (64, 64), ()),
        (("anterior", "posterior"), (40, 56, 40), ()),
        (("hippocampus-L",), (64, 64), ()),
        (("bright", "leftover", "anteriority"), (64, 64), (0, 1)),
    ],
)
def test_mirrors_leave_labels_named_by_direction_alone(names, patch_size, expected):
    plan, reasons = _choose(names, patch_size)
    assert plan.mirror_axes == expected
    assert ("None" in reasons["mirror_axes"]) is (expected == ())


@pytest.mark.parametrize(
    ("names", "patch_size", "spacing_mm", "degrees", "is_apart"),
    [
        (("x",), (64, 64), None, 180, False),
        (("x",), (64, 40), None, 15, False),
        (("left",), (64, 64), None, 30, False),
        (("x",), (64, 64, 64), None, 30, False),
        (("left",), (64, 64, 64), None, 30, False),
        (("x",), (16, 64, 64), None, 180, True),
        (("x",), (64, 64, 64), (5.0, 1.0, 1.0), 180, True),
        (("x",), (16, 96, 60), None, 15, True),
        (("x",), (22, 64, 64), (3.0, 1.0, 1.0), 30, False),
    ],
)
def test_patches_are_turned_as_far_as_they_stay_plausible(
    names, patch_size, spacing_mm, degrees, is_apart
):
    plan, _ = _choose(names, patch_size, spacing_mm)
    assert plan.rotation_degrees == degrees
    assert plan.treats_first_axis_apart is is_apart
