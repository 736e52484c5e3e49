"""Pages about models."""

import io
import json
import re

import pytest
from PIL import Image

from diffunet import api
from diffunet.errors import UsageError
from diffunet.jsonio import read_json, write_json
from tests.report.folders_on_disk import NASTY, write_fold, write_predictions
from tests.report.pages import addresses, read_page

MODEL = "results/Dataset001_X/diffusion__diffunet_plans__2d"


@pytest.fixture(scope="module")
def summary(tmp_path_factory):
    return read_json(write_predictions(tmp_path_factory.mktemp("scored")) / "summary.json")


def test_a_model_with_several_folds(tmp_path, summary):
    for number in (0, 1):
        write_fold(tmp_path / MODEL / f"fold_{number}", summary=summary)
    path = api.report(tmp_path / MODEL, workspace=tmp_path)
    page = read_page(path)
    assert path == tmp_path / MODEL / "report.html"
    assert "Final validations side by side" in page.text
    assert "Validation: unbiased GED" in page.text
    assert "always empty" in page.text
    assert "Worst cases" in page.text
    assert NASTY in page.text
    assert not addresses(page)


def test_one_fold_alone(tmp_path, summary):
    fold = write_fold(tmp_path / MODEL / "fold_0", summary=summary)
    page = read_page(api.report(fold, workspace=tmp_path))
    assert "Dataset001_X: diffusion__diffunet_plans__2d, fold_0" in page.text
    assert "side by side" not in page.text
    assert "Worst cases by unbiased GED" in page.text


HIGH, LOW = (0.30, 0.32, 0.31), (0.20, 0.22, 0.21)


def write_validations(fold, last_half, *, score="ged_fully_unbiased"):
    """Write a training whose validations have these scores in its second half."""
    lines = [
        json.dumps({"kind": "validation", "iteration": 3 * number, "num_cases": 4, score: value})
        for number, value in enumerate([0.8] * len(last_half) + [*last_half], start=1)
    ]
    trained = '{"kind": "training", "iteration": 40, "loss": 0.1}'
    (fold / "metrics.jsonl").write_text("\n".join([*lines, trained]))


@pytest.mark.parametrize(
    ("last_half", "score", "told"),
    [
        (HIGH + LOW, "ged_fully_unbiased", "still improving at the end"),
        (LOW + HIGH, "ged_fully_unbiased", "got worse at the end"),
        (LOW + HIGH, "dice", "still improving at the end"),
        (HIGH + LOW, "dice", "got worse at the end"),
        ((0.02, 0.12, 0.05, 0.01, 0.09, 0.06), "dice", "were level, as far as 4 cases tell"),
        ((0.2,) * 6, "ged_fully_unbiased", "were level"),
        ((0.3, 0.1), "ged_fully_unbiased", None),  # too few
        ((0.3,) * 3 + (0.2,) * 3, "dice", "got worse at the end"),  # without any spread
    ],
)
@pytest.mark.filterwarnings("error::RuntimeWarning")
def test_validations_at_the_end_are_compared_beyond_chance(tmp_path, last_half, score, told):
    fold = write_fold(tmp_path / MODEL / "fold_0")
    write_validations(fold, last_half, score=score)
    text = read_page(api.report(fold, workspace=tmp_path)).text
    sentences = ("still improving", "got worse", "were level")
    assert [each for each in sentences if each in text] == [
        each for each in sentences if told and each in told
    ]
    assert told is None or told in text


def test_folds_that_went_on_differently_are_named(tmp_path):
    for number, last_half in enumerate((HIGH + LOW, LOW + HIGH)):
        fold = write_fold(tmp_path / MODEL / f"fold_{number}")
        write_validations(fold, last_half)
    text = read_page(api.report(tmp_path / MODEL, workspace=tmp_path)).text
    assert "The validations of fold_0 were still improving" in text
    assert "The validations of fold_1 got worse" in text


def test_a_page_tells_what_a_training_cost(tmp_path):
    fold = write_fold(tmp_path / MODEL / "fold_0")
    text = read_page(api.report(fold, workspace=tmp_path)).text
    assert "parameters of the network1 234 567" in text
    assert "40 s cpu, 2 threads" in text


@pytest.mark.parametrize(("method", "draws"), [("diffusion", True), ("cdm", False)])
def test_samples_and_the_input_scale_are_told_of_methods_that_draw(tmp_path, method, draws):
    fold = write_fold(tmp_path / MODEL / "fold_0")
    plans = read_json(fold / "plans.resolved.json")
    sampling = {"num_samples": 16, "num_steps": 10, "sampler": "ddpm"}
    configuration = {**plans["configuration"], "sampling": sampling}
    configuration["diffusion"] = {"input_scale": 0.123}
    plans = {**plans, "method": method, "configuration": configuration}
    write_json(fold / "plans.resolved.json", plans)
    text = read_page(api.report(fold, workspace=tmp_path)).text
    for told in ("16 samples of 10 steps (ddpm)", "input scale b0.123"):
        assert (told in text) == draws


