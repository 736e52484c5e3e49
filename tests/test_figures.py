import json
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from diffunet.figures.__main__ import main
from diffunet.figures.masks import (
    PicturedCase,
    SaliencyCase,
    plot_cases,
    plot_saliency,
    plot_samples,
)
from diffunet.figures.progress import plot_training, smoothed


def write_metrics(path, *, has_scores: bool) -> None:
    lines = []
    for iteration in range(1, 30):
        loss = {"loss": 2 / iteration, "dice": 1 / iteration, "cross_entropy": 1 / iteration}
        shared = {"gradient_norm": 1.0, "learning_rate": 1e-4, "samples_per_second": 9.0}
        lines.append({"kind": "training", "iteration": iteration, **loss, **shared})
    if has_scores:
        score = {"ged": 0.5, "dice": 0.6, "num_cases": 2, "is_best": True}
        lines.append({"kind": "validation", "iteration": 20, **score})
    torn = '{"kind": "trai'
    path.write_text("\n".join([*map(json.dumps, lines), torn]))


@pytest.mark.parametrize("has_scores", [False, True])
def test_progress_is_drawn_with_or_without_validations(tmp_path, has_scores):
    write_metrics(tmp_path / "metrics.jsonl", has_scores=has_scores)
    plot_training(tmp_path / "metrics.jsonl", tmp_path / "progress.png")
    with Image.open(tmp_path / "progress.png") as picture:
        assert picture.width > 600


