"""Miniatures of public photographs with several observers, in their true layout."""

import gzip
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

SHAPE = (12, 10)


def save(path: Path, array: np.ndarray, **options: Any) -> Path:
    """Save (y, x) or (y, x, 3), packed where the name ends in .gz."""
    path.parent.mkdir(parents=True, exist_ok=True)
    target = path.with_suffix("") if path.suffix == ".gz" else path
    Image.fromarray(array).save(target, **options)
    if path.suffix == ".gz":
        path.write_bytes(gzip.compress(target.read_bytes()))
        target.unlink()
    return path


def photograph(seed: int) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (*SHAPE, 3), dtype=np.uint8)


def mask(seed: int) -> np.ndarray:
    """Return (y, x) of True and False, both of them."""
    drawn = np.random.default_rng(seed).random(SHAPE) > 0.5
    drawn[0, :2] = (False, True)
    return drawn


def white(seed: int) -> np.ndarray:
    return mask(seed).astype(np.uint8) * 255


def chase(folder: Path, *, num_children: int = 2) -> Path:
    """Make CHASE_DB1: masks of one bit, all in one folder, with macOS' leftovers; returns it."""
    source = folder / "CHASEDB1"
    for child in range(1, num_children + 1):
        for side, eye in enumerate("LR"):
            name, seed = f"Image_{child:02d}{eye}", 100 * child + 10 * side
            save(source / f"{name}.jpg", photograph(seed))
            for number, observer in enumerate(("1stHO", "2ndHO")):
                save(source / f"{name}_{observer}.png", mask(seed + number))
            (source / f"._{name}.jpg").write_bytes(b"\0" * 30)
    (folder / "CHASEDB1" / "__MACOSX").mkdir()
    save(folder / "CHASEDB1" / "__MACOSX" / "Image_01L.jpg", photograph(1))
    return source


def drive(folder: Path, *, has_test_masks: bool = True) -> Path:
    """Make DRIVE, with its masks of the field of view; returns the folder."""
    source = folder / "DRIVE"
    for part, numbers in (("training", (21, 22)), ("test", (1, 2))):
        for number in numbers:
            name = f"{number:02d}_{part}"
            save(source / part / "images" / f"{name}.tif", photograph(number))
            save(source / part / "mask" / f"{name}_mask.gif", white(number + 5))
            observers = {"training": (1,), "test": (1, 2) if has_test_masks else ()}[part]
            for observer in observers:
                place = source / part / ("1st_manual", "2nd_manual")[observer - 1]
                save(place / f"{number:02d}_manual{observer}.gif", white(number + 50 * observer))
    return source


def stare(folder: Path, *, packed: bool = True) -> Path:
    """Make STARE as its three archives unpack; returns the folder above them."""
    source = folder / "STARE"
    ending = ".ppm.gz" if packed else ".ppm"
    for number in (1, 44):
        name = f"im{number:04d}"
        save(source / "stare-images" / f"{name}{ending}", photograph(number))
        for observer, initials in enumerate(("ah", "vk")):
            values = white(number + 50 * observer)
            save(source / f"labels-{initials}" / f"{name}.{initials}{ending}", values)
    return source
