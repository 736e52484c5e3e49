import dataclasses
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from scipy import ndimage

from diffunet.api.predictor import Predictor
from diffunet.diffusion.encoding import AnalogBitsEncoding, SignedEncoding
from diffunet.errors import DatasetError, UsageError
from diffunet.inference.case_predictor import CasePredictor
from diffunet.inference.compute import Compute
from diffunet.inference.fuse import Votes
from diffunet.inference.model import load_model
from diffunet.inference.options import PredictionOptions
from diffunet.inference.original_grid import decode_on_original_grid
from diffunet.methods import METHODS
from diffunet.preprocessing.case import preprocess_case
from tests.inference.models import dataset_content, small_configuration, small_plans, write_model

TWO_LABELS = {"background": 0, "anterior": 1, "posterior": 2}
REGIONS = {"background": 0, "whole": [1, 2], "core": [2]}


def image_2d(*shape: int, seed: int = 0) -> np.ndarray:
    noise = np.random.default_rng(seed).normal(100, 50, (1, *shape))
    return ndimage.gaussian_filter(noise, [0, *[1] * len(shape)]).astype(np.float32)


@pytest.fixture
def folder(tmp_path):
    plans = small_plans(small_configuration())
    return write_model(tmp_path / "model", plans, content=dataset_content(), folds=("0", "1"))


def test_a_prediction_is_on_the_grid_of_the_image(folder):
    prediction = Predictor.from_folder(folder).predict(image_2d(40, 23), (1.0, 1.0))
    assert prediction.mask.shape == (40, 23)
    assert prediction.mask.dtype == np.uint8
    assert prediction.probability.shape == (1, 40, 23)
    assert prediction.uncertainty.shape == (40, 23)
    assert prediction.samples.shape == (3, 1, 40, 23)
    assert prediction.samples.dtype == bool


def test_outputs_agree_with_the_samples(folder):
    prediction = Predictor.from_folder(folder).predict(image_2d(20, 20), (1.0, 2.0))
    share = prediction.samples.mean(axis=0)
    assert 0.01 < share.mean() < 0.99
    assert np.allclose(prediction.probability, share)
    assert np.array_equal(prediction.mask, share[0] > 0.5)
    assert prediction.volumes["nodule"].samples == tuple(
        2.0 * prediction.samples[:, 0].sum(axis=(1, 2))
    )
    empty = sum(not sample.any() for sample in prediction.samples)
    votes = Votes(prediction.samples.sum(axis=0).astype(np.uint8), total=3, is_exclusive=True)
    assert prediction.disagreement == {"nodule": votes.disagreement(0, num_empty=empty)}
    assert prediction.disagreement["nodule"] > 0
    assert ((prediction.uncertainty == 0) == ((share[0] == 0) | (share[0] == 1))).all()


def test_a_prediction_repeats(folder):
    first = Predictor.from_folder(folder).predict(image_2d(20, 20), (1.0, 1.0), seed=3)
    second = Predictor.from_folder(folder).predict(image_2d(20, 20), (1.0, 1.0), seed=3)
    assert np.array_equal(first.samples, second.samples)


@pytest.mark.parametrize("conditioning", ["encoded", "concatenated"])
def test_groups_and_batches_do_not_change_the_samples_of_a_real_network(tmp_path, conditioning):
    plans = small_plans(small_configuration(conditioning=conditioning, num_steps=3))
    folder = write_model(tmp_path, plans, content=dataset_content(labels=TWO_LABELS))
    predictions = []
    for compute in (
        Compute(device=torch.device("cpu")),
        Compute(device=torch.device("cpu"), state_gib=0.0, batch_voxels=1, feature_gib=0.0),
        Compute(device=torch.device("cpu"), batch_voxels=11 * 256),
    ):
        model = load_model(folder, folds=None, checkpoint="final", device=compute.device)
        predictor = Predictor(model, compute=compute)
        predictions.append(predictor.predict(image_2d(50, 40), (1.0, 1.0)))
    for other in predictions[1:]:
        assert (other.samples != predictions[0].samples).mean() <= 1e-5


