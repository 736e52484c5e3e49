import dataclasses
import json
import re
from pathlib import Path

import numpy as np
import pytest

from diffunet.data.raw.dataset import RawDataset
from diffunet.errors import DatasetError
from diffunet.fingerprint.extract import extract_fingerprint
from diffunet.fingerprint.fingerprint import Fingerprint
from tests.fingerprint.raw_datasets import image_2d, mask_2d, write_dataset

EMPTY = mask_2d((0, 0), (0, 0))
OBJECT = mask_2d((2, 4), (6, 9))  # 20 pixels
LARGER = mask_2d((2, 4), (6, 14))  # 40 pixels


@pytest.fixture
def two_raters(tmp_path: Path) -> RawDataset:
    return write_dataset(
        tmp_path / "Dataset001_A",
        {f"c{k}": image_2d(k) for k in range(4)},
        {
            **{"c0_r00": OBJECT, "c0_r01": EMPTY},
            **{"c1_r00": OBJECT, "c1_r01": LARGER},
            **{"c2_r00": EMPTY, "c2_r01": EMPTY},
            "c3_r00": LARGER,
        },
        content={"raters": True},
        tables={
            "patients.csv": [
                ["case", "patient"],
                *([f"c{k}", name] for k, name in enumerate(("p", "p", "q", "r"))),
            ]
        },
    )


def test_cases_patients_and_grids_are_counted(two_raters):
    found = extract_fingerprint(two_raters, num_processes=0)
    assert (found.num_cases, found.num_patients, found.dimensions) == (4, 3, 2)
    assert found.dataset_name == "Dataset001_A"
    assert found.slice_axis is None
    assert [axis.median for axis in found.geometry.shape] == [32, 40]
    assert [axis.median for axis in found.geometry.spacing_mm] == [1, 1]
    assert found.geometry.relative_size_after_crop.mean == 1


def test_raters_who_saw_nothing_are_not_raters_who_were_not_asked(two_raters):
    raters = extract_fingerprint(two_raters, num_processes=0).raters
    assert raters is not None
    assert raters.per_case.mean == 7 / 4
    assert raters.share_of_empty_masks == 3 / 7
    assert raters.share_of_empty_masks_by_rater == {"r00": 1 / 4, "r01": 2 / 3}
    assert raters.share_of_cases_partly_empty == 1 / 4


def test_labels_are_measured_over_raters_and_cases(two_raters):
    labels = extract_fingerprint(two_raters, num_processes=0).labels
    assert labels is not None
    label = labels["lesion"]
    assert label.share_of_empty_masks == 3 / 7
    assert label.share_of_cases_without == 1 / 4
    assert label.foreground_fraction.count == 7
    assert label.objects is not None
    assert label.objects.voxels.mean == 30
    assert label.objects.per_mask.mean == 1
    assert label.objects_of_slice is None
    disagreement = label.disagreement
    assert disagreement is not None
    assert disagreement.iou.mean == pytest.approx((0 + 0.5 + 1) / 3)
    assert disagreement.iou_where_both_marked is not None
    assert disagreement.iou_where_both_marked.mean == 0.5
    assert disagreement.share_of_equal_pairs == 1 / 3
    assert disagreement.largest_piece["whole"].mean == 20


def test_trivial_answers_are_means_over_cases(two_raters):
    trivial = extract_fingerprint(two_raters, num_processes=0).trivial_answers
    assert trivial is not None
    # per case, empty: 0.5; 2 - 0.25; 0; 2
    assert trivial.always_empty == pytest.approx((0.5 + 1.75 + 0 + 2) / 4)
    # per case D_yy / 16 with D_yy = 0.5, 0.25, 0, 0
    assert trivial.oracle_redraw == pytest.approx((0.5 + 0.25) / 16 / 4)
    # the majority of two is their intersection: 0.5, 2 * 0.25 - 0.25, 0, 0
    assert trivial.oracle_majority == pytest.approx((0.5 + 0.25) / 4)


