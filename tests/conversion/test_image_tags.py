"""Image-level labels of anyone's images: from a table, or from the folders that they lie in."""

import csv
import gzip
import logging
from pathlib import Path

import numpy as np
import pytest

from diffunet.conversion.wishes import Wishes
from diffunet.data.image_io import read_label_map
from diffunet.data.raw.dataset import RawDataset
from diffunet.data.raw.integrity import verify_dataset
from diffunet.errors import DatasetError, UsageError
from tests.conversion.downloads import convert
from tests.conversion.photographs import SHAPE, photograph, save

FINDINGS = ("Effusion|Mass", "No Finding", "Effusion", "Nodule", "No Finding", "Mass")


def chest(folder: Path, rows: list[list[str]] | None = None) -> Path:
    """Make X-rays in two folders, and one table of what they show; returns their folder."""
    source = folder / "cxr"
    table = [["Image Index", "Finding Labels", "Follow-up #", ""]]
    for number, words in enumerate(FINDINGS):
        name = f"{number // 2 + 1:08d}_{number % 2:03d}.png"
        save(source / f"images_{number % 2}" / "images" / name, photograph(number)[..., 0])
        table.append([name, words, str(number % 2), ""])
    write_table(source / "Data_Entry.csv", rows or table)
    return source


def write_table(path: Path, rows: list[list[str]]) -> Path:
    with path.open("w", newline="", encoding="utf-8") as file:
        csv.writer(file).writerows(rows)
    return path


def convert_chest(source: Path, workspace: Path, **wishes: object) -> RawDataset:
    given: dict[str, object] = {
        "images": ["{patient}_{case}.png"],
        "image_labels": source / "Data_Entry.csv",
        "labels": ["Effusion", "mass"],
        **wishes,
    }
    return convert("patterns", source, workspace, **given)


def tags_of(made: RawDataset) -> dict[str, tuple[str, ...]]:
    with (made.folder / "image_labels.csv").open(encoding="utf-8") as file:
        return {row["case"]: tuple(row.values())[1:] for row in csv.DictReader(file)}