def test_folds_take_turns(folder):
    both = Predictor.from_folder(folder).predict(image_2d(20, 20), (1.0, 1.0))
    alone = [
        Predictor.from_folder(folder, [fold]).predict(image_2d(20, 20), (1.0, 1.0))
        for fold in (0, 1)
    ]
    for sample in range(3):
        of_fold = alone[sample % 2].samples[sample]
        assert (both.samples[sample] != of_fold).mean() < 0.01
    assert (alone[0].samples != alone[1].samples).mean() > 0.05


def test_volumes_are_resampled_transposed_and_cropped_on_the_way_and_back(tmp_path):
    configuration = small_configuration(3, spacing_mm=(2.0, 1.0, 1.0), patch=8)
    plans = small_plans(configuration, transpose_forward=(2, 0, 1))
    content = dataset_content(file_ending=".nii.gz", labels=TWO_LABELS)
    folder = write_model(tmp_path, plans, content=content)
    image = image_2d(11, 12, 9)
    image[:, :3] = 0
    prediction = Predictor.from_folder(folder).predict(image, (1.5, 1.0, 1.0))
    assert prediction.mask.shape == (11, 12, 9)
    assert prediction.samples.shape == (3, 2, 11, 12, 9)
    assert not prediction.samples[:, :, :3].any()
    assert prediction.samples[:, :, 3:].any()
    assert prediction.volumes["anterior"].unit == "mm^3"
    assert not prediction.samples.all(axis=1).any(), "exclusive labels overlap"


def test_a_2d_model_draws_the_same_in_slices_that_look_the_same(tmp_path):
    configuration = small_configuration(2, patch=16)
    plans = small_plans(configuration, transpose_forward=(0, 1, 2))
    folder = write_model(tmp_path, plans, content=dataset_content(file_ending=".nii.gz"))
    image = np.repeat(image_2d(1, 20, 14), 4, axis=1)
    prediction = Predictor.from_folder(folder).predict(image, (3.0, 1.0, 1.0))
    assert prediction.samples.shape == (3, 1, 4, 20, 14)
    assert np.array_equal(prediction.samples[:, :, 0], prediction.samples[:, :, 1])
    assert not np.array_equal(prediction.samples[0], prediction.samples[1])


def test_regions_may_overlap(tmp_path):
    content = {**dataset_content(labels=REGIONS), "regions_class_order": [1, 2]}
    plans = small_plans(small_configuration())
    folder = write_model(tmp_path, plans, content=content)
    prediction = Predictor.from_folder(folder).predict(image_2d(20, 20), (1.0, 1.0))
    assert prediction.samples.all(axis=1).any()
    majority = prediction.samples.mean(axis=0) > 0.5
    expected = np.where(majority[1], 2, np.where(majority[0], 1, 0))
    assert np.array_equal(prediction.mask, expected)


@pytest.mark.parametrize("method", ["diffusion", "supervised"])
def test_volumes_and_samples_of_regions_are_those_that_label_maps_hold(tmp_path, method):
    content = {**dataset_content(labels=REGIONS), "regions_class_order": [1, 2]}
    plans = small_plans(small_configuration(), method=method)
    folder = write_model(tmp_path, plans, content=content)
    predictor = Predictor.from_folder(folder)
    prediction = predictor.predict(image_2d(20, 20), (1.0, 1.0))
    labels = predictor.model.labels
    for number, masks in enumerate(prediction.samples):
        assert masks[1].any()
        written = labels.masks(labels.label_map(masks))
        assert np.array_equal(written, masks)
        for name, mask in zip(labels.names, written, strict=True):
            assert prediction.volumes[name].samples[number] == mask.sum()
    assert (prediction.probability[0] >= prediction.probability[1]).all()


def test_decoding_interpolates_x_0_not_masks():
    plan = small_configuration(2, spacing_mm=(2.0, 2.0))
    case = preprocess_case(
        np.ones((1, 8, 8), np.float32),
        None,
        spacing_mm=(1.0, 1.0),
        configuration=plan,
        transpose_forward=(0, 1),
        case="case",
    )
    x_0 = np.array([[[1, 1, -0.2, -0.2]] * 4], np.float32)
    masks = decode_on_original_grid(x_0, case.properties, encoding=SignedEncoding(1))
    # centres of the stored voxels 1 and 2 are at 2.5 and 4.5 of the original voxels: x_0 falls to 0
    # at 2.5 + 2 / 1.2 = 4.17, so voxel 4 is still inside
    assert masks[0, 0].tolist() == [True] * 5 + [False] * 3


