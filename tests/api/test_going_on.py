"""Folds one after the other, and trainings that go on with what they began with."""

import contextlib

import pytest

from diffunet import api
from diffunet.checkpoint import load_checkpoint
from diffunet.cli import train
from diffunet.cli.plan_fields import take_settings
from diffunet.errors import CheckpointError, DatasetError, PlansError, UsageError, WriteError
from diffunet.jsonio import read_json, write_json
from diffunet.plans import Plans
from diffunet.training.reporting import Pictures
from diffunet.workspace import Workspace
from tests.training.folds import of_dataset, plans, write_preprocessed

NAME = "Dataset001_Discs"
QUICK = {"num_iterations": 1, "num_validations": 0, "num_final_validation_cases": 1}


@pytest.fixture
def place(tmp_path, monkeypatch) -> Workspace:
    """Return a workspace with two folds, and plans of one iteration."""
    monkeypatch.setattr(Pictures, "update", lambda self: None)
    found = Workspace.resolve(folder=tmp_path, environment={}, current_folder=tmp_path)
    folder = write_preprocessed(found.preprocessed / NAME)
    (split,) = read_json(folder / "splits_final.json")
    write_json(folder / "splits_final.json", [split, split])
    of_dataset(plans(training=QUICK)).save(folder / "diffunet_plans.json")
    return found


def run(place, fold=0, **options):
    return api.train(1, fold, workspace=place, device="cpu", num_processes=0, **options)


def checkpoint(fold_folder):
    return load_checkpoint(fold_folder / "checkpoint_latest.pth", "cpu")


def ema_decay(fold_folder):
    return checkpoint(fold_folder)["plans"]["configuration"]["training"]["ema_decay"]


def command(place, *words):
    return train.main([*words, "--workspace", str(place.raw.parent), "-device", "cpu", "-np", "0"])


def interrupt(fold_folder):
    (fold_folder / "checkpoint_final.pth").unlink()


def test_a_continued_training_keeps_settings_seed_method_and_length(place):
    options = {"settings": ["training.num_iterations=2", "training.batch_size=2"], "seed": 7}
    folder = run(place, method="supervised", **options)
    interrupt(folder)
    assert run(place, continues=True) == folder
    found = checkpoint(folder)
    assert (found["iteration"], found["seed"]) == (2, 7)
    assert found["plans"]["configuration"]["training"]["batch_size"] == 2
    assert (folder / "checkpoint_final.pth").exists()


@pytest.fixture
def full(monkeypatch):
    """Let no checkpoint be written while it is entered."""

    def refuse(path, content):
        raise WriteError(f"'{path}': the disk is full")

    @contextlib.contextmanager
    def entered():
        with monkeypatch.context() as patched:
            patched.setattr("diffunet.training.state.save_checkpoint", refuse)
            with pytest.raises(WriteError):
                yield

    return entered


def test_a_training_that_saved_no_weights_yet_begins_again_as_it_began(place, full):
    settings = ["training.num_iterations=2", "training.batch_size=2"]
    with full():
        run(place, method="supervised", settings=settings, seed=7)
    folder = run(place, continues=True)
    assert folder.parent.name.startswith("supervised__")
    found = checkpoint(folder)
    assert (found["iteration"], found["seed"]) == (2, 7)
    assert found["plans"]["configuration"]["training"]["batch_size"] == 2


def test_a_training_that_saved_no_weights_yet_can_begin_with_other_settings(place, full):
    with full():
        run(place, settings=["training.batch_size=2"])
    found = checkpoint(run(place, settings=["training.batch_size=3"]))
    assert found["plans"]["configuration"]["training"]["batch_size"] == 3
    with full():
        run(place, 1, settings=["training.batch_size=2"])
    run(place, [0, 1])
    assert (found["seed"], found["iteration"]) == (0, 1)


def test_pretrained_weights_are_not_lost_where_no_others_were_saved_yet(place, full):
    weights = run(place, 1) / "checkpoint_final.pth"
    with full():
        run(place, pretrained_weights=weights)
    with pytest.raises(UsageError, match="without --c, and with -pretrained_weights") as refused:
        run(place, 0, continues=True)
    assert str(weights) in str(refused.value)


