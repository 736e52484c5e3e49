import csv
import itertools
import json
import runpy
import shutil
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from diffunet import api
from diffunet.cli import plan_and_preprocess, predict, pseudo_label, train
from diffunet.data.raw.dataset import open_dataset
from diffunet.errors import DiffunetError, UsageError
from diffunet.plans import Plans
from tests.benchmarks.test_stoppable_commands import SAVES, stoppable
from tests.data.tiny_datasets import write_csv, write_json, write_png, write_volume

sys.path.insert(0, str(Path(__file__).parents[2] / "benchmarks"))

# benchmarks are scripts, no package: pyright does not find them
import full_size  # pyright: ignore[reportMissingImports]
import full_size_stages  # pyright: ignore[reportMissingImports]
import stoppable_commands  # pyright: ignore[reportMissingImports]
import weak_supervision  # pyright: ignore[reportMissingImports]

SIZE = 32
PARSERS = {
    "diffunet.cli.plan_and_preprocess": plan_and_preprocess.parser,
    "diffunet.cli.train": train.parser,
    "diffunet.cli.predict": predict.parser,
    "diffunet.cli.pseudo_label": pseudo_label.parser,
}
ORDER = [
    "prepare",
    *(f"train_{method}" for method in ("cdm", "classifier", "supervised")),
    *(f"predict_{method}" for method in (*full_size_stages.WEAK, "supervised")),
    *("pseudo_label", "prepare_student", "train_student", "predict_student"),
    *(f"predict_{method}_tags" for method in full_size_stages.WEAK),
    *("table", "table_tags"),
]


@pytest.fixture(scope="module")
def dataset(tmp_path_factory) -> Path:
    """Return a tagged dataset of five training patients and a test patient, all with masks."""
    folder = tmp_path_factory.mktemp("raw") / "Dataset003_Heads"
    tags: list[list[object]] = [["case", "lesion"]]
    patients: list[list[object]] = [["case", "patient"]]
    for patient, number in itertools.product(range(6), range(2)):
        part = "Ts" if patient == 5 else "Tr"
        case = f"p{patient}_{number}"
        image = np.random.default_rng(patient).integers(1, 90, (SIZE, SIZE)).astype(np.uint8)
        mask = np.zeros((SIZE, SIZE), np.uint8)
        mask[10:16, 10:16] = number
        write_png(folder / f"images{part}" / f"{case}_0000.png", image + 100 * mask)
        write_png(folder / f"labels{part}" / f"{case}.png", mask)
        tags.append([case, number])
        patients.append([case, patient])
    write_csv(folder / "image_labels.csv", tags)
    write_csv(folder / "patients.csv", patients)
    write_json(
        folder / "dataset.json",
        {
            "channel_names": {"0": "FLAIR"},
            "labels": {"background": 0, "lesion": 1},
            "image_labels": "image_labels.csv",
            "numTraining": 10,
            "file_ending": ".png",
        },
    )
    return folder


@pytest.fixture(scope="module")
def planned(dataset, tmp_path_factory) -> Path:
    """Return a workspace with the plans of the dataset."""
    workspace = tmp_path_factory.mktemp("planned")
    api.plan_and_preprocess(dataset, workspace=workspace, preprocesses=False, num_processes=0)
    return workspace


@pytest.fixture
def request_of(dataset, planned, tmp_path) -> Callable[..., full_size_stages.Request]:
    def make(**changes) -> full_size_stages.Request:
        if not (tmp_path / "preprocessed").exists():
            shutil.copytree(planned / "preprocessed", tmp_path / "preprocessed")
        request = full_size_stages.Request(
            dataset=dataset,
            workspace=tmp_path,
            iterations=None,
            student_iterations=None,
            spacing=None,
            batch_size=None,
            learning_rate=None,
            settings=(),
            device="auto",
            num_processes=0,
        )
        return replace(request, **changes)

    return make


class FakeCommands:
    """Makes the result of each stage; time is over in the stage `stops_in`."""

    def __init__(self, stages, *, stops_in: str | None = None):
        self.results = {stage.name: stage.result for stage in stages}
        self.stops_in = stops_in
        self.names: list[str] = []

    def __call__(self, name: str, command: list[str]) -> bool:
        self.names.append(name)
        self.results[name].parent.mkdir(parents=True, exist_ok=True)
        self.results[name].touch()
        return name != self.stops_in