def test_decoding_leaves_background_outside_of_the_crop():
    image = np.zeros((1, 5, 10, 10), np.float32)
    image[:, 1:3, 2:6, 3:9] = 1
    case = preprocess_case(
        image,
        None,
        spacing_mm=(1.0, 1.0, 1.0),
        configuration=small_configuration(3),
        transpose_forward=(2, 0, 1),
        case="case",
    )
    x_0 = np.stack([np.full((6, 2, 4), value, np.float32) for value in (-1, 1, -1)])
    masks = decode_on_original_grid(x_0, case.properties, encoding=SignedEncoding(2))
    assert np.array_equal(masks[0], image[0] > 0)
    assert not masks[1].any()


def a_map_of_labels(num_labels: int) -> np.ndarray:
    """Return masks (label, 12, 12) of blocks of 3 x 3 voxels, one class beside another."""
    numbers = np.random.default_rng(0).permutation(num_labels + 1)[:16].reshape(4, 4)
    numbers = numbers.repeat(3, axis=0).repeat(3, axis=1)
    return numbers == np.arange(1, num_labels + 1)[:, None, None]


@pytest.mark.parametrize("edge", [14, 24, 31])
def test_bits_are_not_interpolated(edge):
    """Between 5 (101) and 6 (110), and where three classes meet, bits spell classes of no voxel."""
    plan = small_configuration(2, spacing_mm=(edge / 12, edge / 12))
    image = np.ones((1, edge, edge), np.float32)
    arguments = {"configuration": plan, "transpose_forward": (0, 1), "case": "case"}
    case = preprocess_case(image, None, spacing_mm=(1.0, 1.0), **arguments)
    drawn = torch.from_numpy(a_map_of_labels(20))[None]
    found = {}
    for encoding in (SignedEncoding(20), AnalogBitsEncoding(20)):
        x_0 = encoding.encode(drawn, None)[0].numpy()
        found[encoding.num_channels] = decode_on_original_grid(
            x_0, case.properties, encoding=encoding
        )
    assert found[5].shape == (20, edge, edge)
    assert np.array_equal(found[5], found[21])
    assert set(np.flatnonzero(found[5].any(axis=(1, 2)))) == set(
        torch.nonzero(drawn[0].any(dim=2).any(dim=1)).flatten().tolist()
    )


def test_slabs_of_decoding_do_not_show(monkeypatch, folder):
    whole = Predictor.from_folder(folder).predict(image_2d(40, 23), (1.0, 1.0))
    monkeypatch.setattr("diffunet.inference.original_grid._SLAB_VOXELS", 60)
    slabs = Predictor.from_folder(folder).predict(image_2d(40, 23), (1.0, 1.0))
    assert np.array_equal(whole.samples, slabs.samples)


@pytest.mark.parametrize("labels", [TWO_LABELS, None, REGIONS])
def test_a_supervised_model_answers_with_the_mean_probability_of_its_folds(tmp_path, labels):
    content = dataset_content(labels=labels)
    if labels is REGIONS:
        content["regions_class_order"] = [1, 2]
    plans = small_plans(small_configuration(patch=32), method="supervised")
    folder = write_model(tmp_path, plans, content=content, folds=("0", "1"))
    predictor = Predictor.from_folder(folder)
    image = image_2d(32, 32)
    prediction = predictor.predict(image, (1.0, 1.0))
    normalized = torch.from_numpy((image - image.mean()) / image.std())
    with torch.no_grad():
        logits = [network(normalized[None])[0] for network in predictor.model.networks]
    if labels is TWO_LABELS:
        expected = torch.stack([each.softmax(0)[1:] for each in logits]).mean(0)
    else:
        expected = torch.stack([each.sigmoid() for each in logits]).mean(0)
    if labels is REGIONS:  # the core lies inside the whole
        expected[0] = expected.max(dim=0).values
    assert np.allclose(prediction.probability, expected.numpy(), atol=1e-4)
    assert prediction.samples.shape == (1, *prediction.probability.shape)
    assert prediction.volumes.keys() == set(predictor.model.labels.names)
    assert np.array_equal(predictor.model.labels.label_map(prediction.samples[0]), prediction.mask)
    if labels is None:
        share = prediction.probability[0]
        entropy = -(share * np.log2(share) + (1 - share) * np.log2(1 - share))
        assert np.allclose(prediction.uncertainty, entropy, atol=1e-4)


