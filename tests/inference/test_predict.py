import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from diffunet.api.predictor import Predictor
from diffunet.checkpoint import load_checkpoint, save_checkpoint
from diffunet.cli import predict as command
from diffunet.data.image_io import (
    ImageGeometry,
    read_image,
    read_label_map,
    read_map,
    write_label_map,
)
from diffunet.errors import DatasetError, UsageError
from diffunet.inference.model import TrainedModel, load_model
from diffunet.inference.options import FolderRun, PredictionOptions
from diffunet.inference.output import OutputFolder
from diffunet.inference.run import predict_path
from diffunet.jsonio import read_json
from diffunet.parts import Part
from tests.inference.driving import CPU, predict_into, predict_one
from tests.inference.models import dataset_content, small_configuration, small_plans, write_model
from tests.inference.ram import FULL_SIZE

EVERYTHING = {"saves_probabilities": True, "saves_samples": True}
TWO_LABELS = {"background": 0, "anterior": 1, "left lobe": 2}


def write_images(folder: Path, num_cases: int) -> Path:
    generator = np.random.default_rng(0)
    for case in range(num_cases):
        image = generator.integers(0, 255, (20, 18)).astype(np.uint8)
        geometry = ImageGeometry(shape=(20, 18), spacing_mm=(1.0, 1.0), has_spacing=False)
        write_label_map(folder / f"case{case}_0000.png", image, geometry)
    return folder


def change_mask(path: Path) -> bytes:
    """Change a mask as a user might who corrects it, and return the file's new content."""
    mask, geometry = read_label_map(path)
    mask[:5, :7] ^= 1
    write_label_map(path, mask, geometry)
    return path.read_bytes()


DURATION = re.compile(rb'"seconds": [0-9.e-]+')


def run(model: Path, images: Path, output: Path, **arguments: Any) -> Path:
    return predict_into(loaded(model), images, output, **{**EVERYTHING, **arguments})


def loaded(model: Path) -> TrainedModel:
    return load_model(model, folds=None, checkpoint="final", device=torch.device("cpu"))


def contents(folder: Path) -> dict[str, bytes]:
    """Return every file below `folder`, durations left out."""
    return {
        str(path.relative_to(folder)): DURATION.sub(b"", path.read_bytes())
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }


@pytest.fixture
def model(tmp_path):
    plans = small_plans(small_configuration())
    return write_model(tmp_path / "model", plans, content=dataset_content())


@pytest.fixture
def images(tmp_path):
    return write_images(tmp_path / "images", 4)


def test_every_file_of_a_case_is_there_and_says_the_same(model, images, tmp_path):
    start = time.perf_counter()
    path = run(model, images, tmp_path / "out")
    assert path == tmp_path / "out" / "predictions.json"
    samples = np.stack(
        [read_label_map(tmp_path / "out" / "samples" / f"case1_s0{k}.png")[0] for k in range(3)]
    )
    mask, _ = read_label_map(tmp_path / "out" / "case1.png")
    probability, _ = read_map(tmp_path / "out" / "case1_probability.png")
    uncertainty, _ = read_map(tmp_path / "out" / "case1_uncertainty.png")
    assert np.array_equal(mask, samples.mean(axis=0) > 0.5)
    assert np.allclose(probability, samples.mean(axis=0), atol=1e-4)
    assert np.array_equal(uncertainty > 0, (probability > 0) & (probability < 1))
    record = read_json(path)["cases"]["case1"]
    assert record["volumes"]["nodule"]["samples"] == samples.sum(axis=(1, 2)).tolist()
    assert record["volumes"]["nodule"]["unit"] == "pixels"  # a PNG has no spacing
    counts = samples.sum(axis=0)
    alike, marked = np.sum(counts * (counts - 1)), np.sum(counts * (5 - counts))
    assert all(sample.any() for sample in samples)
    assert record["disagreement"]["nodule"] == pytest.approx(1 - alike / marked)
    assert record["shape"] == [20, 18]
    assert 0 < record["seconds"] < time.perf_counter() - start


