"""The optimiser, and its learning rate as a function of the iteration alone."""

import math

from torch import nn
from torch.optim import AdamW

from diffunet.plans import TrainingPlan

WARMUP_SHARE_LIMIT = 0.1
"""Warm-up never takes more than this share of a training, however short that is."""


def learning_rate_at(iteration: int, plan: TrainingPlan) -> float:
    """Return the learning rate of the optimiser step that follows `iteration` finished ones.

    It rises linearly to `plan.learning_rate` over the warm-up, stays there, and falls as half a
    cosine to 0 over the last `plan.decay_share` of the iterations (P1's lr_schedule).
    """
    num_warmup = num_warmup_iterations(plan)
    if iteration < num_warmup:
        return plan.learning_rate * (iteration + 1) / num_warmup
    decay_start = max(num_warmup, (1 - plan.decay_share) * plan.num_iterations)
    if iteration < decay_start:
        return plan.learning_rate
    progress = (iteration - decay_start) / (plan.num_iterations - decay_start)
    return plan.learning_rate * 0.5 * (1 + math.cos(math.pi * min(1.0, progress)))


def num_warmup_iterations(plan: TrainingPlan) -> int:
    """Return the planned warm-up, cut to a tenth of the training where that is shorter.

    One iteration, which changes no rate, is always allowed.
    """
    return min(plan.num_warmup_iterations, max(1, int(WARMUP_SHARE_LIMIT * plan.num_iterations)))


def build_optimizer(model: nn.Module, plan: TrainingPlan) -> AdamW:
    """Return AdamW over all trainable parameters of `model`.

    Weights of convolutions and matrices decay; biases and the scales of norms, which have one
    dimension, do not: shrinking those pulls activations to 0 without making the function simpler.
    """
    trained = [parameter for parameter in model.parameters() if parameter.requires_grad]
    groups = [
        {"params": [p for p in trained if p.ndim > 1], "weight_decay": plan.weight_decay},
        {"params": [p for p in trained if p.ndim <= 1], "weight_decay": 0.0},
    ]
    is_fused = all(parameter.device.type in ("cpu", "cuda") for parameter in trained)
    return AdamW(groups, lr=plan.learning_rate, fused=is_fused)


def set_learning_rate(optimizer: AdamW, learning_rate: float) -> None:
    """Use `learning_rate` in the next step of all parameter groups."""
    for group in optimizer.param_groups:
        group["lr"] = learning_rate