def test_tiles_of_a_supervised_model_are_blended(tmp_path):
    plans = small_plans(small_configuration(patch=16), method="supervised")
    folder = write_model(tmp_path, plans, content=dataset_content())
    predictor = Predictor.from_folder(folder)
    steps = []
    prediction = predictor.predict(image_2d(16, 24), (1.0, 1.0), on_step=steps.append)
    normalized = image_2d(16, 24)
    normalized = torch.from_numpy((normalized - normalized.mean()) / normalized.std())
    with torch.no_grad():
        tiles = [
            predictor.model.networks[0](normalized[None, :, :, start : start + 16]).sigmoid()
            for start in (0, 8)
        ]
    assert np.allclose(prediction.probability[0, :, 0], tiles[0][0, 0, :, 0], atol=1e-4)
    near = math.exp(-(0.5**2) / 2 / 2**2), math.exp(-(7.5**2) / 2 / 2**2)
    blended = near[0] * tiles[0][0, 0, :, 8] + near[1] * tiles[1][0, 0, :, 0]
    assert np.allclose(prediction.probability[0, :, 8], blended / sum(near), atol=1e-4)
    assert steps == [1]


def test_mirrors_average_a_supervised_model(tmp_path):
    configuration = small_configuration(patch=16, is_mirrored=True)
    plans = small_plans(configuration, method="supervised")
    folder = write_model(tmp_path, plans, content=dataset_content())
    predictor = Predictor.from_folder(folder)
    image = image_2d(16, 16)
    prediction = predictor.predict(image, (1.0, 1.0))
    mirrored = predictor.predict(image[:, ::-1].copy(), (1.0, 1.0))
    assert np.allclose(mirrored.probability[:, ::-1], prediction.probability, atol=1e-4)


def asked(folder: Path, **options: Any) -> CasePredictor[Any]:
    model = load_model(folder, folds=None, checkpoint="final", device=torch.device("cpu"))
    return METHODS[model.method].make_predictor(
        model,
        compute=Compute(device=torch.device("cpu")),
        options=PredictionOptions(**options),
    )


@pytest.mark.parametrize(
    "change, words",
    [
        ({"num_samples": 0}, "num_samples should be from 1 to"),
        ({"tile_step_size": 2.0}, "tile_step_size should be from"),
    ],
)
def test_sampling_values_are_checked(folder, change, words):
    with pytest.raises(UsageError, match=words):
        asked(folder, **change)


def test_sampling_replaces_what_is_given(folder):
    sampling = asked(folder, num_steps=7, sampler="ddim").sampling
    assert (sampling.num_steps, sampling.sampler, sampling.num_samples) == (7, "ddim", 3)


def test_mirrors_need_a_training_with_mirrors(tmp_path):
    configuration = small_configuration()
    augmentation = dataclasses.replace(configuration.augmentation, mirror_axes=())
    plans = small_plans(dataclasses.replace(configuration, augmentation=augmentation))
    folder = write_model(tmp_path, plans, content=dataset_content())
    with pytest.raises(UsageError, match="trained without mirrored images"):
        asked(folder, is_mirrored=True)


def test_a_supervised_model_takes_no_number_of_samples(tmp_path):
    plans = small_plans(small_configuration(), method="supervised")
    folder = write_model(tmp_path, plans, content=dataset_content())
    with pytest.raises(UsageError, match="num_samples, num_steps: a model of -m supervised"):
        asked(folder, num_samples=3, num_steps=2)


