"""A network that is told who drew draws as that rater, and without being told as all together."""

import dataclasses
import json
import logging

import numpy as np
import pytest
import torch

from diffunet import api
from diffunet.api.predictor import Predictor
from diffunet.build import build_rater_tags
from diffunet.errors import UsageError
from diffunet.inference.compute import Compute
from diffunet.inference.masks import SamplePredictor
from diffunet.inference.model import load_model
from diffunet.inference.options import PredictionOptions
from diffunet.inference.prepared import prepare
from diffunet.labels import LabelScheme
from diffunet.methods import METHODS
from diffunet.plans import ConfigurationPlan, DiffusionPlan
from diffunet.sharing.info import model_info
from diffunet.training.fold import train_fold
from diffunet.training.fold_data import open_fold
from diffunet.training.objective import DiffusionObjective, TensorBatch
from tests.data.tiny_datasets import write_png
from tests.inference.models import dataset_content, small_configuration, small_plans, write_model
from tests.planning.fingerprints import a_fingerprint
from tests.planning.test_raters import with_p_value
from tests.training.folds import plans, with_options, write_preprocessed

CPU = torch.device("cpu")
DISC = LabelScheme(names=("disc",), values=((1,),))
TOLD = {"conditions_on_rater": True, "rater_names": ("r00", "r01")}


def told(configuration: ConfigurationPlan, *, dropout: float = 0.0) -> ConfigurationPlan:
    """Return a configuration whose network is told, in groups that do not hide what it is told.

    With one channel a group, norms take away what is added to a channel: time, and who drew.
    """
    return dataclasses.replace(
        configuration,
        network=dataclasses.replace(configuration.network, num_groups=2),
        diffusion=dataclasses.replace(configuration.diffusion, **TOLD),
        training=dataclasses.replace(configuration.training, rater_dropout=dropout),
    )


@pytest.mark.parametrize("names", [(), ("r00",), ("r00", "r00")])
def test_plans_tell_of_two_raters_at_least(names):
    with pytest.raises(ValueError, match="rater_names"):
        DiffusionPlan(conditions_on_rater=True, rater_names=names)


def test_tags_tell_who_drew():
    tags = build_rater_tags(["r01", "r07", "r00"], DiffusionPlan(**TOLD))
    assert tags.tolist() == [[0, 1], [0, 0], [1, 0]]


# ---- training


def batch(raters, *, indices=(0, 1, 2, 3)) -> TensorBatch:
    generator = torch.Generator().manual_seed(1)
    images = torch.randn(4, 1, 16, 16, generator=generator)[list(indices)]
    label_maps = (images[:, 0] > 1).to(torch.uint8)
    return TensorBatch(
        images=images,
        label_maps=label_maps,
        tags=torch.zeros(len(indices), 0),
        raters=tuple(raters),
        iteration=3,
        indices=tuple(indices),
        global_size=4,
    )


def loss(raters, *, dropout, indices=(0, 1, 2, 3), seed=5, with_gradients=False):
    configuration = told(small_configuration(), dropout=dropout)
    torch.manual_seed(0)
    model = METHODS["diffusion"].build_model(configuration, num_image_channels=1, labels=DISC)
    with torch.no_grad():  # the last layer of a new network is 0, and hides all before it
        for parameter in model.parameters():
            parameter.add_(torch.randn_like(parameter) * 0.05)
    objective = DiffusionObjective(configuration=configuration, labels=DISC, seed=seed)
    total = objective(model, batch(raters, indices=indices))["denoising"].total
    if with_gradients:
        total.backward()
        return [each.grad for name, each in model.named_parameters() if "labels" in name]
    return total.item()


def test_the_loss_depends_on_who_drew():
    assert loss(["r00"] * 4, dropout=0.0) != loss(["r01"] * 4, dropout=0.0)


def test_a_network_that_is_not_told_cannot_tell():
    untold = loss(["r00"] * 4, dropout=1.0)
    assert untold == loss(["r01"] * 4, dropout=1.0) == loss(["r09"] * 4, dropout=0.0)


