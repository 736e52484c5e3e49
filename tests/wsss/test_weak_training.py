import dataclasses
import json
import logging
import os
import signal
from pathlib import Path

import numpy as np
import pytest
import torch

from diffunet.build import weak_plan_of
from diffunet.checkpoint import load_checkpoint
from diffunet.cli.ranks import train_in_processes
from diffunet.data.store.case_store import CaseStore
from diffunet.errors import CheckpointError, PlansError
from diffunet.inference.model import load_model
from diffunet.methods import METHODS
from diffunet.plans import CropPlan, ImageDiffusionPlan, Plans, ResolvedPlans
from diffunet.training.fold import FoldResult, train_fold
from diffunet.training.reporting import Pictures
from diffunet.wsss.choice.candidates import CAM_METHODS, DIFFUSION_METHODS
from diffunet.wsss.training.objective import classification_term
from tests.processes import start_group
from tests.training.folds import SIZE, with_options, with_settings
from tests.training.run_fold import WEAK, run
from tests.wsss.weak_folds import offer_few_settings, weak_plans, write_tagged

CPU = torch.device("cpu")
NUM_ITERATIONS = 12
FIRST_LOSSES = {"cdm": (1.345428, 1.377809, 1.428569), "classifier": (0.778648, 0.660892, 0.593647)}


@pytest.fixture(autouse=True, scope="module")
def _in_little_time():
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Pictures, "update", lambda self: None)
        offer_few_settings(patch)
        yield


@pytest.fixture(scope="module")
def preprocessed(tmp_path_factory) -> Path:
    """Return images with labels; where masks would be, there is a file that nobody can read."""
    folder = write_tagged(tmp_path_factory.mktemp("weak") / "preprocessed")
    (folder / "2d" / "labels").mkdir()
    manifest = folder / "2d" / "labels" / "store.manifest"
    manifest.write_bytes(b"no manifest")
    manifest.chmod(0)
    return folder


@pytest.fixture(scope="module", params=WEAK)
def trained(request, preprocessed, tmp_path_factory) -> tuple[Path, FoldResult]:
    """Return the model folder of an unbroken training of each method, and how it ended."""
    folder = tmp_path_factory.mktemp(request.param)
    return folder, train(preprocessed, folder, weak_plans(method=request.param))


def train(preprocessed: Path, folder: Path, resolved: Plans, **settings) -> FoldResult:
    num_threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        return train_fold(
            resolved,
            **with_options(
                **{
                    "preprocessed_folder": preprocessed,
                    "fold_folder": folder / "fold_0",
                    "fold": "0",
                    "seed": 0,
                    "device": CPU,
                    "num_processes": 0,
                    "validation_time_share": 1e9,
                    **settings,
                }
            ),
        )
    finally:
        torch.set_num_threads(num_threads)


def records(folder: Path, kind: str) -> list[dict]:
    lines = (folder / "fold_0" / "metrics.jsonl").read_text().splitlines()
    return [record for record in map(json.loads, lines) if record["kind"] == kind]


def weights(folder: Path, checkpoint: str = "final") -> dict[str, torch.Tensor]:
    return load_checkpoint(folder / "fold_0" / f"checkpoint_{checkpoint}.pth", "cpu")["weights"]


def assert_same(ours: dict, theirs: dict, *, prefix: str = "") -> None:
    names = [name for name in theirs if name.startswith(prefix)]
    assert names
    assert all(torch.equal(ours[name], theirs[name]) for name in names)


def method_of(trained: tuple[Path, FoldResult]) -> str:
    return ResolvedPlans.load(trained[0] / "fold_0" / "plans.resolved.json").method


def test_the_first_losses_under_a_seed_are_what_they_were(trained):
    losses = [record["loss"] for record in records(trained[0], "training")]
    assert losses[:3] == pytest.approx(FIRST_LOSSES[method_of(trained)], rel=1e-4)