@pytest.mark.parametrize(
    "shape, spacing_mm, words",
    [
        ((2, 8, 8), (1.0, 1.0), r"expected 1 channel\(s\) \(channel 0\).*found 2 in"),
        ((8, 8), (1.0, 1.0), r"expected an array \(channel, y, x\).*\(8, 8\)"),
        ((1, 4, 8, 8), (1.0, 1.0, 1.0), r"expected an array \(channel, y, x\)"),
        ((1, 8, 8), (1.0, 1.0, 1.0), "expected 2 positive voxel sizes"),
        ((1, 8, 8), (1.0, 0.0), "expected 2 positive voxel sizes"),
    ],
)
def test_an_array_that_does_not_fit_is_refused(folder, shape, spacing_mm, words):
    with pytest.raises(DatasetError, match=words):
        Predictor.from_folder(folder).predict(np.ones(shape, np.float32), spacing_mm)


def test_bfloat16_runs_and_stays_close(folder):
    reference = Predictor.from_folder(folder).predict(image_2d(16, 16), (1.0, 1.0))
    fast = Predictor.from_folder(folder, precision="bfloat16").predict(image_2d(16, 16), (1.0, 1.0))
    assert (reference.samples != fast.samples).mean() < 0.1


@pytest.mark.parametrize("method", ["diffusion", "supervised"])
def test_overflow_in_float16_is_no_mask(tmp_path, method):
    plans = small_plans(small_configuration(), method=method)
    write_model(tmp_path, plans, content=dataset_content(), folds=("0",))
    predictor = Predictor.from_folder(tmp_path)
    object.__setattr__(predictor.compute, "precision", "float16")  # the CPU has none to ask for
    for network in predictor.model.networks:
        for parameter in network.parameters():
            parameter.fill_(6e4)
    with pytest.raises(UsageError, match="beyond what float16 holds"):
        predictor.predict(image_2d(16, 16), (1.0, 1.0))


@pytest.mark.parametrize(
    "form",
    [
        np.ndarray.tolist,
        torch.from_numpy,
        lambda image: image.astype(">f4"),
        lambda image: np.ma.masked_array(image, mask=False),
    ],
    ids=["list", "tensor", "big-endian", "masked nowhere"],
)
def test_an_image_may_be_whatever_numpy_takes_for_an_array(folder, form):
    predictor, image = Predictor.from_folder(folder), image_2d(16, 16)
    expected = predictor.predict(image, (1.0, 1.0))
    found = predictor.predict(form(image), np.array([1.0, 1.0]), seed=np.int64(0))
    assert np.array_equal(found.samples, expected.samples)


@pytest.mark.parametrize(
    ("image", "words"),
    [
        (None, "found NoneType"),
        ("image.nii.gz", "found str"),
        (np.ones((1, 8, 8), complex), "found complex128"),
        (np.ones((1, 8, 8), object), "found object"),
        (torch.ones(1, 8, 8, device="meta"), "found torch.float32"),
        (np.ma.masked_equal(np.eye(8)[None], 0), "image.filled"),
        (np.ones((1, 0, 8)), "expected voxels"),
        (np.ones((8, 8)), r"expected an array \(channel, y, x\)"),
    ],
)
def test_what_is_no_image_is_refused(folder, image, words):
    with pytest.raises(DatasetError, match=words):
        Predictor.from_folder(folder).predict(image, (1.0, 1.0))


@pytest.mark.parametrize("spacing_mm", [1.0, (1.0,), (1.0, 1.0, 1.0)])
def test_a_voxel_size_has_as_many_numbers_as_the_image_has_axes(folder, spacing_mm):
    with pytest.raises(DatasetError, match="expected 2 positive voxel sizes"):
        Predictor.from_folder(folder).predict(image_2d(8, 8), spacing_mm)


@pytest.mark.parametrize("device", ["gpu", "cuda:99", "auto:1"])
def test_a_device_that_is_not_there_is_refused(folder, device):
    with pytest.raises(UsageError, match="expected one of|there are"):
        Predictor.from_folder(folder, device=device)


def test_an_array_of_the_caller_stays_as_it_is(folder):
    image = image_2d(16, 16)
    image.setflags(write=False)
    Predictor.from_folder(folder, device="auto").predict(image, (1.0, 1.0))
