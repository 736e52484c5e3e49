"""Plans of one dataset for another: the same patches, voxels and networks, so that weights fit."""

import dataclasses

from diffunet.errors import PlansError
from diffunet.methods import METHODS
from diffunet.plans import ConfigurationPlan, Plans
from diffunet.workspace import DEFAULT_PLANS_NAME


def moved_plans(
    plans: Plans,
    *,
    dataset_name: str,
    plans_name: str,
    num_channels: int,
    dimensions: int,
    has_image_labels: bool,
    orientations: tuple[str, ...],
) -> Plans:
    """Return plans of another dataset as plans of `dataset_name`.

    All that was chosen stays, intensity statistics included. What names the dataset or its
    preprocessed cases changes. Where the dataset has no image-level labels, plans for such a method
    come to recommend a diffusion on masks.

    Args:
        num_channels, dimensions, orientations: of the images of the dataset.

    Raises:
        PlansError: they are for images of another kind.
    """
    for name, configuration in plans.configurations.items():
        found = len(configuration.preprocessing.normalization)
        if found != num_channels:
            raise PlansError(
                f"configurations.{name} of '{plans.plans_name}' is for {found} channels, and "
                f"{dataset_name} has {num_channels}; plan {dataset_name} by itself"
            )
    if len(plans.transpose_forward) != dimensions:
        raise PlansError(
            f"'{plans.plans_name}' of {plans.dataset_name} is for images of "
            f"{len(plans.transpose_forward)} dimensions, and those of {dataset_name} have "
            f"{dimensions}; plan {dataset_name} by itself"
        )
    learns_from_tags = METHODS[plans.method].learns_from == "image_labels"
    return dataclasses.replace(
        plans,
        dataset_name=dataset_name,
        plans_name=plans_name,
        orientations=orientations,
        method="diffusion" if learns_from_tags and not has_image_labels else plans.method,
        configurations={
            name: _with_own_data(each, former=plans.plans_name, new=plans_name)
            for name, each in plans.configurations.items()
        },
        reasons={
            **plans.reasons,
            "dataset_name": f"Chosen for {plans.dataset_name} (its plans '{plans.plans_name}'), "
            f"and moved here as they are. Reasons speak of {plans.dataset_name}.",
        },
    )


def _with_own_data(configuration: ConfigurationPlan, *, former: str, new: str) -> ConfigurationPlan:
    """Return a configuration whose cases lie where those of no other plans do."""
    name = configuration.data_identifier.removeprefix(f"{former}_")
    identifier = name if new == DEFAULT_PLANS_NAME else f"{new}_{name}"
    return dataclasses.replace(configuration, data_identifier=identifier)
