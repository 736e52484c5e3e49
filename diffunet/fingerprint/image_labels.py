"""Image-level labels: how often, and how well position or content alone predict them."""

from collections import defaultdict
from collections.abc import Mapping

import numpy as np

from diffunet.data.raw.image_labels import ImageLabels
from diffunet.evaluation.auc import area_under_curve
from diffunet.fingerprint.case import CaseMeasurement
from diffunet.fingerprint.fingerprint import ImageLabelFingerprint
from diffunet.fingerprint.position import (
    NUM_POSITIONS,
    left_out_share,
    position_auc,
    relative_position,
)

_CONTENT_BINS = 1000


class ImageLabelAccumulator:
    """Counts per label: by class, by patient and position, by content.

    Positions are known where slices of volumes are labelled, or where a patient has several 2D
    images, whose sorted names then stand for their order.

    Args:
        labels: of all cases.
        patients: case to patient, of the training cases alone.
    """

    def __init__(self, labels: ImageLabels, *, patients: Mapping[str, str]):
        self._labels = labels
        self._patients = patients
        self._ranks = _ranks(patients)
        num_labels = len(labels.names)
        self._num_slices = 0
        self._whole_positives = np.zeros(num_labels, int)
        self._patients_by_value = [(set[str](), set[str]()) for _ in labels.names]
        self._content = np.zeros((num_labels, 2, _CONTENT_BINS))
        self._positions: dict[str, np.ndarray] = defaultdict(
            lambda: np.zeros((num_labels, 2, NUM_POSITIONS))
        )

    def add(self, case: CaseMeasurement) -> None:
        depth = case.shape[0]
        slices = self._labels.slices.get(case.case, ()) if len(case.shape) == 3 else ()
        for index in slices:
            if index < depth:
                self._count(case, index, content=case.content[index], place=(index, depth))
        if not slices:
            rank = self._ranks[case.case] if len(case.shape) == 2 else None
            self._count(case, None, content=float(case.content.mean()), place=rank)

    def _count(
        self,
        case: CaseMeasurement,
        index: int | None,
        *,
        content: float,
        place: tuple[int, int] | None,
    ) -> None:
        values = self._labels.of(case.case, index)
        if values is None:
            return
        patient = self._patients[case.case]
        self._num_slices += index is not None
        content_bin = min(int(content * _CONTENT_BINS), _CONTENT_BINS - 1)
        if index is None:
            self._whole_positives += values
        for label, value in enumerate(values):
            self._content[label, value, content_bin] += 1
            self._patients_by_value[label][value].add(patient)
            if place is not None and place[1] > 1:
                self._positions[patient][label, value, relative_position(*place)] += 1

    def fingerprint(self) -> dict[str, ImageLabelFingerprint]:
        positions = np.array(list(self._positions.values()))
        found = {}
        for index, name in enumerate(self._labels.names):
            negatives, positives = self._content[index]
            negative_patients, positive_patients = self._patients_by_value[index]
            count = positives.sum() + negatives.sum()
            unseen = seen = left_out = None
            if len(positions):
                places = positions[:, index, 1], positions[:, index, 0]
                unseen = position_auc(*places, counts_own_patient=False)
                seen = position_auc(*places, counts_own_patient=True)
                left_out = None if unseen is None else left_out_share(*places)
            found[name] = ImageLabelFingerprint(
                num_images=int(count),
                num_slices=self._num_slices,
                prevalence=float(positives.sum() / max(count, 1)),
                num_positive_patients=len(positive_patients),
                num_negative_patients=len(negative_patients),
                position_auc=unseen,
                position_auc_seen=seen,
                content_auc=area_under_curve(positives, negatives),
                left_out_share=left_out,
                num_whole_positives=int(self._whole_positives[index]) if self._num_slices else 0,
            )
        return found


def _ranks(patients: Mapping[str, str]) -> dict[str, tuple[int, int]]:
    """Return for each case its place among the sorted cases of its patient, and their number."""
    cases: dict[str, list[str]] = defaultdict(list)
    for case in sorted(patients):
        cases[patients[case]].append(case)
    return {case: (rank, len(group)) for group in cases.values() for rank, case in enumerate(group)}
