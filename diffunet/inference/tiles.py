"""What networks answer on a whole image, tile by tile: x_0 of several samples, or probabilities."""

from collections.abc import Callable, Sequence
from typing import final

import torch
from jaxtyping import Float
from torch import Tensor

from diffunet.diffusion.denoiser import Denoiser
from diffunet.inference.compute import Compute, run_in_memory
from diffunet.inference.sliding_window import Starts, Tiling, chunks_of

Features = tuple[Tensor, ...]


def blend_tiles(
    tiling: Tiling, chunks: Sequence[Starts], predict: Callable[[Starts], Tensor], out: Tensor
) -> None:
    """Add to `out` the weighted answers of all tiles, in lexicographic order.

    Args:
        chunks: starts of the tiles that are predicted together.
        predict: returns (tile, sample, channel, *tile) for a chunk, on any device.
        out: (sample, channel, *spatial), zeros.
    """
    for starts in chunks:
        for start, answer in zip(starts, predict(starts), strict=True):
            weights = tiling.weights(start).to(answer.device)
            out[(..., *tiling.slices(start))] += (answer * weights).to(out.device)


def image_tiles(
    image: Float[Tensor, "channel *spatial"], tiling: Tiling, starts: Starts, device: torch.device
) -> Float[Tensor, "tile channel *patch"]:
    """Return the tiles of `image` at `starts`, as the network takes them, on `device`."""
    tiles = torch.stack([image[(..., *tiling.slices(start))] for start in starts])
    return tiles.reshape(len(starts), image.shape[0], *tiling.patch_size).to(device)


def flip(tensor: Tensor, axes: Sequence[int]) -> Tensor:
    """Return (batch, channel, *patch) flipped along `axes` of the patch."""
    return tensor.flip([axis + 2 for axis in axes]) if axes else tensor


@final
class TiledDenoiser:
    """Predicts x_0 of several samples on a whole image; the samplers call it at each step.

    What depends on the image alone is computed once per tile and step for all samples, and kept for
    all steps and groups of samples as far as `compute.feature_gib` allows; always within one patch.
    """

    def __init__(
        self,
        denoiser: Denoiser,
        image: Float[Tensor, "channel *spatial"],
        *,
        tiling: Tiling,
        mirrorings: Sequence[tuple[int, ...]],
        num_samples: int,
        compute: Compute,
    ):
        """Prepare to predict.

        Args:
            image: normalised, of the shape of `tiling`.
            mirrorings: sets of patch axes to flip, at least one; the answers are averaged.
            num_samples: most samples of one call; decides how many tiles share a network call.
        """
        self._denoiser = denoiser
        self._image = image
        self._tiling = tiling
        self._mirrorings = mirrorings
        self._compute = compute
        self._num_samples = num_samples
        self._use_batches_of(compute.batch_size(tiling.patch_size))

    def __call__(
        self, x_t: Float[Tensor, "sample channel *spatial"], t: float
    ) -> Float[Tensor, "sample channel *spatial"]:
        """Return x_0 predicted from `x_t` at time `t`, on the device of `x_t`; not clipped."""

        def run(batch_size: int) -> Tensor:
            if batch_size != self._batch_size:
                self._use_batches_of(batch_size)
            return self._predict_image(x_t, t)

        return run_in_memory(run, self._batch_size)[0]

    def _use_batches_of(self, batch_size: int) -> None:
        self._batch_size = batch_size
        num_tiles = max(1, batch_size // self._num_samples)
        self._chunks = chunks_of(self._tiling.starts, num_tiles)
        self._kept: dict[tuple[tuple[int, ...], tuple[int, ...]], Features] = {}
        self._free_bytes = self._compute.feature_bytes

    def _predict_image(self, x_t: Tensor, t: float) -> Tensor:
        if len(self._tiling.starts) == 1:
            return self._predict(x_t, t, self._tiling.starts)[0].to(x_t.device)
        x_0 = torch.zeros_like(x_t)
        blend_tiles(self._tiling, self._chunks, lambda starts: self._predict(x_t, t, starts), x_0)
        return x_0

    def _predict(
        self, x_t: Float[Tensor, "sample channel *spatial"], t: float, starts: Starts
    ) -> Float[Tensor, "tile sample channel *tile"]:
        """Return x_0 on some tiles, averaged over the mirrored inputs."""
        first, *others = self._mirrorings
        total = self._predict_mirrored(x_t, t, starts, first)
        for axes in others:
            total += self._predict_mirrored(x_t, t, starts, axes)
        return total / len(self._mirrorings) if others else total

    def _predict_mirrored(
        self,
        x_t: Float[Tensor, "sample channel *spatial"],
        t: float,
        starts: Starts,
        axes: tuple[int, ...],
    ) -> Float[Tensor, "tile sample channel *tile"]:
        features = self._features(starts, axes)
        answers = [
            self._call(samples, t, starts, axes, features)
            for samples in x_t.split(max(1, self._batch_size // len(starts)))
        ]
        return answers[0] if len(answers) == 1 else torch.cat(answers, dim=1)

    def _call(
        self,
        x_t: Float[Tensor, "sample channel *spatial"],
        t: float,
        starts: Starts,
        axes: tuple[int, ...],
        features: Features,
    ) -> Float[Tensor, "tile sample channel *tile"]:
        """Run the network once, on all pairs of a tile and a sample."""
        num_samples, num_channels = x_t.shape[:2]
        tiles = torch.stack([x_t[(..., *self._tiling.slices(start))] for start in starts])
        batch = tiles.reshape(-1, num_channels, *self._tiling.patch_size).to(self._compute.device)
        if len(starts) > 1:  # features of a single tile serve all samples as they are
            features = _repeat(features, num_samples)
        with self._compute.running():
            x_0 = self._denoiser.predict_x_0(flip(batch, axes), t, features=features)
        x_0 = flip(self._compute.in_range(x_0), axes)
        return x_0.reshape(len(starts), num_samples, num_channels, *self._tiling.tile)

    def _features(self, starts: Starts, axes: tuple[int, ...]) -> Features:
        """Return what the network makes of the image alone, kept where there is room."""
        key = (starts[0], axes)
        if key in self._kept:
            return self._kept[key]
        tiles = image_tiles(self._image, self._tiling, starts, self._compute.device)
        with self._compute.running():
            features = self._denoiser.encode_image(flip(tiles, axes))
        num_bytes = sum(feature.nbytes for feature in features)
        if num_bytes <= self._free_bytes or len(self._tiling.starts) == 1:
            self._kept[key] = features
            self._free_bytes -= num_bytes
        return features


def _repeat(features: Features, num_samples: int) -> Features:
    """Return features (tile, ...) with each tile's repeated: (tile * sample, ...)."""
    return tuple(
        feature.unsqueeze(1).expand(-1, num_samples, *feature.shape[1:]).flatten(0, 1)
        for feature in features
    )
