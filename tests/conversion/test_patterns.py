"""Images of anyone in any folders, found by patterns."""

import logging
from pathlib import Path

import numpy as np
import pytest

from diffunet.data.image_io import read_image, read_label_map
from diffunet.data.raw.integrity import verify_dataset
from diffunet.errors import DatasetError, UsageError
from tests.conversion.downloads import convert, save_nifti
from tests.conversion.photographs import photograph, save, white

KITS = {"images": ["{case}/imaging.nii.gz"], "masks": ["{case}/segmentation.nii.gz"]}


def image(seed: int) -> np.ndarray:
    return np.random.default_rng(seed).normal(size=(5, 4, 3)).astype(np.float32)


def label_map(seed: int, *, largest: int = 1) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, largest + 1, (5, 4, 3), dtype=np.uint8)


def kits(folder: Path) -> Path:
    """Make two cases with a folder each, and a third that nobody drew."""
    source = folder / "kits"
    for number in range(3):
        case = source / "data" / f"case_{number:05d}"
        save_nifti(case / "imaging.nii.gz", image(number))
        if number < 2:
            save_nifti(case / "segmentation.nii.gz", label_map(number, largest=3))
        (case / "._imaging.nii.gz").write_bytes(b"\0")
    return source


def curvas(folder: Path, *, num_raters: int = 3) -> Path:
    source = folder / "curvas"
    for part, number in (("training_set", 1), ("training_set", 2), ("testing_set", 3)):
        case = source / part / f"UKCHLL{number:03d}"
        save_nifti(case / "image.nii.gz", image(number))
        for rater in range(1, num_raters + 1):
            save_nifti(case / f"annotation_{rater}.nii.gz", label_map(10 * number + rater))
    return source


