"""Supervised networks on a whole image: probabilities, blended over tiles, mirrors and folds."""

from collections.abc import Callable, Sequence

import torch
from jaxtyping import Float
from torch import Tensor, nn

from diffunet.inference.compute import Compute, parts, run_in_memory
from diffunet.inference.sliding_window import Starts, Tiling, crop_to, flip, mirrorings, pad_to


@torch.no_grad()
def segment_image(
    networks: Sequence[nn.Module],
    image: Float[Tensor, "channel *spatial"],
    *,
    num_channels: int,
    is_exclusive: bool,
    patch_size: tuple[int, ...],
    tile_step_size: float,
    mirror_axes: tuple[int, ...],
    compute: Compute,
    on_step: Callable[[float], None] | None = None,
) -> Float[Tensor, "output *spatial"]:
    """Return the mean probability of each output channel over folds and mirrors.

    Args:
        networks: image to logits, one per fold, in evaluation mode on `compute.device`.
        image: normalised; a volume with a 2D `patch_size` is treated slice by slice.
        num_channels: of the networks' output.
        is_exclusive: labels do not overlap: several channels are one distribution (softmax). A
            single channel, or each of those that overlap, is a probability of its own (sigmoid).
        mirror_axes: axes of the patch over which to average; empty for none.
        on_step: called as tiles are done, with their share of all.

    Returns:
        float32 on the CPU.
    """
    tiling = Tiling(
        image_shape=tuple(image.shape[1:]), patch_size=patch_size, step_size=tile_step_size
    )
    padded = pad_to(image, tiling.shape)
    flips = mirrorings(mirror_axes)
    has_softmax = is_exclusive and num_channels > 1

    def predict(starts: Starts) -> Tensor:
        tiles = tiling.cut(padded, starts).to(compute.device)
        total = torch.zeros(len(starts), num_channels, *patch_size, device=tiles.device)
        for network in networks:
            for axes in flips:
                with compute.running():
                    logits = compute.in_range(network(flip(tiles, axes)))
                probabilities = logits.softmax(dim=1) if has_softmax else logits.sigmoid()
                total += flip(probabilities, axes)
        total /= len(networks) * len(flips)
        if on_step is not None:
            on_step(len(starts) / len(tiling.starts))
        return total.reshape(len(starts), 1, num_channels, *tiling.tile)

    def run(batch_size: int) -> Tensor:
        out = torch.zeros(1, num_channels, *tiling.shape)
        fewest = compute.fewest_tiles(patch_size)
        sizes = parts(len(tiling.starts), size=batch_size, fewest=fewest)
        tiling.blend(tiling.chunks(sizes), predict, out)
        return out[0]

    probabilities, _ = run_in_memory(run, compute.batch_size(patch_size))
    return crop_to(probabilities, tiling.image_shape)
