"""What a folder is taken for."""

import pytest

from diffunet.cli.report import main
from diffunet.errors import UsageError
from diffunet.report.folders import kind_of


def test_what_is_nothing_of_ours_is_refused_with_a_hint(tmp_path):
    with pytest.raises(UsageError, match="expected a folder, found none"):
        kind_of(tmp_path / "missing")
    with pytest.raises(UsageError, match="holds nothing to report about"):
        kind_of(tmp_path)
    (tmp_path / "imagesTr").mkdir()
    with pytest.raises(UsageError, match="is a raw dataset: run diffunet_plan_and_preprocess"):
        kind_of(tmp_path)


def test_a_mistake_ends_the_command_with_2_and_one_sentence(tmp_path, capsys):
    assert main([str(tmp_path), "--workspace", str(tmp_path)]) == 2
    error = capsys.readouterr().err
    assert error.startswith("error: ")
    assert error.count("\n") == 1
    assert list(tmp_path.iterdir()) == []
