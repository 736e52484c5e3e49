"""Where predictions go: nothing is replaced that they did not write, and nothing is mixed."""

import json
import os
import shutil
import time
from pathlib import Path

import numpy as np
import pytest

from diffunet import api
from diffunet.data.image_io import ImageGeometry, write_label_map
from diffunet.data.prediction_records import read_record
from diffunet.data.raw.case_files import CaseFiles
from diffunet.errors import InUseError, UsageError
from diffunet.inference.model import load_model
from diffunet.inference.output import OutputFolder
from diffunet.inference.place import check_output_file, check_output_folder, is_output_file
from diffunet.jsonio import read_json, write_json
from tests.inference.models import dataset_content, small_configuration, small_plans, write_model
from tests.inference.test_predict import contents, run, write_images
from tests.test_locks import hold


@pytest.fixture(scope="module")
def model(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("model") / "model"
    return write_model(folder, small_plans(small_configuration()), content=dataset_content())


@pytest.fixture
def images(tmp_path) -> Path:
    return write_images(tmp_path / "raw" / "imagesTs", 2)


def predict(model: Path, images: Path, output: Path, **options) -> None:
    api.predict(images, output, model=model, num_samples=1, num_steps=1, device="cpu", **options)


def dataset_like(folder: Path) -> Path:
    """Make what a user has: a raw dataset whose masks nobody else has."""
    write_json(folder / "dataset.json", {"mine": True})
    for name in ("labelsTs", "labelsTr"):
        write_images(folder / name, 2)
    return folder


@pytest.mark.parametrize("place", [".", "labelsTs", "labelsTr", "imagesTs", "../raw"])
def test_a_raw_dataset_is_no_place_for_predictions(model, images, tmp_path, place):
    raw = dataset_like(tmp_path / "raw")
    before = contents(raw)
    with pytest.raises(UsageError, match="the output folder"):
        predict(model, images, raw / place)
    assert contents(raw) == before


@pytest.mark.parametrize("held", ["mask.png", ""])
def test_of_two_that_predict_into_one_file_the_second_is_told(model, images, tmp_path, held):
    """Written by both, the mask of one would replace that of the other."""
    image = next(path for path in sorted(images.iterdir()) if path.is_file())
    with hold(tmp_path / "out", held) as holder:
        predict(model, image, tmp_path / "another" / "mask.png")
        with pytest.raises(InUseError, match=f"in use by process {holder.pid} on "):
            predict(model, image, tmp_path / "out" / "mask.png")
        if held:
            predict(model, image, tmp_path / "out" / "beside.png")
        holder.communicate()
    assert not (tmp_path / "out" / "mask.png").exists()


@pytest.mark.parametrize("place", ["model", "model/fold_0", "other"])
def test_folders_of_something_else_are_left_alone(model, images, tmp_path, place):
    shutil.copytree(model, tmp_path / "model")
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "notes.txt").write_text("mine")
    before = contents(tmp_path)
    with pytest.raises(UsageError, match="holds files that diffunet_predict did not write"):
        predict(model, images, tmp_path / place)
    assert contents(tmp_path) == before


def test_an_empty_folder_and_one_of_predictions_are_taken(model, images, tmp_path):
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / ".DS_Store").touch()
    predict(model, images, tmp_path / "out")
    (tmp_path / "out" / "summary.json").write_text("{}")
    predict(model, images, tmp_path / "out")
    assert (tmp_path / "out" / "case0.png").is_file()


def test_a_run_that_was_killed_at_its_first_file_can_be_run_again(model, images, tmp_path):
    predict(model, images, tmp_path / "out")
    (tmp_path / "killed").mkdir()
    shutil.copy(tmp_path / "out" / "plans.resolved.json", tmp_path / "killed")
    predict(model, images, tmp_path / "killed")
    assert (tmp_path / "killed" / "case0.png").is_file()


@pytest.mark.parametrize(
    ("output", "is_file"),
    [
        ("mask.png", True),
        ("MASK.PNG", True),
        ("out", False),
        ("run.2", False),
        ("there.png", False),
    ],
)
def test_a_name_that_ends_as_files_do_is_a_file(tmp_path, output, is_file):
    (tmp_path / "there.png").mkdir()
    (tmp_path / "a.png").touch()
    assert is_output_file(tmp_path / "a.png", tmp_path / output, file_ending=".png") == is_file


