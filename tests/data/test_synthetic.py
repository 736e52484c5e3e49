import numpy as np
import pytest

from diffunet.data.image_io import read_image, read_label_map
from diffunet.data.raw.dataset import open_dataset
from diffunet.data.synthetic import Scene, scene_of_case, write_ambiguous_dataset

SIZE = (64, 64)


def scene(**changes):
    given = {
        "size": SIZE,
        "centre": (30.0, 34.0),
        "radii": (8.0, 6.0),
        "angle": 0.4,
        "presence": 0.7,
        "halo": 0.25,
    }
    return Scene(**(given | changes))


def test_masks_are_drawn_with_the_true_probabilities():
    masks, probabilities = scene().outcomes()
    drawn = scene().draw_masks(20000, np.random.default_rng(0)).reshape(20000, -1)
    areas = drawn.sum(axis=1)
    shares = [np.mean(areas == mask.sum()) for mask in masks]
    assert probabilities == pytest.approx([0.3, 0.525, 0.175])
    assert shares == pytest.approx(list(probabilities), abs=0.01)


def test_the_core_has_the_area_of_its_ellipse_and_lies_in_the_halo():
    masks, _ = scene().outcomes()
    assert masks[1].sum() == pytest.approx(np.pi * 8 * 6, rel=0.03)
    assert masks[2].sum() == pytest.approx(np.pi * 8 * 6 * 1.6**2, rel=0.03)
    assert not (masks[1] & ~masks[2]).any()


def test_a_lesion_that_more_raters_see_is_brighter():
    def brightness(presence):
        sure = scene(presence=presence)
        return sure.render(np.random.default_rng(1))[sure.outcomes()[0][1]].mean()

    assert brightness(0.2) < brightness(0.5) < brightness(0.9)


def test_scenes_are_a_function_of_the_case_and_stay_inside_the_image():
    first = scene_of_case("synthetic0001", size=SIZE, seed=0)
    assert first == scene_of_case("synthetic0001", size=SIZE, seed=0)
    assert first != scene_of_case("synthetic0002", size=SIZE, seed=0)
    for index in range(50):
        halo = scene_of_case(f"c{index}", size=SIZE, seed=3).outcomes()[0][2]
        border = halo.copy()
        border[1:-1, 1:-1] = False
        assert not border.any()


def test_the_dataset_on_disk_is_what_the_scenes_say(tmp_path):
    folder = tmp_path / "Dataset001_Synthetic"
    write_ambiguous_dataset(folder, num_training=3, num_test=2, num_raters=3, size=SIZE)
    dataset = open_dataset(folder)
    assert (len(dataset.training_cases), len(dataset.test_cases)) == (3, 2)
    for case in (*dataset.training_cases, *dataset.test_cases):
        assert list(case.labels) == ["r00", "r01", "r02"]
        outcomes = scene_of_case(case.case, size=SIZE, seed=0).outcomes()[0]
        assert read_image(case.images)[0].shape == (1, *SIZE)
        for path in case.labels.values():
            drawn = read_label_map(path)[0].astype(bool)
            assert any(np.array_equal(drawn, mask) for mask in outcomes)
