import dataclasses

import pytest

from diffunet.fingerprint.fingerprint import Fingerprint, RaterAgreement
from diffunet.fingerprint.traps import is_centred, with_warnings
from tests.planning.fingerprints import (
    a_channel,
    a_disagreement,
    a_fingerprint,
    a_label,
    a_rater_fingerprint,
    a_summary,
    an_image_label,
)


def _warnings(fingerprint: Fingerprint) -> str:
    return "\n".join(with_warnings(fingerprint).warnings)


def agreements(*iou: float, others: float | None = 0.5, num_pairs: int = 9):
    return {
        f"r{number:02d}": RaterAgreement(num_pairs=num_pairs, iou=each, iou_of_others=others)
        for number, each in enumerate(iou)
    }


@pytest.mark.parametrize("found", [agreements(0.5, 0.2), agreements(0.5, 0.01, num_pairs=2)])
def test_raters_who_agree_a_little_or_of_whom_little_is_known_are_no_trap(found):
    fingerprint = a_fingerprint(raters=a_rater_fingerprint(4, agreement=found))
    assert "marks other places" not in _warnings(fingerprint)


def test_a_sound_dataset_has_no_warning():
    assert _warnings(a_fingerprint()) == ""


def test_units_of_images_that_are_normalised_one_by_one_do_not_matter():
    channel = a_channel("MR", num_other_unit=2, other_unit_examples=("y", "z"))
    assert _warnings(a_fingerprint(channels=(channel,))) == ""


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"num_patients": 7}, "Only 7 patients"),
        (
            {"channels": (a_channel(num_constant=3, constant_examples=("x",)),)},
            "3 of 100 images are constant (all black, say), e.g. 'x'",
        ),
        (
            {"channels": (a_channel("CT", num_other_unit=2, other_unit_examples=("y", "z")),)},
            "the intensities of 2 of 100 images lie far from those of the others, e.g. 'y', 'z'",
        ),
        (
            {"channels": (a_channel(num_noise=2, noise_examples=("y", "z")),)},
            "2 of 100 images look like pure noise (neighbouring voxels hardly correlate), "
            "e.g. 'y', 'z'",
        ),
        (
            {"channels": (a_channel(case_maximum=a_summary(1000, minimum=112, maximum=1.6e6)),)},
            "ranges from 112 to 1.6e+06 (median 1000)",
        ),
        ({"labels": {"lesion": a_label(centre_distance=a_summary(0.05))}}, "lie at the centre"),
        ({"labels": {"lesion": a_label(share_of_cases_without=0.3)}}, "30% of the cases have none"),
        ({"labels": {"lesion": a_label(objects=None)}}, "nothing can be learned about it"),
        (
            {
                "raters": a_rater_fingerprint(
                    4, share_of_empty_masks=0.38, share_of_cases_partly_empty=0.7
                )
            },
            "38% of all masks are empty, and in 70% of the cases some raters",
        ),
        ({"raters": a_rater_fingerprint(2)}, "2.0 raters per case are too few"),
        ({"raters": a_rater_fingerprint(4)}, "GED of answers that need no model: always empty 0.8"),
        (
            {"raters": a_rater_fingerprint(3, minimum=2, maximum=5)},
            "Cases have 2 to 5 raters",
        ),
        (
            {"raters": a_rater_fingerprint(3, agreement=agreements(0.5, 0.45, 0.02))},
            "Rater r02 marks other places than the others: a mean IoU of 0.02 with them",
        ),
        (
            {"raters": a_rater_fingerprint(3, agreement=agreements(0.01, 0.01, others=None))},
            "Raters hardly ever mark the same places",
        ),
        (
            {"image_labels": {"tumour": an_image_label(position_auc=0.82, position_auc_seen=0.86)}},
            "AUC of 0.82 for unseen patients (0.86 with the same patients)",
        ),
        (
            {"image_labels": {"tumour": an_image_label(content_auc=0.2)}},
            "the bright share of the image alone predicts it with an AUC of 0.80",
        ),
        (
            {"image_labels": {"tumour": an_image_label(num_images=100, prevalence=0.19)}},
            "only 19 training images of 30 patients show it (expected at least 20 of 5)",
        ),
        (
            {"image_labels": {"tumour": an_image_label(num_images=100, prevalence=0.81)}},
            "only 19 training images of 40 patients do not show it",
        ),
        (
            {"image_labels": {"tumour": an_image_label(num_positive_patients=4)}},
            "only 30 training images of 4 patients show it",
        ),
        (
            {"image_labels": {"tumour": an_image_label(num_negative_patients=4)}},
            "only 70 training images of 4 patients do not show it",
        ),
        (
            {"image_labels": {"tumour": an_image_label(left_out_share=0.59)}},
            "59% of the slices that show it lie where nearly all slices do",
        ),
        (
            {"image_labels": {"tumour": an_image_label(num_whole_positives=3)}},
            "3 volumes that show it have one row for the whole case",
        ),
        ({"image_labels": {}, "labels": None}, "no mask was opened"),
    ],
)
def test_each_trap_is_told_in_words(change, words):
    assert words in _warnings(dataclasses.replace(a_fingerprint(), **change))


