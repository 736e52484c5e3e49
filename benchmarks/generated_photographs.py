"""Write photographs of the eye's background as a raw dataset: disc and cup, drawn by six raters.

    python benchmarks/generated_photographs.py raw/Dataset021_Fundus

They stand in for data such as RIGA (photographs of many sizes with the optic disc and its cup, six
raters), which may not be shipped: 120 images for training and 24 for testing, of 480 to 759 rows.
The background varies in brightness. Rater k draws larger cups than rater k - 1 on average, and all
of them differ by chance. Run again, it writes the same files.
"""

import argparse
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import cast

import numpy as np
from PIL import Image
from scipy import ndimage

from diffunet.jsonio import write_json

NUM_RATERS = 6
NUM_CASES = {"Tr": 120, "Ts": 24}


@dataclass(frozen=True, kw_only=True)
class Ellipse:
    """A wavy outline; all in pixels and radians."""

    centre: tuple[float, float]
    radii: tuple[float, float]
    angle: float
    waves: tuple[float, float, float, float]

    def distance(self, rows: np.ndarray, columns: np.ndarray) -> np.ndarray:
        """Return 0 at the centre and 1 at the outline."""
        down, right = rows - self.centre[0], columns - self.centre[1]
        along = right * np.cos(self.angle) + down * np.sin(self.angle)
        across = -right * np.sin(self.angle) + down * np.cos(self.angle)
        around = np.arctan2(across / self.radii[0], along / self.radii[1])
        two, two_at, three, three_at = self.waves
        wave = 1 + two * np.cos(2 * around + two_at) + three * np.cos(3 * around + three_at)
        return np.hypot(along / self.radii[1], across / self.radii[0]) / wave


def main(words: Sequence[str] | None = None) -> None:
    """Write the dataset."""
    parser = argparse.ArgumentParser(description="Write photographs as a raw dataset.")
    parser.add_argument("folder", type=Path)
    folder = parser.parse_args(words).folder
    for part, count in NUM_CASES.items():
        images, labels = folder / f"images{part}", folder / f"labels{part}"
        images.mkdir(parents=True, exist_ok=True)
        labels.mkdir(exist_ok=True)
        for number in range(count):
            rng = np.random.default_rng([0, part == "Ts", number])
            photograph, masks = photograph_and_masks(rng)
            case = f"{part.lower()}eye{number:03d}"
            Image.fromarray(photograph).save(images / f"{case}_0000.png")
            for rater, mask in enumerate(masks):
                Image.fromarray(mask).save(labels / f"{case}_r{rater:02d}.png")
    description = {
        "channel_names": {"0": "R", "1": "G", "2": "B"},
        "labels": {"background": 0, "disc": [1, 2], "cup": 2},
        "regions_class_order": [1, 2],
        "numTraining": NUM_CASES["Tr"],
        "file_ending": ".png",
        "raters": True,
    }
    write_json(folder / "dataset.json", description)


def photograph_and_masks(rng: np.random.Generator) -> tuple[np.ndarray, list[np.ndarray]]:
    """Return a photograph (row, column, RGB) and a mask of each rater (row, column), uint8."""
    num_rows = int(rng.integers(480, 760))
    num_columns = int(num_rows * rng.uniform(1.0, 1.35))
    shape = (num_rows, num_columns)
    rows, columns = np.mgrid[:num_rows, :num_columns].astype(float)
    radius, middle = num_rows * 0.48, (num_rows / 2, num_columns / 2)
    from_middle = np.hypot(rows - middle[0], columns - middle[1])
    disc, cup = outlines(rng, num_rows, middle, radius)
    of_disc, of_cup = disc.distance(rows, columns), cup.distance(rows, columns)
    light = (
        0.42 + 0.06 * texture(rng, shape, num_rows / 8) + 0.02 * texture(rng, shape, num_rows / 40)
    )
    light -= 0.25 * (from_middle / radius) ** 2 * rng.uniform(0.3, 1)
    light += rng.uniform(0.12, 0.3) * edge(of_disc, rng.uniform(0.03, 0.12))
    light += rng.uniform(0.08, 0.25) * edge(of_cup, rng.uniform(0.08, 0.3))
    vessels = drawn_vessels(rng, shape, disc.centre, radius)
    light -= rng.uniform(0.1, 0.2) * vessels
    colours = [light * 1.35 + 0.12, light * 0.85, light * 0.45]
    photograph = np.stack([np.clip(colour, 0, 1) for colour in colours], axis=-1)
    photograph += rng.normal(0, 0.015, photograph.shape)
    photograph *= (from_middle < radius)[..., None]
    masks = [
        rater_mask(
            rng, rater, of_disc, of_cup, np.arctan2(rows - cup.centre[0], columns - cup.centre[1])
        )
        for rater in range(NUM_RATERS)
    ]
    return (np.clip(photograph, 0, 1) * 255).astype(np.uint8), masks


