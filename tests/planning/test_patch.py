import math
import time

import pytest

from diffunet.errors import PlansError
from diffunet.planning.memory import GIB, measure_training_memory
from diffunet.planning.patch import RESERVED_GB, PatchChoice, choose_patch, initial_patch


def choose(median_shape, spacing_mm=None, *, gpu_memory_gb=8.0, num_training_voxels=10**10):
    return choose_patch(
        median_shape,
        spacing_mm or (1.0,) * len(median_shape),
        num_image_channels=1,
        num_label_channels=1,
        num_training_voxels=num_training_voxels,
        gpu_memory_gb=gpu_memory_gb,
    )


def needed_gb(choice: PatchChoice) -> float:
    memory = measure_training_memory(choice.network, num_image_channels=1, num_label_channels=1)
    return memory.total(choice.batch_size, num_voxels=math.prod(choice.patch_size)) / GIB


@pytest.mark.parametrize(
    ("median_shape", "spacing_mm", "expected"),
    [
        ((128, 100), (1.0, 1.0), (128, 100)),
        ((4096, 4096), (1.0, 1.0), (2048, 2048)),
        ((8192, 8192), (4.0, 1.0), (1024, 4096)),
        ((500, 500, 500), (1.0, 1.0, 1.0), (256, 256, 256)),
        # 256^3 voxels of 8 mm^3: 512 mm along each axis
        ((1000, 1000, 1000), (8.0, 1.0, 1.0), (64, 512, 512)),
        ((1, 2000, 2000), (500.0, 0.5, 0.5), (1, 2000, 2000)),
    ],
)
def test_the_search_starts_isotropic_in_mm_within_the_median_image(
    median_shape, spacing_mm, expected
):
    assert initial_patch(median_shape, spacing_mm) == expected


def test_an_image_that_fits_is_taken_whole_and_rounded_up():
    choice = choose((36, 50, 35))
    assert choice.patch_size == (36, 52, 36)
    assert "as a whole" in choice.reasons["patch_size"]


@pytest.mark.parametrize(
    ("median_shape", "spacing_mm", "gpu_memory_gb"),
    [
        ((128, 128), (1.0, 1.0), 8.0),
        ((1000, 900), (1.0, 1.0), 4.0),
        ((400, 512, 512), (1.0, 0.7, 0.7), 8.0),
        ((20, 320, 256), (8.0, 0.6, 0.6), 3.0),
        ((60, 15, 300), (1.0, 1.0, 4.0), 2.0),
        # the strides change while the patch shrinks
        ((278, 38, 41), (5.0, 2.0, 8.0), 2.6),
        ((340, 56), (0.5, 8.0), 1.35),
        # the weights weigh more than the estimate of a shallow network says
        ((320, 320), (1.0, 1.0), 1.6),
    ],
)
def test_the_choice_fits_and_is_a_multiple_of_the_strides(median_shape, spacing_mm, gpu_memory_gb):
    choice = choose(median_shape, spacing_mm, gpu_memory_gb=gpu_memory_gb)
    for axis, edge in enumerate(choice.patch_size):
        assert edge % math.prod(stride[axis] for stride in choice.network.strides) == 0
    assert needed_gb(choice) <= gpu_memory_gb - RESERVED_GB


@pytest.mark.parametrize("median_shape", [(1000, 1000), (400, 400, 400)])
def test_little_memory_is_left_over(median_shape):
    choice = choose(median_shape)
    assert needed_gb(choice) > 0.8 * (8 - RESERVED_GB)


def test_more_memory_gives_a_larger_patch():
    sizes = [
        math.prod(choose((300, 300, 300), gpu_memory_gb=memory).patch_size) for memory in (4, 8, 16)
    ]
    assert sizes == sorted(set(sizes))


def test_the_patch_keeps_the_proportions_of_the_median_image():
    patch = choose((200, 400, 400)).patch_size
    assert patch[1] == pytest.approx(patch[2], abs=16)
    assert patch[0] == pytest.approx(patch[1] / 2, abs=16)


def test_the_batch_is_limited_by_memory_voxels_or_the_largest():
    by_memory = choose((512, 512))
    assert by_memory.batch_size == 8
    assert "memory" in by_memory.reasons["batch_size"]
    by_voxels = choose((64, 64), num_training_voxels=64 * 64 * 200)
    assert by_voxels.batch_size == 10
    assert "5% of the training voxels" in by_voxels.reasons["batch_size"]
    assert choose((64, 64)).batch_size == 32


def test_the_batch_is_never_below_the_least():
    choice = choose((64, 64), num_training_voxels=64 * 64)
    assert choice.batch_size == 8
    assert choice.reasons["batch_size"].startswith("the minimum")


def test_the_reason_names_the_memory_that_limits_the_patch():
    reason = choose((1000, 1000), gpu_memory_gb=6).reasons["patch_size"]
    assert reason.startswith("the largest of which 8 fit into 6 GB")


def test_a_large_gpu_takes_the_largest_patch_that_is_searched():
    choice = choose((300, 300, 300), gpu_memory_gb=200)
    assert choice.patch_size == (256, 256, 256)
    assert choice.reasons["patch_size"].startswith("isotropic in mm")


def test_a_gpu_that_is_too_small_is_an_error_with_what_would_do():
    with pytest.raises(PlansError, match=r"need 1\.\d+ GB of GPU memory, expected at most 1\.05"):
        choose((64, 64), gpu_memory_gb=1.05)


def test_planning_two_configurations_takes_about_a_second():
    durations = []
    for _ in range(2):
        start = time.process_time()
        choose((512, 512))
        choose((400, 512, 512), (1.0, 0.7, 0.7))
        durations.append(time.process_time() - start)
    assert min(durations) < 2  # twice what is wanted: machines differ
