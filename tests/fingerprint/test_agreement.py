import numpy as np
import pytest

from diffunet.fingerprint.agreement import AgreementAccumulator
from diffunet.fingerprint.masks import measure_masks
from diffunet.labels import LabelScheme

LABELS = LabelScheme(names=("lesion",), values=((1,),))
NAMES = ("r00", "r01", "r02")


def a_mask(*, size: int, is_inverted: bool = False) -> np.ndarray:
    mask = np.zeros((12, 12), np.uint8)
    mask[3 : 3 + size, 3 : 3 + size] = 1
    return 1 - mask if is_inverted else mask


def agreement(*cases):
    accumulator = AgreementAccumulator()
    for number, masks in enumerate(cases):
        measured = measure_masks(
            np.stack(masks), labels=LABELS, spacing_mm=(1, 1), slice_axis=None, case=str(number)
        )
        accumulator.add(NAMES[: len(masks)], measured)
    return accumulator.by_rater()


def test_an_inverted_rater_agrees_with_nobody_while_the_others_agree():
    inverted = a_mask(size=5, is_inverted=True)
    found = agreement(*[(a_mask(size=5), a_mask(size=4), inverted)] * 3)
    assert found["r02"].iou == pytest.approx(0)
    assert found["r02"].iou_of_others == pytest.approx(16 / 25)
    assert found["r00"].num_pairs == 6


def test_masks_that_mark_nothing_say_nothing_of_where_a_rater_marks():
    empty = np.zeros((12, 12), np.uint8)
    found = agreement((a_mask(size=5), a_mask(size=5), empty))
    assert set(found) == {"r00", "r01"}
    assert found["r00"].iou == 1
    assert found["r00"].iou_of_others is None