@pytest.mark.parametrize("steps", [(1, 2), (2,)])
def test_a_perfect_model_and_the_trivial_answers_are_lines_beside_the_unbiased_ged(
    tmp_path, monkeypatch, steps
):
    drawn = []
    monkeypatch.setattr("diffunet.figures.progress.save", lambda figure, _: drawn.append(figure))
    shared = {"kind": "validation", "num_cases": 2, "is_best": False, "dice": 0.5}
    scores = {"ged_fully_unbiased": 0.1, "ged": 0.4, "ged_of_perfect_model": 0.3}
    trivial = {"ged_fully_unbiased_of_always_empty": 0.9}
    lines = [{**shared, "iteration": step, **scores, **trivial} for step in steps]
    (tmp_path / "metrics.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    plot_training(tmp_path / "metrics.jsonl", tmp_path / "progress.png")
    shown = {line.get_label(): line for line in drawn[0].axes[1].get_lines()}
    levels = {label: set(line.get_ydata()) for label, line in shown.items()}
    assert levels["unbiased GED of a perfect model: 0"] == {0}
    assert levels["GED of a perfect model"] == {0.3}
    assert levels["unbiased GED, always empty"] == {0.9}
    assert len(set(shown["unbiased GED, always empty"].get_xdata())) == 2


def test_progress_shows_what_the_method_validates_undefined_values_too(tmp_path):
    write_metrics(tmp_path / "metrics.jsonl", has_scores=False)
    values = {"classification_auc": None, "condition_gain": -0.01, "of_a_new_method": 2.0}
    shared = {"num_cases": 2, "is_best": False, "seconds": 1.0}
    record = {"kind": "validation", "iteration": 20, **values, **shared}
    with (tmp_path / "metrics.jsonl").open("r+") as file:
        lines = file.read().splitlines()[:-1]
        file.seek(0)
        file.write("\n".join([*lines, json.dumps(record)]))
    plot_training(tmp_path / "metrics.jsonl", tmp_path / "progress.png")
    assert (tmp_path / "progress.png").exists()


def test_the_small_gain_by_the_condition_has_an_axis_of_its_own(tmp_path, monkeypatch):
    drawn = []
    monkeypatch.setattr("diffunet.figures.progress.save", lambda figure, _: drawn.append(figure))
    shared = {"kind": "validation", "num_cases": 2, "is_best": True, "classification_auc": 0.9}
    lines = [
        {**shared, "iteration": 10 * number, "condition_gain": 0.002 * number} for number in (1, 2)
    ]
    (tmp_path / "metrics.jsonl").write_text("\n".join([*map(json.dumps, lines), ""]))
    plot_training(tmp_path / "metrics.jsonl", tmp_path / "progress.png")
    (right,) = [axes for axes in drawn[0].axes if "denoising" in axes.get_ylabel()]
    assert max(right.get_ylim()) < 0.01
    assert [text.get_text()[:3] for text in right.get_legend().get_texts()] == ["AUC", "sha", "che"]


def test_a_training_that_only_began_is_drawn(tmp_path):
    (tmp_path / "metrics.jsonl").write_text("")
    main(["training", str(tmp_path / "metrics.jsonl"), str(tmp_path / "progress.png")])
    assert (tmp_path / "progress.png").exists()


@pytest.mark.parametrize("num_channels", [1, 2, 3])
def test_samples_are_drawn_for_grey_and_colour_and_empty_masks(tmp_path, num_channels):
    arrays = {}
    for index, num_samples in enumerate([1, 8]):
        marked = np.zeros((num_samples, 2, 16, 16), bool)
        marked[:, 0, 4:9, 4:9] = bool(index)
        arrays |= {
            f"case_{index}": np.array(f"case_{index}"),
            f"image_{index}": np.random.default_rng(0).normal(size=(num_channels, 16, 16)),
            f"raters_{index}": marked,
            f"samples_{index}": marked,
        }
    np.savez(tmp_path / "samples.npz", **arrays)
    plot_samples(tmp_path / "samples.npz", tmp_path / "samples.png")
    with Image.open(tmp_path / "samples.png") as picture:
        assert picture.width > picture.height


def test_importing_figures_imports_no_matplotlib():
    code = "import sys, diffunet.figures.__main__; sys.exit('matplotlib' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_cases_are_drawn_with_raters_who_saw_nothing_and_fewer_than_others(tmp_path):
    generator = np.random.default_rng(0)
    cases = [
        PicturedCase(
            title="a case",
            image=generator.normal(size=(num_channels, 16, 16)),
            raters=generator.random((num_raters, 16, 16)) > 0.5,
            samples=np.zeros((8, 16, 16), bool),
            uncertainty=generator.random((16, 16)),
        )
        for num_channels, num_raters in ((1, 3), (3, 1))
    ]
    plot_cases(cases, tmp_path / "cases.png", title="Two cases")
    with Image.open(tmp_path / "cases.png") as picture:
        assert picture.width > picture.height > 200


def saliency_case(*, is_signed: bool, num_channels: int = 1, **changed) -> SaliencyCase:
    generator = np.random.default_rng(0)
    saliency = generator.normal(size=(16, 16))
    given = {
        "title": "a case",
        "image": generator.normal(size=(num_channels, 16, 16)),
        "saliency": saliency if is_signed else np.abs(saliency),
        "mask": saliency > 1,
    }
    return SaliencyCase(**(given | changed))


def drawn_figure(monkeypatch, cases: list[SaliencyCase]):
    """Return matplotlib's figure instead of its file."""
    figures = []
    monkeypatch.setattr("diffunet.figures.masks.save", lambda figure, png: figures.append(figure))
    plot_saliency(cases, Path("x.png"), title="Maps", units="intensity")
    return figures[0]


@pytest.mark.parametrize("is_signed", [False, True])
def test_saliency_is_drawn_for_grey_and_colour_with_and_without_reference(tmp_path, is_signed):
    nothing = np.zeros((16, 16), bool)
    cases = [
        saliency_case(is_signed=is_signed, reference=~nothing, probability=0.75),
        saliency_case(is_signed=is_signed, num_channels=3, mask=nothing, reference=nothing),
        saliency_case(is_signed=is_signed),
    ]
    plot_saliency(cases, tmp_path / "maps.png", title="Maps", units="intensity")
    with Image.open(tmp_path / "maps.png") as picture:
        assert picture.height > 500


@pytest.mark.parametrize(("is_signed", "lowest"), [(False, 0.0), (True, -1.0)])
def test_all_maps_share_one_scale_around_zero_where_any_is_negative(monkeypatch, is_signed, lowest):
    cases = [saliency_case(is_signed=is_signed), saliency_case(is_signed=False)]
    cases[1] = replace(cases[1], saliency=5 * cases[1].saliency)
    maps = [axes.images[0] for axes in drawn_figure(monkeypatch, cases).axes[1:5:3]]
    (low, high), other = (each.get_clim() for each in maps)
    assert (low, high) == other
    assert low == lowest * high


@pytest.mark.parametrize(
    ("reference", "title"), [(None, "mask"), (np.ones((16, 16), bool), "mask and reference")]
)
def test_a_reference_is_announced_only_where_there_is_one(monkeypatch, reference, title):
    case = saliency_case(is_signed=True, reference=reference)
    assert drawn_figure(monkeypatch, [case]).axes[2].get_title() == title


def test_the_row_says_how_probable_the_label_is_and_what_is_empty(monkeypatch):
    nothing = np.zeros((16, 16), bool)
    case = saliency_case(is_signed=True, mask=nothing, reference=nothing, probability=0.254)
    axes = drawn_figure(monkeypatch, [case]).axes
    assert axes[0].get_ylabel() == "a case\npresence 0.25"
    assert axes[2].get_xlabel() == "nothing: reference, mask"


def test_the_bar_has_the_units_and_the_title_names_the_outlines(monkeypatch):
    figure = drawn_figure(monkeypatch, [saliency_case(is_signed=True)])
    assert figure.axes[-1].get_ylabel() == "saliency (intensity)"
    assert figure.get_suptitle() == "Maps\noutlines: mask (orange)"


def test_what_is_unsure_is_shaded_and_named(monkeypatch):
    unsure = np.zeros((16, 16), bool)
    unsure[3, 4] = True
    figure = drawn_figure(monkeypatch, [saliency_case(is_signed=True, unsure=unsure)])
    shade = np.asarray(figure.axes[2].images[1].get_array())
    assert np.array_equal(shade[..., 3] > 0, unsure)
    assert figure.axes[2].get_title() == "mask and what is unsure"
    assert figure.get_suptitle().endswith("; shaded: unsure (green)")


def test_a_reference_that_the_mask_equals_shows_on_either_side_of_it(tmp_path):
    square = np.zeros((16, 16), bool)
    square[4:12, 4:12] = True
    dark = np.zeros((1, 16, 16))
    changed = {"image": dark, "saliency": dark[0], "mask": square, "reference": square}
    case = saliency_case(is_signed=True, **changed)
    plot_saliency([case], tmp_path / "maps.png", title="Maps", units="intensity")
    with Image.open(tmp_path / "maps.png") as picture:
        red, green, _ = np.moveaxis(np.asarray(picture.convert("RGB")).astype(int), 2, 0)
    assert (green > red + 60).any()  # cyan
    assert (red > green + 60).any()  # orange


@pytest.mark.parametrize("shape", [(1, 1), (1, 16), (16, 1)])
def test_an_image_of_one_row_or_column_is_drawn_with_its_outline(monkeypatch, shape):
    mask = np.ones(shape, bool)
    changed = {"image": np.zeros((1, *shape)), "saliency": np.zeros(shape), "mask": mask}
    figure = drawn_figure(monkeypatch, [saliency_case(is_signed=True, **changed)])
    assert any(each.collections for each in figure.axes)


def test_a_map_of_zeros_is_drawn(tmp_path):
    case = saliency_case(is_signed=False, saliency=np.zeros((16, 16)))
    plot_saliency([case], tmp_path / "maps.png", title="Maps", units="intensity")
    assert (tmp_path / "maps.png").exists()


def test_the_smoothed_loss_follows_a_fall_without_lag():
    falling = np.exp(-np.arange(400) / 30.0)
    assert np.allclose(smoothed(falling), falling)
    assert np.allclose(smoothed(-np.arange(400.0)), -np.arange(400.0))


@pytest.mark.parametrize("number", [1, 2, 7, 50])
def test_equal_losses_stay_what_they_are(number):
    assert np.allclose(smoothed(np.full(number, 3.0)), 3.0)
    assert np.allclose(smoothed(np.full(number, -3.0)), -3.0)


def test_the_smoothed_loss_is_smooth():
    noise = np.exp(np.random.default_rng(0).normal(size=400))
    assert np.log(smoothed(noise))[40:-40].std() < 0.25


def test_undefined_losses_leave_no_gap_in_the_smoothed_one():
    found = smoothed(np.array([np.nan, *[2.0, np.nan] * 40]))
    assert np.isnan(found[0])
    assert np.allclose(found[1:-1], 2.0)
    assert smoothed(np.full(3, np.nan)).shape == (3,)


def _two_labels(path: Path, **more: np.ndarray) -> None:
    yy, xx = np.mgrid[:48, :48]
    image = np.random.default_rng(0).normal(size=(1, 48, 48)) * 0.2
    masks = [
        [(yy - 24) ** 2 + (xx - 20 - shift) ** 2 < 90, (yy - 30) ** 2 + (xx - 34) ** 2 < 20 + shift]
        for shift in range(4)
    ]
    image += np.any(masks[0], axis=0)
    case = {"case_0": np.array("a"), "image_0": image, "raters_0": masks, "samples_0": masks}
    np.savez(path, **case, **more)


def test_labels_have_colours_of_their_own_and_a_legend(tmp_path, monkeypatch):
    drawn = []
    monkeypatch.setattr("diffunet.figures.masks.save", lambda figure, _: drawn.append(figure))
    _two_labels(tmp_path / "samples.npz", labels=np.array(["left $lobe$", "肝"]))
    plot_samples(tmp_path / "samples.npz", tmp_path / "samples.png")
    _two_labels(tmp_path / "old.npz")
    plot_samples(tmp_path / "old.npz", tmp_path / "old.png")
    named, unnamed = ([text.get_text() for text in each.legends[0].get_texts()] for each in drawn)
    assert named == [r"left \$lobe\$", "肝"]
    assert unnamed == ["label 1", "label 2"]
    outlines = drawn[0].axes[3].collections
    assert len({tuple(each.get_edgecolor()[0][:3]) for each in outlines}) == 2
    assert len(outlines) == 4


def test_one_label_needs_no_legend(tmp_path, monkeypatch):
    drawn = []
    monkeypatch.setattr("diffunet.figures.masks.save", lambda figure, _: drawn.append(figure))
    marked = np.ones((2, 1, 16, 16), bool)
    case = {"case_0": np.array("a"), "raters_0": marked, "samples_0": marked}
    np.savez(tmp_path / "s.npz", image_0=np.zeros((1, 16, 16)), labels=np.array(["one"]), **case)
    plot_samples(tmp_path / "s.npz", tmp_path / "s.png")
    assert drawn[0].legends == []
