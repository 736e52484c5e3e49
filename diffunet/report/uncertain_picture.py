"""Which cases `pictures/most_uncertain.png` shows, and which slice of each."""

from pathlib import Path

import numpy as np

from diffunet.figures.uncertain import UncertainCase, plot_uncertain
from diffunet.labels import LabelScheme
from diffunet.report.case_arrays import CaseArrays, CaseFiles, names_of_colours
from diffunet.report.case_facts import CaseFacts, widest
from diffunet.report.case_folder import read_case_folder
from diffunet.report.case_inputs import Asked, CaseInputs
from diffunet.report.charts import number
from diffunet.report.folders import REPORT_FILE

PICTURE_FILE = "pictures/most_uncertain.png"
_MOST_ROWS = 6
_LONGEST_NAME = 32


def draw_most_uncertain(folder: Path, *, asked: Asked) -> tuple[Path, list[str]] | None:
    """Draw the most uncertain cases of a folder of predictions.

    They are the first ones of the page: those whose samples differ most. Of a volume it is the
    slice with the most uncertainty.

    Returns:
        The picture and the names of its cases. None, and no picture is left there, where no samples
        were drawn, or all samples agree.

    Raises:
        DiffunetError: a file is damaged.
    """
    png = folder / PICTURE_FILE
    cases = read_case_folder(folder, asked=asked)
    facts, _ = cases.facts(None, page=folder / REPORT_FILE)
    chosen = [each for each in facts if each.uncertainty and cases.files[each.name].num_drawn > 1]
    rows = {
        each.name: row
        for each in chosen[:_MOST_ROWS]
        if (row := _row(each, cases.files[each.name], cases.inputs[each.name], cases.labels))
    }
    if not rows:
        png.unlink(missing_ok=True)
        return None
    title = f"The {len(rows)} most uncertain of {len(facts)} predicted cases"
    plot_uncertain(list(rows.values()), png, title=title, labels=names_of_colours(cases.labels))
    return png, list(rows)


def _row(
    facts: CaseFacts, files: CaseFiles, inputs: CaseInputs, labels: LabelScheme
) -> UncertainCase | None:
    arrays = CaseArrays(files, inputs, labels)
    mask, unsure, orientation = arrays.mask(), arrays.uncertainty(), arrays.orientation
    if mask is None or unsure is None or orientation is None:
        return None
    row = int(unsure.sum(axis=(1, 2)).argmax())
    where = f"{orientation.plane} slice {row}".lstrip() if len(unsure) > 1 else ""
    return UncertainCase(
        title="\n".join(filter(None, (_short(facts.name), where, *_volumes(facts)))),
        image=_image(arrays, row, shape=unsure.shape),
        consensus=mask[row],
        share=_share(arrays, files, row, mask=mask, unsure=unsure),
        uncertainty=unsure[row],
        spacing_mm=(orientation.spacing_mm[-2], orientation.spacing_mm[-1]),
        top=orientation.top,
        left=orientation.left,
    )


def _short(name: str) -> str:
    return name if len(name) <= _LONGEST_NAME else f"{name[: _LONGEST_NAME - 1]}…"


def _image(arrays: CaseArrays, row: int, *, shape: tuple[int, ...]) -> np.ndarray | None:
    """Return (channel, y, x) of a slice; None where the image is unknown."""
    image = arrays.image()
    if image is None or image.shape[:3] != shape:
        return None
    return image[row][None] if image.ndim == 3 else np.moveaxis(image[row], -1, 0)


def _share(
    arrays: CaseArrays, files: CaseFiles, row: int, *, mask: np.ndarray, unsure: np.ndarray
) -> np.ndarray | None:
    if files.samples:
        return np.mean([sample[row] > 0 for sample in arrays.samples()], axis=0)
    share = arrays.share(mask=mask, uncertainty=unsure)
    return None if share is None else share[row]


def _volumes(facts: CaseFacts) -> list[str]:
    """Return the interval of the label whose volumes differ most."""
    found = widest(facts.volumes)
    if found is None:
        return []
    return [f"{found.label}:", f"{number(found.lower)} to {number(found.upper)} {found.unit}"]
