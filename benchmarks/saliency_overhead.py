"""Time CDM beside the network evaluations in it: python benchmarks/saliency_overhead.py.

Absolute times differ from machine to machine: what counts are the ratios, of medians of runs that
take turns in one process. CDM with R = 10 and one draw is compared with its 20 evaluations of the
network, made for one trajectory at a time (20 calls) and for both together (10 calls).
"""

import argparse
import statistics
import time
from collections.abc import Callable
from functools import partial

import torch
from torch import Tensor

from diffunet.build import build_image_model
from diffunet.diffusion.image_model import ImageModel
from diffunet.labels import LabelScheme
from diffunet.planning.topology import plan_image_model_network, plan_network
from diffunet.plans import (
    AugmentationPlan,
    ConfigurationPlan,
    CropPlan,
    DiffusionPlan,
    NormalizationPlan,
    PreprocessingPlan,
    SamplingPlan,
    TrainingPlan,
    TrajectoryPlan,
    WeakPlan,
)
from diffunet.wsss.saliency.trajectories import conditional_saliency

NUM_STEPS = 10
LABELS = LabelScheme(names=("lesion",), values=((1,),))


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--rounds", type=int, default=5)
    given = parser.parse_args()
    torch.set_num_threads(1)
    for size in (64, 128):
        model = image_model(size).to(given.device)
        for batch_size in (1, 8):
            time_one_shape(
                model, torch.randn(batch_size, 1, size, size, device=given.device), given.rounds
            )


def time_one_shape(model: ImageModel, image: Tensor, num_rounds: int) -> None:
    tags = torch.ones(len(image), 1, device=image.device)
    apart, together, cdm, guided = medians(
        partial(evaluate, model, image, tags, num_calls=2 * NUM_STEPS),
        partial(
            evaluate,
            model,
            torch.cat([image, image]),
            torch.cat([tags, tags]),
            num_calls=NUM_STEPS,
        ),
        partial(saliency, model, image, tags, guidance_scale=0.0),
        partial(saliency, model, image, tags, guidance_scale=1.0),
        num_rounds=num_rounds,
        is_gpu=image.is_cuda,
    )
    fastest = min(apart, together)
    print(
        f"{len(image)} x {image.shape[2]} x {image.shape[3]}: 20 evaluations {1e3 * apart:.0f} ms "
        f"apart, {1e3 * together:.0f} ms together; CDM {1e3 * cdm:.0f} ms, {cdm / fastest:.2f} "
        f"times the faster; CG-CDM {guided / fastest:.2f} times",
        flush=True,
    )


@torch.no_grad()
def evaluate(model: ImageModel, image: Tensor, tags: Tensor, *, num_calls: int) -> None:
    condition = model.embed_labels(tags)
    for _ in range(num_calls):
        model.denoiser.predict_x_0(image, 0.4, features=None, condition=condition)


def saliency(model: ImageModel, image: Tensor, tags: Tensor, *, guidance_scale: float) -> None:
    plan = TrajectoryPlan(num_steps=NUM_STEPS, num_draws=1, guidance_scale=guidance_scale)
    noise = torch.ones_like(image)
    conditional_saliency(model, image, tags=tags, label=0, plan=plan, noise=lambda k: noise)


def image_model(size: int) -> ImageModel:
    patch, spacing_mm = (size, size), (1.0, 1.0)
    image_network = plan_image_model_network(patch, spacing_mm).network
    configuration = ConfigurationPlan(
        dimensions=2,
        data_identifier="2d",
        median_shape=patch,
        patch_size=patch,
        preprocessing=PreprocessingPlan(
            spacing_mm=spacing_mm, normalization=(NormalizationPlan(),)
        ),
        crop=CropPlan(),
        augmentation=AugmentationPlan(),
        network=plan_network(patch, spacing_mm, num_label_channels=1).network,
        diffusion=DiffusionPlan(),
        sampling=SamplingPlan(),
        training=TrainingPlan(),
        weak=WeakPlan(network=image_network),
    )
    return build_image_model(configuration, num_image_channels=1, labels=LABELS).eval()


def medians(*functions: Callable[[], None], num_rounds: int, is_gpu: bool) -> list[float]:
    """Return the median time of each function in seconds, the functions taking turns.

    On a CPU it is the time of this process, which other processes do not lengthen as much.
    """
    clock = time.perf_counter if is_gpu else time.process_time
    times: list[list[float]] = [[] for _ in functions]
    for function in functions:
        function()
    for _ in range(num_rounds):
        for function, taken in zip(functions, times, strict=True):
            start = clock()
            function()
            if is_gpu:
                torch.cuda.synchronize()
            taken.append(clock() - start)
    return [statistics.median(taken) for taken in times]


if __name__ == "__main__":
    main()
