import csv
import inspect
import math
import shutil

import numpy as np
import pytest

from diffunet import api
from diffunet.ablation import scores as ablation_scores
from diffunet.api import ablation as ablation_api
from diffunet.cli import ablate as command
from diffunet.cli.plan_fields import take_settings
from diffunet.data.image_io import ImageGeometry, write_label_map
from diffunet.errors import (
    DatasetError,
    DiffunetError,
    InUseError,
    PlansError,
    UsageError,
    WriteError,
)
from diffunet.jsonio import read_json, write_json
from diffunet.training.reporting import Pictures
from tests.ablation.sweeps import NAME, ablate, write_workspace
from tests.full_disk import full_disk
from tests.test_locks import hold

GRID = ("diffusion.input_scale=0.3,0.1", "sampling.sampler=dpm_solver_2m,ddim")


@pytest.fixture(scope="module", autouse=True)
def _without_pictures():
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Pictures, "update", lambda self: None)
        yield


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    return write_workspace(tmp_path_factory.mktemp("ablation"))


@pytest.fixture(scope="module")
def grid(place, tmp_path_factory):
    """A finished sweep of two trainings, four predictions and two seeds."""
    folder = tmp_path_factory.mktemp("grid") / "sweep"
    return folder, ablate(place, folder, *GRID, seeds=(0, 1))


@pytest.fixture
def trained(monkeypatch):
    """Return a list that grows by the settings and the seed of each training that is begun."""
    begun = []
    train = ablation_api.train

    def noted(*arguments, **options):
        begun.append((tuple(options["settings"][2:]), options["seed"]))  # beyond size and steps
        return train(*arguments, **options)

    monkeypatch.setattr(ablation_api, "train", noted)
    return begun


def without_times(content):
    """Return what must be equal of two runs."""
    if isinstance(content, dict):
        kept = {name: each for name, each in content.items() if name not in TIMES}
        return {name: without_times(each) for name, each in kept.items()}
    return [without_times(each) for each in content] if isinstance(content, list) else content


TIMES = ("training_minutes", "ms_per_sample")


def test_every_variant_is_scored_on_the_same_cases_with_every_seed(grid):
    _, found = grid
    assert [row["name"] for row in found["variants"]] == [
        "input_scale=0.3, sampler=dpm_solver_2m",
        "input_scale=0.3, sampler=ddim",
        "input_scale=0.1, sampler=dpm_solver_2m",
        "input_scale=0.1, sampler=ddim",
    ]
    runs = [run for row in found["variants"] for run in row["runs"]]
    assert [run["seed"] for run in runs] == [0, 1] * 4
    assert len({tuple(run["cases"]) for run in runs}) == 1
    patients = found["cases"]["patients"]
    counted = {"kind": "validation", "num_cases": 3, "num_patients": 2}
    assert found["cases"] == {**counted, "patients": patients}
    assert list(patients) == list(runs[0]["cases"])
    assert len(set(patients.values())) == 2


def test_trainings_are_shared_and_each_is_a_model_that_predicts(grid, tmp_path):
    folder, found = grid
    models = {run["model"] for row in found["variants"] for run in row["runs"]}
    assert len(models) == 4
    assert not list(folder.rglob("validation"))  # which would be measured twice
    image = np.zeros((16, 16), np.uint8)
    geometry = ImageGeometry(shape=(16, 16), spacing_mm=(1.0, 1.0), has_spacing=False)
    write_label_map(tmp_path / "in" / "a_0000.png", image, geometry)
    for number, model in enumerate(sorted(models)):
        out = tmp_path / f"out{number}"
        api.predict(tmp_path / "in", out, model=folder / model, device="cpu", num_samples=2)
        assert (out / "a.png").is_file()


def test_scores_are_those_of_the_final_validation(place, grid, tmp_path):
    _, found = grid
    fold = api.train(
        1,
        0,
        workspace=write_workspace(tmp_path),
        settings=["sampling.num_steps=2", "diffusion.input_scale=0.3"],
        device="cpu",
        num_processes=0,
    )
    summary = read_json(fold / "validation" / "summary.json")
    expected = {
        entry["case"]: entry["distribution"]["disc"]["ged_fully_unbiased"]
        for entry in summary["metric_per_case"]
    }
    assert found["score"] == "ged_fully_unbiased"
    assert found["variants"][0]["runs"][0]["cases"] == pytest.approx(expected)


def test_differences_are_to_the_plans_own_variant(grid):
    _, found = grid
    own, other = found["variants"][2], found["variants"][0]
    assert found["compared_with"] == own["name"]
    assert own["is_own"]
    assert own["difference"]["mean"] == 0
    assert other["difference"]["mean"] == pytest.approx(
        other["score"]["mean"] - own["score"]["mean"]
    )


