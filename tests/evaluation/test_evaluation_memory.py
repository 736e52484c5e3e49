"""Evaluation takes memory for an image, not for its samples, and shares it among processes."""

import tracemalloc
from pathlib import Path

import numpy as np
import pytest

from diffunet.data.image_io import ImageGeometry, write_label_map
from diffunet.data.image_io.declared import declared_voxels
from diffunet.evaluation import budget, mask_pool, packed_maps
from diffunet.evaluation.baselines import centre_blob
from diffunet.evaluation.budget import processes_within_memory
from diffunet.evaluation.folder import score_maps
from diffunet.evaluation.mask_pool import MaskPool
from diffunet.evaluation.packed_maps import PackedMaps
from diffunet.evaluation.scored_files import LabelMaps, ScoredFiles
from diffunet.evaluation.scores import ScoreOptions, score_case
from diffunet.labels import LabelScheme

ONE_LABEL = LabelScheme(names=("organ",), values=((1,),))
SPACING_MM = (3.0, 1.0, 0.5)


def pack(label_maps: np.ndarray, *, num_references: int) -> LabelMaps:
    packed = PackedMaps(label_maps.shape[1:], np.dtype(np.uint8))
    for label_map in label_maps:
        packed.add(label_map)
    return LabelMaps(packed=packed, num_references=num_references, spacing_mm=SPACING_MM)


def score(maps: LabelMaps, labels: LabelScheme, **options):
    return score_maps(
        maps,
        labels=labels,
        case="a",
        blob_volumes=[300.0] * len(labels.names),
        options=ScoreOptions(**options),
    )


def in_small_blocks(monkeypatch, num_voxels: int) -> None:
    monkeypatch.setattr(packed_maps, "VOXELS_PER_BLOCK", num_voxels)
    monkeypatch.setattr(mask_pool, "_VOXELS_PACKED_AT_ONCE", num_voxels)
    monkeypatch.setattr(mask_pool, "_VOXELS_UNPACKED_AT_ONCE", num_voxels)


def test_scores_do_not_depend_on_blocks(monkeypatch):
    labels = LabelScheme(names=("a", "b"), values=((1,), (2,)), ignore_value=3)
    label_maps = np.random.default_rng(0).integers(3, size=(9, 7, 8, 9), dtype=np.uint8)
    label_maps[0, :2, 1] = 3  # the first rater left it out
    masks = np.stack([labels.masks(each) for each in label_maps])
    whole = score_case(
        masks[4:],
        masks[:3],
        consensus=masks[3],
        ignored=label_maps[0] == 3,
        spacing_mm=SPACING_MM,
        case="a",
        blob_volumes=[300.0, 300.0],
    )
    in_small_blocks(monkeypatch, 2 * 8 * 9)
    blocked = score(pack(label_maps, num_references=3), labels)
    assert len(PackedMaps((7, 8, 9), np.dtype(np.uint8)).blocks()) == 4
    assert blocked.num_samples == 5
    for one, other in zip(whole.labels, blocked.labels, strict=True):
        assert one.consensus == other.consensus
        assert one.distribution == other.distribution
        assert one.trivial_answers == other.trivial_answers


def test_without_samples_the_prediction_is_the_only_one(monkeypatch):
    label_maps = np.random.default_rng(0).integers(2, size=(3, 4, 8, 8), dtype=np.uint8)
    found = score(pack(label_maps, num_references=2), ONE_LABEL)
    expected = score_case(
        label_maps[2:, None] > 0,
        label_maps[:2, None] > 0,
        spacing_mm=SPACING_MM,
        case="a",
        blob_volumes=[300.0],
    )
    assert found.num_samples == 1
    assert found.labels[0].distribution == pytest.approx(
        expected.labels[0].distribution, nan_ok=True, abs=0
    )