def test_a_training_opens_no_mask_and_leaves_all_that_prediction_needs(trained):
    folder, result = trained
    assert result.is_finished
    found = {path.name for path in (folder / "fold_0").iterdir()}
    expected = {f"checkpoint_{name}.pth" for name in ("latest", "best", "final")}
    assert expected | {"plans.resolved.json", "metrics.jsonl", "log.txt", "validation"} <= found
    model = load_model(folder, folds=None, checkpoint="final", device=CPU)
    assert model.method == method_of(trained)


def test_the_final_validation_says_how_well_labels_are_known(trained):
    folder, result = trained
    summary = json.loads((folder / "fold_0" / "validation" / "summary.json").read_text())
    assert summary == result.summary
    assert (summary["num_images"], summary["num_patients"]) == (6, 3)
    label = summary["labels"]["disc"]
    assert (label["num_with"], label["num_without"]) == (3, 3)
    assert 0 <= label["auc"] <= 1
    if method_of(trained) == "classifier":
        assert "noise_levels" not in summary
        return
    assert summary["num_noised_images"] == 3
    assert [each["log_snr"] for each in summary["noise_levels"]] == list(range(-5, 6))
    assert np.isfinite(summary["noise_levels"][4]["labels"]["disc"]["condition_gain"])


def test_the_presence_threshold_is_chosen_on_validation_images_with_its_reason(trained):
    folder, result = trained
    chosen = ResolvedPlans.load(folder / "fold_0" / "plans.resolved.json")
    assert chosen.configuration.weak is not None
    thresholds = chosen.configuration.weak.presence_thresholds
    assert thresholds == (result.summary["labels"]["disc"]["presence_threshold"],)
    reason = chosen.reasons["weak"]["presence_thresholds"]
    assert reason.startswith("disc: ")


def test_settings_of_maps_and_masks_are_chosen_with_their_reasons(trained):
    chosen = ResolvedPlans.load(trained[0] / "fold_0" / "plans.resolved.json")
    reasons = chosen.reasons["weak"]
    if method_of(trained) == "cdm":
        paths = [("cdm", "log_snr"), ("cg_cdm", "log_snr")]
    else:
        paths = [("cam", "is_smoothed")]
    assert all("on 2 validation images" in reasons[group][name] for group, name in paths)


def test_rules_from_map_to_mask_are_chosen_and_what_they_explain_is_summed_up(trained):
    folder, result = trained
    chosen = ResolvedPlans.load(folder / "fold_0" / "plans.resolved.json")
    gains = result.summary["erasure_gains"]
    methods = DIFFUSION_METHODS if method_of(trained) == "cdm" else CAM_METHODS
    assert set(weak_plan_of(chosen.configuration).masks) == set(gains) == set(methods)
    for gain in gains.values():
        assert gain["num_images"] == 2
        assert 0 <= gain["area_share"] <= 1
        assert gain["labels"]["disc"]["num_images"] == 2


def test_what_the_user_set_is_kept_at_the_end_of_a_training(preprocessed, tmp_path):
    settings = ["weak.cdm.log_snr=-0.5", "weak.presence_thresholds=[0.2]"]
    plans = weak_plans(training={"num_iterations": 2, "num_validations": 1})
    train(preprocessed, tmp_path, with_settings(plans, *settings))
    chosen = ResolvedPlans.load(tmp_path / "fold_0" / "plans.resolved.json")
    weak = weak_plan_of(chosen.configuration)
    assert (weak.cdm.log_snr, weak.presence_thresholds) == (-0.5, (0.2,))
    reasons = chosen.reasons["weak"]
    assert reasons["cdm"]["log_snr"] == "set by the user to -0.5"
    assert reasons["presence_thresholds"] == "set by the user to [0.2]"
    assert "cg_cdm" in reasons


