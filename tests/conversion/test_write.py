"""A raw dataset is whole or absent, and a conversion continues."""

from pathlib import Path

import pytest

from diffunet.api import convert_dataset
from diffunet.cli.convert import main
from diffunet.conversion.case import SourceCase
from diffunet.conversion.formats import FORMATS
from diffunet.errors import DatasetError, UsageError, WorkspaceError
from tests.conversion.downloads import convert, decathlon


def test_a_dataset_that_is_there_is_not_touched(tmp_path: Path) -> None:
    source = decathlon(tmp_path)
    made = convert("msd", source, tmp_path / "workspace")
    before = sorted(path.stat().st_mtime_ns for path in made.folder.rglob("*"))
    with pytest.raises(WorkspaceError, match="is there already"):
        convert("msd", source, tmp_path / "workspace")
    assert sorted(path.stat().st_mtime_ns for path in made.folder.rglob("*")) == before


def test_a_number_can_be_chosen(tmp_path: Path) -> None:
    made = convert("msd", decathlon(tmp_path), tmp_path / "workspace", dataset=17)
    assert made.name == "Dataset017_Hippocampus"


def test_a_download_without_a_number_gets_the_first_free_one(tmp_path: Path) -> None:
    source = decathlon(tmp_path)
    source = source.rename(source.with_name("hippo"))
    (tmp_path / "workspace" / "raw" / "Dataset001_Other").mkdir(parents=True)
    assert convert("msd", source, tmp_path / "workspace").name == "Dataset002_hippo"


def test_an_interrupted_conversion_goes_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    source = decathlon(tmp_path)
    image = source / "imagesTr" / "hippocampus_003.nii.gz"
    whole = image.read_bytes()
    image.write_bytes(whole[:100])
    with pytest.raises(DatasetError, match="1 of 3 cases"):
        convert("msd", source, tmp_path / "workspace")
    image.write_bytes(whole)
    read: list[str] = []
    scan = FORMATS["msd"].scan

    def noting(path: Path, wishes: object) -> object:
        found = scan(path, wishes)  # pyright: ignore[reportArgumentType]
        cases = tuple(
            SourceCase(
                name=case.name,
                is_test=case.is_test,
                read=lambda case=case: read.append(case.name) or case.read(),
            )
            for case in found.cases
        )
        return type(found)(**{**vars(found), "cases": cases})

    monkeypatch.setattr(type(FORMATS["msd"]), "scan", lambda _, *given: noting(*given))
    made = convert("msd", source, tmp_path / "workspace")
    assert read == ["hippocampus_003"]
    assert len(made.training_cases) == 2
    assert [path.name for path in made.folder.parent.iterdir()] == [made.name]


def test_two_processes_write_what_one_does(tmp_path: Path) -> None:
    source = decathlon(tmp_path)
    one = convert_dataset("msd", source, workspace=tmp_path / "one", num_processes=0)
    two = convert_dataset("msd", source, workspace=tmp_path / "two", num_processes=2)
    files = sorted(path.relative_to(one) for path in one.rglob("*") if path.is_file())
    assert files == sorted(path.relative_to(two) for path in two.rglob("*") if path.is_file())
    assert all((one / name).read_bytes() == (two / name).read_bytes() for name in files)


def test_an_option_that_means_nothing_for_a_format_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="--slices has no meaning for the format 'msd'"):
        convert("msd", decathlon(tmp_path), tmp_path / "workspace", slices=True)


def test_an_unknown_format_lists_those_that_are_known(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="msd, .*got 'decathlon'"):
        convert("decathlon", tmp_path, tmp_path / "workspace")


def test_the_command_says_what_comes_next(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    source = decathlon(tmp_path)
    words = ["msd", str(source), "--workspace", str(tmp_path / "workspace"), "-np", "0"]
    assert main(words) == 0
    assert "next: diffunet_plan_and_preprocess -d Dataset004_Hippocampus" in capsys.readouterr().out
    assert main(words) == 2
    assert "is there already" in capsys.readouterr().err
