"""The `dataset.json` of the Decathlon, which nnU-Net v1 took over."""

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from diffunet.conversion.tree import files_below, nothing_found
from diffunet.errors import DatasetError
from diffunet.jsonio import read_object
from diffunet.names import is_number
from diffunet.workspace import DATASET_FILE

_TASK_FOLDER = re.compile(r"Task([0-9]{1,3})_(.+)")
_KEPT = ("name", "description", "reference", "licence", "license", "release")


def task_of(source: Path) -> tuple[int | None, str]:
    """Return number and name of a folder like Task04_Hippocampus; None and its name for others."""
    matched = _TASK_FOLDER.fullmatch(source.name)
    return (int(matched[1]), matched[2]) if matched else (None, source.name)


def read_description(source: Path) -> dict[str, Any]:
    """Return the content of `dataset.json`.

    Raises:
        DatasetError: `source` has no such file, it is no JSON object, or it is one of nnU-Net v2.
    """
    path = source / DATASET_FILE
    layout = "a folder like Task04_Hippocampus with a dataset.json"
    if not path.is_file():
        files = files_below(source)
        near = [source.parent / DATASET_FILE, *(each for each in files if each.name == path.name)]
        for each in near:
            if each.is_file():
                raise DatasetError(
                    f"'{source}': expected {layout}, found none; did you mean '{each.parent}'?"
                )
        raise nothing_found(source, files, layout=layout)
    content = read_object(path, DatasetError)
    if "channel_names" in content:
        raise DatasetError(
            f"'{path}' has 'channel_names', as nnU-Net v2 writes it: the folder is a raw dataset "
            "already; put it, or a link to it, into the raw folder as DatasetXXX_NAME"
        )
    return content


def new_description(source: Path, content: Mapping[str, Any]) -> dict[str, Any]:
    """Return the new `dataset.json` for an old one that was read from `source`.

    Raises:
        DatasetError: it lacks 'modality' or 'labels', or they are no numbered tables.
    """
    modality = _numbered(source, content, "modality", '{"0": "MRI"}')
    labels = _numbered(source, content, "labels", '{"0": "background", "1": "tumour"}')
    return {
        **{key: content[key] for key in _KEPT if key in content},
        "channel_names": {str(number): name for number, name in enumerate(modality)},
        "labels": {"background": 0}
        | {name or f"label {number}": number for number, name in enumerate(labels) if number},
        "file_ending": ".nii.gz",
    }


def _numbered(source: Path, content: Mapping[str, Any], key: str, example: str) -> list[str]:
    """Return the names of a table {"0": NAME, ...}, in the order of the numbers."""
    table = content.get(key)
    if isinstance(table, dict) and table and all(is_number(each) for each in table):
        by_number = {int(number): str(name).strip() for number, name in table.items()}
        if sorted(by_number) == list(range(len(by_number))):
            return [by_number[number] for number in sorted(by_number)]
    raise DatasetError(
        f"'{source / DATASET_FILE}': expected '{key}' like {example}, numbered from 0 without "
        f"a gap, found {table!r:.200}; correct it there"
    )
