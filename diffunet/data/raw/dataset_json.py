"""What a raw dataset says about itself in `dataset.json`, checked key by key."""

import difflib
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from diffunet.data.image_io import LOSSY_FILE_ENDINGS, supported_file_endings
from diffunet.data.raw.case_files import Findings, listing, nearest
from diffunet.errors import DatasetError
from diffunet.jsonio import read_json
from diffunet.labels import LabelScheme
from diffunet.names import is_number, name_problem
from diffunet.workspace import IMAGES_FOLDER, LABELS_FOLDER, UNFINISHED_PSEUDO_LABELS

_KEYS_READ = (
    "channel_names",
    "labels",
    "file_ending",
    "numTraining",
    "regions_class_order",
    "raters",
    "image_labels",
    "dataset",
)
# Descriptive keys of nnU-Net's and the Decathlon's files; they have no effect.
_KEYS_KNOWN = (
    *_KEYS_READ,
    "name",
    "dataset_name",
    "description",
    "reference",
    "references",
    "license",
    "licence",
    "release",
    "citation",
    "converted_by",
    "modality",
    "tensorImageSize",
    "numTest",
    "training",
    "test",
)
_NOT_ANNOTATED = ("ignore", "ignored", "void", "unlabeled", "unlabelled", "unannotated")
_TYPING_SLIP = 0.8  # similarity of difflib from which an unknown key is taken for a known one


@dataclass(frozen=True, kw_only=True)
class DatasetJson:
    """The content of a `dataset.json` that has no fault.

    Attributes:
        channel_names: in the order of the channels.
        file_ending: as it is written there, with its dot.
        image_labels: name of the table of image-level labels; None where there is none.
        file_table: the explicit `dataset` table; None where the folders say which cases there are.
        num_training: what the file says; None where it does not.
        content: all of it.
    """

    channel_names: tuple[str, ...]
    labels: LabelScheme
    file_ending: str
    has_raters: bool
    image_labels: str | None
    file_table: dict[str, Any] | None
    num_training: int | None
    content: dict[str, Any]


def read_dataset_json(path: Path, *, findings: Findings) -> DatasetJson | None:
    """Read and check `path`; None, with every fault in `findings`, where it has one."""
    if not path.exists() and (path.parent / UNFINISHED_PSEUDO_LABELS).is_dir():
        findings.problems.append(
            f"'{path.parent}': expected a whole dataset, found pseudo-masks that are not finished; "
            "run the command that began them again (diffunet_pseudo_label --continue)"
        )
        return None
    if not path.exists():
        findings.problems.append(
            f"'{path}' does not exist, found {nearest(path.parent, path.name)}; it should hold at "
            "least channel_names, labels and file_ending"
        )
        return None
    try:
        content = read_json(path, DatasetError)
    except DatasetError as error:
        findings.problems.append(
            f"{error}; it should hold at least channel_names, labels and file_ending"
        )
        return None
    if not isinstance(content, dict):
        findings.problems.append(f"dataset.json: expected an object, found {content!r}; correct it")
        return None
    problems = [
        *_key_problems(content),
        *_channel_problems(content.get("channel_names"), content.get("modality")),
        *file_ending_problems(content.get("file_ending")),
        *_option_problems(content),
    ]
    labels = _read_labels(content, problems=problems)
    findings.problems.extend(problems)
    findings.warnings.extend(_key_warnings(content))
    if problems or labels is None:
        return None
    findings.warnings.extend(_ignore_warnings(content["labels"]))
    names = content["channel_names"]
    return DatasetJson(
        channel_names=tuple(names[str(index)] for index in range(len(names))),
        labels=labels,
        file_ending=content["file_ending"],
        has_raters=content.get("raters", False),
        image_labels=content.get("image_labels"),
        file_table=content.get("dataset"),
        num_training=content.get("numTraining"),
        content=content,
    )


def training_list_warnings(described: DatasetJson, num_cases: int) -> list[str]:
    """Return warnings about the list `training` of the Decathlon and nnU-Net v1, which is not used.

    Args:
        num_cases: training cases that were found.
    """
    entries = described.content.get("training")
    if not isinstance(entries, list) or not entries:
        return []
    listed = [entry for entry in entries if isinstance(entry, dict)]
    places = {"image": IMAGES_FOLDER, "label": LABELS_FOLDER}
    elsewhere = {
        str(entry[key])
        for entry in listed
        for key, folder in places.items()
        if isinstance(entry.get(key), str) and Path(entry[key]).parent.name != folder
    }
    found = []
    if elsewhere:
        found.append(f"names files outside of imagesTr and labelsTr ({listing(elsewhere)})")
    if len(entries) != num_cases:
        found.append(f"names {len(entries)} cases where {num_cases} were found")
    if not found:
        return []
    return [
        f"dataset.json: 'training' {' and '.join(found)}, but this list has no effect: the "
        "folders imagesTr and labelsTr decide; use 'dataset' to name files one by one"
    ]


