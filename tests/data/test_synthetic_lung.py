import dataclasses

import numpy as np
import pytest

from diffunet.data.synthetic_lung import LUNG_FAMILY, lung_scene, render_lung

SCENES = [lung_scene(f"case{index}", seed=3) for index in range(6)]


def image_of(scene):
    return render_lung(scene, np.random.default_rng(0)).astype(float)


@pytest.mark.parametrize("scene", SCENES)
def test_a_nodule_lies_in_the_centre_of_dark_lung(scene):
    image = image_of(scene)
    rim = scene.outcomes()[-1] > 0
    core = scene.outcomes()[1] > 0
    assert np.argwhere(core).mean(axis=0) == pytest.approx(np.array(LUNG_FAMILY.size) / 2, abs=1)
    near = np.zeros_like(rim)
    near[40:88, 40:88] = True
    assert np.median(image[core]) > np.median(image[near & ~rim]) + 10


@pytest.mark.parametrize("scene", SCENES)
def test_an_image_uses_all_8_bits_and_shows_wall_and_rib(scene):
    image = image_of(scene)
    assert (image.min(), image.max()) == (0, 255)
    assert 0.05 < (image > 85).mean() < 0.8
    assert 0.001 < (image > 190).mean() < 0.6


def test_what_more_raters_see_is_brighter():
    (nodule,) = SCENES[0].lesions
    core = SCENES[0].outcomes()[1] > 0
    means = [
        image_of(
            dataclasses.replace(
                SCENES[0], lesions=(dataclasses.replace(nodule, presence=presence),)
            )
        )[core].mean()
        for presence in (0.15, 0.5, 0.95)
    ]
    assert means[0] + 10 < means[1] < means[2] - 10


def test_an_image_is_a_function_of_its_case_and_seed():
    one, same, other = (lung_scene("a", seed=seed) for seed in (1, 1, 2))
    assert one == same != other
    np.testing.assert_array_equal(image_of(one), image_of(same))
