"""What a training says before its first iteration."""

import torch
from torch import nn

from diffunet.training.fold_data import FoldData


def training_header(
    data: FoldData, *, fold: str, iteration: int, num_ranks: int, model: nn.Module
) -> tuple[str, ...]:
    """Return sentences on where a fold trains, on what, and how progress is read.

    Args:
        iteration: finished ones; not 0 where a training goes on.
        num_ranks: processes that train together.
        model: before it is compiled.
    """
    plans, split = data.plans, data.split
    configuration, training = plans.configuration, plans.configuration.training
    num_weights = sum(each.numel() for each in model.parameters())
    patch = " x ".join(map(str, configuration.patch_size))
    patients = len({data.patients[case] for case in split.train})
    begun = f"from iteration {iteration} on" if iteration else "from the beginning"
    cropped = {"whole": "whole images"}.get(configuration.crop.policy, "cut from the images")
    read = "the loss alone says little about predictions, and there is no validation"
    if split.val:
        read = (
            "read progress in the validation scores of progress.png, beside the checkpoints; the "
            "loss alone says little about predictions"
        )
    return (
        f"fold {fold} of {plans.dataset_name}: method {plans.method}, "
        f"{plans.configuration_name}, {begun}, on {_device(data.compute.device, num_ranks)}",
        f"data: {len(split.train)} training cases of {patients} patient(s), {len(split.val)} for "
        f"validation; patches of {patch} voxels, {cropped}",
        f"training: {training.num_iterations} iterations of {training.batch_size} patches, "
        f"{num_weights:,} parameters; the time left is shown after some iterations",
        read,
    )


def _device(device: torch.device, num_ranks: int) -> str:
    name = torch.cuda.get_device_name(device) if device.type == "cuda" else str(device)
    if num_ranks > 1:
        return f"{num_ranks} x {name}"
    return f"{name} ({torch.get_num_threads()} thread(s))" if device.type == "cpu" else name
