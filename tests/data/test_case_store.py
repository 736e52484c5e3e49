import json
import pickle
import sys
from dataclasses import asdict

import numpy as np
import pytest

from diffunet.data.store import shards, volumes
from diffunet.data.store.case import CaseProperties, IntensityNormalization
from diffunet.data.store.case_store import CaseStore, Manifest
from diffunet.data.store.store_writer import (
    MadeCase,
    StoredCases,
    is_complete,
    seal,
    shard_name,
    stored_properties,
    unseal,
    write_group,
)
from diffunet.errors import DiffunetError, WorkspaceError
from diffunet.geometry import Box


def properties(case, shape=(5, 6)):
    return CaseProperties(
        case=case,
        patient="p1",
        raters=("r00", "r01"),
        original_shape=shape,
        original_spacing_mm=(0.1,) * len(shape),
        transpose_forward=tuple(range(len(shape))),
        crop_box=Box((0,) * len(shape), shape),
        shape=shape,
        spacing_mm=(1 / 3,) * len(shape),
        normalization=(IntensityNormalization(lower=-1.5, upper=None, shift=0.1, scale=3.0),),
        is_normalized=False,
        image_labels=(0, 1),
        slice_image_labels=((1, 0), None),
    )


def picture(case):
    generator = np.random.default_rng(len(case) + ord(case[-1]))
    return generator.integers(0, 256, size=(1, 5, 6)).astype(np.uint8)


def make(case):
    arrays = {"image": picture(case), "locations": np.zeros((0, 3), np.int32)}
    return MadeCase(properties=properties(case), arrays=arrays, patch_sizes={"image": (4, 4)})


def make_large(case):
    image = np.random.default_rng(0).normal(size=(1, 80, 60, 60)).astype(np.float32)
    return MadeCase(
        properties=properties(case, (80, 60, 60)),
        arrays={"image": image},
        patch_sizes={"image": (16, 32, 32)},
    )


def write_store(folder, sources, make=make, is_packed=True):
    stored = StoredCases.find(folder).of_group(sources)
    places = write_group(folder, sources, stored=stored, make=make, is_packed=is_packed)
    seal(folder, sources, places, recipe={})
    return CaseStore(folder)


def refuse(case):
    raise AssertionError(f"{case} should not be made again")


def contents(folder):
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def test_packed_cases_come_back_as_they_were(tmp_path):
    store = write_store(tmp_path, {"a": "1", "b": "2"})
    assert store.cases == ("a", "b")
    assert "a" in store
    assert "c" not in store
    assert store.array_names("a") == ("image", "locations")
    for case in store.cases:
        np.testing.assert_array_equal(store.array(case, "image")[:], picture(case))
        assert store.array(case, "image").dtype == np.uint8
        assert store.array(case, "locations").shape == (0, 3)
        assert store.properties(case) == properties(case)
    assert len(list(tmp_path.iterdir())) == 2  # a shard and the manifest


def test_a_large_case_has_files_of_its_own_and_is_read_by_slices(tmp_path):
    store = write_store(tmp_path, {"v": "1"}, make=make_large)
    expected = make_large("v").arrays["image"]
    array = store.array("v", "image")
    assert (array.shape, array.dtype) == (expected.shape, np.float32)
    part = (slice(0, 1), slice(3, 19), slice(0, 32), slice(28, 60))
    np.testing.assert_array_equal(array[part], expected[part])
    assert store.properties("v") == properties("v", (80, 60, 60))
    assert store.array_names("v") == ("image",)
    assert sorted(path.name for path in tmp_path.iterdir()) == [
        "store.manifest",
        "v.image.blocks",
        "v.json",
    ]


def test_a_small_volume_that_is_not_packed_has_files_of_its_own(tmp_path):
    store = write_store(tmp_path, {"a": "1"}, is_packed=False)
    np.testing.assert_array_equal(store.array("a", "image")[:], picture("a"))


def test_a_store_can_be_sent_to_another_process(tmp_path):
    store = write_store(tmp_path, {"a": "1"})
    store.properties("a")
    copy = pickle.loads(pickle.dumps(store))  # noqa: S301 -- made one line above
    np.testing.assert_array_equal(copy.array("a", "image")[:], picture("a"))
    assert copy.source == store.source


@pytest.mark.parametrize("dtype", [np.uint8, np.int16, np.uint16])
def test_pictures_are_differenced_without_loss(dtype):
    bounds = np.iinfo(dtype)
    array = np.random.default_rng(0).integers(
        bounds.min, bounds.max, size=(3, 9, 11), dtype=dtype, endpoint=True
    )
    packed = shards.PackedArray.pack(array, is_picture=True)
    assert packed.is_differenced
    np.testing.assert_array_equal(packed.unpack(), array)


