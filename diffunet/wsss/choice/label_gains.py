"""How much the masks of each label explain: a joint choice may suit only one of the labels."""

import logging
from collections.abc import Sequence
from typing import Any

from diffunet.plans import SaliencyMethod
from diffunet.wsss.choice.gains import Gains

logger = logging.getLogger(__name__)


def gains_by_label(
    gains: Gains, labels: Sequence[int], *, names: Sequence[str]
) -> dict[str, Gains]:
    """Return the gains of the images of each label, without labels that have none.

    Args:
        labels: index into `names` of the label whose masks each image of `gains` has.
    """
    images = {
        name: [image for image, label in enumerate(labels) if label == index]
        for index, name in enumerate(names)
    }
    return {name: gains.of_images(members) for name, members in images.items() if members}


def summary_with_labels(gains: Gains, by_label: dict[str, Gains]) -> dict[str, Any]:
    """Return what is said about the masks that were chosen, over all labels and of each."""
    return {**gains.summary(), "labels": {name: each.summary() for name, each in by_label.items()}}


def warn_of_labels(method: SaliencyMethod, gains: Gains, by_label: dict[str, Gains]) -> None:
    """Warn of labels whose masks explain nothing although the masks of other labels do.

    If no label is clear by itself, there are too few images of each to tell them apart.
    """
    explained = [name for name, each in by_label.items() if each.is_above_zero(0)]
    if not explained or not gains.is_above_zero(0):
        return
    for name, each in by_label.items():
        if name not in explained:
            logger.warning(
                "%s: erasing its masks of '%s' does not clearly cost the classifier more than "
                "erasing copies of them elsewhere (%s, %d images), though erasing those of %s "
                "does: settings are chosen for all labels together and may not suit this label; "
                "look at its maps",
                method,
                name,
                each.in_words(),
                len(each.gain),
                ", ".join(f"'{other}'" for other in explained),
            )
