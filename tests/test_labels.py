import numpy as np
import pytest

from diffunet.errors import DatasetError
from diffunet.labels import LabelScheme


def scheme(labels, **more):
    return LabelScheme.from_dataset_json({"labels": labels, **more})


def test_exclusive_labels_go_to_masks_and_back():
    labels = scheme({"background": 0, "a": 1, "b": 2})
    label_map = np.array([[0, 1], [2, 1]])
    masks = labels.masks(label_map)
    assert masks.tolist() == [[[False, True], [False, True]], [[False, False], [True, False]]]
    assert np.array_equal(labels.label_map(masks), label_map)


def test_regions_go_to_overlapping_masks_and_back():
    labels = scheme({"background": 0, "whole": [1, 2], "core": 2}, regions_class_order=[1, 2])
    label_map = np.array([0, 1, 2])
    masks = labels.masks(label_map)
    assert masks.tolist() == [[False, True, True], [False, False, True]]
    assert labels.label_map(masks).tolist() == [0, 1, 2]


def test_a_region_holds_what_the_regions_inside_it_hold():
    labels = scheme(
        {"background": 0, "core": [2, 3], "whole": [1, 2, 3], "inner": 3, "other": [1, 4]},
        regions_class_order=[2, 1, 3, 4],
    )
    masks = np.eye(4, dtype=bool)  # a voxel in each region alone
    labels.close(masks)
    core, whole, inner, other = masks.astype(int).tolist()
    assert (core, whole) == ([1, 0, 1, 0], [1, 1, 1, 0])
    assert (inner, other) == ([0, 0, 1, 0], [0, 0, 0, 1])
    shares = np.array([[0.3], [0.2], [0.6], [0.9]], np.float32)
    labels.close(shares)
    assert shares[:, 0].tolist() == pytest.approx([0.6, 0.6, 0.6, 0.9])


def test_what_a_label_map_says_of_nested_regions_is_what_was_written():
    labels = scheme(
        {"background": 0, "whole": [1, 2, 3], "core": [2, 3], "inner": 3},
        regions_class_order=[1, 2, 3],
    )
    masks = np.random.default_rng(0).random((3, 50)) < 0.5
    assert not np.array_equal(labels.masks(labels.label_map(masks)), masks)
    labels.close(masks)
    assert np.array_equal(labels.masks(labels.label_map(masks)), masks)


def test_regions_that_overlap_without_being_nested_keep_what_they_share():
    labels = scheme(
        {"background": 0, "left": [1, 2], "right": [2, 3, 4], "core": 4},
        regions_class_order=[1, 3, 4],
    )
    assert labels.shared == {2: (0, 1)}
    label_map = np.array([0, 1, 2, 3, 4])
    assert labels.label_map(labels.masks(label_map)).tolist() == label_map.tolist()
    masks = np.array([[True, True], [True, True], [False, True]])  # the last has no integer
    assert labels.label_map(masks).tolist() == [2, 4]


@pytest.mark.parametrize("order", [[1, 2, 3], [2, 1, 3]])
def test_nested_regions_write_what_their_order_says(order):
    labels = scheme(
        {"background": 0, "whole": [1, 2, 3], "core": [2, 3], "inner": 3},
        regions_class_order=order,
    )
    assert labels.shared == {}
    masks = labels.masks(np.array([1, 2, 3]))
    assert labels.label_map(masks).tolist() == order


def test_exclusive_labels_have_nothing_inside():
    labels = scheme({"background": 0, "a": 1, "b": 2})
    masks = np.array([[True, False], [False, True]])
    labels.close(masks)
    assert masks.tolist() == [[True, False], [False, True]]


def test_the_ignore_label_is_no_label_but_a_known_value():
    labels = scheme({"background": 0, "a": 1, "ignore": 2})
    assert labels.names == ("a",)
    assert labels.all_values == (0, 1, 2)
    assert labels.has_ignore_label
    assert labels.ignored(np.array([0, 1, 2])).tolist() == [False, False, True]


def test_without_ignore_label_nothing_is_ignored():
    assert not scheme({"background": 0, "a": 1}).ignored(np.array([0, 1])).any()


def test_many_labels_need_sixteen_bits():
    names = {"background": 0, **{f"l{i}": i for i in range(1, 301)}}
    labels = scheme(names)
    masks = np.zeros((300, 1), bool)
    masks[299] = True
    found = labels.label_map(masks)
    assert (found.dtype, found[0]) == (np.uint16, 300)


@pytest.mark.parametrize(
    ("labels", "message"),
    [
        (None, "'labels' should be an object"),
        ({"a": 1}, '"background" to 0, found None'),
        ({"background": 1, "a": 0}, '"background" to 0, found 1'),
        ({"background": 0}, "names no label but background"),
        ({"background": 0, "a": 2}, r"consecutive from 0, found \[0, 2\]"),
        ({"background": 0, "a": "1"}, "label 'a' should be an integer.*found '1'"),
        ({"background": 0, "a": []}, r"label 'a' should be an integer.*found \[\]"),
        ({"background": 0, "a": 2, "ignore": 1}, '"ignore" should be the highest integer, 2'),
        ({"background": 0, "a": [1, 2], "b": 2}, "'regions_class_order' should hold"),
    ],
)
def test_faulty_labels_are_refused_with_what_was_found(labels, message):
    with pytest.raises(DatasetError, match=message):
        LabelScheme.from_dataset_json({"labels": labels})


def test_all_faults_are_reported_at_once():
    with pytest.raises(DatasetError) as caught:
        scheme({"background": 1, "a": "x"})
    assert len(caught.value.problems) == 2


@pytest.mark.parametrize("content", [[], None, 3, "labels", {"labels": []}, {"labels": {}}])
def test_content_that_holds_no_labels_is_a_dataset_error(content):
    with pytest.raises(DatasetError, match=r"dataset\.json: "):
        LabelScheme.from_dataset_json(content)


@pytest.mark.parametrize("order", [5, "12", [1, None], [1, 1], [1]])
def test_an_order_of_regions_that_is_no_list_of_integers_is_a_dataset_error(order):
    labels = {"background": 0, "whole": [1, 2], "core": 2}
    with pytest.raises(DatasetError, match="'regions_class_order' should hold one integer for"):
        LabelScheme.from_dataset_json({"labels": labels, "regions_class_order": order})
