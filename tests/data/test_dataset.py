"""Raw datasets opened: cases, raters, channels, tables, and the input of a prediction."""

import json
import shutil
import unicodedata
from collections.abc import Callable
from pathlib import Path

import pytest

from diffunet.data.raw.case_files import CaseFiles, Findings
from diffunet.data.raw.dataset import open_dataset, scan_dataset
from diffunet.data.raw.input_cases import find_input_cases
from diffunet.data.raw.spellings import as_named
from diffunet.data.raw.splits import Split
from diffunet.errors import DatasetError
from tests.data.tiny_datasets import (
    build_2d,
    build_3d,
    build_colour,
    build_raters,
    build_table,
    build_tagged,
    edit_json,
    image_2d,
    mask_2d,
    write_csv,
    write_json,
    write_png,
)

TEMPLATES = Path(__file__).parents[2] / "raw_data_template"


def test_a_plain_dataset_is_opened(tmp_path: Path) -> None:
    folder = tmp_path / "Dataset001_Tiny"
    build_2d(folder)
    dataset = open_dataset(folder)
    assert dataset.name == "Dataset001_Tiny"
    assert dataset.channel_names == ("CT",)
    assert dataset.labels.names == ("lesion",)
    assert dataset.file_ending == ".png"
    assert not dataset.has_raters
    assert dataset.image_labels is None
    assert [files.case for files in dataset.training_cases] == ["a", "b", "c"]
    assert dataset.training_cases[0] == CaseFiles(
        case="a",
        images=(folder / "imagesTr/a_0000.png",),
        labels={"r00": folder / "labelsTr/a.png"},
    )
    assert [files.case for files in dataset.test_cases] == ["t"]
    assert dataset.patients == {case: case for case in "abct"}
    assert dataset.content == json.loads((folder / "dataset.json").read_text(encoding="utf-8"))


def test_raters_may_differ_between_cases(tmp_path: Path) -> None:
    build_raters(tmp_path)
    dataset = open_dataset(tmp_path)
    assert dataset.has_raters
    assert [list(files.labels) for files in dataset.training_cases] == [["r00", "r01"], ["r00"]]


def test_many_cases_without_label_maps_are_told_in_a_few_lines(tmp_path: Path) -> None:
    build_2d(tmp_path)
    for number in range(30):
        write_png(tmp_path / f"imagesTr/x{number:02d}_0000.png", image_2d(number))
    findings = Findings()
    scan_dataset(tmp_path, findings=findings)
    assert len(findings.problems) == 3
    assert "'x00': expected the label map x00.png" in findings.problems[0]
    assert findings.problems[2].startswith("and the like in 28 more cases")


def test_colours_may_be_one_file_or_one_per_channel(tmp_path: Path) -> None:
    build_colour(tmp_path)
    dataset = open_dataset(tmp_path)
    assert dataset.num_channels == 3
    assert [len(files.images) for files in dataset.training_cases] == [1, 3]


def test_label_maps_are_optional_beside_image_level_labels(tmp_path: Path) -> None:
    build_tagged(tmp_path)
    write_png(tmp_path / "labelsTr/a.png", mask_2d())
    dataset = open_dataset(tmp_path)
    assert [list(files.labels) for files in dataset.training_cases] == [["r00"], []]
    assert dataset.image_labels is not None
    assert dataset.image_labels.of("a") == (1,)


def test_test_cases_need_no_label_maps(tmp_path: Path) -> None:
    build_2d(tmp_path)
    (tmp_path / "labelsTs/t.png").unlink()
    assert open_dataset(tmp_path).test_cases[0].labels == {}


