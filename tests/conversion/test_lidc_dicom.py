"""LIDC-IDRI from TCIA: DICOM with the XML of readings."""

import re
import shutil
from pathlib import Path

import numpy as np
import pytest
import SimpleITK

from diffunet.api import plan_and_preprocess
from diffunet.conversion import lidc_readings
from diffunet.data.image_io import read_image, read_label_map
from diffunet.data.raw.dataset import RawDataset
from diffunet.data.raw.integrity import verify_dataset
from diffunet.errors import DatasetError
from tests.conversion.downloads import convert
from tests.conversion.lidc_downloads import (
    PREFIX,
    SQUARE,
    ct,
    lidc_dicom,
    readings_xml,
    save_series,
    save_slice,
)

INSIDE = [[y, x] for y in (3, 4) for x in (3, 4)]


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> RawDataset:
    folder = tmp_path_factory.mktemp("lidc")
    return convert("lidc", lidc_dicom(folder), folder / "workspace")


def series_of_one(tmp_path: Path, readings: str | None = None, **series: object) -> Path:
    """Make a download of one series; returns its folder."""
    folder = tmp_path / "LIDC-IDRI" / "LIDC-IDRI-0001" / "study" / "series"
    voxels = series.pop("voxels", ct())
    save_series(folder, voxels, **series)  # pyright: ignore[reportArgumentType]
    (folder / "069.xml").write_text(readings or readings_xml([[[(1, SQUARE, True)]]]))
    return folder


def refused(tmp_path: Path, words: str) -> str:
    with pytest.raises(DatasetError, match=words) as caught:
        convert("lidc", tmp_path / "LIDC-IDRI", tmp_path / "workspace")
    return str(caught.value)


def masks_of(dataset: RawDataset, case: int = 0) -> dict[str, np.ndarray]:
    files = dataset.training_cases[case].labels
    return {rater: read_label_map(path)[0] for rater, path in files.items()}


def test_each_series_with_readings_becomes_a_case(made: RawDataset) -> None:
    assert [case.case for case in made.training_cases] == [
        "LIDC-IDRI-0001",
        "LIDC-IDRI-0132_1",
        "LIDC-IDRI-0132_2",
    ]
    assert not verify_dataset(made, num_processes=0).problems


def test_series_of_one_patient_stay_together(made: RawDataset) -> None:
    assert made.patients["LIDC-IDRI-0132_1"] == made.patients["LIDC-IDRI-0132_2"]
    assert made.patients["LIDC-IDRI-0132_1"] == "LIDC-IDRI-0132"


def test_voxels_are_hounsfield_units_where_simpleitk_sees_them(made: RawDataset) -> None:
    source = made.folder.parents[2] / "manifest-1" / "LIDC-IDRI" / "LIDC-IDRI-0001"
    folder = next(source.glob("*/3000566*"))
    names = SimpleITK.ImageSeriesReader.GetGDCMSeriesFileNames(str(folder))
    before = SimpleITK.ReadImage(names)
    after = SimpleITK.ReadImage(str(made.training_cases[0].images[0]))
    assert after.GetPixelIDTypeAsString() == "16-bit signed integer"
    np.testing.assert_array_equal(
        SimpleITK.GetArrayFromImage(after), SimpleITK.GetArrayFromImage(before)
    )
    np.testing.assert_array_equal(SimpleITK.GetArrayFromImage(after), ct())
    corner = [7, 8, 4]
    for index in ([0, 0, 0], corner):
        np.testing.assert_allclose(
            after.TransformIndexToPhysicalPoint(index),
            before.TransformIndexToPhysicalPoint(index),
            atol=1e-4,
        )


def test_a_nodule_is_what_its_outline_surrounds(made: RawDataset) -> None:
    mask = masks_of(made, 1)["r00"]
    assert np.argwhere(mask).tolist() == [[2, *place] for place in INSIDE]


def test_a_hole_and_its_line_are_not_nodule(made: RawDataset) -> None:
    mask = masks_of(made)["r00"]
    assert np.argwhere(mask[1]).tolist() == INSIDE[1:]
    assert np.argwhere(mask[2]).tolist() == INSIDE


def test_nodules_of_one_slice_are_all_there(tmp_path: Path) -> None:
    other = [(x + 2, y + 3) for x, y in SQUARE]
    series_of_one(tmp_path, readings_xml([[[(1, SQUARE, True)], [(1, other, True)]]]))
    made = convert("lidc", tmp_path / "LIDC-IDRI", tmp_path / "workspace")
    assert masks_of(made)["r00"][1].sum() == 8


def test_who_marked_nothing_of_3_mm_has_an_empty_mask_and_who_did_not_read_has_none(
    made: RawDataset,
) -> None:
    masks = masks_of(made)
    assert list(masks) == ["r00", "r01", "r02"]
    assert not masks["r01"].any()
    assert not masks["r02"].any()


