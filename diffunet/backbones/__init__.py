"""The backbones: how a plan of a network becomes networks, one class and one line each.

Plans read the names and the rules here without torch, so a member imports its networks within.
"""

from typing import TYPE_CHECKING, Protocol

from diffunet.backbones.concatenated import Concatenated
from diffunet.backbones.encoded import Encoded
from diffunet.backbones.size import NetworkSize

if TYPE_CHECKING:
    from diffunet.networks.denoising import ConcatenatedNetwork, DenoisingNetwork
    from diffunet.networks.segmentation import SegmentationNetwork
    from diffunet.plans import NetworkPlan


class Backbone(Protocol):
    """What builds the networks of a plan. All raise a ValueError that starts with the field."""

    def check(self, plan: "NetworkPlan") -> None:
        """Refuse a plan that this backbone cannot build, whatever the network is for."""
        ...

    def check_conditioned(self, plan: "NetworkPlan") -> None:
        """Refuse a plan that lacks what the image needs that masks are drawn for."""
        ...

    def denoising(
        self,
        plan: "NetworkPlan",
        *,
        num_image_channels: int,
        num_label_channels: int,
        has_final_tanh: bool,
    ) -> "DenoisingNetwork":
        """Return what denoises masks of an image."""
        ...

    def supervised(
        self, plan: "NetworkPlan", *, num_image_channels: int, num_label_channels: int
    ) -> "SegmentationNetwork":
        """Return what maps an image to logits, with most of the capacity of `denoising`."""
        ...

    def image_denoising(
        self, plan: "NetworkPlan", *, num_image_channels: int, num_classes: int
    ) -> "ConcatenatedNetwork":
        """Return what denoises images that labels alone condition."""
        ...

    def denoising_sizes(self, plan: "NetworkPlan") -> list[NetworkSize]:
        """Return the sizes of what `denoising` makes; at most what they are."""
        ...

    def supervised_sizes(self, plan: "NetworkPlan") -> list[NetworkSize]:
        """Return the sizes of what `supervised` makes; at most what they are."""
        ...


BACKBONES: dict[str, Backbone] = {
    "encoded": Encoded(),
    "concatenated": Concatenated(),
}
"""By the name that `network.conditioning` has in plans."""
