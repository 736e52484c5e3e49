import json
import logging
import os
import random
import shutil
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from diffunet.data.image_io import read_image, read_label_map, write_label_map
from diffunet.data.raw.dataset import open_dataset
from diffunet.data.raw.dataset_state import DatasetState
from diffunet.data.store.case_store import MANIFEST, CaseStore
from diffunet.errors import DatasetError, PlansError, WorkspaceError
from diffunet.parts import Part
from diffunet.preprocessing import jobs, run
from diffunet.preprocessing.recipe import check_recipe
from diffunet.preprocessing.run import preprocess_dataset
from tests.preprocessing.raw_datasets import (
    configuration,
    no_progress,
    plans,
    write_pictures,
    write_volumes,
)

PICTURE_PLANS = plans({"2d": configuration()})
VOLUME_PLANS = plans(
    {
        "2d": configuration(spacing_mm=(1.0, 1.5), data_identifier="plans_2d"),
        "3d_fullres": configuration(
            patch_size=(8, 8, 8), spacing_mm=(1.5, 1.0, 1.0), data_identifier="plans_3d"
        ),
    },
    transpose_forward=(0, 1, 2),
)


def preprocess(raw, folder, plans=PICTURE_PLANS, *, num_processes=0, progress=no_progress, **more):
    preprocess_dataset(
        open_dataset(raw),
        plans,
        configurations=list(plans.configurations),
        folder=folder,
        num_processes=num_processes,
        progress=progress,
        **more,
    )


def stores(folder, identifier="plans_2d"):
    return CaseStore(folder / identifier / "images"), CaseStore(folder / identifier / "labels")


def contents(folder):
    return {
        path.relative_to(folder).as_posix(): path.read_bytes()
        for path in folder.rglob("*")
        if path.is_file()
    }


def is_sealed(folder):
    return (folder / "plans_2d" / "images" / MANIFEST).exists()


@pytest.fixture(scope="module")
def pictures(tmp_path_factory):
    return write_pictures(tmp_path_factory.mktemp("raw") / "Dataset001_Pictures", 20)


@pytest.fixture(scope="module")
def volumes(tmp_path_factory):
    return write_volumes(tmp_path_factory.mktemp("raw") / "Dataset002_Volumes", 3)


@pytest.fixture
def small_groups(monkeypatch):
    monkeypatch.setattr(jobs, "_CASES_PER_GROUP", 8)


@pytest.fixture
def made(monkeypatch):
    """Note which images and labels are made."""
    noted = []
    for name in ("_made_image", "_made_labels"):
        original = getattr(run, name)

        def noting(job, *arguments, _original=original, _name=name, **more):
            noted.append((_name.removeprefix("_made_"), job.files.case))
            return _original(job, *arguments, **more)

        monkeypatch.setattr(run, name, noting)
    return noted


def test_pictures_are_stored_with_all_raters(pictures, tmp_path, small_groups):
    preprocess(pictures, tmp_path)
    images, labels = stores(tmp_path)
    assert len(images.cases) == len(labels.cases) == 20
    assert len(list(images.folder.glob("*.shard"))) == 3
    properties = images.properties("case003")
    assert properties.raters == ("r00", "r01")
    assert properties.patient == "case003"
    assert properties == labels.properties("case003")
    from PIL import Image

    raw = np.array(Image.open(pictures / "imagesTr" / "case003_0000.png"))
    np.testing.assert_array_equal(images.array("case003", "image")[:], raw[None])
    assert images.array("case003", "image").dtype == np.uint8
    mask = np.array(Image.open(pictures / "labelsTr" / "case003_r01.png"))
    np.testing.assert_array_equal(labels.array("case003", "labels")[1], mask)
    expected = np.argwhere(mask)
    np.testing.assert_array_equal(labels.array("case003", "locations")[:][:, 1:], expected)
    assert labels.array_names("case003") == ("labels", "locations")


def test_volumes_keep_their_original_label_maps_for_scoring(volumes, tmp_path):
    preprocess(volumes, tmp_path, VOLUME_PLANS)
    images, labels = stores(tmp_path, "plans_3d")
    properties = images.properties("v1")
    assert properties.original_shape == (7, 14, 12)
    assert properties.shape == (10, 11, 14)
    assert images.array("v1", "image").dtype == np.float32
    assert labels.array("v1", "labels").shape == (1, *properties.shape)
    reference = labels.array("v1", "reference")[:]
    assert reference.shape == (1, 7, 14, 12)
    assert (reference == 2).sum() == 16