def test_a_training_that_told_less_has_a_page(tmp_path):
    fold = write_fold(tmp_path / MODEL / "fold_0")
    metrics = fold / "metrics.jsonl"
    metrics.write_text(metrics.read_text().partition("\n")[2])
    text = read_page(api.report(fold, workspace=tmp_path)).text
    assert "parameters of the network" not in text


def test_an_unfinished_training_is_a_warning(tmp_path):
    fold = write_fold(tmp_path / MODEL / "fold_0", num_iterations=20, planned=40)
    page = read_page(api.report(fold, workspace=tmp_path))
    assert "fold_0 is not finished: 20 of 40 iterations." in page.text
    assert "There is no final validation yet." in page.text


def test_a_torn_last_line_is_left_out(tmp_path):
    fold = write_fold(tmp_path / MODEL / "fold_0")
    metrics = fold / "metrics.jsonl"
    metrics.write_text(metrics.read_text() + '{"kind": "train')
    assert "damaged" not in read_page(api.report(fold, workspace=tmp_path)).text


@pytest.mark.parametrize(
    "damage", [b"{torn}", b'\0\0\0\0{"kind": "start"}', b'{"a": 1}', b"\xff{}"]
)
def test_a_damaged_line_costs_only_what_it_held(tmp_path, damage):
    fold = write_fold(tmp_path / MODEL / "fold_0")
    metrics = fold / "metrics.jsonl"
    metrics.write_bytes(damage + b"\n" + metrics.read_bytes())
    text = read_page(api.report(fold, workspace=tmp_path)).text
    assert "fold_0: 1 damaged line of 'metrics.jsonl' is left out." in text
    assert "40 of 40" in text


@pytest.mark.parametrize("loss", ["NaN", "Infinity", "null", "-1.7e308", "1" + 400 * "0"])
def test_a_loss_that_is_no_number_is_a_warning(tmp_path, loss):
    fold = write_fold(tmp_path / MODEL / "fold_0")
    metrics = fold / "metrics.jsonl"
    metrics.write_text(re.sub(r'"loss": [0-9.e-]+', f'"loss": {loss}', metrics.read_text()))
    text = read_page(api.report(fold, workspace=tmp_path)).text
    assert "fold_0: the loss was no number in some iterations." in text


def test_folds_of_other_plans_are_a_warning_and_stand_in_their_order(tmp_path):
    for name, planned in (("fold_0", 40), ("fold_2", 40), ("fold_10", 50)):
        write_fold(tmp_path / MODEL / name, planned=planned)
    text = read_page(api.report(tmp_path / MODEL, workspace=tmp_path)).text
    assert "fold_10 was trained with other plans than fold_0" in text
    assert "(training.num_iterations: 40, now 50)" in text
    assert "fold_2 was trained with" not in text
    assert text.index("fold_2 40 of 40") < text.index("fold_10 40 of 50")


def test_lines_that_were_torn_within_are_a_warning(tmp_path):
    fold = write_fold(tmp_path / MODEL / "fold_0")
    metrics = fold / "metrics.jsonl"
    metrics.write_text('{"kind": "train\n[1]\n' + metrics.read_text())
    text = read_page(api.report(fold, workspace=tmp_path)).text
    assert "fold_0: 2 damaged lines of 'metrics.jsonl' are left out." in text


def test_a_fold_without_metrics_is_a_warning(tmp_path):
    fold = write_fold(tmp_path / MODEL / "fold_0")
    assert "fold_0: there is no" not in read_page(api.report(fold, workspace=tmp_path)).text
    (fold / "metrics.jsonl").unlink()
    text = read_page(api.report(fold, workspace=tmp_path)).text
    assert "fold_0: there is no 'metrics.jsonl', so how it trained is unknown." in text


def test_a_damaged_picture_is_a_warning_and_no_broken_image(tmp_path):
    fold = write_fold(tmp_path / MODEL / "fold_0")
    png = io.BytesIO()
    Image.new("RGB", (8, 8)).save(png, "PNG")
    (fold / "samples.png").write_bytes(png.getvalue())
    page = read_page(api.report(fold, workspace=tmp_path))
    assert len(page.attributes("img")) == 1
    (fold / "samples.png").write_bytes(png.getvalue()[:-20])
    page = read_page(api.report(fold, workspace=tmp_path))
    assert "fold_0: 'samples.png' is damaged, and is not shown." in page.text
    assert not page.attributes("img")


def test_a_validation_without_scores_is_a_warning(tmp_path):
    fold = write_fold(tmp_path / MODEL / "fold_0", summary={"metric_per_case": []})
    text = read_page(api.report(fold, workspace=tmp_path)).text
    assert "summary.json' holds no scores that can be read." in text


def test_images_and_references_are_of_predictions_alone(tmp_path):
    fold = write_fold(tmp_path / MODEL / "fold_0")
    with pytest.raises(UsageError, match="is a model"):
        api.report(fold, workspace=tmp_path, images=tmp_path)


def test_scores_of_image_level_labels(tmp_path):
    labels = {NASTY: {"auc": 0.91, "sensitivity": 0.8}}
    fold = write_fold(tmp_path / MODEL / "fold_0", summary={"num_images": 4, "labels": labels})
    page = read_page(api.report(fold, workspace=tmp_path))
    assert "with an AUC of 0.91" in page.text
    assert "image-level labels" in page.text
