"""The label map of one case for a second stage to learn from: what is unsure is ignored."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from jaxtyping import Bool, Integer

from diffunet.labels import LabelScheme
from diffunet.plans import MaskPlan
from diffunet.wsss.masks.label_masks import label_masks, shown_without_mask, unsure_masks
from diffunet.wsss.masks.pseudo_masks import pseudo_label_map
from diffunet.wsss.prediction.case_records import WrittenCase


@dataclass(frozen=True, kw_only=True)
class PseudoLabels:
    """What is taught about one case.

    Attributes:
        label_map: the sure pixels of each label, background, and the ignore label.
        is_without_mask: (slice, label); the image shows the label, and no pixel is above the
            threshold: all of the slice is unsure.
        sure_shares: of the pixels, by label.
        unsure_share: of the pixels, in [0, 1].
    """

    label_map: Integer[np.ndarray, "*spatial"]
    is_without_mask: Bool[np.ndarray, "slice label"]
    sure_shares: dict[str, float]
    unsure_share: float


def pseudo_labels_of(
    case: WrittenCase,
    *,
    plan: MaskPlan,
    labels: LabelScheme,
    known: Mapping[int | None, Sequence[int]],
    slice_axis: int | None,
) -> PseudoLabels:
    """Return what a second stage is taught about a case.

    A label that the image does not show is absent everywhere, which is sure. For a label that it
    shows, `plan.unsure_share` says which pixels are sure. If an image shows a label but has no mask
    of it, no pixel is sure: it must not teach that the label is absent.

    Args:
        labels: with an ignore label.
        known: slice, or None for the case, to 0 or 1 per label.
        slice_axis: spatial axis along which the slices of a volume lie; None for an image.
    """
    masks = label_masks(
        case.saliency, case.thresholds, plan=plan, slice_axis=slice_axis, is_exclusive=False
    )
    unsure = unsure_masks(
        case.saliency,
        case.thresholds,
        plan=plan,
        slice_axis=slice_axis,
        is_exclusive=not labels.is_regions,
    )
    is_without_mask = shown_without_mask(
        masks,
        case.is_present,
        is_by_slice=case.is_decided_by_slice,
        known=known,
        slice_axis=slice_axis,
    )
    slices = unsure[:, None] if slice_axis is None else np.moveaxis(unsure, 1 + slice_axis, 1)
    slices[is_without_mask.T] = True
    label_map = pseudo_label_map(masks, unsure, labels=labels)
    shares = labels.masks(label_map).reshape(len(masks), -1).mean(axis=1)
    return PseudoLabels(
        label_map=label_map,
        is_without_mask=is_without_mask,
        sure_shares={name: float(share) for name, share in zip(labels.names, shares, strict=True)},
        unsure_share=float(labels.ignored(label_map).mean()),
    )


def label_record(content: Mapping[str, Any], found: PseudoLabels) -> dict[str, Any]:
    """Return what is said about a case in `pseudo_labels.json`.

    Args:
        content: of the record of its prediction.
    """
    kept = ("case_probability", "probability", "is_present", "decided_by", "threshold")
    labels = {
        name: {
            **{key: about[key] for key in kept},
            "is_without_mask": found.is_without_mask[:, label].tolist(),
            "sure_share": found.sure_shares[name],
        }
        for label, (name, about) in enumerate(content["labels"].items())
    }
    return {
        "unsure_share": found.unsure_share,
        "is_decided_by_slice": content["is_decided_by_slice"],
        "labels": labels,
    }


def summary_of(records: Mapping[str, Any]) -> dict[str, Any]:
    """Return counts of cases by label, and how much is unsure, of what `label_record` says."""
    names = list(next(iter(records.values()))["labels"])
    by_label = {name: [each["labels"][name] for each in records.values()] for name in names}
    return {
        "num_cases": len(records),
        "mean_unsure_share": float(np.mean([each["unsure_share"] for each in records.values()])),
        "labels": {
            name: {
                "num_present": sum(any(each["is_present"]) for each in cases),
                "num_without_mask": sum(any(each["is_without_mask"]) for each in cases),
                "num_with_sure_pixels": sum(each["sure_share"] > 0 for each in cases),
            }
            for name, cases in by_label.items()
        },
    }