@pytest.mark.parametrize("name", ["b.nii.gz", "b.jpg", "b.json", "b.nii", "b.gz", "b.TIF", "b.dcm"])
def test_a_file_of_another_kind_is_refused_by_its_ending(tmp_path, name):
    (tmp_path / "a.png").touch()
    ending = name[1:].lower()
    with pytest.raises(UsageError, match=f"ends in '{ending}', but the model writes '.png'"):
        is_output_file(tmp_path / "a.png", tmp_path / name, file_ending=".png")
    with pytest.raises(UsageError, match="is the name of a file .* is a folder"):
        is_output_file(tmp_path, tmp_path / name, file_ending=".png")


def test_a_single_mask_replaces_nothing(tmp_path, monkeypatch):
    image = tmp_path / "a_0000.png"
    image.write_text("image")
    (tmp_path / "link.png").symlink_to(image)
    (tmp_path / "dangling.png").symlink_to(tmp_path / "nothing")
    (tmp_path / "mask.png").write_text("drawn by hand")
    monkeypatch.chdir(tmp_path)
    for files in (image, tmp_path / "link.png"):
        for output in (image, Path("a_0000.png"), tmp_path / "x" / ".." / "a_0000.png"):
            with pytest.raises(UsageError, match="is the input"):
                check_output_file(CaseFiles(case="a", images=(files,)), output)
    for output in ("mask.png", "dangling.png"):
        with pytest.raises(UsageError, match="is there already; move or remove it"):
            check_output_file(CaseFiles(case="a", images=(image,)), Path(output))
    check_output_file(CaseFiles(case="a", images=(image,)), Path("new.png"))


def test_the_output_is_not_among_the_images_by_any_name(tmp_path):
    store, named = tmp_path / "store", tmp_path / "named"
    store.mkdir()
    named.mkdir()
    cases = []
    for name in ("a", "b"):
        (store / f"{name}.png").touch()
        (named / f"{name}.png").symlink_to(store / f"{name}.png")
        cases.append(CaseFiles(case=name, images=(named / f"{name}.png",)))
    (tmp_path / "link").symlink_to(named)
    for output in (named, named / "out", store, tmp_path / "link" / "out", tmp_path / "link"):
        with pytest.raises(UsageError, match="lies in the input folder"):
            check_output_folder(cases, output)
    check_output_folder(cases, tmp_path / "out")
    check_output_folder(cases[:1], named / "out")


@pytest.mark.parametrize(
    ("names", "message"),
    [
        (("a", "a_uncertainty"), "'a_uncertainty.png' of the case 'a_uncertainty' and of the case"),
        (("a", "a_saliency"), "'a_saliency.png'"),
        (("a", "a_probability"), "'a_probability.png'"),
    ],
)
def test_cases_whose_files_would_be_one_are_refused(model, tmp_path, names, message):
    write_images(tmp_path / "images", 2)
    for number, name in enumerate(names):
        image = tmp_path / f"images/case{number}_0000.png"
        image.rename(image.with_name(f"{name}_0000.png"))
    with pytest.raises(UsageError, match=message):
        predict(model, tmp_path / "images", tmp_path / "out")


def test_an_image_that_was_replaced_is_predicted_again(model, images, tmp_path, caplog):
    caplog.set_level("INFO")
    predict(model, images, tmp_path / "out")
    before = contents(tmp_path / "out")
    path, times = images / "case0_0000.png", (images / "case0_0000.png").stat()
    write_label_map(
        path,
        np.full((20, 18), 7, np.uint8),
        ImageGeometry(shape=(20, 18), spacing_mm=(1.0, 1.0), has_spacing=False),
    )
    os.utime(path, ns=(times.st_atime_ns, times.st_mtime_ns))
    predict(model, images, tmp_path / "out", continues=True)
    after = contents(tmp_path / "out")
    assert "made anew" in caplog.text
    assert "'case0'" in caplog.text
    assert after["records/case0.json"] != before["records/case0.json"]
    assert after["records/case1.json"] == before["records/case1.json"]