def test_endings_may_be_upper_case_and_files_may_be_links(tmp_path: Path) -> None:
    folder = tmp_path / "Dataset001_Größe"
    build_2d(folder)
    (folder / "imagesTr/a_0000.png").rename(folder / "imagesTr/a_0000.PNG")
    (folder / "labelsTr/b.png").rename(tmp_path / "elsewhere.png")
    (folder / "labelsTr/b.png").symlink_to(tmp_path / "elsewhere.png")
    (tmp_path / "link").symlink_to(folder)
    dataset = open_dataset(tmp_path / "link")
    assert dataset.name == "link"
    assert [files.case for files in dataset.training_cases] == ["a", "b", "c"]


def test_hidden_files_are_no_cases(tmp_path: Path) -> None:
    build_2d(tmp_path)
    for name in (".DS_Store", ".gitkeep", "._a_0000.png", "Thumbs.db"):
        (tmp_path / "imagesTr" / name).write_bytes(b"")
    assert len(open_dataset(tmp_path).training_cases) == 3


def test_the_explicit_table_takes_relative_and_absolute_paths_and_variables(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "Dataset001_Table"
    build_table(folder)
    shutil.copytree(folder / "scans", tmp_path / "far")
    monkeypatch.setenv("FAR_AWAY", str(tmp_path / "far"))
    table = {
        "a": {"images": ["$FAR_AWAY/a.png"], "label": str(folder / "masks/a.png")},
        "b": {"images": ["scans/b.png"], "labels": {"r01": "masks/b.png", "r00": "masks/a.png"}},
    }
    edit_json(folder / "dataset.json", dataset=table)
    first, second = open_dataset(folder).training_cases
    assert first.images == (tmp_path / "far/a.png",)
    assert first.labels == {"r00": folder / "masks/a.png"}
    assert second.images == (folder / "scans/b.png",)
    assert list(second.labels) == ["r00", "r01"]


def test_the_explicit_table_may_leave_out_labels_beside_image_level_labels(tmp_path: Path) -> None:
    build_table(tmp_path)
    table = {case: {"images": [f"scans/{case}.png"]} for case in "ab"}
    edit_json(tmp_path / "dataset.json", dataset=table, image_labels="tags.csv")
    write_csv(tmp_path / "tags.csv", [("case", "lesion"), ("a", 0), ("b", 1)])
    assert [files.labels for files in open_dataset(tmp_path).training_cases] == [{}, {}]


def test_patients_are_read_and_test_cases_may_be_left_out(tmp_path: Path) -> None:
    build_2d(tmp_path)
    rows = [("case", "patient"), ("a", "p"), ("b", "p"), ("c", "q")]
    write_csv(tmp_path / "patients.csv", rows)
    assert open_dataset(tmp_path).patients == {"a": "p", "b": "p", "c": "q", "t": "t"}


def test_folds_beside_dataset_json_are_obeyed(tmp_path: Path) -> None:
    build_2d(tmp_path)
    write_json(tmp_path / "splits_final.json", [{"train": ["c", "a"], "val": ["b"]}])
    assert open_dataset(tmp_path).splits() == (Split(train=("a", "c"), val=("b",)),)


def test_folds_are_made_by_patient_where_none_are_given(tmp_path: Path) -> None:
    build_2d(tmp_path)
    write_csv(tmp_path / "patients.csv", [("case", "patient"), ("a", 1), ("b", 1), ("c", 2)])
    folds = open_dataset(tmp_path).splits()
    assert sorted(split.val for split in folds) == [("a", "b"), ("c",)]


@pytest.mark.parametrize("folder", sorted(TEMPLATES.glob("Dataset*")), ids=lambda path: path.name)
def test_a_template_lacks_nothing_but_cases(folder: Path) -> None:
    with pytest.raises(DatasetError) as caught:
        open_dataset(folder)
    (problem,) = caught.value.problems
    assert "found none" in problem


def fill_template(folder: Path) -> None:
    for name in sorted(path.name for path in folder.iterdir() if path.is_dir()):
        assert (folder / name / ".gitkeep").is_file()
    edit_json(folder / "dataset.json", file_ending=".png")
    suffix = "_r00" if "raters" in (folder / "dataset.json").read_text() else ""
    for seed, case in enumerate("ab"):
        write_png(folder / f"imagesTr/{case}_0000.png", image_2d(seed))
        write_png(folder / f"labelsTr/{case}{suffix}.png", mask_2d())
        for table, value in (("patients.csv", f"p{seed}"), ("image_labels.csv", seed)):
            if (folder / table).is_file():
                with (folder / table).open("a") as file:
                    file.write(f"{case},{value}\n")


@pytest.mark.parametrize("template", sorted(TEMPLATES.glob("Dataset*")), ids=lambda path: path.name)
def test_a_template_is_a_dataset_once_it_has_cases(template: Path, tmp_path: Path) -> None:
    folder = tmp_path / template.name
    shutil.copytree(template, folder)
    fill_template(folder)
    assert len(open_dataset(folder).training_cases) == 2


def test_there_is_a_template_of_each_kind() -> None:
    contents = [json.loads(path.read_text()) for path in TEMPLATES.glob("*/dataset.json")]
    kinds = sorted(("raters" in content, "image_labels" in content) for content in contents)
    assert kinds == [(False, False), (False, True), (True, False)]
    assert all((folder / "README.md").is_file() for folder in TEMPLATES.glob("Dataset*"))


def test_input_cases_of_a_folder_are_sorted(tmp_path: Path) -> None:
    build_3d(tmp_path)
    cases = find_input_cases(tmp_path / "imagesTr", ".nii.gz", 2)
    assert [files.case for files in cases] == ["a", "b"]
    assert [path.name for path in cases[1].images] == ["b_0000.nii.gz", "b_0001.nii.gz"]
    assert cases[0].labels == {}


def test_input_may_be_one_file_with_its_other_channels_beside_it(tmp_path: Path) -> None:
    build_3d(tmp_path)
    folder = tmp_path / "imagesTr"
    (files,) = find_input_cases(folder / "b_0001.nii.gz", ".nii.gz", 2)
    assert files.case == "b"
    assert files.images == (folder / "b_0000.nii.gz", folder / "b_0001.nii.gz")


@pytest.mark.parametrize("name, case", [("scan.PNG", "scan"), ("scan_0000.png", "scan")])
def test_one_file_may_hold_all_channels_and_have_any_name(
    name: str, case: str, tmp_path: Path
) -> None:
    write_png(tmp_path / name, image_2d(0, 3))
    (files,) = find_input_cases(tmp_path / name, ".png", 3)
    assert files == CaseFiles(case=case, images=(tmp_path / name,))


@pytest.mark.parametrize(
    "name, num_channels, message",
    [
        ("absent", 2, "expected a folder or an image file, found neither"),
        ("imagesTr/a_0001.nii.gz", 3, "case 'a': expected 3 channels.*missing are 'a_0002.nii.gz'"),
        ("dataset.json", 2, "expected one of .*convert the file"),
        ("imagesTs", 2, "expected images CASE_0000.nii.gz, found none"),
        ("imagesTr", 3, "case 'a': expected the channels _0000, _0001, _0002"),
    ],
)
def test_input_that_cannot_be_predicted_is_an_error(
    name: str, num_channels: int, message: str, tmp_path: Path
) -> None:
    build_3d(tmp_path)
    (tmp_path / "imagesTs").mkdir()
    with pytest.raises(DatasetError, match=message):
        find_input_cases(tmp_path / name, ".nii.gz", num_channels)


def test_a_single_later_channel_is_not_taken_for_the_whole_case(tmp_path: Path) -> None:
    write_png(tmp_path / "a_0001.png", image_2d(0))
    with pytest.raises(DatasetError, match=r"missing are 'a_0000\.png'"):
        find_input_cases(tmp_path / "a_0001.png", ".png", 2)


@pytest.mark.parametrize(
    "name, num_channels, channels, case",
    [
        ("SCAN_0002.png", 1, (), "SCAN_0002"),
        ("SCAN_0000.png", 1, (), "SCAN"),
        ("SCAN_0001.png", 3, (3,), "SCAN_0001"),
        ("SCAN_0000.png", 3, (3,), "SCAN"),
        ("SCAN_0007.png", 3, (3,), "SCAN_0007"),
    ],
)
def test_the_file_that_was_named_is_the_one_that_is_read(
    name: str, num_channels: int, channels: tuple[int, ...], case: str, tmp_path: Path
) -> None:
    for number in (0, 1, 2, 7):
        write_png(tmp_path / f"SCAN_{number:04d}.png", image_2d(number, *channels))
    (files,) = find_input_cases(tmp_path / name, ".png", num_channels)
    assert files == CaseFiles(case=case, images=(tmp_path / name,))


def test_a_link_is_read_under_its_own_name_with_what_lies_beside_it(tmp_path: Path) -> None:
    build_3d(tmp_path)
    (tmp_path / "links").mkdir()
    for channel in range(2):
        link = tmp_path / "links" / f"mine_{channel:04d}.nii.gz"
        link.symlink_to(tmp_path / "imagesTr" / f"b_{channel:04d}.nii.gz")
    (files,) = find_input_cases(tmp_path / "links" / "mine_0001.nii.gz", ".nii.gz", 2)
    assert files.case == "mine"
    assert {path.parent for path in files.images} == {tmp_path / "links"}


@pytest.mark.parametrize("forms", [("NFC", "NFD"), ("NFD", "NFC")])
def test_the_same_text_in_two_unicode_forms_is_the_same_case(tmp_path: Path, forms) -> None:
    build_2d(tmp_path)
    images, labels = forms
    (tmp_path / "imagesTr/a_0000.png").rename(
        tmp_path / "imagesTr" / unicodedata.normalize(images, "Zoë_0000.png")
    )
    (tmp_path / "labelsTr/a.png").rename(
        tmp_path / "labelsTr" / unicodedata.normalize(labels, "Zoë.png")
    )
    rows = [(unicodedata.normalize(labels, case), "p") for case in ("Zoë", "b", "c", "t")]
    write_csv(tmp_path / "patients.csv", [("case", "patient"), *rows])
    dataset = open_dataset(tmp_path)
    assert [files.case for files in dataset.training_cases] == ["Zoë", "b", "c"]
    assert dataset.patients["Zoë"] == "p"


def test_two_files_of_one_text_are_one_too_many(tmp_path: Path) -> None:
    build_2d(tmp_path)
    for form in ("NFC", "NFD"):
        name = unicodedata.normalize(form, "Zoë_0000.png")
        write_png(tmp_path / "imagesTr" / name, image_2d(5))
    with pytest.raises(DatasetError, match="the same text in two Unicode forms"):
        open_dataset(tmp_path)


def test_cases_that_some_disks_do_not_tell_apart_are_warned_of(tmp_path: Path) -> None:
    build_2d(tmp_path)
    write_png(tmp_path / "imagesTs" / "B_0000.png", image_2d(5))
    findings = Findings()
    scan_dataset(tmp_path, findings=findings)
    assert any("'B', 'b' differ only in upper and lower case" in w for w in findings.warnings)


def test_an_image_whose_name_no_mask_could_take_over_is_refused(tmp_path: Path) -> None:
    write_png(tmp_path / f"{'x' * 230}.png", image_2d(0))
    with pytest.raises(DatasetError, match="more than 200 bytes"):
        find_input_cases(tmp_path / f"{'x' * 230}.png", ".png", 1)
    build_2d(tmp_path / "raw")
    write_png(tmp_path / "raw" / "imagesTr" / f"{'x' * 230}_0000.png", image_2d(0))
    with pytest.raises(DatasetError, match="more than 200 bytes"):
        open_dataset(tmp_path / "raw")


def test_all_real_datasets_open(real_data: Path) -> None:
    counts = {
        folder.name: len(open_dataset(folder).training_cases)
        for folder in sorted(real_data.glob("Dataset*"))
    }
    assert counts == {
        "Dataset001_LIDC": 8063,
        "Dataset002_CHASE": 22,
        "Dataset003_LGG": 1125,
        "Dataset004_Hippocampus": 166,
    }


def renamed(folder: Path, change: Callable[[str], str]) -> None:
    for path in list(folder.iterdir()):
        path.rename(path.with_name(change(path.name)))


def only_problem_of(folder: Path) -> str:
    """Return the single fault in the form of a dataset."""
    findings = Findings()
    scan_dataset(folder, findings=findings)
    assert len(findings.problems) == 1, findings.problems
    return findings.problems[0]


@pytest.mark.parametrize(
    ("write", "example"),
    (
        (lambda name: name.replace("_0000", "_000"), "'a_000.png' to 'a_0000.png'"),
        (lambda name: name.replace("_0000", "_00000"), "'a_00000.png' to 'a_0000.png'"),
        (lambda name: name.replace("_0000", ".0000"), "'a.0000.png' to 'a_0000.png'"),
        (lambda name: name.replace("_0000", "-0000"), "'a-0000.png' to 'a_0000.png'"),
        (lambda name: name.replace("_0000", ""), "'a.png' to 'a_0000.png'"),
        (lambda name: name.replace("_0000", "_007"), "'a_007.png' to 'a_007_0000.png'"),
    ),
)
def test_a_channel_that_is_written_in_another_way_is_one_message(
    write: Callable[[str], str], example: str, tmp_path: Path
) -> None:
    build_2d(tmp_path)
    renamed(tmp_path / "imagesTr", write)
    assert f"rename {example}" in only_problem_of(tmp_path)


def test_copies_of_images_are_no_cases(tmp_path: Path) -> None:
    build_2d(tmp_path)
    image = tmp_path / "imagesTr/a_0000.png"
    (tmp_path / "imagesTr/a_0000 (1).png").write_bytes(image.read_bytes())
    with pytest.raises(DatasetError, match="remove them if they are copies"):
        open_dataset(tmp_path)


@pytest.mark.parametrize(
    ("write", "example"),
    (
        (str.upper, "rename 'A.png' to 'a.png'"),
        (lambda name: f"mask_{name}", "rename 'mask_a.png' to 'a.png'"),
        (lambda name: name.replace(".png", "-seg.png"), "rename 'a-seg.png' to 'a.png'"),
    ),
)
def test_label_maps_that_are_written_in_another_way_are_one_message(
    write: Callable[[str], str], example: str, tmp_path: Path
) -> None:
    build_2d(tmp_path)
    renamed(tmp_path / "labelsTr", write)
    renamed(tmp_path / "labelsTr", lambda name: name.replace(".PNG", ".png"))
    assert example in only_problem_of(tmp_path)


def test_names_that_differ_by_zeros_are_matched_only_if_that_is_clear() -> None:
    assert as_named(["c1", "c2"], ["c001", "c002"]) == {"c1": "c001", "c2": "c002"}
    assert as_named(["mask_c1"], ["img-c01"]) == {"mask_c1": "img-c01"}
    assert as_named(["c1"], ["c01", "c001"]) is None
    assert as_named(["c1", "c01"], ["c001"]) is None
    assert as_named(["c1", "other"], ["c001", "c002"]) is None


def test_images_in_folders_are_one_message(tmp_path: Path) -> None:
    build_2d(tmp_path)
    for path in list((tmp_path / "imagesTr").iterdir()):
        (tmp_path / "imagesTr" / path.stem).mkdir()
        path.rename(tmp_path / "imagesTr" / path.stem / path.name)
    findings = Findings()
    scan_dataset(tmp_path, findings=findings)
    assert len(findings.problems) == 1, findings.problems
    assert "move them up" in findings.problems[0]
