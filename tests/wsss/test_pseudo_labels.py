import numpy as np
import pytest

from diffunet.data.image_io import ImageGeometry
from diffunet.labels import LabelScheme
from diffunet.plans import MaskPlan
from diffunet.wsss.prediction.case_records import WrittenCase
from diffunet.wsss.second_stage.pseudo_labels import label_record, pseudo_labels_of, summary_of

ONE = LabelScheme(names=("a",), values=((1,),), ignore_value=2)
TWO = LabelScheme(names=("a", "b"), values=((1,), (2,)), ignore_value=3)
REGIONS = LabelScheme(
    names=("whole", "core"),
    values=((1, 2), (2,)),
    is_regions=True,
    class_order=(1, 2),
    ignore_value=3,
)
HALF = MaskPlan(threshold="fixed", threshold_value=4.0, unsure_share=0.5)
EXACT = MaskPlan(threshold="fixed", threshold_value=4.0, unsure_share=0.0)
NONE = float("nan")

# about the threshold 4 the means are 1 (0, 0, 3) and 8 (6, 8, 10); half of the way from 4 to them
# is 2.5 and 6: 3 and 6 are unsure
ROW = [0.0, 0.0, 3.0, 6.0, 8.0, 10.0]
TAUGHT = [0, 0, 2, 2, 1, 1]


def written(maps, thresholds, *, is_by_slice: bool = True, is_present=None) -> WrittenCase:
    maps, thresholds = np.asarray(maps, np.float32), np.asarray(thresholds, float)
    shape = maps.shape[1:]
    return WrittenCase(
        saliency=maps,
        thresholds=thresholds,
        is_present=~np.isnan(thresholds) if is_present is None else np.asarray(is_present, bool),
        is_decided_by_slice=is_by_slice,
        geometry=ImageGeometry(shape=shape, spacing_mm=(1.0,) * len(shape)),
        content={},
    )


def taught(case: WrittenCase, *, plan=HALF, labels=ONE, known=None, slice_axis=None):
    return pseudo_labels_of(
        case, plan=plan, labels=labels, known=known or {}, slice_axis=slice_axis
    )


def test_what_lies_half_way_to_the_mean_of_its_side_is_taught_and_the_rest_ignored():
    found = taught(written([[ROW]], [[4.0]]))
    assert found.label_map.tolist() == [TAUGHT]
    assert found.sure_shares == {"a": pytest.approx(2 / 6)}
    assert found.unsure_share == pytest.approx(2 / 6)
    assert not found.is_without_mask.any()


def test_an_image_without_the_label_is_background_and_sure_everywhere():
    found = taught(written([[ROW]], [[NONE]], is_by_slice=False), known={None: (0,)})
    assert not found.label_map.any()
    assert found.unsure_share == 0


def test_an_image_known_to_show_a_label_that_has_no_mask_teaches_nothing():
    found = taught(written([[[0.0, 1.0, 2.0]]], [[4.0]]), known={None: (1,)})
    assert found.label_map.tolist() == [[2, 2, 2]]
    assert found.is_without_mask.tolist() == [[True]]


def test_of_slices_with_tags_only_the_one_without_a_mask_teaches_nothing():
    maps = [[[ROW], [[0.0] * 6], [[0.0] * 6]]]
    found = taught(written(maps, [[4.0], [4.0], [NONE]]), slice_axis=0)
    assert found.label_map[:, 0].tolist() == [TAUGHT, [2] * 6, [0] * 6]
    assert found.is_without_mask.tolist() == [[False], [True], [False]]


def test_a_slice_known_to_show_a_label_is_unsure_where_preprocessing_left_it_out():
    maps = [[[ROW], [[0.0] * 6]]]
    found = taught(written(maps, [[4.0], [NONE]]), known={1: (1,)}, slice_axis=0)
    assert found.label_map[:, 0].tolist() == [TAUGHT, [2] * 6]


def test_a_volume_with_a_tag_of_its_own_needs_a_mask_in_one_slice_only():
    maps = [[[ROW], [[0.0] * 6]]]
    found = taught(
        written(maps, [[4.0], [4.0]], is_by_slice=False), known={None: (1,)}, slice_axis=0
    )
    assert found.label_map[:, 0].tolist() == [TAUGHT, [0] * 6]


