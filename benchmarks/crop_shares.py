"""Learn known shares of presence with random and with foreground patches.

    python benchmarks/crop_shares.py --methods diffusion --policies foreground [--unweighted]

Images show ten discs; how bright one is says how likely each of two raters marks it (0, 0.1, 0.3,
0.5). Nine in ten discs are marked by neither. Printed is what was learned of each kind of disc, on
patches that were never trained on: of a diffusion the expected mask where x_t is noise alone, then
the share of drawn masks that mark it; of a supervised network the probability there, as planned and
by cross entropy alone (training.dice_weight 0). `--unweighted` takes the weights of places away.
"""

import argparse
import dataclasses
import time
from unittest import mock

import numpy as np
import torch
from torch import nn

from diffunet.build import build_denoiser, build_sampler, build_segmentation_network
from diffunet.data.batches import places
from diffunet.data.batches.loader import load_batch
from diffunet.data.batches.patches import PatchSampler
from diffunet.data.batches.places import PatchPlaces
from diffunet.data.store.case import CaseProperties, IntensityNormalization
from diffunet.geometry import Box
from diffunet.labels import LabelScheme
from diffunet.planning.crop import choose_crop
from diffunet.plans import (
    AugmentationPlan,
    ConfigurationPlan,
    CropPlan,
    DiffusionPlan,
    NetworkPlan,
    NormalizationPlan,
    PreprocessingPlan,
    SamplingPlan,
    TrainingPlan,
)
from diffunet.randomness import numpy_generator
from diffunet.training.ema import ExponentialMovingAverage
from diffunet.training.objective import DiffusionObjective, SupervisedObjective, loss_of
from diffunet.training.optim import build_optimizer, learning_rate_at, set_learning_rate
from diffunet.training.tensors import to_device

PRESENCES = (0.0, 0.1, 0.3, 0.5)
FREQUENCIES = (0.74, 0.14, 0.06, 0.06)
SIZE, PATCH, RADIUS, NUM_PLACES = 80, 16, 2.3, 10
RATERS = ("r00", "r01")
NUM_PATCHES, NUM_SAMPLES = 16, 24
EDGE = 16
"""Of the squares in which at most one disc lies each."""

METHODS = ("diffusion", "supervised", "cross_entropy")
LABELS = LabelScheme(names=("disc",), values=((1,),))


class Images:
    """A store of images and of what raters marked, made when it is asked for."""

    def __init__(self, number: int):
        self.cases = tuple(f"image{index:04}" for index in range(number))
        self._arrays = {case: make_arrays(case) for case in self.cases}

    def array(self, case: str, name: str) -> np.ndarray:
        return self._arrays[case][name]

    def properties(self, case: str) -> CaseProperties:
        return CaseProperties(
            case=case,
            patient=case,
            raters=RATERS,
            original_shape=(SIZE, SIZE),
            original_spacing_mm=(1.0, 1.0),
            transpose_forward=(0, 1),
            crop_box=Box((0, 0), (SIZE, SIZE)),
            shape=(SIZE, SIZE),
            spacing_mm=(1.0, 1.0),
            normalization=(IntensityNormalization(),),
            is_normalized=True,
        )