def test_validations_of_a_training_are_recorded_by_name(trained):
    found = records(trained[0], "validation")
    assert [record["iteration"] for record in found] == [6, 12]
    names = {"classification_auc", "cross_entropy"}
    if method_of(trained) == "cdm":
        names |= {"noised_cross_entropy", "condition_gain"}
    shared = {"kind", "iteration", "num_cases", "is_best", "seconds"}
    assert all(set(record) == names | shared for record in found)
    assert [record["num_cases"] for record in found] == [6, 6]


def test_asked_to_stop_it_continues_to_the_same_weights(trained, preprocessed, tmp_path):
    def stopping(items, total, description):
        for number, item in enumerate(items):
            if number == 4:
                os.kill(os.getpid(), signal.SIGTERM)
            yield item

    unbroken, _ = trained
    plans = weak_plans(method=method_of(trained))
    stopped = train(preprocessed, tmp_path, plans, progress=stopping)
    assert (stopped.is_finished, stopped.iteration) == (False, 4)
    assert train(preprocessed, tmp_path, plans, continues=True).is_finished
    for checkpoint in ("final", "best", "latest"):
        assert_same(weights(tmp_path, checkpoint), weights(unbroken, checkpoint))
    for name in ("validation/summary.json", "plans.resolved.json"):
        assert (tmp_path / "fold_0" / name).read_text() == (unbroken / "fold_0" / name).read_text()


def test_all_validation_images_are_classified_when_asked(preprocessed, tmp_path):
    plans = weak_plans(
        method="classifier",
        training={"num_iterations": 1, "num_validations": 0, "num_final_validation_cases": 1},
    )
    settings = {"only_validates": True, "validates_all_cases": True}
    train(preprocessed, tmp_path, plans, validates_all_cases=True)
    again = train(preprocessed, tmp_path, plans, **settings)
    assert again.summary is not None
    assert again.summary["num_images"] == 6


def test_the_best_weights_are_those_of_the_smallest_cross_entropy(preprocessed, tmp_path):
    train(preprocessed, tmp_path, weak_plans(method="classifier", training={"num_validations": 6}))
    found = records(tmp_path, "validation")
    best = min(found, key=lambda record: record["cross_entropy"])
    content = load_checkpoint(tmp_path / "fold_0" / "checkpoint_best.pth", "cpu")
    assert content["iteration"] == best["iteration"]


def test_sampled_validation_changes_no_weight(preprocessed, tmp_path):
    for number in (0, 2):
        training = {"num_iterations": 2, "num_validations": number}
        train(preprocessed, tmp_path / str(number), weak_plans(training=training))
    assert_same(weights(tmp_path / "2"), weights(tmp_path / "0"))


def test_the_classifier_does_not_influence_the_denoiser(preprocessed, tmp_path, monkeypatch):
    """Not even through the largest norm of the gradients, which both exceed here."""
    training = {"num_iterations": 4, "num_validations": 0, "gradient_clip_norm": 1e-3}
    plans = weak_plans(training=training)
    train(preprocessed, tmp_path / "plain", plans)

    def of_wrong_labels(logits, tags):
        return classification_term(logits, 1 - tags)

    monkeypatch.setattr("diffunet.wsss.training.objective.classification_term", of_wrong_labels)
    train(preprocessed, tmp_path / "wrong", plans)
    ours, theirs = weights(tmp_path / "plain"), weights(tmp_path / "wrong")
    assert_same(ours, theirs, prefix="denoiser.")
    name = "classifier.head.weight"
    assert not torch.equal(ours[name], theirs[name])


def test_the_denoiser_does_not_influence_the_classifier(preprocessed, tmp_path):
    training = {"num_iterations": 4, "num_validations": 0, "gradient_clip_norm": 1e-3}
    for weighting in ("snr_plus_one", "uniform"):
        diffusion = ImageDiffusionPlan(loss_weighting=weighting)
        plans = weak_plans(training=training, weak={"diffusion": diffusion})
        train(preprocessed, tmp_path / weighting, plans)
    ours, theirs = weights(tmp_path / "snr_plus_one"), weights(tmp_path / "uniform")
    assert_same(ours, theirs, prefix="classifier.")
    assert any(not torch.equal(ours[name], theirs[name]) for name in theirs)