def test_a_finished_training_is_not_trained_on_by_continuing_it(place, caplog):
    caplog.set_level("INFO")
    folder = run(place, settings=["training.num_iterations=2"])
    before = (folder / "checkpoint_latest.pth").read_bytes()
    run(place, continues=True)
    assert (folder / "checkpoint_latest.pth").read_bytes() == before
    assert "is finished (2 iterations): skipped" in caplog.text


@pytest.mark.parametrize(
    ("options", "error", "named"),
    [
        ({"settings": ["training.batch_size=3"]}, PlansError, r"training\.batch_size: 4 -> 3"),
        ({"settings": ["sampling.num_steps=9"]}, PlansError, r"sampling\.num_steps: 4 -> 9"),
        ({"seed": 1}, CheckpointError, "seed 0, but seed 1"),
    ],
)
def test_what_contradicts_a_begun_training_is_refused_by_name(place, options, error, named):
    run(place)
    with pytest.raises(error, match=named):
        run(place, continues=True, **options)


def test_a_finished_training_is_extended_on_purpose(place, caplog):
    folder = run(place, settings=["training.batch_size=2"])
    run(place, continues=True, settings=["training.num_iterations=3"])
    found = checkpoint(folder)
    assert found["iteration"] == 3
    assert found["plans"]["configuration"]["training"]["batch_size"] == 2
    assert "the learning rate follows the schedule of 3 iterations from iteration 1" in caplog.text


def test_a_training_of_a_set_length_averages_to_fit_it_and_goes_on_as_it_began(place, caplog):
    folder = run(place, settings=["training.num_iterations=30"])
    assert ema_decay(folder) == pytest.approx(1 / 3, abs=1e-6)
    interrupt(folder)
    run(place, continues=True)
    assert "have changed since this training began" not in caplog.text
    run(place, continues=True, settings=["training.num_iterations=40"])
    assert ema_decay(folder) == pytest.approx(1 / 3, abs=1e-6)


def test_changed_plans_of_the_dataset_do_not_change_a_begun_training(place, caplog):
    folder = run(place)
    interrupt(folder)
    path = place.preprocessed / NAME / "diffunet_plans.json"
    of_dataset(plans(training={**QUICK, "batch_size": 2})).save(path)
    run(place, continues=True)
    assert checkpoint(folder)["plans"]["configuration"]["training"]["batch_size"] == 4
    assert "have changed since this training began (training.batch_size)" in caplog.text


def test_validation_alone_takes_the_plans_of_the_run(place):
    folder = run(place, settings=["network.channels=[8,8]", "training.batch_size=2"])
    (folder / "validation" / "summary.json").unlink()
    assert run(place, only_validates=True) == folder
    assert (folder / "validation" / "summary.json").is_file()


def test_of_two_trainings_of_a_fold_one_must_be_named(place):
    run(place, method="supervised")
    model = place.results / NAME
    (model / "supervised__diffunet_plans__2d").rename(model / "supervised__mine__2d")
    run(place, method="supervised")
    (model / "supervised__diffunet_plans__2d").rename(model / "supervised__other__2d")
    with pytest.raises(UsageError, match=r"supervised__mine__2d, supervised__other__2d; say with"):
        run(place, continues=True)


def test_all_folds_are_trained_and_finished_ones_skipped(place, caplog):
    caplog.set_level("INFO")
    first = run(place, 0)
    before = (first / "checkpoint_final.pth").stat().st_mtime_ns
    assert run(place, "all_folds") == first.parent / "fold_1"
    assert (first.parent / "fold_1" / "checkpoint_final.pth").exists()
    assert (first / "checkpoint_final.pth").stat().st_mtime_ns == before
    assert "fold_0' is finished (1 iterations): skipped" in caplog.text


@pytest.mark.parametrize(("folds", "continues"), [(0, True), ([0, 1], False)])
def test_a_finished_fold_is_validated_again_where_its_samples_are_asked_for(
    place, folds, continues
):
    folder = run(place, 0)
    before = (folder / "checkpoint_final.pth").read_bytes()
    run(place, folds, continues=continues)
    assert not (folder / "validation" / "samples").exists()
    run(place, folds, continues=continues, saves_samples=True)
    assert len(list((folder / "validation" / "samples").iterdir())) == 4
    assert (folder / "checkpoint_final.pth").read_bytes() == before


