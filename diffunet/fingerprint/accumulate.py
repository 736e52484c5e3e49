"""Cases in, fingerprint out: running sums over the measurements of cases, in their order."""

import dataclasses
from collections import Counter, defaultdict
from collections.abc import Sequence
from math import prod

import numpy as np

from diffunet.fingerprint.agreement import AgreementAccumulator
from diffunet.fingerprint.case import CaseMeasurement
from diffunet.fingerprint.fingerprint import (
    ChannelFingerprint,
    DisagreementFingerprint,
    GeometryFingerprint,
    IntensityFingerprint,
    LabelFingerprint,
    ObjectFingerprint,
    RaterFingerprint,
    TrivialAnswers,
)
from diffunet.fingerprint.habits import HabitsAccumulator
from diffunet.fingerprint.intensity import ChannelMeasurement, in_another_unit
from diffunet.fingerprint.masks import DisagreementMeasurement, LabelMeasurement, ObjectMeasurement
from diffunet.fingerprint.summary import RunningSummary, Summary
from diffunet.fingerprint.trivial import NUM_REDRAWN

INTENSITY_CAPACITY = 1_000_000
_MAX_EXAMPLES = 5
_KEPT_OF_A_CASE = 64  # intensities: enough for a median, and small for 100,000 images


class Summaries:
    """Running summaries by name, made when they are first used."""

    def __init__(self, prefix: str):
        self._prefix = prefix
        self._running: dict[str, RunningSummary] = {}

    def add(self, name: str, values: "Sequence[float] | np.ndarray | float") -> None:
        if name not in self._running:
            self._running[name] = RunningSummary(f"{self._prefix} {name}")
        self._running[name].add(values)

    def get(self, name: str) -> Summary | None:
        """Return the summary of that name; None if it has no values."""
        return self._running[name].summary() if name in self._running else None

    def require(self, name: str) -> Summary:
        """Return the summary of that name, which must have values."""
        found = self.get(name)
        if found is None:
            raise ValueError(f"no value was added to '{self._prefix} {name}'")
        return found


class GeometryAccumulator:
    """Shapes and spacings."""

    def __init__(self) -> None:
        self._summaries = Summaries("geometry")
        self._orientations: set[str] = set()
        self._has_spacing = False

    def add(self, case: CaseMeasurement) -> None:
        for axis, (size, kept, spacing) in enumerate(
            zip(case.shape, case.shape_after_crop, case.spacing_mm, strict=True)
        ):
            self._summaries.add(f"shape {axis}", size)
            self._summaries.add(f"shape_after_crop {axis}", kept)
            self._summaries.add(f"spacing_mm {axis}", spacing)
            self._summaries.add(f"extent_after_crop_mm {axis}", kept * spacing)
        self._has_spacing |= case.has_spacing
        if case.orientation is not None:
            self._orientations.add(case.orientation)
        self._summaries.add("relative_size", prod(case.shape_after_crop) / prod(case.shape))

    def fingerprint(self, dimensions: int) -> GeometryFingerprint:
        def per_axis(name: str) -> tuple[Summary, ...]:
            return tuple(self._summaries.require(f"{name} {axis}") for axis in range(dimensions))

        return GeometryFingerprint(
            shape=per_axis("shape"),
            shape_after_crop=per_axis("shape_after_crop"),
            spacing_mm=per_axis("spacing_mm"),
            extent_after_crop_mm=per_axis("extent_after_crop_mm"),
            relative_size_after_crop=self._summaries.require("relative_size"),
            orientations=tuple(sorted(self._orientations)),
            has_spacing=self._has_spacing,
        )


class ChannelAccumulator:
    """Intensities of one channel."""

    def __init__(self, name: str):
        self._name = name
        self._cases = Summaries(f"channel {name}")
        self._foreground = RunningSummary(f"intensity {name}", INTENSITY_CAPACITY)
        self._extremes = Summaries(f"foreground {name}")
        self._num_of: Counter[str] = Counter()
        self._examples: dict[str, list[str]] = defaultdict(list)
        self._levels: dict[str, ChannelMeasurement] = {}

    def add(self, case: str, channel: ChannelMeasurement) -> None:
        kept = channel.foreground_sample[:_KEPT_OF_A_CASE]  # drawn in no order
        self._levels[case] = dataclasses.replace(channel, foreground_sample=kept.copy())
        self._cases.add("minimum", channel.minimum)
        self._cases.add("maximum", channel.maximum)
        self._foreground.add(channel.foreground_sample)
        if channel.foreground_minimum is not None and channel.foreground_maximum is not None:
            self._extremes.add("both", [channel.foreground_minimum, channel.foreground_maximum])
        is_constant = channel.minimum == channel.maximum
        for kind, found in (("constant", is_constant), ("noise", channel.is_noise)):
            self._num_of[kind] += found
            if found and len(self._examples[kind]) < _MAX_EXAMPLES:
                self._examples[kind].append(case)

    def fingerprint(self, *, has_masks: bool) -> ChannelFingerprint:
        extremes = self._extremes.get("both")
        intensities = None
        if extremes is not None:
            low, median, high = self._foreground.percentiles((0.5, 50, 99.5))
            intensities = IntensityFingerprint(
                mean=self._foreground.mean,
                std=self._foreground.std,
                minimum=extremes.minimum,
                percentile_00_5=low,
                median=median,
                percentile_99_5=high,
                maximum=extremes.maximum,
            )
        other_unit = in_another_unit(self._levels)
        return ChannelFingerprint(
            name=self._name,
            intensities=intensities,
            foreground="labels" if has_masks else "not zero",
            case_minimum=self._cases.require("minimum"),
            case_maximum=self._cases.require("maximum"),
            num_constant=self._num_of["constant"],
            num_noise=self._num_of["noise"],
            constant_examples=tuple(self._examples["constant"]),
            noise_examples=tuple(self._examples["noise"]),
            num_other_unit=len(other_unit),
            other_unit_examples=other_unit[:_MAX_EXAMPLES],
        )