def test_stores_know_where_the_files_lie_in_space(volumes, tmp_path):
    preprocess(volumes, tmp_path, VOLUME_PLANS)
    images, _ = stores(tmp_path, "plans_3d")
    _, expected = read_image(sorted((volumes / "imagesTr").glob("v1_*")))
    found = images.properties("v1").original_geometry
    assert found == expected
    assert found.origin is not None
    assert found.nifti_header == expected.nifti_header


def test_a_2d_configuration_of_volumes_keeps_slices_apart(volumes, tmp_path):
    preprocess(volumes, tmp_path, VOLUME_PLANS)
    images, _ = stores(tmp_path, "plans_2d")
    array = images.array("v0", "image")
    assert array.shape == (1, 5, 11, 9)
    assert array.dtype == np.int16
    assert array.header.block_shape[:2] == (1, 1)


def test_a_label_too_small_for_the_spacing_is_named_with_its_cases(volumes, tmp_path, caplog):
    coarse = configuration(
        patch_size=(8, 8, 8), spacing_mm=(40.0, 40.0, 40.0), data_identifier="plans_3d"
    )
    preprocess(volumes, tmp_path, plans({"3d_fullres": coarse}, transpose_forward=(0, 1, 2)))
    assert "no voxel left in 3 of 3 masks, of 3 of the preprocessed cases (e.g. v0" in caplog.text


def test_a_label_that_the_mask_of_one_rater_alone_loses_is_named(tmp_path, caplog):
    """Training would take this rater for one who saw nothing."""
    raw = write_volumes(tmp_path / "raw", 1)
    first = raw / "labelsTr" / "v0.nii.gz"
    mask, geometry = read_label_map(first)
    first.rename(raw / "labelsTr" / "v0_r00.nii.gz")
    small = np.zeros_like(mask)
    small[0, 0, 0] = 2  # where the image is 0 all around
    write_label_map(raw / "labelsTr" / "v0_r01.nii.gz", small, geometry)
    write_label_map(raw / "labelsTr" / "v0_r02.nii.gz", np.zeros_like(mask), geometry)
    content = json.loads((raw / "dataset.json").read_text()) | {"raters": True}
    (raw / "dataset.json").write_text(json.dumps(content))
    preprocess(raw, tmp_path / "out", VOLUME_PLANS)
    assert "label 'core' has no voxel left in 1 of 3 masks, of 1 of the preprocessed" in caplog.text


def test_a_label_where_the_image_is_black_all_around_is_named(tmp_path, caplog):
    raw = write_volumes(tmp_path / "raw", 1)
    path = raw / "labelsTr" / "v0.nii.gz"
    mask, geometry = read_label_map(path)
    mask[mask == 2] = 1
    mask[0, 0, 0] = 2
    write_label_map(path, mask, geometry)
    preprocess(raw, tmp_path / "out", VOLUME_PLANS)
    assert "label 'core' has no voxel left in 1 of 1 masks, of 1 of the preprocessed" in caplog.text
    assert "'shell'" not in caplog.text


def test_lost_labels_are_told_in_one_warning_the_most_lost_first(tmp_path, caplog):
    raw = write_volumes(tmp_path / "raw", 2)
    for case, values in {"v0": (1, 2), "v1": (0, 2)}.items():
        mask, geometry = read_label_map(raw / "labelsTr" / f"{case}.nii.gz")
        mask[:] = 0
        mask[0, 0, :2] = values  # where the image is 0 all around
        write_label_map(raw / "labelsTr" / f"{case}.nii.gz", mask, geometry)
    preprocess(raw, tmp_path / "out", VOLUME_PLANS)
    told = [text for text in caplog.messages if "voxel left" in text]
    assert len(told) == 2  # one for each configuration
    assert told[0].startswith(
        "label 'core' has no voxel left in 2 of 2 masks, of 2 of the preprocessed cases (e.g. v0, "
        "v1); 'shell' has no voxel left in 1 of 2 masks, of 1 of the preprocessed cases (e.g. v0): "
        "too small"
    )


def test_a_label_that_keeps_a_voxel_is_not_called_lost(volumes, tmp_path, caplog):
    preprocess(volumes, tmp_path, VOLUME_PLANS)
    assert "voxel left" not in caplog.text


def test_progress_counts_cases(pictures, tmp_path, small_groups):
    seen = []

    def progress(items, total, description):
        seen.append((total, description))
        for number, item in enumerate(items, start=1):
            seen.append(number)
            yield item

    preprocess(pictures, tmp_path, progress=progress)
    assert seen == [(20, "preprocessing 2d"), *range(1, 21)]