def test_a_volume_known_to_show_a_label_that_has_no_mask_teaches_nothing_in_any_slice():
    case = written(np.zeros((1, 2, 1, 6)), [[4.0], [NONE]], is_by_slice=False)
    found = taught(case, known={None: (1,)}, slice_axis=0)
    assert (found.label_map == 2).all()
    assert found.is_without_mask.tolist() == [[True], [True]]


def test_slices_lie_along_the_axis_that_the_model_cuts():
    maps = np.moveaxis(np.array([[[ROW], [[0.0] * 6]]]), 1, 2)
    found = taught(written(maps, [[4.0], [4.0]]), slice_axis=1)
    assert found.label_map[0].tolist() == [TAUGHT, [2] * 6]


def test_a_pixel_that_two_exclusive_labels_claim_is_ignored():
    maps = [[[0.0, 9.0, 9.0]], [[0.0, 0.0, 8.0]]]
    found = taught(written(maps, [[4.0, 4.0]]), plan=EXACT, labels=TWO)
    assert found.label_map.tolist() == [[0, 1, 3]]


def test_a_label_that_is_contested_everywhere_has_a_mask():
    maps = [[[0.0, 9.0, 9.0]], [[0.0, 0.0, 8.0]]]
    found = taught(written(maps, [[4.0, 4.0]]), plan=EXACT, labels=TWO, known={None: (1, 1)})
    assert not found.is_without_mask.any()
    assert found.sure_shares == {"a": pytest.approx(1 / 3), "b": 0.0}


def test_one_label_without_a_mask_leaves_nothing_sure_of_the_others():
    maps = [[[0.0, 9.0, 9.0]], [[0.0, 0.0, 0.0]]]
    found = taught(written(maps, [[4.0, 4.0]]), plan=EXACT, labels=TWO, known={None: (1, 1)})
    assert found.label_map.tolist() == [[3, 3, 3]]
    assert found.is_without_mask.tolist() == [[False, True]]


def test_regions_may_overlap():
    maps = [[[0.0, 9.0, 9.0]], [[0.0, 0.0, 8.0]]]
    found = taught(written(maps, [[4.0, 4.0]]), plan=EXACT, labels=REGIONS)
    assert found.label_map.tolist() == [[0, 1, 2]]
    assert found.sure_shares == {"whole": pytest.approx(2 / 3), "core": pytest.approx(1 / 3)}


def test_a_dark_label_is_taught_where_the_map_is_most_negative():
    plan = MaskPlan(sign="negative", threshold="fixed", threshold_value=4.0, unsure_share=0.5)
    found = taught(written([[-np.array(ROW)]], [[4.0]]), plan=plan)
    assert found.label_map.tolist() == [TAUGHT]


def about(*, is_present: bool, threshold: float) -> dict:
    case = written([[ROW]], [[threshold if is_present else NONE]])
    content = {
        "is_decided_by_slice": False,
        "labels": {
            "a": {
                "case_probability": 0.5,
                "probability": [0.5],
                "is_present": [is_present],
                "decided_by": ["given"],
                "threshold": [threshold],
                "saliency_file": {},
            }
        },
    }
    return label_record(content, taught(case, known={None: (int(is_present),)}))


def test_the_record_of_a_case_says_what_was_decided_and_what_is_sure():
    found = about(is_present=True, threshold=4.0)
    assert found["unsure_share"] == pytest.approx(1 / 3)
    assert found["labels"]["a"]["sure_share"] == pytest.approx(1 / 3)
    assert found["labels"]["a"]["threshold"] == [4.0]
    assert found["labels"]["a"]["is_without_mask"] == [False]
    assert "saliency_file" not in found["labels"]["a"]


def test_the_summary_counts_cases_by_label():
    cases = [(True, 4.0), (True, 100.0), (False, 4.0)]
    records = {
        str(number): about(is_present=shown, threshold=threshold)
        for number, (shown, threshold) in enumerate(cases)
    }
    found = summary_of(records)
    assert found["num_cases"] == 3
    assert found["mean_unsure_share"] == pytest.approx((1 / 3 + 1) / 3)
    assert found["labels"]["a"] == {
        "num_present": 2,
        "num_without_mask": 1,
        "num_with_sure_pixels": 1,
    }
