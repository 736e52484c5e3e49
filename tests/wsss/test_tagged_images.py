from types import SimpleNamespace

import numpy as np
import pytest
import torch

from diffunet.data.store.case_store import CaseStore
from diffunet.jsonio import write_json
from diffunet.training.fold_data import FoldData, open_fold
from diffunet.wsss.choice.tagged_images import TaggedImage, read_image, validation_images
from tests.wsss.weak_folds import NUM_HELD, tagged_properties, weak_plans, write_tagged


def fold(cases: dict, *, patients: dict[str, str] | None = None) -> FoldData:
    """Return a fold whose validation cases have the given properties."""
    return SimpleNamespace(  # type: ignore[return-value]  # as much of one as is needed
        split=SimpleNamespace(val=tuple(cases)),
        images=SimpleNamespace(properties=cases.__getitem__),
        plans=weak_plans(),
        patients=patients or {case: case for case in cases},
    )


def pictures(tags: list[tuple[int, ...]]) -> dict:
    return {
        f"c{number:02}": tagged_properties(f"c{number:02}", shape=(8, 8), image_labels=each)
        for number, each in enumerate(tags)
    }


def test_images_with_and_without_the_label_take_turns_as_long_as_both_are_there():
    images = validation_images(fold(pictures([(1,)] * 3 + [(0,)] * 9)), has_slice_labels=False)
    shown = [image.tags[0] for image in images]
    assert len(shown) == 12
    assert [sum(shown[:count]) for count in (2, 4, 6)] == [1, 2, 3]
    assert shown[6:] == [0] * 6


def test_every_combination_of_labels_takes_its_turn():
    kinds = [(0, 0), (0, 1), (1, 0), (1, 1)]
    images = validation_images(fold(pictures(kinds * 5)), has_slice_labels=False)
    assert (
        {image.tags for image in images[:4]} == {image.tags for image in images[4:8]} == set(kinds)
    )


def test_each_kind_is_spread_over_patients():
    cases = pictures([(1,), (0,)] * 12)
    patients = {case: f"p{number // 6}" for number, case in enumerate(cases)}
    images = validation_images(fold(cases, patients=patients), has_slice_labels=False)
    for kind in (0, 1):
        first = [patients[image.case] for image in images if image.tags == (kind,)][:4]
        assert len(set(first)) == 4


def test_the_order_is_the_same_every_time_and_that_of_no_file():
    cases = pictures([(1,), (0,)] * 12)
    orders = [
        validation_images(fold(dict(order)), has_slice_labels=False)
        for order in (cases.items(), reversed(cases.items()))
    ]
    assert orders[0] == orders[1]
    assert [image.case for image in orders[0] if image.tags == (1,)] != list(cases)[::2]


def volumes() -> dict:
    shape = (3, 8, 8)
    return {
        "own": tagged_properties("own", shape=shape, slice_image_labels=((1,), None, (0,))),
        "whole": tagged_properties("whole", shape=shape, image_labels=(1,)),
    }


def keys(images) -> set:
    return {(image.case, image.slice_index, image.tags) for image in images}


def test_slices_without_labels_of_their_own_are_left_out_where_others_have_some():
    images = validation_images(fold(volumes()), has_slice_labels=True)
    assert keys(images) == {("own", 0, (1,)), ("own", 2, (0,))}


def test_slices_with_the_labels_of_their_case_are_taken_where_no_others_are_there():
    only = {"whole": volumes()["whole"]}
    images = validation_images(fold(only), has_slice_labels=True)
    assert keys(images) == {("whole", index, (1,)) for index in range(3)}


def test_without_labels_of_slices_all_slices_count():
    assert len(validation_images(fold(volumes()), has_slice_labels=False)) == 5


@pytest.mark.parametrize("num_slices", [0, 3])
def test_an_image_is_read_normalised_on_the_grid_of_training(tmp_path, num_slices):
    folder = write_tagged(tmp_path, num_slices=num_slices)
    data = open_fold(weak_plans(), folder, fold="0", device=torch.device("cpu"))
    images = validation_images(data, has_slice_labels=bool(num_slices))
    assert len(images) == NUM_HELD * max(1, num_slices)
    image = images[0]
    stored = np.asarray(CaseStore(folder / "2d" / "images").array(image.case, "image")[:])
    expected = stored if image.slice_index is None else stored[:, image.slice_index]
    np.testing.assert_array_equal(read_image(data.images, image).numpy(), expected)
    whole = TaggedImage(case=image.case, slice_index=None, tags=image.tags)
    assert read_image(data.images, whole).shape == stored.shape


@pytest.mark.parametrize(
    ("numbers", "said"),
    [((0, 2, 4), "none of them shows it"), ((1, 3), "each of them shows it"), ((0, 1, 2), "")],
)
def test_a_training_names_labels_that_all_or_none_of_its_images_show(
    tmp_path, caplog, numbers, said
):
    folder = write_tagged(tmp_path)
    train = [f"case_{number:02}" for number in numbers]
    write_json(folder / "splits_final.json", [{"train": train, "val": ["case_10", "case_11"]}])
    open_fold(weak_plans(), folder, fold="0", device=torch.device("cpu"))
    assert ("with and without 'disc', found that" in caplog.text) == bool(said)
    assert said in caplog.text
