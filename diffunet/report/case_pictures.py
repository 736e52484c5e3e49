"""Which cases of a page get pictures, and how much room each of them has."""

import time
from collections.abc import Mapping, Sequence
from dataclasses import replace

import numpy as np

from diffunet.data.image_io import read_label_map
from diffunet.errors import DiffunetError
from diffunet.labels import LabelScheme
from diffunet.report.case_arrays import CaseFiles
from diffunet.report.case_facts import CaseFacts, Volumes
from diffunet.report.case_inputs import CaseInputs
from diffunet.report.case_views import Limits, view_case
from diffunet.report.charts import counted

MOST_PICTURED = 200
_TOTAL_BYTES = 24 * 2**20


def with_pictures(
    facts: Sequence[CaseFacts],
    files: Mapping[str, CaseFiles],
    inputs: Mapping[str, CaseInputs],
    labels: LabelScheme,
    *,
    order: str,
    max_seconds: float | None,
    notes: list[str],
) -> list[CaseFacts]:
    """Add pictures and raters' volumes, in this order, until there are enough or time is up.

    Args:
        order: in words, how the cases are sorted.
        max_seconds: after so long no more cases get pictures.
        notes: gets sentences about what is not shown.
    """
    begun = time.monotonic()
    limits = Limits.for_cases(min(len(facts), MOST_PICTURED), total_bytes=_TOTAL_BYTES)
    done: list[CaseFacts] = []
    num_left, failed, was_late = 0, [], False
    for number_of, each in enumerate(facts):
        is_late = max_seconds is not None and time.monotonic() - begun > max_seconds
        if is_late or number_of >= MOST_PICTURED:
            num_left += 1
            was_late |= number_of < MOST_PICTURED
            done.append(replace(each, note="No pictures: see the notes above."))
            continue
        try:
            view = view_case(files[each.name], inputs[each.name], labels, limits=limits)
            volumes = _with_raters(each.volumes, inputs[each.name], labels)
            note = "" if view else "No pictures: there is no file of this case."
            done.append(replace(each, view=view, volumes=volumes, note=note))
        except (DiffunetError, ValueError, IndexError, OSError) as cause:
            failed.append(each.name)
            done.append(replace(each, note=f"No pictures: {cause}"))
    if num_left:
        notes.append(_without_pictures(num_left, len(facts), order=order, was_late=was_late))
    if failed:
        whose = counted(len(failed), "case")
        notes.append(f"Files of {whose} cannot be shown, such as {failed[0]}.")
    if any(each.view for each in done):
        notes.append(
            "Pictures are reduced to 8 bit and to at most "
            f"{limits.edge} pixels, {limits.num_slices} slices and {limits.num_samples} samples a "
            "case; the files hold everything."
        )
    return done


def _without_pictures(num_left: int, num_cases: int, *, order: str, was_late: bool) -> str:
    """Return which cases have no pictures, and why."""
    said = "There are no pictures"
    if num_left < num_cases:
        said = (
            f"Pictures are of the first {counted(num_cases - num_left, 'case')} of the table "
            f"({order}), the other {num_left} have none"
        )
    if was_late:
        return (
            f"{said}, to keep the prediction quick; diffunet_report with this folder makes those "
            f"of {min(num_cases, MOST_PICTURED)} cases."
        )
    return f"{said}: a page has those of at most {MOST_PICTURED} cases, to stay small."


def _with_raters(
    volumes: Sequence[Volumes], inputs: CaseInputs, labels: LabelScheme
) -> tuple[Volumes, ...]:
    if not inputs.references or not volumes:
        return tuple(volumes)
    found: dict[str, list[float]] = {label: [] for label in labels.names}
    for path in inputs.references.values():
        label_map, geometry = read_label_map(path)
        voxel = float(np.prod(geometry.spacing_mm))
        for label, mask in zip(labels.names, labels.masks(label_map), strict=True):
            found[label].append(float(np.count_nonzero(mask)) * voxel)
    return tuple(replace(each, raters=tuple(found.get(each.label, ()))) for each in volumes)