def test_a_folder_for_each_case(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    labels = ["kidney", "tumour", "cyst"]
    made = convert(
        "patterns", kits(tmp_path), tmp_path / "w", **KITS, labels=labels, channels=["CT"]
    )
    assert not verify_dataset(made, num_processes=0).problems
    assert [case.case for case in made.training_cases] == ["case_00000", "case_00001"]
    assert [case.case for case in made.test_cases] == ["case_00002"]
    assert made.channel_names == ("CT",)
    assert made.content["labels"] == {"background": 0, "kidney": 1, "tumour": 2, "cyst": 3}
    assert "raters" not in made.content
    (path,) = made.training_cases[1].labels.values()
    np.testing.assert_array_equal(read_label_map(path)[0], label_map(1, largest=3).T)
    np.testing.assert_array_equal(read_image(made.training_cases[1].images)[0][0], image(1).T)
    assert "images without a mask go to imagesTs: 'case_00002'" in caplog.text


@pytest.mark.parametrize(
    "masks",
    [["{case}/annotation_{rater}.nii.gz"], [f"annotation_{n}.nii.gz" for n in range(1, 13)]],
)
def test_a_mask_of_each_rater(tmp_path: Path, masks: list[str]) -> None:
    masks = [each if "{" in each else f"{{case}}/{each}" for each in masks]
    made = convert(
        "patterns",
        curvas(tmp_path, num_raters=12),
        tmp_path / "w",
        images=["{case}/image.nii.gz"],
        masks=masks,
    )
    assert not verify_dataset(made, num_processes=0).problems
    assert [case.case for case in made.test_cases] == ["UKCHLL003"]  # of testing_set
    for case, number in zip(made.training_cases, (1, 2), strict=True):
        for rater in range(1, 13):  # by number, not as text: 2 before 10
            read, _ = read_label_map(case.labels[f"r{rater - 1:02d}"])
            np.testing.assert_array_equal(read, label_map(10 * number + rater).T)
    assert "r01: {case}/annotation_2.nii.gz" in made.content["description"]


def test_a_rater_who_was_not_asked_about_a_case(tmp_path: Path) -> None:
    source = curvas(tmp_path)
    (source / "training_set" / "UKCHLL002" / "annotation_2.nii.gz").unlink()
    made = convert(
        "patterns",
        source,
        tmp_path / "w",
        images=["{case}/image.nii.gz"],
        masks=["{case}/annotation_{rater}.nii.gz"],
    )
    assert [sorted(case.labels) for case in made.training_cases] == [
        ["r00", "r01", "r02"],
        ["r00", "r02"],
    ]


def test_the_pattern_that_says_more_wins(tmp_path: Path) -> None:
    source = tmp_path / "flat"
    for number, case in enumerate(("a", "b")):
        save_nifti(source / f"{case}.nii.gz", image(number))
        save_nifti(source / f"{case}_t1.nii.gz", image(10 + number))
        save_nifti(source / f"{case}_gt.nii.gz", label_map(number))
    made = convert(
        "patterns",
        source,
        tmp_path / "w",
        images=["{case}.nii.gz", "{case}_t1.nii.gz"],
        masks=["{case}_gt.nii.gz"],
        channels=["FLAIR", "T1"],
    )
    assert [case.case for case in made.training_cases] == ["a", "b"]
    assert made.channel_names == ("FLAIR", "T1")
    read, _ = read_image(made.training_cases[1].images)
    np.testing.assert_array_equal(read, [image(1).T, image(11).T])


def test_a_patient_with_several_cases(tmp_path: Path) -> None:
    source = tmp_path / "bids"
    for subject in ("01", "02"):
        for session in ("a", "b"):
            name = f"sub-{subject}_ses-{session}"
            where = Path(f"sub-{subject}", f"ses-{session}", "anat")
            save_nifti(source / where / f"{name}_FLAIR.nii.gz", image(1))
            save_nifti(source / "derivatives" / where / f"{name}_mask.nii.gz", label_map(1))
    made = convert(
        "patterns",
        source,
        tmp_path / "w",
        images=["sub-{patient}/ses-{case}/anat/*_FLAIR.nii.gz"],
        masks=["sub-{patient}/ses-{case}/anat/*_mask.nii.gz"],
    )
    assert [case.case for case in made.training_cases] == ["01_a", "01_b", "02_a", "02_b"]
    assert list(made.patients.values()) == ["01", "01", "02", "02"]


def test_a_case_that_is_called_as_its_patient_keeps_its_name(tmp_path: Path) -> None:
    source = tmp_path / "acdc"
    for frame in ("01", "12"):
        case = source / "patient001" / f"patient001_frame{frame}"
        save_nifti(case.with_name(f"{case.name}.nii.gz"), image(1))
        save_nifti(case.with_name(f"{case.name}_gt.nii.gz"), label_map(1))
    made = convert(
        "patterns",
        source,
        tmp_path / "w",
        images=["{patient}/{case}.nii.gz"],
        masks=["{patient}/{case}_gt.nii.gz"],
    )
    names = [case.case for case in made.training_cases]
    assert names == ["patient001_frame01", "patient001_frame12"]
    assert {*made.patients.values()} == {"patient001"}


def test_a_table_of_patients_goes_first(tmp_path: Path) -> None:
    source = kits(tmp_path)
    (source / "patients.csv").write_text(
        "case,patient\ncase_00000,Anna\ncase_00001,Anna\ncase_00002,Ben\n"
    )
    made = convert("patterns", source, tmp_path / "w", **KITS, labels=["kidney", "mass", "cyst"])
    assert made.patients["case_00000"] == made.patients["case_00001"] == "Anna"


def test_photographs_with_masks_beside(tmp_path: Path) -> None:
    source = tmp_path / "photographs"
    for number, name in enumerate(("eye 1", "eye 2")):
        save(source / "in" / f"{name}.jpg", photograph(number))
        save(source / "out" / f"{name}_segmentation.png", white(number))
    made = convert(
        "patterns",
        source,
        tmp_path / "w",
        images=["./in/{case}.jpg"],
        masks=["out\\{case}_Segmentation.PNG"],
    )
    assert not verify_dataset(made, num_processes=0).problems
    assert made.channel_names == ("red", "green", "blue")
    (path,) = made.training_cases[0].labels.values()
    np.testing.assert_array_equal(read_label_map(path)[0], white(0) // 255)


def test_values_of_masks(tmp_path: Path) -> None:
    made = convert(
        "patterns",
        kits(tmp_path),
        tmp_path / "w",
        **KITS,
        labels=["kidney", "mass"],
        values=["0", "1", "2,3"],
    )
    (path,) = made.training_cases[0].labels.values()
    np.testing.assert_array_equal(read_label_map(path)[0], np.minimum(label_map(0, largest=3), 2).T)


@pytest.mark.parametrize(
    ("wishes", "message"),
    [
        ({}, r"--images: expected which files are the images, such as --images "
         r"'\{case\}/imaging.nii.gz'; .* there are 'data/case_00000/imaging.nii.gz'"),
        ({"images": KITS["images"]}, "--masks: expected which files are the masks"),
        ({**KITS, "images": ["imaging.nii.gz"]}, r"\{case\} at least.*; got 'imaging.nii.gz'"),
        ({**KITS, "images": ["{id}/imaging.nii.gz"]}, r"got '\{id\}/imaging.nii.gz'"),
        ({**KITS, "images": ["{case}/{rater}.nii.gz"]}, r"got '\{case\}/\{rater\}.nii.gz'"),
        ({**KITS, "images": ["/data/{case}/imaging.nii.gz"]}, "--images: expected how the path"),
        ({**KITS, "images": KITS["images"] * 2}, "--images, --masks: expected each pattern once"),
        ({**KITS, "masks": KITS["images"]}, "expected each pattern once, got '{case}/imaging"),
        ({**KITS, "channels": ["CT", "PET"]}, "--channels: expected a name for each of the 1"),
    ],
)  # fmt: skip
def test_a_pattern_that_is_none(tmp_path: Path, wishes: dict[str, list[str]], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        convert("patterns", kits(tmp_path), tmp_path / "w", **wishes)


@pytest.mark.parametrize(
    ("images", "masks", "message"),
    [
        ("{case}/image.nii.gz", "{case}/segmentation.nii.gz",
         r"(?s)'\{case\}/image.nii.gz' finds no file below .*correct the patterns; there are"),
        ("{case}/case_00000/*.nii.gz", "{case}/segmentation.nii.gz",
         "'{case}/segmentation.nii.gz' finds masks for which '{case}/case_00000/"),
        ("*/{case}ing.nii.gz", "{case}/ima*.nii.gz",
         r"is found by '\*/\{case\}ing.nii.gz' and '\{case\}/ima\*"),
        ("data/*/{case}ing.nii.gz", "{case}/segmentation.nii.gz",
         "(?s)finds 3 files for the case 'imag': .*write more of the path into the pattern"),
    ],
)  # fmt: skip
def test_a_pattern_that_finds_other_files_than_meant(
    tmp_path: Path, images: str, masks: str, message: str
) -> None:
    with pytest.raises(DatasetError, match=message):
        convert("patterns", kits(tmp_path), tmp_path / "w", images=[images], masks=[masks])


def test_a_channel_that_a_case_lacks(tmp_path: Path) -> None:
    source = kits(tmp_path)
    save_nifti(source / "data" / "case_00000" / "t1.nii.gz", image(5))
    with pytest.raises(DatasetError, match=r"'\{case\}/t1.nii.gz' finds no file for the cases"):
        convert(
            "patterns",
            source,
            tmp_path / "w",
            images=[*KITS["images"], "{case}/t1.nii.gz"],
            masks=KITS["masks"],
        )


@pytest.mark.parametrize(
    ("name", "found"), [("b.png", "3 channels"), ("b.jpg", "a format that holds whole photographs")]
)
def test_photographs_are_no_channels(tmp_path: Path, name: str, found: str) -> None:
    source = tmp_path / "photographs" / "eye"
    save(source / "a.png", photograph(0)[..., 0])
    save(source / name, photograph(0) if name == "b.png" else photograph(0)[..., 0])
    save(source / "m.png", white(0))
    with pytest.raises(DatasetError, match=f"expected images of one channel each.*found {found}"):
        convert(
            "patterns",
            source.parent,
            tmp_path / "w",
            images=["{case}/a.png", f"{{case}}/{name}"],
            masks=["{case}/m.png"],
        )


def test_grey_pictures_are_channels(tmp_path: Path) -> None:
    source = tmp_path / "microscope"
    grey = photograph(0)[..., 0].astype(np.uint16) * 99
    for name in ("f1", "f2"):
        save(source / f"{name}_dapi.tif", grey)
        save(source / f"{name}_gfp.tif", grey[::-1])
        save(source / f"{name}_mask.png", white(1))
    made = convert(
        "patterns",
        source,
        tmp_path / "w",
        images=["{case}_dapi.tif", "{case}_gfp.tif"],
        masks=["{case}_mask.png"],
    )
    assert not verify_dataset(made, num_processes=0).problems
    np.testing.assert_array_equal(read_image(made.training_cases[0].images)[0], [grey, grey[::-1]])
    (path,) = made.training_cases[0].labels.values()
    np.testing.assert_array_equal(read_label_map(path)[0], white(1) // 255)


@pytest.mark.parametrize(
    ("pattern", "patients"),
    [
        ("{group}/{patient}/{case}", {"A_P1_T1": "A_P1", "B_P1_T1": "B_P1", "B_P1_T2": "B_P1"}),
        ("{group}/*/{case}", {"A_T1": "A_T1", "B_T1": "B_T1", "B_T2": "B_T2"}),
        ("{group}/{case}", {"P1_T1": "P1_T1"}),
    ],
)
def test_groups_tell_cases_apart_and_are_no_patients(
    tmp_path: Path, pattern: str, patients: dict[str, str]
) -> None:
    source = tmp_path / "centres"
    for number, name in enumerate(("A/P1/T1", "B/P1/T1", "B/P1/T2")):
        if pattern == "{group}/{case}" and number:
            break
        save_nifti(source / f"{name}.nii.gz", image(number))
        save_nifti(source / f"{name}_seg.nii.gz", label_map(number))
    made = convert(
        "patterns",
        source,
        tmp_path / "w",
        images=[f"{pattern}.nii.gz"],
        masks=[f"{pattern}_seg.nii.gz"],
    )
    assert {case.case: made.patients.get(case.case, case.case) for case in made.training_cases} == (
        patients
    )


def test_cases_are_counted_anew_for_each_patient(tmp_path: Path) -> None:
    source = tmp_path / "numbers"
    for patient, case in (("1", "1"), ("1", "10"), ("10", "1"), ("10", "10")):
        save_nifti(source / patient / f"{case}.nii.gz", image(int(patient + case)))
        save_nifti(source / "masks" / patient / f"{case}.nii.gz", label_map(int(patient + case)))
    made = convert(
        "patterns",
        source,
        tmp_path / "w",
        images=["{patient}/{case}.nii.gz"],
        masks=["masks/{patient}/{case}.nii.gz"],
    )
    assert made.patients == {"1": "1", "1_10": "1", "10": "10", "10_1": "10"}
    labels = {case.case: case.labels for case in made.training_cases}
    for name, seed in (("1", 11), ("1_10", 110), ("10_1", 101), ("10", 1010)):
        (path,) = labels[name].values()
        np.testing.assert_array_equal(read_label_map(path)[0], label_map(seed).T)
