"""Preprocessed files that were damaged, or made to do harm."""

import dataclasses
import json
import re
import struct
import zlib
from pathlib import Path

import numpy as np
import pytest

from diffunet.data.store import shards, volumes
from diffunet.data.store.blocked_array import BlockedArray, write_blocked
from diffunet.data.store.case import FilePlace
from diffunet.data.store.case_store import CaseStore
from diffunet.data.store.compression import check_block, compress, decompress
from diffunet.errors import WorkspaceError
from tests.data.test_case_store import make, make_large, properties, write_store
from tests.full_disk import no_more_files


def read_all(folder):
    store = CaseStore(folder)
    return {
        (case, name): np.asarray(store.array(case, name)[:])
        for case in store.cases
        for name in store.array_names(case)
    }


def flip(path, bit):
    content = bytearray(path.read_bytes())
    content[bit // 8] ^= 1 << bit % 8
    path.write_bytes(content)


def shard_with_index(folder, change):
    """Write a shard whose index was changed by someone who knows how checksums are made."""
    path = folder / "x.shard"
    packed = shards.PackedArray.pack(np.ones((1, 4), np.float32), is_picture=False)
    shards.write_shard(path, {"a": shards.PackedCase("1", {}, {"image": packed})})
    content = path.read_bytes()
    footer = struct.Struct("<IQ8s")
    _, length, magic = footer.unpack(content[-footer.size :])
    index = json.loads(content[-footer.size - length : -footer.size])
    text = json.dumps(change(index)).encode()
    new_footer = footer.pack(zlib.crc32(text), len(text), magic)
    path.write_bytes(content[: -footer.size - length] + text + new_footer)
    return path


def changed(field, value):
    def change(index):
        index["a"]["arrays"]["image"][field] = value
        return index

    return change


def file_of_values(folder):
    return next(path for path in folder.iterdir() if path.suffix in (".shard", ".blocks"))


@pytest.fixture(params=[True, False], ids=["shard", "own files"])
def sources_and_folder(request, tmp_path):
    sources = {"a": "1", "b": "2"}
    write_store(tmp_path, sources, is_packed=request.param)
    return sources, tmp_path


def test_no_flipped_bit_is_read_in_silence(sources_and_folder):
    _, folder = sources_and_folder
    path = file_of_values(folder)
    whole = path.read_bytes()
    for bit in np.random.default_rng(0).integers(0, 8 * len(whole), size=200):
        flip(path, int(bit))
        with pytest.raises(WorkspaceError, match=f"{re.escape(path.name)}.*damaged"):
            read_all(folder)
        path.write_bytes(whole)


def test_preprocessing_again_makes_just_the_damaged_case_anew(sources_and_folder, caplog):
    sources, folder = sources_and_folder
    before = {path.name: path.read_bytes() for path in folder.iterdir()}
    flip(file_of_values(folder), 8 * 40)
    made = []

    def make_and_note(case):
        made.append(case)
        return make(case)

    write_store(folder, sources, make=make_and_note, is_packed=not list(folder.glob("*.blocks")))
    assert made == ["a"]
    assert {path.name: path.read_bytes() for path in folder.iterdir()} == before
    assert "cannot be used and are made anew" in caplog.text


def test_a_case_whose_record_is_damaged_is_made_anew(tmp_path):
    write_store(tmp_path, {"v": "1"}, make=make_large)
    (tmp_path / "v.json").write_text("{")
    write_store(tmp_path, {"v": "1"}, make=make_large)
    np.testing.assert_array_equal(read_all(tmp_path)["v", "image"], make_large("v").arrays["image"])


def test_removing_a_case_leaves_those_whose_name_begins_alike(tmp_path):
    write_store(tmp_path, {"v": "1", "v.image": "2"}, make=make_large)
    volumes.remove_other_volumes(tmp_path, kept=["v.image"])
    assert sorted(path.name for path in tmp_path.glob("v*")) == [
        "v.image.image.blocks",
        "v.image.json",
    ]


def test_an_array_that_a_case_no_longer_has_is_removed(tmp_path):
    write_store(tmp_path, {"v": "1"}, make=make_large)
    (tmp_path / "v.former.blocks").touch()
    write_store(tmp_path, {"v": "2"}, make=make_large)
    assert sorted(path.name for path in tmp_path.glob("v*")) == ["v.image.blocks", "v.json"]


def test_the_folder_is_looked_through_as_often_for_many_volumes_as_for_few(tmp_path, monkeypatch):
    looks = []
    glob = Path.glob
    monkeypatch.setattr(Path, "glob", lambda *given: looks.append(given) or glob(*given))

    def num_looks(num_cases):
        looks.clear()
        for recipe in ("1", "2"):
            sources = {f"{num_cases}_{number}": recipe for number in range(num_cases)}
            write_store(tmp_path / str(num_cases), sources, make=make_large)
        return len(looks)

    assert num_looks(2) == num_looks(12)


@pytest.mark.parametrize("shape", [(4,), (6,), (0,), (5, 2)])
def test_compressed_bytes_of_another_shape_are_refused_before_they_are_undone(shape):
    with pytest.raises(ValueError, match="expected .* compressed bytes"):
        decompress(compress(np.ones(5, np.int32)), dtype=np.dtype(np.int32), shape=shape)


def test_a_shard_that_understates_a_shape_is_an_error(tmp_path):
    path = shard_with_index(tmp_path, changed("shape", [1, 2]))
    with pytest.raises(WorkspaceError, match=r"x\.shard.*expected .* compressed bytes of 8 bytes"):
        shards.unpack_array(path, shards.read_index(path)["a"].arrays["image"])


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("dtype", "|O"),
        ("dtype", "<U9"),
        ("dtype", "<c16"),
        ("dtype", "nonsense("),
        ("shape", (2**40,)),
        ("shape", (-1, 5)),
        ("shape", (1,) * 9),
        ("num_bytes", 2**63),
        ("num_bytes", -1),
        ("offset", 2**63),
    ],
)
def test_a_shard_declares_plain_numbers_of_bounded_size(tmp_path, field, value):
    path = shard_with_index(tmp_path, changed(field, value))
    with pytest.raises(WorkspaceError, match=r"x\.shard: a\.arrays\.image: .*(should|expected)"):
        shards.read_index(path)


