import numpy as np
import pytest

from diffunet.labels import LabelScheme
from diffunet.postprocessing.components import keep_largest, largest_component
from tests.inference.written_folders import label_map

TWO = LabelScheme.from_dataset_json({"labels": {"background": 0, "one": 1, "two": 2}})
REGIONS = LabelScheme.from_dataset_json(
    {
        "labels": {"background": 0, "whole": [1, 2], "core": [2]},
        "regions_class_order": [1, 2],
    }
)


def cleaned(text, names, labels=TWO) -> str:
    masks = keep_largest(labels.masks(label_map(text)), names, labels=labels)
    return " ".join("".join(map(str, row)) for row in labels.label_map(masks))


@pytest.mark.parametrize(
    ("mask", "kept"),
    [
        ("0000", "0000"),
        ("0110", "0110"),
        ("1011", "0011"),
        ("1010", "1010"),  # equally large: both stay
        ("100 010 000", "100 010 000"),  # a corner is enough
        ("110 000 001", "110 000 000"),
    ],
)
def test_the_largest_component_stays(mask, kept):
    found = largest_component(label_map(mask).astype(bool))
    assert np.array_equal(found, label_map(kept).astype(bool))


def test_components_of_a_volume_span_its_slices():
    mask = np.zeros((3, 3, 3), bool)
    mask[:2, 0, 0] = mask[2, 2, 2] = True
    found = largest_component(mask)
    assert found.sum() == 2
    assert not found[2, 2, 2]


def test_labels_that_touch_are_one_object_together():
    assert cleaned("1220100", ("one", "two")) == "1220000"


def test_each_label_alone_loses_its_smaller_components():
    assert cleaned("1101022", ("one",)) == "1100022"


def test_a_region_keeps_what_a_region_within_it_loses():
    assert cleaned("1221120", ("core",), REGIONS) == "1221110"


def test_a_region_within_another_loses_what_that_loses():
    assert cleaned("1221020", ("whole",), REGIONS) == "1221000"