def test_intensities_are_those_of_the_union_of_raters(two_raters):
    channel = extract_fingerprint(two_raters, num_processes=0).channels[0]
    assert channel.foreground == "labels"
    assert channel.intensities is not None
    inside = [image_2d(k)[mask > 0] for k, mask in ((0, OBJECT), (1, LARGER), (3, LARGER))]
    assert channel.intensities.minimum == min(values.min() for values in inside)
    assert channel.intensities.maximum == max(values.max() for values in inside)
    # every case counts alike, whatever the size of its foreground
    expected = np.mean([values.mean() for values in inside])
    assert channel.intensities.mean == pytest.approx(expected, rel=0.01)
    assert channel.case_maximum.count == 4


def test_the_result_depends_on_neither_processes_nor_repetition(two_raters):
    alone = extract_fingerprint(two_raters, num_processes=0)
    assert extract_fingerprint(two_raters, num_processes=2) == alone


def test_a_saved_fingerprint_is_loaded_again(two_raters, tmp_path):
    found = extract_fingerprint(two_raters, num_processes=0)
    found.save(tmp_path / "dataset_fingerprint.json")
    assert Fingerprint.load(tmp_path / "dataset_fingerprint.json") == found


def test_loading_is_strict(two_raters, tmp_path):
    path = tmp_path / "dataset_fingerprint.json"
    extract_fingerprint(two_raters, num_processes=0).save(path)
    content = json.loads(path.read_text())
    path.write_text(json.dumps(content | {"num_case": 3}))
    with pytest.raises(DatasetError, match="unknown key 'num_case'"):
        Fingerprint.load(path)
    path.write_text(json.dumps(content | {"format_version": 99}))
    with pytest.raises(
        DatasetError, match="measure the dataset with diffunet_extract_fingerprint -d"
    ):
        Fingerprint.load(path)
    path.write_text("[]")
    with pytest.raises(DatasetError, match="should be 3, got None"):
        Fingerprint.load(path)


@pytest.mark.parametrize("window", ["1e+308", "{}", "-32", "0"])
def test_a_window_that_is_none_names_its_place(two_raters, tmp_path, window):
    path = tmp_path / "dataset_fingerprint.json"
    extract_fingerprint(two_raters, num_processes=0).save(path)
    content = json.loads(path.read_text())
    windows = next(iter(content["labels"].values()))["disagreement"]["largest_piece"]
    windows[window] = windows.pop("32")
    path.write_text(json.dumps(content))
    with pytest.raises(DatasetError, match=rf"disagreement: unknown window '{re.escape(window)}'"):
        Fingerprint.load(path)


def test_progress_wraps_the_cases(two_raters):
    seen = []

    def progress(items, total, description):
        for item in items:
            seen.append((total, description))
            yield item

    extract_fingerprint(two_raters, num_processes=0, progress=progress)
    assert seen == [(4, "fingerprint")] * 4


def test_volumes_are_cropped_and_sliced_across_their_coarse_axis(tmp_path):
    image = np.zeros((6, 20, 10), np.float32)
    image[:, 2:18] = 5 + np.arange(10)
    mask = np.zeros((6, 20, 10), np.uint8)
    mask[2:5, 4:8, 3:5] = 1
    dataset = write_dataset(
        tmp_path / "Dataset002_B",
        {"a": image, "b": image},
        {"a": mask, "b": mask},
        spacing_mm=(1.0, 1.0, 3.0),
    )
    found = extract_fingerprint(dataset, num_processes=0)
    assert (found.dimensions, found.slice_axis) == (3, 2)
    assert [axis.mean for axis in found.geometry.shape_after_crop] == [6, 16, 10]
    assert [axis.mean for axis in found.geometry.extent_after_crop_mm] == [6, 16, 30]
    assert found.geometry.relative_size_after_crop.mean == pytest.approx(0.8)
    assert found.labels is not None
    objects, of_slice = found.labels["lesion"].objects, found.labels["lesion"].objects_of_slice
    assert objects is not None
    assert of_slice is not None
    assert objects.voxels.mean == 24
    assert of_slice.voxels.mean == 12
    assert of_slice.volume_mm.mean == 12