def test_the_output_folder_suffices_to_evaluate(model, images, tmp_path):
    run(model, images, tmp_path / "out")
    assert read_json(tmp_path / "out" / "dataset.json") == dataset_content()
    assert (tmp_path / "out" / "plans.resolved.json").read_bytes() == (
        model / "fold_0" / "plans.resolved.json"
    ).read_bytes()


def test_the_settings_of_a_run_are_written(model, images, tmp_path):
    path = run(model, images, tmp_path / "out", seed=5, num_steps=3)
    settings = read_json(path)["settings"]
    assert settings["seed"] == 5
    assert settings["folds"] == ["0"]
    assert settings["checkpoint"] == "final"
    assert settings["sampling"]["num_steps"] == 3
    assert settings["precision"] == "float32"
    assert settings["versions"].keys() == {"diffunet", "torch", "numpy"}


def test_the_command_takes_a_precision_and_writes_it_down(model, images, tmp_path):
    arguments = ["-i", str(images), "-o", str(tmp_path / "out"), "--model", str(model)]
    options = ["-device", "cpu", "--precision", "bfloat16", "--num_steps", "1"]
    assert command.main([*arguments, *options]) == 0
    settings = read_json(tmp_path / "out" / "predictions.json")["settings"]
    assert settings["precision"] == "bfloat16"


def test_samples_and_probabilities_are_only_written_when_asked_for(model, images, tmp_path):
    run(model, images, tmp_path / "out", saves_probabilities=False, saves_samples=False)
    assert not (tmp_path / "out" / "samples").exists()
    assert not list((tmp_path / "out").glob("*probability*"))
    assert (tmp_path / "out" / "case0_uncertainty.png").is_file()


def test_a_case_is_predicted_as_its_array_is(model, images, tmp_path):
    run(model, images, tmp_path / "out")
    image, geometry = read_image([images / "case2_0000.png"])
    prediction = Predictor.from_folder(model).predict(image, geometry.spacing_mm, case="case2")
    mask, _ = read_label_map(tmp_path / "out" / "case2.png")
    assert np.array_equal(mask, prediction.mask)


def test_the_seconds_of_a_case_are_of_its_samples_not_of_their_files(
    model, images, tmp_path, monkeypatch
):
    def write_slowly(*arguments: Any, **settings: Any) -> None:
        time.sleep(0.5)

    monkeypatch.setattr(OutputFolder, "write_sample", write_slowly)
    path = run(model, images, tmp_path / "out")
    records = read_json(path)["cases"].values()
    assert min(record["seconds"] for record in records) < 3 * 0.5


def test_parts_together_equal_one_run(model, images, tmp_path):
    run(model, images, tmp_path / "whole")
    for part in (2, 0, 1):
        run(model, images, tmp_path / "parts", num_parts=3, part_id=part)
    assert contents(tmp_path / "parts") == contents(tmp_path / "whole")


def test_a_continued_run_leaves_whole_cases_alone(model, images, tmp_path):
    run(model, images, tmp_path / "out")
    before = contents(tmp_path / "out")
    (tmp_path / "out" / "records" / "case2.json").unlink()
    (tmp_path / "out" / "case2.png").unlink()
    touched = change_mask(tmp_path / "out" / "case1.png")
    steps: list[int] = []

    def progress(items: Iterable[Any], total: int, description: str) -> Iterator[Any]:
        steps.append(total)
        return iter(items)

    run(model, images, tmp_path / "out", continues=True, progress=progress)
    assert steps == [3 * 2]
    after = contents(tmp_path / "out")
    assert after.pop("case1.png") == touched
    before.pop("case1.png")
    assert after == before


def test_without_continuation_all_cases_are_predicted_anew(model, images, tmp_path):
    run(model, images, tmp_path / "out")
    (tmp_path / "out" / "case1.png").write_bytes(b"touched")
    run(model, images, tmp_path / "out", num_samples=2)
    assert (tmp_path / "out" / "case1.png").read_bytes() != b"touched"
    assert not (tmp_path / "out" / "samples" / "case1_s02.png").exists()
    assert len(read_json(tmp_path / "out" / "predictions.json")["cases"]) == 4