def test_the_number_of_processes_changes_no_weight(preprocessed, tmp_path):
    plans = weak_plans(training={"num_iterations": 4, "num_validations": 1})
    for num_processes in (0, 2):
        train(preprocessed, tmp_path / str(num_processes), plans, num_processes=num_processes)
    assert_same(weights(tmp_path / "2"), weights(tmp_path / "0"))


@pytest.mark.slow
def test_a_killed_training_continues_to_the_same_weights(trained, preprocessed, tmp_path):
    method = method_of(trained)
    (tmp_path / "preprocessed").symlink_to(preprocessed)
    words = [str(tmp_path), "killed", str(NUM_ITERATIONS), "1", "--method", method, "--hold", "6"]
    with start_group("-m", "tests.training.run_fold", *words) as killed:
        assert killed.stdout is not None
        for _ in range(4):
            killed.stdout.readline()
        killed.kill()
    assert killed.returncode == -signal.SIGKILL
    assert not (tmp_path / "killed" / "fold_0" / "checkpoint_final.pth").exists()
    assert run(tmp_path, "killed", NUM_ITERATIONS, method=method, continues=True).is_finished
    assert_same(weights(tmp_path / "killed"), weights(trained[0]))


@pytest.mark.slow
def test_two_ranks_train_and_validate_as_one_process(tmp_path):
    write_tagged(tmp_path / "preprocessed")
    run(tmp_path, "one", 4, method="cdm")
    words = [str(tmp_path), "two", "4", "0", "--method", "cdm"]
    train_in_processes(2, "tests.training.run_fold", words)
    for kind, names in (
        ("training", ("denoising", "classification", "gradient_norm")),
        ("validation", ("classification_auc", "cross_entropy", "condition_gain")),
    ):
        ones, twos = (records(tmp_path / name, kind) for name in ("one", "two"))
        for one, two in zip(ones, twos, strict=True):
            found = [two[name] for name in names]
            assert found == pytest.approx([one[name] for name in names], rel=1e-3, abs=1e-5)


def test_a_fold_without_validation_cases_keeps_the_defaults_with_a_warning(
    preprocessed, tmp_path, caplog
):
    plans = weak_plans(training={"num_iterations": 1})
    with caplog.at_level(logging.WARNING):
        result = train(preprocessed, tmp_path, plans, fold="all")
    assert result.summary is None
    assert "presence thresholds, noise level, guidance" in caplog.text
    assert "keep the plans' values" in caplog.text
    kept = ResolvedPlans.load(tmp_path / "fold_0" / "plans.resolved.json").configuration.weak
    assert kept is not None
    assert kept.presence_thresholds == ()


def test_validation_images_of_one_kind_keep_the_default_with_a_warning(tmp_path, caplog):
    folder = write_tagged(tmp_path / "preprocessed")
    store = CaseStore(folder / "2d" / "images")
    kinds = {case: store.properties(case).image_labels for case in store.cases}
    held = [case for case, tags in kinds.items() if tags == (1,)][-2:]
    patients = {store.properties(case).patient for case in held}
    others = [case for case in kinds if store.properties(case).patient not in patients]
    splits = [{"train": others, "val": held}]
    (folder / "splits_final.json").write_text(json.dumps(splits))
    plans = weak_plans(method="classifier", training={"num_iterations": 2, "num_validations": 1})
    with caplog.at_level(logging.WARNING):
        result = train(folder, tmp_path, plans)
    assert "weak.presence_thresholds: disc: The default, since" in caplog.text
    assert result.summary is not None
    label = result.summary["labels"]["disc"]
    assert (label["auc"], label["specificity"], label["presence_threshold"]) == (None, None, 0.5)
    assert records(tmp_path, "validation")[0]["classification_auc"] is None


