"""Pages that trainings and predictions leave: never at their expense."""

import builtins
import logging
from urllib.parse import unquote

import numpy as np
import pytest
from PIL import Image

from diffunet.api.reports import report_on_prediction, report_on_training
from diffunet.data.image_io import read_map
from diffunet.figures.files import warning_only
from diffunet.figures.uncertain import plot_uncertain
from diffunet.inference.fuse import Votes
from diffunet.jsonio import read_json, write_json
from diffunet.report.case_arrays import share_of
from diffunet.report.case_inputs import Asked
from diffunet.report.uncertain_picture import draw_most_uncertain
from tests.full_disk import full_disk
from tests.report.folders_on_disk import IMAGE, VOLUME, write_fold, write_predictions
from tests.report.pages import addresses, read_page


def test_a_training_leaves_a_page_in_each_fold(tmp_path):
    folders = [write_fold(tmp_path / "model" / f"fold_{fold}") for fold in (0, 1, 2)]
    report_on_training(folders[:2])
    assert [(folder / "report.html").is_file() for folder in folders] == [True, True, False]


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
        report_on_training([write_fold(tmp_path / "fold_0")])
    assert caplog.text.count("no report of") == 2
    assert not (folder / "report.html").exists()


def test_too_little_memory_to_load_what_makes_a_page_is_a_warning(tmp_path, monkeypatch, caplog):
    """A library that scores need is refused where less than 1 GB is left."""
    find = builtins.__import__

    def refused(name, *others, **more):
        if name == "diffunet.report.case_inputs":
            raise ImportError("_fblas.so: failed to map segment from shared object")
        return find(name, *others, **more)

    folder = write_predictions(tmp_path, is_scored=False)
    monkeypatch.setattr(builtins, "__import__", refused)
    with caplog.at_level(logging.WARNING):
        report_on_prediction(folder, images=tmp_path)
    assert "no report of" in caplog.text
    assert "there is not enough memory" in caplog.text


@pytest.mark.parametrize(
    ("said", "told", "untold"),
    [
        ("_c.so: failed to map segment from shared object", "enough memory", "install"),
        ("No module named 'matplotlib'", "install matplotlib", "memory"),
    ],
)
def test_a_picture_that_cannot_be_drawn_tells_its_remedy(tmp_path, caplog, said, told, untold):
    with caplog.at_level(logging.WARNING), warning_only(tmp_path / "a.png"):
        raise ImportError(said)
    assert told in caplog.text
    assert untold not in caplog.text


@pytest.fixture
def drawn(monkeypatch):
    """Catch what pictures of the most uncertain cases are drawn from."""
    found = []

    def keep(cases, png, **others):
        found.append((cases, others))
        plot_uncertain(cases, png, **others)

    monkeypatch.setattr("diffunet.report.uncertain_picture.plot_uncertain", keep)
    return found


@pytest.mark.parametrize("shape", [IMAGE, VOLUME])
@pytest.mark.parametrize("labels", [("lesion",), ("one", "two")])
def test_a_prediction_leaves_a_picture_of_its_most_uncertain_cases(
    tmp_path, drawn, caplog, shape, labels
):
    caplog.set_level(logging.INFO)
    cases = [f"case{number}" for number in range(8)]
    folder = write_predictions(tmp_path, cases, shape=shape, labels=labels, is_scored=False)
    for path in (tmp_path / "raw" / "Dataset001_X" / "labelsTs").iterdir():
        path.write_bytes(b"no image")  # nobody opens references
    report_on_prediction(folder, images=tmp_path / "raw" / "Dataset001_X" / "imagesTs")
    ((rows, others),) = drawn
    first = caplog.text.partition("look first at the most uncertain: ")[2].partition(" (")[0]
    assert [row.title.split("\n")[0] for row in rows] == first.split(", ")
    assert len(rows) == 6
    page = read_page(folder / "report.html").text
    assert page.partition("most uncertain: ")[2].startswith(first.split(", ")[0])
    assert list(others["labels"]) == list(labels)
    for row in rows:
        assert row.image is not None
        assert row.share is not None
        assert row.share[row.consensus > 0].min(initial=1) > 0
    with Image.open(folder / "pictures" / "most_uncertain.png") as picture:
        assert picture.height > picture.width / 2


def test_of_a_volume_the_most_uncertain_slice_is_shown(tmp_path, drawn):
    folder = write_predictions(tmp_path, shape=VOLUME, is_scored=False)
    report_on_prediction(folder, images=tmp_path / "raw" / "Dataset001_X" / "imagesTs")
    row = drawn[0][0][0]
    case, where = row.title.split("\n")[:2]
    values = read_map(folder / f"{case}_uncertainty.nii.gz")[0]
    assert where == f"slice {values.sum(axis=(1, 2)).argmax()}"