def test_series_that_are_left_out_are_counted(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO")
    convert("lidc", lidc_dicom(tmp_path), tmp_path / "workspace")
    assert "left out: 1 series of DX (no CT), 1 series of CT without readings" in caplog.text


def test_outlines_find_their_slice_by_place_where_names_are_missing(tmp_path: Path) -> None:
    series_of_one(tmp_path, readings_xml([[[(3, SQUARE, True)]]], names_slices=False))
    made = convert("lidc", tmp_path / "LIDC-IDRI", tmp_path / "workspace")
    assert np.argwhere(masks_of(made)["r00"]).tolist() == [[3, *place] for place in INSIDE]


def test_an_outline_in_no_slice_is_refused(tmp_path: Path) -> None:
    series_of_one(tmp_path, readings_xml([[[(5, SQUARE, True)]]]))
    assert "z = -87.5 mm" in refused(tmp_path, "expected each outline in a slice")


def test_an_outline_outside_of_the_image_is_refused(tmp_path: Path) -> None:
    series_of_one(tmp_path, readings_xml([[[(1, [(400, 300), (401, 300)], True)]]]))
    refused(tmp_path, r"within 8 x 9 pixels, found the point \(400, 300\)")


def test_a_missing_slice_is_named_by_its_neighbours(tmp_path: Path) -> None:
    folder = series_of_one(tmp_path)
    (folder / "1-003.dcm").unlink()
    found = refused(tmp_path, "expected slices at even distances")
    assert "5 mm between '1-004.dcm' and '1-002.dcm'" in found


def test_a_tilted_gantry_is_refused(tmp_path: Path) -> None:
    series_of_one(tmp_path, shift_mm=0.4)
    refused(tmp_path, "tilted gantry")


def test_a_tilted_series_can_be_left_out(tmp_path: Path) -> None:
    source = lidc_dicom(tmp_path)
    (study,) = source.glob("*/LIDC-IDRI-0132/study-2")
    shutil.rmtree(study)
    save_series(study, ct(), patient="LIDC-IDRI-0132", series=f"{PREFIX}.2", shift_mm=0.4)
    made = convert("lidc", source, tmp_path / "workspace", skip_faulty=True)
    assert [case.case for case in made.training_cases] == ["LIDC-IDRI-0001", "LIDC-IDRI-0132_2"]
    assert list(made.content["left_out"]) == ["LIDC-IDRI-0132_1"]


def test_all_damaged_files_of_readings_are_named(tmp_path: Path) -> None:
    source = lidc_dicom(tmp_path)
    for path in source.rglob("15*/*.xml"):
        path.write_text("<LidcRead")
    with pytest.raises(DatasetError, match=r"(?s)2\.xml': expected an XML.*3\.xml': expected an"):
        convert("lidc", source, tmp_path / "workspace")


def test_rounded_positions_are_even(tmp_path: Path) -> None:
    series_of_one(tmp_path, z_mm=[-100.6, -100.0, -99.4, -98.7, -98.1])
    made = convert("lidc", tmp_path / "LIDC-IDRI", tmp_path / "workspace")
    assert read_image(made.training_cases[0].images)[1].spacing_mm[0] == pytest.approx(0.625)


def test_of_two_slices_at_one_place_the_lower_number_counts(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    other = f"{PREFIX}.1.77"
    xml = readings_xml([[[(1, SQUARE, True)]]]).replace(f"{PREFIX}.1.4<", f"{other}<")
    folder = series_of_one(tmp_path, xml)
    save_slice(
        folder / "0-077.dcm",
        ct(seed=5)[0],
        patient="LIDC-IDRI-0001",
        series=f"{PREFIX}.1",
        number=77,
        position=(-10.5, -20.25, -97.5),
        instance=other,
    )
    made = convert("lidc", tmp_path / "LIDC-IDRI", tmp_path / "workspace")
    np.testing.assert_array_equal(read_image(made.training_cases[0].images)[0][0], ct())
    assert np.argwhere(masks_of(made)["r00"]).tolist() == [[1, *place] for place in INSIDE]
    assert (
        "case 'LIDC-IDRI-0001': slices left out, since another lies at their place: 1"
        in caplog.text
    )


def test_slices_of_another_series_in_the_folder_are_refused(tmp_path: Path) -> None:
    folder = series_of_one(tmp_path)
    save_series(folder.with_name("other"), ct()[:1], series=f"{PREFIX}.5")
    shutil.copy(folder.with_name("other") / "1-001.dcm", folder / "2-001.dcm")
    shutil.rmtree(folder.with_name("other"))
    refused(tmp_path, "2-001.dcm': expected the series")


def test_a_series_that_lies_there_twice_is_refused(tmp_path: Path) -> None:
    folder = series_of_one(tmp_path)
    shutil.copytree(folder, folder.with_name("copy"))
    refused(tmp_path, "hold the same series")


def test_readings_that_differ_are_refused_and_those_beside_the_slices_count(
    tmp_path: Path,
) -> None:
    folder = series_of_one(tmp_path)
    elsewhere = tmp_path / "LIDC-IDRI" / "tcia-lidc-xml"
    elsewhere.mkdir()
    (elsewhere / "161.xml").write_text(readings_xml([[]]))
    made = convert("lidc", tmp_path / "LIDC-IDRI", tmp_path / "workspace")
    assert masks_of(made)["r00"].any()
    shutil.move(folder / "069.xml", elsewhere / "161-resubmitted.xml")
    shutil.rmtree(tmp_path / "workspace")
    refused(tmp_path, "found several that differ")


def test_a_damaged_slice_names_its_file_and_other_cases_are_kept(tmp_path: Path) -> None:
    source = lidc_dicom(tmp_path)
    path = next(source.glob("*/LIDC-IDRI-0001/*/3000566*/1-001.dcm"))
    path.write_bytes(path.read_bytes()[:-40])
    with pytest.raises(DatasetError) as caught:
        convert("lidc", source, tmp_path / "workspace")
    assert "1 of 3 cases" in str(caught.value)
    assert "1-001.dcm" in str(caught.value)


def test_an_xml_file_with_entities_is_refused(tmp_path: Path) -> None:
    bomb = '<!DOCTYPE x [<!ENTITY a "aaaaaaaa"><!ENTITY b "&a;&a;&a;">]>'
    xml = readings_xml([[]]).replace("<LidcReadMessage", f"{bomb}<LidcReadMessage", 1)
    series_of_one(tmp_path, xml.replace("<readingSession>", "<readingSession>&b;"))
    refused(tmp_path, "declares a document type")


def test_an_outline_around_a_nodule_at_the_border_may_lie_beyond_it(tmp_path: Path) -> None:
    corner = [(-1, -1), (2, -1), (2, 2), (-1, 2)]
    series_of_one(tmp_path, readings_xml([[[(1, corner, True)]]]))
    made = convert("lidc", tmp_path / "LIDC-IDRI", tmp_path / "workspace")
    assert np.argwhere(masks_of(made)["r00"][1]).tolist() == [[0, 0], [0, 1], [1, 0], [1, 1]]


@pytest.mark.parametrize(
    "change, words",
    [
        (("</LidcReadMessage>", ""), "069.xml': expected an XML file of readings"),
        (("<xCoord>2<", "<xCoord>two<"), "069.xml': expected imageZposition, xCoord"),
        (("<xCoord>2<", "<xCoord>2.5<"), "069.xml': expected imageZposition, xCoord"),
        (("readingSession", "session"), "069.xml': expected readings"),
    ],
)
def test_damaged_readings_name_their_file(
    tmp_path: Path, change: tuple[str, str], words: str
) -> None:
    series_of_one(tmp_path, readings_xml([[[(1, SQUARE, True)]]]).replace(*change))
    assert "1 of 1 cases" in refused(tmp_path, words)


def test_a_table_with_another_prefix_and_lower_case_says_the_same(tmp_path: Path) -> None:
    hole = [(3, 3)]
    xml = readings_xml([[[(1, SQUARE, True), (1, hole, False)]]])
    xml = re.sub(r"<(/?)([a-zA-Z])", r"<\1nih:\2", xml).replace("xmlns=", "xmlns:nih=")
    series_of_one(tmp_path, xml.replace("FALSE", "false"))
    made = convert("lidc", tmp_path / "LIDC-IDRI", tmp_path / "workspace")
    assert masks_of(made)["r00"][1].sum() == 3


def test_an_xml_file_of_any_size_is_not_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    series_of_one(tmp_path)
    monkeypatch.setattr(lidc_readings, "_MOST_BYTES", 1000)
    refused(tmp_path, "069.xml': expected readings of at most")


def test_ct_without_any_readings_says_what_is_missing(tmp_path: Path) -> None:
    folder = series_of_one(tmp_path)
    (folder / "069.xml").unlink()
    refused(tmp_path, "found 1 CT series and 0 XML files.*add the readings")


def test_volumes_can_be_preprocessed(made: RawDataset) -> None:
    plan_and_preprocess(
        made.name, workspace=made.folder.parents[1], configurations=["3d_fullres"], num_processes=0
    )
    prepared = made.folder.parents[1] / "preprocessed" / made.name
    assert (prepared / "diffunet_plans.json").is_file()