def test_words_of_a_column_become_tags(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    source = chest(tmp_path)
    (source / "test.txt").write_text("00000003_000.png\n00000003_001.png\n00000009_000.png\n")
    made = convert_chest(source, tmp_path / "w", test_list=source / "test.txt")
    assert not verify_dataset(made, num_processes=0).problems
    assert tags_of(made) == {
        "00000001_000": ("1", "1"),
        "00000001_001": ("0", "0"),
        "00000002_000": ("1", "0"),
        "00000002_001": ("0", "0"),
        "00000003_000": ("0", "0"),
        "00000003_001": ("0", "1"),
    }
    assert [case.case for case in made.test_cases] == ["00000003_000", "00000003_001"]
    assert made.content["image_labels"] == "image_labels.csv"
    assert "00000001_001,00000001" in (made.folder / "patients.csv").read_text()
    assert "in the column 'Image Index', their labels in 'Finding Labels'" in caplog.text
    assert "'No Finding' (2), 'Nodule' (1)" in caplog.text


@pytest.mark.parametrize("named", ["{}", "{}.png", "cxr\\images_0\\images\\{}.png"])
def test_a_column_for_each_label(tmp_path: Path, named: str) -> None:
    names = [f"{number // 2 + 1:08d}_{number % 2:03d}" for number in range(len(FINDINGS))]
    rows = [[named.format(name), "1.0" if "s" in words else "False"] for name, words in
            zip(names, FINDINGS, strict=True)]  # fmt: skip
    if "images_0" in named:
        rows = [[row[0].replace("_0\\", f"_{number % 2}\\"), row[1]] for number, row in
                enumerate(rows)]  # fmt: skip
    source = chest(tmp_path, [["id", "Mass"], *rows, ["another", "1"]])
    tags = tags_of(convert_chest(source, tmp_path / "w", labels=["mass"]))
    assert tags == {
        name: ("1" if "s" in words else "0",) for name, words in zip(names, FINDINGS, strict=True)
    }


def test_lines_of_one_image_are_joined(tmp_path: Path) -> None:
    boxes = [["00000001_000.png", "Mass"], ["00000001_000.png", "Effusion"]]
    boxes += [["00000002_000.png", "Other"]]
    made = convert_chest(chest(tmp_path, [["image", "class"], *boxes]), tmp_path / "w")
    assert tags_of(made) == {"00000001_000": ("1", "1"), "00000002_000": ("0", "0")}
    assert len(made.test_cases) == 4  # of which nothing is known


@pytest.mark.parametrize(
    ("rows", "labels", "message"),
    [
        ([["id", "Mass"], ["00000001_000", "-1"]], ["Mass"], "expected 0 or 1 in 'Mass'"),
        ([["id", "Mass"], ["00000001_000", ""]], ["Mass"], "line 2: expected 0 or 1"),
        ([["id", "Mass"], ["scan1", "1"]], ["Mass"], "found none that are there"),
        ([["id;Mass"], ["00000001_000;1"]], ["Mass"], "by commas, not by semicolons or tabs"),
        ([["id", "Mass", "Mass"]], ["Mass"], "line 1: expected each column once, found id, Mass"),
    ],
)
def test_a_table_that_does_not_tell(
    tmp_path: Path, rows: list[list[str]], labels: list[str], message: str
) -> None:
    with pytest.raises(DatasetError, match=message):
        convert_chest(chest(tmp_path, rows), tmp_path / "w", labels=labels)


@pytest.mark.parametrize("labels", [[], ["Effusion", "Fracture"]])
def test_labels_have_to_be_named_and_there(tmp_path: Path, labels: list[str]) -> None:
    with pytest.raises(UsageError, match="--labels"):
        convert_chest(chest(tmp_path), tmp_path / "w", labels=labels)


def test_names_that_fit_two_images(tmp_path: Path) -> None:
    source = tmp_path / "chexpert"
    for number, study in enumerate(("p1/study1", "p1/study2", "p2/study1")):
        save(source / "train" / study / "view1.png", photograph(number)[..., 0])
    images = ["{patient}/{case}/view1.png"]
    table = write_table(tmp_path / "a.csv", [["Path", "Edema"], ["study1/view1.png", "1"]])
    with pytest.raises(DatasetError, match="'study1/view1.png' may be 'p1_study1', 'p2_study1'"):
        convert(
            "patterns", source, tmp_path / "w", images=images, image_labels=table, labels=["Edema"]
        )
    rows = [[f"CheXpert-small/train/{study}/view1.png", value] for study, value in
            (("p1/study1", "1"), ("p1/study2", "0"), ("p2/study1", "1"))]  # fmt: skip
    table = write_table(tmp_path / "b.csv", [["Path", "Edema"], *rows])
    made = convert(
        "patterns", source, tmp_path / "w", images=images, image_labels=table, labels=["Edema"]
    )
    assert tags_of(made) == {"p1_study1": ("1",), "p1_study2": ("0",), "p2_study1": ("1",)}


def busi(folder: Path) -> Path:
    """Make images in a folder for each class, with one mask or two; returns their folder."""
    source = folder / "busi"
    for number, kind in enumerate(("benign", "malignant", "normal")):
        for image in (1, 2):
            name = f"{kind} ({image})"
            save(source / kind / f"{name}.png", photograph(10 * number + image))
            drawn = np.zeros(SHAPE, np.uint8)
            if kind != "normal":
                drawn[image, :3] = 255
            save(source / kind / f"{name}_mask.png", drawn)
    second = np.zeros(SHAPE, np.uint8)
    second[7, 4:6] = 255
    save(source / "benign" / "benign (1)_mask_1.png", second)
    return source


MASKS = ["{label}/{case}_mask{part}.png"]


def test_folders_of_classes_and_masks_in_parts(tmp_path: Path) -> None:
    made = convert(
        "patterns",
        busi(tmp_path),
        tmp_path / "w",
        images=["{label}/{case}.png"],
        masks=MASKS,
        labels=["benign", "malignant"],
    )
    assert not verify_dataset(made, num_processes=0).problems
    assert tags_of(made)["malignant (2)"] == ("0", "1")
    assert tags_of(made)["normal (1)"] == ("0", "0")
    assert "raters" not in made.content
    drawn = {case.case: read_label_map(*case.labels.values())[0] for case in made.training_cases}
    assert np.argwhere(drawn["benign (1)"] == 1).tolist() == [
        [1, 0], [1, 1], [1, 2], [7, 4], [7, 5]
    ]  # fmt: skip
    assert np.unique(drawn["malignant (1)"]).tolist() == [0, 2]
    assert not drawn["normal (2)"].any()


def test_a_mask_in_the_folder_of_no_label(tmp_path: Path) -> None:
    with pytest.raises(DatasetError, match="--labels does not name 'malignant'"):
        convert(
            "patterns",
            busi(tmp_path),
            tmp_path / "w",
            images=["{label}/{case}.png"],
            masks=MASKS,
            labels=["benign"],
        )


def test_masks_among_the_images_are_no_images(tmp_path: Path) -> None:
    with pytest.raises(DatasetError, match="7 files that are named as masks of others"):
        convert(
            "patterns",
            busi(tmp_path),
            tmp_path / "w",
            images=["{label}/{case}.png"],
            labels=["benign"],
        )


def test_tags_told_twice(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="told once"):
        convert_chest(chest(tmp_path), tmp_path / "w", images=["{label}/images/{case}.png"])


def studies(folder: Path, rows: list[list[str]], *, num_patients: int = 4) -> Path:
    """Make two studies of two views for each patient, and a table."""
    source = folder / "chexpert"
    for number in range(num_patients * 4):
        patient, study, view = number // 4, number // 2 % 2, number % 2
        name = f"p{patient}/study{study}/view{view}.png"
        save(source / name, photograph(number)[..., 0])
    write_table(source / "table.csv", rows)
    return source


def convert_studies(source: Path, workspace: Path, **wishes: object) -> RawDataset:
    given: dict[str, object] = {
        "images": ["{patient}/{study}/{case}.png"],
        "image_labels": source / "table.csv",
        "labels": ["Mass"],
        **wishes,
    }
    return convert("patterns", source, workspace, **given)


def test_studies_of_a_patient_are_told_apart_and_stay_together(tmp_path: Path) -> None:
    rows = [[f"train/p{number // 4}/study{number // 2 % 2}/view{number % 2}.png", number % 2]
            for number in range(16)]  # fmt: skip
    source = studies(tmp_path, [["Path", "Mass"], *rows])
    made = convert_studies(source, tmp_path / "w")
    assert tags_of(made)["p3_study0_view1"] == ("1",)
    assert made.patients["p3_study0_view1"] == made.patients["p3_study1_view0"] == "p3"


@pytest.mark.parametrize("named", ["p{}/study{}", "train/p{}/study{}"])
def test_a_line_of_a_folder_speaks_of_all_its_images(tmp_path: Path, caplog, named: str) -> None:
    caplog.set_level(logging.INFO)
    rows = [[named.format(number // 2, number % 2), number % 2] for number in range(8)]
    made = convert_studies(studies(tmp_path, [["study", "Mass"], *rows]), tmp_path / "w")
    assert tags_of(made) == {
        f"p{number // 4}_study{number // 2 % 2}_view{number % 2}": (str(number // 2 % 2),)
        for number in range(16)
    }
    assert "all images that a line names have its labels" in caplog.text


def test_a_line_of_a_patient_speaks_of_all_his_images(tmp_path: Path) -> None:
    source = chest(tmp_path, [["who", "Mass"], ["00000001", "1"], ["00000002", "0"]])
    tags = tags_of(convert_chest(source, tmp_path / "w", labels=["Mass"]))
    assert tags == {
        "00000001_000": ("1",),
        "00000001_001": ("1",),
        "00000002_000": ("0",),
        "00000002_001": ("0",),
    }


@pytest.mark.parametrize("numbers_alone", [False, True])
def test_two_columns_name_a_study_together(tmp_path: Path, caplog, numbers_alone: bool) -> None:
    caplog.set_level(logging.INFO)
    before = ("", "") if numbers_alone else ("p", "study")
    rows = [[f"{before[0]}{number // 2}", f"{before[1]}{number % 2}", number % 2, 1]
            for number in range(8)]  # fmt: skip
    rows.append([f"{before[0]}0", f"{before[1]}7", 1, 1])  # was not downloaded
    source = studies(tmp_path, [["subject_id", "study_id", "Mass", "Age"], *rows])
    pattern = (
        "p{patient}/study{study}/{case}.png" if numbers_alone else "{patient}/{study}/{case}.png"
    )
    made = convert_studies(source, tmp_path / "w", images=[pattern])
    tags = tags_of(made)
    assert len(tags) == 16
    assert all(tag == (case.split("_")[-2][-1],) for case, tag in tags.items())
    assert "named in the column 'subject_id' and 'study_id'" in caplog.text
    assert "1 of 9 lines name folders, patients or studies that are not there" in caplog.text


def test_lines_that_divide_a_patient_are_refused(tmp_path: Path) -> None:
    rows = [[f"p{number // 2}", f"visit{number % 2}", number % 2] for number in range(8)]
    source = studies(tmp_path, [["subject", "study", "Mass"], *rows])
    with pytest.raises(DatasetError, match="'p0' in 'subject' has 2 lines that differ"):
        convert_studies(source, tmp_path / "w")


def test_a_column_of_a_label_names_no_study(tmp_path: Path) -> None:
    rows = [[f"p{patient}", 1 - patient % 2] for patient in range(4)]
    source = studies(tmp_path, [["subject", "Mass"], *rows])
    made = convert_studies(source, tmp_path / "w", images=["{patient}/study{study}/{case}.png"])
    assert sorted(tags_of(made).values()) == [("0",)] * 8 + [("1",)] * 8


def test_a_table_may_be_compressed(tmp_path: Path) -> None:
    source = studies(
        tmp_path, [["subject", "Mass"], *([f"p{number}", number % 2] for number in range(4))]
    )
    table = source / "table.csv"
    packed = tmp_path / "labels.csv.gz"
    packed.write_bytes(gzip.compress(table.read_bytes()))
    made = convert_studies(source, tmp_path / "w", image_labels=packed)
    assert sorted(tags_of(made).values()) == [("0",)] * 8 + [("1",)] * 8
    packed.write_bytes(packed.read_bytes()[:30])
    with pytest.raises(DatasetError, match=r"labels.csv.gz: expected a table in UTF-8"):
        convert_studies(source, tmp_path / "w2", image_labels=packed)


def test_names_that_lack_a_letter_of_the_folder(tmp_path: Path) -> None:
    source = chest(tmp_path, [["subject", "Mass"], ["0000001", "1"]])
    with pytest.raises(DatasetError, match="none that are there.*; correct --images or the names"):
        convert_chest(source, tmp_path / "w", labels=["Mass"])
    rows = [["10", 1], ["11", 0]]
    source = tmp_path / "letters"
    for number in range(2):
        save(source / f"p1{number}" / "view.png", photograph(number)[..., 0])
    write_table(source / "table.csv", [["subject", "Mass"], *rows])
    with pytest.raises(DatasetError, match=r"'10' in 'subject' means the folder 'p10', write the"):
        convert_studies(source, tmp_path / "w", images=["{patient}/{case}.png"])
    made = convert_studies(source, tmp_path / "w", images=["p{patient}/{case}.png"])
    assert tags_of(made) == {"10_view": ("1",), "11_view": ("0",)}


def test_numbers_that_pandas_wrote_with_a_point(tmp_path: Path) -> None:
    rows = [[f"{number // 2}.0", f"{number % 2}.0", number % 2] for number in range(8)]
    source = studies(tmp_path, [["subject_id", "study_id", "Mass"], *rows, ["9.0", "", 1]])
    pattern = "p{patient}/study{study}/{case}.png"
    tags = tags_of(convert_studies(source, tmp_path / "w", images=[pattern]))
    assert len(tags) == 16
    assert all(tag == (case.split("_")[-2],) for case, tag in tags.items())


def test_a_folder_that_may_be_several_is_refused(tmp_path: Path) -> None:
    source = studies(tmp_path, [["study", "Mass"], ["study0", "1"], ["study1", "0"]])
    with pytest.raises(DatasetError, match="'study0' may be 'p0_study0_view0'"):
        convert_studies(source, tmp_path / "w")


def test_columns_that_differ_in_upper_case_alone_are_two(tmp_path: Path) -> None:
    rows = [[f"p{number // 4}/study{number // 2 % 2}/view{number % 2}", number % 2, number // 2 % 2]
            for number in range(16)]  # fmt: skip
    source = studies(tmp_path, [["id", "Mass", "mass"], *rows])
    tags = tags_of(convert_studies(source, tmp_path / "w", labels=["Mass", "mass"]))
    assert tags["p0_study0_view1"] == ("1", "0")


def test_labels_that_differ_in_upper_case_alone_are_no_words(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="differ in more than upper case"):
        convert_chest(chest(tmp_path), tmp_path / "w", labels=["Mass", "mass"])
    with pytest.raises(UsageError, match="each name once"):
        convert_chest(chest(tmp_path), tmp_path / "w", labels=["Mass", "Mass"])


CELLS = ["1.0", "0.0", "-1.0", "", "NaN", "1"]


def cells_of(tmp_path: Path, **wishes: object) -> dict[str, tuple[str, ...]]:
    names = [f"{number // 2 + 1:08d}_{number % 2:03d}" for number in range(len(CELLS))]
    rows = [["id", "Mass"], *([name, cell] for name, cell in zip(names, CELLS, strict=True))]
    source = chest(tmp_path, rows)
    return tags_of(convert_chest(source, tmp_path / "w", labels=["Mass"], **wishes))


def test_what_empty_cells_and_minus_one_mean_is_told(tmp_path: Path) -> None:
    found = cells_of(tmp_path, blank="0", uncertain="1")
    assert [values[0] for values in found.values()] == ["1", "0", "1", "0", "0", "1"]


def test_an_image_whose_label_is_unknown_goes_to_the_test_images(tmp_path: Path, caplog) -> None:
    caplog.set_level(logging.INFO)
    found = cells_of(tmp_path, blank="unknown", uncertain="0")
    assert [values[0] for values in found.values()] == ["1", "0", "0", "1"]
    assert "of 2 of 6 images a label is unknown" in caplog.text


def test_each_value_without_a_meaning_is_named_once(tmp_path: Path) -> None:
    with pytest.raises(DatasetError) as caught:
        cells_of(tmp_path, uncertain="0")
    assert caught.value.problems[:2] == (
        "Data_Entry.csv, line 5: expected 0 or 1 in 'Mass', found ''",
        "Data_Entry.csv, line 6: expected 0 or 1 in 'Mass', found 'NaN'",
    )
    assert "--blank" in caught.value.problems[-1]


def test_a_meaning_needs_a_table_and_is_one_of_three() -> None:
    with pytest.raises(ValueError, match="--blank says what cells"):
        Wishes(blank="0")
    with pytest.raises(ValueError, match="expected 0 or 1 or unknown, got 'maybe'"):
        Wishes(blank="maybe", image_labels=Path("a"))  # pyright: ignore[reportArgumentType]


def test_lines_of_an_image_that_disagree_are_counted(tmp_path: Path, caplog) -> None:
    caplog.set_level(logging.INFO)
    rows = [["00000001_000", "1"], ["00000001_000", "0"], ["00000001_001", "0"]]
    source = chest(tmp_path, [["id", "Mass"], *rows])
    tags = tags_of(convert_chest(source, tmp_path / "w", labels=["Mass"]))
    assert tags["00000001_000"] == ("1",)
    assert "1 images have lines that disagree about 'Mass'" in caplog.text
