"""Make the table of weak supervision: named predictions, and the answers that need no learning.

    python benchmarks/weak_supervision.py raw/Dataset003_LGG results/weak \
        --methods CDM=predictions/cdm CG-CDM=predictions/cg_cdm Grad-CAM=predictions/grad_cam

The test cases are scored by slice: Dice, IoU and HD95 where the reference marks something, the area
that is marked where it marks nothing, and how well presence is told (AUC against the test tags).
Intervals are over patients. OUTPUT.md and OUTPUT.json are written.
"""

import argparse
import dataclasses
import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import answers_without_learning as answers
import numpy as np
from opened_cases import OpenedCase, opened_cases, read_slices, scored_cases
from weak_table import COMPARED, markdown

from diffunet.data.raw.dataset import RawDataset, open_dataset
from diffunet.errors import DiffunetError, UsageError
from diffunet.evaluation.scored_files import ScoredFolders
from diffunet.evaluation.slice_folder import score_slice_folder
from diffunet.evaluation.slice_scores import (
    SliceScores,
    compare_slices,
    score_slices,
    summarise_slices,
)
from diffunet.evaluation.summary import without_nan
from diffunet.jsonio import atomic_path, read_json, write_json

DIFFUSION_SALIENCY = ("cdm", "cg_cdm", "cg_diff")
Answer = Callable[[np.ndarray, np.ndarray, float], np.ndarray]
"""From a slice's image, its reference (for upper bounds) and its position in [0, 1] to a mask."""


@dataclass(frozen=True, kw_only=True)
class Row:
    """One line of the table, for one label.

    Attributes:
        tag_auc: mean, lower and upper; None where the row does not tell presence.
        seconds_per_slice: None where it is not known.
        saliency: what made the maps, as the settings of the predictions say; None for others.
    """

    name: str
    slices: list[SliceScores]
    tag_auc: dict[str, float] | None = None
    seconds_per_slice: float | None = None
    saliency: str | None = None


@dataclass(frozen=True, kw_only=True)
class FromTags:
    """What the answers without learning take from training images and tags, for one label.

    Attributes:
        radius_share: of the centre disc.
        radius_auc: of the training tags, by the brightness within that disc.
        position: chance of the tag by position.
    """

    radius_share: float
    radius_auc: float
    position: answers.PositionModel


def main(arguments: list[str] | None = None) -> None:
    """Make the table."""
    given = _parser().parse_args(arguments)
    try:
        content = make_table(
            given.dataset,
            dict(_named_folder(text) for text in given.methods),
            compared=given.compare,
            channel=given.channel,
            num_processes=given.num_processes,
        )
    except DiffunetError as error:
        raise SystemExit(str(error)) from None
    text = markdown(content)
    print(text)
    write_json(Path(f"{given.output}.json"), content)
    with atomic_path(Path(f"{given.output}.md")) as unfinished:
        unfinished.write_text(text, encoding="utf-8")


def make_table(
    folder: Path,
    methods: Mapping[str, Path],
    *,
    compared: str | None = None,
    channel: int = 0,
    num_processes: int = 0,
) -> dict[str, Any]:
    """Return, by label, the scores of every row, and how one differs from all others.

    Args:
        folder: raw dataset with image-level labels and `labelsTs`.
        methods: folders of predictions, by name.
        compared: the row that the others are compared with; None: of the methods whose maps come
            from a diffusion model, the one of highest Dice.
        channel: of the images, for the answers without learning.
    """
    dataset = open_dataset(folder)
    if dataset.image_labels is None or not scored_cases(dataset):
        raise UsageError(
            f"'{folder}': expected image-level labels ('image_labels' of dataset.json) and test "
            "masks in labelsTs, found not both; add what is missing"
        )
    if compared is not None and compared not in methods:
        raise UsageError(
            f"--compare: expected one of the names of --methods, {', '.join(methods) or 'none'}; "
            f"found '{compared}'"
        )
    from_tags = learn_from_tags(dataset, channel=channel)
    rows = rows_without_learning(dataset, from_tags, channel=channel)
    for name, predictions in methods.items():
        found = rows_of_folder(dataset, name, predictions, num_processes=num_processes)
        for label, row in found.items():
            rows[label].append(row)
    labels = {
        label: {
            "centre_disc": {
                "radius_share": from_tags[label].radius_share,
                "training_tag_auc": from_tags[label].radius_auc,
            },
            **_content_of_label(of_label, compared=compared),
        }
        for label, of_label in rows.items()
    }
    folders = {name: str(path) for name, path in methods.items()}
    return without_nan({"dataset": dataset.name, "methods": folders, "labels": labels})


