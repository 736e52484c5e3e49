"""The methods: what each learns from, its parts, and its options of prediction.

A method is one record here. Everything else asks the record: planning, training, prediction, the
commands and their refusals. Its parts are named as "module:name" and imported when first used.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from importlib import import_module
from typing import TYPE_CHECKING, Any, Literal, get_args

from diffunet.errors import UsageError

if TYPE_CHECKING:
    from torch import nn

    from diffunet.backbones.size import NetworkSize
    from diffunet.inference.case_predictor import CasePredictor
    from diffunet.inference.compute import Compute
    from diffunet.inference.model import Model
    from diffunet.inference.options import PredictionOptions
    from diffunet.labels import LabelScheme
    from diffunet.plans import ConfigurationPlan
    from diffunet.training.method import TrainingMethod

Supervision = Literal["masks", "image_labels"]
"""What is known of a training image: masks that raters drew, or only which labels it shows."""

DiffusionSaliency = Literal["cdm", "cg_cdm", "cg_diff"]
CamSaliency = Literal["grad_cam", "grad_cam++", "score_cam", "layer_cam"]
SaliencyMethod = Literal[
    "cdm", "cg_cdm", "cg_diff", "grad_cam", "grad_cam++", "score_cam", "layer_cam"
]
"""The kinds of map from which methods without learned masks make their masks."""

_WHAT_MASKS_NEED = ("patch_size", "preprocessing", "network", "diffusion")
_WHAT_TAGS_NEED = ("patch_size", "preprocessing", "weak.network", "weak.diffusion")
_WHAT_MASKS_LEAVE = ("sampling",)
_WHAT_TAGS_LEAVE = (
    "sampling",
    *(
        f"weak.{name}"
        for name in (
            "presence_thresholds",
            "is_mirrored",
            "default_saliency",
            "default_cam",
            "cdm",
            "cg_cdm",
            "cg_diff",
            "cam",
            "masks",
        )
    ),
)
_OF_MASKS = frozenset({"tile_step_size", "is_mirrored", "saves_probabilities", "saves_samples"})
_OF_SAMPLES = _OF_MASKS | {"num_samples", "num_steps", "sampler", "rel_area", "rater"}
_OF_SALIENCY = frozenset({"saliency", "image_labels", "draws_picture"})


@dataclass(frozen=True, kw_only=True)
class Method:
    """A way to learn from a dataset, and to predict with what was learned.

    Attributes:
        name: what `-m` takes.
        learns_from: "masks", or "image_labels" alone: then no mask is ever opened.
        options: of prediction, besides those that every method takes.
        limits: why it takes no other options; continues the words "a model of -m NAME".
        weight_fields: paths in a configuration of what the weights belong to.
        prediction_fields: paths of what the weights do not depend on; all other fields, also those
            of the optimisation, decide about them.
        saliency: the kinds of map that a model makes its masks from; empty where it needs none.
        saliency_field: of the plan of weak supervision: the default kind.
        builder: makes the model, see `build_model`.
        trainer: a `TrainingMethod`, what `train_fold` asks.
        predictor: the `CasePredictor` of its models.
        sizes: tells how large the networks are, see `diffunet.needs`.
    """

    name: str
    learns_from: Supervision
    options: frozenset[str]
    limits: str
    weight_fields: tuple[str, ...]
    prediction_fields: tuple[str, ...]
    saliency: tuple[SaliencyMethod, ...] = ()
    saliency_field: str = ""
    builder: str
    trainer: str
    predictor: str
    sizes: str

    def build_model(
        self, configuration: "ConfigurationPlan", *, num_image_channels: int, labels: "LabelScheme"
    ) -> "nn.Module":
        """Return the model that is trained and predicts, with random weights.

        Raises:
            PlansError: the plan describes no network, or lacks the block of this method.
        """
        build = _loaded(self.builder)
        return build(configuration, num_image_channels=num_image_channels, labels=labels)

    def training(self) -> "TrainingMethod":
        """Return the method's part in the training of a fold."""
        return _loaded(self.trainer)

    def make_predictor(
        self, model: "Model", *, compute: "Compute", options: "PredictionOptions"
    ) -> "CasePredictor[Any]":
        """Return a predictor of a model, and refuse options that it would ignore.

        Raises:
            UsageError, PlansError: options, precision and model do not fit together.
        """
        self.refuse_options(options.given())
        return _loaded(self.predictor)(model, compute=compute, options=options)

    def network_sizes(self, configuration: "ConfigurationPlan") -> "list[NetworkSize]":
        """Return the sizes of the networks of a model, as far as they are known without them."""
        return _loaded(self.sizes)(configuration)

    def is_of_prediction(self, path: str) -> bool:
        """Whether a field of a configuration, or a group, says nothing about the weights."""
        return any(f"{path}.".startswith(f"{each}.") for each in self.prediction_fields)

    def refuse_options(self, given: Mapping[str, Any]) -> None:
        """Refuse options that a prediction would ignore.

        Args:
            given: the options that the user set, by name.

        Raises:
            UsageError: a given option does not belong to this method.
        """
        others = [name for name in given if name not in self.options]
        if others:
            raise UsageError(
                f"{', '.join(others)}: a model of -m {self.name} {self.limits}; leave it out, or "
                "predict with another method (-m)"
            )


