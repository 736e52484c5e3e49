"""What the folds of one model share: its folder holds one `dataset.json` for all of them."""

from pathlib import Path
from typing import Any

from diffunet.errors import WorkspaceError
from diffunet.jsonio import read_json
from diffunet.workspace import DATASET_FILE

_DECISIVE = ("labels", "regions_class_order", "channel_names", "file_ending", "image_labels")
"""Keys of `dataset.json` that the weights of every fold belong to."""


def preprocessed_description(preprocessed_folder: Path) -> Any:
    """Return the content of the `dataset.json` of a preprocessed dataset.

    Raises:
        WorkspaceError: it is missing or damaged.
    """
    return read_json(
        preprocessed_folder / DATASET_FILE,
        WorkspaceError,
        remedy="put the preprocessed folder back, or write it with diffunet_plan_and_preprocess "
        f"-d {preprocessed_folder.name}",
    )


def check_same_dataset(model_folder: Path, preprocessed_folder: Path) -> None:
    """Check that folds trained before had the dataset that is to be trained on now.

    The model's `dataset.json` is replaced when a fold starts. If the new one says something else,
    the folds trained before could not be used any more.

    Raises:
        WorkspaceError: a decisive key differs, and there is a checkpoint of some fold.
    """
    path = model_folder / DATASET_FILE
    trained = sorted({each.parent.name for each in model_folder.glob("fold_*/checkpoint_*.pth")})
    if not trained or not path.is_file():
        return
    before = read_json(path, WorkspaceError)
    now = preprocessed_description(preprocessed_folder)
    changed = [key for key in _DECISIVE if _value(before, key) != _value(now, key)]
    if changed:
        listing = "; ".join(
            f"'{key}' was {_value(before, key)} and is {_value(now, key)}" for key in changed
        )
        raise WorkspaceError(
            f"'{model_folder}' holds {', '.join(trained)}, trained on a dataset with another "
            f"description ({listing}); move that folder to keep what it holds, plan under another "
            "name (-overwrite_plans_name), or put dataset.json back"
        )


def _value(content: Any, key: str) -> Any:
    return content.get(key) if isinstance(content, dict) else None
