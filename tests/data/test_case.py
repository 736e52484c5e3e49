import dataclasses

import pytest

from diffunet.data.store.case import CaseProperties, IntensityNormalization
from diffunet.geometry import Box


def properties(shape: tuple[int, ...], **more) -> CaseProperties:
    return CaseProperties(
        case="a",
        patient="a",
        original_shape=shape,
        original_spacing_mm=(1.0,) * len(shape),
        transpose_forward=tuple(range(len(shape))),
        crop_box=Box((0,) * len(shape), shape),
        shape=shape,
        spacing_mm=(1.0,) * len(shape),
        normalization=(IntensityNormalization(),),
        is_normalized=False,
        **more,
    )


@pytest.mark.parametrize(
    ("shape", "dimensions", "labels", "expected"),
    [
        ((4, 4), 2, {"image_labels": (1,)}, {None: (1,)}),
        ((4, 4), 2, {}, {}),
        ((3, 4, 4), 3, {"image_labels": (1,)}, {None: (1,)}),
        ((3, 4, 4), 3, {"slice_image_labels": ((1,), None, (0,))}, {}),
        ((3, 4, 4), 2, {"image_labels": (1,)}, {0: (1,), 1: (1,), 2: (1,)}),
        ((3, 4, 4), 2, {"slice_image_labels": ((1,), None, (0,))}, {0: (1,), 2: (0,)}),
        (
            (3, 4, 4),
            2,
            {"image_labels": (1,), "slice_image_labels": (None, (0,), None)},
            {1: (0,)},
        ),
        (
            (2, 4, 4),
            2,
            {"image_labels": (1,), "slice_image_labels": (None, None)},
            {0: (1,), 1: (1,)},
        ),
        ((3, 4, 4), 2, {}, {}),
    ],
)
def test_the_labelled_images_of_a_case_and_their_labels(shape, dimensions, labels, expected):
    case = properties(shape, **labels)
    found = {index: case.tags_of(index) for index in case.tagged_images(dimensions)}
    assert found == expected


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"transpose_forward": (0, 0)}, "each once"),
        ({"transpose_forward": (0,)}, "2 or 3 axes"),
        ({"shape": (4, 4, 4)}, "2 values each"),
        ({"shape": (0, 4)}, "positive"),
        ({"crop_box": Box((-1, 0), (4, 4))}, "inside"),
        ({"crop_box": Box((3, 0), (3, 4))}, "positive"),
        ({"spacing_mm": (0.0, 1.0)}, "spacings should be positive"),
        ({"original_spacing_mm": (float("nan"), 1.0)}, "spacings should be positive"),
        ({"nearest_axis": 2}, "nearest_axis should be below 2"),
        ({"slice_image_labels": ((1,),) * 5}, "4 slices at most"),
    ],
)
def test_properties_that_contradict_each_other_are_refused(change, message):
    with pytest.raises(ValueError, match=message):
        dataclasses.replace(properties((4, 4)), **change)
