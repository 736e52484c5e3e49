"""Every mistake in a raw dataset is one message: which case, expected, found, what to do."""

from pathlib import Path

import pytest

from diffunet.data.raw.dataset import open_dataset
from diffunet.data.raw.integrity import IntegrityReport, verify_dataset
from diffunet.errors import DatasetError
from tests.broken_datasets import (
    BROKEN_DATASETS,
    DOUBTFUL_DATASETS,
    BrokenDataset,
    content_of,
    write_report,
)
from tests.data.tiny_datasets import VALID_DATASETS


def verify(folder: Path) -> IntegrityReport:
    return verify_dataset(folder, num_processes=0, checks_labels=True)


def holds_all(message: str, fragments: tuple[str, ...]) -> bool:
    return all(fragment in message for fragment in fragments)


def test_the_table_has_at_least_forty_kinds_of_bad_input() -> None:
    assert len({broken.name for broken in BROKEN_DATASETS}) == len(BROKEN_DATASETS) >= 40


@pytest.mark.parametrize("name", VALID_DATASETS)
def test_a_valid_dataset_has_neither_problems_nor_warnings(name: str, tmp_path: Path) -> None:
    VALID_DATASETS[name](tmp_path)
    # what needs label maps is not warned about where there are none
    report = verify_dataset(tmp_path, num_processes=0)
    assert (report.problems, report.warnings) == ((), ())


@pytest.mark.parametrize("broken", BROKEN_DATASETS, ids=lambda broken: broken.name)
def test_bad_input_gives_one_message_that_says_what_and_how_to_mend(
    broken: BrokenDataset, tmp_path: Path
) -> None:
    folder = tmp_path / "Dataset001_Tiny"
    folder.mkdir()
    broken.create(folder)
    report = verify(folder)
    assert len(report.problems) == 1, write_report(report.problems)
    assert holds_all(report.problems[0], broken.fragments), report.problems[0]


@pytest.mark.parametrize("doubtful", DOUBTFUL_DATASETS, ids=lambda doubtful: doubtful.name)
def test_what_may_be_a_mistake_is_a_warning_and_no_problem(
    doubtful: BrokenDataset, tmp_path: Path
) -> None:
    doubtful.create(tmp_path)
    report = verify(tmp_path)
    assert report.problems == ()
    found = [text for text in report.warnings if holds_all(text, doubtful.fragments)]
    assert len(found) == 1, write_report(report.warnings)


@pytest.mark.parametrize("broken", BROKEN_DATASETS, ids=lambda broken: broken.name)
def test_the_check_changes_nothing(broken: BrokenDataset, tmp_path: Path) -> None:
    broken.create(tmp_path)
    before = content_of(tmp_path)
    verify(tmp_path)
    assert content_of(tmp_path) == before


def test_opening_reports_every_fault_of_form_at_once(tmp_path: Path) -> None:
    VALID_DATASETS["2d"](tmp_path)
    (tmp_path / "labelsTr/a.png").unlink()
    (tmp_path / "imagesTr/b_0000.png").rename(tmp_path / "imagesTr/b.png")
    (tmp_path / "patients.csv").write_text("case,patient\na,p\nb,p\nc,\n", encoding="utf-8")
    with pytest.raises(DatasetError) as caught:
        open_dataset(tmp_path)
    assert len(caught.value.problems) == 3
    assert all(name in str(caught.value) for name in ("'a'", "'b.png'", "'c'"))


def test_faults_of_form_and_of_files_are_reported_together(tmp_path: Path) -> None:
    VALID_DATASETS["2d"](tmp_path)
    (tmp_path / "labelsTr/a.png").unlink()
    (tmp_path / "labelsTr/b.png").write_bytes(b"")
    (tmp_path / "imagesTr/c_0000.png").write_bytes(b"")
    problems = verify(tmp_path).problems
    assert [problem[:8] for problem in problems] == ["case 'a'", "case 'b'", "case 'c'"]
