import errno
import logging
import signal
import subprocess
from pathlib import Path

import numpy as np
import pytest

from diffunet.errors import DiffunetError
from diffunet.training import reporting
from diffunet.training.reporting import Pictures, log_file
from diffunet.workers import Program
from tests.full_disk import full_disk


def masks(*shape: int) -> np.ndarray:
    made = np.zeros(shape, bool)
    made[..., 1:3, 1:3] = True
    return made


def test_pictures_are_drawn_beside_the_training(tmp_path):
    (tmp_path / "metrics.jsonl").write_text("")
    pictures = Pictures(tmp_path)
    pictures.add_case("c", np.zeros((1, 4, 4)), masks(2, 1, 4, 4), masks(3, 1, 4, 4))
    pictures.update()
    pictures.finish()
    assert {path.name for path in tmp_path.glob("*.png")} == {"progress.png", "samples.png"}


def test_of_a_volume_the_slice_that_raters_marked_most_is_shown(tmp_path):
    raters = np.zeros((2, 1, 3, 4, 4), bool)
    raters[:, :, 2] = True
    image = np.arange(3.0)[None, :, None, None] * np.ones((1, 3, 4, 4))
    pictures = Pictures(tmp_path)
    pictures.add_case("c", image, raters, raters)
    _, shown, shown_raters, _ = pictures._cases[0]
    assert shown.shape == (1, 4, 4)
    assert (shown == 2).all()
    assert shown_raters.all()


def test_a_picture_that_fails_is_one_warning_and_no_error(tmp_path, caplog):
    pictures = Pictures(tmp_path)
    with caplog.at_level(logging.WARNING):
        for _ in range(3):
            pictures.update()
            pictures.finish()
    assert caplog.text.count("no pictures of this training are drawn") == 1
    assert "metrics.jsonl" in caplog.text


def waiting_program(folder, monkeypatch) -> Program:
    (folder / "waiting.py").write_text("import time; time.sleep(60)")
    monkeypatch.syspath_prepend(folder)
    return Program("waiting", [], stderr=subprocess.PIPE)


def test_what_changed_while_a_picture_was_drawn_is_drawn_last(tmp_path, monkeypatch):
    begun = []

    def begin(module, arguments, **_):
        begun.append((tmp_path / "metrics.jsonl").read_text())
        return original("diffunet.errors", [], stderr=subprocess.PIPE)  # ends at once

    original = reporting.Program
    monkeypatch.setattr(reporting, "Program", begin)
    pictures = Pictures(tmp_path)
    for text in ("first", "second", "third"):
        (tmp_path / "metrics.jsonl").write_text(text)
        monkeypatch.setattr(subprocess.Popen, "poll", lambda self: None)  # still being drawn
        pictures.update()
    monkeypatch.undo()
    monkeypatch.setattr(reporting, "Program", begin)
    pictures.finish()
    assert begun == ["first", "third"]


def test_leaving_gives_up_what_is_being_drawn(tmp_path, monkeypatch, caplog):
    program = waiting_program(tmp_path, monkeypatch)
    with Pictures(tmp_path) as pictures:
        pictures._running["training"] = program
    assert program.process.returncode == -signal.SIGKILL
    assert not caplog.messages


def test_a_picture_that_never_ends_is_given_up(tmp_path, caplog, monkeypatch):
    monkeypatch.setattr(reporting, "_DRAWING_TIMEOUT_S", 0.1)
    pictures = Pictures(tmp_path)
    pictures._running["training"] = waiting_program(tmp_path, monkeypatch)
    with caplog.at_level(logging.WARNING):
        pictures.finish()
    assert "took more than 0.1 s" in caplog.text


def test_the_log_file_takes_what_diffunet_says_and_no_more(tmp_path):
    logger = logging.getLogger("diffunet.training.test")
    with log_file(tmp_path / "log.txt"):
        logger.info("within")
    logger.info("after")
    assert "INFO within" in (tmp_path / "log.txt").read_text()
    assert "after" not in (tmp_path / "log.txt").read_text()


def test_pictures_on_a_full_disk_are_one_warning_and_no_error(tmp_path, caplog):
    (tmp_path / "metrics.jsonl").write_text("")
    pictures = Pictures(tmp_path)
    with caplog.at_level(logging.WARNING), full_disk(10):
        for _ in range(2):
            pictures.add_case("c", np.zeros((1, 4, 4)), masks(2, 1, 4, 4), masks(3, 1, 4, 4))
            pictures.update()
    assert caplog.text.count("no pictures of this training are drawn") == 1


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs a device without space")
def test_a_log_on_a_full_disk_fails_no_training(tmp_path, capsys):
    (tmp_path / "training.log").symlink_to("/dev/full")
    with log_file(tmp_path / "training.log"):
        logging.getLogger("diffunet.training").info("a line")
    assert "Traceback" not in capsys.readouterr().err


@pytest.mark.parametrize(
    "refusal", [OSError(errno.EAGAIN, "no more processes"), DiffunetError("no interpreter")]
)
def test_a_picture_that_cannot_be_begun_is_one_warning_and_no_error(
    tmp_path, monkeypatch, caplog, refusal
):
    """At the end of a training, too: what it learned is kept."""

    def refuse(*_: object, **__: object) -> Program:
        raise refusal

    pictures = Pictures(tmp_path)
    pictures._outdated["training"] = tmp_path / "metrics.jsonl"
    monkeypatch.setattr(reporting, "Program", refuse)
    pictures.finish()
    assert caplog.text.count("no pictures of this training are drawn") == 1