@pytest.mark.parametrize("position", [17, 31], ids=["filter", "flags"])
def test_compressed_bytes_of_kinds_that_we_never_write_are_refused(position):
    content = bytearray(compress(np.arange(999, dtype=np.int32)))
    content[position] |= 8
    with pytest.raises(ValueError, match="of a kind that diffunet never writes"):
        check_block(bytes(content), dtype=np.dtype(np.int32), shape=(999,))


def test_a_stored_lazy_array_is_not_opened(tmp_path):
    import blosc2

    source = blosc2.asarray(np.ones(8), urlpath=str(tmp_path / "source.b2nd"))
    blosc2.lazyexpr("a + 1", {"a": source}).save(urlpath=str(tmp_path / "lazy.b2nd"))
    write_store(tmp_path / "store", {"v": "1"}, make=make_large)
    target = tmp_path / "store" / "v.image.blocks"
    target.write_bytes((tmp_path / "lazy.b2nd").read_bytes())
    with pytest.raises(WorkspaceError, match=r"v\.image\.blocks.*damaged"):
        CaseStore(tmp_path / "store").array("v", "image")


def test_an_array_of_another_shape_than_its_case_is_an_error(tmp_path):
    store = write_store(tmp_path, {"v": "1"}, make=make_large)
    write_blocked(tmp_path / "v.image.blocks", np.ones((1, 4, 4)), block_shape=(1, 4, 4))
    with pytest.raises(WorkspaceError, match=r"'image' has the shape \(1, 4, 4\), but .*shape"):
        store.array("v", "image")


