"""Whose a DICOM file is, however it is written."""

import struct
from pathlib import Path

import pytest

from diffunet.conversion.dicom_header import Header, dicom_among, read_header
from diffunet.errors import DatasetError
from tests.conversion.dicom_files import IMPLICIT, dicom_bytes, sequence
from tests.conversion.lidc_downloads import ct, save_slice

BIG_ENDIAN = "1.2.840.10008.1.2.2"
REPORT = Header(modality="SR", patient="P 1", series="1.2.3", instance="1.2.3.4")


def written(path: Path, content: bytes) -> Path:
    path.write_bytes(content)
    return path


@pytest.mark.parametrize("syntax", ["1.2.840.10008.1.2.1", IMPLICIT, BIG_ENDIAN, ""])
@pytest.mark.parametrize("is_defined", [True, False])
def test_a_report_without_an_image_tells_whose_it_is(
    tmp_path: Path, syntax: str, is_defined: bool
) -> None:
    path = written(tmp_path / "a", dicom_bytes(REPORT, syntax=syntax, is_defined=is_defined))
    assert read_header(path) == REPORT


def test_a_file_without_a_preamble_is_read(tmp_path: Path) -> None:
    content = dicom_bytes(REPORT, syntax=IMPLICIT, has_start=False)
    assert read_header(written(tmp_path / "a", content)) == REPORT


def test_a_private_sequence_of_unknown_kind_is_passed_over(tmp_path: Path) -> None:
    inside = sequence(0x0009, 0x1001, b"", order="<", is_explicit=True, is_defined=False)
    unknown = inside.replace(b"SQ", b"UN", 1)
    content = dicom_bytes(REPORT, syntax="1.2.840.10008.1.2.1", private=unknown)
    assert read_header(written(tmp_path / "a", content)) == REPORT


def test_an_image_that_another_program_wrote_is_read(tmp_path: Path) -> None:
    path = tmp_path / "slice.dcm"
    save_slice(path, ct()[0], patient="P", series="1.2", number=3, position=(0, 0, 0))
    assert read_header(path) == Header(modality="CT", patient="P", series="1.2", instance="1.2.3")
    assert dicom_among([path]) == [path]


@pytest.mark.parametrize("kept", [0, 100, 132, 170, 190])
def test_a_file_that_ends_early_is_named(tmp_path: Path, kept: int) -> None:
    path = written(tmp_path / "a.dcm", dicom_bytes(REPORT, syntax=IMPLICIT)[:kept])
    with pytest.raises(DatasetError, match=r"a\.dcm': expected a DICOM file"):
        read_header(path)


def test_a_length_beyond_the_file_is_refused(tmp_path: Path) -> None:
    start = dicom_bytes(REPORT, syntax=IMPLICIT, has_start=False)
    path = written(tmp_path / "a.dcm", struct.pack("<HHI", 8, 5, 2**31) + start)
    with pytest.raises(DatasetError, match="found one that cannot be read"):
        read_header(path)


def test_other_files_are_none(tmp_path: Path) -> None:
    path = written(tmp_path / "a", b"<?xml version='1.0'?>" * 20)
    assert not dicom_among([path, tmp_path / "none"])
    with pytest.raises(DatasetError, match="it does not begin as one"):
        read_header(path)
