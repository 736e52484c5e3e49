"""Pickles are read without running them."""

import os
import pickle
import tracemalloc
from collections import OrderedDict
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from diffunet import limits
from diffunet.conversion.stored_arrays import StoredArray, read_stored
from diffunet.errors import DatasetError

PROTOCOLS = [2, 3, 4, 5]
ARRAYS = {
    "floats": np.linspace(-3, 3, 12).reshape(3, 4),
    "by columns": np.asfortranarray(np.arange(6, dtype=np.int16).reshape(2, 3)),
    "big endian": np.arange(5, dtype=">u4"),
    "bool": np.array([[True, False]]),
    "bytes over 127": np.arange(256, dtype=np.uint8),
    "half": np.ones(3, np.float16),
    "turned": np.arange(12).reshape(3, 4)[:, ::-2],
    "one number": np.array(7),
    "empty": np.zeros((0, 4)),
}


def saved(folder: Path, content: bytes) -> Path:
    path = folder / "data.pickle"
    path.write_bytes(content)
    return path


def restored(value: Any) -> Any:
    """Return the same with arrays in place of their descriptions."""
    if isinstance(value, StoredArray):
        return value.read()
    if isinstance(value, dict):
        return {key: restored(each) for key, each in value.items()}
    if isinstance(value, (list, tuple)):
        return type(value)(map(restored, value))
    return value


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_arrays_are_what_pickle_loads(tmp_path: Path, protocol: int) -> None:
    arrays = {key: each for key, each in ARRAYS.items() if key != "empty" or protocol > 2}
    found = restored(read_stored(saved(tmp_path, pickle.dumps(arrays, protocol))))
    assert list(found) == list(arrays)
    for key, expected in arrays.items():
        np.testing.assert_array_equal(found[key], expected)
        assert found[key].dtype == expected.dtype


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_plain_values_are_what_pickle_loads(tmp_path: Path, protocol: int) -> None:
    twice = ["a", 1]
    values = {
        "numbers": [0, -1, 255, 65535, -(2**31), 2**70, -(2**70), 1.5, True, None],
        "texts": ("é", "", "x" * 300),
        3: [twice, twice, {}, [], ()],
        "many": list(range(2500)),
        "numpy's": [np.float32(0.5), np.int64(3), np.str_("series")],
    }
    assert read_stored(saved(tmp_path, pickle.dumps(values, protocol))) == values


def test_an_array_of_python_2_is_read(tmp_path: Path) -> None:
    content = (
        b"\x80\x02}q\x01U\x05imageq\x02cnumpy.core.multiarray\n_reconstruct\nq\x03cnumpy\nndarray\n"
        b"q\x04K\x00\x85U\x01b\x87Rq\x05(K\x01K\x02K\x02\x86cnumpy\ndtype\nq\x06U\x02u1K\x00K\x01"
        b"\x87Rq\x07(K\x03U\x01|NNNJ\xff\xff\xff\xffJ\xff\xff\xff\xffK\x00tb\x89U\x04\x01\x80\x03"
        b"\xfftbs."
    )
    expected = pickle.loads(content, encoding="latin1")  # noqa: S301  # the bytes above
    found = restored(read_stored(saved(tmp_path, content)))
    np.testing.assert_array_equal(found["image"], expected["image"])
    assert found["image"].tolist() == [[1, 128], [3, 255]]


@pytest.mark.parametrize("name", [b"numpy.core.multiarray", b"numpy._core.multiarray"])
def test_modules_of_old_and_new_numpy_are_known(tmp_path: Path, name: bytes) -> None:
    content = pickle.dumps(np.arange(3)[::2], 2)
    content = content.replace(b"numpy._core.multiarray", name)
    assert restored(read_stored(saved(tmp_path, content))).tolist() == [0, 2]


