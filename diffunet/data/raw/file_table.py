"""The explicit table `dataset` of dataset.json, which names the training files one by one."""

import os
from pathlib import Path
from typing import Any

from diffunet.data.raw.case_files import CaseFiles, Findings, is_rater
from diffunet.data.raw.dataset_json import DatasetJson
from diffunet.data.raw.label_files import ONLY_RATER
from diffunet.names import canonical, name_problem


def cases_of_table(
    folder: Path, described: DatasetJson, *, findings: Findings
) -> tuple[CaseFiles, ...]:
    """Return the cases of the explicit table: {CASE: {"images": [..], "label": ..}}.

    Several raters are `"labels": {"r00": .., "r01": ..}`. Paths are relative to the dataset folder
    or absolute, and may hold environment variables, as in nnU-Net.
    """
    cases = []
    for name, entry in sorted((described.file_table or {}).items()):
        case = canonical(name)
        images, label = entry.get("images"), entry.get("label")
        labels = entry.get("labels", {}) if label is None else {ONLY_RATER: label}
        if problem := name_problem(case):
            findings.problems.append(
                f"'dataset' of dataset.json: expected names of cases that files can have, found "
                f"{case!r}: {problem}; rename the case"
            )
            continue
        if not _is_list_of_paths(images) or not _is_table_of_raters(labels):
            findings.left_out.add(case)
            findings.problems.append(
                f"case '{case}': expected {{\"images\": [PATH, ..], \"label\": PATH}} in 'dataset' "
                f"of dataset.json, found {entry!r}; correct it"
            )
            continue
        files = CaseFiles(
            case=case,
            images=tuple(_resolve(folder, path) for path in images),
            labels={name: _resolve(folder, path) for name, path in sorted(labels.items())},
        )
        problems = _table_problems(files, described)
        findings.problems.extend(problems)
        if problems:
            findings.left_out.add(case)
            continue
        cases.append(files)
    return tuple(cases)


def _table_problems(files: CaseFiles, described: DatasetJson) -> list[str]:
    problems = []
    num_channels = len(described.channel_names)
    if len(files.images) not in (1, num_channels):
        problems.append(
            f"case '{files.case}': expected {num_channels} images in 'dataset' of dataset.json, "
            f"one per channel, found {len(files.images)}; add or remove files"
        )
    if not files.labels and described.image_labels is None:
        problems.append(
            f"case '{files.case}': expected a 'label' in 'dataset' of dataset.json, found none; "
            "add it or remove the case"
        )
    problems += [
        f"case '{files.case}': expected the file '{path}', named in 'dataset' of dataset.json, "
        "found none; correct the path"
        for path in (*files.images, *files.labels.values())
        if not path.is_file()
    ]
    return problems


def _is_list_of_paths(value: Any) -> bool:
    return isinstance(value, list) and bool(value) and all(isinstance(path, str) for path in value)


def _is_table_of_raters(value: Any) -> bool:
    return isinstance(value, dict) and all(
        is_rater(name) and isinstance(path, str) for name, path in value.items()
    )


def _resolve(folder: Path, path: str) -> Path:
    return folder / os.path.expandvars(path)
