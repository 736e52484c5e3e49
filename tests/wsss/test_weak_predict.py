import builtins
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from diffunet import api
from diffunet.cli import predict as command
from diffunet.data.image_io import MapScale, read_label_map, read_map
from diffunet.errors import DatasetError, UsageError, WorkspaceError
from diffunet.jsonio import read_json, write_json
from diffunet.plans import ConfigurationPlan, MaskPlan, NormalizationPlan
from diffunet.wsss.prediction import pictures
from tests.inference.driving import predict_into, predict_one
from tests.inference.models import dataset_content, small_configuration, small_plans, write_model
from tests.inference.test_predict import contents
from tests.wsss.weak_models import (
    TWO_LABELS,
    known_predictor,
    weak_configuration,
    write_pictures,
    write_volume,
    write_weak_model,
)

BRIGHT = (slice(4, 9), slice(5, 11))
DARK_GROUND = NormalizationPlan(
    scheme="ct", lower=0.0, upper=255.0, mean=10.0, std=10.0
)  # what is below 10 is negative, and no map shows it


def pictures_configuration(**mask: Any) -> ConfigurationPlan:
    masks = {"cdm": MaskPlan(**{"smoothing_voxels": 0.0, **mask})}
    return weak_configuration(normalization=DARK_GROUND, masks=masks)


EACH = pictures_configuration()
MEAN = pictures_configuration(smoothing_voxels=1.0, threshold="otsu_mean")
DURATION = re.compile(rb'"seconds_per_slice": [0-9.e-]+')


def picture(value: int, seed: int = 0) -> np.ndarray:
    """Return dark noise with an object of `value`."""
    image = np.random.default_rng(seed).integers(0, 6, (20, 18))
    image[BRIGHT] = value
    return image.astype(np.uint8)


def write_cases(folder: Path) -> Path:
    """Write four pictures that show an object and one that is empty."""
    cases = {f"case{index}": picture(40 + 40 * index, seed=index) for index in range(4)}
    return write_pictures(folder, {**cases, "empty": np.zeros((20, 18), np.uint8)})


def run(
    images: Path, output: Path, *, configuration=None, predictor=None, **arguments: Any
) -> Path:
    predictor = predictor or known_predictor(configuration or EACH)
    given = {"saliency": "cdm", "draws_picture": False, **arguments}
    return predict_into(predictor.model, images, output, compute=predictor.compute, **given)


def without_durations(folder: Path) -> dict[str, bytes]:
    return {
        name: DURATION.sub(b"", content) if name.endswith(".json") else content
        for name, content in contents(folder).items()
    }


def table(path: Path, *lines: str) -> Path:
    path.write_text("\n".join(lines) + "\n")
    return path


@pytest.fixture
def images(tmp_path):
    return write_cases(tmp_path / "images")


def test_every_case_has_a_mask_its_saliency_and_a_record(images, tmp_path):
    path = run(images, tmp_path / "out")
    names = {f"{case}{kind}.png" for case in ("case0", "empty") for kind in ("", "_saliency")}
    assert names <= {file.name for file in (tmp_path / "out").iterdir()}
    mask, _ = read_label_map(tmp_path / "out" / "case2.png")
    assert np.array_equal(mask, picture(120, seed=2) == 120)
    record = read_json(path)["cases"]["case2"]
    assert record["shape"] == [20, 18]
    assert record["volumes"] == {"bright": {"unit": "pixels", "value": 30.0}}
    assert record["labels"]["bright"]["probability"] == [1.0]
    assert record["labels"]["bright"]["is_present"] == [True]
    assert record["labels"]["bright"]["decided_by"] == ["classifier"]
    assert record["seconds_per_slice"] > 0


def test_an_absent_label_has_an_empty_mask_an_empty_map_and_no_threshold(images, tmp_path):
    path = run(images, tmp_path / "out")
    record = read_json(path)["cases"]["empty"]
    assert record["labels"]["bright"]["is_present"] == [False]
    assert record["labels"]["bright"]["threshold"] == [None]
    assert record["volumes"]["bright"]["value"] == 0
    assert record["seconds_per_slice"] is None
    for name in ("empty.png", "empty_saliency.png"):
        assert not read_label_map(tmp_path / "out" / name)[0].any()


