"""The methods that can be trained, by name."""

from collections.abc import Callable
from typing import TYPE_CHECKING

from diffunet.plans import Method

if TYPE_CHECKING:
    from diffunet.training.method import TrainingMethod


def _diffusion() -> "TrainingMethod":
    from diffunet.training.objective import DiffusionObjective
    from diffunet.training.segmentation import SegmentationMethod

    return SegmentationMethod(DiffusionObjective)


def _supervised() -> "TrainingMethod":
    from diffunet.training.objective import SupervisedObjective
    from diffunet.training.segmentation import SegmentationMethod

    return SegmentationMethod(SupervisedObjective)


def _cdm() -> "TrainingMethod":
    from diffunet.wsss.method import WeakMethod
    from diffunet.wsss.objective import CdmObjective

    return WeakMethod(CdmObjective)


def _classifier() -> "TrainingMethod":
    from diffunet.wsss.method import WeakMethod
    from diffunet.wsss.objective import ClassifierObjective

    return WeakMethod(ClassifierObjective)


METHODS: dict[Method, Callable[[], "TrainingMethod"]] = {
    "diffusion": _diffusion,
    "supervised": _supervised,
    "cdm": _cdm,
    "classifier": _classifier,
}
"""What `-m` names; nothing of a method is imported before it is asked for."""