def test_continuing_with_other_settings_is_refused(model, images, tmp_path):
    run(model, images, tmp_path / "out")
    with pytest.raises(UsageError, match=r"predicted with other settings \(seed: 0, now 1\)"):
        run(model, images, tmp_path / "out", seed=1, continues=True)


def test_continuing_with_other_weights_is_refused(model, images, tmp_path):
    run(model, images, tmp_path / "out")
    path = next(model.glob("fold_*")) / "checkpoint_final.pth"
    content = load_checkpoint(path, "cpu")
    next(iter(content["weights"].values())).view(-1)[0] += 1e-3
    save_checkpoint(path, content)
    with pytest.raises(UsageError, match=r"predicted with other settings \(weights: .*, now "):
        run(model, images, tmp_path / "out", continues=True)


def test_cases_of_other_settings_are_left_out_of_the_summary_aloud(model, images, tmp_path, caplog):
    run(model, images, tmp_path / "out")
    path = run(model, images / "case3_0000.png", tmp_path / "out", seed=1)
    assert read_json(path)["cases"].keys() == {"case3"}
    assert "3 cases were predicted with other settings" in caplog.text


def test_a_broken_case_is_reported_after_the_others_are_done(model, images, tmp_path):
    (images / "case1_0000.png").write_bytes(b"broken")
    write_label_map(
        images / "case2_0000.png",
        np.zeros((1, 1), np.uint8),
        ImageGeometry(shape=(1, 1), spacing_mm=(1.0, 1.0), has_spacing=False),
    )
    with pytest.raises(DatasetError, match="case1_0000.png"):
        run(model, images, tmp_path / "out")
    done = read_json(tmp_path / "out" / "predictions.json")["cases"]
    assert {"case0", "case3"} <= done.keys()
    assert "case1" not in done


def test_a_run_says_what_it_predicts_with_what_and_how_much_it_wrote(
    model, images, tmp_path, caplog
):
    caplog.set_level("INFO")
    run(model, images, tmp_path / "out")
    (images / "case1_0000.png").write_bytes(b"broken")
    (images / "case2_0000.png").write_bytes((images / "case3_0000.png").read_bytes())
    with pytest.raises(DatasetError):
        run(model, images, tmp_path / "out", continues=True)
    said = [each for each in caplog.messages if each.startswith(("predicting", "wrote"))]
    how = (
        "with diffusion diffunet_plans small, fold 0 (final weights, seed 0): 3 samples each, 2 "
        "steps of dpm_solver_2m"
    )
    what = "masks, maps, samples and predictions.json"
    assert said == [
        f"predicting 4 of 4 cases {how}",
        f"wrote 4 of 4 cases to '{tmp_path / 'out'}': {what}, {how}",
        f"predicting 2 of 4 cases {how}",
        f"wrote 1 of 2 cases to '{tmp_path / 'out'}': {what}, {how}",
    ]


def test_the_output_may_not_lie_in_the_input(model, images, tmp_path):
    for output in (images, images / "out"):
        with pytest.raises(UsageError, match="lies in the input folder"):
            run(model, images, output)


@pytest.mark.parametrize("part_id", [-1, 2])
def test_a_part_that_does_not_exist_is_refused(model, images, tmp_path, part_id):
    with pytest.raises(UsageError, match="part_id should be from 0 to 1"):
        run(model, images, tmp_path / "out", num_parts=2, part_id=part_id)


def test_progress_counts_every_step_of_every_sample(model, images, tmp_path):
    seen: list[Any] = []
    ended: list[int] = []

    def progress(items: Iterable[Any], total: int, description: str) -> Iterator[Any]:
        for item in items:
            seen.append(item)
            yield item
        ended.append(total)

    run(model, images, tmp_path / "out", progress=progress)
    assert len(seen) == 4 * 3 * 2
    assert ended == [4 * 3 * 2]


