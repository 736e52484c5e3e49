"""LIDC-IDRI from TCIA: DICOM with the XML of readings."""

import re
import shutil
from pathlib import Path

import numpy as np
import pytest
import SimpleITK

from diffunet.api import plan_and_preprocess
from diffunet.conversion import lidc_dicom as lidc_dicom_module
from diffunet.conversion import lidc_readings
from diffunet.conversion.dicom_header import Header
from diffunet.data.image_io import read_image, read_label_map
from diffunet.data.raw.dataset import RawDataset
from diffunet.data.raw.integrity import verify_dataset
from diffunet.errors import DatasetError
from tests.conversion.dicom_files import dicom_bytes
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


def test_damaged_readings_beside_slices_are_the_fault_of_their_case_alone(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    source = lidc_dicom(tmp_path)
    path = next(source.rglob("069.xml"))
    path.write_text("<LidcRead")
    made = convert("lidc", source, tmp_path / "workspace", skip_faulty=True)
    assert [case.case for case in made.training_cases] == ["LIDC-IDRI-0132_1", "LIDC-IDRI-0132_2"]
    assert "069.xml': expected an XML" in made.content["left_out"]["LIDC-IDRI-0001"]


def test_damaged_readings_of_which_nothing_tells_the_case_are_named_at_once_and_at_the_end(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO")
    source = lidc_dicom(tmp_path)
    for path in source.rglob("15*/*.xml"):
        path.write_text("<LidcRead")
    with pytest.raises(DatasetError, match=r"(?s)2 of 3 cases.*2\.xml': exp.*3\.xml': exp"):
        convert("lidc", source, tmp_path / "workspace")
    assert caplog.text.count("a case cannot be converted") == 2
    made = convert("lidc", source, tmp_path / "workspace", skip_faulty=True)
    assert [case.case for case in made.training_cases] == ["LIDC-IDRI-0001"]


def test_a_damaged_table_that_no_ct_needs_is_left_aside(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO")
    folder = series_of_one(tmp_path)
    (folder.parent / "index.xml").write_text("<!DOCTYPE html><html></html>")
    convert("lidc", tmp_path / "LIDC-IDRI", tmp_path / "workspace")
    assert "left aside, since each CT series has its readings" in caplog.text


def test_readings_whose_ct_is_not_there_are_named(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO")
    folder = series_of_one(tmp_path)
    (folder.parent / "161.xml").write_text(readings_xml([[]], series=f"{PREFIX}.5"))
    convert("lidc", tmp_path / "LIDC-IDRI", tmp_path / "workspace")
    assert "files of readings whose CT is not here: '161.xml'" in caplog.text


@pytest.mark.parametrize("name", ["IM{}", "x.{}.IMA", f"{PREFIX}.1.{{}}", "{}.dicom"])
def test_slices_are_found_by_their_content_where_the_ending_does_not_tell(
    tmp_path: Path, name: str
) -> None:
    folder = series_of_one(tmp_path)
    for number, path in enumerate(sorted(folder.glob("*.dcm"))):
        path.rename(folder / name.format(number))
    (folder / "LICENSE").write_text("CC BY 3.0")
    (folder.parent / "DICOMDIR").write_bytes(b"\0" * 128 + b"DICM" + b"\0" * 40)
    made = convert("lidc", tmp_path / "LIDC-IDRI", tmp_path / "workspace")
    np.testing.assert_array_equal(read_image(made.training_cases[0].images)[0][0], ct())


def test_objects_without_an_image_are_counted(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO")
    folder = series_of_one(tmp_path)
    report = Header(modality="SR", patient="LIDC-IDRI-0001", series="1.2.3", instance="1.2.3.4")
    (folder / "0-001.dcm").write_bytes(dicom_bytes(report))
    made = convert("lidc", tmp_path / "LIDC-IDRI", tmp_path / "workspace")
    assert "left out: 1 series of SR (no CT)" in caplog.text
    np.testing.assert_array_equal(read_image(made.training_cases[0].images)[0][0], ct())


def test_an_empty_file_in_a_folder_of_its_own_can_be_left_out(tmp_path: Path) -> None:
    folder = series_of_one(tmp_path)
    folder.with_name("other").mkdir()
    (folder.with_name("other") / "1-001.dcm").write_bytes(b"")
    refused(tmp_path, r"1 of 2 cases(?s:.)*other/1-001.dcm': expected a DICOM file")
    made = convert("lidc", tmp_path / "LIDC-IDRI", tmp_path / "workspace", skip_faulty=True)
    assert list(made.content["left_out"]) == ["unknown_1"]


def test_a_series_without_a_patient_is_a_patient_of_its_own(tmp_path: Path) -> None:
    folder = series_of_one(tmp_path)
    series = f"{PREFIX}.2"
    save_series(folder.with_name("other"), ct(), patient="", series=series)
    (folder.with_name("other") / "2.xml").write_text(readings_xml([[]], series=series))
    made = convert("lidc", tmp_path / "LIDC-IDRI", tmp_path / "workspace")
    assert made.patients == {"LIDC-IDRI-0001": "LIDC-IDRI-0001", series: series}


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


def test_series_are_told_apart_in_one_folder_and_joined_from_several(tmp_path: Path) -> None:
    folder = series_of_one(tmp_path)
    other = save_series(folder.with_name("other"), ct(seed=5), series=f"{PREFIX}.2")
    (other / "2.xml").write_text(readings_xml([[[(1, SQUARE, True)]]] * 2, series=f"{PREFIX}.2"))
    ray = save_series(folder.with_name("ray"), ct()[:1], series=f"{PREFIX}.7", modality="DX")
    (ray / "1-001.dcm").rename(folder / "0-001.dcm")
    for path in sorted(other.glob("*.dcm"))[2:]:
        path.rename(folder / f"2{path.name}")
    made = convert("lidc", tmp_path / "LIDC-IDRI", tmp_path / "workspace")
    for case, seed in zip(made.training_cases, (0, 5), strict=True):
        np.testing.assert_array_equal(read_image(case.images)[0][0], ct(seed=seed))
    assert len(made.training_cases[1].labels) == 2


def test_a_series_that_lies_there_twice_is_refused(tmp_path: Path) -> None:
    folder = series_of_one(tmp_path)
    shutil.copytree(folder, folder.with_name("copy"))
    refused(tmp_path, "hold the same slices of the series")


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


def test_readings_that_differ_are_the_fault_of_their_case_alone(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO")
    source = lidc_dicom(tmp_path)
    path = next(source.rglob("069.xml"))
    path.with_name("069-again.xml").write_text(path.read_text() + "\n")
    made = convert("lidc", source, tmp_path / "workspace", skip_faulty=True)
    assert [case.case for case in made.training_cases] == ["LIDC-IDRI-0132_1", "LIDC-IDRI-0132_2"]
    assert "069-again.xml', " in made.content["left_out"]["LIDC-IDRI-0001"]
    assert caplog.text.count("a case cannot be converted: ") == 1


def test_reading_many_headers_is_told_now_and_then(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(lidc_dicom_module, "_MANY", 3)
    monkeypatch.setattr(lidc_dicom_module, "_SECONDS_BETWEEN_LINES", 0.0)
    caplog.set_level("INFO")
    series_of_one(tmp_path)
    convert("lidc", tmp_path / "LIDC-IDRI", tmp_path / "workspace")
    assert "read 4 of 5 headers" in caplog.text


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
