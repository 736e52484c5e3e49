"""Draw segmentations of a preprocessed image: noise, tiles and sampler put together."""

from collections.abc import Callable, Iterator, Sequence
from functools import partial
from typing import final

import torch
from jaxtyping import Float
from torch import Tensor

from diffunet.build import PlannedSampler, build_sampler
from diffunet.diffusion.denoiser import Denoiser, Features
from diffunet.inference.compute import Compute, parts, run_in_memory
from diffunet.inference.noise import draw_noise
from diffunet.inference.slice_noise import PILOT, doubt_of, draw_slice_noise
from diffunet.inference.sliding_window import Starts, Tiling, crop_to, flip, mirrorings, pad_to
from diffunet.plans import SamplingPlan

_State = tuple[Tensor, ...]
"""x_t (sample, channel, *spatial), and x_0_hat of the step before where there is one."""


def draw_x_0(
    denoisers: Sequence[Denoiser],
    image: Float[Tensor, "channel *spatial"],
    *,
    num_channels: int,
    sampling: SamplingPlan,
    patch_size: tuple[int, ...],
    mirror_axes: tuple[int, ...],
    seed: int,
    case: str,
    compute: Compute,
    tags: Float[Tensor, "1 class"] | None = None,
    on_step: Callable[[float], None] | None = None,
) -> Iterator[tuple[int, Float[Tensor, "channel *spatial"]]]:
    """Yield (k, x_0) of each sample, fold by fold, in groups that fit the memory.

    Args:
        denoisers: one per fold, in evaluation mode on `compute.device`; sample k is drawn by number
            k modulo their number.
        image: normalised; a volume with a 2D `patch_size` is treated slice by slice.
        num_channels: of x_0.
        mirror_axes: axes of the patch over which `sampling.is_mirrored` averages.
        seed: sample k is a function of (seed, case, k) and of its network, of nothing else.
        tags: of who draws, for denoisers that are told; None: nothing is told.
        on_step: called as sampling goes on with the number of samples that took a step; where an
            image has several tiles, once for some of these, with their share of it.

    Yields:
        x_0 on the CPU, float32, in [-1, 1], on the image's own grid.
    """
    tiling = Tiling(
        image_shape=tuple(image.shape[1:]),
        patch_size=patch_size,
        step_size=sampling.tile_step_size,
    )
    image = pad_to(image, tiling.shape)
    shape = (num_channels, *tiling.shape)
    for fold, denoiser in enumerate(denoisers):
        samples = range(fold, sampling.num_samples, len(denoisers))
        if not samples:
            break
        sampler = build_sampler(sampling, schedule=denoiser.schedule)
        num_volumes = sampler.num_volumes + denoiser.is_self_conditioned
        group_size = min(compute.group_size(shape, num_volumes=num_volumes), len(samples))
        predict_x_0 = _TiledDenoiser(
            denoiser,
            image,
            tiling=tiling,
            mirrorings=mirrorings(mirror_axes if sampling.is_mirrored else ()),
            num_samples=group_size,
            tags=tags,
            compute=compute,
        )
        state_device = compute.state_device((group_size, *shape), num_volumes=num_volumes)
        draw = _noise_of(
            predict_x_0, shape, tiling=tiling, seed=seed, case=case, device=state_device
        )
        for first in range(0, len(samples), group_size):
            group = samples[first : first + group_size]
            noise = partial(draw, samples=group)
            x_0 = _sample(predict_x_0, noise, sampler, on_step=on_step).cpu()
            yield from (
                (sample, crop_to(field, tiling.image_shape))
                for sample, field in zip(group, x_0, strict=True)
            )
            del x_0  # before the next group needs the memory