def run(request, *, stops_in: str | None = None, minutes: float | None = None, last=None):
    """Return the exit code of a call, and the stages that it worked at."""
    stages = full_size.stages_until(full_size_stages.stages_of(request), last)
    commands = FakeCommands(stages, stops_in=stops_in)
    record = full_size.Record(request.workspace / "full_size.json", request.fixed)
    clock = stoppable_commands.Clock(minutes)
    return full_size.run_stages(stages, record, run=commands, clock=clock), commands.names


def options_of(request, name: str):
    """Return what the command's own parser reads in the command line of a stage."""
    stage = next(s for s in full_size_stages.stages_of(request) if s.name == name)
    python, _, module, *arguments = stage.command()
    assert python == sys.executable
    return PARSERS[module]().parse_args(arguments)


def test_stages_are_done_in_order(request_of):
    assert run(request_of()) == (0, ORDER)


def test_what_is_whole_is_not_done_again(request_of, capsys):
    assert run(request_of(), stops_in="predict_cdm") == (
        75,
        ORDER[: ORDER.index("predict_cdm") + 1],
    )
    assert run(request_of()) == (0, ORDER[ORDER.index("predict_cdm") :])
    capsys.readouterr()
    assert run(request_of()) == (0, [])
    assert "whole already: prepare, train_cdm" in capsys.readouterr().out


def test_a_stage_whose_result_is_gone_is_done_again(request_of):
    request = request_of()
    run(request)
    (request.workspace / "predictions" / "cdm" / "predictions.json").unlink()
    assert run(request) == (0, ["predict_cdm"])


def test_a_stage_without_its_result_is_an_error(request_of):
    request = request_of(dataset=Path("/nowhere/Dataset004_New"))
    stages = full_size_stages.stages_of(request)
    record = full_size.Record(request.workspace / "full_size.json", request.fixed)
    clock = stoppable_commands.Clock(None)
    with pytest.raises(DiffunetError, match=r"prepare: expected it to make '.*', found none"):
        full_size.run_stages(stages, record, run=lambda *_: True, clock=clock)


def test_no_stage_begins_without_time_to_stop_it(request_of):
    assert run(request_of(), minutes=0.4) == (75, [])


def test_stages_end_with_the_last_that_is_asked_for(request_of):
    assert run(request_of(), last="train_cdm") == (0, ["prepare", "train_cdm"])
    with pytest.raises(UsageError, match="--stages: expected one of prepare, .*; found 'train'"):
        run(request_of(), last="train")


@pytest.mark.parametrize(
    "change",
    [
        {"iterations": 7},
        {"student_iterations": 7},
        {"spacing": (4.0, 4.0)},
        {"batch_size": 7},
        {"learning_rate": 0.5},
        {"settings": ("training.weight_decay=0",)},
    ],
    ids=lambda change: next(iter(change)),
)
def test_changed_arguments_are_refused(request_of, change):
    run(request_of(), last="prepare")
    with pytest.raises(UsageError, match=r"begun with other arguments \((\w+): .*, now "):
        run(request_of(**change))


def test_another_place_device_or_number_of_processes_may_go_on(request_of, dataset, tmp_path):
    run(request_of(spacing=(4.0, 4.0)), last="prepare")
    elsewhere = tmp_path / "elsewhere" / dataset.name
    moved = request_of(spacing=(4.0, 4.0), dataset=elsewhere, device="cpu", num_processes=3)
    assert run(moved, last="train_cdm") == (0, ["train_cdm"])


def test_the_record_tells_seconds_calls_and_commands_by_stage(request_of):
    run(request_of(), stops_in="train_cdm")
    run(request_of(device="cpu"), last="train_cdm")
    content = json.loads((request_of().workspace / "full_size.json").read_text())
    found = content["stages"]["train_cdm"]
    assert (found["is_whole"], found["num_calls"], len(found["commands"])) == (True, 2, 2)
    assert "diffunet.cli.train" in found["commands"][0]
    assert found["seconds"] >= 0
    assert content["arguments"]["dataset"] == "Dataset003_Heads"