def test_the_numbers_of_a_map_can_be_recovered_from_16_bits(images, tmp_path):
    path = run(images, tmp_path / "out")
    about = read_json(path)["cases"]["case3"]["labels"]["bright"]
    stored, _ = read_map(tmp_path / "out" / "case3_saliency.png")
    found = MapScale(**about["saliency_file"]).restore(stored)
    image = picture(160, seed=3)[None].astype(np.float32)
    expected = known_predictor(EACH).predict(image, (1.0, 1.0), case="case3")
    assert np.allclose(found, expected.saliency[0], atol=np.ptp(expected.saliency) / 65535)
    assert np.array_equal(read_label_map(tmp_path / "out" / "case3.png")[0], expected.mask)
    assert about["threshold"] == expected.thresholds[:, 0].tolist()


def test_the_settings_of_a_run_are_written(images, tmp_path):
    settings = read_json(run(images, tmp_path / "out", saliency="cg_cdm", seed=3))["settings"]
    assert settings["saliency"] == "cg_cdm"
    assert settings["saliency_plan"]["guidance_scale"] == 0.01
    assert settings["mask_plan"]["threshold"] == "otsu"
    assert settings["seed"] == 3


@pytest.mark.parametrize("configuration", [EACH, MEAN])
def test_parts_together_equal_one_run(images, tmp_path, configuration):
    run(images, tmp_path / "whole", configuration=configuration)
    for part in (1, 2, 0):
        run(
            images,
            tmp_path / "parts",
            configuration=configuration,
            num_parts=3,
            part_id=part,
        )
    assert without_durations(tmp_path / "parts") == without_durations(tmp_path / "whole")


@pytest.mark.parametrize("configuration", [EACH, MEAN])
def test_a_continued_run_ends_as_an_unbroken_one(images, tmp_path, configuration):
    out = tmp_path / "out"
    run(images, out, configuration=configuration)
    before = without_durations(out)
    duration = read_json(out / "records" / "case1.json")["seconds_per_slice"]
    (out / "records" / "case2.json").unlink()
    for name in ("case2.png", "case2_saliency.png", "predictions.json"):
        (out / name).unlink()
    (out / "pictures").mkdir()  # torn: killed while the picture was written
    (out / "pictures" / ".unfinished-0123456789abcdef-saliency.png").write_bytes(b"torn")
    run(images, out, configuration=configuration, continues=True)
    assert without_durations(out) == before
    assert read_json(out / "records" / "case1.json")["seconds_per_slice"] == duration


def test_maps_do_not_depend_on_batches(images, tmp_path):
    for name, size in (("one", 1), ("many", 2**20)):
        run(images, tmp_path / name, predictor=known_predictor(EACH, batch_voxels=size))
    for case in ("case0", "case3"):
        one, many = (
            read_map(tmp_path / name / f"{case}_saliency.png")[0] for name in ("one", "many")
        )
        assert np.allclose(one, many, atol=2e-5)


def test_a_mean_threshold_is_that_of_all_images_that_show_the_label(images, tmp_path):
    path = run(images, tmp_path / "out", configuration=MEAN)
    labels = {case: about["labels"]["bright"] for case, about in read_json(path)["cases"].items()}
    of_slices = [labels[f"case{index}"]["slice_threshold"][0] for index in range(4)]
    assert np.ptp(of_slices) > 0.1 * np.mean(of_slices)
    for index in range(4):
        assert labels[f"case{index}"]["threshold"] == [pytest.approx(np.mean(of_slices))]
        stored, _ = read_map(tmp_path / "out" / f"case{index}_saliency.png")
        saliency = MapScale(**labels[f"case{index}"]["saliency_file"]).restore(stored)
        mask, _ = read_label_map(tmp_path / "out" / f"case{index}.png")
        assert np.array_equal(mask, saliency > np.mean(of_slices))
    assert labels["empty"]["threshold"] == [None]
    assert not read_label_map(tmp_path / "out" / "empty.png")[0].any()


def test_masks_of_a_mean_threshold_wait_for_the_last_part_aloud(images, tmp_path, caplog):
    caplog.set_level("INFO")
    out = tmp_path / "out"
    run(images, out, configuration=MEAN, num_parts=2, part_id=0)
    assert "2 of 5 have no saliency yet" in caplog.text
    assert (out / "case0_saliency.png").is_file()
    assert not (out / "case0.png").exists()
    run(images, out, configuration=MEAN, num_parts=2, part_id=1)
    assert all((out / f"case{index}.png").is_file() for index in range(4))