@pytest.mark.parametrize(
    "key",
    [
        slice(None),
        (0, slice(2, 9), slice(3, 3)),
        (slice(0, 2), -1),
        (slice(1, 2), slice(5, 40), slice(0, 7), 11),
    ],
)
def test_blocks_are_sliced_like_an_array(tmp_path, key):
    array = np.random.default_rng(0).integers(0, 99, size=(2, 23, 17, 12)).astype(np.int16)
    write_blocked(tmp_path / "x.blocks", array, block_shape=(1, 7, 5, 4))
    read = BlockedArray(tmp_path / "x.blocks")
    np.testing.assert_array_equal(read[key], array[key], strict=True)


@pytest.mark.parametrize("key", [(0, 0, 0), 2, -3, slice(None, None, 2), slice(None, None, -1)])
def test_other_indices_are_errors(tmp_path, key):
    write_blocked(tmp_path / "x.blocks", np.ones((2, 3)), block_shape=(2, 2))
    with pytest.raises(IndexError):
        BlockedArray(tmp_path / "x.blocks")[key]


def test_the_content_of_a_case_is_known_by_its_values_not_by_where_it_lies(tmp_path):
    packed = write_store(tmp_path / "packed", {"a": "1"})
    again = write_store(tmp_path / "again", {"x": "8", "a": "9"})
    assert packed.content_of("a") == again.content_of("a")
    own = write_store(tmp_path / "own", {"a": "1"}, is_packed=False)
    assert len(own.content_of("a")) == 16


@pytest.mark.parametrize("is_packed", [True, False])
@pytest.mark.parametrize("change", ["values", "properties"])
def test_the_content_of_a_case_changes_with_each_value_and_property(tmp_path, is_packed, change):
    def make_changed(case):
        made = make(case)
        if change == "values":
            made.arrays["image"][0, 4, 5] ^= 1
            return made
        return dataclasses.replace(
            made, properties=dataclasses.replace(properties(case), patient="another")
        )

    before = write_store(tmp_path / "a", {"a": "1"}, is_packed=is_packed)
    after = write_store(tmp_path / "b", {"a": "1"}, make=make_changed, is_packed=is_packed)
    assert before.content_of("a") != after.content_of("a")


@pytest.mark.parametrize("is_packed", [True, False])
def test_where_the_files_of_a_case_lie_in_space_is_no_part_of_its_content(tmp_path, is_packed):
    def make_placed(case):
        place = FilePlace(has_spacing=True, origin=(1.0, 2.0))
        return dataclasses.replace(
            make(case), properties=dataclasses.replace(properties(case), place=place)
        )

    before = write_store(tmp_path / "a", {"a": "1"}, is_packed=is_packed)
    after = write_store(tmp_path / "b", {"a": "1"}, make=make_placed, is_packed=is_packed)
    assert after.properties("a").place != before.properties("a").place
    assert after.content_of("a") == before.content_of("a")


@pytest.mark.parametrize("index", [[], None, {"a": []}, {"a": {"source": 1}}])
def test_an_index_of_another_form_is_an_error(tmp_path, index):
    path = shard_with_index(tmp_path, lambda _: index)
    with pytest.raises(WorkspaceError, match=r"x\.shard"):
        shards.read_index(path)


@pytest.mark.parametrize("read", [shards.read_index, BlockedArray])
def test_a_good_file_is_not_called_damaged_where_too_many_files_are_open(tmp_path, read):
    path = shard_with_index(tmp_path, lambda index: index)
    if read is BlockedArray:
        path = tmp_path / "x.blocks"
        write_blocked(path, np.ones((2, 3)), block_shape=(2, 2))
    with pytest.raises(WorkspaceError, match="too many files are open") as said, no_more_files():
        read(path)
    assert "damaged" not in str(said.value)
