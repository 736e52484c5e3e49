import dataclasses

import numpy as np
import pytest

from diffunet.api.predictor import Predictor
from diffunet.api.weak_predictor import WeakPredictor
from diffunet.errors import DatasetError, PlansError, UsageError
from diffunet.inference.options import PredictionOptions
from diffunet.jsonio import write_json
from diffunet.plans import MaskPlan, WeakPlan
from diffunet.wsss.prediction.predictor import SaliencyPredictor
from tests.inference.models import dataset_content, small_configuration, small_plans, write_model
from tests.wsss.weak_models import (
    TWO_LABELS,
    blob,
    image_model,
    known_model,
    known_predictor,
    weak_configuration,
    write_weak_model,
)

PIXEL_MM = (1.0, 1.0)
VOXEL_MM = (3.0, 1.0, 1.0)
BRIGHT = (slice(4, 9), slice(5, 11))


def volume_predictor(configuration=None, **arguments):
    arguments = {"file_ending": ".nii.gz", "dimensions": 3, **arguments}
    return known_predictor(configuration, **arguments)


def test_the_mask_of_a_bright_object_is_the_object():
    image = blob((20, 18), *BRIGHT)
    prediction = known_predictor().predict(image[None], PIXEL_MM)
    assert np.array_equal(prediction.mask, image > 0)
    assert prediction.mask.dtype == np.uint8
    assert prediction.is_present.tolist() == [[True]]
    assert prediction.probability.shape == prediction.thresholds.shape == (1, 1)


def test_the_mask_is_where_the_saliency_exceeds_the_threshold():
    image = np.random.default_rng(0).normal(size=(1, 20, 18)).astype(np.float32)
    prediction = known_predictor().predict(image, PIXEL_MM)
    assert prediction.saliency.shape == (1, 20, 18)
    assert np.array_equal(prediction.mask, prediction.saliency[0] > prediction.thresholds[0, 0])
    assert 0 < prediction.mask.mean() < 1


def test_an_image_without_the_label_has_an_empty_mask_and_no_saliency():
    prediction = known_predictor().predict(blob((20, 18), *BRIGHT, value=0.3)[None], PIXEL_MM)
    assert not prediction.mask.any()
    assert not prediction.saliency.any()
    assert prediction.probability[0, 0] == pytest.approx(1 / (1 + np.exp(2)), abs=1e-5)
    assert np.isnan(prediction.thresholds).all()


def test_tags_decide_instead_of_the_classifier():
    faint = blob((20, 18), *BRIGHT, value=0.3)
    predictor = known_predictor()
    assert predictor.predict(faint[None], PIXEL_MM, tags=[1]).mask[BRIGHT].mean() > 0.5
    bright = blob((20, 18), *BRIGHT)
    assert not predictor.predict(bright[None], PIXEL_MM, tags=[0]).mask.any()


def test_the_threshold_of_presence_is_the_plans():
    image = blob((20, 18), *BRIGHT, value=0.6)[None]  # a probability of 0.73
    for threshold, is_present in ((0.7, True), (0.8, False)):
        predictor = known_predictor(weak_configuration(presence_thresholds=(threshold,)))
        assert predictor.predict(image, PIXEL_MM).is_present.all() == is_present


def test_a_seed_gives_the_same_map_again_and_another_seed_another():
    predictor = known_predictor()
    image = blob((20, 18), *BRIGHT)[None]
    first = predictor.predict(image, PIXEL_MM, seed=1).saliency
    assert np.array_equal(predictor.predict(image, PIXEL_MM, seed=1).saliency, first)
    assert not np.allclose(predictor.predict(image, PIXEL_MM, seed=2).saliency, first, atol=1e-6)


def test_two_labels_have_their_maps_and_do_not_overlap():
    image = blob((20, 18), *BRIGHT) + blob((20, 18), slice(12, 18), slice(2, 8), value=-1.0)
    prediction = known_predictor(labels=TWO_LABELS).predict(image[None], PIXEL_MM)
    assert np.array_equal(prediction.mask == 1, image > 0)
    assert np.array_equal(prediction.mask == 2, image < 0)
    assert prediction.saliency.shape == (2, 20, 18)


def test_a_label_that_is_absent_leaves_the_other_alone():
    image = blob((20, 18), slice(12, 18), slice(2, 8), value=-1.0)
    prediction = known_predictor(labels=TWO_LABELS).predict(image[None], PIXEL_MM)
    assert prediction.is_present.tolist() == [[False, True]]
    assert set(np.unique(prediction.mask)) == {0, 2}
    assert not prediction.saliency[0].any()


def test_slices_of_a_volume_are_decided_each_for_itself_where_slices_were_labelled():
    image = np.full((5, 20, 18), -0.1, np.float32)
    image[1][BRIGHT] = image[3][BRIGHT] = 1.0
    predictor = volume_predictor(weak_configuration(has_slice_labels=True))
    prediction = predictor.predict(image[None], VOXEL_MM)
    assert prediction.is_present[:, 0].tolist() == [False, True, False, True, False]
    assert np.array_equal(prediction.mask, image > 0.5)
    assert not prediction.saliency[0, [0, 2, 4]].any()