def test_processes_give_the_same_bytes(pictures, tmp_path, small_groups, monkeypatch):
    preprocess(pictures, tmp_path / "alone")
    monkeypatch.setattr(run, "_FILE_BYTES_PER_PROCESS", 1)
    preprocess(pictures, tmp_path / "two", num_processes=2)
    assert contents(tmp_path / "alone") == contents(tmp_path / "two")


def test_parts_in_any_order_give_the_same_bytes(pictures, tmp_path, small_groups):
    preprocess(pictures, tmp_path / "alone")
    for part_id in (2, 0, 1):
        assert not is_sealed(tmp_path / "parts")
        preprocess(pictures, tmp_path / "parts", part=Part(num_parts=3, part_id=part_id))
    assert contents(tmp_path / "parts") == contents(tmp_path / "alone")


def test_a_part_makes_its_own_cases_alone(pictures, tmp_path, small_groups, made):
    preprocess(pictures, tmp_path, part=Part(num_parts=3, part_id=1))
    images = sorted(case for kind, case in made if kind == "image")
    assert images == [f"case{index:03d}" for index in range(8, 16)]


def test_a_run_without_parts_makes_what_parts_left(pictures, tmp_path, small_groups, made):
    preprocess(pictures, tmp_path, part=Part(num_parts=3, part_id=1))
    made.clear()
    preprocess(pictures, tmp_path)
    assert len([case for kind, case in made if kind == "image"]) == 12
    assert is_sealed(tmp_path)


def test_a_part_says_what_is_left(pictures, tmp_path, small_groups, caplog):
    caplog.set_level(logging.INFO)
    preprocess(pictures, tmp_path, part=Part(num_parts=3, part_id=1))
    assert "12 cases of other parts are not" in caplog.text


def test_what_another_part_is_writing_is_no_fault(pictures, tmp_path, small_groups, caplog):
    preprocess(pictures, tmp_path, part=Part(num_parts=3, part_id=1))
    (shard,) = (tmp_path / "plans_2d" / "images").glob("*.shard")
    shard.with_name(f".unfinished-0123456789abcdef-{shard.name}").write_bytes(b"half")
    preprocess(pictures, tmp_path, part=Part(num_parts=3, part_id=0))
    assert "cannot be used" not in caplog.text


