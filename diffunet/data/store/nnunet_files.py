"""Preprocessed folders that are nnU-Net's: its files have names that ours have too."""

from pathlib import Path
from typing import Any

from diffunet.errors import DiffunetError, WorkspaceError
from diffunet.jsonio import read_json

# Keys that every version of nnU-Net v2 writes, and no file of ours has at its top.
_OF_A_FINGERPRINT = {"spacings", "shapes_after_crop"}
_OF_PLANS = {"experiment_planner_used", "original_median_shape_after_transp", "image_reader_writer"}
_FOLDERS = ("gt_segmentations",)


def is_nnunet_json(path: Path) -> bool:
    """Whether a JSON file is a fingerprint or plans of nnU-Net; not where it cannot be read."""
    try:
        content: Any = read_json(path)
    except DiffunetError:
        return False
    if not isinstance(content, dict):
        return False
    return content.keys() >= _OF_A_FINGERPRINT or bool(_OF_PLANS & content.keys())


def refuse_nnunet_folder(folder: Path) -> None:
    """Check that nnU-Net did not preprocess into `folder`, which need not exist.

    Raises:
        WorkspaceError: it did; both would write `dataset_fingerprint.json` and `dataset.json`, and
            neither can read the other's.
    """
    found = [path.name for path in sorted(folder.glob("*.json")) if is_nnunet_json(path)]
    found += [name for name in _FOLDERS if (folder / name).is_dir()]
    if found:
        raise WorkspaceError(
            f"'{folder}' is nnU-Net's: expected a folder of our own for preprocessed data, found "
            f"{', '.join(found)}; nothing was changed. Choose another one with the environment "
            "variable diffunet_preprocessed, or with --workspace (raw data can be shared: "
            "diffunet_raw may name nnUNet_raw)"
        )