def test_a_volume_is_decided_as_a_whole_where_cases_were_labelled():
    image = np.full((5, 20, 18), 0.4, np.float32)  # 0.27 each
    image[:, 0] = 0.1
    image[1][BRIGHT] = image[3][BRIGHT] = 1.0  # 0.99 each
    predictor = volume_predictor()
    prediction = predictor.predict(image[None], VOXEL_MM)
    assert prediction.is_present.all()
    assert prediction.saliency.any(axis=(0, 2, 3)).all()
    image[3] = image[0]
    assert not predictor.predict(image[None], VOXEL_MM).is_present.any()


def test_the_slices_of_a_volume_have_the_map_that_they_have_alone():
    generator = np.random.default_rng(0)
    image = generator.uniform(0.5, 1, size=(4, 20, 18)).astype(np.float32)
    predictor = volume_predictor(weak_configuration(has_slice_labels=True))
    whole = predictor.predict(image[None], VOXEL_MM).saliency
    tags = [[0], [0], [1], [0]]
    alone = predictor.predict(image[None], VOXEL_MM, tags=tags).saliency
    assert np.allclose(alone[0, 2], whole[0, 2], atol=1e-6)
    assert not alone[0, [0, 1, 3]].any()


def test_slices_that_preprocessing_crops_away_have_neither_probability_nor_mask():
    image = np.zeros((5, 20, 18), np.float32)
    image[2:4, 3:17, 2:16] = -0.1
    image[2][BRIGHT] = 1.0
    predictor = volume_predictor(weak_configuration(has_slice_labels=True))
    prediction = predictor.predict(image[None], VOXEL_MM, tags=[[1], [0], [1], [0], [0]])
    assert np.isnan(prediction.probability[:, 0]).tolist() == [True, True, False, False, True]
    assert prediction.is_present[:, 0].tolist() == [False, False, True, False, False]
    assert np.array_equal(prediction.mask, image > 0.5)


def test_the_threshold_of_the_training_grid_is_compared_with_the_interpolated_map():
    image = blob((40, 36), slice(10, 20), slice(8, 20))
    predictor = known_predictor(weak_configuration(spacing_mm=(2.0, 2.0)))
    prediction = predictor.predict(image[None], PIXEL_MM)
    assert np.array_equal(prediction.mask, prediction.saliency[0] > prediction.thresholds[0, 0])
    assert np.mean(prediction.mask == (image > 0)) > 0.95
    coarse = prediction.mask.reshape(20, 2, 18, 2)
    assert (np.ptp(coarse, axis=(1, 3)) > 0).any(), "the border is finer than the training grid"


def test_a_mean_threshold_of_one_volume_is_the_mean_over_its_slices():
    generator = np.random.default_rng(0)
    image = generator.uniform(0, 2, size=(3, 20, 18)).astype(np.float32)
    image[1] *= 3
    thresholds = {}
    for rule in ("otsu", "otsu_mean"):
        masks = {"cdm": MaskPlan(threshold=rule)}
        predictor = volume_predictor(weak_configuration(has_slice_labels=True, masks=masks))
        thresholds[rule] = predictor.predict(image[None], VOXEL_MM).thresholds
    assert np.ptp(thresholds["otsu"]) > 0.01
    assert np.allclose(thresholds["otsu_mean"], thresholds["otsu"].mean())


def test_folds_are_averaged():
    networks = tuple(image_model(gain=gain) for gain in (0.05, 0.2))
    image = blob((20, 18), *BRIGHT)[None]
    each = [known_predictor(networks=(one,)).predict(image, PIXEL_MM).saliency for one in networks]
    both = known_predictor(networks=networks).predict(image, PIXEL_MM).saliency
    assert np.allclose(both, (each[0] + each[1]) / 2, atol=1e-6)


@pytest.mark.parametrize("method, saliency", [("cdm", "cg_cdm"), ("classifier", "grad_cam++")])
def test_a_model_folder_suffices(tmp_path, method, saliency):
    folder = write_weak_model(tmp_path, method=method, labels=TWO_LABELS, folds=("0", "1"))
    predictor = WeakPredictor.from_folder(folder)
    image = np.random.default_rng(0).normal(size=(1, 20, 18)).astype(np.float32)
    prediction = predictor.predict(image, PIXEL_MM, saliency=saliency, tags=[1, 1])
    assert np.isfinite(prediction.saliency).all()
    assert prediction.saliency.any(axis=(1, 2)).all()


def test_folds_that_chose_otherwise_are_predicted_with_the_first_ones_choice_aloud(
    tmp_path, caplog
):
    write_weak_model(tmp_path, method="cdm", folds=("1",), default_saliency="cg_diff")
    write_weak_model(tmp_path, method="cdm", folds=("0",))
    predictor = WeakPredictor.from_folder(tmp_path)
    assert "fold_1 chose other settings of weak supervision than fold_0" in caplog.text
    assert "default_saliency: cg_diff and cdm" in caplog.text
    options = PredictionOptions()
    predictor = SaliencyPredictor(predictor.model, compute=predictor.compute, options=options)
    assert predictor.saliency == "cdm"