def test_the_floor_is_what_a_perfect_model_has_with_so_many_samples_and_raters(grid):
    _, found = grid
    row = found["variants"][0]
    assert row["num_samples"] == 4
    assert row["floor"] == pytest.approx(row["scores"]["D_yy"] * (1 / 4 + 1 / 2))


def test_the_table_has_a_row_per_variant_and_the_picture_is_there(grid):
    folder, found = grid
    with (folder / "ablation.csv").open(encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    assert [row["variant"] for row in rows] == [row["name"] for row in found["variants"]]
    assert [row["sampling.sampler"] for row in rows] == ["dpm_solver_2m", "ddim"] * 2
    assert math.isclose(float(rows[0]["score"]), found["variants"][0]["score"]["mean"])
    text = (folder / "ablation.md").read_text(encoding="utf-8")
    assert "| **input_scale=0.1, sampler=dpm_solver_2m** |" in text
    lines = [line.split(" | ") for line in text.splitlines() if line.startswith("| ")]
    assert [line[2] == "" for line in lines[1:]] == [False, False, True, False]
    assert read_json(folder / "ablation.json") == found
    assert (folder / "ablation.png").stat().st_size > 10_000


def test_a_finished_sweep_does_nothing_again(place, grid, trained):
    folder, found = grid
    assert ablate(place, folder, *GRID, seeds=(0, 1)) == found
    assert trained == []


def test_more_values_and_seeds_do_only_what_is_new(place, grid, trained, tmp_path):
    folder = shutil.copytree(grid[0], tmp_path / "sweep")
    found = ablate(place, folder, "diffusion.input_scale=0.3,0.2", seeds=(0,), has_own=False)
    assert trained == [(("diffusion.input_scale=0.2",), 0)]
    assert found["variants"][0]["runs"] == grid[1]["variants"][0]["runs"][:1]


@pytest.mark.parametrize("step", ["training", "prediction"])
def test_a_killed_sweep_goes_on_to_the_results_of_an_unbroken_one(
    place, grid, tmp_path, monkeypatch, step
):
    class KilledError(BaseException):
        pass

    def kill_later(function, left):
        def call(*arguments, **options):
            nonlocal left
            left -= 1
            if left < 0:
                raise KilledError
            return function(*arguments, **options)

        return call

    with monkeypatch.context() as patch:
        if step == "training":
            patch.setattr(ablation_api, "train", kill_later(ablation_api.train, 1))
        else:
            of_case = ablation_scores._scores_of_case
            patch.setattr(ablation_scores, "_scores_of_case", kill_later(of_case, 4))
        with pytest.raises(KilledError):
            ablate(place, tmp_path, *GRID, seeds=(0, 1))
    (tmp_path / ".unfinished-ablation.png").touch()
    assert without_times(ablate(place, tmp_path, *GRID, seeds=(0, 1))) == without_times(grid[1])
    assert not list(tmp_path.rglob(".unfinished*"))


def test_a_failed_variant_is_noted_and_the_others_go_on(place, tmp_path, monkeypatch, capsys):
    train = ablation_api.train

    def fail(*arguments, **options):
        if "diffusion.input_scale=0.3" in options["settings"]:
            raise RuntimeError("CUDA out of memory")
        return train(*arguments, **options)

    monkeypatch.setattr(ablation_api, "train", fail)
    words = ["1", "--workspace", str(place.raw.parent), "--output", str(tmp_path / "sweep")]
    words += ["--over", "diffusion.input_scale=0.3,0.1", "-np", "0", "-device", "cpu"]
    assert command.main([*words, "--num_steps", "2"]) == 2
    message = "ablation: input_scale=0.3, seed 0: RuntimeError: CUDA out of memory"
    assert message in capsys.readouterr().err
    found = read_json(tmp_path / "sweep" / "ablation.json")
    assert [len(row["runs"]) for row in found["variants"]] == [0, 1]
    assert found["variants"][0]["failures"] == {"0": "RuntimeError: CUDA out of memory"}
    assert found["variants"][0]["score"]["mean"] is None
    assert "Failed: input_scale=0.3, seed 0" in (tmp_path / "sweep" / "ablation.md").read_text()
    monkeypatch.undo()
    monkeypatch.setattr(Pictures, "update", lambda self: None)
    assert command.main([*words, "--num_steps", "2"]) == 0  # what failed is tried again


def test_the_failure_of_the_plans_own_variant_leaves_the_others_without_differences(
    place, tmp_path, monkeypatch
):
    def fail(*arguments, **options):
        raise DiffunetError("the loss is not finite")

    monkeypatch.setattr(ablation_api, "train", fail)
    with pytest.raises(DiffunetError, match="the loss is not finite"):
        ablate(place, tmp_path, "diffusion.input_scale=0.3")
    found = read_json(tmp_path / "ablation.json")
    assert all(row["difference"]["mean"] is None for row in found["variants"])
    assert not (tmp_path / "ablation.png").exists()


def test_a_picture_that_cannot_be_drawn_is_a_warning_since_the_tables_are_there(
    place, grid, tmp_path, monkeypatch, caplog
):
    def refuse(*_, **__):
        raise WriteError("the disk is full")

    folder = shutil.copytree(grid[0], tmp_path / "sweep")
    (folder / "ablation.md").unlink()
    monkeypatch.setattr("diffunet.ablation.results.plot_outcome", refuse)
    ablate(place, folder, *GRID, seeds=(0, 1))
    assert (folder / "ablation.md").is_file()
    assert "ablation.png is not drawn: WriteError: the disk is full" in caplog.text


def test_a_full_disk_stops_the_sweep_and_keeps_what_is_done(place, grid, tmp_path):
    folder = shutil.copytree(grid[0], tmp_path / "sweep")
    with full_disk(30_000), pytest.raises(DiffunetError, match="limit on the size of files"):
        ablate(place, folder, "diffusion.input_scale=0.1,0.2", seeds=(0,))
    assert ablate(place, folder, *GRID, seeds=(0, 1)) == grid[1]


def test_all_faults_are_told_before_anything_is_done(place, tmp_path, trained):
    with pytest.raises(PlansError) as fault:
        ablate(
            place,
            tmp_path / "new",
            "diffusion.input_scale=7,0.1",
            "sampling.sampler=x,dpm_solver_2m",
        )
    assert len(str(fault.value).splitlines()) == 2
    with pytest.raises(PlansError, match=r"batch_size=65536.*: .* of memory"):
        ablate(place, tmp_path / "new", "training.batch_size=4,65536", "network.channels=[96,96]")
    assert trained == []
    assert not (tmp_path / "new").exists()


def test_a_variant_that_no_prediction_takes_is_refused_before_it_is_trained(
    place, tmp_path, trained
):
    with pytest.raises(PlansError, match="trained without mirrored images"):
        ablate(place, tmp_path, "sampling.is_mirrored=true", "augmentation.mirror_axes=[],[0]")
    assert trained == []


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"settings": ["sampling.num_steps=3"]}, "sampling.num_steps was 2 and is 3"),
        (
            {"settings": ["sampling.num_steps=2", "training.num_iterations=3"]},
            "training.num_iterations was 2 and is 3",
        ),
        ({"method": "supervised"}, "plans.method was 'diffusion' and is 'supervised'"),
    ],
)
def test_a_folder_of_other_settings_is_refused_with_both_values(
    place, grid, trained, options, message
):
    with pytest.raises(UsageError, match="take another folder") as fault:
        ablate(place, grid[0], *GRID, **options)
    assert message in str(fault.value)
    assert trained == []


