import numpy as np
import pytest

from diffunet.fingerprint.position import (
    NUM_POSITIONS,
    left_out_share,
    position_auc,
    relative_position,
)


def test_first_and_last_slice_are_at_the_ends():
    assert relative_position(0, 50) == 0
    assert relative_position(49, 50) == NUM_POSITIONS - 1
    assert relative_position(0, 1) == 0


def _patients(num_patients: int, *, positive: slice) -> tuple[np.ndarray, np.ndarray]:
    positives = np.zeros((num_patients, NUM_POSITIONS))
    positives[:, positive] = 1
    return positives, 1 - positives


@pytest.mark.parametrize("counts_own_patient", [True, False])
def test_findings_in_the_middle_of_every_patient_are_predicted_perfectly(counts_own_patient):
    positives, negatives = _patients(10, positive=slice(8, 12))
    assert position_auc(positives, negatives, counts_own_patient=counts_own_patient) == 1


def test_findings_anywhere_are_not_predicted_for_other_patients():
    positives = (np.random.default_rng(0).random((200, NUM_POSITIONS)) < 0.3).astype(float)
    found = position_auc(positives, 1 - positives, counts_own_patient=False)
    assert found == pytest.approx(0.5, abs=0.05)


def test_counting_the_own_patient_flatters():
    positives = (np.random.default_rng(0).random((5, NUM_POSITIONS)) < 0.3).astype(float)
    seen = position_auc(positives, 1 - positives, counts_own_patient=True)
    unseen = position_auc(positives, 1 - positives, counts_own_patient=False)
    assert seen is not None
    assert unseen is not None
    assert seen > 0.6 > unseen


def test_no_slice_has_no_auc():
    nothing = np.zeros((3, NUM_POSITIONS))
    assert position_auc(nothing, nothing, counts_own_patient=False) is None


def test_an_organ_is_left_out_but_at_its_ends():
    positives, negatives = _patients(20, positive=slice(6, 14))
    for patient in range(10):  # of half of them it ends two places, a twentieth each, earlier
        positives[patient, 12:14], negatives[patient, 12:14] = 0, 1
    # balance has parts of a tenth: that of the last two places has both kinds, the others one
    assert left_out_share(positives, negatives) == pytest.approx(120 / 140)


def test_a_finding_anywhere_leaves_nothing_out():
    positives = (np.random.default_rng(0).random((200, NUM_POSITIONS)) < 0.3).astype(float)
    assert left_out_share(positives, 1 - positives) == 0


def test_nothing_is_left_out_where_no_place_has_both_kinds():
    assert left_out_share(*_patients(10, positive=slice(8, 12))) == 0
