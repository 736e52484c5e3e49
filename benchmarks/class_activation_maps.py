"""Compare the class activation maps with the library grad-cam: equal maps, and time beside it.

The library needs torchvision, which breaks other test dependencies where its operators do not load
(a CPU build of torch), so it lives in an environment of its own:

    python -m venv cam_environment
    cam_environment/bin/pip install -e . grad-cam==1.5.7 -c constraints.txt
    OMP_NUM_THREADS=1 cam_environment/bin/python benchmarks/class_activation_maps.py

Absolute times differ from machine to machine: what counts are the ratios, of medians of runs that
take turns in one process.
"""

import time
from collections.abc import Callable
from functools import partial
from itertools import product
from statistics import median
from types import SimpleNamespace
from typing import Any
from unittest.mock import patch

import numpy as np
import torch

from diffunet.inference.activation_maps import GRADIENT_WEIGHTINGS, class_activation_maps
from diffunet.networks.classification import ClassificationNetwork
from diffunet.networks.unet import UNetShape
from diffunet.plans import CamPlan, CamSaliency

METHODS: tuple[CamSaliency, ...] = ("grad_cam", "grad_cam++", "score_cam", "layer_cam")

# A five-stage classifier; maps of stage 2 are a quarter of the image, those of stage 4 a 16th.
CHANNELS = (16, 32, 64, 128, 128)
IMAGE_SIZE = 224
STAGES = {"14 x 14": 4, "56 x 56": 2}
NUM_REPEATS = 5

# Agreement is checked on a smaller image, for Score-CAM runs the network hundreds of times.
SMALL_IMAGE_SIZE = 64
NUM_IMAGES = 2


def main() -> None:
    torch.set_num_threads(1)
    library = load_library()
    print_agreement(library)
    print_speed(library)


def load_library() -> Any:
    """Return the module pytorch_grad_cam, also where torchvision's own operators do not load."""
    try:
        import torchvision  # noqa: F401  # whether it loads is the question
    except RuntimeError:
        operators = torch.library.Library("torchvision", "DEF")
        for name in ("nms", "qnms"):
            operators.define(f"{name}(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")
    import cv2
    import pytorch_grad_cam

    cv2.setNumThreads(1)
    pytorch_grad_cam.score_cam.tqdm = SimpleNamespace(tqdm=iter)
    return pytorch_grad_cam


def print_agreement(library: Any) -> None:
    print(f"largest difference between maps in [0, 1], {NUM_IMAGES} images")
    for stage, method in product(STAGES.values(), METHODS):
        print_differences(library, method, stage=stage)
    print("the same, with the library's alpha in place of the paper's")
    with patch.dict(GRADIENT_WEIGHTINGS, {"grad_cam++": weighted_by_library_alpha}):
        for stage in STAGES.values():
            print_differences(library, "grad_cam++", stage=stage)


def print_differences(library: Any, method: CamSaliency, *, stage: int) -> None:
    classifier = random_classifier()
    image = torch.randn(NUM_IMAGES, 1, SMALL_IMAGE_SIZE, SMALL_IMAGE_SIZE)
    run = partial(compare, library, classifier, image, method=method, stage=stage)
    plain, free = run(is_smoothed=False), run(is_smoothed=True)
    with one_sign(library):
        smoothed = run(is_smoothed=True)
    print(
        f"  stage {stage}, {method:10}: plain {plain:.1e}, smoothed {smoothed:.1e}; "
        f"smoothed with the library's arbitrary signs {free:.1e}"
    )


def weighted_by_library_alpha(maps: torch.Tensor, gradients: torch.Tensor) -> torch.Tensor:
    """Grad-CAM++ with the library's 1e-6 in the denominator, and with negative sums of maps."""
    total = maps.sum(dim=(2, 3), keepdim=True)
    alpha = gradients**2 / (2 * gradients**2 + total * gradients**3 + 1e-6)
    return (alpha * gradients.clamp_min(0)).sum(dim=(2, 3), keepdim=True) * maps