def test_a_broken_case_does_not_hold_up_a_mean_threshold(images, tmp_path):
    (images / "case1_0000.png").write_bytes(b"broken")
    with pytest.raises(DatasetError, match="case1_0000.png"):
        run(images, tmp_path / "out", configuration=MEAN)
    assert (tmp_path / "out" / "case0.png").is_file()
    assert read_json(tmp_path / "out" / "predictions.json")["cases"].keys() == {
        "case0",
        "case2",
        "case3",
        "empty",
    }


def test_continuing_with_another_saliency_is_refused(images, tmp_path):
    run(images, tmp_path / "out")
    with pytest.raises(UsageError, match="other settings .*saliency: 'cdm', now 'cg_diff'"):
        run(images, tmp_path / "out", saliency="cg_diff", continues=True)


def test_a_table_decides_instead_of_the_classifier_where_it_has_a_line(images, tmp_path):
    given = table(tmp_path / "tags.csv", "case,bright", "case0,0", "case1,1")
    path = run(images, tmp_path / "out", image_labels=given)
    cases = read_json(path)["cases"]
    labels = {case: about["labels"]["bright"] for case, about in cases.items()}
    assert labels["case0"]["is_present"] == [False]
    assert labels["case0"]["probability"][0] > 0.5
    assert labels["case0"]["decided_by"] == labels["case1"]["decided_by"] == ["given"]
    assert labels["case2"]["decided_by"] == ["classifier"]
    assert not read_label_map(tmp_path / "out" / "case0.png")[0].any()


def test_continuing_with_another_table_is_refused(images, tmp_path):
    run(images, tmp_path / "out")
    given = table(tmp_path / "tags.csv", "case,bright", "case0,0")
    with pytest.raises(UsageError, match=r"settings \(image_labels: none, now given\)"):
        run(images, tmp_path / "out", image_labels=given, continues=True)


def test_a_bad_table_is_refused_with_all_its_faults_before_work_starts(images, tmp_path):
    given = table(tmp_path / "tags.csv", "case,slice,bright", "case0,,2", "case1,3,1", "unknown,,1")
    with pytest.raises(DatasetError) as caught:
        run(images, tmp_path / "out", image_labels=given)
    assert len(caught.value.problems) == 3
    for fault in ("found '2'", "no slice: it is an image", "'unknown'"):
        assert fault in str(caught.value)
    assert not (tmp_path / "out").exists()


def test_a_table_that_is_not_there_is_said_so(images, tmp_path):
    with pytest.raises(UsageError, match="found no such file"):
        run(images, tmp_path / "out", image_labels=tmp_path / "none.csv")


def test_slices_of_a_case_that_cannot_be_read_do_not_hold_up_the_others(images, tmp_path):
    (images / "case1_0000.png").write_bytes(b"broken")
    given = table(tmp_path / "tags.csv", "case,slice,bright", "case1,3,1", "case0,,0")
    with pytest.raises(DatasetError, match="case1_0000.png"):
        run(images, tmp_path / "out", image_labels=given)
    assert (tmp_path / "out" / "case0.png").is_file()


def volume(path: Path) -> np.ndarray:
    image = np.full((6, 20, 18), -0.1, np.float32)
    image[:2] = 0
    image[3][BRIGHT] = image[4][BRIGHT] = 1.0
    image[3, 15:19, 2:9] = -1.0
    write_volume(path, image, (3.0, 0.5, 0.5))
    return image


def volume_predictor(**weak):
    return known_predictor(
        weak_configuration(spacing_mm=(0.5, 0.5), **weak),
        labels=TWO_LABELS,
        file_ending=".nii.gz",
        dimensions=3,
    )


@pytest.mark.parametrize("threshold", ["otsu", "otsu_mean", "otsu_volume"])
def test_volumes_keep_their_geometry_and_each_label_has_a_signed_map(tmp_path, threshold):
    image = volume(tmp_path / "images" / "scan_0000.nii.gz")
    masks = {"cdm": MaskPlan(smoothing_voxels=0.0, threshold=threshold)}
    predictor = volume_predictor(has_slice_labels=True, masks=masks)
    path = run(tmp_path / "images", tmp_path / "out", predictor=predictor)
    mask, geometry = read_label_map(tmp_path / "out" / "scan.nii.gz")
    assert np.array_equal(mask == 1, image > 0.5)
    assert np.array_equal(mask == 2, image < -0.5)
    assert geometry.spacing_mm == pytest.approx((3.0, 0.5, 0.5))
    saliency, _ = read_map(tmp_path / "out" / "scan_saliency_dark-lesion.nii.gz")
    assert saliency.dtype == np.float32
    assert saliency[3].any()
    assert not saliency[[0, 1, 2, 4, 5]].any()
    record = read_json(path)["cases"]["scan"]
    dark = record["labels"]["dark lesion"]
    assert dark["is_present"] == [False, False, False, True, False, False]
    assert dark["probability"][:2] == [None, None]
    assert dark["saliency_file"] == {"offset": 0.0, "factor": 1.0}
    assert record["is_decided_by_slice"] is True
    assert record["volumes"]["dark lesion"] == {"unit": "mm^3", "value": 28 * 0.75}