@pytest.mark.parametrize("method, saliency", [("cdm", "cg_diff"), ("classifier", "layer_cam")])
@pytest.mark.parametrize("value", [0.0, 100.0])
def test_a_constant_image_has_no_map_whatever_is_known_of_it(tmp_path, method, saliency, value):
    predictor = WeakPredictor.from_folder(write_weak_model(tmp_path, method=method))
    image = np.full((1, 20, 18), value, np.float32)
    prediction = predictor.predict(image, PIXEL_MM, saliency=saliency, tags=[1])
    assert prediction.is_present.all()
    assert not prediction.saliency.any()
    assert not prediction.mask.any()
    image[0, 5:9, 5:9] += 1  # anything to see
    assert predictor.predict(image, PIXEL_MM, saliency=saliency, tags=[1]).saliency.any()


def test_a_fold_that_could_choose_nothing_does_not_decide_for_the_others(tmp_path, caplog):
    write_weak_model(tmp_path, method="cdm", folds=("1", "2"), default_saliency="cg_diff")
    write_weak_model(tmp_path, method="cdm", folds=("0",))
    for fold, gains in (("0", {}), ("1", {"cdm": {"gain": 0.1}}), ("2", {"cdm": {"gain": 0.2}})):
        path = tmp_path / f"fold_{fold}" / "validation" / "summary.json"
        write_json(path, {"erasure_gains": gains})
    model = WeakPredictor.from_folder(tmp_path).model
    assert model.folds == ("0", "1", "2")
    assert model.configuration.weak.default_saliency == "cg_diff"
    assert "fold_0 chose other settings of weak supervision than fold_1" in caplog.text
    assert "fold_2" not in caplog.text


def test_a_saliency_that_the_model_cannot_make_is_refused():
    with pytest.raises(UsageError, match="needs a model trained with -m classifier, found one of"):
        known_predictor().predict(np.zeros((1, 20, 18)), PIXEL_MM, saliency="score_cam")


def test_maps_are_made_in_float32_only():
    predictor = known_predictor()
    compute = dataclasses.replace(predictor.compute, precision="bfloat16")
    with pytest.raises(UsageError, match="--precision bfloat16: maps are small differences"):
        WeakPredictor(predictor.model, compute=compute)


def test_an_image_that_does_not_fit_the_model_is_refused():
    with pytest.raises(DatasetError, match=r"expected an array \(channel, y, x\)"):
        known_predictor().predict(np.zeros((1, 3, 20, 18)), VOXEL_MM)


def test_a_model_of_masks_is_no_model_of_tags(tmp_path):
    plans = small_plans(small_configuration())
    write_model(tmp_path, plans, content=dataset_content())
    with pytest.raises(UsageError, match="expected one trained from image-level labels"):
        WeakPredictor.from_folder(tmp_path)


def test_a_model_of_tags_is_no_model_of_masks(tmp_path):
    write_weak_model(tmp_path, method="cdm")
    with pytest.raises(UsageError, match="predict it with WeakPredictor"):
        Predictor.from_folder(tmp_path)


def test_three_dimensional_patches_are_refused():
    model = known_model(weak_configuration(), dimensions=3)
    base = small_configuration(3)
    network = dataclasses.replace(base.network, image_channels=(), num_image_blocks=())
    configuration = dataclasses.replace(base, weak=WeakPlan(network=network))
    plans = dataclasses.replace(model.plans, configuration=configuration)
    with pytest.raises(PlansError, match="train the configuration 2d"):
        WeakPredictor(dataclasses.replace(model, plans=plans), compute=known_predictor().compute)


def test_slices_along_another_axis_than_the_first_take_no_tags_of_slices():
    model = known_model(weak_configuration(), dimensions=3)
    plans = dataclasses.replace(model.plans, transpose_forward=(1, 0, 2))
    predictor = WeakPredictor(
        dataclasses.replace(model, plans=plans), compute=known_predictor().compute
    )
    image = np.full((1, 20, 4, 18), -0.1, np.float32)
    image[0, 4:9, 1, 5:11] = 1.0
    with pytest.raises(UsageError, match="numbered along the first axis of the file"):
        predictor.predict(image, VOXEL_MM, tags=[[1]] * 20)
    prediction = predictor.predict(image, (1.0, 3.0, 1.0), tags=[1])
    assert prediction.probability.shape == (4, 1)
    assert np.array_equal(prediction.mask[:, 1], image[0, :, 1] > 0.5)


def test_a_fold_whose_settings_were_never_chosen_is_warned_of(tmp_path, caplog):
    folder = write_weak_model(tmp_path, method="cdm", folds=("0", "all"))
    WeakPredictor.from_folder(folder)
    assert "finished" not in caplog.text
    (folder / "fold_0" / "validation" / "summary.json").unlink()
    WeakPredictor.from_folder(folder)
    assert "fold_0 has not finished its training" in caplog.text
    caplog.clear()
    WeakPredictor.from_folder(folder, folds=["all"])
    assert "finished" not in caplog.text