def outlines(
    rng: np.random.Generator, num_rows: int, middle: tuple[float, float], radius: float
) -> tuple[Ellipse, Ellipse]:
    """Return those of the disc and of the cup in it."""
    side = rng.choice([-1, 1])
    centre = (
        middle[0] + rng.normal(0, 0.04) * num_rows,
        middle[1] + side * rng.uniform(0.1, 0.55) * radius,
    )
    size = num_rows * rng.uniform(0.055, 0.085)
    tall, wide = size * rng.uniform(1, 1.15), size * rng.uniform(0.9, 1)
    angle = rng.uniform(-0.3, 0.3)
    waves = (rng.uniform(0, 0.04), rng.uniform(0, 6), rng.uniform(0, 0.03), rng.uniform(0, 6))
    share = rng.uniform(0.3, 0.8)
    inner = (centre[0] + rng.normal(0, 0.04) * size, centre[1] + rng.normal(0, 0.05) * size)
    disc = Ellipse(centre=centre, radii=(tall, wide), angle=angle, waves=waves)
    radii = (tall * share * rng.uniform(0.95, 1.1), wide * share)
    return disc, Ellipse(centre=inner, radii=radii, angle=angle, waves=waves)


def texture(rng: np.random.Generator, shape: tuple[int, int], size: float) -> np.ndarray:
    """Return smooth noise with a standard deviation of 1."""
    smooth = ndimage.gaussian_filter(rng.standard_normal(shape), size)
    return smooth / smooth.std()


def edge(distance: np.ndarray, width: float) -> np.ndarray:
    """Return 1 inside of an outline and 0 outside, with an edge of a width."""
    return 1 / (1 + np.exp(np.clip((distance - 1) / width, -40, 40)))


def drawn_vessels(
    rng: np.random.Generator, shape: tuple[int, int], start: tuple[float, float], radius: float
) -> np.ndarray:
    """Return 14 lines that wander from the disc and get thinner: 1 in their middle, 0 outside."""
    widths = np.zeros(shape)
    for _ in range(14):
        row, column, direction = start[0], start[1], rng.uniform(0, 2 * np.pi)
        width = rng.uniform(0.6, 1.4) * shape[0] / 130
        for _ in range(int(radius)):
            direction += rng.normal(0, 0.06)
            row += 1.2 * np.sin(direction)
            column += 1.2 * np.cos(direction)
            if not (2 < row < shape[0] - 3 and 2 < column < shape[1] - 3):
                break
            here = int(row), int(column)
            widths[here] = max(widths[here], width)
            width *= 0.998
    found = ndimage.distance_transform_edt(widths == 0, return_indices=True)
    distance, nearest = cast("tuple[np.ndarray, np.ndarray]", found)
    return np.clip(widths[tuple(nearest)] - distance, 0, 1.5) / 1.5


def rater_mask(
    rng: np.random.Generator,
    rater: int,
    of_disc: np.ndarray,
    of_cup: np.ndarray,
    around: np.ndarray,
) -> np.ndarray:
    """Return what a rater draws: 1 in the rim of the disc, 2 in the cup."""
    bias = 1 + 0.16 * (rater - 2.5) / 2.5
    cup_size, disc_size = bias * np.exp(rng.normal(0, 0.07)), np.exp(rng.normal(0, 0.03))
    wave = 0.03 * np.cos(2 * around + rng.uniform(0, 6))
    mask = (of_disc < disc_size).astype(np.uint8)
    mask[(of_cup * (1 + wave) < cup_size) & (of_disc < disc_size)] = 2
    return mask


if __name__ == "__main__":
    main()