def print_speed(library: Any) -> None:
    image = torch.randn(1, 1, IMAGE_SIZE, IMAGE_SIZE)
    print(f"time for one image of {IMAGE_SIZE} x {IMAGE_SIZE}, one thread")
    for (name, stage), is_smoothed, method in product(STAGES.items(), (False, True), METHODS):
        if method == "score_cam" and is_smoothed:
            continue  # six times the work without: minutes
        classifier = random_classifier()
        arguments = (classifier, image)
        settings = {"method": method, "stage": stage, "is_smoothed": is_smoothed}
        theirs, ours = medians(
            partial(library_maps, library, *arguments, **settings),
            partial(our_maps, *arguments, **settings),
            num_repeats=1 if method == "score_cam" else NUM_REPEATS,
        )
        print(
            f"  {name} maps, {method:10}, {'smoothed' if is_smoothed else 'plain':8}: "
            f"{1e3 * ours:6.0f} ms, grad-cam {1e3 * theirs:6.0f} ms, "
            f"{theirs / ours:.1f} times as long"
        )


def random_classifier() -> ClassificationNetwork:
    """Return a classifier with random weights."""
    torch.manual_seed(0)
    count = len(CHANNELS)
    shape = UNetShape(
        channels=CHANNELS,
        strides=((1, 1),) + ((2, 2),) * (count - 1),
        kernel_sizes=((3, 3),) * count,
        num_blocks=(1, 2, 2, 2, 2),
        num_decoder_blocks=(1,) * count,
        num_middle_blocks=0,
        has_attention=(False,) * (count - 1) + (True,),
        num_heads=4,
        num_groups=8,
        dropout=0.0,
        embedding_dim=None,
    )
    network = ClassificationNetwork(
        num_image_channels=1, num_classes=2, shape=shape, has_time=False
    )
    for parameter in network.parameters():
        if parameter.ndim > 1:
            parameter.data.normal_(0, parameter[0].numel() ** -0.5)
    return network.eval()


def target_layer(classifier: ClassificationNetwork, stage: int) -> Any:
    return classifier.body.stages[stage][-1]


def compare(
    library: Any, classifier: ClassificationNetwork, image: torch.Tensor, **settings: Any
) -> float:
    ours = our_maps(classifier, image, **settings)
    return float(np.abs(ours - library_maps(library, classifier, image, **settings)).max())


def our_maps(
    classifier: ClassificationNetwork,
    image: torch.Tensor,
    *,
    method: CamSaliency,
    stage: int,
    is_smoothed: bool,
) -> np.ndarray:
    plan = CamPlan(stage=stage, is_smoothed=is_smoothed)
    return class_activation_maps(classifier, image, label=1, method=method, plan=plan).numpy()


def library_maps(
    library: Any,
    classifier: ClassificationNetwork,
    image: torch.Tensor,
    *,
    method: CamSaliency,
    stage: int,
    is_smoothed: bool,
) -> np.ndarray:
    named = {
        "grad_cam": library.GradCAM,
        "grad_cam++": library.GradCAMPlusPlus,
        "score_cam": library.ScoreCAM,
        "layer_cam": library.LayerCAM,
    }
    targets = [lambda logits: logits[1]] * len(image)
    with named[method](classifier, [target_layer(classifier, stage)]) as cam:
        return cam(image, targets, aug_smooth=is_smoothed, eigen_smooth=is_smoothed)


class one_sign:  # noqa: N801  # used as a context manager
    """While entered, the library's principal components have the sign that ours have."""

    def __init__(self, library: Any):
        self.modules = [library.base_cam, library.layer_cam]
        self.project = library.base_cam.get_2d_projection

    def __enter__(self) -> None:
        for module in self.modules:
            module.get_2d_projection = self.signed

    def __exit__(self, *_: object) -> None:
        for module in self.modules:
            module.get_2d_projection = self.project

    def signed(self, maps: np.ndarray) -> np.ndarray:
        component = self.project(maps)
        return component * np.sign((component * maps.sum(axis=1)).sum(axis=(1, 2)))[:, None, None]


def medians(*runs: Callable[[], object], num_repeats: int) -> list[float]:
    """Return each run's median CPU time in seconds; the runs take turns."""
    durations: list[list[float]] = [[] for _ in runs]
    for _ in range(num_repeats):
        for run, found in zip(runs, durations, strict=True):
            start = time.process_time()
            run()
            found.append(time.process_time() - start)
    return [median(found) for found in durations]


if __name__ == "__main__":
    main()
