"""Draw segmentations of a preprocessed image: noise, tiles and sampler put together."""

from collections.abc import Callable, Iterator, Sequence
from functools import partial

import torch
from jaxtyping import Float
from torch import Tensor

from diffunet.build import PlannedSampler, build_sampler
from diffunet.diffusion.denoiser import Denoiser
from diffunet.inference.compute import Compute
from diffunet.inference.noise import draw_noise
from diffunet.inference.slice_noise import PILOT, doubt_of, draw_slice_noise
from diffunet.inference.sliding_window import Tiling, crop_to, mirrorings, pad_to
from diffunet.inference.tiles import TiledDenoiser
from diffunet.plans import SamplingPlan


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
    on_step: Callable[[int], None] | None = None,
) -> Iterator[tuple[int, Float[Tensor, "channel *spatial"]]]:
    """Yield (k, x_0) of each sample, fold by fold, in groups that fit the memory.

    Args:
        denoisers: one per fold, in evaluation mode on `compute.device`; sample k is drawn by number
            k modulo their number.
        image: normalised; a volume with a 2D `patch_size` is treated slice by slice.
        num_channels: of x_0.
        mirror_axes: axes of the patch over which `sampling.is_mirrored` averages.
        seed: sample k is a function of (seed, case, k) and of its network, of nothing else.
        on_step: called after each sampling step with the number of samples that took it.

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
        num_volumes = sampler.num_volumes
        group_size = min(compute.group_size(shape, num_volumes=num_volumes), len(samples))
        predict_x_0 = TiledDenoiser(
            denoiser,
            image,
            tiling=tiling,
            mirrorings=mirrorings(mirror_axes if sampling.is_mirrored else ()),
            num_samples=group_size,
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


def _sample(
    predict_x_0: TiledDenoiser,
    noise: Callable[..., Tensor],
    sampler: PlannedSampler,
    *,
    on_step: Callable[[int], None] | None,
) -> Float[Tensor, "sample channel *spatial"]:
    """Run the sampler once, for one group of samples."""

    def predict(x_t: Tensor, t: float) -> Tensor:
        x_0 = predict_x_0(x_t, t)
        if on_step is not None:
            on_step(len(x_t))
        return x_0

    return sampler(predict, noise(step=0), noise_source=lambda step: noise(step=step + 1))


def _noise_of(
    predict_x_0: TiledDenoiser,
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