def test_memory_is_for_the_voxels_of_an_image_not_for_its_samples(monkeypatch):
    in_small_blocks(monkeypatch, 2**12)
    shape = (16, 96, 96)
    axes = np.ogrid[tuple(slice(-1, 1, size * 1j) for size in shape)]
    distance = sum(axis**2 for axis in axes)
    packed = PackedMaps(shape, np.dtype(np.uint8))
    for number in range(30):
        packed.add((distance < 0.6 + 0.01 * (number % 7)).astype(np.uint8))
    maps = LabelMaps(packed=packed, num_references=1, spacing_mm=(1.0, 1.0, 1.0))
    tracemalloc.start()
    score(maps, ONE_LABEL)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    block = 2**12 * 40 * 6  # all masks, and what is made of them
    assert peak < budget._BYTES_PER_VOXEL * np.prod(shape) + block


def test_packed_maps_come_back_block_by_block(monkeypatch):
    monkeypatch.setattr(packed_maps, "VOXELS_PER_BLOCK", 24)
    label_maps = np.random.default_rng(0).integers(4, size=(3, 5, 4, 3), dtype=np.uint16)
    packed = pack(label_maps, num_references=1).packed
    blocks = [packed.block([2, 0], index) for index in range(len(packed.blocks()))]
    assert [len(block[0]) for block in blocks] == [2, 2, 1]
    assert np.array_equal(np.concatenate(blocks, axis=1), label_maps[[2, 0]])
    with pytest.raises(ValueError, match="expected the shape"):
        packed.add(label_maps[0, :2])


def test_a_blob_in_parts_is_the_whole_blob():
    arguments = {"spacing_mm": (1.0, 2.0, 0.5), "volume": 120.0}
    whole = centre_blob((9, 7, 20), **arguments)
    parts = [
        centre_blob((9, 7, 20), **arguments, rows=slice(start, min(start + 2, 9)))
        for start in range(0, 9, 2)
    ]
    assert whole.any()
    assert np.array_equal(np.concatenate(parts), whole)


def test_a_pool_of_blocks_is_the_pool_of_the_whole():
    masks = np.random.default_rng(0).random((11, 6, 5)) < 0.3
    ignored = np.random.default_rng(1).random((6, 5)) < 0.2
    whole = MaskPool.of(masks, ignored=ignored)
    parts = MaskPool.of_blocks((masks[:, rows], ignored[rows]) for rows in (slice(2), slice(2, 6)))
    assert parts.num_voxels == whole.num_voxels == np.count_nonzero(~ignored)
    np.testing.assert_array_equal(parts.intersections, whole.intersections)
    numbers = np.arange(4), np.arange(4, 7)
    np.testing.assert_array_equal(parts.levels(*numbers).joint, whole.levels(*numbers).joint)


@pytest.mark.parametrize(
    ("num_voxels", "asked", "chosen"),
    [
        (64**3, 8, 8),  # small cases: as many as asked for
        (512 * 512 * 400, 8, 0),  # one at a time, in this process
        (256 * 256 * 200, 8, 5),
        (512 * 512 * 400, 0, 0),
    ],
)
def test_all_processes_together_stay_within_the_memory(monkeypatch, num_voxels, asked, chosen):
    monkeypatch.setattr(budget, "declared_voxels", lambda path: num_voxels)
    files = ScoredFiles(case="a", references=(Path("a"),), prediction=Path("a"), samples=())
    assert processes_within_memory([files] * 20, asked) == chosen


@pytest.mark.parametrize("ending", [".nii.gz", ".nrrd", ".png", ".tif"])
def test_the_number_of_voxels_is_known_without_reading_them(tmp_path, ending):
    shape = (6, 8) if ending == ".png" else (4, 6, 8)
    axes = len(shape)
    geometry = ImageGeometry(
        shape=shape,
        spacing_mm=(1.0,) * axes,
        origin=(0.0,) * axes,
        direction=tuple(np.eye(axes).ravel()),
    )
    path = tmp_path / f"mask{ending}"
    write_label_map(path, np.ones(shape, np.uint8), geometry)
    assert declared_voxels(path) == np.prod(shape)
    path.write_bytes(b"no image")
    assert declared_voxels(path) == 0