def _read_labels(content: Mapping[str, Any], *, problems: list[str]) -> LabelScheme | None:
    if not _is_list_of_counts(content.get("regions_class_order", [])):
        return None  # a problem already, by its type
    if problem := _turned_labels_problem(content.get("labels")):
        problems.append(problem)
        return None
    try:
        labels = LabelScheme.from_dataset_json(content)
    except DatasetError as error:
        problems += [f"{problem}; correct dataset.json" for problem in error.problems]
        return None
    unknown = sorted(set(labels.class_order) - set(labels.all_values))
    if unknown:
        problems.append(
            f"dataset.json: 'regions_class_order' should hold integers of 'labels', "
            f"{list(labels.all_values)}; found {unknown}; correct it"
        )
    return labels


def _key_problems(content: Mapping[str, Any]) -> list[str]:
    problems = []
    for key in sorted(set(content) - set(_KEYS_KNOWN)):
        meant = difflib.get_close_matches(key, _KEYS_READ, n=1, cutoff=_TYPING_SLIP)
        if meant and meant[0] not in content:
            problems.append(
                f"dataset.json: unknown key '{key}', expected '{meant[0]}'?; rename or remove it"
            )
    return problems


def _key_warnings(content: Mapping[str, Any]) -> list[str]:
    warnings = []
    unknown = set(content) - set(_KEYS_KNOWN) - {"overwrite_image_reader_writer"}
    if unknown:
        warnings.append(f"dataset.json: the keys {listing(unknown)} are unknown and have no effect")
    if "overwrite_image_reader_writer" in content:
        warnings.append(
            "dataset.json: 'overwrite_image_reader_writer' "
            f"({content['overwrite_image_reader_writer']!r}) has no effect: the file ending "
            "decides the reader"
        )
    return warnings


def _ignore_warnings(labels: Mapping[str, Any]) -> list[str]:
    """Return a warning for each label that seems to be meant as the ignore label."""
    if "ignore" in labels:
        return []
    return [
        f"dataset.json: the label '{name}' is learned like every other; if it marks what nobody "
        'annotated, rename it to "ignore"'
        for name in labels
        if re.sub(r"[\W_]+(label|class|region|voxels|pixels)", "", name.casefold())
        in _NOT_ANNOTATED
    ]


def _turned_labels_problem(labels: Any) -> str | None:
    """Return what is wrong where labels are {"0": "background"}, as the Decathlon writes them."""
    if not isinstance(labels, dict) or not labels:
        return None
    if not all(is_number(key) and isinstance(name, str) for key, name in labels.items()):
        return None
    turned = {name: int(key) for key, name in labels.items()}
    return (
        "dataset.json: 'labels' should map names to integers, found integers mapped to names, as "
        f"the Decathlon and nnU-Net v1 have them; write {json.dumps(turned, ensure_ascii=False)}"
    )


def _channel_problems(names: Any, modality: Any) -> list[str]:
    expected = (
        "dataset.json: 'channel_names' should name each channel under its number, like "
        '{"0": "T1", "1": "FLAIR"}'
    )
    if names is None and isinstance(modality, dict) and modality:
        return [
            f"{expected}; found none, but 'modality', its name in nnU-Net v1; rename it to "
            "'channel_names'"
        ]
    if not isinstance(names, dict) or not names:
        return [f"{expected}; found {names!r}; correct it"]
    if set(names) != {str(index) for index in range(len(names))}:
        return [f"{expected}, with numbers consecutive from 0; found {list(names)}; correct it"]
    if not all(isinstance(name, str) and name for name in names.values()):
        return [f"{expected}, each name a text; found {list(names.values())}; correct it"]
    return []


def file_ending_problems(ending: Any) -> list[str]:
    """Return what is wrong with a `file_ending`, which becomes the end of every file's name."""
    supported = ", ".join(supported_file_endings())
    if not isinstance(ending, str) or ending.lower() not in supported_file_endings():
        why = (
            " (lossy: it alters images and labels); convert the originals to .png"
            if isinstance(ending, str) and ending.lower() in LOSSY_FILE_ENDINGS
            else "; write it with its dot, or convert the files"
        )
        return [f"dataset.json: 'file_ending' should be one of {supported}; found {ending!r}{why}"]
    return []


def _option_problems(content: Mapping[str, Any]) -> list[str]:
    checks = (
        ("raters", "true or false", lambda value: isinstance(value, bool)),
        ("image_labels", "the name of a CSV file", _is_file_name),
        ("dataset", "a table {CASE: {images: [..], label: ..}}", lambda value: _is_table(value)),
        ("numTraining", "the number of training cases", _is_count),
        ("regions_class_order", "a list of integers", _is_list_of_counts),
    )
    return [
        f"dataset.json: '{key}' should be {expected}; found {content[key]!r}; correct or remove it"
        for key, expected, is_valid in checks
        if key in content and not is_valid(content[key])
    ]


def _is_table(value: Any) -> bool:
    return isinstance(value, dict) and all(isinstance(entry, dict) for entry in value.values())


def _is_file_name(value: Any) -> bool:
    return isinstance(value, str) and name_problem(value) is None


def _is_count(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value >= 0


def _is_list_of_counts(value: Any) -> bool:
    return isinstance(value, list) and all(map(_is_count, value))