def test_an_image_that_was_copied_again_is_not(model, images, tmp_path):
    predict(model, images, tmp_path / "out")
    before = (tmp_path / "out/records/case0.json").stat().st_mtime_ns
    os.utime(images / "case0_0000.png")
    predict(model, images, tmp_path / "out", continues=True)
    assert (tmp_path / "out/records/case0.json").stat().st_mtime_ns == before


@pytest.mark.parametrize("name", ["case0.png", "samples/case0_s00.png", "case0_uncertainty.png"])
@pytest.mark.parametrize("damage", ["cut", "gone", "empty"])
def test_a_case_whose_files_are_cut_or_gone_is_not_whole(model, images, tmp_path, name, damage):
    predict(model, images, tmp_path / "out", saves_samples=True)
    before, path = contents(tmp_path / "out"), tmp_path / "out" / name
    content = path.read_bytes()
    if damage == "gone":
        path.unlink()
    else:
        path.write_bytes(content[: len(content) // 2] if damage == "cut" else b"")
    predict(model, images, tmp_path / "out", saves_samples=True, continues=True)
    assert path.read_bytes() == before[name]


def test_a_record_that_is_cut_or_tells_of_no_input_counts_as_none(model, images, tmp_path):
    predict(model, images, tmp_path / "out")
    whole = contents(tmp_path / "out")
    for damage in ("cut", "old"):
        path = tmp_path / "out/records/case0.json"
        record = read_json(path)
        if damage == "cut":
            path.write_bytes(path.read_bytes()[:20])
        else:
            write_json(path, {key: record[key] for key in record if key not in ("input", "files")})
        predict(model, images, tmp_path / "out", continues=True)
        record = read_record(tmp_path / "out", "case0")
        assert record is not None
        assert record.input is not None
        assert contents(tmp_path / "out")["case0.png"] == whole["case0.png"]


def test_a_run_stops_where_one_of_other_settings_has_begun(model, images, tmp_path):
    """Otherwise the samples of one case would be of two runs."""
    run(model, images, tmp_path / "out")
    trained = load_model(model, folds=None, checkpoint="final", device="cpu")
    older = OutputFolder(tmp_path / "out", model=trained, settings={"seed": 7})
    older.begin(is_alone=False)
    files = CaseFiles(case="case0", images=(images / "case0_0000.png",))
    older.begin_case(files)
    run(model, images, tmp_path / "out", seed=1)
    with pytest.raises(UsageError, match="another prediction has begun to write there.*seed"):
        older.begin_case(files)
    geometry = ImageGeometry(shape=(20, 18), spacing_mm=(1.0, 1.0), has_spacing=False)
    with pytest.raises(UsageError, match="another prediction has begun to write there"):
        older.write_record("case0", {}, geometry)


def test_predictions_json_tells_neither_settings_nor_files_of_each_case(model, images, tmp_path):
    run(model, images, tmp_path / "out")
    about = read_json(tmp_path / "out" / "predictions.json")["cases"]["case0"]
    assert about.keys() == {"shape", "spacing_mm", "seconds", "volumes", "disagreement"}


def fake_predictions(folder: Path, num_cases: int, num_samples: int) -> None:
    for name in ("records", "samples"):
        (folder / name).mkdir(parents=True)
    for case in range(num_cases):
        record = {"settings": {}, "input": [], "files": {}}
        (folder / "records" / f"case{case}.json").write_text(json.dumps(record))
        for sample in range(num_samples):
            (folder / "samples" / f"case{case}_s{sample:02d}.png").touch()


def test_beginning_anew_takes_time_in_proportion_to_the_cases(model, tmp_path):
    """It was quadratic: .8 s for 250 cases, 32 s for 2,000."""
    trained = load_model(model, folds=None, checkpoint="final", device="cpu")
    seconds = []
    for num_cases in (100, 400):
        folder = tmp_path / str(num_cases)
        fake_predictions(folder, num_cases, 20)
        output = OutputFolder(folder, model=trained, settings={})
        start = time.process_time()
        output.clear([f"case{case}" for case in range(num_cases)])
        seconds.append(time.process_time() - start)
        assert not list((folder / "samples").iterdir())
    assert seconds[1] < 10 * seconds[0], seconds
