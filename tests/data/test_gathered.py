"""What many cases share is told once."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from diffunet.data.image_io import read_image, read_label_map
from diffunet.data.raw.gathered import gathered
from diffunet.data.raw.patient_names import patients_in_names
from diffunet.errors import DatasetError


def findings(count: int) -> list[tuple[str, str]]:
    return [
        (f"c{n}", f"case 'c{n}': 'labelsTr/c{n}.png': found {n + 2} channels") for n in range(count)
    ]


def test_few_findings_are_told_one_by_one() -> None:
    assert list(gathered(findings(5))) == [text for _, text in findings(5)]


def test_of_many_alike_two_are_told_and_the_other_cases() -> None:
    told = list(gathered([("x", "case 'x': other"), *findings(6)]))
    assert told == [
        "case 'x': other",
        *(text for _, text in findings(2)),
        "and the like in 4 more cases: 'c2', 'c3', 'c4', 'c5'",
    ]


@pytest.mark.parametrize(
    "names",
    [
        ["patient001_frame01", "patient001_frame12", "patient002_frame01", "patient003_frame01"],
        ["00000001_000", "00000001_001", "00000002_000", "00000003_000"],
        ["BraTS-GLI-00000-000", "BraTS-GLI-00000-001", "BraTS-GLI-1-000", "BraTS-GLI-2-000"],
        ["TCGA_CS_4941_1", "TCGA_CS_4941_2", "TCGA_CS_4942_1", "TCGA_CS_4943_1"],
        ["010_HC", "010_2HC", "010_3HC", "012_2HC", "013_2HC"],
    ],
)
def test_names_that_tell_patients_are_told(names: list[str]) -> None:
    assert "there is no patients.csv" in (patients_in_names(names) or "")


@pytest.mark.parametrize(
    "stem",
    ["BraTS2021_{:05d}", "Case{:02d}", "ISIC_{:07d}", "case_{:05d}", "benign ({})", "{:03d}"],
)
def test_names_of_one_case_a_patient_are_not(stem: str) -> None:
    assert patients_in_names([stem.format(number) for number in range(20)]) is None


@pytest.mark.parametrize("mode", ["RGB", "RGBA", "LA", "L"])
def test_a_grey_picture_is_read_however_it_was_saved(tmp_path: Path, mode: str) -> None:
    grey = np.arange(20, dtype=np.uint8).reshape(4, 5)
    Image.fromarray(grey).convert(mode).save(tmp_path / "a_0000.png")
    np.testing.assert_array_equal(read_image([tmp_path / "a_0000.png"], num_channels=1)[0][0], grey)
    np.testing.assert_array_equal(read_label_map(tmp_path / "a_0000.png")[0], grey)


def test_what_shines_through_is_refused(tmp_path: Path) -> None:
    array = np.full((4, 5, 4), 255, np.uint8)
    array[0, 0, 3] = 7
    Image.fromarray(array).save(tmp_path / "a.png")
    with pytest.raises(DatasetError, match="found the mode RGBA; save it without transparency"):
        read_image([tmp_path / "a.png"])


def test_colours_are_no_label_map(tmp_path: Path) -> None:
    array = np.zeros((4, 5, 3), np.uint8)
    array[0, 0, 1] = 7
    Image.fromarray(array).save(tmp_path / "a.png")
    with pytest.raises(DatasetError, match="of one channel, found 3 channels"):
        read_label_map(tmp_path / "a.png")