class LabelAccumulator:
    """Masks of one label."""

    def __init__(self, name: str):
        self._summaries = Summaries(f"label {name}")
        self._num_masks = 0
        self._num_empty = 0
        self._num_cases = 0
        self._num_cases_without = 0
        self._num_pairs = 0
        self._num_equal_pairs = 0

    def add(self, label: LabelMeasurement) -> None:
        is_empty = label.foreground_fraction == 0
        self._num_masks += is_empty.size
        self._num_empty += int(is_empty.sum())
        self._num_cases += 1
        self._num_cases_without += bool(is_empty.all())
        self._summaries.add("foreground_fraction", label.foreground_fraction)
        self._summaries.add("centre_distance", label.centre_distance)
        self._summaries.add("centre_distance_mm", label.centre_distance_mm)
        self._add_objects("objects", label.objects)
        if label.objects_of_slice is not None:
            self._add_objects("objects_of_slice", label.objects_of_slice)
        if label.disagreement is not None:
            self._add_disagreement(label.disagreement)

    def _add_objects(self, prefix: str, objects: ObjectMeasurement) -> None:
        for name in ("per_mask", "voxels", "volume_mm", "diameter", "diameter_mm"):
            self._summaries.add(f"{prefix} {name}", getattr(objects, name))

    def _add_disagreement(self, disagreement: DisagreementMeasurement) -> None:
        self._num_pairs += len(disagreement.iou)
        self._num_equal_pairs += disagreement.num_equal_pairs
        for name in ("iou", "iou_where_both_marked", "piece_voxels"):
            self._summaries.add(name, getattr(disagreement, name))
        for name in ("largest_piece", "largest_piece_of_slice"):
            for by_window in getattr(disagreement, name):
                for window, sizes in by_window.items():
                    self._summaries.add(f"{name} {window}", sizes)

    def fingerprint(self, windows: Sequence[str]) -> LabelFingerprint:
        return LabelFingerprint(
            foreground_fraction=self._summaries.require("foreground_fraction"),
            share_of_empty_masks=self._num_empty / self._num_masks,
            share_of_cases_without=self._num_cases_without / self._num_cases,
            objects=self._objects("objects"),
            objects_of_slice=self._objects("objects_of_slice"),
            centre_distance=self._summaries.get("centre_distance"),
            centre_distance_mm=self._summaries.get("centre_distance_mm"),
            disagreement=self._disagreement(windows) if self._num_pairs else None,
        )

    def _objects(self, prefix: str) -> ObjectFingerprint | None:
        if self._summaries.get(f"{prefix} voxels") is None:
            return None
        names = ("per_mask", "voxels", "volume_mm", "diameter", "diameter_mm")
        return ObjectFingerprint(
            **{name: self._summaries.require(f"{prefix} {name}") for name in names}
        )

    def _disagreement(self, windows: Sequence[str]) -> DisagreementFingerprint:
        def by_window(name: str) -> dict[str, Summary]:
            found = {window: self._summaries.get(f"{name} {window}") for window in windows}
            return {window: summary for window, summary in found.items() if summary is not None}

        return DisagreementFingerprint(
            iou=self._summaries.require("iou"),
            iou_where_both_marked=self._summaries.get("iou_where_both_marked"),
            share_of_equal_pairs=self._num_equal_pairs / self._num_pairs,
            piece_voxels=self._summaries.get("piece_voxels"),
            largest_piece=by_window("largest_piece"),
            largest_piece_of_slice=by_window("largest_piece_of_slice") or None,
        )


class RaterAccumulator:
    """Raters, and the trivial answers to them."""

    def __init__(self) -> None:
        self._per_case = RunningSummary("raters per case")
        self._asked: Counter[str] = Counter()
        self._empty: Counter[str] = Counter()
        self._num_partly_empty = 0
        self._geds: dict[str, np.ndarray] = defaultdict(lambda: np.zeros(1))
        self._habits = HabitsAccumulator()
        self._agreement = AgreementAccumulator()

    def add(
        self, marked: dict[str, bool], labels: Sequence[LabelMeasurement], *, patient: str
    ) -> None:
        fractions = np.sum([label.foreground_fraction for label in labels], axis=0)
        self._habits.add(patient, dict(zip(marked, map(float, fractions), strict=True)))
        self._agreement.add(tuple(marked), labels)
        self._per_case.add(len(marked))
        for rater, has_marked in marked.items():
            self._asked[rater] += 1
            self._empty[rater] += not has_marked
        self._num_partly_empty += any(marked.values()) and not all(marked.values())
        for name in labels[0].trivial_geds:
            self._geds[name] = self._geds[name] + np.mean(
                [label.trivial_geds[name] for label in labels], axis=0
            )

    def fingerprint(self) -> RaterFingerprint | None:
        per_case = self._per_case.summary()
        if per_case is None:
            return None
        return RaterFingerprint(
            per_case=per_case,
            share_of_empty_masks=self._empty.total() / self._asked.total(),
            share_of_empty_masks_by_rater={
                rater: self._empty[rater] / self._asked[rater] for rater in sorted(self._asked)
            },
            share_of_cases_partly_empty=self._num_partly_empty / per_case.count,
            habits=self._habits.habits(),
            agreement=self._agreement.by_rater(),
        )

    def trivial_answers(self) -> TrivialAnswers | None:
        if not self._geds:
            return None
        means = {
            name: float(np.min(total / self._per_case.count)) for name, total in self._geds.items()
        }
        return TrivialAnswers(num_samples=NUM_REDRAWN, **means)