def test_of_several_folds_an_interrupted_one_needs_c(place):
    folder = run(place, 1)
    interrupt(folder)
    with pytest.raises(UsageError, match="fold 1 was interrupted; continue it.*--c"):
        run(place, [0, 1])
    assert not (folder.parent / "fold_0").exists(), "work had begun"
    run(place, [0, 1], continues=True)
    assert all((folder.parent / f"fold_{k}" / "checkpoint_final.pth").exists() for k in (0, 1))


def test_a_stop_ends_all_folds(place, monkeypatch):
    monkeypatch.setattr("diffunet.training.loop.TrainingLoop._is_stopped", lambda *_: True)
    with pytest.raises(KeyboardInterrupt):
        run(place, [0, 1], settings=["training.num_iterations=2"])
    assert not list(place.results.glob("**/fold_1"))


@pytest.mark.parametrize(("folds", "error"), [([0, 0], UsageError), ([0, "x"], UsageError)])
def test_folds_that_are_none_are_refused(place, folds, error):
    with pytest.raises(error, match="fold"):
        run(place, folds)


def test_without_splits_there_are_no_folds_to_train_one_after_the_other(place):
    write_json(place.preprocessed / NAME / "splits_final.json", [])
    with pytest.raises(DatasetError, match="train with the fold 'all'"):
        run(place, "all_folds")


@pytest.mark.parametrize("words", [["2d", "0"], ["0", "-c", "2d"], ["2d", "0", "-c", "2d"]])
def test_the_configuration_may_stand_before_the_fold_as_in_nnunet(place, words):
    assert command(place, "1", *words) == 0
    assert (place.results / NAME / "diffusion__diffunet_plans__2d" / "fold_0").is_dir()


@pytest.mark.parametrize(
    ("words", "fragment"),
    [
        (["2d", "0", "-c", "3d_fullres"], "found '2d' before the fold and -c 3d_fullres"),
        (["2d"], "there is no fold '2d'"),
        (["3d_fullres", "0"], "no configuration '3d_fullres'"),
        (["0", "1", "-num_gpus", "2"], "train one fold at a time"),
        (["0", "--epochs", "1", "--iterations", "5"], "say the same"),
    ],
)
def test_a_contradiction_of_words_is_refused(place, capsys, words, fragment):
    assert command(place, "1", *words) == 2
    assert fragment in capsys.readouterr().err


def test_an_epoch_is_250_iterations_and_the_log_says_so(caplog):
    caplog.set_level("INFO")
    given = train.parser().parse_args(["1", "0", "--epochs", "2"])
    assert take_settings(given) == ["training.num_iterations=500"]
    assert "an epoch is 250 iterations, as in nnU-Net: 2 epochs are 500" in caplog.text


def test_settings_on_plans_of_a_run_are_those_of_the_datasets_plans():
    made = plans()
    expected = Plans.resolve(of_dataset(made), settings=["training.batch_size=2"])
    found = made.with_settings(["training.batch_size=2"])
    assert found == expected
    assert found.is_set_by_user("training.batch_size")


@pytest.mark.parametrize("damaged", ["checkpoint_latest.pth", None])
def test_a_validation_needs_only_the_weights_that_it_validates(place, damaged):
    folder = run(place, method="supervised", settings=["training.batch_size=2"])
    (folder / "validation/summary.json").unlink()
    (folder / "checkpoint_latest.pth").unlink()
    if damaged:
        (folder / damaged).write_bytes(b"damaged")
    assert run(place, only_validates=True) == folder
    assert (folder / "validation/summary.json").is_file()


def test_a_validation_takes_the_best_weights_where_no_others_are_left(place, caplog):
    folder = run(place, settings=["training.num_validations=1"])
    for name in ("latest", "final"):
        (folder / f"checkpoint_{name}.pth").unlink()
    assert run(place, only_validates=True) == folder
    assert "'checkpoint_final.pth' is not there: validating 'checkpoint_best.pth'" in caplog.text


def test_a_validation_writes_lost_plans_again_as_the_message_says(place):
    folder = run(place, settings=["training.batch_size=2"])
    before = (folder / "plans.resolved.json").read_bytes()
    (folder / "plans.resolved.json").unlink()
    with pytest.raises(PlansError, match="diffunet_train DATASET FOLD --val"):
        api.export_model(folder / "model.zip", model=folder.parent)
    run(place, only_validates=True)
    assert (folder / "plans.resolved.json").read_bytes() == before
