"""Pages that trainings and predictions leave: never at their expense."""

import logging

import pytest

from diffunet.api.reports import report_on_prediction, report_on_training
from tests.report.folders_on_disk import write_fold, write_predictions
from tests.report.pages import read_page


def test_a_training_leaves_a_page_in_each_fold(tmp_path):
    folders = [write_fold(tmp_path / "model" / f"fold_{fold}") for fold in (0, 1, 2)]
    report_on_training(folders[1], ["0", "1"])
    assert [(folder / "report.html").is_file() for folder in folders] == [True, True, False]
    report_on_training(folders[0], ["all_folds"])
    assert (folders[2] / "report.html").is_file()


def test_a_prediction_leaves_a_page_that_opens_no_reference_and_takes_no_former_score(tmp_path):
    folder = write_predictions(tmp_path)
    images = tmp_path / "raw" / "Dataset001_X" / "imagesTs"
    report_on_prediction(folder, images=images)
    page = read_page(folder / "report.html")
    assert "there are no scores" in page.text
    assert "labelsTs" not in (folder / "report.html").read_text("utf-8")
    assert len([a for a in page.attributes("div") if a.get("class") == "viewer"]) == 3


@pytest.mark.parametrize("failure", [OSError("full"), ValueError("odd"), ImportError("jinja2")])
def test_a_page_that_cannot_be_made_is_a_warning(tmp_path, monkeypatch, caplog, failure):
    def fail(*_, **__):
        raise failure

    monkeypatch.setattr("diffunet.report.write.write_report", fail)
    folder = write_predictions(tmp_path, is_scored=False)
    with caplog.at_level(logging.WARNING):
        report_on_prediction(folder, images=tmp_path)
        report_on_training(write_fold(tmp_path / "fold_0"), ["0"])
    assert caplog.text.count("no report of") == 2
    assert not (folder / "report.html").exists()


def test_a_prediction_into_one_file_leaves_no_page(tmp_path, caplog):
    (tmp_path / "mask.png").write_bytes(b"")
    report_on_prediction(tmp_path / "mask.png", images=tmp_path)
    assert not caplog.text
    assert [path.name for path in tmp_path.iterdir()] == ["mask.png"]