def _loaded(reference: str) -> Any:
    """Return what "module:name" names."""
    module, _, name = reference.partition(":")
    return getattr(import_module(module), name)


_learns_from_masks = partial(
    Method,
    learns_from="masks",
    weight_fields=_WHAT_MASKS_NEED,
    prediction_fields=_WHAT_MASKS_LEAVE,
)
_learns_from_tags = partial(
    Method,
    learns_from="image_labels",
    options=_OF_SALIENCY,
    limits="makes its masks from saliency, and draws no samples",
    weight_fields=_WHAT_TAGS_NEED,
    prediction_fields=_WHAT_TAGS_LEAVE,
    predictor="diffunet.wsss.prediction.predictor:SaliencyPredictor",
)

METHODS = {
    each.name: each
    for each in (
        _learns_from_masks(
            name="diffusion",
            options=_OF_SAMPLES,
            limits="has no saliency and opens no image-level labels",
            builder="diffunet.build:build_denoiser",
            trainer="diffunet.training.segmentation:DIFFUSION",
            predictor="diffunet.inference.masks:SamplePredictor",
            sizes="diffunet.needs:denoiser_sizes",
        ),
        _learns_from_masks(
            name="supervised",
            options=_OF_MASKS,
            limits="gives one answer: it draws no samples, has no saliency and opens no "
            "image-level labels",
            builder="diffunet.build:build_segmentation_network",
            trainer="diffunet.training.segmentation:SUPERVISED",
            predictor="diffunet.inference.masks:ProbabilityPredictor",
            sizes="diffunet.needs:segmentation_network_sizes",
        ),
        _learns_from_tags(
            name="cdm",
            saliency=get_args(DiffusionSaliency),
            saliency_field="default_saliency",
            builder="diffunet.build:build_image_model",
            trainer="diffunet.wsss.training.method:CDM",
            sizes="diffunet.needs:image_model_sizes",
        ),
        _learns_from_tags(
            name="classifier",
            saliency=get_args(CamSaliency),
            saliency_field="default_cam",
            builder="diffunet.build:build_classifier",
            trainer="diffunet.wsss.training.method:CLASSIFIER",
            sizes="diffunet.needs:classifier_sizes",
        ),
    )
}
"""By name."""


def methods_that_learn_from(supervision: Supervision) -> list[str]:
    """Return the names of methods."""
    return [name for name, each in METHODS.items() if each.learns_from == supervision]


def method_of_saliency(saliency: str) -> str:
    """Return the name of the method whose model makes `saliency`.

    Raises:
        UsageError: there is no such saliency.
    """
    for name, method in METHODS.items():
        if saliency in method.saliency:
            return name
    raise UsageError(
        f"saliency should be one of {', '.join(get_args(SaliencyMethod))}, got '{saliency}'"
    )


def require_saliency(saliency: str, *, method: str) -> None:
    """Check that a model of `method` can make `saliency`.

    Raises:
        UsageError: it cannot (the message names what to train, and what this model makes instead),
            or there is no such saliency.
    """
    needed, made = method_of_saliency(saliency), METHODS[method].saliency
    if needed == method:
        return
    here = f"it makes {', '.join(made)}" if made else "it makes masks without saliency"
    raise UsageError(
        f"saliency '{saliency}' needs a model trained with -m {needed}, "
        f"found one of -m {method} ({here}); train that method, or choose what this model makes"
    )