def test_some_are_told_as_the_plan_says():
    losses = {loss(["r00"] * 4, dropout=0.5, seed=seed) for seed in range(4)}
    extremes = {loss(["r00"] * 4, dropout=d, seed=seed) for seed in range(4) for d in (0.0, 1.0)}
    assert losses - extremes


def test_who_is_told_does_not_depend_on_ranks():
    whole = loss(["r00", "r01", "r00", "r01"], dropout=0.5)
    halves = [
        loss(["r00", "r01"], dropout=0.5, indices=(0, 1)),
        loss(["r00", "r01"], dropout=0.5, indices=(2, 3)),
    ]
    assert sum(halves) == pytest.approx(whole, rel=1e-5)


def test_all_weights_have_gradients_where_nobody_is_told():
    """Ranks would wait for gradients that never come."""
    assert all(grad is not None for grad in loss(["r09"] * 4, dropout=0.0, with_gradients=True))


@pytest.mark.slow
def test_each_rater_is_learned_from_his_own_masks(tmp_path):
    """The first rater draws discs; the second smaller ones, and none in every third case."""
    resolved = plans(training={"num_iterations": 130, "num_validations": 0, "ema_decay": 0.95})
    resolved = dataclasses.replace(
        resolved, configuration=told(resolved.configuration, dropout=0.3)
    )
    folder = write_preprocessed(tmp_path / "preprocessed", num_cases=40)
    fold = tmp_path / "model" / "fold_0"
    train_fold(
        resolved,
        preprocessed_folder=folder,
        fold_folder=fold,
        fold="0",
        seed=0,
        device=CPU,
        **with_options(num_processes=0),
    )
    model = load_model(fold.parent, folds=None, checkpoint="final", device=CPU)
    image = model_image(folder)
    areas = {
        rater: drawn(model, image, rater=rater, num_samples=24).mean(axis=0).sum()
        for rater in (None, "r00", "r01")
    }
    assert areas["r01"] < areas[None] < areas["r00"]


def model_image(folder):
    from diffunet.data.store.case_store import CaseStore

    return np.array(CaseStore(folder / "2d" / "images").array("case_39", "image")[:])


# ---- prediction


def test_arrays_are_drawn_as_a_rater_too(model):
    predictor = Predictor(model, compute=Compute(device=CPU))
    prediction = predictor.predict(random_image(), (1.0, 1.0), num_samples=3, rater=1, case="a")
    assert np.array_equal(prediction.samples[:, 0], drawn(model, random_image(), rater="r01"))


def test_what_a_model_is_says_whose_masks_it_can_draw(model, untold_model):
    assert model_info(model.folder)["raters"] == ["r00", "r01"]
    assert model_info(untold_model.folder)["raters"] == []


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    configuration = told(small_configuration())
    folder = write_model(
        tmp_path_factory.mktemp("told"), small_plans(configuration), content=dataset_content()
    )
    return load_model(folder, folds=None, checkpoint="final", device=CPU)


@pytest.fixture(scope="module")
def untold_model(tmp_path_factory):
    folder = write_model(
        tmp_path_factory.mktemp("untold"),
        small_plans(small_configuration()),
        content=dataset_content(),
    )
    return load_model(folder, folds=None, checkpoint="final", device=CPU)


def drawn(model, image, *, rater, num_samples=3):
    options = PredictionOptions(rater=rater, num_samples=num_samples)
    predictor = SamplePredictor(model, compute=Compute(device=CPU), options=options)
    samples = {}
    predictor.predict(
        prepare(image, (1.0, 1.0), model=model, case="a"), on_sample=samples.__setitem__
    )
    return np.stack([samples[k][0] for k in sorted(samples)])


def random_image():
    return np.random.default_rng(0).normal(size=(1, 16, 16)).astype(np.float32)


def test_raters_draw_differently_and_have_a_number_as_well_as_a_name(model):
    first, second = (drawn(model, random_image(), rater=rater) for rater in ("r00", "r01"))
    assert not np.array_equal(first, second)
    assert np.array_equal(second, drawn(model, random_image(), rater="1"))