@final
class _TiledDenoiser:
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
        tags: Tensor | None,
        compute: Compute,
    ):
        """Prepare to predict.

        Args:
            image: normalised, of the shape of `tiling`.
            mirrorings: sets of patch axes to flip, at least one; the answers are averaged.
            num_samples: most samples of one call; decides how many tiles share a network call.
            tags: see `draw_x_0`.
        """
        self._denoiser = denoiser
        self.is_self_conditioned = denoiser.is_self_conditioned
        self._condition = None
        if tags is not None:
            with compute.running():
                self._condition = denoiser.embed_labels(tags.to(compute.device))
        self._image = image
        self._tiling = tiling
        self._mirrorings = mirrorings
        self._compute = compute
        self._num_samples = num_samples
        self._fewest = compute.fewest_tiles(tiling.patch_size)
        self._use_batches_of(compute.batch_size(tiling.patch_size))

    def __call__(
        self,
        x_t: Float[Tensor, "sample channel *spatial"],
        t: float,
        *,
        x_0_hat: Float[Tensor, "sample channel *spatial"] | None = None,
        on_tiles: Callable[[int], None] = lambda num_tiles: None,
    ) -> Float[Tensor, "sample channel *spatial"]:
        """Return x_0 predicted from `x_t` at time `t`, on the device of `x_t`; not clipped.

        Args:
            x_0_hat: of the step before, clipped; only self-conditioned denoisers look at it.
            on_tiles: called with the number of tiles that are done, for some at a time.
        """
        state = (x_t,) if x_0_hat is None else (x_t, x_0_hat)

        def run(batch_size: int) -> Tensor:
            if batch_size != self._batch_size:
                self._use_batches_of(batch_size)
            return self._predict_image(state, t, on_tiles=on_tiles)

        return run_in_memory(run, self._batch_size)[0]

    @property
    def num_tiles(self) -> int:
        """Of the image."""
        return len(self._tiling.starts)

    def _use_batches_of(self, batch_size: int) -> None:
        self._batch_size = batch_size
        num_tiles = max(self._fewest, batch_size // self._num_samples)
        self._chunks = self._tiling.chunks(
            parts(len(self._tiling.starts), size=num_tiles, fewest=self._fewest)
        )
        self._kept: dict[tuple[tuple[int, ...], tuple[int, ...]], Features] = {}
        self._free_bytes = self._compute.feature_bytes

    def _predict_image(self, state: _State, t: float, *, on_tiles: Callable[[int], None]) -> Tensor:
        x_t = state[0]

        def predict(starts: Starts) -> Tensor:
            answers = self._predict(state, t, starts)
            on_tiles(len(starts))
            return answers

        if len(self._tiling.starts) == 1:
            return predict(self._tiling.starts)[0].to(x_t.device)
        x_0 = torch.zeros_like(x_t)
        self._tiling.blend(self._chunks, predict, x_0)
        return x_0

    def _predict(
        self, state: _State, t: float, starts: Starts
    ) -> Float[Tensor, "tile sample channel *tile"]:
        """Return x_0 on some tiles, averaged over the mirrored inputs."""
        first, *others = self._mirrorings
        total = self._predict_mirrored(state, t, starts, first)
        for axes in others:
            total += self._predict_mirrored(state, t, starts, axes)
        return total / len(self._mirrorings) if others else total

    def _predict_mirrored(
        self,
        state: _State,
        t: float,
        starts: Starts,
        axes: tuple[int, ...],
    ) -> Float[Tensor, "tile sample channel *tile"]:
        features = self._features(starts, axes)
        group_size = max(1, self._batch_size // len(starts))
        # samples of several tiles are together already
        fewest = self._fewest if len(starts) == 1 else 1
        groups = parts(len(state[0]), size=group_size, fewest=fewest)
        answers = [
            self._call(of_samples, t, starts, axes, features)
            for of_samples in zip(*(each.split(groups) for each in state), strict=True)
        ]
        return answers[0] if len(answers) == 1 else torch.cat(answers, dim=1)

    def _call(
        self,
        state: _State,
        t: float,
        starts: Starts,
        axes: tuple[int, ...],
        features: Features,
    ) -> Float[Tensor, "tile sample channel *tile"]:
        """Run the network once, on all pairs of a tile and a sample."""
        num_samples, num_channels = state[0].shape[:2]
        batches = [flip(self._cut(volumes, starts), axes) for volumes in state]
        if len(starts) > 1:  # features of a single tile serve all samples as they are
            features = _repeat(features, num_samples)
        told = self._condition
        condition = None if told is None else told.expand(len(batches[0]), -1)
        with self._compute.running():
            x_0 = self._denoiser.predict_x_0(
                batches[0],
                t,
                features=features,
                condition=condition,
                x_0_hat=batches[1] if len(batches) > 1 else None,
            )
        x_0 = flip(self._compute.in_range(x_0), axes)
        return x_0.reshape(len(starts), num_samples, num_channels, *self._tiling.tile)

    def _cut(
        self, volumes: Float[Tensor, "sample channel *spatial"], starts: Starts
    ) -> Float[Tensor, "tile_and_sample channel *patch"]:
        tiles = torch.stack([volumes[(..., *self._tiling.slices(start))] for start in starts])
        num_channels = volumes.shape[1]
        return tiles.reshape(-1, num_channels, *self._tiling.patch_size).to(self._compute.device)

    def _features(self, starts: Starts, axes: tuple[int, ...]) -> Features:
        """Return what the network makes of the image alone, kept where there is room."""
        key = (starts[0], axes)
        if key in self._kept:
            return self._kept[key]
        tiles = self._tiling.cut(self._image, starts).to(self._compute.device)
        with self._compute.running():
            features = self._denoiser.encode_image(flip(tiles, axes))
        num_bytes = sum(feature.nbytes for feature in features)
        if num_bytes <= self._free_bytes or len(self._tiling.starts) == 1:
            self._kept[key] = features
            self._free_bytes -= num_bytes
        return features


def _sample(
    predict_x_0: _TiledDenoiser,
    noise: Callable[..., Tensor],
    sampler: PlannedSampler,
    *,
    on_step: Callable[[float], None] | None,
) -> Float[Tensor, "sample channel *spatial"]:
    """Run the sampler once, for one group of samples."""
    x_0_hat: Tensor | None = None
    all_tiles = predict_x_0.num_tiles

    def predict(x_t: Tensor, t: float) -> Tensor:
        nonlocal x_0_hat

        def on_tiles(num_tiles: int) -> None:
            if on_step is not None:
                on_step(len(x_t) if num_tiles == all_tiles else len(x_t) * num_tiles / all_tiles)

        x_0 = predict_x_0(x_t, t, x_0_hat=x_0_hat, on_tiles=on_tiles)
        if predict_x_0.is_self_conditioned:
            x_0_hat = x_0  # the sampler clips it in place
        return x_0

    return sampler(predict, noise(step=0), noise_source=lambda step: noise(step=step + 1))


def _noise_of(
    predict_x_0: _TiledDenoiser,
    shape: Sequence[int],
    *,
    tiling: Tiling,
    seed: int,
    case: str,
    device: torch.device,
) -> Callable[..., Tensor]:
    """Return what draws the noise of `samples` at a `step`, on `device`."""
    names = {"seed": seed, "case": case}

    def draw(of_shape: Sequence[int], samples: Sequence[int], step: int) -> Tensor:
        return draw_noise(of_shape, samples=samples, step=step, **names).to(device)

    if not tiling.is_sliced:
        return partial(draw, shape)
    plane = draw((shape[0], *shape[2:]), [PILOT], 0)
    with torch.no_grad():
        mean = predict_x_0(plane.unsqueeze(2).expand(-1, *shape), 1.0)[0]
    return partial(draw_slice_noise, doubt_of(mean), **names)


def _repeat(features: Features, num_samples: int) -> Features:
    """Return features (tile, ...) with each tile's repeated: (tile * sample, ...)."""
    return tuple(
        feature.unsqueeze(1).expand(-1, num_samples, *feature.shape[1:]).flatten(0, 1)
        for feature in features
    )
