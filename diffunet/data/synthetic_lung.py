"""Generated images that look like CT slices around a lung nodule; see `synthetic`.

They show dark lung with vessels, the chest wall with a rib, and a nodule in the centre. They are
drawings to look at what a model of CT slices draws. Nothing of patients follows from them.
"""

import dataclasses

import numpy as np
from scipy.ndimage import gaussian_filter

from diffunet.data.synthetic import Lesion, Scene, SceneFamily, scene_of_case

LUNG_FAMILY = SceneFamily(size=(128, 128), radius=(0.025, 0.09))

_LUNG, _TISSUE, _BONE = 16.0, 100.0, 190.0  # brightness, as in slices min-max scaled to 8 bits
_VESSEL_CONTRASTS = (25.0, 70.0)
_NODULE_CONTRASTS = (25.0, 95.0)  # of the nodule that fewest see, and of the surest
_RIM_CONTRAST = 0.6
_NUM_VESSELS = 14
_NOISE_STD = 3.0


def lung_scene(case: str, *, seed: int) -> Scene:
    """Return the scene of a case, with its nodule in the centre; a pure function."""
    scene = scene_of_case(case, LUNG_FAMILY, seed=seed)
    centre = tuple(edge / 2 for edge in LUNG_FAMILY.size)
    nodules = tuple(dataclasses.replace(each, centre=centre) for each in scene.lesions)
    return dataclasses.replace(scene, lesions=nodules)


def render_lung(scene: Scene, generator: np.random.Generator) -> np.ndarray:
    """Return the image of a scene, *size, uint8, from 0 to 255."""
    size = scene.family.size
    image = _LUNG + _vessels(size, generator)
    for nodule in scene.lesions:
        image = np.maximum(image, _LUNG + _nodule(nodule, size))
    wall, tissue = _chest_wall(size, generator)
    image = (1 - wall) * image + wall * tissue + generator.normal(0, _NOISE_STD, size)
    darkest, brightest = image.min(), image.max()
    return np.rint(255 * (image - darkest) / (brightest - darkest)).astype(np.uint8)


def _nodule(nodule: Lesion, size: tuple[int, ...]) -> np.ndarray:
    weak, strong = _NODULE_CONTRASTS
    distance = nodule.distance(size)
    rim = nodule.outlines(size, 2)[-1] * _RIM_CONTRAST * nodule.halo
    contrast = weak + (strong - weak) * nodule.presence
    return contrast * gaussian_filter(np.where(distance <= 1, 1.0, rim), 1)


def _vessels(size: tuple[int, ...], generator: np.random.Generator) -> np.ndarray:
    """Return the contrast of short lines that bend a little."""
    vessels = np.zeros(size)
    for _ in range(_NUM_VESSELS):
        place, angle = generator.uniform(0, 1, 2) * size, generator.uniform(0, 2 * np.pi)
        turns = generator.normal(0, 0.15, int(generator.integers(2, 26)))
        angles = angle + np.cumsum(turns)
        path = place + np.cumsum(np.stack([np.cos(angles), np.sin(angles)], axis=1), axis=0)
        voxels = np.rint(path).astype(int)
        inside = voxels[((voxels >= 0) & (voxels < size)).all(axis=1)]
        line = np.zeros(size)
        line[tuple(inside.T)] = 1
        line = gaussian_filter(line, generator.uniform(0.5, 1.6))
        contrast = generator.uniform(*_VESSEL_CONTRASTS)
        vessels = np.maximum(vessels, contrast * line / max(line.max(), 1e-6))
    return vessels


def _chest_wall(
    size: tuple[int, ...], generator: np.random.Generator
) -> tuple[np.ndarray, np.ndarray]:
    """Return the share of the wall in each voxel, and its brightness with a rib in it.

    The lung is a large circle that covers the centre; what is outside is wall.
    """
    side, radius = generator.uniform(0, 2 * np.pi), generator.uniform(60, 110)
    nearest = generator.uniform(28, 45)  # from the image's centre to the wall
    towards = np.array([np.cos(side), np.sin(side)])
    middle = np.array(size) / 2 + towards * (nearest - radius)
    rows, columns = np.indices(size) - middle.reshape(2, 1, 1)
    depth = np.hypot(rows, columns) - radius
    wall = gaussian_filter((depth > 0).astype(float), 0.8)
    turned = side + generator.uniform(-0.2, 0.2)
    along = radius * (np.cos(turned) * columns - np.sin(turned) * rows) / np.hypot(rows, columns)
    is_outwards = np.cos(turned) * rows + np.sin(turned) * columns > 0
    rib = (((depth - 9) / 4) ** 2 + (along / 14) ** 2 < 1) & is_outwards
    return wall, _TISSUE + (_BONE - _TISSUE) * gaussian_filter(rib.astype(float), 1.2)