def rows_of_folder(
    dataset: RawDataset, name: str, folder: Path, *, num_processes: int
) -> dict[str, Row]:
    """Return the row of a folder of predictions, by label."""
    scored = score_slice_folder(
        ScoredFolders(
            reference=dataset.folder / "labelsTs",
            prediction=folder,
            labels=dataset.labels,
            file_ending=dataset.file_ending,
            has_raters=dataset.has_raters,
            patients=dataset.patients,
        ),
        num_processes=num_processes,
    )
    path = folder / "predictions.json"
    content = read_json(path, UsageError) if path.is_file() else {}
    records: dict[str, Any] = content.get("cases", {})
    return {
        label: Row(
            name=name,
            slices=slices,
            tag_auc=_tag_auc(dataset, slices, _recorded_chances(records, label), label=label),
            seconds_per_slice=_seconds_per_slice(records, slices),
            saliency=content.get("settings", {}).get("saliency"),
        )
        for label, slices in scored.items()
    }


def _seconds_per_slice(
    records: Mapping[str, Mapping[str, Any]], slices: Sequence[SliceScores]
) -> float | None:
    """Return the mean over cases; of weak methods, over those for which a map was made."""
    num_slices = Counter(of_slice.case for of_slice in slices)
    times: list[float] = []
    for case, record in records.items():
        if record.get("seconds_per_slice") is not None:
            times.append(record["seconds_per_slice"])
        elif "seconds" in record and case in num_slices:
            times.append(record["seconds"] / num_slices[case])
    return float(np.mean(times)) if times else None


def learn_from_tags(dataset: RawDataset, *, channel: int) -> dict[str, FromTags]:
    """Return what the training images and tags of each label say about position and size."""
    num_slices: dict[str, int] = {}
    brightness: dict[str, np.ndarray] = {}
    for files in dataset.training_cases:
        images, _, _ = read_slices(files, channel=channel)
        num_slices[files.case] = len(images)
        brightness[files.case] = np.stack([answers.disc_brightness(image) for image in images])
    places = answers.relative_positions(num_slices, dataset.patients)
    tagged = [
        (places[case][index], brightness[case][index], tags)
        for case, count in num_slices.items()
        for index in range(count)
        if (tags := _tags_of(dataset, case, index)) is not None
    ]
    positions, bright, tags = (np.array(column) for column in zip(*tagged, strict=True))
    learned = {}
    for number, label in enumerate(dataset.labels.names):
        share, auc = answers.choose_radius_share(bright, tags[:, number])
        position = answers.PositionModel.fit(positions, tags[:, number])
        learned[label] = FromTags(radius_share=share, radius_auc=auc, position=position)
    return learned


def rows_without_learning(
    dataset: RawDataset, from_tags: Mapping[str, FromTags], *, channel: int
) -> dict[str, list[Row]]:
    """Return the rows that need no predictions, by label."""
    rows: dict[str, list[Row]] = {}
    cases = list(opened_cases(dataset, channel=channel))
    chances = {
        label: {
            (case.case, index if case.is_volume else None): float(chance)
            for case in cases
            for index, chance in enumerate(learned.position.probability(case.positions))
        }
        for label, learned in from_tags.items()
    }
    for number, label in enumerate(dataset.labels.names):
        rows[label] = []
        for name, answer in _answers(from_tags[label]).items():
            start = time.perf_counter()
            masks = [_masks(case, answer, label=number) for case in cases]
            seconds = (time.perf_counter() - start) / sum(len(mask) for mask in masks)
            slices = [
                each
                for case, mask in zip(cases, masks, strict=True)
                for each in _scored(case, mask, label=number)
            ]
            auc = None
            if name.startswith("position"):
                auc = _tag_auc(dataset, slices, chances[label], label=label)
            rows[label].append(
                Row(name=name, slices=slices, tag_auc=auc, seconds_per_slice=seconds)
            )
    return rows


def _answers(learned: FromTags) -> dict[str, Answer]:
    def where_likely(make: Callable[[np.ndarray], np.ndarray]) -> Answer:
        def answer(image: np.ndarray, _: np.ndarray, position: float) -> np.ndarray:
            is_likely = learned.position.probability(np.array(position)) >= 0.5
            return make(image) if is_likely else np.zeros(image.shape, bool)

        return answer

    return {
        "Otsu of the image": lambda image, *_: answers.otsu_mask(image),
        "three-class Otsu of the image": lambda image, *_: answers.three_class_mask(image),
        "centre disc": lambda image, *_: answers.centre_disc(
            image, radius_share=learned.radius_share
        ),
        "position, Otsu": where_likely(answers.otsu_mask),
        "position, three-class Otsu": where_likely(answers.three_class_mask),
        "centre disc of the true area (upper bound)": lambda image, reference, _: (
            answers.true_area_disc(image, reference)
        ),
    }