@pytest.fixture
def weak(tmp_path: Path) -> RawDataset:
    folder = tmp_path / "Dataset003_C"
    images = {f"p{p}_{k}": image_2d(p + k) for p in range(5) for k in range(7)}
    rows = [[case, int(case[-1] in "234")] for case in images]
    patients = [[case, case[:2]] for case in images]
    return write_dataset(
        folder,
        images,
        dict.fromkeys(images, OBJECT),
        content={"image_labels": "image_labels.csv"},
        tables={
            "image_labels.csv": [["case", "lesion"], *rows],
            "patients.csv": [["case", "patient"], *patients],
        },
    )


def test_masks_are_never_opened_where_image_labels_are_declared(weak):
    for path in (weak.folder / "labelsTr").iterdir():
        path.write_bytes(b"not an image")
    found = extract_fingerprint(weak, num_processes=0)
    assert found.labels is found.raters is found.trivial_answers is None
    assert found.channels[0].foreground == "not zero"
    assert found.channels[0].intensities is not None


def test_findings_in_the_middle_of_each_patient_are_predicted_by_position(weak):
    found = extract_fingerprint(weak, num_processes=0)
    assert found.image_labels is not None
    label = found.image_labels["lesion"]
    assert label.num_images == 35
    assert label.prevalence == pytest.approx(3 / 7)
    assert label.position_auc == label.position_auc_seen == 1
    assert any("position of a slice alone" in warning for warning in found.warnings)


def test_patients_with_and_without_a_label_are_counted(tmp_path):
    images = {f"{patient}_{k}": image_2d(k) for patient in "abc" for k in range(3)}
    shown = {"a_0", "a_1", "a_2", "b_0"}
    rows = [[case, int(case in shown)] for case in images]
    dataset = write_dataset(
        tmp_path / "Dataset003_C",
        images,
        {},
        content={"image_labels": "image_labels.csv"},
        tables={
            "image_labels.csv": [["case", "lesion"], *rows],
            "patients.csv": [["case", "patient"], *([case, case[0]] for case in images)],
        },
    )
    found = extract_fingerprint(dataset, num_processes=0).image_labels
    assert found is not None
    label = found["lesion"]
    assert (label.num_positive_patients, label.num_negative_patients) == (2, 2)
    assert (label.num_images, label.num_slices) == (9, 0)


def test_labelled_slices_and_labelled_cases_are_told_apart(tmp_path):
    rows = [["case", "slice", "lesion"], ["a", 0, 1], ["a", 1, 0], ["b", "", 1], ["c", "", 0]]
    dataset = _labelled_volumes(tmp_path / "Dataset004_D", rows)
    found = extract_fingerprint(dataset, num_processes=0).image_labels
    assert found is not None
    assert (found["lesion"].num_images, found["lesion"].num_slices) == (4, 2)
    assert found["lesion"].num_whole_positives == 1


def _labelled_volumes(folder: Path, rows: list, depth: int = 5) -> RawDataset:
    volume = np.zeros((depth, 12, 14), np.float32)
    volume[:, 2:8] = np.arange(depth)[:, None, None] + 1
    return write_dataset(
        folder,
        {"a": volume, "b": volume, "c": volume},
        {},
        content={"image_labels": "image_labels.csv"},
        tables={"image_labels.csv": rows},
        spacing_mm=(1.0, 1.0, 3.0),
    )


def test_labels_of_slices_are_placed_along_the_first_axis(tmp_path):
    rows = [["case", "slice", "lesion"]]
    rows += [[case, k, int(k == 4)] for case in "abc" for k in range(5)]
    found = extract_fingerprint(_labelled_volumes(tmp_path / "Dataset004_D", rows), num_processes=0)
    assert found.slice_axis == 0
    assert found.image_labels is not None
    assert found.image_labels["lesion"].num_images == 15
    assert found.image_labels["lesion"].position_auc == 1
    # later slices are brighter than the volume's mean
    assert found.image_labels["lesion"].content_auc is not None
    assert found.image_labels["lesion"].content_auc > 0.6


