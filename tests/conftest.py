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
    *(
        f"diffunet.wsss.{name}"
        for name in (
            "final_validation",
            "image_scores",
            "label_masks",
            "objective",
            "predictor",
            "presence",
            "presence_threshold",
            "pseudo_masks",
            "saliency",
        )
    ),
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