def test_one_file_to_one_file(model, images, tmp_path):
    run(model, images, tmp_path / "out")
    predict_one(loaded(model), images / "case1_0000.png", tmp_path / "one.png")
    assert (tmp_path / "one.png").read_bytes() == (tmp_path / "out" / "case1.png").read_bytes()


def test_one_file_is_not_written_over_itself(model, images):
    image = images / "case1_0000.png"
    with pytest.raises(UsageError, match="is the input"):
        predict_one(loaded(model), image, image)


@pytest.mark.parametrize("option", ["saves_samples", "saves_probabilities"])
def test_one_file_takes_the_consensus_alone(model, images, tmp_path, option):
    with pytest.raises(UsageError, match="takes the consensus alone"):
        predict_one(
            loaded(model), images / "case1_0000.png", tmp_path / "one.png", **{option: True}
        )


def test_volumes_keep_their_geometry_and_each_label_has_a_probability(tmp_path):
    import SimpleITK as sitk  # noqa: N813 (its own short name)

    configuration = small_configuration(3, spacing_mm=(2.0, 1.0, 1.0), patch=8)
    content = dataset_content(file_ending=".nii.gz", labels=TWO_LABELS)
    plans = small_plans(configuration, transpose_forward=(0, 1, 2))
    model = write_model(tmp_path / "model", plans, content=content)
    image = sitk.GetImageFromArray(
        np.random.default_rng(0).normal(size=(7, 12, 11)).astype(np.float32)
    )
    image.SetSpacing((0.8, 0.9, 3.0))
    image.SetOrigin((5.0, -3.0, 2.0))
    image.SetDirection((0, 1, 0, 1, 0, 0, 0, 0, -1))
    (tmp_path / "images").mkdir()
    sitk.WriteImage(image, tmp_path / "images" / "scan_0000.nii.gz")
    path = run(model, tmp_path / "images", tmp_path / "out")
    names = [
        "scan.nii.gz",
        "scan_uncertainty.nii.gz",
        "scan_probability_anterior.nii.gz",
        "scan_probability_left-lobe.nii.gz",
        "samples/scan_s02.nii.gz",
    ]
    for name in names:
        written = sitk.ReadImage(tmp_path / "out" / name)
        assert written.GetSize() == (11, 12, 7)
        for ask in ("GetSpacing", "GetOrigin", "GetDirection"):
            assert np.allclose(getattr(written, ask)(), getattr(image, ask)(), atol=1e-5)
    sample = sitk.GetArrayFromImage(sitk.ReadImage(tmp_path / "out" / names[-1]))
    volumes = read_json(path)["cases"]["scan"]["volumes"]
    assert volumes["left lobe"]["unit"] == "mm^3"
    assert volumes["left lobe"]["samples"][2] == pytest.approx(
        (sample == 2).sum() * 0.8 * 0.9 * 3.0, rel=1e-5
    )


@pytest.mark.parametrize("labels", [("肝", "脾"), ("+", "-"), ("Node", "node")])
def test_every_label_has_a_file_of_its_own(tmp_path, labels):
    content = dataset_content(labels={"background": 0, labels[0]: 1, labels[1]: 2})
    model = write_model(tmp_path / "model", small_plans(small_configuration()), content=content)
    run(model, write_images(tmp_path / "images", 1), tmp_path / "out")
    names = [path.name for path in (tmp_path / "out").glob("case0_probability*")]
    assert len({name.casefold() for name in names}) == 2


def test_a_supervised_model_writes_the_same_files(images, tmp_path):
    plans = small_plans(small_configuration(), method="supervised")
    model = write_model(tmp_path / "model", plans, content=dataset_content())
    run(model, images, tmp_path / "out")
    mask, _ = read_label_map(tmp_path / "out" / "case0.png")
    sample, _ = read_label_map(tmp_path / "out" / "samples" / "case0_s00.png")
    probability, _ = read_map(tmp_path / "out" / "case0_probability.png")
    assert np.array_equal(mask, sample)
    assert np.array_equal(mask, probability > 0.5)