def test_data_that_have_changed_since_are_refused(grid, tmp_path):
    place = write_workspace(tmp_path)
    splits = place.preprocessed / NAME / "splits_final.json"
    (split,) = read_json(splits)
    split["train"] = split["train"][1:]
    write_json(splits, [split])
    with pytest.raises(UsageError, match="1 preprocessed cases are not what they were"):
        ablate(place, grid[0], *GRID)


@pytest.mark.parametrize("content", ['{"fold": "0', "[]"])
def test_a_damaged_record_of_a_sweep_is_told_with_a_way_out(place, tmp_path, content):
    (tmp_path / "sweep.json").write_text(content)
    with pytest.raises(UsageError, match=r"sweep\.json' .* take another folder \(--output\)"):
        ablate(place, tmp_path, *GRID)


def test_a_folder_of_something_else_is_refused(place, tmp_path):
    (tmp_path / "letter.txt").write_text("dear")
    with pytest.raises(UsageError, match=r"found letter\.txt"):
        ablate(place, tmp_path, *GRID)
    with pytest.raises(UsageError, match="only reads"):
        ablate(place, place.preprocessed / "sweep", *GRID)


def test_two_sweeps_in_one_folder(place, tmp_path):
    with hold(tmp_path) as holder:
        with pytest.raises(InUseError, match=f"in use by process {holder.pid} on "):
            ablate(place, tmp_path, *GRID)
        holder.communicate()


def test_with_one_rater_the_dice_of_the_consensus_decides(tmp_path):
    place = write_workspace(tmp_path / "workspace", num_raters=1)
    found = ablate(place, tmp_path / "sweep", "sampling.num_steps=2,3")
    assert found["score"] == "Dice"
    assert not found["is_lower_better"]
    assert found["trivial_answers"] == {}
    assert found["variants"][0]["score"]["mean"] == found["variants"][0]["scores"]["Dice"]