def test_a_finished_dataset_is_not_touched(pictures, tmp_path, made):
    preprocess(pictures, tmp_path)
    times = {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*")}
    made.clear()
    preprocess(pictures, tmp_path)
    assert made == []
    assert {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*")} == times


def test_a_changed_image_is_made_again_alone(tmp_path, made, small_groups):
    raw = write_pictures(tmp_path / "Dataset001_Raw", 20)
    preprocess(raw, tmp_path / "pp")
    made.clear()
    path = raw / "imagesTr" / "case005_0000.png"
    os.utime(path, ns=(1, path.stat().st_mtime_ns + 10**9))
    preprocess(raw, tmp_path / "pp")
    assert made == [("image", "case005"), ("labels", "case005")]


def test_a_changed_label_map_leaves_the_images_alone(tmp_path, made, small_groups):
    raw = write_pictures(tmp_path / "Dataset001_Raw", 20)
    preprocess(raw, tmp_path / "pp")
    made.clear()
    path = raw / "labelsTr" / "case005_r01.png"
    os.utime(path, ns=(1, path.stat().st_mtime_ns + 10**9))
    preprocess(raw, tmp_path / "pp")
    assert made == [("labels", "case005")]


def test_a_removed_case_moves_its_neighbours_without_making_them_again(
    tmp_path, made, small_groups
):
    raw = write_pictures(tmp_path / "Dataset001_Raw", 20)
    preprocess(raw, tmp_path / "pp")
    for path in [*raw.glob("imagesTr/case002*"), *raw.glob("labelsTr/case002*")]:
        path.unlink()
    content = (raw / "dataset.json").read_text()
    (raw / "dataset.json").write_text(content.replace('"numTraining": 20', '"numTraining": 19'))
    made.clear()
    preprocess(raw, tmp_path / "pp")
    assert made == []
    preprocess(raw, tmp_path / "anew")
    assert contents(tmp_path / "pp") == contents(tmp_path / "anew")


def test_a_changed_plan_makes_all_cases_again(pictures, tmp_path, made):
    preprocess(pictures, tmp_path / "pp")
    made.clear()
    changed = plans({"2d": configuration(scheme="rescale_to_0_1")})
    preprocess(pictures, tmp_path / "pp", changed)
    assert len(made) == 40
    preprocess(pictures, tmp_path / "anew", changed)
    assert contents(tmp_path / "pp") == contents(tmp_path / "anew")


def test_a_changed_patch_size_is_no_reason_to_preprocess_again(pictures, tmp_path, made):
    preprocess(pictures, tmp_path)
    made.clear()
    preprocess(pictures, tmp_path, plans({"2d": configuration(patch_size=(4, 4))}))
    assert made == []


def test_stores_say_what_they_were_made_with(pictures, tmp_path):
    preprocess(pictures, tmp_path)
    resolved = PICTURE_PLANS.resolve("2d")
    scheme = open_dataset(pictures).labels
    for store, labels in zip(stores(tmp_path), (None, scheme), strict=True):
        assert store.recipe["data"] == DatasetState.of(open_dataset(pictures)).digest
        check_recipe(store, resolved, labels=labels)
        other = PICTURE_PLANS.resolve("2d", settings=["preprocessing.image_order=0"])
        with pytest.raises(WorkspaceError, match="image_order: 3 -> 0"):
            check_recipe(store, other, labels=labels)


def test_channels_that_plans_do_not_know_are_told_before_work_starts(tmp_path, made):
    raw = write_pictures(tmp_path / "raw", 2)
    from tests.data.tiny_datasets import edit_json  # brings readers, which a test here counts

    edit_json(raw / "dataset.json", channel_names={"0": "grey", "1": "infrared"})
    for case in ("case000", "case001"):
        image = raw / "imagesTr" / f"{case}_0000.png"
        shutil.copy(image, raw / "imagesTr" / f"{case}_0001.png")
    with pytest.raises(PlansError, match=r"for 1 channels, found 2.*diffunet_plan_and_preprocess"):
        preprocess(raw, tmp_path / "preprocessed")
    assert not made


def test_configurations_of_one_identifier_are_preprocessed_once(pictures, tmp_path, made):
    both = plans({"a": configuration(), "b": configuration(patch_size=(4, 4))})
    preprocess(pictures, tmp_path, both)
    assert len(made) == 40


def test_configurations_of_one_identifier_must_be_preprocessed_alike(pictures, tmp_path):
    both = plans({"a": configuration(), "b": configuration(scheme="none")})
    with pytest.raises(PlansError, match=r"configurations\.b\.data_identifier.*'a'"):
        preprocess(pictures, tmp_path, both)


def test_weak_supervision_writes_no_labels_and_reads_none(tmp_path):
    raw = write_pictures(tmp_path / "Dataset001_Raw", 6, image_labels=True)
    for path in (raw / "labelsTr").iterdir():
        path.write_bytes(b"not a picture")
    preprocess(raw, tmp_path / "pp")
    images = CaseStore(tmp_path / "pp" / "plans_2d" / "images")
    assert [images.properties(case).image_labels for case in images.cases[:2]] == [(0,), (1,)]
    assert not (tmp_path / "pp" / "plans_2d" / "labels").exists()


def test_weak_supervision_stores_labels_when_asked(tmp_path, made):
    raw = write_pictures(tmp_path / "Dataset001_Raw", 6, image_labels=True)
    preprocess(raw, tmp_path / "pp")
    made.clear()
    preprocess(raw, tmp_path / "pp", with_labels=True)
    assert {kind for kind, _ in made} == {"labels"}
    _, labels = stores(tmp_path / "pp")
    assert len(labels.cases) == 6


def test_labels_of_slices_follow_the_crop(tmp_path):
    raw = write_volumes(tmp_path / "Dataset002_Raw", 2, image_labels=True)
    preprocess(raw, tmp_path / "pp", VOLUME_PLANS)
    properties = CaseStore(tmp_path / "pp" / "plans_2d" / "images").properties("v0")
    assert properties.crop_box.start[0] == 1
    assert properties.slice_image_labels == ((0, 0), (1, 0), (1, 1), (1, 1), (0, 0))
    volume = CaseStore(tmp_path / "pp" / "plans_3d" / "images").properties("v0")
    assert volume.slice_image_labels == ()


def test_labels_of_slices_forbid_another_first_axis(tmp_path):
    raw = write_volumes(tmp_path / "Dataset002_Raw", 2, image_labels=True)
    transposed = replace(VOLUME_PLANS, transpose_forward=(2, 0, 1))
    with pytest.raises(PlansError, match=r"transpose_forward: expected \[0, 1, 2\].*'v0'"):
        preprocess(raw, tmp_path / "pp", transposed)


def test_a_faulty_case_is_named_and_the_others_are_kept(tmp_path, made, small_groups):
    raw = write_pictures(tmp_path / "Dataset001_Raw", 20)
    faulty = raw / "imagesTr" / "case012_0000.png"
    whole = faulty.read_bytes()
    faulty.write_bytes(b"nonsense")
    with pytest.raises(DatasetError, match="case012"):
        preprocess(raw, tmp_path / "pp")
    with pytest.raises(WorkspaceError, match="no finished preprocessed data"):
        stores(tmp_path / "pp")
    faulty.write_bytes(whole)
    made.clear()
    preprocess(raw, tmp_path / "pp")
    assert made[0] == ("image", "case008")
    assert len(stores(tmp_path / "pp")[0].cases) == 20


CHILD = """
import os, signal, sys
from pathlib import Path
from diffunet import jsonio
from diffunet.parts import Part
from diffunet.preprocessing import jobs
from tests.preprocessing import test_preprocess_dataset as here
raw, folder, kind, writes_left = Path(sys.argv[1]), Path(sys.argv[2]), sys.argv[3], int(sys.argv[4])
jobs._CASES_PER_GROUP = 3
original = jsonio._File.write
def write(self, content):
    global writes_left
    writes_left -= 1
    if writes_left == 0:
        original(self, content[: len(content) // 2])
        os.kill(os.getpid(), signal.SIGKILL)
    return original(self, content)
jsonio._File.write = write
print("ready", flush=True)
here.preprocess(raw, folder, getattr(here, kind))
"""


def run_child(raw, folder, kind, *, writes=0, seconds=None):
    """Preprocess in a process that is killed in the midst of a write, or after some seconds."""
    command = [sys.executable, "-c", CHILD, str(raw), str(folder), kind, str(writes)]
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])}
    with subprocess.Popen(command, env=environment, stdout=subprocess.PIPE) as child:
        if seconds is not None:
            assert child.stdout is not None
            child.stdout.readline()
            time.sleep(seconds)
            child.kill()
        child.communicate()
    return child.returncode