def test_a_run_says_as_whom_it_draws_and_goes_on_as_nobody_else(model, tmp_path, caplog):
    caplog.set_level("INFO")
    write_png(tmp_path / "images" / "a_0000.png", np.arange(256, dtype=np.uint8).reshape(16, 16))
    given = {"model": model.folder, "device": "cpu"}
    api.predict(tmp_path / "images", tmp_path / "out", rater=1, **given)
    assert "3 samples each, 2 steps of dpm_solver_2m, as r01" in caplog.text
    with pytest.raises(UsageError, match="rater: 'r01', now 'r00'"):
        api.predict(tmp_path / "images", tmp_path / "out", rater=0, continues=True, **given)


def test_without_a_rater_a_told_network_draws_too(model):
    assert drawn(model, random_image(), rater=None).shape == (3, 16, 16)


@pytest.mark.parametrize("rater", ["2", "r02", "Anna"])
def test_an_unknown_rater_is_refused(model, rater):
    with pytest.raises(UsageError, match="expected one of the raters in training, r00, r01"):
        drawn(model, random_image(), rater=rater)


def test_a_model_that_was_not_told_refuses_a_rater(untold_model):
    with pytest.raises(UsageError, match="diffusion.conditions_on_rater=true"):
        drawn(untold_model, random_image(), rater="r00")


def test_the_record_says_as_whom_was_drawn(model):
    compute = Compute(device=CPU)
    as_second = SamplePredictor(model, compute=compute, options=PredictionOptions(rater="1"))
    as_all = SamplePredictor(model, compute=compute, options=PredictionOptions())
    assert as_second.settings()["rater"] == "r01"
    assert "rater" not in as_all.settings()


@pytest.mark.parametrize(("p_value", "num_warnings"), [(0.4, 1), (1e-5, 0)])
def test_a_training_warns_where_numbers_seem_to_mean_nothing(
    tmp_path, caplog, p_value, num_warnings
):
    resolved = plans(training={"num_iterations": 1, "num_final_validation_cases": 1})
    resolved = dataclasses.replace(resolved, configuration=told(resolved.configuration))
    folder = write_preprocessed(tmp_path / "preprocessed")
    a_fingerprint(raters=with_p_value(p_value)).save(folder / "dataset_fingerprint.json")
    with caplog.at_level(logging.WARNING):
        train_fold(
            resolved,
            preprocessed_folder=folder,
            fold_folder=tmp_path / "model" / "fold_0",
            fold="0",
            seed=0,
            device=CPU,
            **with_options(num_processes=0),
        )
    assert caplog.text.count("number means the same ") == num_warnings


@pytest.mark.parametrize(("names", "is_unseen"), [(("r00", "r01"), False), (("r00", "r07"), True)])
def test_a_training_names_raters_whom_it_never_sees(tmp_path, caplog, names, is_unseen):
    folder = write_preprocessed(tmp_path / "preprocessed")
    configuration = told(plans().configuration)
    diffusion = dataclasses.replace(configuration.diffusion, rater_names=names)
    configuration = dataclasses.replace(configuration, diffusion=diffusion)
    open_fold(
        dataclasses.replace(plans(), configuration=configuration), folder, fold="0", device=CPU
    )
    assert ("the raters r07 drew none of the training cases" in caplog.text) == is_unseen


@pytest.mark.parametrize("names", [("disc",), ("disc", "oedema")])
def test_a_training_names_labels_that_it_never_sees(tmp_path, caplog, names):
    folder = write_preprocessed(tmp_path / "preprocessed")
    content = json.loads((folder / "dataset.json").read_text())
    content["labels"] = {"background": 0} | {name: n + 1 for n, name in enumerate(names)}
    (folder / "dataset.json").write_text(json.dumps(content))
    open_fold(plans(), folder, fold="0", device=CPU)
    assert ("fold 0: nobody marked 'oedema' in any of the" in caplog.text) == (len(names) > 1)