def test_a_volume_is_pictured_by_the_slice_that_likeliest_shows_the_label(tmp_path, monkeypatch):
    image = np.full((4, 20, 18), -0.1, np.float32)
    image[1, 2:16, 2:14] = 0.8
    image[2, 4:8, 5:9] = 1.0
    write_volume(tmp_path / "images" / "scan_0000.nii.gz", image, (3.0, 0.5, 0.5))
    drawn = []
    monkeypatch.setattr(pictures, "plot_saliency", lambda rows, *_, **__: drawn.extend(rows))
    predictor = volume_predictor(has_slice_labels=True)
    run(tmp_path / "images", tmp_path / "out", predictor=predictor, draws_picture=True)
    assert [row.title for row in drawn] == ["scan, slice 2\nbright"]


def test_a_volume_with_labels_of_cases_has_one_decision(tmp_path):
    volume(tmp_path / "images" / "scan_0000.nii.gz")
    path = run(tmp_path / "images", tmp_path / "out", predictor=volume_predictor())
    record = read_json(path)["cases"]["scan"]
    bright = record["labels"]["bright"]
    assert record["is_decided_by_slice"] is False
    assert bright["case_probability"] == pytest.approx(np.mean(bright["probability"][2:]))
    assert bright["is_present"] == [False] * 6  # two of four slices show it, just not enough


def test_slices_of_a_table_are_counted_along_the_first_axis_of_the_file(tmp_path):
    volume(tmp_path / "images" / "scan_0000.nii.gz")
    lines = ["case,slice,bright,dark lesion", "scan,3,0,1", "scan,2,1,0"]
    given = table(tmp_path / "tags.csv", *lines)
    predictor = volume_predictor(has_slice_labels=True)
    path = run(tmp_path / "images", tmp_path / "out", predictor=predictor, image_labels=given)
    bright = read_json(path)["cases"]["scan"]["labels"]["bright"]
    assert bright["is_present"] == [False, False, True, False, True, False]
    assert bright["decided_by"][2:5] == ["given", "given", "classifier"]
    given = table(tmp_path / "tags.csv", *lines, "scan,6,1,0")
    with pytest.raises(DatasetError, match="expected slices from 0 to 5, .* found slice 6"):
        run(tmp_path / "images", tmp_path / "other", predictor=predictor, image_labels=given)


@pytest.mark.parametrize("configuration", [EACH, MEAN])
def test_one_file_to_one_file(images, tmp_path, configuration):
    predictor = known_predictor(configuration)
    image = images / "case1_0000.png"
    predict_one(predictor.model, image, tmp_path / "one.png", saliency="cdm")
    run(image, tmp_path / "out", configuration=configuration)
    one, _ = read_label_map(tmp_path / "one.png")
    assert np.array_equal(one, read_label_map(tmp_path / "out" / "case1.png")[0])
    with pytest.raises(UsageError, match="is the input"):
        predict_one(predictor.model, image, image, saliency="cdm")


def test_a_picture_shows_the_first_cases_that_have_a_mask(images, tmp_path, monkeypatch):
    drawn = []
    monkeypatch.setattr(
        "diffunet.wsss.prediction.pictures.plot_saliency", lambda rows, *_, **__: drawn.extend(rows)
    )
    run(images, tmp_path / "out", draws_picture=True)
    assert [row.title for row in drawn] == [f"case{index}" for index in range(4)]
    assert drawn[1].mask[BRIGHT].all()
    assert drawn[1].saliency.shape == (20, 18)
    assert drawn[1].probability == 1.0


