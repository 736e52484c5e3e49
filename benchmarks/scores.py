"""Time the scores beside a loop over pairs and beside MONAI's HD95: python benchmarks/scores.py.

Absolute times differ from machine to machine: what counts are the ratios, of medians of runs that
take turns in one process. Results are checked to be equal before anything is timed.
"""

import itertools
import time
import warnings
from collections.abc import Callable
from functools import partial

import numpy as np
import torch
from monai.metrics.hausdorff_distance import compute_hausdorff_distance
from scipy import ndimage

from diffunet.evaluation.distribution import score_distribution
from diffunet.evaluation.mask_pool import MaskPool
from diffunet.evaluation.scores import score_case
from diffunet.evaluation.surface import surface_distances

NUM_SAMPLES, NUM_RATERS, SIZE = 16, 4, 128
SPACING_MM = (2.0, 1.0, 1.0)


def main() -> None:
    torch.set_num_threads(1)
    warnings.simplefilter("ignore")
    time_distribution_scores()
    time_hd95()


def time_distribution_scores() -> None:
    generator = np.random.default_rng(0)
    masks = np.stack([random_disc(generator) for _ in range(NUM_SAMPLES + NUM_RATERS)])
    samples, raters = masks[:NUM_SAMPLES], masks[NUM_SAMPLES:]
    assert abs(our_scores(samples, raters)["ged"] - loop_scores(samples, raters)["ged"]) < 1e-12
    whole = partial(
        score_case, samples[:, None], raters[:, None], spacing_mm=(1.0, 1.0), blob_volumes=[140.0]
    )
    loop, ours, all_scores = medians(
        partial(loop_scores, samples, raters), partial(our_scores, samples, raters), whole
    )
    print(
        f"distribution scores, {NUM_RATERS} raters x {NUM_SAMPLES} samples x {SIZE} x {SIZE}: "
        f"{1e3 * ours:.2f} ms; a loop over pairs (GED, D_max, S_c, D_a, NCC) {1e3 * loop:.1f} ms, "
        f"{loop / ours:.0f} times as long"
    )
    print(f"  with four trivial answers, consensus and surfaces: {1e3 * all_scores:.2f} ms")


def time_hd95() -> None:
    for name, (first, second) in pairs_of_volumes().items():
        tensors = [torch.from_numpy(mask)[None, None] for mask in (first, second)]
        monai = partial(
            compute_hausdorff_distance,
            *tensors,
            include_background=True,
            percentile=95,
            spacing=SPACING_MM,
        )
        assert np.isclose(our_hd95(first, second), transform_hd95(first, second))
        ours, transform, peer = medians(
            partial(our_hd95, first, second), partial(transform_hd95, first, second), monai
        )
        print(
            f"HD95, {'x'.join(map(str, first.shape))}, {name}: {1e3 * ours:.1f} ms; whole-image "
            f"distance transforms as in medpy {transform / ours:.1f} times, MONAI "
            f"{peer / ours:.1f} times as long"
        )


def medians(*functions: Callable[[], object], num_rounds: int = 7) -> list[float]:
    """Return the median time of each function in seconds, the functions taking turns."""
    times: list[list[float]] = [[] for _ in functions]
    for _ in range(num_rounds):
        for function, taken in zip(functions, times, strict=True):
            start = time.perf_counter()
            function()
            taken.append(time.perf_counter() - start)
    return [float(np.median(taken)) for taken in times]


def our_scores(samples: np.ndarray, raters: np.ndarray) -> dict[str, float]:
    pool = MaskPool.of([*samples, *raters])
    numbers = np.arange(len(samples) + len(raters))
    first, second = numbers[: len(samples)], numbers[len(samples) :]
    return score_distribution(pool, first, second, voxel_volume=1.0, subset_sizes=()).scores


