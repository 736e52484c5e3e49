"""The backbones: how a plan of a network becomes networks, one class and one line each.

Plans read the names and the rules here without torch, so a member imports its networks within.
"""

from typing import TYPE_CHECKING, Protocol

from diffunet.backbones.concatenated import Concatenated
from diffunet.backbones.encoded import Encoded
from diffunet.backbones.monai import Monai

if TYPE_CHECKING:
    from torch import nn

    from diffunet.diffusion.denoiser import LabelledNetwork
    from diffunet.networks.task import NetworkTask
    from diffunet.plans import NetworkPlan


class Backbone(Protocol):
    """What builds the networks of a plan. All raise a ValueError that starts with the field.

    The fields of a plan mean the same in every backbone; `check` refuses what one cannot do.

    Attributes:
        has_image_encoder: plans have `image_channels` and `num_image_blocks`, of a network that
            sees the image once; otherwise these are empty.
    """

    @property
    def has_image_encoder(self) -> bool: ...

    def check(self, plan: "NetworkPlan") -> None:
        """Refuse a plan that this backbone cannot build."""
        ...

    def denoising(self, plan: "NetworkPlan", task: "NetworkTask") -> "LabelledNetwork":
        """Return an `nn.Module` that denoises masks of an image, or images of given labels.

        Its parts that `--compile` compiles are called `body` and `image_encoder`.
        """
        ...

    def supervised(self, plan: "NetworkPlan", task: "NetworkTask") -> "nn.Module":
        """Return what maps an image to logits, with most of the capacity of `denoising`."""
        ...


BACKBONES: dict[str, Backbone] = {
    "encoded": Encoded(),
    "concatenated": Concatenated(),
    "monai": Monai(),
}
"""By the name that `network.conditioning` has in plans."""


def names_with_image_encoder() -> list[str]:
    """Return the names of the backbones whose plans have an image encoder."""
    return [name for name, each in BACKBONES.items() if each.has_image_encoder]