def test_a_picture_has_at_most_six_rows(tmp_path, monkeypatch):
    drawn = []
    monkeypatch.setattr(
        "diffunet.wsss.prediction.pictures.plot_saliency", lambda rows, *_, **__: drawn.extend(rows)
    )
    cases = {f"case{index}": picture(100, seed=index) for index in range(8)}
    run(write_pictures(tmp_path / "images", cases), tmp_path / "out", draws_picture=True)
    assert [row.title for row in drawn] == [f"case{index}" for index in range(6)]


def test_a_picture_of_a_volume_shows_its_largest_slice(tmp_path, monkeypatch):
    drawn = []
    monkeypatch.setattr(
        "diffunet.wsss.prediction.pictures.plot_saliency", lambda rows, *_, **__: drawn.extend(rows)
    )
    image = volume(tmp_path / "images" / "scan_0000.nii.gz")
    predictor = volume_predictor(has_slice_labels=True)
    run(tmp_path / "images", tmp_path / "out", predictor=predictor, draws_picture=True)
    assert [row.title for row in drawn] == ["scan, slice 3\nbright", "scan, slice 3\ndark lesion"]
    assert np.array_equal(drawn[1].image, image[None, 3])
    assert np.array_equal(drawn[1].mask, image[3] < -0.5)


def test_a_picture_is_drawn_into_the_output_folder(images, tmp_path):
    run(images / "case3_0000.png", tmp_path / "out", draws_picture=True)
    assert (tmp_path / "out" / "pictures" / "saliency.png").stat().st_size > 10_000


def test_without_matplotlib_there_is_a_warning(images, tmp_path, monkeypatch, caplog):
    found = builtins.__import__

    def refuse(name: str, *others: Any) -> Any:
        if name.startswith("matplotlib"):
            raise ImportError("no matplotlib")
        return found(name, *others)

    monkeypatch.setattr(builtins, "__import__", refuse)
    run(images / "case3_0000.png", tmp_path / "out", draws_picture=True)
    assert "saliency.png is not drawn: no matplotlib" in caplog.text


def test_a_picture_that_cannot_be_drawn_is_a_warning(images, tmp_path, monkeypatch, caplog):
    def fail(*_: Any, **__: Any) -> None:
        raise ValueError("no font")

    monkeypatch.setattr("diffunet.wsss.prediction.pictures.plot_saliency", fail)
    run(images / "case3_0000.png", tmp_path / "out", draws_picture=True)
    assert "saliency.png is not drawn: ValueError: no font" in caplog.text


def test_without_any_mask_there_is_no_picture(images, tmp_path, caplog):
    caplog.set_level("INFO")
    run(images / "empty_0000.png", tmp_path / "out", draws_picture=True)
    assert "no case has a mask" in caplog.text
    assert not (tmp_path / "out" / "pictures" / "saliency.png").exists()


def test_cases_that_show_a_label_and_have_no_mask_of_it_are_told(images, tmp_path, caplog):
    dark = pictures_configuration(sign="negative")
    run(images, tmp_path / "out", configuration=dark)
    expected = "'bright': 4 of the 4 cases that count as showing it have no mask ('case0', 'case1'"
    assert expected in caplog.text
    assert "weak.masks.cdm" in caplog.text
    assert "(sign 'negative', threshold 'otsu')" in caplog.text


def test_cases_that_have_their_masks_or_show_nothing_are_not_warned_of(images, tmp_path, caplog):
    run(images, tmp_path / "out")
    assert "no mask" not in caplog.text


def test_an_image_much_larger_than_those_of_the_training_is_told(images, tmp_path, caplog):
    large = write_pictures(tmp_path / "large", {"wide": np.zeros((40, 80), np.uint8)})
    run(large, tmp_path / "out")
    assert "the 16 x 16 voxels of the largest images that the model learned" in caplog.text
    assert "case 'wide'" in caplog.text
    assert "found 40 x 80 on its grid, 12 times as many" in caplog.text


def test_an_image_far_too_large_is_refused_and_the_others_are_predicted(images, tmp_path):
    write_pictures(images, {"mosaic": np.zeros((160, 160), np.uint8)})
    with pytest.raises(DatasetError, match="case 'mosaic': expected at most") as caught:
        run(images, tmp_path / "out")
    assert len(caught.value.problems) == 1
    assert (tmp_path / "out" / "case3.png").is_file()
    assert not (tmp_path / "out" / "mosaic.png").exists()


