"""What is known of one trained fold: how far it came, its curves, its final validation."""

import io
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from diffunet.figures.progress import read_lines
from diffunet.jsonio import read_json
from diffunet.report.evaluation import Evaluation, read_evaluation
from diffunet.report.json_facts import at, mapping_at, number_at
from diffunet.workspace import METRICS_FILE, RESOLVED_PLANS_FILE, VALIDATION_SUMMARY

_MAIN_SCORES = ("ged_fully_unbiased", "dice", "classification_auc")
"""Of a training's validations: what folds are compared by, the first that there is."""

_PICTURE = "samples.png"
_LARGEST_PICTURE = 4 * 2**20


@dataclass(frozen=True, kw_only=True)
class FoldFacts:
    """One fold.

    Attributes:
        evaluation: of the final validation; None where there is none, or it scored no masks.
        image_scores: of a model of image-level labels: by label and score.
        num_parameters: of the network; None where the training did not tell.
        devices: that it ran on, in words, one after the other.
        validation: the main score of the sampled validations, first to last.
        picture: `samples.png` as bytes, where there is one.
        faults: sentences about files that are missing or cannot be shown.
    """

    name: str
    folder: Path
    iteration: int
    num_iterations: int | None
    best_iteration: int | None
    num_parameters: int | None
    devices: tuple[str, ...]
    seconds: float | None
    samples_per_second: float | None
    loss: float | None
    evaluation: Evaluation | None
    image_scores: Mapping[str, Mapping[str, float]]
    validation: tuple[tuple[float, float | None], ...]
    validation_name: str
    picture: bytes | None
    records: tuple[dict[str, Any], ...]
    faults: tuple[str, ...] = ()

    @property
    def is_finished(self) -> bool:
        """Whether all planned iterations ran; True where the plans do not tell."""
        return not self.num_iterations or self.iteration >= self.num_iterations


def read_fold(folder: Path) -> FoldFacts:
    """Read the folder of a fold; what is not there yet is None or empty.

    Raises:
        DiffunetError: a file in it is damaged.
    """
    faults: list[str] = []
    records = _read_records(folder / METRICS_FILE, faults=faults)
    starts = [record for record in records if record.get("kind") == "start"]
    losses = [record for record in records if record.get("kind") == "training"]
    scores = [record for record in records if record.get("kind") == "validation"]
    plans = folder / RESOLVED_PLANS_FILE
    content = read_json(plans) if plans.is_file() else {}
    summary_file = folder / VALIDATION_SUMMARY
    summary = read_json(summary_file) if summary_file.is_file() else {}
    name = next((name for name in _MAIN_SCORES if scores and name in scores[0]), "")
    best = [record for record in scores if record.get("is_best")]
    last = losses[-1] if losses else {}
    speeds = [value for record in losses if (value := number_at(record, "samples_per_second"))]
    evaluation, image_scores = read_evaluation(summary), _image_scores(summary)
    if summary_file.is_file() and evaluation is None and not image_scores:
        faults.append(f"'{VALIDATION_SUMMARY}' holds no scores that can be read.")
    picture = _picture(folder / _PICTURE, faults=faults)
    shown = folder.resolve().name
    return FoldFacts(
        name=shown,
        folder=folder,
        iteration=int(number_at(records[-1] if records else {}, "iteration") or 0),
        num_iterations=_whole(number_at(content, "configuration", "training", "num_iterations")),
        best_iteration=_whole(number_at(best[-1] if best else {}, "iteration")),
        num_parameters=_whole(number_at(starts[-1] if starts else {}, "num_parameters")),
        devices=tuple(dict.fromkeys(map(_device, starts))),
        seconds=number_at(last, "seconds"),
        samples_per_second=float(np.median(speeds)) if speeds else None,
        loss=number_at(last, "loss"),
        evaluation=evaluation,
        image_scores=image_scores,
        validation=tuple(
            (number_at(record, "iteration") or 0.0, number_at(record, name)) for record in scores
        )
        if name
        else (),
        validation_name=name,
        picture=picture,
        records=tuple(records),
        faults=tuple(f"{shown}: {fault}" for fault in faults),
    )


def _picture(path: Path, *, faults: list[str]) -> bytes | None:
    """Return a PNG file that a browser can show; None without one."""
    from PIL import Image

    if not path.is_file():
        return None
    if path.stat().st_size > _LARGEST_PICTURE:
        faults.append(
            f"'{path.name}' is larger than {_LARGEST_PICTURE >> 20} MB, and is not shown here."
        )
        return None
    content = path.read_bytes()
    try:
        with Image.open(io.BytesIO(content), formats=["PNG"]) as opened:
            opened.verify()
    except (OSError, SyntaxError, ValueError):
        faults.append(f"'{path.name}' is damaged, and is not shown.")
        return None
    return content


def _read_records(path: Path, *, faults: list[str]) -> list[dict[str, Any]]:
    if not path.is_file():
        faults.append(f"there is no '{path.name}', so how it trained is unknown.")
        return []
    lines = read_lines(path)
    num_torn = sum(record is None for record in lines[:-1])  # the last may be being written
    if num_torn:
        which = "1 damaged line" if num_torn == 1 else f"{num_torn} damaged lines"
        verb = "is" if num_torn == 1 else "are"
        faults.append(f"{which} of '{path.name}' {verb} left out.")
    return [record for record in lines if record is not None]


def _device(start: dict[str, Any]) -> str:
    """Return "2 × NVIDIA H200", or "cpu, 4 threads"."""
    name, threads = str(at(start, "device")), number_at(start, "num_threads")
    if name == "cpu" and threads:
        name += f", {threads:.0f} thread{'' if threads == 1 else 's'}"
    num_devices = number_at(start, "num_devices") or 1
    return name if num_devices == 1 else f"{num_devices:.0f} × {name}"


def _image_scores(summary: Any) -> dict[str, dict[str, float]]:
    """Return the scores of image-level labels, of summaries that have them."""
    if at(summary, "num_images") is None:
        return {}
    names = ("auc", "cross_entropy", "sensitivity", "specificity", "presence_threshold")
    return {
        label: {name: value for name in names if (value := number_at(content, name)) is not None}
        for label, content in mapping_at(summary, "labels").items()
    }


def _whole(value: float | None) -> int | None:
    return None if value is None else int(value)