def test_masks_are_kept_where_they_are_asked_for(place, grid, tmp_path, trained):
    folder = shutil.copytree(grid[0], tmp_path / "sweep")
    assert not (folder / "predictions").exists()
    found = ablate(place, folder, *GRID, seeds=(0, 1), saves_samples=True)
    assert trained == []
    assert without_times(found) == without_times(grid[1])
    (first, *others) = sorted((folder / "predictions").iterdir())
    assert len(others) == 7
    assert len(list((first / "samples").glob("case_*_s0?.png"))) == 3 * 4
    assert (first / "predictions.json").is_file()


class TestHeldOut:
    @pytest.fixture
    def raw(self, place):
        folder = place.raw / NAME
        shutil.copytree(place.preprocessed / NAME, folder, ignore=lambda *_: ["2d"])
        yield folder
        shutil.rmtree(folder)

    def test_test_cases_are_not_opened_unless_asked_for(self, place, grid, raw, monkeypatch):
        for name in ("imagesTs", "labelsTs"):
            (raw / name).mkdir()
            (raw / name / "a_0000.png").write_text("no picture")
        assert ablate(place, grid[0], *GRID, seeds=(0, 1)) == grid[1]
        with pytest.raises(DatasetError, match="labelsTs"):
            ablate(place, grid[0], *GRID, cases="test")

    def test_test_cases_are_scored_with_a_warning_that_nothing_may_be_chosen(
        self, place, grid, raw, tmp_path, caplog, trained
    ):
        generator = np.random.default_rng(0)
        geometry = ImageGeometry(shape=(20, 16), spacing_mm=(1.0, 1.0), has_spacing=False)
        for case in ("a", "b"):
            image = generator.integers(0, 255, (20, 16)).astype(np.uint8)
            write_label_map(raw / "imagesTs" / f"{case}_0000.png", image, geometry)
            for rater in range(2):
                mask = (image > 200).astype(np.uint8) * (rater < 1)
                write_label_map(raw / "labelsTs" / f"{case}_r0{rater}.png", mask, geometry)
        folder = shutil.copytree(grid[0], tmp_path / "sweep")
        found = ablate(place, folder, *GRID, cases="test")
        assert trained == []
        assert sorted(found["variants"][0]["runs"][0]["cases"]) == ["a", "b"]
        assert "nothing may be chosen by what this sweep finds" in caplog.text
        assert "nothing may be chosen by this table" in (folder / "ablation.md").read_text()
        write_label_map(raw / "labelsTs" / "b_r01.png", np.ones((20, 16), np.uint8), geometry)
        again = ablate(place, folder, *GRID, cases="test")
        before, after = (each["variants"][0]["runs"][0]["cases"] for each in (found, again))
        assert (before["a"], before["b"] != after["b"]) == (after["a"], True)  # a mask has changed


def test_what_is_asked_is_either_fields_or_a_preset(place, tmp_path):
    for over, preset in (((), None), (GRID, "p1")):
        with pytest.raises(UsageError, match="expected either fields to vary"):
            ablate(place, tmp_path, *over, preset=preset)
    with pytest.raises(UsageError, match="about -m diffusion, got -m supervised"):
        ablate(place, tmp_path, preset="p1_steps", method="supervised")
    with pytest.raises(UsageError, match="each once"):
        ablate(place, tmp_path, *GRID, seeds=(1, 1))
    assert not list(tmp_path.iterdir())


def test_sweeps_of_a_preset_share_the_folder_and_its_trainings(
    place, tmp_path, monkeypatch, trained
):
    from diffunet.ablation import plan, presets

    few = {
        name: presets.SweepPreset(method="diffusion", axes=axes)
        for name, axes in (
            ("p1_schedule", (presets._axis("diffusion.schedule", "cosine", "linear"),)),
            ("p1_steps", (presets._axis("sampling.num_steps", 2, 3),)),
        )
    }
    monkeypatch.setattr(plan, "presets_named", lambda name: few)
    found = ablate(place, tmp_path, preset="p1")
    assert list(found) == ["p1_schedule", "p1_steps"]
    assert len(trained) == 2
    assert {path.name for path in tmp_path.glob("p1_*.png")} == {"p1_schedule.png", "p1_steps.png"}


def test_a_fold_without_validation_cases_is_refused(place, tmp_path):
    with pytest.raises(UsageError, match="found none in the fold 'all'"):
        api.ablate(1, "all", output=tmp_path, over=GRID, workspace=place, device="cpu")


def test_options_of_the_command_are_arguments_of_the_api_or_fields_of_the_plans():
    given = command.parser().parse_args(["1", "--output", "o"])
    given.settings = take_settings(given)
    assert set(vars(given)) | {"progress"} == set(inspect.signature(api.ablate).parameters)