def _masks(case: OpenedCase, answer: Answer, *, label: int) -> np.ndarray:
    slices = zip(case.images, case.references[label], case.positions, strict=True)
    return np.stack([answer(image, reference, place) for image, reference, place in slices])


def _scored(case: OpenedCase, masks: np.ndarray, *, label: int) -> list[SliceScores]:
    stacks = [masks, case.references[label], case.ignored]
    mask, reference, ignored = stacks if case.is_volume else [stack[0] for stack in stacks]
    return score_slices(
        mask,
        reference,
        spacing_mm=case.spacing_mm,
        case=case.case,
        patient=case.patient,
        ignored=ignored,
    )


def _tags_of(dataset: RawDataset, case: str, index: int) -> tuple[int, ...] | None:
    """Return the tags of a slice: its own, or those of its case."""
    table = dataset.image_labels
    if table is None:
        return None
    own = table.of(case, index)
    return table.of(case) if own is None else own


def _recorded_chances(
    records: Mapping[str, Any], label: str
) -> dict[tuple[str, int | None], float]:
    """Return the probabilities of `predictions.json`, by case and slice (None: a 2D case)."""
    chances: dict[tuple[str, int | None], float] = {}
    for case, record in records.items():
        found = record.get("labels", {}).get(label, {}).get("probability", [])
        is_volume = len(record.get("shape", [])) == 3
        for index, chance in enumerate(found):
            # slices that were cropped away show nothing
            chances[case, index if is_volume else None] = 0.0 if chance is None else chance
    return chances


def _tag_auc(
    dataset: RawDataset,
    slices: Sequence[SliceScores],
    chances: Mapping[tuple[str, int | None], float],
    *,
    label: str,
) -> dict[str, float] | None:
    """Return how well the chances tell the tags of the scored slices; None without any."""
    number = dataset.labels.names.index(label)
    known = [
        (chances[each.case, each.slice_index], tags[number], each.patient)
        for each in slices
        if (each.case, each.slice_index) in chances
        and (tags := _tags_of(dataset, each.case, each.slice_index or 0)) is not None
    ]
    if not known:
        return None
    scores, tags, patients = zip(*known, strict=True)
    return answers.tag_auc_interval(np.array(scores), np.array(tags), patients)


def _content_of_label(rows: Sequence[Row], *, compared: str | None) -> dict[str, Any]:
    because = "asked for"
    if compared is None:
        because = "of highest Dice on these slices, among the methods that use a diffusion model"
        of_diffusion = [row for row in rows if row.saliency in DIFFUSION_SALIENCY]
        best = max(of_diffusion, key=_mean_dice, default=None)
        compared = None if best is None else best.name
    own = next((row for row in rows if row.name == compared), None)
    others = [] if own is None else [row for row in rows if row is not own]
    return {
        "rows": [
            {
                "name": row.name,
                "scores": summarise_slices(row.slices),
                "tag_auc": row.tag_auc,
                "seconds_per_slice": row.seconds_per_slice,
            }
            for row in rows
        ],
        "compared": compared,
        "compared_because": because if compared is not None else None,
        "differences": {row.name: _differences(own, row) for row in others if own is not None},
    }


def _differences(own: Row, other: Row) -> dict[str, Any]:
    return {
        score: dataclasses.asdict(compare_slices(own.slices, other.slices, score=score))
        for score in COMPARED
    }


def _mean_dice(row: Row) -> float:
    return float(np.mean([each.scores["Dice"] for each in row.slices if each.is_positive]))


def _named_folder(text: str) -> tuple[str, Path]:
    name, separator, folder = text.partition("=")
    if not (name and separator and folder):
        raise UsageError(f"--methods: expected NAME=FOLDER, found '{text}'")
    return name, Path(folder)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description="Make the table of weak supervision.")
    parser.add_argument("dataset", type=Path, help="folder of the raw dataset")
    parser.add_argument("output", type=Path, help="OUTPUT.md and OUTPUT.json are written")
    parser.add_argument(
        "--methods", nargs="*", default=[], metavar="NAME=FOLDER", help="folders of predictions"
    )
    parser.add_argument(
        "--compare",
        metavar="NAME",
        help="show differences of this method; without it, of the diffusion method of highest Dice",
    )
    parser.add_argument(
        "--channel", type=int, default=0, help="of the images, for the answers without learning"
    )
    parser.add_argument("-np", dest="num_processes", type=int, default=0, help="0: in this process")
    return parser


if __name__ == "__main__":
    main()