def test_a_smooth_picture_takes_less_space_differenced():
    y, x = np.meshgrid(np.arange(64), np.arange(64), indexing="ij")
    array = ((y * 2 + x * 3 + (y * x) // 16) % 256).astype(np.uint8)
    plain = shards.PackedArray.pack(array, is_picture=False)
    assert len(shards.PackedArray.pack(array, is_picture=True).content) < 0.5 * len(plain.content)


def test_float_arrays_are_not_differenced():
    packed = shards.PackedArray.pack(np.ones((3, 4), np.float32), is_picture=True)
    assert not packed.is_differenced


def test_what_is_there_is_not_made_again(tmp_path):
    write_store(tmp_path, {"a": "1", "b": "2"})
    before = contents(tmp_path)
    write_store(tmp_path, {"a": "1", "b": "2"}, make=refuse)
    assert contents(tmp_path) == before


def test_exactly_the_stale_case_of_a_shard_is_made_again(tmp_path):
    write_store(tmp_path, {"a": "1", "b": "2", "c": "3"})
    made = []

    def make_and_note(case):
        made.append(case)
        return make(case)

    store = write_store(tmp_path, {"a": "1", "b": "changed", "c": "3"}, make=make_and_note)
    assert made == ["b"]
    np.testing.assert_array_equal(store.array("c", "image")[:], picture("c"))
    assert len(list(tmp_path.glob("*.shard"))) == 1


def test_a_store_made_in_two_runs_has_the_bytes_of_one(tmp_path):
    write_store(tmp_path / "one", {"a": "1", "b": "2", "c": "3"})
    write_store(tmp_path / "two", {"a": "1", "x": "9"})
    write_store(tmp_path / "two", {"a": "1", "b": "2", "c": "3"})
    assert contents(tmp_path / "one") == contents(tmp_path / "two")


def test_cases_that_are_no_longer_part_are_removed(tmp_path):
    write_store(tmp_path, {"v": "1"}, make=make_large)
    store = write_store(tmp_path, {"a": "1"})
    assert store.cases == ("a",)
    assert not list(tmp_path.glob("v*"))


def test_what_a_killed_process_left_is_removed(tmp_path):
    (tmp_path / ".unfinished-1-x.shard").write_bytes(b"half")
    write_store(tmp_path, {"a": "1"})
    assert not list(tmp_path.glob(".unfinished*"))


def test_an_unsealed_store_cannot_be_opened(tmp_path):
    write_store(tmp_path, {"a": "1"})
    unseal(tmp_path)
    with pytest.raises(WorkspaceError, match="no finished preprocessed data.*diffunet_preprocess"):
        CaseStore(tmp_path)


def test_a_volume_without_its_json_does_not_exist(tmp_path):
    write_store(tmp_path, {"v": "1"}, make=make_large)
    (tmp_path / "v.json").unlink()
    assert StoredCases.find(tmp_path).of_group({"v": "1"}) == {}
    with pytest.raises(WorkspaceError, match="case 'v' is missing"):
        CaseStore(tmp_path).properties("v")
    with pytest.raises(WorkspaceError, match="case 'v' is missing"):
        stored_properties(tmp_path, {"v": ""})


def test_a_case_whose_json_is_damaged_counts_as_absent(tmp_path):
    write_store(tmp_path, {"v": "1"}, make=make_large)
    (tmp_path / "v.json").write_text("{")
    assert StoredCases.find(tmp_path).of_group({"v": "1"}) == {}


@pytest.mark.parametrize("kept_bytes", [0, 5, 60, -1])
def test_a_shard_that_was_cut_short_counts_as_absent_and_says_so_when_read(tmp_path, kept_bytes):
    store = write_store(tmp_path, {"a": "1"})
    path = next(tmp_path.glob("*.shard"))
    path.write_bytes(path.read_bytes()[:kept_bytes])
    assert StoredCases.find(tmp_path).of_group({"a": "1"}) == {}
    with pytest.raises(WorkspaceError, match=rf"{path.name}.*cut short"):
        store.array("a", "image")


def test_a_missing_shard_is_an_error_that_names_it(tmp_path):
    store = write_store(tmp_path, {"a": "1"})
    entry = shards.read_index(tmp_path / shard_name({"a": "1"}))["a"].arrays["image"]
    path = next(tmp_path.glob("*.shard"))
    path.write_bytes(b"")
    with pytest.raises(WorkspaceError, match="cut short"):
        shards.read_array(path, entry)
    path.unlink()
    with pytest.raises(WorkspaceError, match=path.name):
        store.properties("a")
    with pytest.raises(WorkspaceError, match=path.name):
        shards.read_array(path, entry)


def test_a_shard_with_a_damaged_index_is_an_error(tmp_path):
    path = tmp_path / "x.shard"
    path.write_bytes(b"{nonsense" + bytes(4) + (9).to_bytes(8, "little") + b"DIFFUNT2")
    with pytest.raises(WorkspaceError, match=r"x\.shard.*damaged.*run diffunet_preprocess"):
        shards.read_index(path)


def test_a_volume_file_that_was_cut_short_is_an_error_that_names_it(tmp_path):
    store = write_store(tmp_path, {"v": "1"}, make=make_large)
    path = tmp_path / "v.image.blocks"
    path.write_bytes(path.read_bytes()[:100])
    with pytest.raises(WorkspaceError, match=r"v\.image\.blocks.*run diffunet_preprocess"):
        store.array("v", "image")
    path.unlink()
    with pytest.raises(WorkspaceError, match=r"v\.image\.blocks.*run diffunet_preprocess"):
        store.array("v", "image")


def test_unknown_cases_and_arrays_are_errors_that_say_what_is_there(tmp_path):
    store = write_store(tmp_path, {"a": "1"})
    with pytest.raises(WorkspaceError, match="no case 'z'"):
        store.properties("z")
    with pytest.raises(WorkspaceError, match="no array 'labels'.*image, locations"):
        store.array("a", "labels")


@pytest.mark.parametrize("name", ["../elsewhere", "/elsewhere", "a/b", ".."])
def test_no_name_in_a_store_leads_out_of_it(tmp_path, name):
    for cases in ({name: ""}, {"a": name}):
        Manifest(source="s", cases={}).save(tmp_path)
        text = (tmp_path / "store.manifest").read_text().replace("{}", json.dumps(cases))
        (tmp_path / "store.manifest").write_text(text)
        with pytest.raises(WorkspaceError, match="expected a name that a file can have"):
            CaseStore(tmp_path)
    (tmp_path / "a.json").write_text(
        json.dumps({"source": "s", "arrays": [name], "properties": {}})
    )
    with pytest.raises(WorkspaceError, match="arrays: expected a name that a file can have"):
        volumes.read_record(tmp_path, "a")


def test_a_manifest_of_another_version_is_refused(tmp_path):
    store = write_store(tmp_path, {"a": "1"})
    manifest = Manifest.load(tmp_path)
    path = tmp_path / "store.manifest"
    path.write_text(path.read_text().replace('"format_version": 2', '"format_version": 99'))
    assert store.cases == ("a",)
    with pytest.raises(WorkspaceError, match="format_version should be 2"):
        CaseStore(tmp_path)
    assert not manifest.is_saved(tmp_path)


def test_a_failing_case_is_named_and_its_exception_kept(tmp_path):
    def fail(case):
        raise ZeroDivisionError("by zero")

    with pytest.raises(RuntimeError, match="case 'a': ZeroDivisionError: by zero") as caught:
        write_group(tmp_path, {"a": "1"}, stored={}, make=fail, is_packed=True)
    assert isinstance(caught.value.__cause__, ZeroDivisionError)


def test_a_users_mistake_passes_unchanged(tmp_path):
    def fail(case):
        raise WorkspaceError("as it is")

    with pytest.raises(WorkspaceError, match="^as it is$"):
        write_group(tmp_path, {"a": "1"}, stored={}, make=fail, is_packed=True)


@pytest.mark.skipif(sys.platform == "win32", reason="needs a limit on the size of files")
@pytest.mark.parametrize("is_packed", [True, False])
def test_a_full_disk_is_an_error_that_names_the_case_and_leaves_no_half_file(tmp_path, is_packed):
    import resource
    import signal

    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (30, before[1]))
    try:
        with pytest.raises(DiffunetError, match=r"'a'.*cannot be written.*it continues"):
            write_group(tmp_path, {"a": "1"}, stored={}, make=make, is_packed=is_packed)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert not list(tmp_path.iterdir())


def test_a_group_is_complete_when_each_case_is_in_its_shard_or_has_its_own_files():
    sources = {"a": "1", "b": "2"}
    assert is_complete(sources, {"a": shard_name(sources), "b": ""})
    assert not is_complete(sources, {"a": shard_name(sources)})
    assert not is_complete(sources, {"a": shard_name({"a": "1"}), "b": ""})


def test_blocks_are_parts_of_a_patch_of_one_channel():
    block = volumes.block_shape_of((2, 200, 400, 400), patch_size=(96, 128, 128), item_bytes=4)
    assert block == (1, 24, 32, 32)


def test_blocks_of_a_2d_configuration_are_parts_of_one_slice():
    block = volumes.block_shape_of((1, 200, 400, 400), patch_size=(1, 256, 256), item_bytes=2)
    assert block == (1, 1, 256, 256)


def test_blocks_are_not_larger_than_the_array():
    assert volumes.block_shape_of((1, 3, 4), patch_size=(64, 64), item_bytes=1) == (1, 3, 4)


def test_clipping_alone_above_or_below_is_possible():
    out = np.empty((1, 3), np.float32)
    IntensityNormalization(upper=2, shift=1).apply(np.array([[-9, 0, 9]]), out=out)
    np.testing.assert_array_equal(out, [[-10, -1, 1]])


def test_an_image_that_is_stored_normalised_is_returned_as_it_is():
    from dataclasses import replace

    image = np.ones((1, 2, 2), np.float32)
    assert replace(properties("a"), is_normalized=True).normalized(image) is image


def test_properties_survive_json(tmp_path):
    volumes.write_volume(
        tmp_path, "a", arrays={}, properties=asdict(properties("a")), source="1", patch_sizes={}
    )
    assert stored_properties(tmp_path, {"a": ""}) == {"a": properties("a")}