def test_labels_of_whole_volumes_have_no_position(tmp_path):
    rows = [["case", "lesion"], ["a", 1], ["b", 0], ["c", 0]]
    found = extract_fingerprint(_labelled_volumes(tmp_path / "Dataset004_D", rows), num_processes=0)
    assert found.image_labels is not None
    label = found.image_labels["lesion"]
    assert label.num_images == 3
    assert label.position_auc is label.position_auc_seen is label.left_out_share is None
    assert label.content_auc == 0.5
    assert label.num_whole_positives == 0


def test_slices_without_a_label_are_not_counted(tmp_path):
    rows = [["case", "slice", "lesion"]]
    rows += [["a", 1, 1], ["a", 2, 0], ["b", 0, 1], ["c", "", 0], ["b", 99, 0]]
    found = extract_fingerprint(_labelled_volumes(tmp_path / "Dataset004_D", rows), num_processes=0)
    assert found.image_labels is not None
    assert found.image_labels["lesion"].num_images == 4


def test_nan_is_an_error_that_names_the_case(tmp_path):
    image = np.ones((4, 6, 8), np.float32)
    image[1, 2, 3] = np.nan
    dataset = write_dataset(
        tmp_path / "Dataset005_E", {"bad": image}, {"bad": np.zeros((4, 6, 8), np.uint8)}
    )
    with pytest.raises(DatasetError, match="case 'bad': expected finite intensities"):
        extract_fingerprint(dataset, num_processes=0)


def test_a_mask_of_another_shape_is_an_error_that_names_the_case(tmp_path):
    dataset = write_dataset(
        tmp_path / "Dataset005_E", {"bad": image_2d(0)}, {"bad": np.zeros((4, 6), np.uint8)}
    )
    with pytest.raises(DatasetError, match=r"case 'bad': .*\(32, 40\), found \(4, 6\)"):
        extract_fingerprint(dataset, num_processes=0)


def test_a_dataset_without_training_cases_is_an_error(two_raters):
    empty = dataclasses.replace(two_raters, training_cases=())
    with pytest.raises(DatasetError, match="no training case"):
        extract_fingerprint(empty, num_processes=0)


def test_images_and_volumes_do_not_mix(two_raters, tmp_path):
    volume = np.ones((4, 6, 8), np.float32)
    other = write_dataset(tmp_path / "Dataset006_F", {"v": volume}, {"v": volume.astype(np.uint8)})
    mixed = dataclasses.replace(
        two_raters, training_cases=two_raters.training_cases + other.training_cases
    )
    with pytest.raises(DatasetError, match="case 'v': expected 2 spatial axes"):
        extract_fingerprint(mixed, num_processes=0)


def test_constant_images_and_pure_noise_are_named(tmp_path):
    generator = np.random.default_rng(0)
    images = {
        "black": np.zeros((32, 40), np.uint8),
        "noise": generator.integers(0, 256, (32, 40), np.uint8),
        "sound": image_2d(0),
    }
    dataset = write_dataset(tmp_path / "Dataset007_G", images, dict.fromkeys(images, OBJECT))
    channel = extract_fingerprint(dataset, num_processes=0).channels[0]
    assert (channel.num_constant, channel.constant_examples) == (1, ("black",))
    assert (channel.num_noise, channel.noise_examples) == (1, ("noise",))


def test_masks_without_any_foreground_leave_no_intensities(tmp_path):
    dataset = write_dataset(tmp_path / "Dataset008_H", {"a": image_2d(0)}, {"a": EMPTY})
    found = extract_fingerprint(dataset, num_processes=0)
    assert found.channels[0].intensities is None
    assert found.labels is not None
    assert found.labels["lesion"].objects is None
    assert any("nothing can be learned" in warning for warning in found.warnings)