def test_a_trap_of_many_labels_is_told_once():
    shares = {f"organ {i}": a_label(share_of_cases_without=0.2 + i / 100) for i in range(8)}
    fingerprint = dataclasses.replace(a_fingerprint(), labels=shares | {"body": a_label()})
    assert _warnings(fingerprint) == (
        "Each of 8 labels ('organ 0', 'organ 1', 'organ 2', 'organ 3', 'organ 4' and 3 more): 20% "
        "to 27% of the cases have none by any rater; there, scores count an empty answer as right."
    )


def test_enough_images_of_both_kinds_are_no_trap():
    label = an_image_label(
        num_images=100, prevalence=0.2, num_positive_patients=5, num_negative_patients=5
    )
    warnings = _warnings(dataclasses.replace(a_fingerprint(), image_labels={"x": label}))
    assert "training images of" not in warnings


def test_labels_that_nothing_predicts_are_no_trap():
    label = an_image_label(
        position_auc=0.6, position_auc_seen=0.9, content_auc=0.55, left_out_share=0.3
    )
    warnings = _warnings(dataclasses.replace(a_fingerprint(), image_labels={"x": label}))
    assert "predicts" not in warnings
    assert "Image-level label 'x'" not in warnings


@pytest.mark.parametrize(
    ("distance", "fraction", "expected"),
    [(0.05, 0.01, True), (0.5, 0.01, False), (0.05, 0.5, False), (None, 0.01, False)],
)
def test_small_objects_near_the_centre_are_centred(distance, fraction, expected):
    label = a_label(
        centre_distance=None if distance is None else a_summary(distance),
        foreground_fraction=a_summary(fraction),
        disagreement=a_disagreement(),
    )
    assert is_centred(label) is expected


def _spaced(*spacing_mm: float) -> Fingerprint:
    base = a_fingerprint(image_labels={})
    spacings = tuple(a_summary(value) for value in spacing_mm)
    return dataclasses.replace(
        base, geometry=dataclasses.replace(base.geometry, spacing_mm=spacings)
    )


@pytest.mark.parametrize(
    ("has_spacing", "largest", "is_told"),
    [(False, 4000, True), (True, 4000, False), (False, 900, False)],
)
def test_pictures_of_very_different_sizes_may_show_the_same_larger(has_spacing, largest, is_told):
    base = a_fingerprint()
    shape = (a_summary(500, minimum=450, maximum=largest), a_summary(600, maximum=1.5 * largest))
    geometry = dataclasses.replace(base.geometry, shape=shape, has_spacing=has_spacing)
    warnings = _warnings(dataclasses.replace(base, geometry=geometry))
    assert ("from 450 to 4000 rows" in warnings) is is_told
    assert ("up to" in warnings) is is_told


def test_labels_of_slices_across_which_voxels_are_not_coarsest_are_doubted():
    warnings = _warnings(_spaced(1.0, 1.0, 5.0))
    assert "where voxels measure 1 mm; they are coarsest along axis 2 (x), 5 mm" in warnings


@pytest.mark.parametrize("spacing_mm", [(5.0, 1.0, 1.0), (1.0, 1.0, 1.2), (1.0, 4.0)])
def test_labels_of_coarse_slices_cubes_and_images_are_not_doubted(spacing_mm):
    assert "coarsest along" not in _warnings(_spaced(*spacing_mm))


def test_masks_of_volumes_have_no_slices_to_be_counted():
    fingerprint = dataclasses.replace(_spaced(1.0, 1.0, 5.0), image_labels=None)
    assert "coarsest along" not in _warnings(fingerprint)
