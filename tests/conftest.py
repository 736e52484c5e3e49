"""Every test checks the shapes that tensor code is annotated with (jaxtyping with beartype)."""

import os
from pathlib import Path

import pytest
from jaxtyping import install_import_hook

CHECKED = [
    "diffunet.diffusion",
    "diffunet.networks",
    *(
        f"diffunet.evaluation.{name}"
        for name in ("ambiguity", "calibration", "overlap", "slice_scores", "surface")
    ),
    *(f"diffunet.inference.{name}" for name in ("noise", "sliding_window", "tiles")),
    "diffunet.postprocessing.components",
    "diffunet.wsss.choice.presence_threshold",
    "diffunet.wsss.masks.label_masks",
    "diffunet.wsss.masks.pseudo_masks",
    "diffunet.wsss.prediction.predictor",
    "diffunet.wsss.prediction.presence",
    "diffunet.wsss.saliency.maps",
    "diffunet.wsss.training.final_validation",
    "diffunet.wsss.training.image_scores",
    "diffunet.wsss.training.objective",
]

install_import_hook(CHECKED, "beartype.beartype")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Begin with the files that hold slow tests, so that no worker is left with one at the end.

    Files stay whole: their tests share fixtures.
    """
    slow = {item.path for item in items if item.get_closest_marker("slow")}
    items.sort(key=lambda item: item.path not in slow)


@pytest.fixture(scope="session")
def real_data() -> Path:
    """Return the folder of raw datasets that DIFFUNET_TEST_DATA names, or skip the test."""
    folder = os.environ.get("DIFFUNET_TEST_DATA")
    if not folder:
        pytest.skip("DIFFUNET_TEST_DATA names no folder of raw datasets")
    return Path(folder)