def test_all_trainings_have_the_same_iterations_batch_and_rate(request_of, planned):
    path = planned / "preprocessed" / "Dataset003_Heads" / "diffunet_plans.json"
    training = Plans.load(path).configuration("2d").training
    names = [name for name in ORDER if name.startswith("train_")]
    for request, expected in (
        (request_of(), (training.num_iterations, training.batch_size, training.learning_rate)),
        (request_of(iterations=9, batch_size=5, learning_rate=0.25), (9, 5, 0.25)),
    ):
        found = [options_of(request, name) for name in names]
        assert {(each.iterations, each.batch_size, each.lr) for each in found} == {expected}
        assert all(each.continues for each in found)
    student = options_of(request_of(iterations=9, student_iterations=3), "train_student")
    assert (student.dataset, student.method, student.iterations) == (
        "Dataset503_HeadsPseudo",
        "supervised",
        3,
    )


def test_supervised_networks_are_as_wide_as_the_planned_image_model(request_of):
    path = request_of().workspace / "preprocessed" / "Dataset003_Heads" / "diffunet_plans.json"
    content = json.loads(path.read_text())
    num_stages = len(content["configurations"]["2d"]["network"]["channels"])
    widths = [8 * (stage + 1) for stage in range(num_stages)]
    content["configurations"]["2d"]["weak"]["network"]["channels"] = widths
    path.write_text(json.dumps(content))
    for name in ("train_supervised", "train_student"):
        settings = options_of(request_of(), name).settings
        resolved = (
            Plans.load(path).resolve("2d", method="supervised", settings=settings).configuration
        )
        assert resolved.network.image_channels == tuple(widths)
        assert resolved.network.num_image_blocks == (1,) * num_stages
        assert resolved.sampling.is_mirrored
    assert options_of(request_of(), "train_cdm").settings == []


def test_settings_reach_every_training_that_has_the_field(request_of):
    request = request_of(settings=("training.weight_decay=0", "weak.clean_share=0.5"))
    for name in ("train_cdm", "train_classifier", "train_supervised"):
        assert options_of(request, name).settings[-2:] == list(request.settings)
    assert options_of(request, "train_student").settings[-1] == "training.weight_decay=0"


def test_every_command_is_one_that_its_parser_takes(request_of):
    request = request_of(spacing=(4.0, 4.0), device="cpu")
    for stage in full_size_stages.stages_of(request)[:-2]:
        given = options_of(request, stage.name)
        assert given.workspace == request.workspace
        assert getattr(given, "device", "cpu") == "cpu"
    assert options_of(request, "prepare").with_labels
    assert options_of(request, "prepare_student").target_spacing_mm == [4.0, 4.0]
    assert options_of(request, "pseudo_label").continues
    for method in full_size_stages.WEAK:
        decided, known = (
            options_of(request, f"predict_{method}{ending}") for ending in ("", "_tags")
        )
        assert decided.saliency == known.saliency == method
        assert (decided.image_labels, known.image_labels) == (None, request.test_tags)
        assert decided.continues
        assert decided.output != known.output


@pytest.mark.filterwarnings("ignore:.*found in sys.modules:RuntimeWarning")
@pytest.mark.parametrize("module", PARSERS)
def test_modules_of_commands_run_as_scripts(module, monkeypatch, capsys):
    monkeypatch.setattr(sys, "argv", [module, "-h"])
    with pytest.raises(SystemExit, match="0"):
        runpy.run_module(module, run_name="__main__")
    assert "--workspace" in capsys.readouterr().out


def test_tables_take_the_folders_that_were_predicted(request_of):
    *others, table, with_tags = full_size_stages.stages_of(request_of())
    made = {str(stage.result.parent) for stage in others if stage.name.startswith("predict_")}
    taken = set()
    for stage in (table, with_tags):
        script, *arguments = stage.command()[1:]
        assert Path(script).is_file()
        given = weak_supervision._parser().parse_args(arguments)
        methods = dict(text.split("=") for text in given.methods)
        assert list(methods) == [*full_size_stages.WEAK, "student", "supervised"]
        assert given.compare == "cg_cdm"
        taken |= set(methods.values())
    assert taken == made


