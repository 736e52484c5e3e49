"""Which size a training has: what the user says, what other folds have, or what the device can."""

from dataclasses import replace

import pytest

from diffunet import api
from diffunet.api.asked import AskedTraining, plan_fold
from diffunet.cli import train
from diffunet.errors import UsageError
from diffunet.planning import cells
from diffunet.plans import ResolvedPlans
from diffunet.plans.edits import save_planned
from diffunet.training.reporting import Pictures
from diffunet.workspace import Workspace
from tests.training.folds import of_dataset, plans, write_preprocessed

NAME = "Dataset001_Discs"
QUICK = {"num_iterations": 1, "num_validations": 0, "num_final_validation_cases": 1}


@pytest.fixture
def place(tmp_path, monkeypatch) -> Workspace:
    """Return a workspace with plans of one iteration, as the planner writes them."""
    monkeypatch.setattr(Pictures, "update", lambda self: None)
    found = Workspace.resolve(folder=tmp_path, environment={}, current_folder=tmp_path)
    folder = write_preprocessed(found.preprocessed / NAME)
    save_planned(of_dataset(plans(training=QUICK)), folder / "diffunet_plans.json")
    return found


def asked(place, *settings, has_gpu=False) -> ResolvedPlans:
    return AskedTraining(
        place=place,
        dataset=NAME,
        configuration=None,
        method=None,
        plans_name="diffunet_plans",
        settings=settings,
        seed=None,
        is_small_by_default=not has_gpu,
    ).planned()[0]


def run(place, fold=0, **options):
    return api.train(1, fold, workspace=place, device="cpu", num_processes=0, **options)


def size_of(fold_folder):
    return ResolvedPlans.load(fold_folder / "plans.resolved.json").size


def test_without_a_gpu_and_a_word_of_size_or_length_a_training_is_a_laptops(place):
    made = asked(place)
    assert made.size == "laptop"
    assert "--preset default trains as planned" in made.reasons["size"]
    assert asked(place, "diffusion.input_scale=0.3").size == "laptop"


@pytest.mark.parametrize(
    "setting", ["default", "training.num_iterations=2", "network=p1", "patch_size=[16,16]"]
)
def test_a_word_of_size_or_length_leaves_all_else_as_planned(place, setting):
    assert asked(place, setting).size == "default"


def test_trainings_that_differ_in_the_input_scale_have_one_network(place, monkeypatch):
    """Else a sweep over it would compare networks."""
    monkeypatch.setattr(cells, "_LARGEST_PATCHES", {2: (4, 8), 3: ()})
    networks = {
        asked(place, "laptop", f"diffusion.input_scale={scale}").configuration.network
        for scale in (0.03, 1)
    }
    assert networks == {asked(place, "laptop").configuration.network}


def test_with_a_gpu_a_training_is_as_planned(place):
    assert asked(place, has_gpu=True).size == "default"
    assert asked(place, "laptop", has_gpu=True).size == "laptop"


def test_plans_that_were_edited_are_trained_as_they_are(place):
    path = place.preprocessed / NAME / "diffunet_plans.json"
    of_dataset(plans(training={**QUICK, "batch_size": 2})).save(path)
    assert asked(place).size == "default"


def test_plans_of_which_nobody_knows_whether_they_were_edited_are_trained_as_they_are(place):
    (place.preprocessed / NAME / "diffunet_plans.planned.json").unlink()
    assert asked(place).size == "default"
    assert asked(place, "laptop").size == "laptop"


def test_a_laptops_training_is_continued_and_other_folds_follow_it(place, caplog):
    caplog.set_level("INFO")
    folder = run(place)
    assert size_of(folder) == "laptop"
    assert "preset laptop: Without a GPU" in caplog.text
    (folder / "checkpoint_final.pth").unlink()
    assert run(place, continues=True) == folder
    assert "have changed since this training began" not in caplog.text
    assert asked(place, "training.num_iterations=2", has_gpu=True).size == "laptop"
    assert asked(place, "default").size == "default"


def test_a_fold_that_was_killed_before_it_saved_anything_does_not_follow_itself(place):
    folder = run(place, preset="default")
    for path in (*folder.glob("checkpoint_*"), *folder.glob("validation/summary.json")):
        path.unlink()
    assert size_of(run(place)) == "laptop"


def test_another_fold_whose_plans_are_damaged_stops_no_training(place, caplog):
    other = run(place, preset="default") / "plans.resolved.json"
    other.write_text(other.read_text()[:300])
    assert size_of(run(place, fold="all")) == "laptop"
    assert "another fold of the same model cannot be read" in caplog.text


def test_a_training_does_not_go_on_with_another_size(place):
    run(place, preset="default")
    with pytest.raises(UsageError, match="began with the preset default, and cannot go on with"):
        run(place, preset="laptop", continues=True)
    run(place, preset="default", continues=True)


def test_a_training_from_given_weights_keeps_their_network(place):
    weights = run(place, preset="default") / "checkpoint_final.pth"
    for folder in place.results.glob("*/*"):
        folder.rename(folder.with_name("elsewhere"))
    weights = next(place.results.glob(f"*/elsewhere/fold_0/{weights.name}"))
    assert size_of(run(place, pretrained_weights=weights)) == "default"


def test_changed_plans_are_told_of_a_laptops_training_too(place, caplog):
    folder = run(place, settings=["laptop", "training.batch_size=3"])
    (folder / "checkpoint_final.pth").unlink()
    path = place.preprocessed / NAME / "diffunet_plans.json"
    made = of_dataset(plans(training={**QUICK, "weight_decay": 0.5}))
    made.save(path)
    run(place, continues=True)
    assert "have changed since this training began (training.weight_decay)" in caplog.text


def test_a_preset_is_one_word_of_the_command(place):
    words = ["1", "0", "--workspace", str(place.raw.parent), "-device", "cpu", "-np", "0"]
    assert train.main([*words, "--preset", "large", "--iterations", "1", "--no_report"]) == 0
    (folder,) = place.results.glob("*/*/fold_0")
    made = ResolvedPlans.load(folder / "plans.resolved.json")
    assert (made.size, made.configuration.training.num_iterations) == ("large", 1)
    assert made.configuration.network.channels == (32, 64)


def test_an_unknown_preset_is_refused(place):
    with pytest.raises(UsageError, match="one of laptop, default, large, p1, monai, got 'tiny'"):
        run(place, preset="tiny")


def test_a_fold_that_cannot_predict_with_the_others_is_told_before_it_is_trained(place, caplog):
    run(place, settings=["default"])
    asked_of = AskedTraining(
        place=place,
        dataset=NAME,
        configuration=None,
        method=None,
        plans_name="diffunet_plans",
        settings=["network.num_groups=2"],
        seed=None,
    )
    caplog.clear()
    plan_fold(asked_of, "0", goes_on=False)  # in place of the one that is there
    assert "cannot predict together" not in caplog.text
    plan_fold(asked_of, "1", goes_on=False)
    assert "fold 1 is to be trained with another network than fold_0" in caplog.text
    caplog.clear()
    plan_fold(replace(asked_of, settings=["training.batch_size=3"]), "1", goes_on=False)
    assert "cannot predict together" not in caplog.text
