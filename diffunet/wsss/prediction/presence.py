"""Whether a label is present in a slice: given labels decide, and the classifier all else."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float

from diffunet.errors import PlansError, UsageError
from diffunet.plans import WeakPlan

GivenTags = Mapping[int | None, Sequence[int]]
"""What is known of one case: slice along the first file axis, or None for the whole case, to 0 or 1
per label."""

DEFAULT_THRESHOLD = 0.5


@dataclass(frozen=True, kw_only=True)
class Presence:
    """What was decided about the slices of a case, along the first file axis.

    Attributes:
        probabilities: of the classifier; NaN in slices that were cropped away, which show nothing.
        is_present: the decision.
        is_given: decided by a given label, not by the classifier.
        is_by_slice: slices were decided each for itself. Otherwise all that were not cropped away
            share one decision: on the mean over the slices of the classifier's probabilities.
    """

    probabilities: Float[np.ndarray, "slice label"]
    is_present: Bool[np.ndarray, "slice label"]
    is_given: Bool[np.ndarray, "slice label"]
    is_by_slice: bool

    def case_probabilities(self) -> Float[np.ndarray, " label"]:
        """Return the mean of the classifier's probabilities over the slices."""
        return np.nanmean(self.probabilities, axis=0)


def decide_presence(
    probabilities: Float[np.ndarray, "slice label"], *, plan: WeakPlan, given: GivenTags
) -> Presence:
    """Decide which slices show which label.

    A given label of a slice decides that slice. A case given as 0 shows the label nowhere. A case
    given as 1 shows it in all its other slices if cases were labelled in training. If slices were
    labelled, the classifier says in which; if it finds none, the likeliest slice that was not given
    shows it. The classifier decides everything else: by slice if slices were labelled in training,
    otherwise by the mean over the slices.

    Args:
        probabilities: of the classifier, along the first file axis; NaN in slices that were cropped
            away.
        given: empty where nothing is known.

    Raises:
        PlansError: `plan.presence_thresholds` are not one per label.
    """
    thresholds = _thresholds(plan, num_labels=probabilities.shape[1])
    is_there = ~np.isnan(probabilities)
    is_by_slice = plan.has_slice_labels and len(probabilities) > 1
    if is_by_slice:
        is_present = np.nan_to_num(probabilities, nan=-1.0) >= thresholds
    else:
        is_present = is_there & (np.nanmean(probabilities, axis=0) >= thresholds)
    is_given = np.zeros(is_present.shape, bool)
    for index, known in given.items():
        if index is not None:
            is_present[index] = np.asarray(known, bool) & is_there[index]
            is_given[index] = True
    for label, is_known in enumerate(given.get(None, ())):
        _tell_case(
            is_present[:, label],
            is_given[:, label],
            probabilities[:, label],
            is_known=bool(is_known),
            is_by_slice=is_by_slice,
        )
    return Presence(
        probabilities=probabilities,
        is_present=is_present,
        is_given=is_given,
        is_by_slice=is_by_slice or any(index is not None for index in given),
    )


def _tell_case(
    is_present: Bool[np.ndarray, " slice"],
    is_given: Bool[np.ndarray, " slice"],
    probabilities: Float[np.ndarray, " slice"],
    *,
    is_known: bool,
    is_by_slice: bool,
) -> None:
    """Write what is known of a case about one label into its slices that were not given."""
    is_open = ~is_given & ~np.isnan(probabilities)
    if not (is_known and is_by_slice):
        is_present[is_open] = is_known
        is_given[:] = True
    elif is_open.any() and not is_present.any():
        likeliest = int(np.nanargmax(np.where(is_open, probabilities, np.nan)))
        is_present[likeliest] = is_given[likeliest] = True


def given_tags(
    tags: np.ndarray | Sequence[int] | Sequence[Sequence[int]] | None,
    *,
    num_labels: int,
    num_slices: int | None,
) -> GivenTags:
    """Return the tags of one image in memory by slice.

    Args:
        tags: 0 or 1 per label of the image, or per slice and label of a volume; None: not known.
        num_slices: along the first axis; None for a two-dimensional image.

    Raises:
        UsageError: they are something else.
    """
    if tags is None:
        return {}
    values = np.asarray(tags)
    shapes = [(num_labels,)] + ([(num_slices, num_labels)] if num_slices is not None else [])
    if values.shape not in shapes or not np.isin(values, (0, 1)).all():
        expected = " or ".join(str(shape) for shape in shapes)
        raise UsageError(
            f"tags: expected numbers 0 and 1 in the shape {expected} (one per label, in the order "
            f"of dataset.json), got {tags!r}"
        )
    if values.ndim == 1:
        return {None: tuple(int(value) for value in values)}
    return {index: tuple(int(value) for value in row) for index, row in enumerate(values)}


def _thresholds(plan: WeakPlan, *, num_labels: int) -> np.ndarray:
    thresholds = plan.presence_thresholds or (DEFAULT_THRESHOLD,) * num_labels
    if len(thresholds) != num_labels:
        raise PlansError(
            f"weak.presence_thresholds: expected one for each of the {num_labels} labels, or none, "
            f"found {list(thresholds)}"
        )
    return np.asarray(thresholds, np.float64)