def loop_scores(samples: np.ndarray, raters: np.ndarray) -> dict[str, float]:
    """Score as published code does: four counts per pair of masks, one pair at a time."""
    distances = {
        name: np.mean([1 - iou(a, b) for a, b in itertools.product(first, second)])
        for name, first, second in (
            ("sy", samples, raters),
            ("ss", samples, samples),
            ("yy", raters, raters),
        )
    }
    dice = [max(2 * iou(a, b) / (1 + iou(a, b)) for a in samples) for b in raters]
    either = samples.any(axis=0), raters.any(axis=0)
    spread = [
        max(np.var(a.astype(int) - b.astype(int)) for a, b in itertools.product(masks, masks))
        for masks in (samples, raters)
    ]
    return {
        "ged": float(2 * distances["sy"] - distances["ss"] - distances["yy"]),
        "D_max": float(np.mean(dice)),
        "S_c": float((either[0] & either[1]).sum() / either[1].sum()),
        "D_a": float(1 - abs(spread[0] - spread[1]) / 2),
        "ncc": loop_ncc(samples, raters),
    }


def iou(a: np.ndarray, b: np.ndarray) -> float:
    true_positive, false_positive = np.sum(a & b), np.sum(a & ~b)
    false_negative, _true_negative = np.sum(~a & b), np.sum(~a & ~b)
    total = true_positive + false_positive + false_negative
    return float(true_positive / total) if total else 1.0


def loop_ncc(samples: np.ndarray, raters: np.ndarray) -> float:
    """PHiSeg's NCC by its definition: cross-entropies of one-hot maps, a pair at a time."""

    def cross_entropy(prediction: np.ndarray, target: np.ndarray) -> np.ndarray:
        logs = np.log(np.stack([1.0 - prediction, 1.0 * prediction]) + 1e-8)
        return -(np.stack([1.0 - target, 1.0 * target]) * logs).sum(axis=0)

    mean = samples.mean(axis=0)
    with_mean = np.mean([cross_entropy(sample, mean) for sample in samples], axis=0)
    with_raters = [
        np.mean([cross_entropy(sample, rater) for sample in samples], axis=0) for rater in raters
    ]
    return float(np.mean([np.corrcoef(with_mean.ravel(), e.ravel())[0, 1] for e in with_raters]))


def our_hd95(first: np.ndarray, second: np.ndarray) -> float:
    return surface_distances(first, second, spacing_mm=SPACING_MM).hd95


def transform_hd95(first: np.ndarray, second: np.ndarray) -> float:
    """HD95 in medpy's definition, by a distance transform of the whole image each way."""
    surfaces = [mask ^ ndimage.binary_erosion(mask) for mask in (first, second)]
    distances = [distance_to(target)[source] for source, target in (surfaces, surfaces[::-1])]
    return float(np.percentile(np.concatenate(distances), 95))


def distance_to(target: np.ndarray) -> np.ndarray:
    """Return the distance of every voxel to the nearest of `target`, in mm."""
    return np.asarray(ndimage.distance_transform_edt(~target, sampling=SPACING_MM))


def random_disc(generator: np.random.Generator) -> np.ndarray:
    centre, radius = generator.uniform(56, 72, size=2), generator.uniform(4, 12)
    rows, columns = np.ogrid[:SIZE, :SIZE]
    return (rows - centre[0]) ** 2 + (columns - centre[1]) ** 2 <= radius**2


def pairs_of_volumes() -> dict[str, tuple[np.ndarray, np.ndarray]]:
    def ellipsoid(centre: tuple[int, ...], radii: tuple[int, ...]) -> np.ndarray:
        grid = np.ogrid[:128, :160, :160]
        squares = [((g - c) / r) ** 2 for g, c, r in zip(grid, centre, radii, strict=True)]
        return squares[0] + squares[1] + squares[2] <= 1

    generator = np.random.default_rng(0)
    noise = 3 * ndimage.gaussian_filter(generator.normal(size=(2, 128, 160, 160)), (0, 2, 2, 2))
    near = ellipsoid((64, 80, 80), (20, 40, 35)), ellipsoid((65, 82, 79), (21, 39, 36))
    rough = [ndimage.gaussian_filter(m + n, 1) > 0.5 for m, n in zip(near, noise, strict=True)]
    return {
        "close": near,
        "rough": (rough[0], rough[1]),
        "far apart": (
            ellipsoid((20, 25, 25), (12, 18, 18)),
            ellipsoid((105, 130, 130), (12, 18, 18)),
        ),
        "one inside the other": (
            ellipsoid((64, 80, 80), (50, 60, 60)),
            ellipsoid((64, 80, 80), (10, 12, 12)),
        ),
    }


if __name__ == "__main__":
    main()
