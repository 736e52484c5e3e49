"""x_0_hat as weakly supervised trajectories use it: clipped, then guided by the classifier."""

from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from diffunet.diffusion.image_model import ImageModel, NoisedClassifier
from diffunet.diffusion.schedules import alpha_sigma
from diffunet.networks.classification import log_probability_of
from diffunet.wsss.saliency.noise_levels import NoiseLevel


@dataclass(frozen=True, kw_only=True)
class Target:
    """What a batch of images is denoised and guided towards, one row per image.

    Attributes:
        embedding: the denoiser's condition.
        tags: in [0, 1]; the state of the guided label, which may be mixed, is what guidance wants.
        lowest, highest: limits of x_0_hat per channel, broadcast over voxels.
    """

    embedding: Float[Tensor, "batch dim"]
    tags: Float[Tensor, "batch class"]
    lowest: Float[Tensor, "batch channel *ones"]
    highest: Float[Tensor, "batch channel *ones"]

    def joined(self, other: "Target") -> "Target":
        """Return the rows of both, those of `other` last."""
        return Target(
            embedding=torch.cat([self.embedding, other.embedding]),
            tags=torch.cat([self.tags, other.tags]),
            lowest=torch.cat([self.lowest, other.lowest]),
            highest=torch.cat([self.highest, other.highest]),
        )


@dataclass(frozen=True, kw_only=True)
class GuidedDenoiser:
    """The denoiser of an `ImageModel` with a classifier's guidance towards one label's state.

    Guidance adds -s sigma_t grad log p(y | x_t) to the predicted noise (Dhariwal & Nichol 2021,
    arXiv:2105.05233, algorithm 2), that is s sigma_t^2 / alpha_t grad log p(y | x_t) to x_0_hat.
    The clip comes before it, as in their code: clipped afterwards, guidance would be cut off
    wherever the image is brightest or darkest.

    Attributes:
        label: index of the guided image-level label.
        scale: s, at least 0; 0 calls no classifier.
    """

    model: ImageModel
    label: int
    scale: float

    def predict_x_0(
        self, x_t: Float[Tensor, "batch channel *spatial"], level: NoiseLevel, *, target: Target
    ) -> Float[Tensor, "batch channel *spatial"]:
        """Return x_0_hat in the dtype of x_t; only guidance takes it beyond its limits."""
        x_0 = self.model.denoiser.predict_x_0(
            x_t, level.t, features=None, condition=target.embedding
        ).clamp(target.lowest, target.highest)
        if self.scale == 0:
            return x_0
        gradient = log_probability_gradient(
            self.model.classifier, x_t, level.t, tags=target.tags, label=self.label
        )
        alpha, sigma = alpha_sigma(torch.tensor(level.log_snr, dtype=torch.float64))
        return x_0.add_(gradient, alpha=self.scale * float(sigma**2 / alpha))


def log_probability_gradient(
    classifier: NoisedClassifier,
    x_t: Float[Tensor, "batch channel *spatial"],
    t: float,
    *,
    tags: Float[Tensor, "batch class"],
    label: int,
) -> Float[Tensor, "batch channel *spatial"]:
    """Return the gradient of each image's log p of one label's state with respect to x_t.

    Nothing flows into the classifier's weights, and no graph is kept.

    Args:
        t: noise level of x_t, as the denoiser is told it.
        tags: in [0, 1]; see `log_probability_of`.
        label: index of the label.
    """
    with torch.enable_grad():
        leaf = x_t.detach().requires_grad_()
        logits = classifier(leaf, leaf.new_full((len(leaf),), t))
        log_probability = log_probability_of(logits, tags, label=label)
        return torch.autograd.grad(log_probability.sum(), leaf)[0]


def intensity_range(
    image: Float[Tensor, "batch channel *spatial"],
) -> tuple[Float[Tensor, "batch channel *ones"], Float[Tensor, "batch channel *ones"]]:
    """Return each image's smallest and largest intensity per channel, broadcastable to it."""
    shape = (*image.shape[:2], *(1 for _ in image.shape[2:]))
    low, high = torch.aminmax(image.flatten(2), dim=2)
    return low.reshape(shape), high.reshape(shape)


def with_label(
    tags: Float[Tensor, "batch class"], *, label: int, state: float
) -> Float[Tensor, "batch class"]:
    """Return `tags` with one label's state replaced.

    Args:
        label: index of the label, from 0.
        state: 0 absent, 1 present; values between mix the two.

    Raises:
        ValueError: there is no such label.
    """
    num_labels = tags.shape[1]
    if not 0 <= label < num_labels:
        raise ValueError(f"label should be in 0 ... {num_labels - 1}, got {label}")
    changed = tags.clone()
    changed[:, label] = state
    return changed


def embed_tags(model: ImageModel, tags: Float[Tensor, "batch class"]) -> Float[Tensor, "batch dim"]:
    """Return the denoiser's condition, in the weights' precision also under autocast.

    Two conditions that are to be mixed differ by less than bfloat16 resolves.
    """
    with torch.autocast(tags.device.type, enabled=False):
        return model.embed_labels(tags)