class Runs:
    """Would leave a file where it is unpickled."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> Any:
        return os.system, (f"touch {self.path}",)


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_a_program_is_refused_by_its_name_and_not_run(tmp_path: Path, protocol: int) -> None:
    mark = tmp_path / "ran"
    path = saved(tmp_path, pickle.dumps({"image": Runs(mark)}, protocol))
    with pytest.raises(DatasetError, match=r"found (posix|nt)\.system at byte.*nothing of this"):
        read_stored(path)
    assert not mark.exists()


@pytest.mark.parametrize(
    "value",
    [
        np.array([{}, "x"], object),
        np.zeros(2, [("a", "f4"), ("b", "i2")]),
        np.zeros(2, "M8[s]"),
        OrderedDict(a=1),
        {1, 2},
        complex(1, 2),
        np.ma.masked_array([1], [True]),
        Path("x"),
        ((1, (2,)),),
    ],
    ids=lambda value: type(value).__name__,
)
def test_other_values_are_refused(tmp_path: Path, value: object) -> None:
    with pytest.raises(DatasetError, match="expected a pickle, of protocol 2 to 5, of numpy's"):
        read_stored(saved(tmp_path, pickle.dumps([value], 4)))


@pytest.mark.parametrize("protocol", [0, 1])
def test_older_protocols_are_refused(tmp_path: Path, protocol: int) -> None:
    with pytest.raises(DatasetError, match="expected a pickle"):
        read_stored(saved(tmp_path, pickle.dumps({"image": np.zeros(3)}, protocol)))


def test_what_no_pickle_of_arrays_says_is_refused(tmp_path: Path) -> None:
    for content in (
        b"\x80\x02cnumpy\nndarray\nK\x03\x85R.",
        b"\x80\x02cnumpy.core.multiarray\n_reconstruct\ncnumpy\ndtype\nK\x03U\x01b\x87R.",
        b"\x80\x02c_codecs\nencode\nX\x01\x00\x00\x00aX\x05\x00\x00\x00rot13\x86R.",
        b"\x80\x02]cnumpy\nndarray\na.",
        b"\x80\x07}.",
        pickle.dumps(["x" * 20_000]),
        pickle.dumps(np.arange(40, dtype=np.uint8), 4).replace(b"K(\x85", b"K)\x85"),
        b"\x80\x02cnumpy\nndarray\n.",
        b"\x80\x02cnumpy.core.multiarray\nfromfile\n.",
        b"\x80\x04\x8c\x05numpy\x8c\x0ccore.ndarray\x93.",
    ):
        with pytest.raises(DatasetError, match="expected a pickle, of protocol"):
            read_stored(saved(tmp_path, content))


@pytest.mark.parametrize("protocol", [2, 5])
def test_no_shortened_or_changed_file_breaks_out(tmp_path: Path, protocol: int) -> None:
    whole = pickle.dumps({"image": np.arange(6.0), "masks": [np.zeros(2)], "uid": "1.2"}, protocol)
    random = np.random.default_rng(protocol)
    contents = [whole[:stop] for stop in range(0, len(whole), 5)]
    for _ in range(150):
        changed = bytearray(whole)
        changed[random.integers(len(whole))] = random.integers(256)
        contents.append(bytes(changed))
    for content in contents:
        try:
            read_stored(saved(tmp_path, content))
        except DatasetError:
            continue


def test_arrays_stay_in_the_file_until_they_are_read(tmp_path: Path) -> None:
    arrays = [np.full(200_000, index, np.float64) for index in range(20)]
    path = saved(tmp_path, pickle.dumps({str(index): each for index, each in enumerate(arrays)}))
    tracemalloc.start()
    found = read_stored(path)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < arrays[0].nbytes < path.stat().st_size / 15
    np.testing.assert_array_equal(found["7"].read(), arrays[7])


def test_an_array_larger_than_the_limit_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(limits, "_max_image_bytes", 799)
    with pytest.raises(DatasetError, match="diffunet_max_image_gb"):
        read_stored(saved(tmp_path, pickle.dumps(np.zeros(100))))


def test_a_file_that_changed_in_between_is_named(tmp_path: Path) -> None:
    path = saved(tmp_path, pickle.dumps(np.arange(100.0), 4))
    found = read_stored(path)
    path.write_bytes(path.read_bytes()[:200])
    with pytest.raises(DatasetError, match="expected 100 numbers of an array"):
        found.read()