@pytest.mark.parametrize("has_slice_labels", [True, False])
def test_volumes_are_trained_on_by_slice_and_judged_as_they_were_labelled(
    tmp_path, has_slice_labels
):
    """4 held volumes of 3 slices: 12 images with labels of slices, 4 with those of cases."""
    folder = write_tagged(
        tmp_path / "preprocessed", num_slices=3, has_slice_labels=has_slice_labels
    )
    plans = weak_plans(
        training={"num_iterations": 2, "num_validations": 1, "num_final_validation_cases": 4},
        weak={"has_slice_labels": has_slice_labels},
    )
    result = train(folder, tmp_path, plans)
    assert result.summary is not None
    assert result.summary["num_images"] == (18 if has_slice_labels else 4)


def test_several_labels_are_each_judged_and_inverted_alone(tmp_path):
    folder = write_tagged(tmp_path / "preprocessed", num_labels=2)
    plans = weak_plans(training={"num_iterations": 2, "num_validations": 1})
    result = train(folder, tmp_path, plans)
    assert result.summary is not None
    assert set(result.summary["labels"]) == {"disc", "stripe"}
    level = result.summary["noise_levels"][0]["labels"]
    assert level["disc"]["condition_gain"] != level["stripe"]["condition_gain"]
    weak = ResolvedPlans.load(tmp_path / "fold_0" / "plans.resolved.json").configuration.weak
    assert weak is not None
    assert len(weak.presence_thresholds) == 2


def test_patches_of_three_dimensions_are_refused():
    plans = weak_plans().configuration
    volume = dataclasses.replace(
        plans,
        dimensions=3,
        patch_size=(SIZE,) * 3,
        preprocessing=dataclasses.replace(plans.preprocessing, spacing_mm=(1.0,) * 3),
        network=dataclasses.replace(
            plans.network,
            strides=((1, 1, 1), (2, 2, 2)),
            kernel_sizes=((3, 3, 3),) * len(plans.network.channels),
        ),
        weak=None,
    )
    with pytest.raises(PlansError, match=r"slice by slice.*-c 2d"):
        METHODS["cdm"].training().objective(volume, labels=None, seed=0)  # type: ignore[arg-type]


def test_crops_that_may_miss_the_label_are_warned_of(preprocessed, tmp_path, caplog):
    plans = weak_plans(training={"num_iterations": 1}, crop=CropPlan(policy="random"))
    with caplog.at_level(logging.WARNING):
        train(preprocessed, tmp_path, plans)
    assert "crop.policy is 'random'" in caplog.text


def test_another_network_of_images_in_one_fold_is_no_model(preprocessed, tmp_path):
    training = {"num_iterations": 1, "num_validations": 0}
    train(preprocessed, tmp_path, weak_plans(training=training))
    diffusion = ImageDiffusionPlan(prediction="noise")
    other = weak_plans(training=training, weak={"diffusion": diffusion})
    train(preprocessed, tmp_path, other, fold_folder=tmp_path / "fold_1")
    with pytest.raises(CheckpointError, match=r"'weak.diffusion' of fold_1.*prediction"):
        load_model(tmp_path, folds=None, checkpoint="final", device=CPU)


@pytest.mark.slow
def test_a_real_training_learns_the_label_and_what_it_looks_like(tmp_path):
    folder = write_tagged(tmp_path / "preprocessed")
    training = {"num_iterations": 200, "batch_size": 8, "num_validations": 1}
    result = train(folder, tmp_path, weak_plans(training=training))
    assert result.summary is not None
    assert result.summary["labels"]["disc"]["auc"] > 0.9
    gains = [each["labels"]["disc"]["condition_gain"] for each in result.summary["noise_levels"]]
    assert max(gains) > 0.1, gains
