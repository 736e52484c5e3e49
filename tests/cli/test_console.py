"""Whatever the console is, a command does its work and shows what it can."""

import io
import logging
import os
import subprocess
import sys

import numpy as np
import pytest

from diffunet.cli import evaluate
from diffunet.cli.command import command, progress_bar
from diffunet.cli.console import Console, lasting_console
from diffunet.data.image_io import ImageGeometry, write_label_map
from diffunet.jsonio import read_json, write_json

LABEL = "Läsion–腫瘍"


def console(encoding: str) -> io.TextIOWrapper:
    return io.TextIOWrapper(io.BytesIO(), encoding=encoding, write_through=True)


@pytest.fixture
def folders(tmp_path):
    geometry = ImageGeometry(shape=(8, 8), spacing_mm=(1.0, 1.0), has_spacing=False)
    mask = np.eye(8, dtype=np.uint8)
    for name in ("labelsTs", "predictions"):
        (tmp_path / name).mkdir()
        write_label_map(tmp_path / name / "a.png", mask, geometry)
    content = {"channel_names": {"0": "grey"}, "labels": {"background": 0, LABEL: 1}}
    write_json(tmp_path / "dataset.json", {**content, "file_ending": ".png"})
    return [str(tmp_path / "labelsTs"), str(tmp_path / "predictions"), "-np", "0"]


@pytest.mark.parametrize("encoding", ["ascii", "cp1252", "latin-1", "utf-8"])
def test_the_table_of_scores_is_printed_in_every_encoding(folders, monkeypatch, encoding):
    stream = console(encoding)
    monkeypatch.setattr(sys, "stdout", stream)
    assert evaluate.main(folders) == 0
    shown = stream.buffer.getvalue().decode(encoding)
    assert LABEL.encode(encoding, "backslashreplace").decode(encoding) in shown
    assert "Worst cases by Dice of the consensus: a" in shown


@pytest.mark.parametrize("encoding", ["ascii", "cp1252"])
def test_a_progress_bar_is_drawn_in_every_encoding(monkeypatch, encoding):
    stream = console(encoding)
    stream.isatty = lambda: True
    monkeypatch.setattr(sys, "stderr", stream)
    with lasting_console():
        assert list(progress_bar([1, 2], 2, LABEL)) == [1, 2]
    assert b"2/2" in stream.buffer.getvalue()


def test_a_file_name_that_is_no_text_is_shown_as_an_escape():
    stream = console("utf-8")
    Console(stream).write("'\udcff.png' is missing")
    assert stream.buffer.getvalue() == b"'\\udcff.png' is missing"


def test_a_console_that_was_closed_does_not_end_the_work(folders, monkeypatch, tmp_path):
    stream = console("utf-8")
    stream.close()
    monkeypatch.setattr(sys, "stdout", stream)
    monkeypatch.setattr(sys, "stderr", stream)
    assert evaluate.main(folders) == 0
    assert read_json(tmp_path / "predictions" / "summary.json")["foreground_mean"]["Dice"] == 1


def test_without_any_console_a_command_works(folders, monkeypatch, tmp_path):
    monkeypatch.setattr(sys, "stdout", None)
    monkeypatch.setattr(sys, "stderr", None)
    assert evaluate.main(folders) == 0
    assert (tmp_path / "predictions" / "summary.json").is_file()


def test_streams_are_those_of_before_when_a_command_has_ended(capsys):
    before = sys.stdout, sys.stderr
    assert command(lambda arguments: sys.stdout.write("done\n") and None)() == 0
    assert (sys.stdout, sys.stderr) == before
    assert capsys.readouterr().out == "done\n"


@pytest.mark.skipif(os.name != "posix", reason="pipes of a shell")
def test_a_reader_that_leaves_early_does_not_end_the_work(tmp_path):
    code = (
        "import sys, pathlib, logging; from diffunet.cli.command import command\n"
        "@command\n"
        "def main(arguments):\n"
        "    for number in range(20000):\n"
        "        print('line', number)\n"
        "        logging.getLogger('diffunet').info('more')\n"
        "    pathlib.Path(sys.argv[1]).write_text('whole')\n"
        "raise SystemExit(main())\n"
    )
    process = subprocess.Popen(
        [sys.executable, "-c", code, str(tmp_path / "work")],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )
    assert process.stdout is not None
    process.stdout.close()
    said = process.stderr.read() if process.stderr is not None else b""
    assert process.wait() == 0
    assert said == b""
    assert (tmp_path / "work").read_text() == "whole"


def test_what_is_logged_after_a_command_goes_nowhere_but_does_not_fail(folders, monkeypatch):
    stream = console("utf-8")
    monkeypatch.setattr(sys, "stdout", stream)
    assert evaluate.main(folders) == 0
    stream.close()
    logging.getLogger("diffunet").warning("late")
