"""What a folder is taken for."""

import re

import pytest

from diffunet.cli.report import main
from diffunet.errors import UsageError
from diffunet.report.folders import kind_of
from tests.report.folders_on_disk import write_fold


def test_what_is_nothing_of_ours_is_refused_with_a_hint(tmp_path):
    with pytest.raises(UsageError, match="expected a folder, found none"):
        kind_of(tmp_path / "missing")
    with pytest.raises(UsageError, match="holds nothing to report about"):
        kind_of(tmp_path)
    (tmp_path / "imagesTr").mkdir()
    with pytest.raises(UsageError, match="is a raw dataset: run diffunet_plan_and_preprocess"):
        kind_of(tmp_path)


def test_a_folder_beside_what_is_meant_is_told_it(tmp_path):
    model = write_fold(tmp_path / "Dataset001_X" / "diffusion__p__2d" / "fold_0").parent
    for given in (model.parent, model / "fold_7"):
        with pytest.raises(UsageError, match=rf"did you mean '{re.escape(str(model))}'\?"):
            kind_of(given)
    with pytest.raises(UsageError, match=r"expected a folder, found a file; did you mean '.*d_0'"):
        kind_of(model / "fold_0" / "metrics.jsonl")


def test_a_page_takes_the_place_of_no_other_file(tmp_path, capsys):
    fold = write_fold(tmp_path / "fold_0")
    image = tmp_path / "case_0000.png"
    image.write_bytes(b"mine")
    assert main([str(fold), "-o", str(image), "--workspace", str(tmp_path)]) == 2
    assert "expected a page to write (-o), whose name ends in .html" in capsys.readouterr().err
    assert image.read_bytes() == b"mine"
    assert main([str(fold), "-o", str(tmp_path / "x.HTM"), "--workspace", str(tmp_path)]) == 0


def test_a_mistake_ends_the_command_with_2_and_one_sentence(tmp_path, capsys):
    assert main([str(tmp_path), "--workspace", str(tmp_path)]) == 2
    error = capsys.readouterr().err
    assert error.startswith("error: ")
    assert error.count("\n") == 1
    assert list(tmp_path.iterdir()) == []