def test_test_tags_are_those_of_the_dataset(dataset, tmp_path):
    opened = open_dataset(dataset)
    table = full_size_stages.check_dataset(opened, is_prepared=False)
    full_size_stages.write_test_tags(tmp_path / "tags.csv", opened, table)
    with (tmp_path / "tags.csv").open() as file:
        rows = list(csv.reader(file))
    assert rows == [["case", "slice", "lesion"], ["p5_0", "", "0"], ["p5_1", "", "1"]]


def test_test_tags_of_volumes_are_of_slices(tmp_path):
    folder = tmp_path / "Dataset004_Volumes"
    for part, case in (("Tr", "a"), ("Ts", "t")):
        write_volume(folder / f"images{part}" / f"{case}_0000.nii.gz", np.ones((2, 4, 4)))
        write_volume(folder / f"labels{part}" / f"{case}.nii.gz", np.ones((2, 4, 4), np.uint8))
    lines = [["case", "slice", "lesion"], *([case, z, z] for case in "at" for z in (0, 1))]
    write_csv(folder / "image_labels.csv", lines)
    content = {
        "channel_names": {"0": "T2"},
        "labels": {"background": 0, "lesion": 1},
        "image_labels": "image_labels.csv",
        "numTraining": 1,
        "file_ending": ".nii.gz",
    }
    write_json(folder / "dataset.json", content)
    opened = open_dataset(folder)
    table = full_size_stages.check_dataset(opened, is_prepared=False)
    full_size_stages.write_test_tags(tmp_path / "tags.csv", opened, table)
    assert (tmp_path / "tags.csv").read_text() == "case,slice,lesion\nt,0,0\nt,1,1\n"


def test_what_would_be_missing_hours_later_is_refused_at_once(dataset, tmp_path):
    folder = tmp_path / dataset.name
    shutil.copytree(dataset, folder)
    shutil.rmtree(folder / "labelsTr")
    (folder / "labelsTs" / "p5_1.png").unlink()
    lines = (folder / "image_labels.csv").read_text().splitlines()
    (folder / "image_labels.csv").write_text("\n".join(lines[:-2]) + "\n")
    message = (
        "line in the table of image-level labels of every case, found none of 2, such as 'p5_0'; "
        r"expected a mask in labelsTs of every case, found none of 1, such as 'p5_1'; "
        r"expected a mask in labelsTr \(for the supervised row\) of every case"
    )
    with pytest.raises(UsageError, match=message):
        full_size_stages.check_dataset(open_dataset(folder), is_prepared=False)


def test_masks_of_the_training_part_are_needed_until_it_is_prepared(dataset, tmp_path):
    folder = tmp_path / dataset.name
    shutil.copytree(dataset, folder)
    shutil.rmtree(folder / "labelsTr")
    opened = open_dataset(folder)
    with pytest.raises(UsageError, match="expected a mask in labelsTr"):
        full_size_stages.check_dataset(opened, is_prepared=False)
    assert full_size_stages.check_dataset(opened, is_prepared=True) is opened.image_labels


def test_out_of_time_in_a_command_gives_75_and_the_next_call_goes_on(request_of):
    request = request_of()
    stages = full_size_stages.stages_of(request)[:1]
    record = full_size.Record(request.workspace / "full_size.json", request.fixed)
    commands = stoppable(request.workspace, seconds=4.5, to_stop=4.0)
    saving = [replace(stage, command=lambda: SAVES) for stage in stages]
    clock = stoppable_commands.Clock(None)
    assert full_size.run_stages(saving, record, run=commands, clock=clock) == 75
    assert not record.is_whole(stages[0])
    assert run(request, last="prepare") == (0, ["prepare"])


def test_the_script_ends_with_a_message_where_a_folder_is_no_dataset(tmp_path):
    folder = tmp_path / "Heads"
    with pytest.raises(SystemExit, match="expected a folder DatasetXXX_NAME, found '.*Heads'"):
        full_size.main([str(folder), "--workspace", str(tmp_path)])
    with pytest.raises(SystemExit, match="2"):
        full_size.main([str(folder), "--workspace", str(tmp_path), "--minutes", "0.5"])