def test_the_command_predicts_what_the_plans_chose(images, tmp_path):
    model = write_weak_model(tmp_path / "model", method="classifier", default_cam="grad_cam")
    arguments = ["-i", str(images), "-o", str(tmp_path / "out"), "--model", str(model)]
    assert command.main([*arguments, "-device", "cpu"]) == 0
    settings = read_json(tmp_path / "out" / "predictions.json")["settings"]
    assert (settings["method"], settings["saliency"]) == ("classifier", "grad_cam")


def test_the_command_refuses_maps_in_another_precision_than_float32(images, tmp_path, capsys):
    model = write_weak_model(tmp_path / "model", method="classifier")
    arguments = ["-i", str(images), "-o", str(tmp_path / "out"), "--model", str(model)]
    assert command.main([*arguments, "-device", "cpu", "--precision", "bfloat16"]) == 2
    assert "--precision bfloat16: maps are small differences" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def test_the_command_takes_saliency_table_and_a_single_file(images, tmp_path):
    model = write_weak_model(tmp_path / "model", method="cdm")
    given = table(tmp_path / "tags.csv", "case,bright", "case2,0")
    source, target = str(images / "case2_0000.png"), tmp_path / "mask.png"
    arguments = ["-i", source, "-o", str(target), "--model", str(model), "-device", "cpu"]
    assert command.main([*arguments, "--saliency", "cg_cdm", "--image_labels", str(given)]) == 0
    assert not read_label_map(target)[0].any()


def test_options_of_samples_are_refused_for_models_of_saliency(images, tmp_path):
    model = write_weak_model(tmp_path / "model", method="cdm")
    for options in ({"num_samples": 3}, {"saves_samples": True}, {"tile_step_size": 0.5}):
        (name,) = options
        with pytest.raises(UsageError, match=f"^{name}: a model of -m cdm .* draws no samples"):
            api.predict(images, tmp_path / "out", model=model, **options)


def test_options_of_saliency_are_refused_for_models_of_samples(images, tmp_path):
    plans = small_plans(small_configuration())
    model = write_model(tmp_path / "model", plans, content=dataset_content())
    for options in ({"saliency": "cdm"}, {"image_labels": tmp_path / "tags.csv"}):
        (name,) = options
        with pytest.raises(UsageError, match=f"^{name}: a model of -m diffusion has no saliency"):
            api.predict(images, tmp_path / "out", model=model, **options)


def test_an_unknown_saliency_is_refused(images, tmp_path):
    with pytest.raises(UsageError, match="saliency: expected one of 'cdm', .* or None, got 'cam'"):
        api.predict(images, tmp_path / "out", dataset=1, saliency="cam")


def test_saliency_chooses_the_method_of_a_dataset(images, tmp_path):
    place = tmp_path / "place"
    (place / "raw" / "Dataset007_Tags").mkdir(parents=True)
    write_json(place / "raw" / "Dataset007_Tags" / "dataset.json", dataset_content())
    for method in ("cdm", "classifier"):
        folder = place / "results" / "Dataset007_Tags" / f"{method}__diffunet_plans__small"
        write_weak_model(folder, method=method)
    for saliency, method in (("score_cam", "classifier"), ("cdm", "cdm")):
        out = tmp_path / saliency
        arguments = {"dataset": 7, "workspace": place, "configuration": "small", "device": "cpu"}
        api.predict(images / "case2_0000.png", out, saliency=saliency, **arguments)
        assert read_json(out / "predictions.json")["settings"]["method"] == method
    with pytest.raises(WorkspaceError, match="supervised__diffunet_plans__small"):
        api.predict(images, tmp_path / "x", saliency="cdm", method="supervised", **arguments)


@pytest.mark.parametrize("damage", [None, {"bright": 1}, {"nodule": {}}, []])
def test_a_damaged_record_is_named_where_a_threshold_is_shared(images, tmp_path, damage):
    run(images, tmp_path / "out", configuration=MEAN)
    path = tmp_path / "out" / "records" / "case1.json"
    record = read_json(path)
    record["labels"] = damage
    write_json(path, record)
    with pytest.raises(UsageError, match="the record of case 'case1' is damaged"):
        run(images, tmp_path / "out", configuration=MEAN, continues=True)


def test_no_picture_is_drawn_where_none_is_asked_for(images, tmp_path, monkeypatch):
    drawn = []
    monkeypatch.setattr(
        "diffunet.wsss.prediction.pictures.plot_saliency", lambda *_, **__: drawn.append(1)
    )
    run(images, tmp_path / "none", draws_picture=False)
    assert not drawn
    run(images, tmp_path / "one", draws_picture=True)
    assert drawn == [1]
