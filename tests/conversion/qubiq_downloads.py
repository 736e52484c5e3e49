"""A miniature of QUBIQ 2021, with axes as its structures have them."""

from pathlib import Path

import numpy as np

from tests.conversion.downloads import save_nifti

# Axes (x, y, ...) of images and of masks, number of tasks, raters.
STRUCTURES = {
    "brain-growth": ((9, 8), (9, 8), 1, 3),
    "brain-tumor": ((8, 7, 4), (8, 7), 3, 3),
    "kidney": ((9, 9), (9, 9), 1, 3),
    "pancreas": ((5, 11, 12), (5, 11, 12), 1, 2),
    "prostate": ((9, 6, 1), (9, 6, 1), 2, 6),
}
SPACING = (0.5, 0.75, 1.5)


def qubiq(folder: Path, *structures: str) -> Path:
    """Make some structures, two training cases and one for validation each; returns the folder."""
    source = folder / "QUBIQ"
    for structure in structures:
        is_volume = structure == "pancreas"
        inside = ("", "") if is_volume else ("Training", "Validation")
        names = ("case1-1", "case1-2", "case13-1") if is_volume else ("case01", "case02", "case35")
        for number, name in enumerate(names):
            part, year = (
                ("validation_data_qubiq2021_QC", inside[1])
                if number == 2
                else ("training_data_v3_QC", inside[0])
            )
            case(source / part / structure / year / name, structure, seed=number)
    return source


def case(folder: Path, structure: str, *, seed: int) -> None:
    """Make the files of one case; the last rater of the second one was not asked."""
    shape, mask_shape, num_tasks, num_raters = STRUCTURES[structure]
    random = np.random.default_rng(seed)
    spacing = SPACING if structure != "brain-tumor" else (*SPACING[:2], 1.0)
    image = random.normal(0, 300, shape)
    save_nifti(folder / "image.nii.gz", image, spacing=spacing)
    (folder / "._image.nii.gz").write_bytes(b"\0" * 30)
    for task in range(1, num_tasks + 1):
        for rater in range(1, num_raters + 1 - (seed == 1)):
            mask = (random.random(mask_shape) > 0.5).astype(np.float64)
            name = f"task{task:02d}_seg{rater:02d}.nii.gz"
            save_nifti(folder / name, mask, spacing=spacing)
