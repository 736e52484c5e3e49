import numpy as np
import pytest

from diffunet.planning.crop import choose_crop, share_of_patches_with_object


def _choose(**changes):
    values = {
        "patch_size": (64, 64),
        "median_shape": (512, 512),
        "largest_shape": (512, 512),
        "num_slices": 1,
        "object_diameter": 10.0,
        "objects_per_image": 1.0,
        "is_centred": False,
    }
    return choose_crop(**(values | changes))


def test_images_that_fit_are_taken_whole():
    found = _choose(patch_size=(512, 512))
    assert (found.value.policy, found.value.foreground_share) == ("whole", 0)


def test_one_image_that_does_not_fit_forbids_whole():
    assert _choose(patch_size=(512, 512), largest_shape=(513, 512)).value.policy != "whole"


def test_centred_objects_are_told_where_images_are_whole():
    assert "lie at the centre" in _choose(patch_size=(512, 512), is_centred=True).reason
    assert "lie at the centre" not in _choose(is_centred=True).reason


def test_rare_objects_are_shown_in_half_of_the_patches():
    found = _choose()
    assert found.value.policy == "foreground"
    seen = (74 / 512) ** 2
    assert found.value.foreground_share == pytest.approx((0.5 - seen) / (1 - seen), abs=0.005)
    assert found.value.foreground_share * (1 - seen) + seen == pytest.approx(0.5, abs=0.005)


def test_the_reason_of_foreground_patches_says_how_their_odds_are_kept():
    assert "uniform over actual density of its place (at most 2)" in _choose().reason


@pytest.mark.parametrize(
    "change",
    [
        {"objects_per_image": 60.0},
        {"object_diameter": 400.0},
        {"patch_size": (500, 400)},
        {"object_diameter": None},
    ],
)
def test_frequent_or_unknown_objects_leave_random_patches(change):
    found = _choose(**change)
    assert (found.value.policy, found.value.foreground_share) == ("random", 0)


def test_an_object_in_one_of_many_slices_is_rarer():
    many, one = _choose(num_slices=40), _choose()
    assert many.value.foreground_share > one.value.foreground_share


def test_images_without_an_object_do_not_count():
    """With half an object per image on average, an image that has some has one."""
    rarely, once = (
        share_of_patches_with_object(
            patch_size=(64, 64),
            median_shape=(512, 512),
            num_slices=1,
            object_diameter=10,
            objects_per_image=number,
        )
        for number in (0.5, 1.0)
    )
    assert rarely == once


def test_share_of_patches_equals_drawing_them():
    generator = np.random.default_rng(0)
    # square objects, patches anywhere: centres closer than half the sum of the edges
    patches, objects = generator.uniform(0, 512, (2, 40_000, 2))
    inside = (np.abs(patches - 256) < 150).all(axis=1)  # away from the border
    touching = (np.abs(patches - objects) < (64 + 10) / 2).all(axis=1)[inside]
    found = share_of_patches_with_object(
        patch_size=(64, 64),
        median_shape=(512, 512),
        num_slices=1,
        object_diameter=10,
        objects_per_image=1,
    )
    assert found == pytest.approx(touching.mean(), abs=0.003)
