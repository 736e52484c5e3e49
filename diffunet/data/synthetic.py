"""A small generated dataset whose true distribution of expert masks is known exactly.

Every image shows one disc-like lesion with a fainter halo around it. A rater sees nothing with
probability 1 - p, and otherwise draws either the core or the core with its halo (probability q).
Both numbers are visible in the image: p is the lesion's brightness, q that of its halo.
"""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from scipy.ndimage import gaussian_filter

from diffunet.data.image_io import ImageGeometry, write_label_map
from diffunet.jsonio import write_json, write_text
from diffunet.randomness import numpy_generator
from diffunet.workspace import DATASET_FILE, PATIENTS_FILE

_BACKGROUND = 70.0
_TEXTURE_STD = 10.0
_NOISE_STD = 6.0
_LESION_CONTRAST = (25.0, 150.0)
_HALO_WIDTH = 1.6


@dataclass(frozen=True, kw_only=True)
class Scene:
    """One image's lesion.

    Attributes:
        centre, radii: voxels, in array order.
        angle: of the first radius, radians.
        presence: p, the probability that a rater sees the lesion.
        halo: q, the probability that a rater who sees it includes the halo.
    """

    size: tuple[int, int]
    centre: tuple[float, float]
    radii: tuple[float, float]
    angle: float
    presence: float
    halo: float

    def outcomes(self) -> tuple[np.ndarray, np.ndarray]:
        """Return every mask that a rater may draw, (3, y, x) bool, and its probability, (3,).

        The masks are: nothing, the core, the core with its halo.
        """
        distance = self._distance()
        masks = np.stack([np.zeros(self.size, bool), distance <= 1, distance <= _HALO_WIDTH])
        probabilities = np.array(
            [1 - self.presence, self.presence * (1 - self.halo), self.presence * self.halo]
        )
        return masks, probabilities

    def draw_masks(self, number: int, generator: np.random.Generator) -> np.ndarray:
        """Return masks of `number` independent raters, (rater, y, x) bool."""
        masks, probabilities = self.outcomes()
        return masks[generator.choice(len(masks), size=number, p=probabilities)]

    def render(self, generator: np.random.Generator) -> np.ndarray:
        """Return the image, (y, x) uint8."""
        distance = self._distance()
        low, high = _LESION_CONTRAST
        contrast = low + (high - low) * self.presence
        profile = np.where(
            distance <= 1, 1.0, np.where(distance <= _HALO_WIDTH, 0.7 * self.halo, 0)
        )
        texture = gaussian_filter(generator.normal(size=self.size), 2.5)
        image = _BACKGROUND + texture * (_TEXTURE_STD / texture.std())
        image += contrast * gaussian_filter(profile, 0.5)
        image += generator.normal(0, _NOISE_STD, self.size)
        return np.clip(np.rint(image), 0, 255).astype(np.uint8)

    def _distance(self) -> np.ndarray:
        """Return the distance from the centre in units of the core's radius, per voxel."""
        rows, columns = np.indices(self.size).astype(float)
        rows, columns = rows - self.centre[0], columns - self.centre[1]
        cosine, sine = np.cos(self.angle), np.sin(self.angle)
        along, across = cosine * rows + sine * columns, cosine * columns - sine * rows
        return np.hypot(along / self.radii[0], across / self.radii[1])


def scene_of_case(case: str, *, size: tuple[int, int], seed: int) -> Scene:
    """Return the scene of a case of `write_ambiguous_dataset`; a pure function of its arguments."""
    generator = numpy_generator(seed, "scene", case)
    radii = generator.uniform(0.08, 0.15, 2) * min(size)
    margin = _HALO_WIDTH * radii.max() + 1
    return Scene(
        size=size,
        centre=tuple(float(generator.uniform(margin, edge - margin)) for edge in size),  # type: ignore[arg-type]
        radii=(float(radii[0]), float(radii[1])),
        angle=float(generator.uniform(0, np.pi)),
        presence=float(generator.uniform(0.15, 0.95)),
        halo=float(generator.uniform(0.1, 0.9)),
    )


def write_ambiguous_dataset(
    folder: Path,
    *,
    num_training: int,
    num_test: int,
    num_raters: int = 4,
    size: tuple[int, int] = (64, 64),
    seed: int = 0,
) -> None:
    """Write a raw dataset of PNG images with several raters into `folder`.

    Two neighbouring cases each belong to one patient.
    """
    geometry = ImageGeometry(shape=size, spacing_mm=(1.0, 1.0), has_spacing=False)
    patients = ["case,patient"]
    for index in range(num_training + num_test):
        part = "Tr" if index < num_training else "Ts"
        case = f"synthetic{index:04d}"
        patients.append(f"{case},patient{index // 2:04d}")
        scene = scene_of_case(case, size=size, seed=seed)
        generator = numpy_generator(seed, "drawing", case)
        image = scene.render(generator)
        write_label_map(folder / f"images{part}" / f"{case}_0000.png", image, geometry)
        for rater, mask in enumerate(scene.draw_masks(num_raters, generator)):
            path = folder / f"labels{part}" / f"{case}_r{rater:02d}.png"
            write_label_map(path, mask, geometry)
    write_text(folder / PATIENTS_FILE, "\n".join(patients) + "\n")
    content = {
        "channel_names": {"0": "generated image"},
        "labels": {"background": 0, "lesion": 1},
        "raters": True,
        "numTraining": num_training,
        "file_ending": ".png",
    }
    write_json(folder / DATASET_FILE, content)
