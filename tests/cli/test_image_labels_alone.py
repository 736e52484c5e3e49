"""What the commands do before training where only image-level labels may be known."""

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from diffunet.api import extract_fingerprint
from diffunet.cli import plan_and_preprocess
from diffunet.plans import Plans
from diffunet.workspace import Workspace
from tests.data.tiny_datasets import (
    build_2d,
    build_tagged,
    build_tagged_slices,
    edit_json,
    image_2d,
    mask_2d,
    write_csv,
    write_png,
)

COMMANDS = {
    "verify": plan_and_preprocess.main_verify,
    "fingerprint": plan_and_preprocess.main_fingerprint,
    "plan": plan_and_preprocess.main_plan,
    "preprocess": plan_and_preprocess.main_preprocess,
    "all": plan_and_preprocess.main,
}


class Opened:
    """The files that Python opens while `is_watching`; an audit hook can never be removed."""

    def __init__(self) -> None:
        self.is_watching = False
        self.paths: list[str] = []
        sys.addaudithook(self)

    def __call__(self, event: str, arguments: tuple[object, ...]) -> None:
        if self.is_watching and event == "open":
            self.paths.append(str(arguments[0]))


OPENED = Opened()


@contextmanager
def watched_files() -> Iterator[list[str]]:
    """Collect the paths of what is opened inside."""
    OPENED.paths.clear()
    OPENED.is_watching = True
    try:
        yield OPENED.paths
    finally:
        OPENED.is_watching = False


def _workspace(tmp_path: Path) -> tuple[Path, Path]:
    raw = tmp_path / "workspace" / "raw" / "Dataset001_Tiny"
    raw.mkdir(parents=True)
    return tmp_path / "workspace", raw


def _run(workspace: Path, command: str, *more: str) -> int | None:
    alone = () if command == "plan" else ("-np", "0")
    return COMMANDS[command](["-d", "1", "--workspace", str(workspace), *alone, *more])


def _tagged_pictures(raw: Path) -> None:
    """Write 12 pictures with masks that are no pictures."""
    build_tagged(raw)
    for index in range(10):
        write_png(raw / "imagesTr" / f"c{index}_0000.png", image_2d(index + 2))
    cases = ["a", "b", *(f"c{index}" for index in range(10))]
    rows = [(case, index % 2) for index, case in enumerate(cases)]
    write_csv(raw / "image_labels.csv", [("case", "lesion"), *rows])
    (raw / "labelsTr").mkdir()
    for case in cases:
        (raw / "labelsTr" / f"{case}.png").write_bytes(b"not a picture")


def test_no_mask_is_opened_from_the_check_to_preprocessed_data(tmp_path):
    workspace, raw = _workspace(tmp_path)
    _tagged_pictures(raw)
    with watched_files() as opened:
        for command in ("verify", "fingerprint", "plan", "preprocess"):
            assert _run(workspace, command) == 0
    assert any("imagesTr" in path for path in opened)
    assert not [path for path in opened if "labelsTr" in path]


def test_no_mask_is_opened_by_the_command_that_does_all(tmp_path):
    workspace, raw = _workspace(tmp_path)
    _tagged_pictures(raw)
    with watched_files() as opened:
        assert _run(workspace, "all") == 0
    assert any("imagesTr" in path for path in opened)
    assert not [path for path in opened if "labelsTr" in path]


def test_the_watch_sees_masks_that_are_opened(tmp_path):
    workspace, raw = _workspace(tmp_path)
    build_2d(raw)
    with watched_files() as opened:
        assert _run(workspace, "verify") == 0
    assert [path for path in opened if "labelsTr" in path]


def test_masks_may_be_missing_altogether(tmp_path):
    workspace, raw = _workspace(tmp_path)
    build_tagged_slices(raw)
    assert _run(workspace, "all") == 0
    plans = Plans.load(workspace / "preprocessed" / raw.name / "diffunet_plans.json")
    assert plans.method == "cdm"
    assert plans.recommended_configuration == "2d"
    weak = plans.configuration("2d").weak
    assert weak is not None
    assert weak.has_slice_labels


def test_a_fault_of_a_tag_ends_every_command_before_anything_is_written(tmp_path, capsys):
    workspace, raw = _workspace(tmp_path)
    build_tagged(raw)
    write_csv(raw / "image_labels.csv", [("case", "lesion"), ("a", 2), ("b", 0)])
    for command in COMMANDS:
        assert _run(workspace, command) == 2
        message = capsys.readouterr().err
        assert "case 'a': expected 0 or 1 for 'lesion' in image_labels.csv, line 2" in message
        assert "Traceback" not in message
    assert not (workspace / "preprocessed").exists()


def test_a_fingerprint_of_masks_is_measured_anew_once_image_labels_are_declared(tmp_path):
    workspace, raw = _workspace(tmp_path)
    build_2d(raw)
    place = Workspace(
        raw=workspace / "raw",
        preprocessed=workspace / "preprocessed",
        results=workspace / "results",
        origin="a test",
    )
    arguments = {"workspace": place, "num_processes": 0}
    assert extract_fingerprint(1, **arguments).image_labels is None
    edit_json(raw / "dataset.json", image_labels="image_labels.csv")
    write_csv(raw / "image_labels.csv", [("case", "lesion"), ("a", 1), ("b", 0), ("c", 0)])
    found = extract_fingerprint(1, **arguments)
    assert found.image_labels is not None
    assert found.labels is None
    write_png(raw / "labelsTr" / "a.png", mask_2d(is_empty=True))
    assert extract_fingerprint(1, **arguments) == found