@pytest.mark.parametrize("num_labels", [1, 2])
def test_without_saved_samples_the_share_is_there_if_maps_tell_it(tmp_path, drawn, num_labels):
    folder = write_predictions(
        tmp_path, labels=["one", "two"][:num_labels], has_samples=False, is_scored=False
    )
    report_on_prediction(folder, images=tmp_path / "raw" / "Dataset001_X" / "imagesTs")
    assert all((row.share is not None) == (num_labels == 1) for row in drawn[0][0])


def test_deleted_images_leave_the_maps_in_the_picture(tmp_path, drawn):
    folder = write_predictions(tmp_path, is_scored=False, has_images=False)
    report_on_prediction(folder, images=tmp_path)
    assert not drawn  # -i has to hold them
    assert draw_most_uncertain(folder, asked=Asked()) is not None
    assert all(row.image is None for row in drawn[0][0])


@pytest.mark.parametrize("num_samples", [0, 1])
def test_without_several_samples_there_is_no_picture_and_a_former_one_goes(tmp_path, num_samples):
    folder = write_predictions(tmp_path, is_scored=False, num_samples=2)
    picture = folder / "pictures" / "most_uncertain.png"
    assert draw_most_uncertain(folder, asked=Asked())
    assert picture.exists()
    for path in (folder / "records").iterdir():
        record = read_json(path)
        volume = record["volumes"]["lesion"]
        volume["samples"] = volume["samples"][:num_samples]
        write_json(path, record)
    assert draw_most_uncertain(folder, asked=Asked()) is None
    assert not picture.exists()


@pytest.mark.parametrize("failure", [OSError("full"), ValueError("odd"), ImportError("matplotlib")])
def test_a_picture_that_cannot_be_drawn_is_a_warning_and_the_page_is_there(
    tmp_path, monkeypatch, caplog, failure
):
    def fail(*_, **__):
        raise failure

    monkeypatch.setattr("diffunet.report.uncertain_picture.plot_uncertain", fail)
    folder = write_predictions(tmp_path, is_scored=False)
    report_on_prediction(folder, images=tmp_path / "raw" / "Dataset001_X" / "imagesTs")
    assert f"no picture of the most uncertain cases in '{folder}' was drawn: {failure}" in (
        caplog.text
    )
    assert (folder / "report.html").is_file()


@pytest.mark.filterwarnings("error")
def test_names_of_any_script_with_signs_of_formulas_are_drawn_without_a_warning(tmp_path, caplog):
    names = ["$x$ a_b^", "日本 例", "100% #1?", "%41", 'it\'s "q" & <b>']
    folder = write_predictions(tmp_path, names, is_scored=False)
    report_on_prediction(folder, images=tmp_path / "raw" / "Dataset001_X" / "imagesTs")
    assert not [each for each in caplog.records if each.levelno >= logging.WARNING]
    links = addresses(read_page(folder / "report.html"))
    assert len(links) >= 4 * len(names)
    assert all((folder / unquote(link)).exists() for link in links)


def test_on_a_full_disk_a_prediction_ends_with_warnings_and_leaves_no_part_of_a_file(
    tmp_path, caplog
):
    folder = write_predictions(tmp_path, is_scored=False)
    before = {path for path in folder.rglob("*") if path.is_file()}
    with full_disk(2000):
        report_on_prediction(folder, images=tmp_path / "raw" / "Dataset001_X" / "imagesTs")
    assert caplog.text.count("free some space") == 2
    assert {path for path in folder.rglob("*") if path.is_file()} == before


def test_files_of_a_prediction_that_were_deleted_are_left_out(tmp_path, drawn):
    folder = write_predictions(tmp_path, is_scored=False)
    for path in [*folder.glob("case1*"), *folder.glob("samples/case2*")]:
        path.unlink()
    report_on_prediction(folder, images=tmp_path / "raw" / "Dataset001_X" / "imagesTs")
    shown = {row.title.split("\n")[0] for row in drawn[0][0]}
    assert shown == {"case2", "case3"}
    links = addresses(read_page(folder / "report.html"))
    assert all((folder / unquote(link)).exists() for link in links)


@pytest.mark.parametrize("num_samples", [2, 5, 16])
def test_the_share_of_samples_follows_from_their_uncertainty(num_samples):
    votes = Votes(np.arange(num_samples + 1)[None], total=num_samples, is_exclusive=True)
    shares = share_of(votes.uncertainty(), is_marked=votes.consensus()[0])
    assert shares == pytest.approx(np.arange(num_samples + 1) / num_samples, abs=2e-3)


def test_a_prediction_into_one_file_leaves_no_page(tmp_path, caplog):
    (tmp_path / "mask.png").write_bytes(b"")
    report_on_prediction(tmp_path / "mask.png", images=tmp_path)
    assert not caplog.text
    assert [path.name for path in tmp_path.iterdir()] == ["mask.png"]
