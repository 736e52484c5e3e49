import math

import pytest

from diffunet.errors import PlansError
from diffunet.planning.geometry import coarser_grid, patch_grid, plan_grid
from diffunet.planning.memory import GIB, measure_image_model_memory, measure_training_memory
from diffunet.planning.patch import RESERVED_GB
from diffunet.planning.whole_image import GridChoice, choose_whole_images, whole_patch
from diffunet.plans import WeakPlan
from tests.planning.fingerprints import a_geometry


def _chosen(shape, *, largest=None, spacing_mm=None, gpu_memory_gb=8.0) -> GridChoice:
    geometry = a_geometry(shape, spacing_mm, largest=largest)
    grid = plan_grid(geometry, has_image_labels=True, overwrite_spacing_mm=None)
    return choose_whole_images(
        patch_grid(grid, dimensions=2),
        geometry=geometry,
        spacing_reason="Median.",
        num_cases=1000,
        num_image_channels=1,
        num_label_channels=1,
        num_classes=1,
        gpu_memory_gb=gpu_memory_gb,
    )


@pytest.mark.parametrize(
    ("largest", "expected"),
    [((64, 64), (64, 64)), ((65, 64), (72, 64)), ((500, 300), (512, 304)), ((15, 31), (15, 32))],
)
def test_a_whole_patch_is_the_largest_image_rounded_up(largest, expected):
    assert whole_patch(largest, (1.0, 1.0)) == expected


def test_rare_large_images_count_as_much_as_the_median():
    chosen = _chosen((64, 64), largest=(64, 400))
    assert chosen.patch.patch_size == (64, 400)
    assert "[64, 400] voxels" in chosen.patch.reasons["patch_size"]


def test_what_fits_keeps_its_spacing():
    chosen = _chosen((256, 256))
    assert chosen.spacing_mm.value == (1.0, 1.0)
    assert (chosen.spacing_mm.reason, chosen.spacing_mm.warning) == ("Median.", "")
    assert chosen.axes.largest_shape == (256, 256)


def test_images_that_do_not_fit_are_made_coarser_not_cut():
    chosen = _chosen((1000, 800), spacing_mm=(0.5, 0.5))
    spacing = chosen.spacing_mm.value
    assert spacing[0] == spacing[1] > 0.5
    size = (round(500 / spacing[0]), round(400 / spacing[1]))
    assert chosen.axes.median_shape == chosen.axes.largest_shape == size
    assert all(edge >= length for edge, length in zip(chosen.patch.patch_size, size, strict=True))
    assert chosen.axes.spacing_ratio == pytest.approx(spacing[0] / 0.5)
    assert chosen.axes.voxel_edge_mm == pytest.approx(spacing[0])
    for words in (f"{spacing[0]:g} x {spacing[0]:g} in place of 0.5 x 0.5 mm", "[1000, 800]"):
        assert words in chosen.spacing_mm.warning
        assert words in chosen.spacing_mm.reason


@pytest.mark.parametrize("gpu_memory_gb", [2.0, 4.0, 8.0])
def test_a_step_of_every_method_fits_and_a_finer_spacing_would_not(gpu_memory_gb):
    chosen = _chosen((900, 900), gpu_memory_gb=gpu_memory_gb)
    counts = {"num_image_channels": 1}
    memories = (
        measure_training_memory(chosen.patch.network, num_label_channels=1, **counts),
        measure_image_model_memory(
            WeakPlan(network=chosen.image_model.network), num_classes=1, **counts
        ),
    )
    budget = (gpu_memory_gb - RESERVED_GB) * GIB
    for memory in memories:
        needed = memory.total(
            chosen.patch.batch_size, num_voxels=math.prod(chosen.patch.patch_size)
        )
        assert needed <= budget
    assert chosen.patch.batch_size >= 8
    finer = chosen.spacing_mm.value[0] - 0.25
    patch = whole_patch((round(900 / finer),) * 2, (finer, finer))
    needed = max(memory.total(8, num_voxels=math.prod(patch)) for memory in memories)
    assert needed > budget


def test_too_little_memory_for_the_smallest_images_is_an_error():
    with pytest.raises(PlansError, match=r"8 images of 16 voxels .* raise -gpu_memory_target"):
        _chosen((900, 900), gpu_memory_gb=RESERVED_GB + 0.05)


def test_slices_of_volumes_become_coarser_in_their_plane_only():
    geometry = a_geometry((30, 100, 80), (3.0, 0.5, 0.7), largest=(40, 120, 90))
    grid = plan_grid(geometry, has_image_labels=True, overwrite_spacing_mm=None)
    found = coarser_grid(patch_grid(grid, dimensions=2), geometry, factor=2)
    assert found.spacing_mm == (1.0, 1.4)
    assert found.median_shape == (50, 40)
    assert found.largest_shape == (60, 45)
    assert found.num_slices == 30
    assert found.is_slicewise


def test_extents_are_rounded_once():
    # 101 pixels of 1 mm at 1.5 mm are 67, at 2 mm 50, whatever was tried before
    geometry = a_geometry((101, 101))
    axes = patch_grid(
        plan_grid(geometry, has_image_labels=True, overwrite_spacing_mm=None), dimensions=2
    )
    assert coarser_grid(axes, geometry, factor=1.5).largest_shape == (67, 67)
    assert coarser_grid(axes, geometry, factor=2).largest_shape == (50, 50)