_KILLED = """
import sys
from pathlib import Path
from tests.inference.test_predict import run

run(*map(Path, sys.argv[1:4]), num_steps=20, continues=True)
"""


@pytest.mark.slow
def test_a_run_that_is_killed_again_and_again_ends_as_an_unbroken_one(model, tmp_path):
    images = write_images(tmp_path / "images", 12)
    run(model, images, tmp_path / "whole", num_steps=20)
    root = Path(__file__).parents[2]
    command = [sys.executable, "-c", _KILLED, str(model), str(images), str(tmp_path / "out")]
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(root)}
    generator = np.random.default_rng(0)
    records = tmp_path / "out" / "records"
    for num_whole in (1, 3, 6, 8):
        process = subprocess.Popen(command, cwd=root, env=environment)
        while process.poll() is None and len(list(records.glob("*.json"))) < num_whole:
            time.sleep(0.001)
        time.sleep(generator.uniform(0, 0.1))
        process.kill()
        process.wait()
        assert process.returncode == -signal.SIGKILL, "it ended before it was killed"
        assert not (tmp_path / "out" / "predictions.json").exists()
    subprocess.run(command, cwd=root, env=environment, check=True)
    assert contents(tmp_path / "out") == contents(tmp_path / "whole")
    assert len(read_json(tmp_path / "out" / "predictions.json")["cases"]) == 12


@pytest.mark.slow
def test_memory_does_not_grow_with_the_samples_of_a_volume():
    """At most 8 GB for 512 x 512 x 400 voxels and 16 samples, scaled to a smaller volume.

    The tiles, the libraries and the interpreter do not shrink with it: they may have 0.1 GB.
    """
    shape = (128, 192, 192)
    command = [sys.executable, "-m", "tests.inference.ram", *map(str, shape)]
    finished = subprocess.run(
        command,
        cwd=Path(__file__).parents[2],
        # what is freed goes back at once, as that of a full-size volume does
        env={**os.environ, "OMP_NUM_THREADS": "1", "MALLOC_MMAP_THRESHOLD_": str(2**22)},
        capture_output=True,
        text=True,
        check=True,
    )
    before, peak = map(int, finished.stdout.split())
    assert peak - before < 8e9 * np.prod(shape) / FULL_SIZE + 0.1e9


def test_a_long_prediction_says_how_long_it_takes_and_what_fewer_samples_would(
    model, tmp_path, monkeypatch, caplog
):
    caplog.set_level("INFO")
    images = write_images(tmp_path / "images", 2)
    run(model, images, tmp_path / "short")
    assert "time: " not in caplog.text
    for name in ("_SECONDS_UNTIL_SPEED", "_LONG_SECONDS"):
        monkeypatch.setattr(f"diffunet.inference.ticking.{name}", 0.0)
    run(model, images, tmp_path / "long")
    assert caplog.text.count("time: the prediction takes about ") == 1
    assert "and half of either (--num_samples, --num_steps) takes half the time" in caplog.text


@pytest.mark.parametrize(("place", "is_told"), (("imagesTr", True), ("imagesTs", False)))
def test_images_of_the_training_are_told(place, is_told, model, tmp_path, caplog):
    (checkpoint,) = model.glob("fold_*/checkpoint_final.pth")
    content = load_checkpoint(checkpoint, "cpu")
    save_checkpoint(checkpoint, {**content, "data": {"case1": "0" * 16, "other": "1" * 16}})
    images = write_images(tmp_path / place, 2)
    predict_path(
        loaded(model),
        input=images,
        output=tmp_path / "out",
        compute=CPU,
        options=PredictionOptions(num_samples=1, num_steps=1),
        run=FolderRun(continues=False, part=Part(num_parts=1, part_id=0)),
    )
    told = [text for text in caplog.messages if "trained or validated with" in text]
    assert len(told) == is_told
    assert all(text.startswith("1 of 2 cases, such as 'case1'") for text in told)