@pytest.mark.parametrize("kind", ["PICTURE_PLANS", "VOLUME_PLANS"])
def test_a_run_killed_in_the_midst_of_writes_continues_to_the_same_bytes(
    pictures, volumes, tmp_path, monkeypatch, kind
):
    monkeypatch.setattr(jobs, "_CASES_PER_GROUP", 3)
    raw = pictures if kind == "PICTURE_PLANS" else volumes
    preprocess(raw, tmp_path / "unbroken", globals()[kind])
    for writes in (1, 2, 4, 5):
        code = run_child(raw, tmp_path / "broken", kind, writes=writes)
        assert code == -signal.SIGKILL
        with pytest.raises(WorkspaceError, match="no finished"):
            stores(tmp_path / "broken", VOLUME_PLANS.configurations["3d_fullres"].data_identifier)
    assert run_child(raw, tmp_path / "broken", kind) == 0
    assert contents(tmp_path / "broken") == contents(tmp_path / "unbroken")


@pytest.mark.slow
def test_a_run_killed_at_random_moments_continues_to_the_same_bytes(tmp_path, monkeypatch):
    monkeypatch.setattr(jobs, "_CASES_PER_GROUP", 3)
    raw = write_pictures(tmp_path / "Dataset001_Raw", 300)
    preprocess(raw, tmp_path / "unbroken")
    generator = random.Random(0)
    num_kills = 0
    for _ in range(8):
        seconds = generator.uniform(0.0, 0.25)
        num_kills += run_child(raw, tmp_path / "broken", "PICTURE_PLANS", seconds=seconds) != 0
    assert num_kills >= 3
    assert run_child(raw, tmp_path / "broken", "PICTURE_PLANS") == 0
    assert contents(tmp_path / "broken") == contents(tmp_path / "unbroken")


def test_a_failing_worker_names_its_cases_and_keeps_the_cause(
    pictures, tmp_path, small_groups, monkeypatch
):
    def fail(job, recipe):
        raise ZeroDivisionError("by zero")

    monkeypatch.setattr(run, "_made_image", fail)
    with pytest.raises(RuntimeError, match="cases 'case000' to 'case007'.*'case000': Zero"):
        preprocess(pictures, tmp_path)


def test_preprocessing_imports_no_torch_and_pictures_no_simpleitk(pictures, tmp_path):
    code = (
        "import sys\nfrom pathlib import Path\n"
        "from tests.preprocessing import test_preprocess_dataset as here\n"
        "here.preprocess(Path(sys.argv[1]), Path(sys.argv[2]))\n"
        "print(sorted({'torch', 'SimpleITK', 'nibabel', 'matplotlib'} & set(sys.modules)))\n"
    )
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])}
    done = subprocess.run(
        [sys.executable, "-c", code, str(pictures), str(tmp_path)],
        env=environment,
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout.strip() == "[]"