def make_arrays(case: str) -> dict[str, np.ndarray]:
    generator = numpy_generator("image", case)
    kinds = generator.choice(4, NUM_PLACES, p=FREQUENCIES)
    squares = generator.choice((SIZE // EDGE) ** 2, NUM_PLACES, replace=False)
    offsets = generator.integers(3, EDGE - 3, (NUM_PLACES, 2))
    centres = np.stack(np.divmod(squares, SIZE // EDGE), axis=1) * EDGE + offsets
    discs = np.stack([disc_at(centre, SIZE) for centre in centres])
    marks = generator.random((len(RATERS), NUM_PLACES)) < np.array(PRESENCES)[kinds]
    labels = np.stack([discs[marked].any(axis=0) for marked in marks])
    rows = np.argwhere(labels.any(axis=0))
    return {
        "image": render(discs, kinds, generator)[None],
        "labels": labels.astype(np.uint8),
        "locations": np.pad(rows, ((0, 0), (1, 0))).astype(np.int32),
    }


def disc_at(centre: np.ndarray, size: int) -> np.ndarray:
    rows, columns = np.indices((size, size))
    return np.hypot(rows - centre[0], columns - centre[1]) <= RADIUS


def render(discs: np.ndarray, kinds: np.ndarray, generator: np.random.Generator) -> np.ndarray:
    image = generator.normal(0, 0.15, discs.shape[1:])
    for disc, kind in zip(discs, kinds, strict=True):
        image[disc] += 1 + kind
    return image.astype(np.float32)


def planned_crop(policy: str) -> CropPlan:
    """Return the plan of a policy; of foreground patches the planner's own share."""
    if policy == "random":
        return CropPlan(policy="random")
    marked = NUM_PLACES * sum(
        frequency * (1 - (1 - presence) ** len(RATERS))
        for frequency, presence in zip(FREQUENCIES, PRESENCES, strict=True)
    )
    return choose_crop(
        patch_size=(PATCH, PATCH),
        median_shape=(SIZE, SIZE),
        largest_shape=(SIZE, SIZE),
        num_slices=1,
        object_diameter=2 * RADIUS,
        objects_per_image=marked,
        is_centred=False,
    ).value


def configuration_of(policy: str, *, num_iterations: int, method: str) -> ConfigurationPlan:
    return ConfigurationPlan(
        dimensions=2,
        data_identifier="none",
        median_shape=(SIZE, SIZE),
        patch_size=(PATCH, PATCH),
        preprocessing=PreprocessingPlan(
            spacing_mm=(1.0, 1.0), normalization=(NormalizationPlan(),)
        ),
        crop=planned_crop(policy),
        augmentation=unchanged(),
        network=NetworkPlan(
            channels=(16, 16),
            strides=((1, 1), (2, 2)),
            kernel_sizes=((3, 3), (3, 3)),
            num_blocks=(1, 1),
            num_decoder_blocks=(1, 1),
            num_middle_blocks=1,
            has_attention=(False, False),
            num_groups=4,
            image_channels=(16, 16),
            num_image_blocks=(1, 1),
        ),
        diffusion=DiffusionPlan(input_scale=0.25, loss_weighting_bias=-2.2),
        sampling=SamplingPlan(num_steps=10),
        training=TrainingPlan(
            num_iterations=num_iterations,
            batch_size=16,
            learning_rate=2e-3,
            num_warmup_iterations=50,
            ema_decay=0.99,
            dice_weight=0 if method == "cross_entropy" else 1,
        ),
    )


def unchanged() -> AugmentationPlan:
    names = [field.name for field in dataclasses.fields(AugmentationPlan)]
    return AugmentationPlan(**{name: 0 for name in names if name.endswith("_probability")})


def trained(method: str, configuration: ConfigurationPlan, store: Images, *, seed: int):
    """Return the objective and the averaged weights after the planned iterations."""
    plan = configuration.training
    kind = DiffusionObjective if method == "diffusion" else SupervisedObjective
    build = build_denoiser if method == "diffusion" else build_segmentation_network
    objective = kind(configuration=configuration, labels=LABELS, seed=seed)
    torch.manual_seed(seed)
    model = build(configuration, num_image_channels=1, labels=LABELS)
    optimizer = build_optimizer(model, plan)
    ema = ExponentialMovingAverage(model, decay=plan.ema_decay)
    sampler = PatchSampler(
        PatchPlaces(
            store,
            store,
            cases=store.cases,
            configuration=configuration,
            batch_size=plan.batch_size,
            seed=seed,
        )
    )
    for iteration in range(plan.num_iterations):
        set_learning_rate(optimizer, learning_rate_at(iteration, plan))
        batch = load_batch(sampler, iteration, range(plan.batch_size))
        tensors = to_device(
            batch,
            torch.device("cpu"),
            global_size=plan.batch_size,
            seed=seed,
            augmentation=None,
        )
        terms = objective(model, tensors)
        counts = torch.stack([term.count for term in terms.values()])
        optimizer.zero_grad(set_to_none=True)
        loss_of(terms, counts, num_ranks=1).backward()
        nn.utils.clip_grad_norm_(model.parameters(), plan.gradient_clip_norm)
        optimizer.step()
        ema.update(iteration)
    return objective, ema.model.eval()


@torch.no_grad()
def learned_shares(objective, model: nn.Module, *, is_drawn: bool) -> list[float]:
    """Return how often a disc of each kind is marked, on patches of one disc each."""
    shares = []
    for kind in range(4):
        generator = numpy_generator("test", kind)
        centres = generator.integers(4, PATCH - 4, (NUM_PATCHES, 2))
        discs = np.stack([disc_at(centre, PATCH) for centre in centres])
        images = np.stack([render(disc[None], np.array([kind]), generator) for disc in discs])
        tensors = torch.from_numpy(images)[:, None]
        if isinstance(objective, SupervisedObjective):
            marked = model(tensors).sigmoid()[:, 0]
        else:
            marked = (diffused(objective, model, tensors, is_drawn=is_drawn) + 1) / 2
        means = [each[disc].mean() for each, disc in zip(marked.numpy(), discs, strict=True)]
        shares.append(float(np.mean(means)))
    return shares


def diffused(objective, model: nn.Module, images: torch.Tensor, *, is_drawn: bool) -> torch.Tensor:
    """Return the mean drawn mask of each image, or what is expected of it, (patch, y, x)."""
    repeated = images.repeat(NUM_SAMPLES, 1, 1, 1)
    features = model.encode_image(repeated)
    torch.manual_seed(1)
    x_T = torch.randn(len(repeated), objective.encoding.num_channels, PATCH, PATCH)

    def predict(x_t: torch.Tensor, t: float) -> torch.Tensor:
        return model.predict_x_0(x_t, t, features=features).clip(-1, 1)

    if is_drawn:
        sampler = build_sampler(objective.configuration.sampling, schedule=model.schedule)
        x_0 = sampler(predict, x_T, noise_source=lambda step: torch.randn_like(x_T)).sign()
    else:
        x_0 = predict(x_T, 1.0)
    return x_0[:, 0].reshape(NUM_SAMPLES, len(images), PATCH, PATCH).mean(dim=0)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--iterations", type=int, default=1500)
    parser.add_argument("--images", type=int, default=600)
    parser.add_argument("--methods", nargs="+", default=METHODS, choices=METHODS)
    parser.add_argument("--policies", nargs="+", default=["random", "foreground"])
    parser.add_argument("--unweighted", action="store_true")
    parser.add_argument("--seed", type=int, default=0)
    given = parser.parse_args()
    torch.set_num_threads(1)
    store = Images(given.images)
    print("true shares: ", *PRESENCES, planned_crop("foreground"))
    for method in given.methods:
        for policy in given.policies:
            begin = time.process_time()
            configuration = configuration_of(policy, num_iterations=given.iterations, method=method)
            weight = {"return_value": 1.0} if given.unweighted else {"wraps": places.place_weight}
            with mock.patch.object(places, "place_weight", **weight):
                found = trained(method, configuration, store, seed=given.seed)
            name = f"{method} {policy} {'un' if given.unweighted else ''}weighted"
            for is_drawn in (False, True) if method == "diffusion" else (False,):
                shares = learned_shares(*found, is_drawn=is_drawn)
                text = "  ".join(f"{share:.3f}" for share in shares)
                what = "drawn" if is_drawn else "learned"
                print(f"{name}, {what}: {text}  ({time.process_time() - begin:.0f} s of CPU)")


if __name__ == "__main__":
    main()
