"""The two components of weak supervision that share one noise process."""

from typing import Protocol, final, runtime_checkable

from jaxtyping import Float
from torch import Tensor, nn

from diffunet.diffusion.denoiser import Denoiser
from diffunet.diffusion.schedules import Schedule

CLEAN_TIME = 0.0
"""What the classifier of noised images is told of an image without noise."""


@runtime_checkable
class NoisedClassifier(Protocol):
    """What `ImageModel` asks of its classifier."""

    def __call__(self, image: Tensor, t: Tensor) -> Tensor:
        """Return logits (batch, class) of images at noise level t (batch,)."""
        ...


@final
class ImageModel(nn.Module):
    """A diffusion of images under image-level labels, and a classifier of its noised images.

    Both take the same time, so that the classifier knows what the sampler makes at each step.

    Args:
        denoiser: its network embeds image-level labels and sees no other image.
        classifier: of x_t and t.
    """

    classifier: NoisedClassifier

    def __init__(self, denoiser: Denoiser, classifier: NoisedClassifier):
        super().__init__()
        self.denoiser = denoiser
        self.classifier = classifier

    @property
    def schedule(self) -> Schedule:
        """The noise process of both."""
        return self.denoiser.schedule

    def embed_labels(self, tags: Float[Tensor, "batch class"]) -> Float[Tensor, "batch dim"]:
        """Return the denoiser's condition for image-level labels in [0, 1]."""
        return self.denoiser.embed_labels(tags)
