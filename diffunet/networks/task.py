"""What a network is for, whatever it is made of."""

from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True)
class NetworkTask:
    """What goes into a network, and what comes out.

    Attributes:
        num_image_channels: of the image that masks are found in; 0 where labels alone condition.
        num_label_channels: of x_t and of the output, or logits per voxel of a supervised network.
        has_final_tanh: bound the output to (-1, 1).
        num_classes: image-level labels, or raters, that `embed_labels` takes; 0 for none.
        sees_x_0_hat: x_t comes with an earlier x_0_hat as more channels behind its own.
    """

    num_image_channels: int
    num_label_channels: int
    has_final_tanh: bool = False
    num_classes: int = 0
    sees_x_0_hat: bool = False

    @property
    def num_state_channels(self) -> int:
        """Channels of x_t, and of the x_0_hat that may come with it."""
        return self.num_label_channels * (2 if self.sees_x_0_hat else 1)
