"""Every mistake in a raw dataset, met through the command that a user types."""

import hashlib
from pathlib import Path

import pytest

from diffunet.cli import plan_and_preprocess
from tests.broken_datasets import BROKEN_DATASETS, BrokenDataset

# A folder that does not exist is met before the dataset is opened: tests/test_workspace.py.
MET_BY_THE_COMMAND = [each for each in BROKEN_DATASETS if each.name != "dataset_folder_absent"]


def digest(folder: Path) -> dict[str, str]:
    return {
        str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in folder.rglob("*")
        if path.is_file() and path.stat().st_mode & 0o400
    }


@pytest.mark.parametrize("broken", MET_BY_THE_COMMAND, ids=lambda broken: broken.name)
def test_the_command_ends_with_one_message_exit_code_2_and_nothing_lost(
    broken: BrokenDataset, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    raw = tmp_path / "workspace" / "raw" / "Dataset001_Tiny"
    raw.mkdir(parents=True)
    broken.create(raw)
    before = digest(raw)
    arguments = ["-d", "1", "-np", "0", "--workspace", str(tmp_path / "workspace")]
    assert plan_and_preprocess.main_verify([*arguments, "--check_labels"]) == 2
    message = capsys.readouterr().err
    assert message.startswith("error: ")
    assert message.count("\n") == 1
    assert "Traceback" not in message
    for fragment in broken.fragments:
        assert fragment in message
    assert digest(raw) == before
    assert not (tmp_path / "workspace" / "preprocessed").exists()
